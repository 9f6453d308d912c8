"""The parts of an analysis that can be called, and timed, one by one: faces of a frame, and their probabilities.

`analysis.pipeline` runs them side by side; decoding is `analysis.decode.read_frames`.
"""

from dataclasses import dataclass, field

import numpy as np

from analysis.frames import Frame
from analysis.model import FaceClassifier
from analysis.quality import FaceQuality, face_quality
from processing.face_alignment_clef import CropRecipe, align_face
from processing.face_detection_clef import Face, FaceDetector

# Pixels of the longer side of the picture that faces are looked for in, unless asked otherwise.
DETECTION_SIZE = 480


@dataclass
class FoundFace:
    """crop: uint8 (size, size, 3), None where the landmarks make no crop. track_id: given later, in order of time."""

    face: Face
    quality: FaceQuality
    crop: np.ndarray | None
    track_id: int | None = None


@dataclass
class FoundFrame:
    """A frame without its picture. width, height: of the picture, in pixels."""

    source: str
    index: int
    time_s: float | None
    width: int
    height: int
    faces: list[FoundFace] = field(default_factory=list)


def find_faces(
    source: str,
    frame: Frame,
    detector: FaceDetector,
    crop_size: int,
    recipe: CropRecipe,
    max_faces: int | None = None,
) -> FoundFrame:
    """The faces of a frame with their quality and aligned crops, the largest first, at most `max_faces`."""
    height, width = frame.image.shape[:2]
    found = FoundFrame(source, frame.index, frame.time_s, width, height)
    faces = sorted(detector.detect(frame.image), key=lambda face: -np.prod(face.box[2:] - face.box[:2]))
    for face in faces[:max_faces]:
        try:
            crop = align_face(frame.image, face.points, crop_size, recipe)
        except ValueError:  # eyes at one place, or in mirrored order, as in profiles
            crop = None
        found.faces.append(FoundFace(face, face_quality(frame.image, face, crop), crop))
    return found


def encode_frames(frames: list[FoundFrame], classifier: FaceClassifier) -> np.ndarray:
    """(faces with a crop, K) float32: probabilities for the crops of `frames`, in their order, in one pass."""
    crops = [face.crop for frame in frames for face in frame.faces if face.crop is not None]
    size = classifier.crop_size
    return classifier.probabilities(np.stack(crops) if crops else np.zeros((0, size, size, 3), dtype=np.uint8))
