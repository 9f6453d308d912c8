import numpy as np
import pytest

from processing.corpora.bilateral_behaviour import ACTION_UNITS, COLUMN, MIDLINE
from processing.corpora.ict_expression import (
    RESTING_SHAPES,
    STYLE_COUNT,
    STYLES,
    lips_part,
    resting_weights,
    shape_names,
    shape_weights,
)
from processing.corpora.ict_obj import EXPRESSIONS

NAMES = shape_names()


def sides(**strengths):
    """(1, 21, 2) intensities: a number for both sides, a pair for left and right."""
    values = np.zeros((1, len(ACTION_UNITS), 2), dtype=np.float32)
    for name, value in strengths.items():
        values[0, COLUMN[name]] = value
    return values


def weights(**strengths):
    """Shapes that are not zero, by name."""
    row = shape_weights(sides(**strengths), NAMES)[0]
    return {name: float(weight) for name, weight in zip(NAMES, row, strict=True) if weight}


def test_names_are_those_of_the_face_model():
    assert len(NAMES) == len(set(NAMES)) and set(NAMES) <= set(EXPRESSIONS)
    for name in NAMES:
        if name.endswith("_L"):
            assert name[:-1] + "R" in NAMES


# ICT-FaceKit's own table of FACS units and shapes, where this project follows it.
OFFICIAL = {
    "AU1": ["browInnerUp_L", "browInnerUp_R"],
    "AU2": ["browOuterUp_L", "browOuterUp_R"],
    "AU4": ["browDown_L", "browDown_R"],
    "AU5": ["eyeWide_L", "eyeWide_R"],
    "AU6": ["cheekSquint_L", "cheekSquint_R"],
    "AU7": ["eyeSquint_L", "eyeSquint_R"],
    "AU9": ["noseSneer_L", "noseSneer_R"],
    "AU10": ["mouthUpperUp_L", "mouthUpperUp_R"],
    "AU12": ["mouthSmile_L", "mouthSmile_R"],
    "AU14": ["mouthDimple_L", "mouthDimple_R"],
    "AU15": ["mouthFrown_L", "mouthFrown_R"],
    "AU17": ["mouthShrugLower"],
    "AU18": ["mouthPucker"],
    "AU20": ["mouthStretch_L", "mouthStretch_R"],
    "AU24": ["mouthPress_L", "mouthPress_R"],
    "AU25": ["mouthLowerDown_L", "mouthLowerDown_R"],
    "AU26": ["jawOpen"],
    "AU27": ["jawOpen"],
    "AU28": ["mouthRollLower", "mouthRollUpper"],
    "AU45": ["eyeBlink_L", "eyeBlink_R"],
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_main_shape_is_the_official_one(name):
    made = weights(**{name: 5})
    main = max(made.values())
    assert sorted(shape for shape, weight in made.items() if weight == main) == sorted(OFFICIAL[name])
    assert 0.4 <= main <= 1.2


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_weights_are_proportional_to_intensity(name):
    full = shape_weights(sides(**{name: 5}), NAMES)
    for level in (0, 0.7, 2.5, 4):
        np.testing.assert_allclose(shape_weights(sides(**{name: level}), NAMES), full * level / 5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ACTION_UNITS if name not in MIDLINE])
def test_each_side_moves_itself(name):
    left, right = weights(**{name: (4, 0)}), weights(**{name: (0, 4)})
    assert left and all(shape.endswith("L") for shape in left) and all(shape.endswith("R") for shape in right)
    assert weights(**{name: 4}) == {**left, **right}


def test_what_adds_up_stays_within_the_shapes():
    for both in ({"AU26": 5, "AU27": 5}, {"AU7": 5, "AU45": 5}, {"AU23": 5, "AU24": 5, "AU28": 5}):
        assert max(weights(**both).values()) <= 1.2
    assert weights(AU26=5, AU27=5)["jawOpen"] == 1


def test_rows_do_not_mix():
    rng = np.random.default_rng(0)
    given = rng.uniform(0, 5, (6, 21, 2)).astype(np.float32)
    together = shape_weights(given, NAMES)
    assert together.dtype == np.float32
    for index in range(6):
        np.testing.assert_array_equal(shape_weights(given[index : index + 1], NAMES)[0], together[index])


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_a_style_adds_its_own_pull_to_what_an_au_moves(name):
    plain, none, full = (
        shape_weights(sides(**{name: (4, 1)}), NAMES, style)[0]
        for style in (None, np.zeros(STYLE_COUNT), np.ones(STYLE_COUNT))
    )
    np.testing.assert_array_equal(plain, none)
    expected = dict.fromkeys(NAMES, 0.0)
    for shape, weight in STYLES.get(name, {}).items():
        left_right = {"L": 4, "R": 1} if shape.endswith("_") else {"": 4}
        expected |= {shape + side: weight * level / 5 for side, level in left_right.items()}
    np.testing.assert_allclose(full - plain, [expected[shape] for shape in NAMES], atol=1e-6)


def test_each_share_of_a_style_is_one_pull_of_one_au():
    everything = shape_weights(np.ones((1, 21, 2)), NAMES)[0]
    pulls = [(au, shape) for au, shapes in STYLES.items() for shape in shapes]
    assert len(pulls) == STYLE_COUNT
    for index, (au, shape) in enumerate(pulls):
        style = np.eye(STYLE_COUNT)[index]
        moved = {
            name
            for name, w in zip(NAMES, shape_weights(np.ones((1, 21, 2)), NAMES, style)[0] - everything, strict=True)
            if abs(w) > 1e-6
        }
        assert moved and all(name.startswith(shape) for name in moved), (au, shape)


def test_a_face_at_rest():
    draws = np.arange(1, len(RESTING_SHAPES) + 1) / 10
    made = resting_weights(draws, NAMES)
    for draw, (shape, spread) in zip(draws, RESTING_SHAPES.items(), strict=True):
        for name in [shape + "L", shape + "R"] if shape.endswith("_") else [shape]:
            assert made[NAMES.index(name)] == pytest.approx(draw * spread)
    carried = {name for name, weight in zip(NAMES, made, strict=True) if weight}
    assert not any(name.startswith(("jawOpen", "mouthRoll", "mouthLowerDown")) for name in carried)
    assert not resting_weights(np.zeros(len(RESTING_SHAPES)), NAMES).any()


def test_how_far_lips_are_parted():
    gaps = np.linspace(-0.3, 4, 200)
    levels = lips_part(gaps)
    assert (levels[gaps <= 0.06] == 0).all() and (np.diff(levels[gaps > 0.06]) > 0).all() and levels.max() < 5
    # One more scale leaves 1/e of what is left to 5.
    np.testing.assert_allclose([lips_part(0.06 + 0.7), lips_part(0.06 + 1.4)], [5 - 5 / np.e, 5 - 5 / np.e**2])


# Where landmarks of the 68 go, by the FACS manual; centimetres, at full strength on the mean face.
LEFT_BROW, RIGHT_BROW = (22, 23, 24, 25, 26), (21, 20, 19, 18, 17)  # from the middle outwards


@pytest.fixture(scope="module")
def moved(face_model):
    """AUs -> (68, 3) landmarks, from the model's own shapes."""
    neutral = face_model.neutral[face_model.landmarks68]
    deltas = face_model.dense_expressions[:, face_model.landmarks68]
    index = [face_model.expression_names.index(name) for name in NAMES]

    def landmarks(**strengths):
        return neutral + np.tensordot(shape_weights(sides(**strengths), NAMES)[0], deltas[index], 1)

    return landmarks


def height(points, above, below):
    return float(np.mean([points[a, 1] - points[b, 1] for a, b in zip(above, below, strict=True)]))


def lid_gap(points):
    return height(points, (37, 38, 43, 44), (41, 40, 47, 46))


def lip_gap(points):
    return height(points, (61, 62, 63), (67, 66, 65))


def upper_lip(points):
    return float(points[[50, 51, 52], 1].mean())


def width(points):
    return float(points[54, 0] - points[48, 0])


def test_brows(moved):
    rest, inner, outer, down = moved(), moved(AU1=5), moved(AU2=5), moved(AU4=5)
    for brow in (LEFT_BROW, RIGHT_BROW):
        rise = {name: (points - rest)[list(brow), 1] for name, points in (("1", inner), ("2", outer), ("4", down))}
        assert rise["1"][0] > 0.3 and rise["1"][0] > 2 * rise["1"][-1]
        assert rise["2"][3] > 0.3 and rise["2"][3] > 2 * rise["2"][0]
        assert (rise["4"][:3] < -0.15).all()


def test_lids(moved):
    rest = lid_gap(moved())
    assert lid_gap(moved(AU5=5)) > 1.15 * rest
    assert lid_gap(moved(AU45=5)) < 0.3 * rest
    for name in ("AU6", "AU7"):
        assert 0.3 * rest < lid_gap(moved(**{name: 5})) < 0.9 * rest, name


def test_corners_of_the_mouth(moved):
    rest = moved()
    for corner, sign in ((54, 1), (48, -1)):
        smile, frown, stretch, dimple = (moved(**{name: 5})[corner] for name in ("AU12", "AU15", "AU20", "AU14"))
        assert smile[1] > rest[corner, 1] + 0.4 and sign * (smile - rest[corner])[0] > 0.3
        assert frown[1] < rest[corner, 1] - 0.3
        assert sign * (stretch - rest[corner])[0] > 0.3
        assert sign * (dimple - rest[corner])[0] > 0.05
    assert width(moved(AU18=5)) < 0.9 * width(rest)


def test_lips(moved):
    rest = moved()
    assert upper_lip(moved(AU10=5)) > upper_lip(rest) + 0.3 and upper_lip(moved(AU9=5)) > upper_lip(rest) + 0.1
    lower = [56, 57, 58]
    assert moved(AU17=5)[lower, 1].mean() > rest[lower, 1].mean() + 0.1
    red = {name: height(moved(**{name: 5}), (50, 51, 52), (58, 57, 56)) for name in ("AU23", "AU24", "AU28")}
    at_rest = height(rest, (50, 51, 52), (58, 57, 56))
    assert all(value < at_rest for value in red.values()) and red["AU28"] < 0.8 * at_rest


def test_jaw(moved):
    gaps = {name: lip_gap(moved(**{name: 5})) - lip_gap(moved()) for name in ("AU25", "AU26", "AU27")}
    assert 0.3 < gaps["AU25"] < gaps["AU26"] < gaps["AU27"]
    rest = moved()[8, 1]
    lips, jaw, stretch = (rest - moved(**{name: 5})[8, 1] for name in ("AU25", "AU26", "AU27"))
    assert 0.5 < jaw < stretch and lips < 0.4 * jaw


@pytest.mark.parametrize("name", ["AU1", "AU2", "AU4", "AU12", "AU15", "AU20"])
def test_the_left_is_the_subjects_own(moved, name):
    """x of the face model points to the subject's left."""
    change = np.linalg.norm(moved(**{name: (5, 0)}) - moved(), axis=1)
    on_left = moved()[:, 0] > 0.3
    on_right = moved()[:, 0] < -0.3
    assert change[on_left].sum() > 5 * change[on_right].sum()
