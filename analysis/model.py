"""The checkpoint behind a table: loading it, giving it a user's own labels, and probabilities of face crops."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageClassification, AutoProcessor
from transformers.utils import logging

import modeling_clef  # noqa: F401  makes the Auto classes know CLEF
from analysis.onnx_network import OnnxNetwork
from modeling_clef.mirror_clef import mean_with_mirror_image
from processing.face_alignment_clef import CropRecipe
from processing.prompts_clef import ACTION_UNITS, EXPRESSIONS, action_unit_label

logger = logging.get_logger(__name__)

BACKENDS = ("torch", "onnx")
ALIKE = 0.8  # of two names: letters in common, as `difflib` counts them
SHIPPED_CHECKPOINT = Path(__file__).resolve().parents[1] / "checkpoints" / "clef-small"


@dataclass(frozen=True)
class LabelGroup:
    """Labels that are decided together.

    name: of the label set, such as "action_units" or "expression".
    exclusive: exactly one of the labels holds (softmax); otherwise each holds or not (sigmoid).
    labels: what columns are called. texts: what each label means, in words. thresholds: probabilities from which a
        label counts as present; they decide nothing where `exclusive`.
    """

    name: str
    exclusive: bool
    labels: tuple[str, ...]
    texts: tuple[str, ...]
    thresholds: tuple[float, ...]


class FaceClassifier:
    """A CLEF checkpoint in eval mode on its device.

    name: folder or Hub id. groups: its labels, in the order of `probabilities`' columns. recipe and crop_size: of the
    crops it takes. weights: SHA-256 of its parameters. texts: of a user's own labels, None if it has its own.
    backend: "torch", or "onnx", whose probabilities differ by rounding alone (see `OnnxNetwork`). mirror:
    whether each face's logits are averaged with those of its mirror image.
    """

    def __init__(
        self,
        name: str,
        model,
        image_processor,
        recipe: CropRecipe,
        texts: Mapping[str, str] | None = None,
        backend: str = "torch",
        mirror: bool = False,
    ):
        if backend not in BACKENDS:
            raise ValueError(f"backend: got {backend!r}, expected one of {', '.join(BACKENDS)}.")
        self.name, self.image_processor, self.recipe = name, image_processor, recipe
        self.texts = dict(texts) if texts is not None else None
        self.crop_size = max(image_processor.size["height"], image_processor.size["width"])
        self.groups = _label_groups(model.config, self.texts or {})
        self.weights = _weights_digest(model)
        model.fold_batch_norms()
        self.model, self.backend, self.mirror = model, backend, mirror
        size = image_processor.size
        self.network = OnnxNetwork(self.model, size["height"], size["width"]) if backend == "onnx" else None

    @property
    def neutral_logits(self) -> dict[str, float]:
        """Label → mean calibrated logit of neutral faces, of labels of which the checkpoint knows it."""
        known, start = {}, 0
        for label_set in self.model.config.label_sets:
            columns = range(start, start + len(label_set["labels"]))
            start = columns.stop
            known |= dict(zip(columns, label_set["neutral_logits"] or [None] * len(columns), strict=True))
        return {self.model.config.id2label[column]: value for column, value in known.items() if value is not None}

    @property
    def labels(self) -> list[str]:
        return [label for group in self.groups for label in group.labels]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        """(N, K) float32, calibrated, for uint8 crops (N, crop_size, crop_size, 3); one column a label.

        Raises:
            FloatingPointError: the model's outputs are not finite.
        """
        if not len(crops):
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        logits = mean_with_mirror_image(self._logits, self._pixel_values(crops), self.mirror)
        found = self.model.probabilities(logits).cpu().numpy()
        if not np.isfinite(found).all():
            raise FloatingPointError(f"{self.name}: probabilities are not finite; check the checkpoint's weights.")
        return found

    def _logits(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.network is not None:
            return self.network(pixels)
        parameter = next(self.model.parameters())
        return self.model(pixels.to(parameter.device, parameter.dtype)).logits

    def _pixel_values(self, crops: np.ndarray) -> torch.Tensor:
        """What the image processor makes of the crops. Those of just its size it would take one by one through Pillow,
        which changes nothing and takes six times as long as the same arithmetic on all at once."""
        processor = self.image_processor
        if crops.shape[1:3] != (processor.size["height"], processor.size["width"]) or not processor.do_rescale:
            return processor(list(crops), crop_recipe=self.recipe.name, return_tensors="pt")["pixel_values"]
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()  # each pixel's channels stay side by side
        return processor.normalize_pixels(pixels * processor.rescale_factor)


def load_classifier(
    checkpoint: str | Path | None = None,
    labels: Sequence[str] | Mapping[str, str] | None = None,
    device: str | None = None,
    backend: str = "torch",
    mirror: bool = False,
    thresholds: Mapping[str, float] | None = None,
) -> FaceClassifier:
    """A checkpoint, ready to use.

    Args:
        checkpoint: folder or Hub id. Default: `checkpoints/clef-small`, which ships with the project.
        labels: instead of the checkpoint's own labels these: a dict from label to text, or a list of known action
            units and expressions ("AU12") and of texts, which are labels themselves unless written "label=text".
            Needs the checkpoint's text tower, which is joined where it was left out. Trained action units keep their
            calibration and threshold; all else is uncalibrated and present from .5, also each expression, which is
            then judged by itself and not among the others.
        device: default: the GPU if there is one; with backend "onnx" the processor.
        backend: "torch", or "onnx": ONNX Runtime, quicker on a processor after some seconds of preparation.
        mirror: average each face with its mirror image; somewhat better, and the model takes twice as long.
        thresholds: label → probability from which it counts as present, instead of the one that was fitted.

    Raises:
        FileNotFoundError: no such checkpoint, or one that is not whole, or its text tower is needed and not there.
        ValueError: no CLEF checkpoint, one without labels, crops that this version cannot cut, labels that are empty or
            repeated, an unknown device or backend, backend "onnx" on another device than the processor, a threshold of
            no label, of one whose set decides by the most probable, or not between 0 and 1.
        ImportError: what a backend needs is not installed. OnnxDifferenceError: see `OnnxNetwork`.
    """
    folder = Path(checkpoint) if checkpoint is not None else SHIPPED_CHECKPOINT
    if checkpoint is None and not folder.is_dir():
        raise FileNotFoundError(f"{folder.name} does not lie beside this package; name a checkpoint (--model).")
    name = str(checkpoint) if checkpoint is not None else f"checkpoints/{folder.name}"
    texts = None if labels is None else read_labels(labels)
    place = _device("cpu" if device is None and backend == "onnx" else device)
    if not folder.is_dir() and name.count("/") < 2:  # deeper ones are no ids
        _tell_of_alike_folder(name)
    where = folder if folder.is_dir() else str(checkpoint)
    try:
        config = AutoConfig.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise _no_checkpoint(name, folder, error) from error
    if config.model_type != "clef":
        raise ValueError(f"{name!r} is a checkpoint of {config.model_type!r}; expected one of CLEF.")
    try:
        processor = AutoProcessor.from_pretrained(where)
        model = AutoModelForImageClassification.from_pretrained(where).eval()
    except (OSError, SafetensorError) as error:  # files that are missing, or cut short
        raise _no_checkpoint(name, folder, error) from error
    recipe = processor.image_processor.check_recipe()
    if texts is not None:
        model.join_text_tower()
        tokens = processor(labels=texts)
        trained = [dict(label_set) for label_set in model.config.label_sets or ()]
        biases = model.label_head.biases.detach().clone()
        model.set_labels(list(texts), tokens["input_ids"], tokens["attention_mask"])
        _keep_what_was_fitted(model, trained, biases)
    if not model.config.label_sets:
        raise ValueError(f"{name!r} has no labels of its own; give some (--labels).")
    _set_thresholds(model.config, thresholds or {})
    model.freeze_labels()  # texts are encoded once, and their tower takes memory no longer
    return FaceClassifier(name, model.to(place), processor.image_processor, recipe, texts, backend, mirror)


def _no_checkpoint(name: str, folder: Path, error: Exception) -> FileNotFoundError:
    not_here = "" if folder.is_dir() else ", which is no folder here; as an id of the Hub"
    return FileNotFoundError(f"no checkpoint can be loaded from {name!r}{not_here}: {error}")


def _tell_of_alike_folder(name: str) -> None:
    """Says that a name seems to be meant for a folder, before the Hub is asked: offline that takes half a minute. Only
    the Hub knows whether it is an id all the same."""
    folders = [file.parent.as_posix() for pattern in ("*/", "*/*/") for file in Path().glob(f"{pattern}config.json")]
    alike = difflib.get_close_matches(name, folders, n=1, cutoff=ALIKE)
    parent = name.split("/")[0]
    if alike or Path(parent).is_dir():
        there = f"is {alike[0]!r} meant?" if alike else f"{parent!r} holds none of that name."
        logger.warning(f"{name!r} is no folder here: {there} Looking for it on the Hub.")


def _set_thresholds(config, thresholds: Mapping[str, float]) -> None:
    for given, threshold in thresholds.items():
        label = action_unit_label(given) or given
        found = next((one for one in config.label_sets if label in one["labels"]), None)
        if found is None:
            known = [name for one in config.label_sets for name in one["labels"]]
            raise ValueError(f"got a threshold of {given!r}, which is no label here; these are {', '.join(known)}.")
        if found["problem_type"].startswith("single"):
            raise ValueError(
                f"got a threshold of {given!r}, but the labels of {found['name']!r} exclude each other: the most "
                "probable one is chosen."
            )
        if not 0 < threshold < 1:
            raise ValueError(f"got the threshold {threshold:g} of {given!r}; expected a probability between 0 and 1.")
        found["thresholds"][found["labels"].index(label)] = float(threshold)


def _keep_what_was_fitted(model, trained: list[dict], biases: torch.Tensor) -> None:
    """Gives action units among new labels the bias, calibration and threshold that they had, so that asking for some of
    them changes no number. Not for expressions, which were one question and are several now."""
    kinds = [label_set["problem_type"] for label_set in trained]
    if kinds.count("multi_label_classification") != 1:
        return  # of several sets the new one has a mean scale, which no calibration was fitted to
    place = kinds.index("multi_label_classification")
    start, old = sum(len(label_set["labels"]) for label_set in trained[:place]), trained[place]
    (new,) = model.config.label_sets
    count = len(new["labels"])
    new |= {"temperatures": [1.0] * count, "calibration_biases": [0.0] * count, "neutral_logits": [None] * count}
    for column, tokens in enumerate(new["name_tokens"]):
        if tokens not in old["name_tokens"]:
            continue
        before = old["name_tokens"].index(tokens)
        with torch.no_grad():
            model.label_head.biases[column] = biases[start + before]
        for fitted in ("thresholds", "temperatures", "calibration_biases", "neutral_logits"):
            if old[fitted] is not None:
                new[fitted][column] = old[fitted][before]


def read_labels(labels: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """From labels as users give them (see `load_classifier`) to a dict from label to text.

    Raises:
        ValueError: none, an empty one, one twice, or an unknown action unit ("AU99") without words.
    """
    if isinstance(labels, str):
        labels = [labels]
    pairs = list(labels.items()) if isinstance(labels, Mapping) else [_read_label(label) for label in labels]
    if not pairs:
        raise ValueError("got no labels; expected at least one.")
    for label, text in pairs:
        if not label.strip() or not text.strip():
            raise ValueError(f"got the label {label!r} with the text {text!r}; expected both to say something.")
    names = [label for label, _ in pairs]
    twice = sorted({label for label in names if names.count(label) > 1})
    if twice:
        raise ValueError(f"got the labels {', '.join(twice)} more than once; expected each once.")
    return dict(pairs)


def _read_label(label: str) -> tuple[str, str]:
    name, equals, text = label.partition("=")
    if equals:
        return name.strip(), text.strip()
    name = label.strip()
    if unit := action_unit_label(name):
        name = unit
        if unit not in ACTION_UNITS:
            raise ValueError(
                f"{unit!r} is none of the action units that are known by number ({', '.join(ACTION_UNITS)}); "
                'say in words what it does, as in "AU16=lower lip depressor".'
            )
    return name, _known_name(name) or name


def _label_groups(config, texts: Mapping[str, str]) -> tuple[LabelGroup, ...]:
    groups, start = [], 0
    for label_set in config.label_sets:
        labels = label_set["labels"]
        columns = [config.id2label[position] for position in range(start, start + len(labels))]
        words = [
            texts.get(label) or _known_name(label) or name
            for label, name in zip(labels, label_set["names"], strict=True)
        ]
        exclusive = label_set["problem_type"].startswith("single")
        groups.append(
            LabelGroup(label_set["name"], exclusive, tuple(columns), tuple(words), tuple(label_set["thresholds"]))
        )
        start += len(labels)
    return tuple(groups)


def _known_name(label: str) -> str | None:
    known = ACTION_UNITS.get(label) or EXPRESSIONS.get(label)
    return known.name if known else None


def _weights_digest(model) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.float().cpu().contiguous().numpy())
    return digest.hexdigest()


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"the device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return place


__all__ = ["BACKENDS", "SHIPPED_CHECKPOINT", "FaceClassifier", "LabelGroup", "load_classifier", "read_labels"]
