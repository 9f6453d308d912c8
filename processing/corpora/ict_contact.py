"""Where parts of a face meet, little light gets in: between the lips, under the upper lid, into a mouth barely open.

The renderer's soft shadows are too coarse for these. Lengths are centimetres of the model.
"""

import numpy as np
from numba import njit

# Of the 68 landmarks.
INNER_LINE = (48, 60, 61, 62, 63, 64, 54)  # where the upper lip meets the lower, from corner to corner by x
# The subject's left eye, the right one, by increasing x.
UPPER_LIDS = ((42, 43, 44, 45), (36, 37, 38, 39))
LOWER_LIDS = ((42, 47, 46, 45), (36, 41, 40, 39))
SEAM = 0.16  # half the height of the dark line between the lips
CORNER_RADIUS = 0.3
LASH_LINE = 0.2  # half the height of the line that the roots of the lashes draw
LID_REACH = 0.65  # how far below the upper lid its shadow ends
DEEPEST_LID = 0.3  # share of the light that is left right under the lid
SLIT, OPEN = 0.1, 0.3  # gaps of the lips: up to the first, teeth lie in the dark; from the second on, none does
DARKEST_MOUTH = 0.12
_FRONT = 8.5  # z before which lips and lids lie


def lip_seam(points: np.ndarray, skin: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(V,) 1 where the lips touch each other and in the corners of the mouth, falling to 0 around.

    Args:
        points: (V, 3) mean shape. skin: vertex numbers of the outer skin. landmarks: (68,) vertex numbers.
    """
    weights = np.zeros(len(points), dtype=np.float32)
    chosen = skin[points[skin, 2] > _FRONT]
    near, line = points[chosen], points[landmarks[list(INNER_LINE)]]
    between = (near[:, 0] > line[0, 0]) & (near[:, 0] < line[-1, 0])
    height, depth = (np.interp(near[:, 0], line[:, 0], line[:, axis]) for axis in (1, 2))
    off = np.abs(near[:, 1] - height) / SEAM
    behind = np.clip((depth - near[:, 2]) / SEAM, 0, 1) * (off < 4)  # the inner side of the lips
    seam = between * np.maximum(np.exp(-(off**2)), behind)
    distance = np.linalg.norm(near[:, None] - line[[0, -1]], axis=-1).min(axis=1)
    weights[chosen] = np.maximum(seam, np.exp(-((distance / CORNER_RADIUS) ** 2)))
    return weights


def lash_line(points: np.ndarray, skin: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(V,) 1 on the edges of the upper lids, falling to 0 around; arguments as for `lip_seam`."""
    weights = np.zeros(len(points), dtype=np.float32)
    chosen = skin[points[skin, 2] > _FRONT - 0.5]
    near = points[chosen]
    for lid in UPPER_LIDS:
        curve = lid_curve(points[landmarks], lid)
        distance = np.linalg.norm(near[:, None] - curve, axis=-1).min(axis=1)
        weights[chosen] = np.maximum(weights[chosen], np.exp(-((distance / LASH_LINE) ** 2)))
    return weights


def lid_curve(marks: np.ndarray, lid: tuple[int, ...]) -> np.ndarray:
    """(60, 3) points along the edge of a lid, from the landmarks (68, 3)."""
    edge = marks[list(lid)]
    x = np.linspace(edge[0, 0], edge[-1, 0], 60)
    return np.stack([x, *(np.interp(x, edge[:, 0], edge[:, axis]) for axis in (1, 2))], axis=1)


@njit(cache=True, nogil=True)
def light_under_lid(eyeball: np.ndarray, lid: np.ndarray) -> np.ndarray:
    """(M,) share of the light that reaches the vertices (M, 3) of an eyeball below its upper lid.

    `lid`: (4, 3) its landmarks in the order of `UPPER_LIDS`.
    """
    middle, half = (lid[0, 0] + lid[-1, 0]) / 2, (lid[-1, 0] - lid[0, 0]) / 2
    edge = np.interp(eyeball[:, 0], lid[:, 0], lid[:, 1])
    light = np.empty(len(eyeball), dtype=np.float32)
    for v in range(len(eyeball)):
        share = min(max((edge[v] - eyeball[v, 1]) / LID_REACH, 0), 1)
        # The whites in the corners lie deeper than the middle of the eye.
        aside = abs(eyeball[v, 0] - middle) / half
        corner = 1 - 0.4 * min(max((aside - 0.45) / 0.55, 0), 1)
        light[v] = (DEEPEST_LID + (1 - DEEPEST_LID) * share * (2 - share)) * corner
    return light


@njit(cache=True, nogil=True)
def dim(light: np.ndarray, vertices: np.ndarray, shares: np.ndarray) -> None:
    """Multiplies rows of light (V, C), those of `vertices` (M,), by shares (M,); indexing takes numpy far longer."""
    for row in range(len(vertices)):
        for kind in range(light.shape[1]):
            light[vertices[row], kind] *= shares[row]


def light_into_mouth(gap: float) -> float:
    """Share of the light that reaches teeth and gums behind lips that are `gap` apart."""
    share = np.clip((gap - SLIT) / (OPEN - SLIT), 0, 1)
    return float(DARKEST_MOUTH + (1 - DARKEST_MOUTH) * share * (2 - share))
