import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from processing import CLEFImageProcessor
from processing.face_alignment_clef import (
    EYES_NOSE_1,
    CropRecipe,
    align_face,
    crop_matrix,
)

ROOT = Path(__file__).resolve().parents[2]
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])

pytest.importorskip("cv2", reason="needs opencv-python-headless")


def similarity(scale, angle, shift):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def moved(matrix, points):
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def drawn_face(points, width, height, radius):
    """Eyes and nose as antialiased discs in the three primary colours on black."""
    y, x = np.mgrid[:height, :width] + 0.5
    picture = np.zeros((height, width, 3))
    for point, colour in zip(points, COLOURS, strict=True):
        inside = np.clip(radius + 0.5 - np.hypot(x - point[0], y - point[1]), 0, 1)
        picture += inside[..., None] * colour
    return picture.round().astype(np.uint8)


def test_the_recipe_is_fixed():
    # Checkpoints record the name: other numbers need another one.
    assert EYES_NOSE_1 == CropRecipe("eyes-nose-1", (0.3275, 0.365), (0.6725, 0.365), (0.5, 0.575))
    np.testing.assert_allclose(EYES_NOSE_1.targets(200), [[65.5, 73], [134.5, 73], [100, 115]])


@pytest.mark.parametrize("seed", range(5))
def test_a_known_similarity_is_recovered(seed):
    rng = np.random.default_rng(seed)
    truth = similarity(rng.uniform(0.05, 5), rng.uniform(-2, 2), rng.uniform(-300, 300, 2))
    inverse = np.linalg.inv(np.vstack([truth, [0, 0, 1]]))[:2]
    points = moved(inverse, EYES_NOSE_1.targets(96))
    np.testing.assert_allclose(crop_matrix(points, 96), truth, atol=1e-6)


def test_points_that_do_not_fit_exactly_are_fitted_by_least_squares():
    points = np.array([[31.0, 40], [70, 47], [46, 72]])
    targets = EYES_NOSE_1.targets(64)
    # u = a x - b y + c, v = b x + a y + d, as a plain linear system
    rows = [row for x, y in points for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, c, d = np.linalg.lstsq(np.array(rows), targets.ravel(), rcond=None)[0]
    np.testing.assert_allclose(crop_matrix(points, 64), [[a, -b, c], [b, a, d]], atol=1e-9)


def test_the_mouth_does_not_move_the_crop():
    eyes_and_nose = [[30, 40], [70, 42], [50, 66]]
    smiling, pouting = [[28, 80], [74, 81]], [[44, 86], [57, 86]]
    expected = crop_matrix(eyes_and_nose, 64)
    assert np.array_equal(crop_matrix(eyes_and_nose + smiling, 64), expected)
    assert np.array_equal(crop_matrix(eyes_and_nose + pouting, 64), expected)


@pytest.mark.parametrize(("scale", "angle"), [(1.4, 0.0), (4.5, 0.4), (0.6, -0.3)])
def test_eyes_and_nose_of_a_drawn_face_come_to_their_places(scale, angle):
    # Photograph pixels a crop pixel: reduction, strong reduction and enlargement.
    points = moved(similarity(scale, angle, (40 * scale, 45 * scale)), EYES_NOSE_1.targets(80))
    picture = drawn_face(points, int(170 * scale), int(170 * scale), radius=6 * scale)
    crop = align_face(picture, points, 80)
    assert crop.shape == (80, 80, 3) and crop.dtype == np.uint8
    y, x = np.mgrid[:80, :80] + 0.5
    for channel, target in enumerate(EYES_NOSE_1.targets(80)):
        weight = crop[..., channel] / crop[..., channel].sum(dtype=float)
        centre = (weight * x).sum(), (weight * y).sum()
        assert np.hypot(*(centre - target)) < 0.2


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_a_gradient_keeps_its_values(scale):
    # A shift by half a pixel, in the picture or in the crop, would show.
    size, width = 40, int(60 * scale)
    ramp = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None], (width, width, 3))
    points = EYES_NOSE_1.targets(size) * scale + 7
    expected = (np.arange(size) + 0.5) * scale + 7 - 0.5
    crop = align_face(ramp, points, size).astype(float)
    inside = slice(2, size - 2)
    np.testing.assert_allclose(crop[:, inside, 0], np.broadcast_to(expected, (size, size))[:, inside], atol=0.55)


def test_fine_patterns_average_out_in_a_small_crop():
    y, x = np.mgrid[:900, :900]
    board = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    crop = align_face(board, EYES_NOSE_1.targets(48) * 17.3 + 30, 48)
    assert abs(crop.mean() - 127.5) < 2 and crop.std() < 4


def test_beyond_its_edges_the_picture_goes_on():
    picture = np.full((60, 60, 3), 200, dtype=np.uint8)
    picture[:, :10] = (10, 20, 30)
    crop = align_face(picture, [[5, 20], [40, 20], [22, 42]], 64)
    assert (crop[:, 0] == (10, 20, 30)).all() and (crop[:, -1] == 200).all()
    assert (crop[0, -20:] == 200).all() and (crop[-1, -20:] == 200).all()


def test_pictures_of_every_kind_are_taken_upright(tmp_path):
    points = [[20, 25], [45, 25], [32, 40]]
    picture = Image.fromarray(drawn_face(points, 70, 60, radius=4))
    expected = align_face(picture, points, 32)
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(align_face(tmp_path / "turned.png", points, 32), expected)
    grey = align_face(picture.convert("L"), points, 32)
    assert grey.shape == (32, 32, 3) and (grey[..., 0] == grey[..., 2]).all() and grey.max() > 0


@pytest.mark.parametrize(
    ("points", "size", "message"),
    [
        ([[1, 2], [3, 4]], 64, r"shape \(2, 2\), expected \(5, 2\) or \(3, 2\)"),
        ([[30, 40], [np.nan, 40], [50, 66]], 64, "finite"),
        ([[30, 40], [30, 40], [50, 66]], 64, "both eyes"),
        ([[70, 40], [30, 40], [50, 66]], 64, "in a mirror"),
        ([[30, 40], [70, 40], [50, 66]], 0, "at least 1"),
    ],
)
def test_points_without_a_crop_are_refused(points, size, message):
    with pytest.raises(ValueError, match=message):
        crop_matrix(points, size)


def test_without_opencv_the_module_loads_and_says_what_is_missing():
    program = (
        "import sys; sys.modules['cv2'] = None\n"
        "from processing.face_alignment_clef import align_face, crop_matrix\n"
        "points = [[30, 40], [70, 40], [50, 66]]\n"
        "assert crop_matrix(points, 64).shape == (2, 3)\n"
        "import numpy as np\n"
        "align_face(np.zeros((90, 90, 3), np.uint8), points, 64)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1].startswith("ImportError: finding and aligning faces needs OpenCV: pip")


def test_an_image_processor_cuts_crops_by_its_recipe():
    points = np.array([[[20, 25], [45, 25], [32, 40]], [[30, 35], [70, 38], [50, 60]]])
    photos = [drawn_face(five, 90, 80, radius=4) for five in points]
    processor = CLEFImageProcessor(size=24, crop_recipe="eyes-nose-1")
    crops = [align_face(photo, five, 24) for photo, five in zip(photos, points, strict=True)]
    assert np.array_equal(processor.align(photos[1], points[1]), crops[1])
    expected = processor(crops, return_tensors="np")["pixel_values"]
    assert np.array_equal(processor(photos, landmarks=points, return_tensors="np")["pixel_values"], expected)
    one = processor(photos[1], landmarks=points[1], return_tensors="np")["pixel_values"]
    assert np.array_equal(one, expected[1:])
    assert "landmarks" not in processor.to_dict()
    with pytest.raises(ValueError, match="got 2 images and landmarks of 1"):
        processor(photos, landmarks=points[:1])
    with pytest.raises(ValueError, match="recipe 'aligned-1', which cannot be cut"):
        CLEFImageProcessor(size=24)(photos, landmarks=points)
