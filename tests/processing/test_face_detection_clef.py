import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image

from processing import CLEFImageProcessor, face_detection_clef
from processing.face_alignment_clef import EYES_NOSE_1, crop_matrix
from processing.face_detection_clef import (
    BOX_POINTS,
    HAAR_POINTS,
    YUNET_FILE,
    GivenFaces,
    HaarDetector,
    YuNetDetector,
    find_detector,
    upright_pixels,
)
from processing.image_reading_clef import to_rgb_image

ROOT = Path(__file__).resolve().parents[2]

cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless")


@pytest.fixture(scope="module")
def detector(yunet_file):
    return YuNetDetector(yunet_file)


@pytest.fixture(scope="module")
def cascade():
    if not Path(getattr(cv2, "data", None) and cv2.data.haarcascades or "", face_detection_clef.HAAR_FILE).is_file():
        pytest.skip("this OpenCV ships no Haar cascades")
    return HaarDetector()


@pytest.fixture(scope="module")
def photographs(test_data):
    def find(folder):
        found = sorted((test_data / folder).glob("*.jpg"))
        if not found:
            pytest.skip(f"needs {folder}/*.jpg in CLEF_TEST_DATA")
        return found

    return find


@pytest.fixture
def no_yunet(tmp_path, monkeypatch):
    """No model file in the Hub's cache and none named."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLEF_YUNET", raising=False)


def moved(matrix, points):
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def test_the_model_file_comes_from_the_argument_the_variable_or_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("CLEF_YUNET", raising=False)
    with pytest.raises(FileNotFoundError, match="hf download opencv/face_detection_yunet"):
        YuNetDetector()

    def named_in_the_error(path, content, *arguments):
        """What is no model is refused by its name: so one sees which file was taken."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"cannot load .*{path.name}.* as a YuNet model"):
            YuNetDetector(*arguments)
        with pytest.raises(ValueError, match=f"cannot load .*{path.name}.* as a YuNet model"):
            find_detector("auto", *arguments)

    cached = tmp_path / "models--opencv--face_detection_yunet"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    named_in_the_error(cached / "snapshots" / ("0" * 40) / YUNET_FILE, b"cached")
    monkeypatch.setenv("CLEF_YUNET", str(tmp_path / "variable.onnx"))
    named_in_the_error(tmp_path / "variable.onnx", b"variable")
    named_in_the_error(tmp_path / "argument.onnx", b"argument", tmp_path / "argument.onnx")
    with pytest.raises(FileNotFoundError, match="no YuNet model at .*missing.onnx"):
        YuNetDetector(tmp_path / "missing.onnx")


def test_without_yunet_the_cascade_is_taken_and_says_so_once(no_yunet, cascade, monkeypatch):
    said = []
    monkeypatch.setattr(face_detection_clef.logger, "warning_once", said.append)
    assert isinstance(find_detector(), HaarDetector)
    assert len(said) == 1 and "Haar cascade" in said[0] and "hf download opencv/face_detection_yunet" in said[0]
    with pytest.raises(FileNotFoundError, match="hf download"):
        find_detector("yunet")


def test_a_named_file_that_is_missing_is_no_reason_for_another_detector(no_yunet, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no YuNet model at .*missing.onnx"):
        find_detector("auto", tmp_path / "missing.onnx")
    with pytest.raises(FileNotFoundError, match="no Haar cascade at .*missing.xml"):
        find_detector("haar", tmp_path / "missing.xml")
    monkeypatch.setenv("CLEF_YUNET", str(tmp_path / "gone.onnx"))
    with pytest.raises(FileNotFoundError, match="no YuNet model at .*gone.onnx"):
        find_detector()


def test_an_opencv_without_cascades_is_told_apart(no_yunet, monkeypatch):
    monkeypatch.delattr(cv2, "data", raising=False)  # as in OpenCV 5
    with pytest.raises(FileNotFoundError, match="only the wheels of OpenCV 4 contain it.*hf download"):
        find_detector()


def test_what_is_no_detector_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got the face detector 'dlib', expected one of auto, yunet, haar"):
        find_detector("dlib")
    (tmp_path / "notes.xml").write_text("<notes/>")
    with pytest.raises(ValueError, match="cannot load .*notes.xml.* as a Haar cascade"):
        HaarDetector(tmp_path / "notes.xml")
    with pytest.raises(ValueError, match="longest side of 16 pixels"):
        find_detector("haar", longest_side=16)


def test_every_photograph_has_one_face_in_the_right_order(detector, photographs):
    paths = photographs("london")
    assert len(paths) == 102
    for path in paths[::3]:
        (face,) = detector.detect(path)
        right_eye, left_eye, nose, right_corner, left_corner = face.points
        assert right_eye[0] < nose[0] < left_eye[0] and right_corner[0] < left_corner[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_corner[1], left_corner[1])
        assert (face.box[:2] < face.points).all() and (face.points < face.box[2:]).all() and 0.6 <= face.score <= 1
        np.testing.assert_allclose(
            moved(crop_matrix(face.points, 1), face.points[:3]), EYES_NOSE_1.targets(1), atol=0.05
        )


def test_pictures_of_one_line_have_no_faces_without_a_place(detector):
    # On some of them the network's numbers are not finite.
    for shape in ((1, 30_000), (30_000, 1), (1, 1)):
        for face in detector.detect(np.full((*shape, 3), 128, dtype=np.uint8)):
            assert np.isfinite(face.box).all() and np.isfinite(face.points).all() and np.isfinite(face.score)


def test_pixels_of_an_upright_picture_are_not_copied_and_others_are_made_so():
    rng = np.random.default_rng(0)
    plain = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert upright_pixels(plain) is plain
    for image in (plain[:, ::-1], plain[..., 0], plain / 255.0, np.moveaxis(plain, -1, 0), Image.fromarray(plain)):
        found = upright_pixels(image)
        assert found.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(found, np.asarray(to_rgb_image(image)))
    with pytest.raises(ValueError, match="zero size"):
        upright_pixels(plain[:0])


@pytest.mark.parametrize("side", [48, 1600])
def test_points_scale_with_the_photograph(detector, photographs, side):
    for path in photographs("london")[::20]:
        with Image.open(path) as photo:
            (expected,) = detector.detect(photo)
            (face,) = detector.detect(photo.resize((side, side), Image.Resampling.LANCZOS))
        scale = side / 256
        eyes = np.hypot(*(expected.points[1] - expected.points[0]))
        assert abs(face.points / scale - expected.points).max() < 0.15 * eyes  # the detector itself is no steadier
        assert abs(face.box / scale - expected.box).max() < 0.3 * eyes


def test_several_faces_come_the_largest_first_and_none_gives_an_empty_list(detector, photographs):
    (first, second) = (Image.open(path) for path in photographs("london")[:2])
    both = Image.new("RGB", (400, 256), "grey")
    both.paste(first.resize((140, 140)), (0, 60))
    both.paste(second.resize((250, 250)), (145, 3))
    faces = detector.detect(both)
    assert len(faces) == 2 and faces[0].points[0, 0] > 145 > faces[1].points[1, 0]
    assert detector.detect(np.full((100, 120), 128, dtype=np.uint8)) == []


def test_uncropped_portraits_are_found(detector, photographs):
    for path in photographs("photos"):
        assert detector.detect(path)[0].score > 0.8


def test_a_longer_side_finds_smaller_faces(yunet_file, photographs):
    crowd = Image.new("RGB", (1600, 1200), "grey")
    with Image.open(photographs("london")[0]) as photo:
        crowd.paste(photo.resize((32, 32), Image.Resampling.LANCZOS), (400, 500))
    assert find_detector("yunet", yunet_file, longest_side=320).detect(crowd) == []
    (face,) = find_detector("yunet", yunet_file, longest_side=1600).detect(crowd)
    assert (face.points > (400, 500)).all() and (face.points < (432, 532)).all()


def test_the_cascade_finds_photographs_and_estimates_where_eyes_are(cascade, detector, photographs):
    errors = []
    for path in photographs("london")[::12]:
        (face,) = cascade.detect(path)
        (truth,) = detector.detect(path)
        assert 0 < face.score <= 1
        errors.append(np.hypot(*(face.points - truth.points).T) / np.hypot(*(truth.points[1] - truth.points[0])))
    assert np.mean(errors) < 0.2
    # Larger pictures are looked at smaller; coordinates are the picture's all the same.
    with Image.open(path) as photo:
        (large,) = cascade.detect(photo.resize((1500, 1500), Image.Resampling.LANCZOS))
    assert abs(large.points * 256 / 1500 - truth.points).max() < 0.4 * np.hypot(*(truth.points[1] - truth.points[0]))
    assert cascade.detect(np.full((100, 120), 128, dtype=np.uint8)) == []


def test_detectors_find_rendered_faces_where_they_are(detector, cascade, rendered):
    found_by_cascade, mistaken_by_cascade, errors = 0, 0, []
    frontal = np.flatnonzero(abs(rendered.yaw) < 25)
    for index in frontal:
        eyes = np.hypot(*(rendered.landmarks[index, 1] - rendered.landmarks[index, 0]))
        (face,) = detector.detect(rendered.images[index])
        errors.append(np.hypot(*(face.points - rendered.landmarks[index]).T) / eyes)
        guessed = cascade.detect(rendered.images[index])
        found_by_cascade += bool(guessed)
        if guessed:
            mistaken_by_cascade += np.hypot(*(guessed[0].points - rendered.landmarks[index]).T).mean() > 0.6 * eyes
    *eyes_and_nose, right_corner, left_corner = np.mean(errors, axis=0)
    assert max(eyes_and_nose) < 0.12 and max(right_corner, left_corner) < 0.18
    # It now and then takes a part of a face for one: that is why YuNet comes first.
    assert found_by_cascade > 0.6 * len(frontal) and mistaken_by_cascade < 0.1 * len(frontal)


def test_proportions_are_of_a_face_seen_from_the_front():
    for right_eye, left_eye, nose, right_corner, left_corner in (HAAR_POINTS, BOX_POINTS):
        for right, left in ((right_eye, left_eye), (right_corner, left_corner)):
            assert right[1] == left[1] and right[0] + left[0] == pytest.approx(1)
        assert nose[0] == 0.5 and right_eye[1] < nose[1] < right_corner[1]


def test_given_faces_are_returned_as_they_are():
    points = np.array(
        [[[30, 40], [70, 42], [50, 66], [36, 82], [66, 83]], [[130, 40], [170, 42], [150, 66], *[[1, 2]] * 2]]
    )
    boxes = [[10, 5, 90, 110], [110, 5, 190, 110]]
    faces = GivenFaces(boxes, points, [0.5, 0.25]).detect(None)
    assert [face.score for face in faces] == [0.5, 0.25]
    assert np.array_equal([face.points for face in faces], points) and np.array_equal(
        [face.box for face in faces], boxes
    )
    assert GivenFaces(boxes=[]).detect(None) == []


def test_boxes_and_points_stand_for_each_other():
    boxes = np.array([[10.0, 20, 87, 120]])
    (face,) = GivenFaces(boxes).detect(None)
    np.testing.assert_allclose(face.points, boxes[0, :2] + BOX_POINTS * [77, 100])
    (back,) = GivenFaces(points=[face.points]).detect(None)
    np.testing.assert_allclose(back.box, boxes[0], atol=2.5)
    assert face.score == back.score == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither boxes nor points"),
        ({"boxes": [[1, 2, 3]]}, r"boxes of shape \(1, 3\), expected \(faces, 4\)"),
        ({"boxes": [[10, 2, 3, 9]]}, "left < right and top < bottom"),
        ({"boxes": [[1, 2, 3, np.nan]]}, "finite"),
        ({"points": np.zeros((2, 3, 2))}, r"points of shape \(2, 3, 2\), expected \(faces, 5, 2\)"),
        ({"boxes": [[1, 2, 3, 4]], "points": np.zeros((2, 5, 2))}, "1 boxes, 2 points and 1 scores"),
        ({"boxes": [[1, 2, 3, 4]], "scores": [1.5]}, r"expected numbers in \[0, 1\]"),
    ],
)
def test_given_faces_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GivenFaces(**arguments)


def test_a_saved_image_processor_finds_and_cuts_faces_without_the_package(tmp_path):
    CLEFImageProcessor(size=32, crop_recipe="eyes-nose-1").save_pretrained(tmp_path / "saved")
    program = (
        "import sys; sys.path = [p for p in sys.path if p not in ('', sys.argv[2])]\n"
        "sys.modules['processing'] = sys.modules['modeling_clef'] = None\n"
        "import numpy as np\n"
        "from transformers import AutoImageProcessor\n"
        "processor = AutoImageProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "photo = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)\n"
        "points = [[30, 40], [70, 40], [50, 66], [35, 80], [65, 80]]\n"
        "crop = processor.align(photo, points)\n"
        "assert crop.shape == (32, 32, 3), crop.shape\n"
        "pixels = processor(photo, landmarks=points, return_tensors='pt')['pixel_values']\n"
        "assert (pixels == processor(crop, return_tensors='pt')['pixel_values']).all()\n"
        "assert processor.find_faces(photo, processor.find_detector('haar')) == []\n"
        "print('fine')\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(tmp_path / "saved"), str(ROOT)],
        cwd=tmp_path,
        env={"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("fine\n"), done.stderr[-2000:]
