import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from processing.face_alignment_clef import align_face
from processing.face_detection_clef import Face
from processing.face_quality_clef import (
    LARGEST_BLUR,
    LARGEST_YAW,
    SMALLEST_EYE_DISTANCE,
    crop_blur,
    estimate_yaw,
    face_quality,
)

cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless")

FRONTAL = np.array([[30.0, 40], [70, 40], [50, 63], [35, 85], [65, 85]])


def a_face(points=FRONTAL, box=(10, 0, 90, 125), score=0.9):
    return Face(np.array(box, dtype=float), np.array(points, dtype=float), score)


def turned(points, degrees):
    """Clockwise as one sees it, with y downwards."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (points - 50) @ np.array([[c, s], [-s, c]]) + 50


def checks(size=64):
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, (size, size, 1), dtype=np.uint8).repeat(3, axis=2) * 255


def test_figures_of_a_face_that_can_be_worked_out_by_hand():
    quality = face_quality(None, a_face(), checks())
    assert quality.detector_score == 0.9 and quality.eye_distance == 40
    assert quality.box_size == pytest.approx(math.sqrt(80 * 125))
    assert quality.roll == quality.yaw == 0 and 0 <= quality.blur < LARGEST_BLUR
    assert quality.out_of_scope is False and quality.reason == ""


@pytest.mark.parametrize("degrees", [-35, -10, 25, 90, 170])
def test_roll_is_clockwise_in_the_picture_and_leaves_yaw_alone(degrees):
    aside = FRONTAL + [[0, 0], [0, 0], [9, 0], [0, 0], [0, 0]]
    quality = face_quality(None, a_face(turned(aside, degrees)), checks())
    assert quality.roll == pytest.approx(degrees) and not quality.out_of_scope
    assert quality.yaw == pytest.approx(estimate_yaw(aside)) and quality.yaw > 0
    # Clockwise: the subject's left eye, on the right of the picture, comes down.
    lower = turned(aside, degrees)
    assert (lower[1, 1] > lower[0, 1]) == (degrees > 0)


def test_yaw_of_rendered_faces(rendered):
    found = np.array([estimate_yaw(points) for points in rendered.landmarks])
    errors = abs(found - rendered.yaw)
    assert errors[abs(rendered.yaw) < 30].mean() < 5 and errors.mean() < 7
    assert (np.sign(found) == np.sign(rendered.yaw))[abs(rendered.yaw) > 10].all()
    crop = checks()
    rolls = [face_quality(None, a_face(points), crop).roll for points in rendered.landmarks]
    frontal = abs(rendered.yaw) < 30  # the head's own tilt comes on top of the camera's
    assert abs(np.array(rolls) - rendered.roll)[frontal].mean() < 5


def test_blur_ranks_rendered_faces_by_what_blurred_them(rendered):
    widths, found = [], []
    for image, points in list(zip(rendered.images, rendered.landmarks, strict=True))[::3]:
        crop = align_face(image, points, 192)
        for width in (0, 0.01, 0.02, 0.035, 0.05):
            blurred = cv2.GaussianBlur(crop, (0, 0), width * 192) if width else crop
            widths.append(width)
            found.append(crop_blur(blurred))
    widths, found = np.array(widths), np.array(found)
    assert spearmanr(widths, found)[0] > 0.93
    assert (found[widths == 0] < LARGEST_BLUR - 0.1).all() and (found[widths == 0.05] > LARGEST_BLUR).all()


def test_blur_does_not_depend_on_contrast_and_little_on_the_crops_size(rendered):
    for image, points in list(zip(rendered.images, rendered.landmarks, strict=True))[::6]:
        crop = cv2.GaussianBlur(align_face(image, points, 256), (0, 0), 5)
        expected = crop_blur(crop)
        assert crop_blur((crop // 2 + 64).astype(np.uint8)) == pytest.approx(expected, abs=0.02)
        assert crop_blur(cv2.resize(crop, (80, 80), interpolation=cv2.INTER_AREA)) == pytest.approx(expected, abs=0.05)


def test_blur_has_its_ends():
    assert crop_blur(np.full((80, 80, 3), 93, dtype=np.uint8)) == 1
    assert crop_blur(checks()) < 0.45


@pytest.mark.parametrize(
    ("face", "crop", "reason"),
    [
        (a_face(FRONTAL * (SMALLEST_EYE_DISTANCE - 0.1) / 40), checks(), "too small"),
        (a_face(FRONTAL + [[0, 0], [0, 0], [-23, 0], [0, 0], [0, 0]]), checks(), "too turned"),
        (a_face(), np.full((64, 64, 3), 9, dtype=np.uint8), "too blurred"),
        (a_face(FRONTAL / 9), np.full((64, 64, 3), 9, dtype=np.uint8), "too small, too blurred"),
    ],
)
def test_what_is_out_of_scope_says_why(face, crop, reason):
    quality = face_quality(None, face, crop)
    assert quality.out_of_scope and quality.reason == reason


def test_limits_are_in_scope():
    edge = FRONTAL * SMALLEST_EYE_DISTANCE / 40 * 1.0001
    assert not face_quality(None, a_face(edge), checks()).out_of_scope
    nose = 40 * math.tan(math.radians(LARGEST_YAW - 1)) / 1.75
    assert not face_quality(None, a_face(FRONTAL + [[0, 0], [0, 0], [nose, 0], [0, 0], [0, 0]]), checks()).out_of_scope


def test_a_face_without_a_crop_has_no_blur_and_says_so():
    mirrored = a_face(FRONTAL[[1, 0, 2, 4, 3]])
    quality = face_quality(np.zeros((130, 130, 3), dtype=np.uint8), mirrored)
    assert math.isnan(quality.blur) and quality.out_of_scope and quality.reason.startswith("no crop")
    same_place = a_face(np.full((5, 2), 40.0))
    assert "no crop, too small" in face_quality(np.zeros((130, 130, 3), dtype=np.uint8), same_place).reason


def test_the_crop_is_made_where_none_is_given(rendered):
    image, points = rendered.images[2], rendered.landmarks[2]
    face = a_face(points)
    expected = face_quality(image, face, align_face(image, points, 64))
    assert face_quality(image, face) == expected


@pytest.mark.parametrize("crop", [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3)), np.zeros((0, 0, 3), np.uint8)])
def test_what_is_no_crop_is_refused(crop):
    with pytest.raises(ValueError, match="expected uint8"):
        face_quality(None, a_face(), crop)
