"""How good a picture of a face is: size, blur, roll, yaw, and whether results for it can be relied upon.

All limits are ours. They were set where `checkpoints/clef-small` begins to lose much on 48 rendered people whom it had
not seen (mean AUROC of the action units; 89.1 for sharp faces of 45 px between the eyes, turned by up to 30 degrees):
86.3 at 11 px and 81.8 at 7 px; 87.3 at 30 to 40 degrees of yaw and 81.2 at 40 to 50; 86.0 at a Gaussian blur of 2 % of
the crop's side and 81.5 at 3 %. Other checkpoints may bear more or less.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .face_alignment_clef import align_face
from .face_detection_clef import Face
from .opencv_clef import opencv

SMALLEST_EYE_DISTANCE = 12.0  # pixels
LARGEST_YAW = 40.0  # degrees
LARGEST_BLUR = 0.7

# tan(yaw) a shift of the nose tip from the middle of the eyes by one eye distance, along the line of the eyes. Least
# squares over rendered faces; it fits YuNet's points. On people left out of the fit the mean error is 3 degrees up to
# a yaw of 30, 4.5 from 30 to 45 and 8 from 45 to 60.
YAW_FACTOR = 1.75

BLUR_SIDE = 64  # of the crop that blur is measured on, pixels
BLUR_WINDOW = 9  # pixels of it
NOISE_SD = 1.0  # of the Gaussian that takes camera noise off before, pixels


@dataclass(frozen=True)
class FaceQuality:
    """
    detector_score: of the detector, in [0, 1]; not comparable between detectors.
    eye_distance: pixels of the picture.
    box_size: geometric mean of the box's width and height, pixels of the picture.
    blur: of the aligned crop, in [0, 1] (`crop_blur`): about .48 for sharp faces, .6 where Gaussian blur has 2 % of the
        crop's side, .7 at 3.5 %, .8 at 5 %. Small faces count as blurred by what they lack. NaN without a crop.
    roll: degrees that the head is tilted within the picture, positive clockwise as one sees it (towards the subject's
        left shoulder).
    yaw: estimate of the degrees that the head is turned, positive to the subject's left, which is the right of the
        picture.
    out_of_scope: too small, too turned or too blurred to rely on results, or no crop can be made.
    reason: which of these, separated by ", "; "" when in scope.
    """

    detector_score: float
    eye_distance: float
    box_size: float
    blur: float
    roll: float
    yaw: float
    out_of_scope: bool
    reason: str


def face_quality(image: Any, face: Face, crop: np.ndarray | None = None) -> FaceQuality:
    """The quality figures of one face. Needs OpenCV.

    Args:
        image: the picture that the face was found in, whatever `to_rgb_image` takes. Not looked at when there is a
            crop.
        crop: uint8 (S, S, 3), the face's aligned crop, where it has been made already; S at least 64, or blur reads
            somewhat high.

    Raises:
        ValueError: a crop of another shape.
    """
    if crop is None:
        try:
            crop = align_face(image, face.points, BLUR_SIDE)
        except ValueError:  # points without a similarity: in mirrored order, at one place
            pass
    across = face.points[1] - face.points[0]
    eye_distance = float(np.hypot(*across))
    width, height = np.maximum(face.box[2:] - face.box[:2], 0)
    blur = math.nan if crop is None else crop_blur(crop)
    roll = math.degrees(math.atan2(across[1], across[0]))
    yaw = estimate_yaw(face.points)
    reasons = [
        reason
        for reason, holds in (
            ("no crop", crop is None),
            ("too small", eye_distance < SMALLEST_EYE_DISTANCE),
            ("too turned", abs(yaw) > LARGEST_YAW),
            ("too blurred", blur > LARGEST_BLUR),
        )
        if holds
    ]
    return FaceQuality(
        detector_score=float(face.score),
        eye_distance=eye_distance,
        box_size=math.sqrt(width * height),
        blur=blur,
        roll=roll,
        yaw=yaw,
        out_of_scope=bool(reasons),
        reason=", ".join(reasons),
    )


def estimate_yaw(points: np.ndarray) -> float:
    """Degrees that a head is turned, positive to the subject's left, from (5, 2) points; `YAW_FACTOR` tells its error.

    A nose tip lies in front of the eyes; seen under a yaw it moves along their line, and the eyes draw together. The
    mouth would make the estimate better by less than what a lopsided smile takes away.
    """
    across = points[1] - points[0]
    squared = float(across @ across)
    if squared == 0:
        return 0.0
    shift = float((points[2] - points[:2].mean(axis=0)) @ across) / squared
    return math.degrees(math.atan(YAW_FACTOR * shift))


def crop_blur(crop: np.ndarray) -> float:
    """Blur of an aligned crop, uint8 (S, S, 3), in [0, 1]: 0 sharpest, 1 flat.

    Blurs once more and sees how much variation between neighbouring pixels that takes away, which is little from what
    was blurred before (Crété-Roffet et al. 2007, mean of both directions), on grey values of 64 x 64 pixels smoothed a
    little against noise. Contrast does not matter. On rendered faces with known blur the rank correlation is .97, .94
    with noise of 4 grey levels and .84 with 8; the variance of the Laplacian reaches .93, and .31 with noise of 4.

    Raises:
        ValueError: another shape.
    """
    cv2 = opencv()
    if crop.ndim != 3 or crop.shape[2] != 3 or 0 in crop.shape or crop.dtype != np.uint8:
        raise ValueError(f"got a crop of {crop.dtype} {crop.shape}, expected uint8 (S, S, 3).")
    larger = min(crop.shape[:2]) >= BLUR_SIDE
    method = cv2.INTER_AREA if larger else cv2.INTER_LINEAR
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (BLUR_SIDE, BLUR_SIDE), interpolation=method).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), NOISE_SD)
    found = []
    for axis, window in ((0, (1, BLUR_WINDOW)), (1, (BLUR_WINDOW, 1))):
        before = np.abs(np.diff(grey, axis=axis))
        after = np.abs(np.diff(cv2.blur(grey, window), axis=axis))
        total = float(before.sum())
        found.append(1.0 if total < 1e-3 else 1 - float(np.maximum(before - after, 0).sum()) / total)
    return float(np.mean(found))


__all__ = ["FaceQuality", "crop_blur", "estimate_yaw", "face_quality"]
