"""The checkpoint as an analysis calls it: against the model and its processor as they were saved."""

import json
import shutil

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="needs opencv-python-headless")

from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, AutoProcessor

import modeling_clef  # noqa: F401
from analysis.model import FaceClassifier, load_classifier, read_labels
from processing.face_alignment_clef import EYES_NOSE_1


def trained(checkpoint):
    """A model whose batch normalisation has seen something."""
    model = AutoModelForImageClassification.from_pretrained(checkpoint).eval()
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.3, 3.0),
                (module.weight.data, 0.5, 2.0),
                (module.bias.data, -0.5, 0.5),
            ):
                values.copy_(torch.empty_like(values).uniform_(low, high, generator=generator))
    model.freeze_labels()
    return model


@pytest.mark.parametrize("options", [{}, {"per_image_normalization": False}, {"do_normalize": False}])
@pytest.mark.parametrize("size", [32, 40])
def test_probabilities_are_those_of_the_model_as_saved(checkpoint, options, size):
    """Of each crop alone, through Pillow and batch normalisation; crops of 40 pixels are scaled first."""
    model, processor = trained(checkpoint), AutoProcessor.from_pretrained(checkpoint).image_processor
    for name, value in options.items():
        setattr(processor, name, value)
    crops = np.random.default_rng(1).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    expected = []
    with torch.no_grad():
        for crop in crops:
            logits = model(processor(crop, return_tensors="pt")["pixel_values"]).logits
            expected.append(model.probabilities(logits)[0].numpy())
    assert np.ptp(expected, axis=0).max() > 1e-3
    classifier = FaceClassifier("tiny", model, processor, EYES_NOSE_1)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in classifier.model.modules())
    np.testing.assert_allclose(classifier.probabilities(crops), expected, atol=2e-6)
    assert classifier.probabilities(crops[:0]).shape == (0, 4)


def test_a_face_is_averaged_with_its_mirror_image(checkpoint):
    model, processor = trained(checkpoint), AutoProcessor.from_pretrained(checkpoint).image_processor
    size = processor.size["height"]
    crops = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    with torch.no_grad():
        both = [model(processor(list(some), return_tensors="pt")["pixel_values"]).logits for some in (crops, mirrored)]
        expected = model.probabilities((both[0] + both[1]) / 2).numpy()
    classifier = FaceClassifier("tiny", model, processor, EYES_NOSE_1, mirror=True)
    np.testing.assert_allclose(classifier.probabilities(crops), expected, atol=2e-6)
    plain = FaceClassifier("tiny", trained(checkpoint), processor, EYES_NOSE_1)
    assert abs(plain.probabilities(crops) - expected).max() > 1e-4


def test_the_digest_is_of_the_weights_as_saved(checkpoint):
    """Two checkpoints that differ in what batch normalisation has seen are two checkpoints."""
    processor = AutoProcessor.from_pretrained(checkpoint).image_processor
    one, two = (FaceClassifier("tiny", trained(checkpoint), processor, EYES_NOSE_1) for _ in range(2))
    assert one.weights == two.weights != load_classifier(checkpoint, device="cpu").weights
    other = trained(checkpoint)
    norm = next(module for module in other.modules() if isinstance(module, torch.nn.BatchNorm2d))
    norm.running_mean[0] += 1e-3
    assert FaceClassifier("tiny", other, processor, EYES_NOSE_1).weights != one.weights


def test_action_units_asked_for_keep_their_numbers_and_words_are_uncalibrated(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "calibrated")
    config = json.loads((folder / "config.json").read_text())
    units = config["label_sets"][0]
    units |= {"temperatures": [1.5, 0.7], "calibration_biases": [0.3, -0.6], "neutral_logits": [-4.0, None]}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    weights["label_head.biases"][:2] = torch.tensor([0.4, -0.9])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    crops = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    own, asked = load_classifier(folder), load_classifier(folder, ["AU4", "big smile", "happiness", "AU12"])
    assert asked.groups[0].thresholds == (0.343, 0.5, 0.5, 0.433)
    found = asked.probabilities(crops)
    np.testing.assert_allclose(found[:, [3, 0]], own.probabilities(crops)[:, :2], atol=1e-6)
    (told,) = asked.model.config.label_sets
    assert told["temperatures"] == [0.7, 1, 1, 1.5] and told["calibration_biases"] == [-0.6, 0, 0, 0.3]
    assert own.neutral_logits == asked.neutral_logits == {"AU12": -4.0}
    # With other words an action unit is what these words are.
    (told,) = load_classifier(folder, {"AU12": "big smile"}).model.config.label_sets
    assert told["thresholds"] == [0.5] and told["temperatures"] == [1]


def test_thresholds_of_ones_own(checkpoint):
    found = load_classifier(checkpoint, thresholds={"au04": 0.2})
    assert found.groups[0].labels == ("AU12", "AU4") and found.groups[0].thresholds == (0.433, 0.2)
    assert load_classifier(checkpoint, ["a grin"], thresholds={"a grin": 0.1}).groups[0].thresholds == (0.1,)
    for thresholds, message in (
        ({"AU6": 0.2}, "'AU6', which is no label here; these are AU12, AU4, neutral, happiness"),
        ({"happiness": 0.2}, "'expression' exclude each other"),
        ({"AU4": 1.0}, "expected a probability between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            load_classifier(checkpoint, thresholds=thresholds)


def test_labels_are_known_ones_or_words():
    assert list(read_labels(["AU01", "au06", "AU 12"])) == ["AU1", "AU6", "AU12"]  # as OpenFace writes them
    assert read_labels(["au 12", "a grin", "AU16=lower lip depressor", "x = a = b", "happiness"]) == {
        "AU12": "lip corner puller",
        "a grin": "a grin",
        "AU16": "lower lip depressor",
        "x": "a = b",
        "happiness": "happiness",
    }
    for unknown in ("AU16", "au16", "AU 99"):  # as words they would mean nothing to a text tower
        with pytest.raises(ValueError, match="is none of the action units that are known by number"):
            read_labels(["happiness", unknown])
    with pytest.raises(ValueError, match="more than once"):
        read_labels(["AU12", "au12"])
