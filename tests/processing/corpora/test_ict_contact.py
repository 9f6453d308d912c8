from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from processing.corpora.bilateral_behaviour import ACTION_UNITS, COLUMN
from processing.corpora.ict_contact import (
    DEEPEST_LID,
    INNER_LINE,
    LID_REACH,
    LOWER_LIDS,
    OPEN,
    SLIT,
    UPPER_LIDS,
    dim,
    lid_curve,
    light_into_mouth,
    light_under_lid,
)
from processing.corpora.ict_identity import sample_identity
from processing.corpora.ict_nuisance import Variation, frontal_nuisance
from processing.corpora.random_streams import IDENTITY, random_generator

SIZE = 256
CORNERS = (48, 54)


def identity(number, **traits):
    return replace(sample_identity(random_generator(0, IDENTITY, number)), **traits)


def draw(renderer, person, **action_units):
    sides = np.zeros((1, len(ACTION_UNITS), 2), np.float32)
    for name, value in action_units.items():
        sides[0, COLUMN[name]] = value
    return renderer.render(person, [frontal_nuisance()], sides, SIZE)


def moved(renderer, numbers, shape):
    """(M, 3): the vertices `numbers` of the mean face, moved by one blend shape on both sides."""
    geometry = renderer.geometry
    points = geometry.neutral.copy()
    for side in "LR":
        row = geometry.shape_names.index(shape + side)
        part = slice(geometry.starts[row], geometry.starts[row + 1])
        points[geometry.indices[part]] += geometry.deltas[part]
    return points[numbers]


def test_the_seam_is_darkest_where_the_lips_meet_and_in_the_corners(renderer):
    geometry = renderer.geometry
    seam, marks = geometry.lip_seam, geometry.landmarks
    assert seam.min() >= 0 and seam.max() <= 1
    assert (seam[marks[list(INNER_LINE)]] > 0.8).all() and (seam[marks[list(CORNERS)]] > 0.95).all()
    assert (seam[marks[[51, 57]]] < 0.01).all(), "the edges of the red are not the seam"
    assert (seam[marks[[8, 30, 39, 42]]] == 0).all() or seam[marks[[8, 30, 39, 42]]].max() < 1e-6
    assert np.isin(np.flatnonzero(seam), geometry.parts.skin).all()


def test_the_lash_line_runs_along_the_upper_lids_alone(renderer):
    geometry = renderer.geometry
    lash, marks = geometry.lash_line, geometry.landmarks
    assert (lash[marks[[37, 38, 43, 44]]] > 0.9).all()
    assert (lash[marks[[40, 41, 46, 47]]] < 0.1).all()
    assert (lash[marks[[19, 24, 30, 51]]] < 1e-6).all()


def test_a_lid_curve_passes_through_its_landmarks(renderer):
    marks = renderer.geometry.neutral[renderer.geometry.landmarks]
    for lid in (*UPPER_LIDS, *LOWER_LIDS):
        curve = lid_curve(marks, lid)
        assert (np.diff(curve[:, 0]) > 0).all()
        for mark in marks[list(lid)]:
            assert np.linalg.norm(curve - mark, axis=1).min() < 0.05


def test_the_upper_white_of_the_eye_lies_in_the_shadow_of_the_lid():
    lid = np.array([[0, 0, 0], [1, 0.5, 0.3], [2, 0.5, 0.3], [3, 0, 0]], dtype=np.float32)
    below = np.linspace(0, 1, 21)
    column = np.stack([np.full(21, 1.5), 0.5 - below, np.zeros(21)], axis=1).astype(np.float32)
    light = light_under_lid(column, lid)
    assert light[0] == pytest.approx(DEEPEST_LID) and (np.diff(light) >= 0).all()
    np.testing.assert_allclose(light[below >= LID_REACH], 1, rtol=1e-6)
    lowered = light_under_lid(column, lid - np.float32([0, 0.3, 0]))
    assert (lowered <= light).all() and lowered.mean() < light.mean()
    corner = light_under_lid(np.float32([[1.5, -1, 0], [2.9, -1, 0], [0.1, -1, 0]]), lid)
    assert corner[0] > corner[1] == pytest.approx(corner[2])


def test_the_mouth_lightens_as_it_opens():
    light = [light_into_mouth(gap) for gap in np.linspace(-0.2, 1, 60)]
    assert np.diff(light).min() >= 0 and light[0] == light_into_mouth(SLIT) < 0.2 and light_into_mouth(OPEN) == 1


def test_a_narrow_gap_shows_no_bright_teeth_and_a_wide_one_does(renderer):
    """As in photographs: the line of lips that hardly part is dark, whoever's they are."""
    for number in range(4):
        pixels = []
        for gap in (0.02, 0.09):
            person = renderer.person(identity(number, lip_gap=gap), Variation.none())
            pixels.append(draw(renderer, person).images[0].astype(np.float64).mean(axis=-1))
        mouth = np.s_[int(0.6 * SIZE) : int(0.82 * SIZE), int(0.35 * SIZE) : int(0.65 * SIZE)]
        shut, apart = (image[mouth] for image in pixels)
        assert apart.max() <= shut.max() + 12, number
        smile = draw(renderer, person, AU12=4, AU25=4).images[0].astype(np.float64).mean(axis=-1)[mouth]
        assert smile.max() > shut.max() + 12, number


def test_lips_meet_in_a_dark_line(renderer):
    """By as much as the person's `lip_line` says, and nowhere else on the face."""
    faces = []
    for strength in (0.0, 0.9):
        person = renderer.person(identity(3, lip_line=strength, lip_gap=0.0), Variation.none())
        faces.append(draw(renderer, person))
    points = faces[0].landmarks[0]
    darker = faces[0].images[0].astype(int).sum(axis=-1) - faces[1].images[0].astype(int).sum(axis=-1)
    rows, columns = np.nonzero(darker > 60)
    assert len(rows) > 20
    right, left = points[3], points[4]
    assert columns.min() > right[0] - 0.05 * SIZE and columns.max() < left[0] + 0.05 * SIZE
    assert np.abs(rows - (right[1] + left[1]) / 2).max() < 0.07 * SIZE
    assert darker.min() > -10


def test_the_upper_lip_is_as_dark_as_the_identity_says(renderer):
    """Where it changes the picture, it does so above the line between the lips."""
    bright, dark = (
        draw(renderer, renderer.person(identity(3, upper_lip=value, lip_line=0.0), Variation.none()))
        for value in (1.0, 0.65)
    )
    darker = bright.images[0].astype(int).sum(axis=-1) - dark.images[0].astype(int).sum(axis=-1)
    rows, _ = np.nonzero(darker > 12)
    corners = bright.landmarks[0, 3:, 1].mean()
    assert len(rows) > 50 and rows.mean() < corners and (rows < corners + 0.02 * SIZE).mean() > 0.95


def test_lashes_go_where_their_lids_go(renderer):
    """A blink brings the upper lashes down with the lid and leaves the lower ones where they are."""
    geometry = renderer.geometry
    lashes, roots = geometry.parts.lashes, geometry.lash_roots
    assert np.isin(roots, geometry.parts.skin).all()
    away = geometry.neutral[lashes] - geometry.neutral[roots]
    assert np.linalg.norm(away, axis=1).max() < 1.0
    for shape in ("eyeBlink_", "eyeWide_", "cheekSquint_"):
        before, after = geometry.neutral[lashes], moved(renderer, lashes, shape)
        lids = moved(renderer, roots, shape) - geometry.neutral[roots]
        np.testing.assert_allclose(after - before, lids, atol=1e-5)
    down = geometry.neutral[lashes, 1] - moved(renderer, lashes, "eyeBlink_")[:, 1]
    assert np.percentile(down, 90) > 0.5 and np.percentile(down, 10) < 0.1


def test_people_differ_in_it():
    drawn = [identity(number) for number in range(100)]
    for name, low, high in (("lip_line", 0.35, 0.9), ("upper_lip", 0.65, 1.0)):
        values = np.array([getattr(person, name) for person in drawn])
        assert low <= values.min() < low + 0.05 and high - 0.05 < values.max() <= high
    lashes = np.array([person.lashes for person in drawn])
    assert lashes.min() >= 0.3 and lashes.max() == 1, "made-up lashes are black at most"


def test_dim_darkens_the_given_vertices_alone():
    light = np.random.default_rng(0).random((20, 8), dtype=np.float32)
    vertices, shares = np.array([3, 11, 19]), np.float32([0.5, 0.1, 1])
    expected = light.copy()
    expected[vertices, 5:7] *= shares[:, None]
    dim(light[:, 5:7], vertices, shares)
    np.testing.assert_array_equal(light, expected)
