"""Wrinkles as heights on the texture plane: each group deepens with its AUs, and some are there at rest (ours)."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from processing.corpora.bilateral_behaviour import COLUMN, LEFT, RIGHT
from processing.corpora.ict_geometry import TEXEL, TEXTURE_BOTTOM, TEXTURE_LEFT, FaceGeometry
from processing.corpora.ict_identity import RESTING_WRINKLES, Identity

SHIFTED = ("nasolabial", "marionette", "under_eye")  # each person has them a little elsewhere
RESTING_DEPTH = 0.55  # of a resting wrinkle against one that its AU makes


@dataclass(frozen=True, eq=False)
class Wrinkle:
    """One group on one side: heights (rows, columns) in centimetres at full depth, at (`top`, `left`) texels."""

    name: str
    side: int
    causes: tuple[tuple[str, float], ...]  # AU and its share in the depth
    heights: np.ndarray
    row: int
    column: int


def make_wrinkles(geometry: FaceGeometry) -> list[Wrinkle]:
    """All groups, placed by the landmarks of the mean face."""
    points = geometry.plane[geometry.landmarks]
    wrinkles = []
    for side, sign in ((LEFT, 1.0), (RIGHT, -1.0)):
        brow, eye_out, eye_in = (points[i] for i in ((24, 45, 42) if side == LEFT else (19, 36, 39)))
        wing, corner = (points[i] for i in ((35, 54) if side == LEFT else (31, 48)))
        nose, chin, root = points[30], points[8], points[27]

        def add(name, causes, centre, half, height, side=side, sign=sign):
            wrinkles.append(_wrinkle(name, side, sign, causes, centre, half, height))

        def forehead(s, y, inner):
            curve = y - 0.035 * s**2 + 0.12 * np.sin(1.3 * s)
            lines = np.cos(2 * np.pi * curve / 0.85)
            across = _fade(s, -0.3, 2.6, 0.5) if inner else _fade(s, 2.3, 5.6, 0.8)
            return 0.045 * lines * across * _fade(y, 0.5, 4.2, 0.8)

        line = (0.0, brow[1])
        add("forehead", (("AU1", 1.0),), line, (3.4, 4.8), lambda s, y: forehead(s, y, True))
        add("forehead", (("AU2", 0.9),), line, (6.6, 4.8), lambda s, y: forehead(s, y, False))
        add(
            "glabella",
            (("AU4", 1.0), ("AU9", 0.3)),
            (0.0, brow[1] - 0.5),
            (1.6, 2.0),
            lambda s, y: -0.09 * np.exp(-(((s - 0.55 - 0.12 * y) / 0.16) ** 2)) * _fade(y, -1.2, 1.2, 0.5),
        )
        add(
            "glabella",
            (("AU9", 1.0), ("AU4", 0.35)),
            (root[0], root[1] + 0.2),
            (1.8, 1.6),
            lambda s, y: (
                0.05 * np.cos(2 * np.pi * (y - 0.25 * s) / 0.6) * _fade(s, -0.2, 1.2, 0.4) * _fade(y, -1, 1, 0.4)
            ),
        )
        add(
            "nose_side",
            (("AU9", 1.0),),
            (sign * 1.1, nose[1] + 1.6),
            (1.4, 1.4),
            lambda s, y: 0.05 * np.cos(2 * np.pi * (y + 0.8 * s) / 0.6) * np.exp(-(s**2) / 0.5 - y**2 / 0.6),
        )

        def feet(s, y):
            radius, angle = np.hypot(s, y), np.arctan2(y, s)
            return 0.055 * np.cos(7.5 * angle) * _fade(radius, 0.25, 2.3, 0.5) * _fade(angle, -0.9, 0.95, 0.35)

        add("crows_feet", (("AU6", 1.0), ("AU12", 0.25), ("AU7", 0.2)), eye_out + [sign * 0.15, 0], (2.8, 2.4), feet)
        add(
            "under_eye",
            (("AU6", 0.9), ("AU7", 0.9)),
            ((eye_in + eye_out) / 2 - [0, 1.15],)[0],
            (2.2, 1.0),
            lambda s, y: -0.07 * np.exp(-(((y - 0.07 * s**2) / 0.15) ** 2)) * _fade(s, -1.7, 1.7, 0.6),
        )

        # From the wing of the nose round the corner of the mouth; the cheek bulges outside of it.
        start, end = (wing + [sign * 0.5, 0.5]) * [sign, 1], (corner + [sign * 1.15, -0.3]) * [sign, 1]

        def nasolabial(s, y, start=start, end=end):
            share = np.clip((start[1] - y) / (start[1] - end[1]), -0.1, 1.15)
            middle = start[0] + (end[0] - start[0]) * np.clip(share, 0, None) ** 0.75
            offset = s - middle
            groove = -0.15 * np.exp(-((offset / 0.3) ** 2)) + 0.10 * np.exp(-(((offset - 0.75) / 0.55) ** 2))
            return groove * _fade(share, 0.0, 0.95, 0.18)

        add(
            "nasolabial",
            (("AU12", 1.0), ("AU10", 0.9), ("AU9", 0.6), ("AU20", 0.25), ("AU6", 0.2)),
            (0.0, 0.0),
            (7.0, 5.0),
            nasolabial,
        )
        add(
            "marionette",
            (("AU15", 1.0), ("AU17", 0.25)),
            corner + [sign * 0.35, -0.8],
            (1.2, 1.6),
            lambda s, y: -0.09 * np.exp(-(((s - 0.1 + 0.15 * y) / 0.2) ** 2)) * _fade(y, -1.1, 0.9, 0.5),
        )
        add(
            "dimple",
            (("AU14", 1.0),),
            corner + [sign * 0.6, 0.05],
            (1.3, 1.3),
            lambda s, y: (
                -0.14 * np.exp(-((s / 0.2) ** 2) - (y / 0.5) ** 2) + 0.07 * np.exp(-(((s - 0.5) ** 2 + y**2) / 0.3))
            ),
        )
        add(
            "stretch",
            (("AU20", 1.0),),
            corner + [sign * 0.9, -0.3],
            (1.6, 1.8),
            lambda s, y: 0.04 * np.cos(2 * np.pi * s / 0.55) * _fade(s, -0.6, 1.0, 0.3) * _fade(y, -1.2, 1.0, 0.4),
        )
        add(
            "chin",
            (("AU17", 1.0), ("AU15", 0.2)),
            (0.0, (chin[1] + corner[1]) / 2 - 0.3),
            (2.0, 1.6),
            lambda s, y: (
                0.045
                * np.cos(9 * s + 3 * np.sin(4 * y))
                * np.cos(8 * y + 2 * np.sin(5 * s))
                * np.exp(-(s**2 + y**2) / 1.1)
                - 0.08 * np.exp(-(((y - 0.85 + 0.1 * s**2) / 0.22) ** 2)) * np.exp(-((s / 1.3) ** 2))
            ),
        )
        add(
            "tight_lips",
            (("AU23", 0.9), ("AU24", 1.0), ("AU28", 0.8), ("AU18", 0.7)),
            (0.0, points[51][1] + 0.45),
            (2.4, 1.0),
            lambda s, y: 0.03 * np.cos(2 * np.pi * s / 0.5) * _fade(s, -0.2, 1.9, 0.3) * _fade(y, -0.6, 0.6, 0.3),
        )
    return wrinkles


def wrinkle_depths(wrinkles: list[Wrinkle], identity: Identity, sides: np.ndarray, enabled: bool) -> np.ndarray:
    """(N, groups) float32 depth of each group, 0 to a bit above 1, for intensities (N, 21, 2)."""
    depths = np.zeros((len(sides), len(wrinkles)), dtype=np.float32)
    if not enabled:
        return depths
    for column, wrinkle in enumerate(wrinkles):
        made = sum(share * sides[:, COLUMN[name], wrinkle.side] / 5 for name, share in wrinkle.causes)
        deepening = identity.wrinkling * (identity.mouth_folds if wrinkle.name == "nasolabial" else 1.0)
        resting = RESTING_DEPTH * identity.resting.get(wrinkle.name, 0.0)
        if wrinkle.name in RESTING_WRINKLES:
            resting = max(resting, identity.lines[RESTING_WRINKLES.index(wrinkle.name)])
        depths[:, column] = np.minimum(np.minimum(made, 1.2) * deepening + resting, 1.3)
    return depths


def add_wrinkles(
    wrinkles: list[Wrinkle], depths: np.ndarray, base: np.ndarray, fold_shift: np.ndarray = (0.0, 0.0)
) -> np.ndarray:
    """The texture plane's heights (rows, columns) for one face: those of the skin with wrinkles of these depths.

    `fold_shift`: centimetres outwards and up by which the folds of `SHIFTED` lie off their mean place.
    """
    heights = base.copy()
    outwards, up = (round(float(centimetres) / TEXEL) for centimetres in fold_shift)
    for wrinkle, depth in zip(wrinkles, depths, strict=True):
        if depth > 0.01:
            row, column = wrinkle.row, wrinkle.column
            if wrinkle.name in SHIFTED:
                row, column = row + up, column + (outwards if wrinkle.side == LEFT else -outwards)
            rows, columns = wrinkle.heights.shape
            _deepen(heights[row : row + rows, column : column + columns], wrinkle.heights, depth)
    return heights


@njit(cache=True, nogil=True)
def _deepen(part, heights, depth):
    for y in range(part.shape[0]):
        for x in range(part.shape[1]):
            part[y, x] += depth * heights[y, x]


def _wrinkle(name, side, sign, causes, centre, half, height) -> Wrinkle:
    """Evaluates `height(s, y)` around `centre`; s runs away from the midline on both sides."""
    low = [round((centre[i] - half[i] - (TEXTURE_LEFT, TEXTURE_BOTTOM)[i]) / TEXEL) for i in (0, 1)]
    count = [round(2 * half[i] / TEXEL) for i in (0, 1)]
    s = TEXTURE_LEFT + TEXEL * (low[0] + np.arange(count[0]))[None] - centre[0]
    y = TEXTURE_BOTTOM + TEXEL * (low[1] + np.arange(count[1]))[:, None] - centre[1]
    heights = height(sign * s, y) * np.ones((count[1], count[0]))
    # Groups centred on the midline have a half each.
    if abs(centre[0]) < 0.2:
        heights = heights * (sign * s > -0.05) if name != "nasolabial" else heights * (sign * s > 0.8)
    return Wrinkle(name, side, causes, heights.astype(np.float32), low[1], low[0])


def _fade(value, low, high, soft):
    """1 between `low` and `high`, falling smoothly over `soft` on either side."""
    rise = np.clip((value - low) / soft + 0.5, 0, 1)
    fall = np.clip((high - value) / soft + 0.5, 0, 1)
    return rise * rise * (3 - 2 * rise) * fall * fall * (3 - 2 * fall)
