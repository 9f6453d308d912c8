"""Turning of tilted faces: with a detector that knows coloured dots, and with YuNet on rendered faces."""

import math

import numpy as np
import pytest

from processing.face_detection_clef import YuNetDetector
from processing.face_tilt_clef import DOUBTFUL, MOST, _find_lying, find_tilted

cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless")

# Right eye, left eye, nose tip, mouth corners around the middle of a face, in pixels, and the colours of their dots.
UPRIGHT = np.array([[-20.0, -18], [20, -18], [0, 2], [-14, 22], [14, 22]])
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))
NOBODY = np.zeros((0, 15))
HALF = 40.0  # of the face's box


def rotated(points, degrees):
    """Clockwise as one sees it, with y downwards."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return points @ np.array([[c, s], [-s, c]])


def a_picture(*faces):
    """A picture with faces, (x, y, degrees), and the points of each."""
    picture, points = np.zeros((300, 900, 3), dtype=np.uint8), []
    for x, y, degrees in faces:
        points.append(rotated(UPRIGHT, degrees) + [x, y])
        for (left, top), colour in zip(points[-1], COLOURS, strict=True):
            cv2.circle(picture, (round(left * 16 - 8), round(top * 16 - 8)), 5 * 16, colour, -1, cv2.LINE_AA, 4)
    return picture, points


def a_row(x, y, score=0.8, half=HALF):
    """What an upright detector says of a face there, however it lies."""
    points = UPRIGHT + [x, y]
    return np.array([x - half, y - half, 2 * half, 2 * half, *points.ravel(), score])


class DotFinder:
    """Finds a face by its dots; the better, the more upright it is."""

    def __init__(self):
        self.looks = 0

    def __call__(self, patch):
        self.looks += 1
        points = []
        for colour in COLOURS:
            near = (abs(patch.astype(int) - colour) < 90).all(axis=2)
            if near.sum() < 4:
                return NOBODY
            points.append(np.argwhere(near).mean(axis=0)[::-1] + 0.5)
        across = points[1] - points[0]
        score = 0.94 - abs(math.degrees(math.atan2(across[1], across[0]))) / 600
        middle = np.mean(points, axis=0)
        return np.array([[*middle - 10, 20, 20, *np.ravel(points), score]])


@pytest.mark.parametrize("degrees", [45, -60, 90, 117, 180, -135])
@pytest.mark.parametrize("half", [HALF, 2 * HALF])
def test_points_and_score_are_those_of_the_face_turned_upright_and_the_box_stays(degrees, half):
    picture, (truth,) = a_picture((450, 150, degrees))
    row = a_row(450, 150, half=half)
    (found,) = find_tilted(picture, row[None], DotFinder())
    np.testing.assert_allclose(found[4:14].reshape(5, 2), truth, atol=0.7)
    np.testing.assert_array_equal(found[:4], row[:4])
    assert found[14] > 0.93


@pytest.mark.parametrize("degrees", [0, 12, -20])
def test_upright_faces_stay_to_the_last_digit(degrees):
    picture, _ = a_picture((150, 150, degrees))
    row = a_row(150, 150)[None]
    np.testing.assert_array_equal(find_tilted(picture, row, DotFinder()), row)


def test_nobody_looks_again_where_there_is_no_doubt():
    picture, _ = a_picture((150, 150, 90))
    look, row = DotFinder(), a_row(150, 150, score=DOUBTFUL)[None]
    np.testing.assert_array_equal(find_tilted(picture, row, look), row)
    assert look.looks == 0


@pytest.mark.parametrize("degrees", [75, 90, -90, -110])
def test_faces_on_their_side_are_looked_for_where_none_is_sure(degrees):
    picture, (truth,) = a_picture((450, 150, degrees))
    picture = np.vstack([picture, np.zeros((60, 900, 3), np.uint8)])  # width and height have no common scale of 256
    hair, near = a_row(800, 40, score=0.6, half=10), a_row(445, 155, score=0.6, half=5)
    for rows, left in ((NOBODY, []), (hair[None], [hair]), (np.stack([hair, near]), [hair])):
        found = find_tilted(picture, rows, DotFinder())
        np.testing.assert_allclose(found[0, 4:14].reshape(5, 2), truth, atol=0.7)
        corner, extent = found[0, :2], found[0, 2:4]
        np.testing.assert_allclose(corner + extent / 2, truth.mean(axis=0), atol=2)
        np.testing.assert_allclose(extent, 20 * 900 / 256, atol=0.5)
        np.testing.assert_array_equal(found[1:], np.reshape(left, (-1, 15)))


def test_an_upright_face_that_is_also_found_from_the_side_stays_upright():
    picture, (truth,) = a_picture((450, 150, 0))

    class Generous(DotFinder):
        def __call__(self, patch):
            rows = super().__call__(patch)
            rows[:, 14] += 0.07 if max(patch.shape) == 256 else 0  # sure, from the side
            return rows

    row = a_row(450, 150)[None]
    assert len(_find_lying(picture, Generous())) == 1
    np.testing.assert_array_equal(find_tilted(picture, row, Generous()), row)


@pytest.mark.parametrize("degrees", [90, -90, 130])
def test_a_faint_tilted_face_beside_a_sure_one_is_found_and_no_other_faint_one(degrees):
    picture, (_, truth, _) = a_picture((150, 150, 0), (450, 150, degrees), (750, 150, 0))
    sure, lying, upright = a_row(150, 150, 0.95), a_row(450, 150, 0.3), a_row(750, 150, 0.3)
    over, hair = a_row(160, 155, 0.3, half=20), a_row(600, 40, 0.3, half=10)
    faint = np.stack([hair, over, lying, a_row(448, 152, 0.25), upright])

    def unsure(patch):
        rows = look(patch)
        return rows - np.eye(15)[14] * 0.06

    look = DotFinder()
    found = find_tilted(picture, sure[None], look, faint)
    assert len(found) == 2
    np.testing.assert_array_equal(found[0], sure)
    np.testing.assert_allclose(found[1, 4:14].reshape(5, 2), truth, atol=0.7)
    np.testing.assert_array_equal(find_tilted(picture, sure[None], unsure, faint), sure[None])
    # Hair and ears of a sure face may look like another one: boxes of two faces hardly overlap.
    half = lying[2] / 2
    for away, count in ((1.4 * half, 1), (1.9 * half, 2)):
        assert len(find_tilted(picture, a_row(450 - away, 150, 0.95)[None], look, lying[None])) == count


def test_a_face_that_cannot_be_found_again_stays():
    rows = np.stack([a_row(150, 150), a_row(-30, 150), a_row(899, 299)])  # two reach beyond the picture
    np.testing.assert_array_equal(find_tilted(np.zeros((300, 900, 3), np.uint8), rows, lambda patch: NOBODY), rows)
    assert find_tilted(np.zeros((30, 30, 3), np.uint8), NOBODY, DotFinder()).shape == (0, 15)


def test_one_tilted_face_found_twice_is_one_and_neighbours_are_two():
    picture, truth = a_picture((200, 150, 90), (600, 150, 180))
    rows = np.stack([a_row(200, 150), a_row(208, 140, half=36), a_row(600, 150)])
    found = find_tilted(picture, rows, DotFinder())
    np.testing.assert_array_equal(found[:, :4], rows[[0, 2], :4])
    np.testing.assert_allclose(found[:, 4:14].reshape(-1, 5, 2), truth, atol=0.7)


def test_a_face_beside_the_one_that_is_looked_at_is_not_taken_for_it():
    picture, _ = a_picture((450, 150, 90))
    row = a_row(450 - 55, 150, score=0.9)  # the dots lie at the edge of what is looked at
    np.testing.assert_array_equal(find_tilted(picture, row[None], DotFinder()), row[None])


def test_of_a_crowd_the_largest_are_looked_at():
    look = DotFinder()
    rows = np.stack([a_row(100 + k, 150, score=0.9, half=20 + k) for k in range(MOST + 5)])
    found = find_tilted(np.zeros((300, 900, 3), np.uint8), rows, look)
    assert look.looks == 8 * MOST and len(found) == len(rows)
    assert (np.diff(found[:, 2]) <= 0).all()


@pytest.mark.parametrize("degrees", [45, 90, 135, 180, 270])
def test_yunet_finds_points_of_rendered_faces_however_they_lie(yunet_file, rendered, degrees):
    detector, errors = YuNetDetector(yunet_file), []
    for index in np.flatnonzero(abs(rendered.yaw) < 25)[::2]:
        matrix = cv2.getRotationMatrix2D((128, 128), -degrees, 1)
        matrix[:, 2] += 64
        picture = cv2.warpAffine(rendered.images[index], matrix, (384, 384), borderValue=(104, 110, 116))
        truth = rendered.landmarks[index] @ matrix[:, :2].T + matrix[:, 2]
        faces = detector.detect(picture)
        assert len(faces) <= 1
        if faces:
            eyes = np.hypot(*(truth[1] - truth[0]))
            errors.append(np.hypot(*(faces[0].points - truth).T).mean() / eyes)
    assert len(errors) >= 5 and max(errors) < 0.3


def test_yunet_finds_a_rendered_face_that_lies_beside_an_upright_one(yunet_file, rendered):
    frontal = rendered.images[abs(rendered.yaw) < 25]
    detector, found = YuNetDetector(yunet_file), []
    for upright, lying in zip(frontal, frontal[1:], strict=False):
        picture = np.full((256, 512, 3), (104, 110, 116), np.uint8)
        picture[:, :256] = upright
        picture[64:192, 320:448] = np.rot90(cv2.resize(lying, (128, 128), interpolation=cv2.INTER_AREA))
        found.append(len(detector.detect(picture)))
    assert len(found) >= 5 and max(found) == 2
    assert found.count(2) >= 0.6 * len(found)  # without its low scores: none
