"""A saved folder works where neither of the project's packages can be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForZeroShotImageClassification, pipeline

from modeling_clef import CLEFForImageClassification, CLEFForPreTraining, CLEFModel
from modeling_clef.configuration_clef import AUTO_MAP
from processing import CLEFImageProcessor, CLEFProcessor

WORKER = Path(__file__).with_name("remote_worker.py")
CODE = {
    "calibration_clef.py",
    "configuration_clef.py",
    "frozen_text_clef.py",
    "label_head_clef.py",
    "label_sets_clef.py",
    "losses_clef.py",
    "mirror_clef.py",
    "modeling_clef.py",
    "outputs_clef.py",
    "pipeline_clef.py",
    "relevance_clef.py",
    "sentence_encoder_clef.py",
    "text_projection_clef.py",
    "tiled_losses_clef.py",
    "towers_clef.py",
    "version_clef.py",
}


@pytest.fixture
def processor(tokenizer):
    return CLEFProcessor(CLEFImageProcessor(size={"height": 32, "width": 32}), tokenizer)


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 36, 3), dtype=np.uint8))


def leaves(value):
    """Numbers and texts of nested lists and dicts in order."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("model_class", [CLEFModel, CLEFForPreTraining, CLEFForImageClassification])
def test_every_class_saves_all_code_and_the_whole_map(model_class, sentence_config, action_units, tmp_path):
    model_class(sentence_config(label_sets=[action_units])).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.glob("*.py")} == CODE
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == AUTO_MAP
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("text_free", [False, True])
def test_a_folder_serves_auto_classes_and_pipelines_without_the_packages(
    text_free, sentence_config, action_units, processor, image, tmp_path
):
    model = CLEFForImageClassification(sentence_config(label_sets=[action_units])).eval()
    folder, tower_folder = tmp_path / "checkpoint", tmp_path / "tower"
    model.clef.text_model.save_pretrained(tower_folder)
    if text_free:
        model.freeze_labels()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    image.save(tmp_path / "face.png")

    labels = ["happiness", "sadness"]
    template = "a photo of a person with {}"
    zero_shot = pipeline("zero-shot-image-classification", model=str(folder))
    zero_shot.model.join_text_tower(tower_folder)
    classifier = pipeline("image-classification", model=str(folder), top_k=None)
    expected = {
        "zero_shot": zero_shot(image, candidate_labels=labels, hypothesis_template=template),
        "classifier": classifier(image),
    }
    pixel_values = processor(images=image)["pixel_values"]
    with torch.no_grad():
        expected["logits"] = model(pixel_values).logits.tolist()
        base = AutoModelForZeroShotImageClassification.from_pretrained(folder)
        expected["image_embeds"] = base.image_embeds(pixel_values).tolist()
    # What the pipelines gave is what the model gives: sigmoids of a multi-label set.
    scores = {row["label"]: row["score"] for row in expected["classifier"]}
    probabilities = torch.tensor(expected["logits"][0]).sigmoid()
    assert [scores["AU1"], scores["AU12"]] == pytest.approx(probabilities.tolist(), abs=1e-6)

    environment = dict(os.environ, HF_MODULES_CACHE=str(tmp_path / "modules"), HF_HUB_OFFLINE="1")
    environment.pop("PYTHONPATH", None)
    request = json.dumps([labels, template, str(tower_folder)])
    found = subprocess.run(
        [sys.executable, "-I", str(WORKER), str(folder), str(tmp_path / "face.png"), request],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    found = json.loads(found.stdout.splitlines()[-1])
    assert found.pop("classes") == {
        "AutoConfig": "CLEFConfig",
        "AutoModel": "CLEFModel",
        "AutoModelForPreTraining": "CLEFForPreTraining",
        "AutoModelForImageClassification": "CLEFForImageClassification",
        "AutoModelForZeroShotImageClassification": "CLEFModel",
        "AutoProcessor": "CLEFProcessor",
        "AutoImageProcessor": "CLEFImageProcessor",
    }
    assert found.pop("text_free") == text_free
    # Saved again from there, the folder is as complete as before.
    assert set(found.pop("saved_again")) == CODE
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert leaves(found[name]) == [pytest.approx(leaf, abs=2e-6) for leaf in leaves(value)], name


@pytest.mark.parametrize("several", [False, True])
def test_image_classification_pipeline_takes_a_softmax_over_one_single_label_set_only(
    sentence_config, action_units, expressions, processor, image, tmp_path, several
):
    """Of several sets each label is judged by itself: a softmax over all labels would mean nothing."""
    label_sets = [action_units, expressions] if several else [expressions]
    model = CLEFForImageClassification(sentence_config(label_sets=label_sets)).eval()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    found = pipeline("image-classification", model=str(tmp_path), top_k=None)(image)
    with torch.no_grad():
        logits = model(processor(images=image)["pixel_values"]).logits[0]
    probabilities = logits.sigmoid() if several else logits.softmax(0)
    scores = {row["label"]: row["score"] for row in found}
    labels = [label for label_set in label_sets for label in label_set["labels"]]
    assert [scores[label] for label in labels] == pytest.approx(probabilities.tolist(), abs=1e-6)
