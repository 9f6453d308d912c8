"""A classifier as an ONNX file of its own, which says what it is: to be run without torch and without this project."""

import json
from pathlib import Path

import numpy as np
import torch
import yaml
from huggingface_hub import metadata_load
from transformers.utils import cached_file

from analysis.model import FaceClassifier
from analysis.onnx_network import check_agreement, export_module, open_session
from analysis.outputs import written_whole
from modeling_clef.version_clef import VERSION
from processing.image_processing_clef import MINIMUM_STD

OUTPUTS = ("logits", "probabilities", "image_embeds")
LARGEST_FILE = 1536 * 2**20  # bytes; torch puts the weights of larger networks into a second file


def export_classifier(classifier: FaceClassifier, path: Path) -> None:
    """Writes `pixel_values` (N, 3, height, width) in; `logits` (N, K), `probabilities` (N, K), calibrated, and
    `image_embeds` (N, D), of length 1, out; all float32, N any. The file's metadata are those of `describe`.

    It is run before it takes its place at `path`, and compared with torch.

    Args:
        classifier: on the processor, with backend "torch".

    Raises:
        ValueError: torch cannot export the network, it is too large for one file, or the checkpoint's card cannot be
            read.
        RuntimeError: the file gives other numbers than torch. OSError: it cannot be written.
    """
    size = classifier.image_processor.size
    network, about = _Answers(classifier.model.float()), describe(classifier)
    if (weights := sum(4 * parameter.numel() for parameter in network.parameters())) > LARGEST_FILE:
        raise ValueError(
            f"got weights of {weights / 2**20:.0f} MiB, expected at most {LARGEST_FILE / 2**20:.0f}, which one ONNX "
            "file can hold; export a smaller checkpoint."
        )
    program = export_module(network, size["height"], size["width"], OUTPUTS)
    _forget_sources(program.model)
    program.model.metadata_props.update(about)
    with written_whole(path) as temporary:
        program.save(temporary, external_data=False)
        _check(temporary, network, classifier)


class _Answers(torch.nn.Module):
    """A classifier as the exporter wants it: pixels in, tensors out, as `OUTPUTS` has them."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model(pixel_values=pixel_values)
        return found.logits, self.model.probabilities(found.logits), found.image_embeds


def describe(classifier: FaceClassifier) -> dict[str, str]:
    """What is to be known to run the file and to read its answers. All but plain names is JSON.

    model, weights_sha256, clef_version, license (and license_name, license_link): what it was made of; of the licence
        what the checkpoint's card says.
    labels, texts, thresholds: one a column: what it is called, what it means, and the probability from which it counts
        as present, null in sets of which exactly one label holds.
    label_sets: name, problem_type and columns [first, behind the last] of each.
    input: height, width and channels of `pixel_values`; what bytes are multiplied by (scale); then normalization
        "fixed" with mean and std of each channel, "per_image" with minimum_std (each channel less its mean, all divided
        by their one standard deviation), or "none".
    crop: the recipe's name, and where in the crop it puts eyes and nose tip, as fractions of its side.
    """
    sets, start = [], 0
    for label_set, group in zip(classifier.model.config.label_sets, classifier.groups, strict=True):
        columns = [start, start := start + len(group.labels)]
        sets.append({"name": group.name, "problem_type": label_set["problem_type"], "columns": columns})
    recipe, groups = classifier.recipe, classifier.groups
    facts = {
        "labels": classifier.labels,
        "texts": [text for group in groups for text in group.texts],
        "thresholds": [None if group.exclusive else value for group in groups for value in group.thresholds],
        "label_sets": sets,
        "input": _describe_input(classifier.image_processor),
        "crop": {
            "recipe": recipe.name,
            "right_eye": recipe.right_eye,
            "left_eye": recipe.left_eye,
            "nose_tip": recipe.nose_tip,
        },
    }
    folder = Path(classifier.name)
    return {
        "model": folder.resolve().name if folder.is_dir() else classifier.name,  # not where it lies on this machine
        "weights_sha256": classifier.weights,
        "clef_version": VERSION,
        **_licence(classifier.name),
        **{name: json.dumps(fact, ensure_ascii=False) for name, fact in facts.items()},
    }


def _describe_input(processor) -> dict:
    about = {
        "height": processor.size["height"],
        "width": processor.size["width"],
        "channels": "RGB",
        "scale": processor.rescale_factor if processor.do_rescale else 1.0,
    }
    if not processor.do_normalize:
        return about | {"normalization": "none"}
    if processor.per_image_normalization:
        return about | {"normalization": "per_image", "minimum_std": MINIMUM_STD}
    mean, std = (np.broadcast_to(value, 3).tolist() for value in (processor.image_mean, processor.image_std))
    return about | {"normalization": "fixed", "mean": mean, "std": std}


def _licence(checkpoint: str) -> dict[str, str]:
    card = cached_file(
        checkpoint,
        "README.md",
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    try:
        facts = (metadata_load(card) if card else None) or {}
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"the head of {checkpoint}'s card, README.md, cannot be read; correct it: {error}") from error
    return {name: str(facts[name]) for name in ("license", "license_name", "license_link") if facts.get(name)}


def _forget_sources(model) -> None:
    """The exporter notes at each node where in this machine's files it comes from."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ClearMetadataAndDocStringPass()(model)


@torch.inference_mode()
def _check(path: Path, network: _Answers, classifier: FaceClassifier) -> None:
    session, size = open_session(path, threads=1), classifier.crop_size
    crops = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), dtype=np.uint8)
    pixels = classifier.image_processor(list(crops), return_tensors="pt")["pixel_values"]
    for batch in (pixels[:1], pixels[1:]):
        found = session.run(list(OUTPUTS), {"pixel_values": batch.numpy()})
        for name, here, there in zip(OUTPUTS, found, network(batch), strict=True):
            check_agreement(name, torch.from_numpy(here), there, "use torch, or another version of it to export")


__all__ = ["OUTPUTS", "describe", "export_classifier"]
