"""From a photograph to the crops that CLEF reads: a face detector, and a versioned similarity warp.

Coordinates throughout are (x, y) in pixels with the outer corner of the top left pixel at (0, 0), so that its centre is
(.5, .5) and coordinates scale with the image. "Right" and "left" are the subject's own, as in FACS.

Finding and warping need OpenCV: `pip install opencv-python-headless`.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from .image_processing_clef import to_rgb_image

YUNET_VARIABLE = "CLEF_YUNET"
YUNET_REPOSITORY = "opencv/face_detection_yunet"
YUNET_FILE = "face_detection_yunet_2023mar.onnx"

# Pictures whose longer side is outside of this are scaled for YuNet, which was trained on faces of about 10 to 300
# pixels. On portraits its points are steadiest at 480 (measured by how they move with size and mirroring).
SHORTEST_LONG_SIDE = 480
LONGEST_LONG_SIDE = 640


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


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    box: (4,) float64, its left, top, right and bottom edge; may reach beyond the picture.
    points: (5, 2) float64, right eye, left eye, nose tip, right and left mouth corner.
    score: the detector's confidence in [0, 1].
    """

    box: np.ndarray
    points: np.ndarray
    score: float


class FaceDetector(Protocol):
    def detect(self, image: Any) -> list[Face]:
        """All faces of one image, in the pixels of the upright picture (`to_rgb_image`)."""
        ...


class YuNetDetector:
    """YuNet (Wu, Peng and Yu 2023) through `cv2.FaceDetectorYN`: about 40 ms a picture on one core.

    Args:
        path: the model file. Default: what the environment variable CLEF_YUNET names, else the file
            "face_detection_yunet_2023mar.onnx" of `opencv/face_detection_yunet` in the Hub's cache.
        score_threshold: faces below this score are not returned.

    Raises:
        ImportError: OpenCV is missing. FileNotFoundError: no model file. ValueError: a file that OpenCV cannot load.
    """

    def __init__(self, path: str | Path | None = None, score_threshold: float = 0.6):
        cv2 = _opencv()
        self.path = _yunet_file(path)
        try:
            self._network = cv2.FaceDetectorYN.create(str(self.path), "", (320, 320), score_threshold)
        except cv2.error as error:
            raise ValueError(
                f"OpenCV {cv2.__version__} cannot load {str(self.path)!r} as a YuNet model: {error}. Expected "
                f"{YUNET_FILE} of {YUNET_REPOSITORY}, and OpenCV 4.11 or later."
            ) from error

    def detect(self, image: Any) -> list[Face]:
        """The faces of `image`, the largest first. `image` is whatever `to_rgb_image` takes."""
        cv2 = _opencv()
        picture = np.asarray(to_rgb_image(image))
        height, width = picture.shape[:2]
        wanted = min(max(height, width, SHORTEST_LONG_SIDE), LONGEST_LONG_SIDE)
        factor = wanted / max(height, width)
        size = max(1, round(width * factor)), max(1, round(height * factor))
        if size != (width, height):
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        self._network.setInputSize(size)
        rows = self._network.detect(np.ascontiguousarray(picture[..., ::-1]))[1]  # OpenCV's channels are blue first
        if rows is None:
            return []
        back = np.array([width / size[0], height / size[1]])
        faces = []
        for row in rows.astype(np.float64):
            corner, extent = row[:2] * back, row[2:4] * back
            box = np.concatenate([corner, corner + extent])
            faces.append(Face(box, row[4:14].reshape(5, 2) * back, float(row[14])))
        return sorted(faces, key=lambda face: -np.prod(face.box[2:] - face.box[:2]))


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
    cv2 = _opencv()
    matrix = crop_matrix(points, size, recipe)
    scale = math.hypot(matrix[0, 0], matrix[1, 0])  # crop pixels a picture pixel
    samples = max(2, math.ceil(1 / scale))
    fine = matrix * samples
    # OpenCV counts from the centre of the first pixel.
    fine[:, 2] += fine[:, :2] @ [0.5, 0.5] - 0.5
    side = (size * samples, size * samples)
    picture = np.asarray(to_rgb_image(image))
    warped = cv2.warpAffine(picture, fine, side, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA)


def _opencv():
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "finding and aligning faces needs OpenCV: pip install opencv-python-headless (4.11 or later)."
        ) from error
    return cv2


def _yunet_file(path: str | Path | None) -> Path:
    named = path or os.environ.get(YUNET_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"there is no YuNet model at {str(named)!r}. {_where_from()}")
        return Path(named)
    try:
        return Path(hf_hub_download(YUNET_REPOSITORY, YUNET_FILE, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(f"there is no YuNet model in the Hub's cache. {_where_from()}") from error


def _where_from() -> str:
    return (
        f"Get it with `hf download {YUNET_REPOSITORY} {YUNET_FILE}`, or give the path of a copy, as an argument or in "
        f"the environment variable {YUNET_VARIABLE}."
    )


__all__ = ["EYES_NOSE_1", "CropRecipe", "Face", "FaceDetector", "YuNetDetector", "align_face", "crop_matrix"]
