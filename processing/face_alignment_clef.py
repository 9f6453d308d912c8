"""From a found face to the crop that CLEF reads: a versioned similarity warp. Detectors: `face_detection_clef`.

Coordinates throughout are (x, y) in pixels with the outer corner of the top left pixel at (0, 0), so that its centre is
(.5, .5) and coordinates scale with the image. "Right" and "left" are the subject's own, as in FACS.

Warping needs OpenCV: `pip install opencv-python-headless`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .face_detection_clef import (
    Face,
    FaceDetector,
    GivenFaces,
    HaarDetector,
    YuNetDetector,
    find_detector,
    upright_pixels,
)
from .opencv_clef import opencv


@dataclass(frozen=True)
class CropRecipe:
    """Where eyes and nose come to lie in a square crop, as (x, y) fractions of its side.

    The mouth is left out on purpose: its corners move with the expression, and a warp that follows them takes away
    what is to be seen. A change of the numbers needs another `name`: checkpoints record it (`crop_recipe` of
    `CLEFImageProcessor`). The defaults are ours; the side of the crop is 2.9 times the distance of the eyes.
    """

    name: str = "eyes-nose-1"
    right_eye: tuple[float, float] = (0.3275, 0.365)
    left_eye: tuple[float, float] = (0.6725, 0.365)
    nose_tip: tuple[float, float] = (0.5, 0.575)

    def targets(self, size: int) -> np.ndarray:
        """(3, 2) float64: right eye, left eye and nose tip in a crop of `size` pixels."""
        return np.array([self.right_eye, self.left_eye, self.nose_tip]) * size


EYES_NOSE_1 = CropRecipe()


def crop_matrix(points: Sequence, size: int, recipe: CropRecipe = EYES_NOSE_1) -> np.ndarray:
    """The similarity (2, 3), float64, that takes (x, y, 1) of the picture to (x, y) of the crop.

    Of all rotations with uniform scaling and shift, without reflection, it brings eyes and nose tip nearest to the
    recipe's targets (least squares: Umeyama 1991, in closed form as the plane is the complex numbers).

    Args:
        points: (5, 2) or (3, 2), beginning with right eye, left eye, nose tip.
        size: side of the crop in pixels.

    Raises:
        ValueError: another shape, values that are not finite, eyes at one place, or points in mirrored order.
    """
    given = np.asarray(points, dtype=np.float64)
    if given.shape not in ((5, 2), (3, 2)):
        raise ValueError(
            f"got points of shape {given.shape}, expected (5, 2) or (3, 2): right eye, left eye, nose tip, …"
        )
    if size < 1:
        raise ValueError(f"got a crop of {size} pixels, expected at least 1.")
    given = given[:3]
    if not np.isfinite(given).all():
        raise ValueError(f"got points {given.tolist()}, expected finite numbers.")
    eyes, nose = given[1] - given[0], given[2] - given[:2].mean(axis=0)
    if np.hypot(*eyes) < 1e-6:
        raise ValueError(f"got both eyes at {given[0].tolist()}, expected two places.")
    if eyes[0] * nose[1] - eyes[1] * nose[0] < 0:
        raise ValueError(
            f"got points {given.tolist()}, which show a face in a mirror; expected the subject's right eye (on the "
            "left in the picture) first, then the left eye, then the nose tip."
        )
    source, target = (p[:, 0] + 1j * p[:, 1] for p in (given, recipe.targets(size)))
    centred = source - source.mean()
    turn = (centred.conj() * (target - target.mean())).sum() / (abs(centred) ** 2).sum()
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align_face(image: Any, points: Sequence, size: int, recipe: CropRecipe = EYES_NOSE_1) -> np.ndarray:
    """The aligned crop, uint8 (size, size, 3).

    The picture is sampled about once a pixel of its own, at least twice a pixel of the crop, and averaged over the
    crop's pixels, so that reduction does not alias. Beyond its edges the picture goes on with its outermost pixels.

    Args:
        image: whatever `to_rgb_image` takes.
        points: of the upright picture, as in `crop_matrix`, whose errors are raised too.
    """
    cv2 = opencv()
    matrix = crop_matrix(points, size, recipe)
    scale = math.hypot(matrix[0, 0], matrix[1, 0])  # crop pixels a picture pixel
    samples = max(2, math.ceil(1 / scale))
    fine = matrix * samples
    # OpenCV counts from the centre of the first pixel.
    fine[:, 2] += fine[:, :2] @ [0.5, 0.5] - 0.5
    side = (size * samples, size * samples)
    warped = cv2.warpAffine(upright_pixels(image), fine, side, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA)


__all__ = [
    "EYES_NOSE_1",
    "CropRecipe",
    "Face",
    "FaceDetector",
    "GivenFaces",
    "HaarDetector",
    "YuNetDetector",
    "align_face",
    "crop_matrix",
    "find_detector",
]
