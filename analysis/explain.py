"""Where a checkpoint looked: relevance maps of the faces in a picture, for any labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.decode_images import read_image
from analysis.frames import SourceError
from analysis.model import FaceClassifier, load_classifier
from analysis.quality import FaceQuality, face_quality
from analysis.sources import NO_FILE, VIDEO_SUFFIXES, is_no_file
from analysis.stages import DETECTION_SIZE
from modeling_clef.relevance_clef import relevance_map
from processing.face_alignment_clef import Face, FaceDetector, align_face, crop_matrix
from processing.face_detection_clef import find_detector
from processing.prompts_clef import ACTION_UNITS, EXPRESSIONS, action_unit_label

SHOWN_SIDE = 320  # of a crop in the picture that is drawn, pixels


@dataclass(frozen=True)
class Explanation:
    """One label of one face.

    label: of the checkpoint, or the words that were given; text: in words. score: probability, calibrated for labels of
    the checkpoint. threshold: fitted; .5 for words of a user's own, which are unvalidated; None for labels that exclude
    each other. relevance: float32 (S, S) in [0, 1] over the crop, see `modeling_clef.relevance_clef.relevance_map`.
    """

    label: str
    text: str
    score: float
    threshold: float | None
    trained: bool
    relevance: np.ndarray

    @property
    def present(self) -> bool | None:
        """None where labels exclude each other."""
        return None if self.threshold is None else self.score >= self.threshold


@dataclass(frozen=True)
class ExplainedFace:
    """crop: uint8 (S, S, 3), what the model saw; large: the same place, `SHOWN_SIDE` pixels wide, to be looked at.
    to_picture: (2, 3), takes (x, y, 1) of the crop, in pixels, to the upright picture. Without a crop (points in
    mirrored order, as in profiles) there are no explanations, and these three are None."""

    face: Face
    quality: FaceQuality
    crop: np.ndarray | None
    large: np.ndarray | None
    to_picture: np.ndarray | None
    explanations: tuple[Explanation, ...]


class Explainer:
    """A checkpoint and labels, ready for pictures.

    Args:
        labels: of the checkpoint ("AU12"), their names ("lip corner puller"), in upper or lower case, or any words.
            Words need the checkpoint's text tower.
        model, device: as in `analysis.analyze`.

    Raises:
        ValueError: no label, one twice, a number of an action unit that is not known; FileNotFoundError: no such
            checkpoint, or its text tower is needed and missing.
    """

    def __init__(self, labels: Sequence[str], model: str | Path | None = None, device: str | None = None):
        own = load_classifier(model, None, device)
        wanted = [(label, _resolved(label, own)) for label in labels]
        if not wanted:
            raise ValueError("got no labels; expected at least one.")
        names = [resolved or label.strip() for label, resolved in wanted]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"got {', '.join(twice)} more than once; expected each label once.")
        free = [label.strip() for label, resolved in wanted if resolved is None]
        self.own = own
        self.free: FaceClassifier | None = load_classifier(model, free, device) if free else None
        self.labels = names

    def explain(self, image: np.ndarray, detector: FaceDetector, max_faces: int | None = None) -> list[ExplainedFace]:
        """The faces of an upright RGB picture, uint8 (H, W, 3), the largest first, each with all labels."""
        found = []
        faces = sorted(detector.detect(image), key=lambda face: -np.prod(face.box[2:] - face.box[:2]))
        for face in faces[:max_faces]:
            size, recipe = self.own.crop_size, self.own.recipe
            try:
                crop, matrix = align_face(image, face.points, size, recipe), crop_matrix(face.points, size, recipe)
            except ValueError:
                found.append(ExplainedFace(face, face_quality(image, face, None), None, None, None, ()))
                continue
            quality, large = face_quality(image, face, crop), align_face(image, face.points, SHOWN_SIDE, recipe)
            back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
            explanations = tuple(self.explain_crop(crop, label) for label in self.labels)
            found.append(ExplainedFace(face, quality, crop, large, back, explanations))
        return found

    def explain_crop(self, crop: np.ndarray, label: str) -> Explanation:
        """`crop`: aligned, uint8 (S, S, 3) at the checkpoint's size. `label`: one of `labels`."""
        trained = label in self.own.labels
        classifier = self.own if trained else self.free
        column = classifier.labels.index(label)
        group = next(group for group in classifier.groups if label in group.labels)
        position = group.labels.index(label)
        pixels = classifier.image_processor([crop], crop_recipe=classifier.recipe.name, return_tensors="pt")
        relevance = relevance_map(classifier.model, pixels["pixel_values"], column)[0].cpu().numpy()
        return Explanation(
            label,
            group.texts[position],
            float(classifier.probabilities(crop[None])[0, column]),
            None if group.exclusive else group.thresholds[position],
            trained,
            relevance,
        )


def explain_image(
    image: str | Path,
    labels: Sequence[str],
    model: str | Path | None = None,
    detector: str | FaceDetector = "auto",
    device: str | None = None,
    max_faces: int | None = None,
) -> list[ExplainedFace]:
    """Explains the faces in an image file (of an animation: in its first picture).

    Args:
        labels: see `Explainer`. detector: as in `analysis.analyze`.

    Raises:
        analysis.frames.SourceError: no image, or a video. And what `Explainer` and `find_detector` raise.
    """
    if is_no_file(Path(image)):
        raise SourceError(NO_FILE)
    if Path(image).suffix.lower() in VIDEO_SUFFIXES:
        raise SourceError("it is a video; save the frame that is meant as a picture, and explain that")
    picture = next(read_image(Path(image))).image
    if isinstance(detector, str):
        name, path = ("yunet", detector) if detector.endswith(".onnx") else (detector, None)
        detector = find_detector(name, path, DETECTION_SIZE)  # as `analyze`: other crops have other scores
    return Explainer(labels, model, device).explain(picture, detector, max_faces)


def described(faces: Sequence[ExplainedFace]) -> list[dict]:
    """Plain values for JSON. `peak`: where in the picture the relevance is highest, None where nothing speaks for the
    label; `relevance`: rows of the map over the crop, to three digits; `crop_to_picture`: (2, 3), see
    `ExplainedFace`."""
    rows = []
    for number, found in enumerate(faces):
        labels = [
            {
                "label": item.label,
                "text": item.text,
                "score": item.score,
                "threshold": item.threshold,
                "present": item.present,
                "trained": item.trained,
                "peak": peak_in_picture(found, item),
                "relevance": np.round(item.relevance.astype(float), 3).tolist(),
            }
            for item in found.explanations
        ]
        rows.append(
            {
                "face": number,
                "box": [float(edge) for edge in found.face.box],
                "detector_score": float(found.face.score),
                "out_of_scope": found.quality.out_of_scope,
                "out_of_scope_reason": found.quality.reason or None,
                "crop_to_picture": None if found.to_picture is None else found.to_picture.tolist(),
                "labels": labels,
            }
        )
    return rows


def peak_in_picture(found: ExplainedFace, item: Explanation) -> list[float] | None:
    """(x, y) in pixels of the upright picture."""
    if not item.relevance.any():
        return None
    row, column = np.unravel_index(item.relevance.argmax(), item.relevance.shape)
    return (found.to_picture @ [column + 0.5, row + 0.5, 1]).tolist()


def _resolved(label: str, classifier: FaceClassifier) -> str | None:
    """The checkpoint's label that is meant, None for words of a user's own."""
    wanted = label.strip()
    if not wanted:
        raise ValueError("got an empty label; expected an action unit, an expression or words.")
    unit = action_unit_label(wanted)
    for own in classifier.labels:
        names = [own, *(table[own].name for table in (ACTION_UNITS, EXPRESSIONS) if own in table)]
        if wanted.casefold() in [name.casefold() for name in names] or unit == own:
            return own
    if unit and unit not in ACTION_UNITS:
        raise ValueError(
            f"got {label!r}, which is none of the checkpoint's labels ({', '.join(classifier.labels)}), nor an action "
            "unit whose name is known; describe it in words."
        )
    return None


__all__ = ["ExplainedFace", "Explainer", "Explanation", "described", "explain_image", "peak_in_picture"]
