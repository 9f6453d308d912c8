"""The checkpoints that come with the project."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification, AutoProcessor, pipeline

import modeling_clef  # noqa: F401  (registers the Auto classes)
from train_scripts.check_checkpoint import fallen_short, small_set_scores
from train_scripts.towers import minilm_folder

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"
MEGABYTES = {"clef-small": 20, "clef-base": 24}


@pytest.fixture(params=list(MEGABYTES))
def folder(request):
    return CHECKPOINTS / request.param


def test_it_is_small_and_holds_no_text_tower_and_no_pickle(folder):
    files = list(folder.iterdir())
    assert sum(path.stat().st_size for path in files) <= 1e6 * MEGABYTES[folder.name]
    assert [path.name for path in files if path.suffix in (".safetensors", ".bin", ".pt", ".pkl")] == [
        "model.safetensors"
    ]
    model = AutoModelForImageClassification.from_pretrained(folder)
    assert not any("text_model" in name for name in model.state_dict())


def test_it_comes_with_all_that_belongs_to_it(folder):
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "metrics.json", "recipe.yaml", "README.md", "preprocessor_config.json"}
    sets = {s["name"]: s for s in AutoModelForImageClassification.from_pretrained(folder).config.label_sets}
    assert len(sets["action_units"]["labels"]) == 21 and len(sets["expression"]["labels"]) == 7
    assert all(sets["action_units"][key] for key in ("thresholds", "temperatures"))
    assert sets["expression"]["temperatures"]
    assert AutoProcessor.from_pretrained(folder).image_processor.crop_recipe == "eyes-nose-1"


def test_the_code_it_carries_is_the_project_s_own(folder):
    sources = [
        path for package in ("modeling_clef", "processing") for path in CHECKPOINTS.parent.glob(f"{package}/*_clef.py")
    ]
    carried = {path.name: path.read_text() for path in folder.glob("*.py")}
    assert carried and carried == {path.name: path.read_text() for path in sources if path.name in carried}


def test_every_auto_class_and_the_pipeline_take_it(folder):
    from PIL import Image

    face = Image.new("RGB", (96, 96), (180, 140, 120))
    pixels = AutoImageProcessor.from_pretrained(folder)(face, return_tensors="pt")["pixel_values"]
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model(pixels)
        embeds = AutoModel.from_pretrained(folder).eval().image_embeds(pixels)
    assert output.logits.shape == (1, 28)
    torch.testing.assert_close(embeds, output.image_embeds)
    rows = pipeline("image-classification", model=str(folder), trust_remote_code=True)(face, top_k=28)
    assert {row["label"] for row in rows} == set(model.config.label2id)


def test_free_text_comes_back_with_the_sentence_encoder_and_knows_the_labels_by_other_words(folder):
    try:
        minilm_folder()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    labels = model.config.label_sets[0]["labels"]
    with torch.no_grad():
        kept = model.label_head.embed_names(model.clef)[: len(labels)]
        model.join_text_tower()
        tokens = processor(labels=labels)
        torch.testing.assert_close(model.clef.text_embeds(**tokens), kept, atol=1e-5, rtol=0)
        words = {"smiling": "AU12", "a crinkled nose": "AU9", "closed eyes": "AU45", "an open mouth": "AU25"}
        tokens = processor(labels={word: word for word in words})
        nearest = (model.clef.text_embeds(**tokens) @ kept.T).topk(3).indices
    found = {word: [labels[i] for i in row] for word, row in zip(words, nearest.tolist(), strict=True)}
    assert all(label in found[word] for word, label in words.items()), found


@pytest.mark.parametrize("folder", ["clef-small", pytest.param("clef-base", marks=pytest.mark.slow)], indirect=True)
def test_it_still_reaches_its_recorded_figures(folder, face_model_root, tmp_path):
    found = small_set_scores(str(folder), str(face_model_root), str(tmp_path))
    recorded = json.loads((folder / "metrics.json").read_text())["small_set"]
    assert found["frames"] == recorded["frames"]
    assert fallen_short(found, recorded) == []


def test_the_card_is_what_its_files_render(folder):
    from hub_cards.measured import read_measured
    from hub_cards.model_card import render_model_card

    picture = "calibration.png"
    assert (folder / picture).is_file()
    assert (folder / "README.md").read_text() == render_model_card(read_measured(folder), picture=picture)
