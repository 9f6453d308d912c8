"""AUs as blend-shape weights of the ICT-FaceKit model, and the AU that only the finished face tells: AU25.

The assignment follows ICT-FaceKit's own table of FACS units, with these changes (ours): AU10 is mouthUpperUp, which
looks closer than mouthShrugUpper; AU6, 9, 14 and 20 take a little of a neighbour along, as the muscles do; AU23, which
has no shape, is put together from presses and rolls.
"""

import numpy as np

from processing.corpora.bilateral_behaviour import ACTION_UNITS, COLUMN

# AU -> {shape: weight at intensity 5}; "_" at a name's end stands for both sides, each moved by its own intensity.
SHAPES: dict[str, dict[str, float]] = {
    "AU1": {"browInnerUp_": 1.0},
    "AU2": {"browOuterUp_": 0.9},
    "AU4": {"browDown_": 1.15},
    "AU5": {"eyeWide_": 1.15},
    "AU6": {"cheekSquint_": 1.1, "eyeSquint_": 0.45},
    "AU7": {"eyeSquint_": 1.15, "eyeBlink_": 0.12},
    "AU9": {"noseSneer_": 0.95, "browDown_": 0.25},
    "AU10": {"mouthUpperUp_": 0.95},
    "AU12": {"mouthSmile_": 1.05},
    "AU14": {"mouthDimple_": 1.1, "mouthPress_": 0.15},
    "AU15": {"mouthFrown_": 1.15},
    "AU17": {"mouthShrugLower": 0.9, "mouthRollLower": 0.1},
    "AU18": {"mouthPucker": 0.95},
    "AU20": {"mouthStretch_": 1.05, "mouthDimple_": 0.1},
    "AU23": {"mouthPress_": 0.5, "mouthRollLower": 0.3, "mouthRollUpper": 0.3, "mouthPucker": 0.15},
    "AU24": {"mouthPress_": 0.95, "mouthRollLower": 0.12, "mouthRollUpper": 0.12},
    "AU25": {"mouthLowerDown_": 0.75, "mouthUpperUp_": 0.4},
    "AU26": {"jawOpen": 0.42},
    "AU27": {"jawOpen": 0.95, "mouthStretch_": 0.1},
    "AU28": {"mouthRollLower": 0.95, "mouthRollUpper": 0.95},
    "AU45": {"eyeBlink_": 1.0},
}
# What else a person's AU may move, and how much of it at most at intensity 5: the same muscle pulls each face a little
# differently. An AU that is not here looks alike in all.
STYLES: dict[str, dict[str, float]] = {
    "AU1": {"browOuterUp_": 0.25},
    "AU2": {"browInnerUp_": 0.25},
    "AU4": {"noseSneer_": 0.15, "eyeSquint_": 0.3},
    "AU6": {"eyeBlink_": 0.15, "noseSneer_": 0.12},
    "AU12": {"mouthUpperUp_": 0.3, "mouthStretch_": 0.35, "mouthDimple_": 0.35, "cheekSquint_": 0.35},
    "AU15": {"mouthStretch_": 0.25, "mouthShrugLower": 0.2},
    "AU20": {"mouthFrown_": 0.25},
    "AU25": {"mouthUpperUp_": 0.3, "mouthLowerDown_": 0.3},
}
# Shapes that a face may carry at rest, and the spread of their weights: none of them is an AU that is shown.
RESTING_SHAPES = {
    "mouthSmile_": 0.11,
    "mouthFrown_": 0.15,
    "mouthPress_": 0.15,
    "mouthStretch_": 0.12,
    "mouthUpperUp_": 0.05,
    "mouthShrugLower": 0.10,
    "mouthPucker": 0.10,
    "browDown_": 0.18,
    "browInnerUp_": 0.12,
    "browOuterUp_": 0.12,
    "eyeSquint_": 0.20,
    "eyeWide_": 0.12,
    "eyeBlink_": 0.07,
    "cheekSquint_": 0.15,
    "noseSneer_": 0.06,
}
STYLE_COUNT = sum(len(shapes) for shapes in STYLES.values())
ADDING_LIMIT = {"jawOpen": 1.0, "eyeBlink": 1.02, "mouthPress": 1.1, "mouthRollLower": 1.0, "mouthRollUpper": 1.0}

# AU25 from the gap between the inner lips: below the first no mouth is open, a third more of the way to 5 at each
# further `_GAP_SCALE`.
_GAP_CLOSED, _GAP_SCALE = 0.06, 0.7  # centimetres


def shape_names() -> list[str]:
    """Every blend shape that an AU moves, in a fixed order."""
    names = {}
    for shapes in SHAPES.values():
        for name in shapes:
            names.update(dict.fromkeys([name + "L", name + "R"] if name.endswith("_") else [name]))
    return list(names)


def shape_weights(sides: np.ndarray, names: list[str], style: np.ndarray | None = None) -> np.ndarray:
    """(N, len(names)) float32 weights of blend shapes for intensities (N, 21, 2) in 0..5, left and right.

    `style`: (STYLE_COUNT,) in 0..1, how much of each of `STYLES` a person has; None: nothing of it.
    """
    strength = np.asarray(sides, dtype=np.float32) / 5
    position = {name: index for index, name in enumerate(names)}
    weights = np.zeros((len(strength), len(names)), dtype=np.float32)

    def add(au: str, name: str, weight: float) -> None:
        left, right = strength[:, COLUMN[au], 0], strength[:, COLUMN[au], 1]
        if name.endswith("_"):
            weights[:, position[name + "L"]] += weight * left
            weights[:, position[name + "R"]] += weight * right
        else:
            weights[:, position[name]] += weight * np.maximum(left, right)

    for au in ACTION_UNITS:
        for name, weight in SHAPES[au].items():
            add(au, name, weight)
    if style is not None:
        shares = iter(style.tolist())
        for au, shapes in STYLES.items():
            for name, weight in shapes.items():
                add(au, name, weight * next(shares))
    for stem, limit in ADDING_LIMIT.items():
        for name in names:
            if name.startswith(stem):
                np.minimum(weights[:, position[name]], limit, out=weights[:, position[name]])
    return weights


def resting_weights(draws: np.ndarray, names: list[str]) -> np.ndarray:
    """(len(names),) float32 weights of the shapes of a resting face, for standard normal draws (RESTING_SHAPES,)."""
    position = {name: index for index, name in enumerate(names)}
    weights = np.zeros(len(names), dtype=np.float32)
    for draw, (name, spread) in zip(draws, RESTING_SHAPES.items(), strict=True):
        for side in ("L", "R") if name.endswith("_") else ("",):
            weights[position[name + side]] = spread * draw
    return weights


def lips_part(gap: np.ndarray) -> np.ndarray:
    """AU25's intensity 0..5 for a gap between the inner lips in centimetres: AU9, 10, 12, 26 and 27 part them, too."""
    return 5 * (1 - np.exp(-np.maximum(np.asarray(gap) - _GAP_CLOSED, 0) / _GAP_SCALE))
