import os
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from processing.corpora import video_clips
from processing.corpora.behaviour import ACTIVITIES
from processing.corpora.bilateral_behaviour import ACTION_UNITS, clip_sides
from processing.corpora.video_clips import render_clip

av = pytest.importorskip("av")
DATA = Path(os.environ.get("CLEF_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))
NPZ, YUNET = DATA / "ict_facekit" / "ict_face_model_light.npz", DATA / "weights" / "face_detection_yunet.onnx"
BACKGROUND = (104, 110, 116)
FACE = (200, 40, 40)


class StubRenderer:
    """A head is a red square over the middle half of its picture; it moves as it is told to."""

    def __init__(self, model):
        self.calls = []

    def person(self, identity, variation):
        return SimpleNamespace(variation=variation)

    def render(self, person, nuisances, sides, image_size):
        assert len(nuisances) == len(sides) <= video_clips.FRAMES_AT_ONCE
        faces = SimpleNamespace(
            images=np.zeros((len(sides), image_size, image_size, 3), np.uint8),
            alpha=np.zeros((len(sides), image_size, image_size), np.uint8),
            action_units=sides.max(axis=2),
            boxes=np.zeros((len(sides), 4), np.float32),
            landmarks=np.zeros((len(sides), 5, 2), np.float32),
        )
        for index, nuisance in enumerate(nuisances):
            side = image_size / 2
            left, top = image_size * np.array([0.25 + nuisance.shift[0], 0.25 - nuisance.shift[1]])
            covered = (slice(round(top), round(top + side)), slice(round(left), round(left + side)))
            faces.images[index][covered], faces.alpha[index][covered] = FACE, 255
            faces.boxes[index] = left, top, side, side
            faces.landmarks[index] = left + side, top + side
        return faces


@pytest.fixture(autouse=True)
def stub(monkeypatch, request):
    if "real" not in request.fixturenames:
        monkeypatch.setattr(video_clips, "FaceRenderer", StubRenderer)
        monkeypatch.setattr(video_clips, "load_face_model", lambda root: None)


@pytest.fixture
def real():
    if not NPZ.is_file():
        pytest.skip("needs ict_facekit in CLEF_TEST_DATA (../shared/data)")


def decode(path):
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
        codec = (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate)
    return [time for time, _ in frames], [picture for _, picture in frames], codec


def reds(picture):
    """Left, top, right and bottom of what is red."""
    red = picture[..., 0].astype(int) - picture[..., 1] > 60
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_video_holds_what_was_asked_for(tmp_path, suffix):
    truth = render_clip(tmp_path / f"clip{suffix}", seconds=0.8, fps=12.5, size=(128, 96))
    times, pictures, codec = decode(tmp_path / f"clip{suffix}")
    assert codec == ("h264", "yuv420p", Fraction(25, 2))
    assert len(times) == 10 and {picture.shape for picture in pictures} == {(96, 128, 3)}
    np.testing.assert_allclose(times, np.arange(10) / 12.5, atol=1e-3 if suffix == ".mkv" else 1e-9)  # mkv counts ms
    np.testing.assert_allclose(truth["time_s"], np.arange(10) / 12.5)
    assert truth["frame"].to_pylist() == list(range(10)) and set(truth["subject_id"].to_pylist()) == {"I0000"}
    np.testing.assert_allclose(pictures[0][0, 0], BACKGROUND, atol=6)


def test_the_truth_lies_beside_the_video(tmp_path):
    truth = render_clip(tmp_path / "clip.mp4", seconds=0.2, size=(128, 96))
    assert pq.read_table(tmp_path / "clip.parquet").equals(truth)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.mp4", "clip.parquet"]


def test_times_of_a_variable_frame_rate(tmp_path):
    times = [0, 0.04, 0.1, 0.5, 0.51, 1.75]
    truth = render_clip(tmp_path / "clip.mp4", times=times, size=(128, 96))
    shown, pictures, _ = decode(tmp_path / "clip.mp4")
    assert len(pictures) == 6
    np.testing.assert_allclose(shown, times, atol=1e-5)
    np.testing.assert_allclose(truth["time_s"], times, atol=1e-5)


def test_boxes_and_landmarks_are_where_the_face_is(tmp_path):
    """With faces of which nothing fades out, what is red in the picture is the box."""
    truth = render_clip(tmp_path / "clip.mp4", seconds=4, size=(320, 120)).to_pylist()
    _, pictures, _ = decode(tmp_path / "clip.mp4")
    for picture, row in zip(pictures, truth, strict=True):
        left, top, width, height = row["box"]
        np.testing.assert_allclose(reds(picture), [left, top, left + width, top + height], atol=2)  # chroma is halved
        np.testing.assert_allclose(row["landmarks"][4], [left + width, top + height])
    places = np.array([row["box"][:2] for row in truth])
    assert np.ptp(places[:, 0]) > 5 and np.abs(np.diff(places, axis=0)).max() < 5  # it moves, slowly
    assert np.abs(np.diff(places, n=2, axis=0)).max() < 0.3  # and smoothly, not from pixel to pixel


def test_faces_share_the_picture_and_leave_it(tmp_path):
    gaps = [(1, 0.4, 0.8), (0, 0.6, 0.7), (1, 1.0, 9)]
    truth = render_clip(tmp_path / "clip.mp4", subjects=[3, 5], fps=10, seconds=1.2, size=(320, 160), gaps=gaps)
    rows = truth.to_pylist()
    seen = {face: [row["frame"] for row in rows if row["face"] == face] for face in (0, 1)}
    assert seen == {0: [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11], 1: [0, 1, 2, 3, 8, 9]}
    assert {(row["face"], row["subject_id"]) for row in rows} == {(0, "I0003"), (1, "I0005")}
    assert [(row["frame"], row["face"]) for row in rows] == sorted((row["frame"], row["face"]) for row in rows)
    _, pictures, _ = decode(tmp_path / "clip.mp4")
    for frame, picture in enumerate(pictures):
        for face, half in enumerate((picture[:, :160], picture[:, 160:])):
            red = (half[..., 0].astype(int) - half[..., 1] > 60).sum()
            assert (red > 1000) if frame in seen[face] else (red == 0), (frame, face)


def values(rows):
    return np.array([list(row["action_units"].values()) for row in rows])


def test_an_activity_is_that_of_the_corpora(tmp_path):
    rows = render_clip(tmp_path / "clip.mp4", subjects=[2, 2], activity=["joke", "insults"], seconds=1, size=(320, 160))
    rows = rows.to_pylist()
    assert list(rows[0]["action_units"]) == list(ACTION_UNITS)
    for face, activity in enumerate(("joke", "insults")):
        sides = clip_sides(0, 2, list(ACTIVITIES).index(activity), 25, 1.0, 0.0)
        np.testing.assert_allclose(values(row for row in rows if row["face"] == face), sides.max(axis=2))


def test_a_table_of_action_units_is_what_is_drawn(tmp_path, monkeypatch):
    drawn = []

    class Recorder(StubRenderer):
        def render(self, person, nuisances, sides, image_size):
            drawn.append(sides)
            return super().render(person, nuisances, sides, image_size)

    monkeypatch.setattr(video_clips, "FaceRenderer", Recorder)
    table = np.random.default_rng(0).uniform(0, 5, (11, 21, 2)).astype(np.float32)
    truth = render_clip(tmp_path / "clip.mp4", action_units=table, size=(128, 96)).to_pylist()
    np.testing.assert_array_equal(np.concatenate(drawn), table)
    np.testing.assert_array_equal(values(truth), table.max(axis=2))
    drawn.clear()
    both = [table[..., 0], table[:, :, 1]]
    truth = render_clip(tmp_path / "clip.mp4", subjects=[0, 1], action_units=both, size=(256, 96)).to_pylist()
    for face, expected in enumerate(both):
        np.testing.assert_array_equal(values(row for row in truth if row["face"] == face), expected)
    assert all((sides[..., 0] == sides[..., 1]).all() for sides in drawn)


def test_what_a_camera_adds_is_off_unless_asked_for(tmp_path, monkeypatch):
    seen = []
    real_of = video_clips.Variation.of
    monkeypatch.setattr(video_clips.Variation, "of", lambda switches: seen.append(real_of(switches)) or seen[-1])
    render_clip(tmp_path / "clip.mp4", seconds=0.1, size=(128, 96))
    render_clip(tmp_path / "clip.mp4", seconds=0.1, size=(128, 96), variation={"noise": True, "beard": False})
    assert (seen[0].noise, seen[0].occluders, seen[0].beard, seen[0].pose) == (False, False, True, True)
    assert (seen[1].noise, seen[1].occluders, seen[1].beard) == (True, False, False)


def test_the_same_arguments_give_the_same_file(tmp_path):
    for name in ("a", "b"):
        render_clip(tmp_path / f"{name}.mp4", subjects=[0, 1], seconds=1, size=(256, 96))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    render_clip(tmp_path / "c.mp4", subjects=[0, 1], seconds=1, size=(256, 96), seed=1)
    assert (tmp_path / "c.mp4").read_bytes() != (tmp_path / "a.mp4").read_bytes()


def test_frames_are_encoded_as_they_are_made(tmp_path, monkeypatch):
    """No more pictures exist at a time than are rendered at once."""
    made, encoded = [], []

    def encode(path, pictures, clock, size):
        for _ in pictures:
            encoded.append(len(made))

    class Recorder(StubRenderer):
        def render(self, person, nuisances, sides, image_size):
            made.extend(range(len(sides)))
            return super().render(person, nuisances, sides, image_size)

    monkeypatch.setattr(video_clips, "FaceRenderer", Recorder)
    monkeypatch.setattr(video_clips, "_encode", encode)
    render_clip(tmp_path / "clip.mp4", seconds=4, size=(128, 96))
    assert len(encoded) == 100
    assert all(made <= index + video_clips.FRAMES_AT_ONCE for index, made in enumerate(encoded))


def test_a_render_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fails(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(StubRenderer, "render", fails)
    with pytest.raises(ZeroDivisionError):
        render_clip(tmp_path / "clip.mp4", seconds=0.2, size=(128, 96))
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match="pip install av"):
        render_clip(tmp_path / "clip.mp4", seconds=0.2, size=(128, 96))


TABLE = np.zeros((4, 21))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subjects": []}, "subjects is empty"),
        ({"subjects": [-1]}, "a subject is -1; expected a whole number from 0"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0"),
        ({"purity": 2}, "purity is 2; expected a share between 0 and 1"),
        ({"off_script": float("nan")}, "off_script is nan; expected a share between 0 and 1"),
        ({"action_units": []}, "action_units is an empty list"),
        ({"seconds": float("inf")}, "seconds holds a number that is not finite"),
        ({"fps": float("nan")}, "fps holds a number that is not finite"),
        ({"times": [0, float("nan")]}, "times holds a number that is not finite"),
        ({"activity": "dance"}, "activity is 'dance'; expected one of joke"),
        ({"activity": ["joke", "insults"]}, "or a list of one a subject"),
        ({"action_units": TABLE[:, :17]}, r"the shape \(4, 17\); expected \(4, 21\) or \(4, 21, 2\)"),
        ({"action_units": [TABLE, TABLE]}, "a list of 2 arrays for 1 subjects"),
        ({"action_units": [TABLE, TABLE[:3]], "subjects": [0, 1]}, r"the shape \(3, 21\); expected \(4, 21\)"),
        ({"action_units": TABLE, "times": [0, 1]}, "2 times for 4 rows of action_units"),
        ({"times": []}, "begin with 0 and ascend"),
        ({"times": [0.5, 1]}, "begin with 0 and ascend"),
        ({"times": [0, 1, 1]}, "begin with 0 and ascend"),
        ({"fps": 0}, "fps is 0"),
        ({"seconds": 0}, "hold no frame"),
        ({"size": (127, 96)}, "needs an even width and height"),
        ({"size": (128, 96), "subjects": [0, 1, 2, 4]}, "too small for 4 faces"),
        ({"gaps": [(1, 0, 1)]}, r"gaps holds \(1, 0, 1\); expected \(face 0..0, from, to\)"),
        ({"gaps": [(0, 1, 1)]}, r"gaps holds \(0, 1, 1\)"),
        ({"variation": {"beards": False}}, "beards"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        render_clip(tmp_path / "clip.mp4", **options)
    with pytest.raises(ValueError, match=r"expected a name that ends with .mp4"):
        render_clip(tmp_path / "clip.gif")


def test_a_face_detector_finds_the_faces_where_the_truth_says(real, tmp_path):
    cv2 = pytest.importorskip("cv2")
    if not YUNET.is_file():
        pytest.skip("needs weights/face_detection_yunet.onnx in CLEF_TEST_DATA (../shared/data)")
    subjects, gaps = [1, 2], [(0, 1, 2)]
    truth = render_clip(tmp_path / "clip.mp4", NPZ, subjects=subjects, times=[0, 0.7, 1.1, 2], gaps=gaps).to_pylist()
    _, pictures, _ = decode(tmp_path / "clip.mp4")
    detector = cv2.FaceDetectorYN.create(str(YUNET), "", (640, 360), 0.6)
    for frame, picture in enumerate(pictures):
        found = detector.detect(np.ascontiguousarray(picture[..., ::-1]))[1]
        rows = [row for row in truth if row["frame"] == frame]
        assert len(found) == len(rows) == (1 if frame == 2 else 2)
        for row, face in zip(rows, sorted(found, key=lambda face: face[0]), strict=True):
            width = row["box"][2]
            np.testing.assert_allclose(face[4:14].reshape(5, 2), row["landmarks"], atol=0.12 * width)
            np.testing.assert_allclose(face[:4], row["box"], atol=0.3 * width)
