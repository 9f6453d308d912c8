"""Zero-shot recognition: what training may see, and what the numbers mean."""

import json

import numpy as np
import pytest
import yaml
from datasets import Dataset
from transformers import AutoModelForImageClassification

from processing.corpora import load_corpus
from train_scripts import finetune, jobs, zero_shot
from train_scripts.data import without_expressions
from train_scripts.finetune import FinetuningOptions
from train_scripts.options import parse_options
from train_scripts.zero_shot import ZeroShotOptions, score

STAGE = {"text_tower": "tiny", "image_size": 32, "batch_size": 8, "max_steps": 2}


@pytest.fixture(autouse=True)
def quick_jobs(forked_jobs, monkeypatch):
    monkeypatch.setattr(jobs, "subprocess", forked_jobs)


@pytest.fixture(scope="module")
def corpus(corpus_cache):
    """More people than in the other tests, so that every expression is seen in the test."""
    return {"subjects": 12, "frames": 3, "image_size": 32, "cache_dir": str(corpus_cache)}


def run(corpus, output, *flags, **stages):
    options = {
        "corpus_options": corpus,
        "output": str(output),
        "pretraining": STAGE,
        "finetuning": {k: v for k, v in STAGE.items()},
        **stages,
    }
    recipe = output.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(options))
    return zero_shot.main(parse_options(ZeroShotOptions, [str(recipe), *map(str, flags)]))


def test_held_out_expressions_are_neither_shown_nor_named_in_training(corpus, tmp_path):
    held_out = ["surprise", "disgust"]
    result = run(corpus, tmp_path / "run", "--held_out", *held_out)
    model = AutoModelForImageClassification.from_pretrained(result["checkpoint"])
    assert not set(held_out) & set(model.config.label2id) and len(model.config.label2id) == 5
    recipe = yaml.safe_load((tmp_path / "run/finetuned/recipe.yaml").read_text())
    assert recipe["label_sets"] == ["expression"] and recipe["held_out_expressions"] == held_out
    assert recipe["init_from"].endswith("pretrained")
    shown = without_expressions(load_corpus("synthetic", split="train", **corpus), held_out)
    metrics = json.loads((tmp_path / "run/finetuned/metrics.json").read_text())
    assert metrics["labelled_frames"] == len(shown) < len(load_corpus("synthetic", split="train", **corpus))

    test = load_corpus("synthetic", split="test", **corpus)
    assert result["data"]["frames"] == sum(name in held_out for name in test["expression"][:])
    assert set(result["scores"]) == {
        f"{kind}, among {which}" for kind in ("names", "descriptions") for which in ("these", "all")
    }
    among_these, among_all = (result["scores"][f"names, among {which}"] for which in ("these", "all"))
    assert set(result["recognised"]) == set(held_out)
    assert result["recognised_and_trained"] == [] and among_these["chance"] == 1 / 2 and among_all["chance"] == 1 / 7
    assert among_these["accuracy"]["value"] >= among_all["accuracy"]["value"]


def test_action_units_alone_are_learned_and_the_paper_stands_beside(corpus, tmp_path, capsys):
    result = run(corpus, tmp_path / "run", "--train_on", "action_units", "--pretraining", "null", paper={"CLEF": 29.47})
    model = AutoModelForImageClassification.from_pretrained(result["checkpoint"])
    assert [label_set["name"] for label_set in model.config.label_sets] == ["action_units"]
    assert not (tmp_path / "run/pretrained").exists()
    assert set(result["scores"]) == {"names, among these", "descriptions, among these"}
    assert len(result["recognised"]) == 7
    assert "the paper: CLEF" in (printed := capsys.readouterr().out) and "29.47" in printed

    again = run(corpus, tmp_path / "run", "--train_on", "action_units", "--pretraining", "null")
    assert again["scores"] == result["scores"]
    assert "stage 2: done before" in capsys.readouterr().out


def test_any_checkpoint_is_asked_as_it_is(corpus, tmp_path, capsys):
    shared = ["--corpus_options", json.dumps(corpus), "--test", "false"]
    stage = [flag for name, value in STAGE.items() for flag in (f"--{name}", str(value))]
    for head in ("names", "linear"):
        flags = [*shared, *stage, "--head", head, "--output", str(tmp_path / head)]
        finetune.main(parse_options(FinetuningOptions, flags))
    result = run(corpus, tmp_path / "run", "--checkpoint", tmp_path / "names")
    assert result["trained_on"] is None and len(result["recognised"]) == 7
    assert result["recognised_and_trained"] == result["recognised"] and "not zero-shot" in capsys.readouterr().out
    with pytest.raises(ValueError, match="linear head"):
        run(corpus, tmp_path / "run", "--checkpoint", tmp_path / "linear")


def test_accuracy_counts_faces_that_were_not_found_as_wrong():
    names = ["fear", "anger"]
    rows = {"expression": ["fear", "fear", "anger", "anger"], "subject_id": ["a", "a", "b", "b"], "corpus": ["x"] * 4}
    logits = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert score(Dataset.from_dict(rows), names, logits, 0)["accuracy"]["value"] == 0.75
    unseen = Dataset.from_dict(rows | {"face_found": [False, True, True, True]})
    scores = score(unseen, names, logits, 0)
    assert scores["accuracy"]["value"] == 0.5 and scores["uar"]["value"] == 0.5
    assert scores["chance"] == 0.5 and scores["most_frequent"] == {"name": "fear", "share": 0.5}


def test_frames_of_held_out_expressions_are_left_out_and_unknown_ones_stay():
    corpus = Dataset.from_dict({"expression": ["fear", None, "anger", "happiness"]})
    assert without_expressions(corpus, ["fear", "anger"])["expression"][:] == [None, "happiness"]
    with pytest.raises(ValueError, match="got joy"):
        without_expressions(corpus, ["joy"])
    with pytest.raises(ValueError, match="no frame is left"):
        without_expressions(corpus.select([0]), ["fear"])


def test_wrong_options_are_said(capsys):
    for flags, message in [
        (["--held_out", "joy"], "got joy, expected some of"),
        (["--test_root", "x"], "belong to a test_corpus"),
        (["--pretraining", "3"], "pretraining: got 3"),
    ]:
        with pytest.raises(SystemExit):
            parse_options(ZeroShotOptions, flags)
        assert message in capsys.readouterr().err
