"""The ONNX file of a classifier: torch's numbers for any batch, and metadata that suffice to use it."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import ViTConfig

pytest.importorskip("cv2", reason="needs opencv-python-headless")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")

import onnxruntime

from analysis import onnx_export
from analysis.model import load_classifier
from analysis.onnx_export import OUTPUTS, describe, export_classifier
from modeling_clef import CLEFConfig, CLEFForImageClassification

TEMPERATURES = [0.5, 1.7]  # far enough from 1 to be seen


def crops(count, size=32):
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def exported(classifier, path):
    """What the file at `path` answers about crops, as a program without torch would ask."""
    export_classifier(classifier, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map

    def answer(pictures):
        pixels = normalized(pictures, json.loads(about["input"]))
        return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"pixel_values": pixels}), strict=True))

    return answer, about


def normalized(pictures, given):
    pixels = pictures.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(given["scale"])
    if given["normalization"] == "per_image":
        pixels -= pixels.mean((2, 3), keepdims=True)
        pixels /= np.maximum(pixels.std((1, 2, 3), keepdims=True), given["minimum_std"])
    elif given["normalization"] == "fixed":
        mean, std = (np.array(given[name], np.float32)[:, None, None] for name in ("mean", "std"))
        pixels = (pixels - mean) / std
    return pixels


@pytest.fixture
def changed(checkpoint, tmp_path):
    """`changed(**fields)`: the tiny checkpoint anew with other fields of its configuration, calibrated."""

    def change(**fields):
        torch.manual_seed(1)
        config = CLEFConfig.from_pretrained(checkpoint, label_bias_init=0.0, **fields)
        config.label_sets[0] |= {"temperatures": TEMPERATURES, "calibration_biases": [0.3, -0.6]}
        folder = shutil.copytree(checkpoint, tmp_path / "changed")
        CLEFForImageClassification(config).save_pretrained(folder)
        return folder

    return change


VIT = ViTConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
)


@pytest.mark.parametrize("fields", [{}, {"head": "linear"}, {"vision_config": VIT.to_dict()}])
def test_a_program_without_torch_gets_the_numbers_of_an_analysis(changed, tmp_path, fields):
    classifier = load_classifier(changed(**fields), device="cpu")
    answer, about = exported(classifier, tmp_path / "e.onnx")
    for count in (1, 2, 5):
        found, pictures = answer(crops(count)), crops(count)
        with torch.no_grad():
            expected = classifier.model(classifier.image_processor(list(pictures), return_tensors="pt").pixel_values)
        np.testing.assert_allclose(found["logits"], expected.logits, atol=1e-4)
        np.testing.assert_allclose(found["image_embeds"], expected.image_embeds, atol=1e-4)
        np.testing.assert_allclose(found["probabilities"], classifier.probabilities(pictures), atol=1e-4)
    plain = 1 / (1 + np.exp(-found["logits"][:, :2]))
    assert abs(found["probabilities"][:, :2] - plain).max() > 0.05  # calibration is part of the file
    np.testing.assert_allclose(found["probabilities"][:, 2:].sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("options", [{"per_image_normalization": False}, {"do_normalize": False}, {"image_mean": 0.5}])
def test_the_metadata_say_how_pixels_are_normalised(checkpoint, options):
    classifier = load_classifier(checkpoint, device="cpu")
    for name, value in ({"per_image_normalization": False} | options).items():
        setattr(classifier.image_processor, name, value)
    expected = classifier.image_processor(list(crops(3)), return_tensors="np")["pixel_values"]
    found = normalized(crops(3), json.loads(describe(classifier)["input"]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_metadata_say_what_the_file_is(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "mine")
    card = "---\nlicense: other\nlicense_name: of-my-lab\n---\n# Mine\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    classifier = load_classifier(folder, device="cpu")
    _, about = exported(classifier, tmp_path / "e.onnx")
    plain = {"model": "mine", "weights_sha256": classifier.weights, "license": "other", "license_name": "of-my-lab"}
    assert plain.items() <= about.items() and about["clef_version"]
    facts = {name: json.loads(about[name]) for name in ("labels", "texts", "thresholds", "label_sets", "input", "crop")}
    assert facts["labels"] == ["AU12", "AU4", "neutral", "happiness"]
    assert facts["texts"] == ["lip corner puller", "brow lowerer", "a neutral expression", "happiness"]
    assert facts["thresholds"] == [0.433, 0.343, None, None]
    assert facts["label_sets"] == [
        {"name": "action_units", "problem_type": "multi_label_classification", "columns": [0, 2]},
        {"name": "expression", "problem_type": "single_label_classification", "columns": [2, 4]},
    ]
    assert facts["input"].items() >= {"height": 32, "width": 32, "channels": "RGB", "minimum_std": 0.02}.items()
    assert facts["crop"]["recipe"] == "eyes-nose-1" and facts["crop"]["nose_tip"] == [0.5, 0.575]
    written = (tmp_path / "e.onnx").read_bytes()
    assert b".py" not in written and str(tmp_path).encode() not in written  # nothing of this machine
    assert b"BatchNormalization" not in written


def test_a_card_without_a_licence_names_none_and_a_broken_one_is_told(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "mine")
    classifier = load_classifier(folder, device="cpu")
    for card in (None, "# Mine\n", "---\ntags: [a]\n---\n"):
        if card is not None:
            (folder / "README.md").write_text(card)
        assert "license" not in describe(classifier)
    for card in ("---\nlicense: [\n---\n", "---\nlicense\n---\n"):
        (folder / "README.md").write_text(card)
        with pytest.raises(ValueError, match="README.md, cannot be read"):
            describe(classifier)


def test_words_of_ones_own_become_part_of_the_file(checkpoint, tmp_path):
    classifier = load_classifier(checkpoint, ["AU4", "smirk=big smile"], device="cpu")
    answer, about = exported(classifier, tmp_path / "e.onnx")
    assert json.loads(about["labels"]) == ["AU4", "smirk"] and json.loads(about["thresholds"]) == [0.343, 0.5]
    assert json.loads(about["texts"]) == ["brow lowerer", "big smile"]
    np.testing.assert_allclose(answer(crops(3))["probabilities"], classifier.probabilities(crops(3)), atol=1e-4)


@pytest.mark.parametrize("amount", [2e-3, float("nan")])
def test_a_file_with_other_numbers_is_not_kept(checkpoint, tmp_path, monkeypatch, amount):
    classifier, export = load_classifier(checkpoint, device="cpu"), onnx_export.export_module

    def differing(module, *arguments):
        program = export(module, *arguments)
        head = module.model.label_head
        head.biases = torch.nn.Parameter(head.biases + amount)  # the program keeps the former
        return program

    monkeypatch.setattr(onnx_export, "export_module", differing)
    with pytest.raises(RuntimeError, match="gives logits that differ by"):
        export_classifier(classifier, tmp_path / "e.onnx")
    assert not list(tmp_path.iterdir())


def test_what_torch_cannot_export_is_told_in_a_sentence(checkpoint, tmp_path, monkeypatch):
    classifier = load_classifier(checkpoint, device="cpu")
    forward = type(classifier.model).forward

    def deciding(self, pixel_values):
        return forward(self, pixel_values if pixel_values.sum() > 0 else -pixel_values)  # by values: no graph has it

    monkeypatch.setattr(type(classifier.model), "forward", deciding)
    with pytest.raises(ValueError, match=r"^torch cannot export a network of this kind to ONNX: .+") as caught:
        export_classifier(classifier, tmp_path / "e.onnx")
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_network_too_large_for_one_file_is_refused(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "LARGEST_FILE", 100)
    with pytest.raises(ValueError, match="which one ONNX file can hold"):
        export_classifier(load_classifier(checkpoint, device="cpu"), tmp_path / "e.onnx")
    assert not list(tmp_path.iterdir())
