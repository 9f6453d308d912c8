"""What is published of a run, and what is not."""

import json
import re
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification

from hub_cards.assemble import assemble, describe
from modeling_clef.configuration_clef import AUTO_MAP, CUSTOM_PIPELINES
from modeling_clef.version_clef import VERSION


@pytest.fixture(scope="module")
def assembled(published_run, tmp_path_factory):
    return assemble(published_run, tmp_path_factory.mktemp("assembled"), "org/tiny")


@pytest.fixture
def run(published_run, tmp_path):
    return shutil.copytree(published_run, tmp_path / "run")


@pytest.fixture
def target(tmp_path):
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def test_all_that_others_need_is_there(assembled):
    folder, files = assembled.folder, set(assembled.files)
    assert files == {path.name for path in folder.iterdir()}
    config = json.loads((folder / "config.json").read_text())
    assert config["auto_map"] == AUTO_MAP and config["custom_pipelines"] == CUSTOM_PIPELINES
    assert config["clef_version"] == VERSION and config["architectures"] == ["CLEFForImageClassification"]
    assert [label_set["thresholds"] for label_set in config["label_sets"]] == [[0.4] * 2, [0.4] * 3]
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    assert set(processor["auto_map"]) == {"AutoImageProcessor", "AutoProcessor"}
    assert {"README.md", "calibration.png", "recipe.yaml", "metrics.json", "tokenizer.json"} <= files
    # The code is whole: what any of its files imports from another lies beside it.
    code = {name for name in files if name.endswith(".py")}
    assert {"modeling_clef.py", "pipeline_clef.py", "face_detection_clef.py", "version_clef.py"} <= code
    for name in code:
        text = (folder / name).read_text()
        assert {f"{other}.py" for other in re.findall(r"^\s*from \.(\w+) import", text, re.MULTILINE)} <= code
        assert not re.search(r"^\s*(from|import) (modeling_clef|processing|hub_cards|train_scripts)\b", text, re.M)


def test_nothing_else_is_there(assembled, published_run):
    left_out = {"checkpoints/", "epochs/", "epochs.jsonl", "started.json", "done.json", "predictions.parquet"}
    assert set(assembled.left_out) == left_out | {"history.jsonl", "log.txt"}
    assert (published_run / "predictions.parquet").is_file()
    assert assembled.shortened == 2
    card = (assembled.folder / "README.md").read_text()
    assert "Drawn by hand from day_1, then from day_2. See https://e.org/a/b." in card
    for path in assembled.folder.iterdir():
        if path.suffix not in (".png", ".safetensors"):
            text = path.read_text()
            assert not re.search(r"home[/\\]+ada", text) and str(published_run) not in text, path.name
            assert not re.search(r"\bS00\d\b", text), f"{path.name} names a subject"
    assert yaml.safe_load((assembled.folder / "recipe.yaml").read_text()) == {
        "corpus": "synthetic", "learning_rate": 0.002, "text_tower": "tiny",
    }  # fmt: skip
    assert json.loads((assembled.folder / "metrics.json").read_text())["started_from"] == "before"
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in assembled.folder.iterdir())


def test_photographs_are_counted_and_not_named(run, target):
    metrics = json.loads((run / "metrics.json").read_text())
    data = {"set": "ward", "photos": 9, "people": 4, "usable": 7}
    named = {
        "failures": {"Ada Lovelace.jpg": "no face found", "ben.jpg": "no such file"},
        "several_faces": ["Ada and Eve.jpg"],
        "unlisted_pictures": ["eve.png", "eve2.png", "eve3.png"],
    }
    photographs = {"data": data | named, "labels": {}, "prompts": {}, "cannot_verify": {}}
    (run / "metrics.json").write_text(json.dumps(metrics | {"photographs": photographs}))
    folder = assemble(run, target, "org/tiny").folder
    found = json.loads((folder / "metrics.json").read_text())["photographs"]["data"]
    assert found == data | {"failures": 2, "several_faces": 1, "unlisted_pictures": 3}
    for path in folder.iterdir():
        if path.suffix not in (".png", ".safetensors"):
            assert not re.search(r"\bAda\b|\bben\.jpg|\beve\d?\.png", path.read_text()), path.name
    # What is here still says which.
    assert json.loads((run / "metrics.json").read_text())["photographs"]["data"]["failures"] == named["failures"]


def test_whoever_pushes_is_told(assembled):
    what, left_out, paths = describe(assembled)
    parameters = sum(tensor.numel() for tensor in load_file(assembled.folder / "model.safetensors").values())
    assert f"{len(assembled.files)} files" in what and f"code of CLEF {VERSION}" in what
    assert assembled.parameters <= parameters  # buffers are saved, too
    assert "predictions.parquet" in left_out and paths.endswith(": 2")


def test_card_is_of_the_repository(assembled):
    card = (assembled.folder / "README.md").read_text()
    assert 'from_pretrained("org/tiny"' in card and 'pipeline("facial-behavior"' in card
    assert "calibration.png" in card


def test_large_models_are_cut_into_shards(published_run, target):
    files = assemble(published_run, target, "org/tiny", max_shard_size="20KB").files
    shards = [name for name in files if name.endswith(".safetensors")]
    assert len(shards) > 1 and "model.safetensors.index.json" in files and "model.safetensors" not in files
    whole = AutoModelForImageClassification.from_pretrained(published_run).state_dict()
    parts = AutoModelForImageClassification.from_pretrained(target).state_dict()
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_folder_of_something_else_is_refused(run, target, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no config.json"):
        assemble(tmp_path, target)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(ValueError, match="type 'bert', expected 'clef'"):
        assemble(run, target)


def test_missing_and_foreign_weights_are_refused(run, target):
    weights = load_file(run / "model.safetensors")
    name = "label_head.label_scale" if "label_head.label_scale" in weights else sorted(weights)[-1]
    save_file({key: value for key, value in weights.items() if key != name}, run / "model.safetensors")
    with pytest.raises(ValueError, match=f"not this model's.*{name}"):
        assemble(run, target)
    (run / "model.safetensors").unlink()
    torch.save(weights, run / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="holds no weights as safetensors"):
        assemble(run, target)
    assert not list(target.iterdir())


def test_what_the_card_lacks_is_asked_for_in_the_run(run, target):
    metrics = json.loads((run / "metrics.json").read_text())
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())

    def refused(message):
        with pytest.raises((FileNotFoundError, ValueError)) as told:
            assemble(run, target, "org/tiny")
        assert message in str(told.value) and str(target) not in str(told.value)
        assert not list(target.iterdir())

    (run / "metrics.json").write_text(json.dumps(metrics | {"evaluation": {}}))
    refused(f"{run / 'metrics.json'} has no scores of ['action_units', 'expression']")
    refused(f"python train_scripts/evaluate.py {run}")
    (run / "metrics.json").write_text(json.dumps(metrics | {"stage": None}))
    refused(f"{run / 'metrics.json'}: got stage None")
    (run / "metrics.json").unlink()
    refused(f"{run} holds no metrics.json")
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"corpus": "image_folder"}))
    refused(f"write `license: …` into {run / 'card.yaml'}")
    (run / "card.yaml").write_text("license: mit\n")
    refused(f"`data_terms: …` into {run / 'card.yaml'}")
