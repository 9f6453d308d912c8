"""The checkpoint at work: faces of a picture, probabilities, the user's own words, and where the model looked.

Everything comes from the checkpoint's folder or repository, its code included.
"""

import copy
import importlib
import math
import os
import re
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from transformers import AutoModelForImageClassification, AutoProcessor

from clef_space.labels import Label, LabelSet, anatomical, label_sets_of
from clef_space.limits import Refused

try:  # on ZeroGPU
    import spaces

    on_gpu = spaces.GPU(duration=60)
except ImportError:

    def on_gpu(function):
        return function


@dataclass
class FoundFace:
    """box: left, top, right, bottom in pixels. quality: the checkpoint's `FaceQuality` as a dict, None for NaN.
    crop: uint8 (S, S, 3), None where none can be cut. probabilities: (K,), None without a crop.
    """

    box: list[float]
    points: list[list[float]]
    score: float
    quality: dict[str, Any]
    crop: np.ndarray | None
    probabilities: np.ndarray | None = None


class Recogniser:
    """Usable by many threads at once.

    Args:
        checkpoint: folder, or repository on the Hub.

    Raises:
        OSError, ValueError: it cannot be loaded, or is no CLEF checkpoint with labels.
    """

    def __init__(self, checkpoint: str):
        if not Path(checkpoint).is_dir() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", checkpoint):
            raise ValueError(
                f"got the checkpoint {checkpoint!r}, which is no folder; expected a checkpoint's folder or a "
                "repository on the Hub, such as org/clef."
            )
        self.checkpoint = checkpoint
        self.processor = AutoProcessor.from_pretrained(checkpoint, trust_remote_code=True)
        self.model = AutoModelForImageClassification.from_pretrained(checkpoint, trust_remote_code=True).eval()
        if not getattr(self.model.config, "label_sets", None):
            raise ValueError(f"{checkpoint!r} is no CLEF checkpoint with labels of its own.")
        prompts = _companion(self.processor, "prompts_clef")
        texts = {**prompts.ACTION_UNITS, **prompts.EXPRESSIONS}
        self.label_sets = label_sets_of(self.model.config, texts, self.processor.label_template)
        self._relevance_map = _companion(self.model, "relevance_clef").relevance_map
        self._with_text: Any = None
        self._lock = threading.Lock()
        self._threads = threading.local()
        self._score_many = on_gpu(self._score_on_device)

    @property
    def read_image(self):
        return self.processor.image_processor.read_image

    @property
    def labels(self) -> list[Label]:
        return [label for label_set in self.label_sets for label in label_set.labels]

    @property
    def single_label_sets(self) -> list[LabelSet]:
        """Those of which exactly one label holds, such as the expression."""
        return [label_set for label_set in self.label_sets if label_set.exclusive]

    @property
    def multi_labels(self) -> list[Label]:
        """Labels that hold or not each by itself: action units from upper face to lower, then others."""
        return anatomical([label for label in self.labels if label.threshold is not None])

    @property
    def finds_coarsely(self) -> bool:
        """Without YuNet's file, faces are found by OpenCV's Haar cascade."""
        return isinstance(self._detector(), _companion(self.processor, "face_detection_clef").HaarDetector)

    def _detector(self) -> Any:
        """This thread's own: OpenCV's are not to be shared."""
        if not hasattr(self._threads, "detector"):
            self._threads.detector = self.processor.image_processor.find_detector()
        return self._threads.detector

    def find(self, picture: Image.Image | np.ndarray, most: int | None = None) -> list[FoundFace]:
        """The faces of an upright RGB picture, the largest first, without probabilities."""
        processor = self.processor.image_processor
        faces = sorted(self._detector().detect(picture), key=lambda face: -np.prod(face.box[2:] - face.box[:2]))[:most]
        found = []
        for face in faces:
            try:
                crop = processor.align(picture, face.points)
            except ValueError:  # eyes at one place or in mirrored order, as in profiles
                crop = None
            quality = {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in asdict(processor.assess(picture, face, crop)).items()
            }
            points = np.asarray(face.points, dtype=float).tolist()
            found.append(FoundFace([float(edge) for edge in face.box], points, float(face.score), quality, crop))
        return found

    def analyse(self, picture: Image.Image | np.ndarray, most: int | None = None) -> list[FoundFace]:
        faces = self.find(picture, most)
        self.score([face for face in faces if face.crop is not None])
        return faces

    def score(self, faces: list[FoundFace], many: bool = False) -> None:
        """Fills in the probabilities of faces with a crop. `many`: worth a GPU where there is one."""
        if not faces:
            return
        pixels = self.pixels([face.crop for face in faces])
        scores = (self._score_many if many else self._score)(pixels)
        for face, values in zip(faces, scores, strict=True):
            face.probabilities = values

    def pixels(self, crops: list[np.ndarray]) -> torch.Tensor:
        return self.processor.image_processor(crops, return_tensors="pt")["pixel_values"]

    def words(self, faces: list[FoundFace], words: list[str]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Scores (faces, words) of a user's own labels, and each face's maps (words, H, W). Faces need a crop.

        Raises:
            Refused: a word that looks like an action unit and is none, a checkpoint without a text side.
        """
        texts = {word: self._prompt(word) for word in words}
        with self._lock:
            try:
                model = self._model_with(texts)
            except (ValueError, FileNotFoundError) as error:
                raise Refused(f"This checkpoint cannot take labels of your own: {error}") from error
        pixels = self.pixels([face.crop for face in faces])
        with torch.inference_mode():
            scores = model.probabilities(model(pixels).logits).float().numpy()
        return scores, [self._maps(model, one[None], len(words)) for one in pixels]

    def maps(self, face: FoundFace) -> np.ndarray:
        """(K, H, W) in [0, 1]: for each label, how much each place of the crop speaks for it."""
        return self._maps(self.model, self.pixels([face.crop]), len(self.labels))

    def _maps(self, model: Any, pixels: torch.Tensor, count: int) -> np.ndarray:
        # The maps of a transformer switch its attention for a while, and this model is everybody's.
        with self._lock:
            if model.config.head == "linear":
                return torch.cat([self._relevance_map(model, pixels, column) for column in range(count)]).numpy()
            with torch.no_grad():
                embeds = model.label_head.embed_names(model.base_model).clone()
            return self._relevance_map(model, pixels.repeat(count, 1, 1, 1), embeds).numpy()

    def _prompt(self, word: str) -> str:
        unit = self.processor.action_unit_label(word)
        try:
            # Its name, if it is a known label.
            return self.processor.label_prompts([unit or word])[0]
        except ValueError:
            if unit:
                raise Refused(f"{word} is no action unit that this model knows; describe it in words.") from None
            return self.processor.label_prompts({word: word})[0]

    def _model_with(self, texts: dict[str, str]) -> Any:
        """A copy of the model with these labels; towers are shared."""
        if self._with_text is None:
            towers = [self.model.base_model.vision_model]
            self._with_text = copy.deepcopy(self.model, {id(tower): tower for tower in towers})
            self._with_text.join_text_tower()
        base = self._with_text.base_model
        model = copy.deepcopy(self._with_text, {id(tower): tower for tower in (base.vision_model, base.text_model)})
        tokens = self.processor(text=list(texts.values()))
        model.set_labels(list(texts), tokens["input_ids"], tokens["attention_mask"], name="words")
        return model.eval()

    @torch.inference_mode()
    def _score(self, pixels: torch.Tensor) -> np.ndarray:
        return self.model.probabilities(self.model(pixels).logits).float().numpy()

    @torch.inference_mode()
    def _score_on_device(self, pixels: torch.Tensor) -> np.ndarray:
        if not torch.cuda.is_available():
            return self._score(pixels)
        model = copy.deepcopy(self.model).to("cuda")
        parts = [model(part.to("cuda")).logits.float().cpu() for part in pixels.split(64)]
        return self.model.probabilities(torch.cat(parts)).numpy()


def default_checkpoint() -> str:
    """`CLEF_MODEL` of the environment; else the checkpoint beside this folder; else what the README names."""
    if os.environ.get("CLEF_MODEL"):
        return os.environ["CLEF_MODEL"]
    folder = Path(__file__).resolve().parents[1]
    beside = folder.parent / "checkpoints" / "clef-small"
    if beside.is_dir():
        return str(beside)
    return model_of_card((folder / "README.md").read_text(encoding="utf-8"))


def model_of_card(card: str) -> str:
    """The first of `models:` in a Space's README."""

    models = (yaml.safe_load(card.split("---")[1]) or {}).get("models")
    if not models:
        raise ValueError("README.md names no model under `models:`; set CLEF_MODEL.")
    return models[0]


def _companion(thing: Any, name: str):
    """A file of the code that `thing` came with."""
    return importlib.import_module(f"{type(thing).__module__.rpartition('.')[0]}.{name}")
