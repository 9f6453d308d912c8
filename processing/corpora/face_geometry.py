"""Landmarks and boxes as data sets ship them, checked before a crop is made from them."""

from collections.abc import Sequence

import numpy as np

from processing.corpora.official import ReadingReport
from processing.face_alignment_clef import crop_matrix

# The 68-point scheme of iBUG 300-W, counted from 0. "Right" is the subject's own, on the left of the picture.
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
NOSE_TIP, RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER = 30, 48, 54


def five_of_68(landmarks: np.ndarray) -> np.ndarray:
    """(68, 2) → (5, 2): the eyes' middles, nose tip and mouth corners, in the order of `crop_matrix`."""
    return np.stack(
        [
            landmarks[RIGHT_EYE].mean(axis=0),
            landmarks[LEFT_EYE].mean(axis=0),
            landmarks[NOSE_TIP],
            landmarks[RIGHT_MOUTH_CORNER],
            landmarks[LEFT_MOUTH_CORNER],
        ]
    )


def numbers(texts: Sequence[str], count: int) -> np.ndarray | None:
    """float64 (count,); None unless these are `count` finite numbers."""
    try:
        values = np.array([float(text) for text in texts])
    except ValueError:
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def checked_points(
    points: np.ndarray | None, report: ReadingReport, sequence: str, example: str, box: np.ndarray | None = None
) -> np.ndarray | None:
    """`points` if a crop can be made from them and their middle lies in `box` (where given).

    Others, None included, are counted as "landmarks that cannot be used": the face is then left to a detector.
    """
    try:
        if points is None:
            raise ValueError("not the expected numbers")
        crop_matrix(points, size=1)
        x, y = points.mean(axis=0)
        if box is not None and not (box[0] <= x <= box[2] and box[1] <= y <= box[3]):
            raise ValueError(f"their middle ({x:.0f}, {y:.0f}) is outside of the face's box {box.tolist()}")
    except ValueError as error:
        report.add("landmarks that cannot be used", sequence, example=f"{example}: {error}")
        return None
    return points


def checked_box(edges: np.ndarray | None, report: ReadingReport, sequence: str, example: str) -> np.ndarray | None:
    """`edges` if they are left < right and top < bottom, float64 (4,); others are counted as "box that cannot be
    used"."""
    if edges is not None and edges[0] < edges[2] and edges[1] < edges[3]:
        return edges
    found = "not the expected numbers" if edges is None else edges.tolist()
    report.add("box that cannot be used", sequence, example=f"{example}: {found}")
    return None
