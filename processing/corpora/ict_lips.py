"""Lips fuller and thinner than the face model's own modes make them.

Lengths are centimetres of the model, whose upper and lower lip are .84 and .98 high in the middle.
"""

import numpy as np

# Of the 68 landmarks, from the subject's right to the left.
UPPER_EDGE, UPPER_INNER = (48, 49, 50, 51, 52, 53, 54), (60, 61, 62, 63, 64)
LOWER_EDGE, LOWER_INNER = (48, 59, 58, 57, 56, 55, 54), (60, 67, 66, 65, 64)
FALL = 1.0  # how far beyond a lip's edge the skin gives way, in heights of the lip
BULGE = 0.35  # how far a lip comes forward as it grows, in what its height grows by
_FRONT = 8.5  # z before which the lips lie


def fullness_shape(points: np.ndarray, skin: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(V, 3) by how much each vertex moves where the red of both lips gets twice as high.

    The line between the lips and the corners of the mouth stay, so that closed lips stay closed.

    Args:
        points: (V, 3) mean shape. skin: vertex numbers of the outer skin. landmarks: (68,) vertex numbers.
    """
    shape = np.zeros_like(points)
    chosen = skin[points[skin, 2] > _FRONT]
    x, y = points[chosen, 0], points[chosen, 1]
    marks = points[landmarks]
    middle = np.cos(np.clip(x / marks[54, 0], -1, 1) * np.pi / 2)
    for edge, inner, up in ((UPPER_EDGE, UPPER_INNER, 1), (LOWER_EDGE, LOWER_INNER, -1)):
        line = np.interp(x, marks[list(inner), 0], marks[list(inner), 1])
        height = np.maximum(up * (np.interp(x, marks[list(edge), 0], marks[list(edge), 1]) - line), 0.1)
        at = np.maximum(up * (y - line), 0) / height  # 0 where the lips meet, 1 at the edge of the red
        moved = np.where(at < 1, at, np.exp(-(((at - 1) / FALL) ** 2)))
        shape[chosen, 1] += up * height * middle * moved
        shape[chosen, 2] += BULGE * height * middle * moved * np.exp(-(np.maximum(at - 0.5, 0) ** 2))
    return shape
