"""Finding faces: what a face is, and detectors that return faces.

Coordinates as in `face_alignment_clef`: (x, y) in pixels with the outer corner of the top left pixel at (0, 0). "Right"
and "left" are the subject's own. The detectors need OpenCV: `pip install opencv-python-headless`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers.utils import logging

from .face_tilt_clef import FAINT, find_tilted
from .image_reading_clef import to_rgb_image
from .opencv_clef import opencv

logger = logging.get_logger(__name__)

DETECTORS = ("auto", "yunet", "haar")
LANDMARKS = ("right_eye", "left_eye", "nose_tip", "right_mouth_corner", "left_mouth_corner")

YUNET_VARIABLE = "CLEF_YUNET"
YUNET_REPOSITORY = "opencv/face_detection_yunet"
YUNET_FILE = "face_detection_yunet_2023mar.onnx"

# Pictures whose longer side is outside of this are scaled for YuNet, which was trained on faces of about 10 to 300
# pixels. On portraits its points are steadiest at 480 (measured by how they move with size and mirroring).
SHORTEST_LONG_SIDE = 480
LONGEST_LONG_SIDE = 640

HAAR_FILE = "haarcascade_frontalface_default.xml"
# Where points lie in a box, as fractions of its width and height: means over rendered faces turned by less than 25
# degrees. Of Haar's squares, and of boxes from forehead to chin such as YuNet's. Points guessed like this are off by
# about .2 eye distances on the mean (YuNet's: .08 for the eyes, .1 for nose and mouth).
HAAR_POINTS = np.array([[0.32, 0.39], [0.68, 0.39], [0.5, 0.6], [0.345, 0.785], [0.655, 0.785]])
BOX_POINTS = np.array([[0.285, 0.393], [0.715, 0.393], [0.5, 0.595], [0.311, 0.735], [0.689, 0.735]])
BOX_WIDTH, BOX_HEIGHT = 2.26, 2.91  # of such a box, in eye distances
# A Haar cascade's last stage gives frontal faces a weight of 6 in the middle and of 10 at the best.
HAAR_FULL_WEIGHT = 10.0


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    box: (4,) float64, its left, top, right and bottom edge; may reach beyond the picture.
    points: (5, 2) float64, right eye, left eye, nose tip, right and left mouth corner (`LANDMARKS`).
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
    """YuNet (Wu, Peng and Yu 2023) through `cv2.FaceDetectorYN`: about 30 ms a picture on one core, one picture at a
    time (OpenCV offers no batches). Tilted and upside down faces are turned upright and looked at again
    (`face_tilt_clef`). Not to be shared between threads.

    Args:
        path: the model file. Default: what the environment variable CLEF_YUNET names, else the file
            "face_detection_yunet_2023mar.onnx" of `opencv/face_detection_yunet` in the Hub's cache.
        score_threshold: faces below this score are not returned.
        longest_side: larger pictures are scaled down to this many pixels to look for faces. More finds smaller
            faces and takes longer; less is faster.

    Raises:
        ImportError: OpenCV is missing. FileNotFoundError: no model file. ValueError: a file that OpenCV cannot load,
            or a size below 32 pixels.
    """

    def __init__(
        self, path: str | Path | None = None, score_threshold: float = 0.6, longest_side: int = LONGEST_LONG_SIDE
    ):
        cv2 = opencv()
        self.path = _yunet_file(path)
        self.longest_side = _checked_side(longest_side)
        self.score_threshold = score_threshold
        try:
            self._network, self._network_of_parts = (
                cv2.FaceDetectorYN.create(str(self.path), "", (320, 320), threshold)
                for threshold in (min(FAINT, score_threshold), score_threshold)
            )
        except cv2.error as error:
            raise ValueError(
                f"OpenCV {cv2.__version__} cannot load {str(self.path)!r} as a YuNet model: {error}. Expected "
                f"{YUNET_FILE} of {YUNET_REPOSITORY}, and OpenCV 4.11 or later."
            ) from error

    def detect(self, image: Any) -> list[Face]:
        """The faces of `image`, the largest first. `image` is whatever `to_rgb_image` takes."""
        cv2 = opencv()
        shortest = min(SHORTEST_LONG_SIDE, self.longest_side)
        picture, back = _scaled(upright_pixels(image), shortest, self.longest_side)
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        rows = self._rows(picture)
        rows = rows[np.isfinite(rows).all(axis=1)]  # on pictures one pixel high some are not
        faint = rows[:, 14] < self.score_threshold
        faces = []
        for row in find_tilted(picture, rows[~faint], self._rows_of_part, rows[faint]):
            corner, extent = row[:2] * back, row[2:4] * back
            box = np.concatenate([corner, corner + extent])
            faces.append(Face(box, row[4:14].reshape(5, 2) * back, float(row[14])))
        return _largest_first(faces)

    def _rows(self, picture: np.ndarray) -> np.ndarray:
        """float64 (M, 15) of a BGR picture: left, top, width, height, five points and score of each face, and of places
        that are hardly like one."""
        return _detected(self._network, picture)

    def _rows_of_part(self, part: np.ndarray) -> np.ndarray:
        """Those of a small part, faces alone. By a network of its own: each time that the size changes, OpenCV starts
        anew."""
        return _detected(self._network_of_parts, part)


def _detected(network, picture: np.ndarray) -> np.ndarray:
    network.setInputSize(picture.shape[1::-1])
    rows = network.detect(picture)[1]
    return np.zeros((0, 15)) if rows is None else rows.astype(np.float64)


class HaarDetector:
    """The frontal-face cascade that OpenCV 4's wheels contain (Viola and Jones 2001), for want of anything better.

    It finds no points: they are put at fixed proportions of the box (`HAAR_POINTS`), so crops are neither turned
    upright nor exactly placed, and roll and yaw always read 0. Of rendered faces turned by less than 25 degrees it
    found 84 % where YuNet found all. The score is the cascade's own weight over 10, in [0, 1]; it is not comparable
    with YuNet's.

    Args:
        path: a cascade of frontal faces (.xml); default: the one in OpenCV's wheel.
        longest_side: as for `YuNetDetector`.

    Raises:
        ImportError: OpenCV is missing. FileNotFoundError: no cascade (OpenCV 5 ships none). ValueError: a file that is
            none, or a size below 32 pixels.
    """

    def __init__(self, path: str | Path | None = None, longest_side: int = LONGEST_LONG_SIDE):
        cv2 = opencv()
        self.path = _cascade_file(path)
        self.longest_side = _checked_side(longest_side)
        try:
            self._cascade = cv2.CascadeClassifier(str(self.path))
            loaded = not self._cascade.empty()
        except (cv2.error, SystemError):
            loaded = False
        if not loaded:
            raise ValueError(f"OpenCV {cv2.__version__} cannot load {str(self.path)!r} as a Haar cascade.")
        logger.warning_once(
            "faces are looked for with a Haar cascade: it misses turned and small faces, and its eyes, nose and mouth "
            f"are only estimated from its box, so crops are worse. {_where_from()}"
        )

    def detect(self, image: Any) -> list[Face]:
        """The faces of `image`, the largest first. `image` is whatever `to_rgb_image` takes."""
        cv2 = opencv()
        picture, back = _scaled(upright_pixels(image), 1, self.longest_side)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        boxes, _, weights = self._cascade.detectMultiScale3(grey, 1.1, 5, minSize=(24, 24), outputRejectLevels=True)
        faces = []
        for (left, top, width, height), weight in zip(boxes, np.ravel(weights), strict=True):
            box = np.array([left, top, left + width, top + height], dtype=np.float64) * np.tile(back, 2)
            score = float(np.clip(weight / HAAR_FULL_WEIGHT, 0, 1))
            faces.append(Face(box, _points_in(box, HAAR_POINTS), score))
        return _largest_first(faces)


class GivenFaces:
    """The caller's own faces of one picture, as a detector that needs no OpenCV and does not look.

    Args:
        boxes: (N, 4) left, top, right and bottom edge, from forehead to chin. Default: estimated from the points.
        points: (N, 5, 2) in the order of `LANDMARKS`. Default: put at fixed proportions of the boxes (`BOX_POINTS`), in
            which case turned or tilted heads get poor crops.
        scores: (N,) in [0, 1]. Default 1.

    Raises:
        ValueError: neither boxes nor points, other shapes, values that are not finite, boxes without extent.
    """

    def __init__(
        self, boxes: Sequence | None = None, points: Sequence | None = None, scores: Sequence[float] | None = None
    ):
        if boxes is None and points is None:
            raise ValueError("got neither boxes nor points of faces, expected at least one of them.")
        boxes = None if boxes is None else _checked(boxes, (4,), "boxes")
        points = None if points is None else _checked(points, (5, 2), "points")
        count = len(points if boxes is None else boxes)
        scores = np.ones(count) if scores is None else _checked(scores, (), "scores")
        if len(scores) != count or (points is not None and len(points) != count):
            raise ValueError(
                f"got {count} {'points' if boxes is None else 'boxes'}, "
                f"{count if points is None else len(points)} points and {len(scores)} scores; expected one a face."
            )
        if ((scores < 0) | (scores > 1)).any():
            raise ValueError(f"got scores {scores.tolist()}, expected numbers in [0, 1].")
        if boxes is not None and (boxes[:, 2:] <= boxes[:, :2]).any():
            raise ValueError(f"got boxes {boxes.tolist()}, expected left < right and top < bottom.")
        if points is None:
            points = np.stack([_points_in(box, BOX_POINTS) for box in boxes]) if count else np.zeros((0, 5, 2))
        if boxes is None:
            boxes = np.stack([_box_around(five) for five in points]) if count else np.zeros((0, 4))
        self.faces = [Face(*face) for face in zip(boxes, points, scores.tolist(), strict=True)]

    def detect(self, image: Any) -> list[Face]:
        """The given faces in the given order, whatever the image."""
        return list(self.faces)


def find_detector(
    name: str = "auto", path: str | Path | None = None, longest_side: int = LONGEST_LONG_SIDE
) -> FaceDetector:
    """The face detector to use.

    Args:
        name: "yunet"; "haar"; or "auto": YuNet where its file is found (`path`, the environment variable CLEF_YUNET,
            the Hub's cache), else Haar, with a warning about its lower quality.
        path: the detector's file. A file that is named, here or in CLEF_YUNET, and missing is an error in any case.
        longest_side: see `YuNetDetector`.

    Raises:
        ValueError: an unknown name, or a file that is no such model. FileNotFoundError: no model file.
        ImportError: OpenCV is missing.
    """
    if name not in DETECTORS:
        raise ValueError(f"got the face detector {name!r}, expected one of {', '.join(DETECTORS)}.")
    if name == "haar":
        return HaarDetector(path, longest_side)
    if name == "yunet" or path or os.environ.get(YUNET_VARIABLE):
        return YuNetDetector(path, longest_side=longest_side)
    try:
        return YuNetDetector(longest_side=longest_side)
    except FileNotFoundError:
        return HaarDetector(longest_side=longest_side)


def upright_pixels(image: Any) -> np.ndarray:
    """uint8 (H, W, 3), contiguous, of whatever `to_rgb_image` takes. An array that is this already, such as a frame of
    a video, is returned as it is: on the way through Pillow it would be copied twice, for every face again."""
    plain = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    return np.ascontiguousarray(image if plain and image.size else to_rgb_image(image))


def _scaled(picture: np.ndarray, shortest: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture with its longer side between the two, and (2,) what takes its (x, y) back to the original's."""
    cv2 = opencv()
    height, width = picture.shape[:2]
    factor = min(max(height, width, shortest), longest) / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size != (width, height):
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    return picture, np.array([width / size[0], height / size[1]])


def _largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: -np.prod(face.box[2:] - face.box[:2]))


def _points_in(box: np.ndarray, proportions: np.ndarray) -> np.ndarray:
    return box[:2] + proportions * (box[2:] - box[:2])


def _box_around(points: np.ndarray) -> np.ndarray:
    """The upright box whose `BOX_POINTS` lie about these points; larger where the mouth is far from the eyes."""
    eyes = np.hypot(*(points[1] - points[0]))
    height = max(BOX_HEIGHT * eyes, np.ptp(points[:, 1]) / (BOX_POINTS[3, 1] - BOX_POINTS[0, 1]))
    width = max(BOX_WIDTH * eyes, np.ptp(points[:, 0]) / (BOX_POINTS[1, 0] - BOX_POINTS[0, 0]))
    middle = points.mean(axis=0) - (BOX_POINTS.mean(axis=0) - 0.5) * [width, height]
    half = np.array([width, height]) / 2
    return np.concatenate([middle - half, middle + half])


def _checked(values: Sequence, shape: tuple[int, ...], what: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(0, *shape)
    if array.shape[1:] != shape or array.ndim != len(shape) + 1:
        raise ValueError(f"got {what} of shape {array.shape}, expected {('faces', *shape)}.".replace("'", ""))
    if not np.isfinite(array).all():
        raise ValueError(f"got {what} {array.tolist()}, expected finite numbers.")
    return array


def _checked_side(longest_side: int) -> int:
    if longest_side < 32:
        raise ValueError(f"got a longest side of {longest_side} pixels to look for faces in, expected at least 32.")
    return int(longest_side)


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


def _cascade_file(path: str | Path | None) -> Path:
    if path:
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no Haar cascade at {str(path)!r}.")
        return Path(path)
    cv2 = opencv()
    folder = getattr(getattr(cv2, "data", None), "haarcascades", None)
    if folder is None or not Path(folder, HAAR_FILE).is_file():
        raise FileNotFoundError(
            f"OpenCV {cv2.__version__} comes without {HAAR_FILE}: only the wheels of OpenCV 4 contain it. "
            f"For the better detector, YuNet: {_where_from()}"
        )
    return Path(folder, HAAR_FILE)


def _where_from() -> str:
    return (
        f"Get YuNet with `hf download {YUNET_REPOSITORY} {YUNET_FILE}`, or give the path of a copy, as an argument or "
        f"in the environment variable {YUNET_VARIABLE}."
    )


__all__ = [
    "LANDMARKS",
    "Face",
    "FaceDetector",
    "GivenFaces",
    "HaarDetector",
    "YuNetDetector",
    "find_detector",
]
