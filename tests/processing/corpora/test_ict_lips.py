from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from processing.corpora.bilateral_behaviour import ACTION_UNITS, COLUMN
from processing.corpora.ict_identity import sample_identity
from processing.corpora.ict_lips import LOWER_EDGE, LOWER_INNER, UPPER_EDGE, UPPER_INNER
from processing.corpora.ict_nuisance import Variation, frontal_nuisance
from processing.corpora.random_streams import IDENTITY, random_generator

THIN, FULL = -0.45, 0.6
RIGHT_CORNER, LEFT_CORNER = 48, 54


def identity(number, **traits):
    return replace(sample_identity(random_generator(0, IDENTITY, number)), **traits)


@pytest.fixture
def move(renderer):
    """The 68 landmarks of the mean face by the fullness of its lips."""
    geometry = renderer.geometry
    return lambda fullness: (geometry.neutral + fullness * geometry.lip_fullness)[geometry.landmarks]


def heights(points):
    """Of the upper and of the lower lip in the middle, centimetres."""
    upper, lower = points[UPPER_EDGE[3]] - points[UPPER_INNER[2]], points[LOWER_INNER[2]] - points[LOWER_EDGE[3]]
    return np.array([upper[1], lower[1]])


def test_twice_as_full_is_twice_as_high(move):
    np.testing.assert_allclose(heights(move(1.0)), 2 * heights(move(0.0)), rtol=0.02)
    np.testing.assert_allclose(heights(move(THIN)), (1 + THIN) * heights(move(0.0)), rtol=0.02)


def test_the_corners_and_the_line_between_the_lips_stay(move):
    still = [RIGHT_CORNER, LEFT_CORNER, *UPPER_INNER, *LOWER_INNER]
    np.testing.assert_allclose(move(FULL)[still, :2], move(0.0)[still, :2], atol=0.02)


def test_full_lips_come_forward(move):
    for edge in (UPPER_EDGE[3], LOWER_EDGE[3]):
        assert move(FULL)[edge, 2] > move(0.0)[edge, 2] + 0.05 > move(THIN)[edge, 2]


def test_the_left_is_as_the_right(renderer):
    """Of the lips' own landmarks, which the model pairs."""
    at = renderer.geometry.lip_fullness[renderer.geometry.landmarks]
    for right, left in ((49, 53), (50, 52), (59, 55), (58, 56)):
        np.testing.assert_allclose(at[right, 1:], at[left, 1:], atol=0.02)


def test_only_the_outer_skin_around_the_mouth_moves(renderer):
    geometry = renderer.geometry
    moved = np.flatnonzero(np.abs(geometry.lip_fullness).max(axis=1) > 0.02)
    assert np.isin(moved, geometry.parts.skin).all()
    points, mouth = geometry.neutral[moved], geometry.neutral[geometry.landmarks[48:60]]
    assert np.abs(points[:, 0]).max() <= mouth[:, 0].max() + 0.01
    nose, chin = geometry.neutral[geometry.landmarks[33], 1], geometry.neutral[geometry.landmarks[8], 1]
    assert chin < points[:, 1].min() and points[:, 1].max() < nose + 0.5


@pytest.mark.parametrize("fullness", [THIN, FULL])
def test_the_skin_does_not_fold_over_itself(renderer, fullness):
    """Triangles of the outer skin that looked ahead go on looking ahead."""
    geometry = renderer.geometry
    outer = np.isin(geometry.triangles, geometry.parts.skin).all(axis=1)
    triangles = geometry.triangles[outer]

    def facing(points):
        a, b, c = (points[triangles[:, k]] for k in range(3))
        normal = np.cross(b - a, c - a)
        return normal[:, 2] / np.maximum(np.linalg.norm(normal, axis=1), 1e-9)

    ahead = facing(geometry.neutral) > 0.3
    assert ahead.sum() > 5000
    after = facing(geometry.neutral + np.float32(fullness) * geometry.lip_fullness)[ahead]
    assert (after > 0).mean() > 0.999


@pytest.mark.parametrize("fullness", [THIN, FULL])
def test_closed_lips_stay_closed(renderer, fullness):
    for number in range(6):
        person = renderer.person(identity(number, lip_fullness=fullness, lip_gap=0.02), Variation.none())
        nothing = np.zeros((1, len(ACTION_UNITS), 2), np.float32)
        made = renderer.render(person, [frontal_nuisance()], nothing, 32)
        assert made.action_units[0, COLUMN["AU25"]] == 0, number


def test_a_person_has_the_lips_of_the_identity(renderer):
    def lips(fullness):
        person = renderer.person(identity(3, lip_fullness=fullness, lip_gap=0.0), Variation.none())
        return heights(person.neutral[renderer.geometry.landmarks])

    own = heights(renderer.geometry.neutral[renderer.geometry.landmarks])
    np.testing.assert_allclose(lips(FULL) - lips(0.0), FULL * own, rtol=0.1)


def test_people_differ_in_it():
    drawn = np.array([identity(number).lip_fullness for number in range(200)])
    assert THIN <= drawn.min() < -0.38 and 0.52 < drawn.max() <= FULL


@pytest.mark.parametrize("number", [0, 2, 5])
def test_teeth_are_lighter_than_the_skin(renderer, number):
    """Also of pale people: in photographs a smile shows as the lightest part of the face's lower half."""
    person = renderer.person(identity(number), Variation.none())
    sides = np.zeros((2, len(ACTION_UNITS), 2), np.float32)
    sides[:, COLUMN["AU12"]], sides[1, COLUMN["AU25"]] = 4, 3
    shut, shown = renderer.render(person, [frontal_nuisance()] * 2, sides, 128).images.astype(np.float64)
    changed = np.abs(shown - shut).sum(axis=-1) > 60
    mouth = np.zeros_like(changed)
    mouth[int(0.62 * 128) : int(0.8 * 128), int(0.3 * 128) : int(0.7 * 128)] = True
    teeth = np.sort(shown[changed & mouth].mean(axis=-1))[-40:].mean()
    assert teeth > shut[mouth].mean(axis=-1).mean()
