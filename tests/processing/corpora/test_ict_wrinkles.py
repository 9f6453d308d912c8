from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from processing.corpora.bilateral_behaviour import ACTION_UNITS, COLUMN, LEFT, RIGHT
from processing.corpora.ict_geometry import TEXTURE_SHAPE, texel_grid
from processing.corpora.ict_identity import RESTING_WRINKLES, sample_identity
from processing.corpora.ict_wrinkles import SHIFTED, add_wrinkles, wrinkle_depths

# Which folds an AU makes, by the FACS manual's appearance changes.
MADE_BY = {
    "AU1": "forehead",
    "AU2": "forehead",
    "AU4": "glabella",
    "AU6": "crows_feet",
    "AU7": "under_eye",
    "AU9": "nose_side",
    "AU10": "nasolabial",
    "AU12": "nasolabial",
    "AU14": "dimple",
    "AU15": "marionette",
    "AU17": "chin",
    "AU20": "stretch",
    "AU24": "tight_lips",
}


@pytest.fixture(scope="module")
def wrinkles(renderer):
    return renderer.wrinkles


@pytest.fixture(scope="module")
def landmarks(renderer):
    return renderer.geometry.plane[renderer.geometry.landmarks]


@pytest.fixture(scope="module")
def smooth():
    """Somebody without wrinkles at rest."""
    identity = sample_identity(np.random.default_rng(0))
    nothing = {"resting": dict.fromkeys(RESTING_WRINKLES, 0.0), "lines": np.zeros(len(RESTING_WRINKLES))}
    return replace(identity, wrinkling=0.8, mouth_folds=1.0, **nothing)


def sides(**strengths):
    values = np.zeros((1, len(ACTION_UNITS), 2), dtype=np.float32)
    for name, value in strengths.items():
        values[0, COLUMN[name]] = value
    return values


def depths(wrinkles, identity, **strengths):
    return wrinkle_depths(wrinkles, identity, sides(**strengths), True)[0]


def plane(wrinkles, chosen):
    """(rows, columns) heights of the chosen groups at full depth."""
    return add_wrinkles(wrinkles, np.array(chosen, dtype=np.float32), np.zeros(TEXTURE_SHAPE, np.float32))


def centre(heights):
    """(s, y) in centimetres of a group's relief."""
    s, y = texel_grid()
    weight = np.abs(heights) / np.abs(heights).sum()
    return float((weight * s).sum()), float((weight * y).sum())


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_an_unmoved_face_has_none_and_each_unit_makes_its_own(name, wrinkles, smooth):
    assert not depths(wrinkles, smooth).any()
    made = depths(wrinkles, smooth, **{name: 5})
    if name in MADE_BY:
        groups = {wrinkle.name for wrinkle, depth in zip(wrinkles, made, strict=True) if depth > 0.6 * 0.8}
        assert MADE_BY[name] in groups
    levels = np.stack([depths(wrinkles, smooth, **{name: level}) for level in (0, 1, 2, 3, 4, 5)])
    assert (np.diff(levels, axis=0) >= 0).all() and levels.max() <= 1.3
    np.testing.assert_allclose(levels[3], made * 3 / 5, atol=1e-6)


@pytest.mark.parametrize("name", MADE_BY)
def test_one_side_makes_one_sides_folds(name, wrinkles, smooth):
    left, right = (depths(wrinkles, smooth, **{name: value}) for value in ((5, 0), (0, 5)))
    assert left.any() and right.any()
    assert {wrinkle.side for wrinkle, depth in zip(wrinkles, left, strict=True) if depth} == {LEFT}
    assert {wrinkle.side for wrinkle, depth in zip(wrinkles, right, strict=True) if depth} == {RIGHT}


def test_switched_off(wrinkles, smooth):
    lined = replace(smooth, resting=dict.fromkeys(RESTING_WRINKLES, 1.0))
    every = np.full((2, 21, 2), 5, dtype=np.float32)
    assert not wrinkle_depths(wrinkles, lined, every, False).any()
    assert wrinkle_depths(wrinkles, lined, every, True).shape == (2, len(wrinkles))


@pytest.mark.parametrize("name", RESTING_WRINKLES)
def test_resting_wrinkles_show_without_movement(name, wrinkles, smooth):
    made = depths(wrinkles, replace(smooth, resting={name: 1.0}))
    assert {wrinkle.name for wrinkle, depth in zip(wrinkles, made, strict=True) if depth} == {name}
    assert made.max() < 0.8  # fainter than what an AU makes


def test_older_skin_folds_deeper(wrinkles, smooth):
    shallow, deep = (depths(wrinkles, replace(smooth, wrinkling=value), AU12=4, AU6=4) for value in (0.4, 0.8))
    np.testing.assert_allclose(deep, 2 * shallow, rtol=1e-5)


def test_depths_of_a_row_do_not_depend_on_the_others(wrinkles, smooth):
    given = np.random.default_rng(0).uniform(0, 5, (5, 21, 2)).astype(np.float32)
    together = wrinkle_depths(wrinkles, smooth, given, True)
    for index in range(5):
        np.testing.assert_array_equal(
            wrinkle_depths(wrinkles, smooth, given[index : index + 1], True)[0], together[index]
        )


def test_heights_are_summed_where_they_belong(wrinkles):
    rng = np.random.default_rng(1)
    base = rng.normal(0, 0.01, TEXTURE_SHAPE).astype(np.float32)
    kept, given = base.copy(), rng.uniform(0.05, 1, len(wrinkles)).astype(np.float32)
    expected = base.astype(np.float64)
    for wrinkle, depth in zip(wrinkles, given, strict=True):
        for (row, column), height in np.ndenumerate(wrinkle.heights):
            expected[wrinkle.row + row, wrinkle.column + column] += depth * height
    np.testing.assert_allclose(add_wrinkles(wrinkles, given, base), expected, atol=1e-5)
    np.testing.assert_array_equal(base, kept)


def test_depth_within_a_few_millimetres(wrinkles):
    for wrinkle in wrinkles:
        assert 0.02 < np.abs(wrinkle.heights).max() < 0.25, wrinkle.name


def test_each_side_is_the_others_mirror(wrinkles):
    """Texels of the two sides do not fall on each other exactly, hence on coarse blocks."""
    for name in {wrinkle.name for wrinkle in wrinkles}:
        of = {side: [w.name == name and w.side == side for w in wrinkles] for side in (LEFT, RIGHT)}
        left, right = plane(wrinkles, of[LEFT]), plane(wrinkles, of[RIGHT])[:, ::-1]
        (s_left, y_left), (s_right, y_right) = centre(left), centre(right)
        assert s_left > 0.1 and abs(s_left - s_right) < 0.25 and abs(y_left - y_right) < 0.25, name
        assert 0.9 < np.abs(left).sum() / np.abs(right).sum() < 1.1


def test_places(wrinkles, landmarks):
    """Where folds lie beside brows, eyes, nose and mouth: on the subject's left, s grows outwards."""
    at = {
        name: centre(plane(wrinkles, [w.name == name and w.side == LEFT for w in wrinkles]))
        for name in {wrinkle.name for wrinkle in wrinkles}
    }
    brow, eye_in, eye_out, wing, corner = (landmarks[i] for i in (24, 42, 45, 35, 54))
    root, tip, chin = landmarks[27], landmarks[30], landmarks[8]
    assert at["forehead"][1] > brow[1] + 0.5
    assert at["glabella"][0] < eye_in[0] and root[1] - 0.5 < at["glabella"][1] < brow[1] + 1
    assert at["crows_feet"][0] > eye_out[0] and abs(at["crows_feet"][1] - eye_out[1]) < 1
    assert eye_in[0] < at["under_eye"][0] < eye_out[0] and at["under_eye"][1] < eye_in[1] - 0.5
    assert at["nose_side"][0] < eye_in[0] and tip[1] < at["nose_side"][1] < root[1]
    assert at["nasolabial"][0] > wing[0] and corner[1] - 0.6 < at["nasolabial"][1] < tip[1]
    for name in ("dimple", "stretch", "marionette"):
        assert corner[0] < at[name][0] < corner[0] + 2, name
    assert at["marionette"][1] < corner[1] - 0.3 and abs(at["dimple"][1] - corner[1]) < 0.5
    assert at["chin"][0] < corner[0] and chin[1] < at["chin"][1] < corner[1]
    assert at["tight_lips"][0] < corner[0] and corner[1] < at["tight_lips"][1] < tip[1]


def test_the_fold_beside_the_mouth_has_a_share_of_its_own(wrinkles, smooth):
    """Others deepen as they did."""
    names = np.array([wrinkle.name for wrinkle in wrinkles])
    full, half, none = (
        depths(wrinkles, replace(smooth, mouth_folds=share), AU12=4, AU4=3, AU15=2) for share in (1.0, 0.5, 0.0)
    )
    mouth = names == "nasolabial"
    np.testing.assert_allclose(half[mouth], full[mouth] / 2)
    assert (full[mouth] > 0.5).all() and not none[mouth].any()
    np.testing.assert_array_equal(none[~mouth], full[~mouth])


@pytest.mark.parametrize("name", RESTING_WRINKLES)
def test_lines_are_there_at_rest_and_what_is_made_comes_on_top(name, wrinkles, smooth):
    """The deeper of line and resting wrinkle counts."""
    lines = 0.7 * (np.array(RESTING_WRINKLES) == name)
    lined = replace(smooth, lines=lines)
    here = np.array([wrinkle.name == name for wrinkle in wrinkles])
    rest = depths(wrinkles, lined)
    np.testing.assert_allclose(rest, 0.7 * here, rtol=1e-6)
    both = depths(wrinkles, replace(lined, resting={name: 1.0}))
    np.testing.assert_array_equal(both, rest)
    moved, unlined = (depths(wrinkles, person, AU12=2, AU6=2, AU15=2, AU1=2, AU4=2) for person in (lined, smooth))
    np.testing.assert_allclose(moved, np.minimum(unlined + rest, 1.3), rtol=1e-5)


def test_folds_around_the_mouth_lie_elsewhere_on_each_person(wrinkles):
    """Outwards and up on both sides; the others stay."""
    base = np.zeros(TEXTURE_SHAPE, np.float32)
    for name in {wrinkle.name for wrinkle in wrinkles}:
        for side in (LEFT, RIGHT):
            chosen = np.array([w.name == name and w.side == side for w in wrinkles], dtype=np.float32)
            (s, y), (moved_s, moved_y) = (
                centre(add_wrinkles(wrinkles, chosen, base, shift)) for shift in ((0.0, 0.0), (0.4, -0.3))
            )
            expected = (0.4, -0.3) if name in SHIFTED else (0.0, 0.0)
            outwards = moved_s - s if side == LEFT else s - moved_s
            np.testing.assert_allclose((outwards, moved_y - y), expected, atol=1e-3, err_msg=name)
