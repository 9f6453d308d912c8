"""Fine-tuning as people run it: every head, joint label sets, fractions, probes."""

import json

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForImageClassification, AutoProcessor, pipeline

from train_scripts import finetune
from train_scripts.finetune import FinetuningOptions, main
from train_scripts.labels import balancing_weights
from train_scripts.options import parse_options
from train_scripts.runtime import write_metrics


def run(flags, *more):
    return main(parse_options(FinetuningOptions, [*map(str, flags), *map(str, more)]))


def test_two_steps_of_two_processes_leave_a_folder_that_loads_and_predicts(launch, flags, tmp_path):
    done = launch("finetune", *flags, "--max_steps", 2, "--output", tmp_path, processes=2)
    assert "fine-tuned 2 steps" in done.stdout
    model = AutoModelForImageClassification.from_pretrained(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    images = [np.full((40, 40, 3), value, dtype=np.uint8) for value in (20, 200)]
    logits = model(**processor(images=images)).logits
    assert logits.shape == (2, 17 + 7)
    AutoModel.from_pretrained(tmp_path)
    evaluation = json.loads((tmp_path / "metrics.json").read_text())["evaluation"]
    assert {"mean_f1", "mean_f1_at_half", "mean_auroc"} <= set(evaluation["action_units"])
    assert 0 <= evaluation["expression"]["accuracy"] <= 1


@pytest.mark.parametrize("head", ["linear", "names", "names_and_descriptions", "descriptions"])
def test_every_head_trains(flags, tmp_path, head):
    run(flags, "--head", head, "--max_steps", 2, "--log_steps", 1, "--output", tmp_path, "--test", "false")
    line = json.loads((tmp_path / "history.jsonl").read_text().splitlines()[-1])
    assert ("description_name_loss" in line) == (head == "names_and_descriptions")


def test_one_label_set_serves_the_stock_pipeline_which_asks_nothing(flags, tmp_path, monkeypatch):
    def asked(question=""):
        pytest.fail(f"was asked: {question}", pytrace=False)

    monkeypatch.setattr("builtins.input", asked)
    run(flags, "--label_sets", "expression", "--max_steps", 1, "--output", tmp_path)
    from PIL import Image

    classify = pipeline("image-classification", model=str(tmp_path))
    answer = classify(Image.new("RGB", (40, 40), (90, 120, 60)), top_k=7)
    assert sum(row["score"] for row in answer) == pytest.approx(1, abs=1e-5)
    assert {"happiness", "surprise"} <= {row["label"] for row in answer}


def test_a_linear_probe_leaves_the_towers_as_they_are(flags, tmp_path):
    run(flags, "--max_steps", 1, "--output", tmp_path / "start", "--test", "false")
    run(flags, "--init_from", tmp_path / "start", "--linear_probe", "true", "--output", tmp_path / "probe")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("start", "probe"))
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("clef."))
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "probe")
    assert model.config.head == "linear"
    assert (tmp_path / "probe" / "recipe.yaml").exists()
    assert json.loads((tmp_path / "probe" / "metrics.json").read_text())["stage"] == "linear probe"


def test_a_linear_probe_runs_where_training_would_shows_how_far_it_is_and_weighs_rare_labels_up(
    flags, tmp_path, monkeypatch
):
    seen, extract = [], finetune.extract_features
    monkeypatch.setattr(
        finetune, "extract_features", lambda *parts, **options: seen.append(options) or extract(*parts, **options)
    )
    for weighting in ("none", "balanced"):
        switches = ["--linear_probe", "true", "--class_weighting", weighting, "--label_sets", "expression"]
        run(flags, *switches, "--test", "false", "--output", tmp_path / weighting)
    assert all(options["device"] == Accelerator().device and options["progress"] for options in seen)
    plain, balanced = (load_file(tmp_path / name / "model.safetensors") for name in ("none", "balanced"))
    assert not torch.equal(plain["label_head.biases"], balanced["label_head.biases"])


def test_a_model_that_takes_another_s_place_is_not_taken_for_it(flags, tmp_path):
    run(flags, "--max_steps", 1, "--epoch_scores", "true", "--output", tmp_path)
    kept = ("history.jsonl", "epochs.jsonl", "predictions.parquet", "results.json")
    assert all((tmp_path / name).exists() for name in kept)
    write_metrics(tmp_path, small_set={"au_f1": 0.9})
    assert "evaluation" in json.loads((tmp_path / "metrics.json").read_text())
    run(flags, "--linear_probe", "true", "--label_sets", "expression", "--test", "false", "--output", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["stage"] == "linear probe" and "small_set" not in metrics
    assert not any((tmp_path / name).exists() for name in kept)


def test_validation_scores_are_shown_on_the_way(flags, tmp_path, capsys):
    run(flags, "--max_steps", 2, "--eval_steps", 1, "--output", tmp_path, "--test", "false")
    assert "step 1: validation subjects AU F1 at .5" in capsys.readouterr().out


def test_a_trained_head_goes_on_with_its_own_labels_only(flags, tmp_path):
    def biases(name):
        return load_file(tmp_path / name / "model.safetensors")["label_head.biases"]

    still = ["--test", "false", "--max_steps", 1, "--warmup", 0, "--learning_rate", "1e-9"]
    run(
        flags,
        "--test",
        "false",
        "--max_steps",
        2,
        "--warmup",
        0,
        "--learning_rate",
        1.0,
        "--output",
        tmp_path / "first",
    )
    assert (biases("first")[:17] + 2).abs().min() > 0.1
    run(flags, *still, "--init_from", tmp_path / "first", "--output", tmp_path / "same")
    torch.testing.assert_close(biases("same"), biases("first"))
    other = [*still, "--label_sets", "expression", "--init_from", tmp_path / "first"]
    run(flags, *other, "--output", tmp_path / "other")
    torch.testing.assert_close(biases("other"), torch.zeros(7), rtol=0, atol=1e-6)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "other"))
    name = "clef.visual_projection.weight"
    torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)


def test_a_fraction_of_the_labels_is_drawn_as_asked(flags, tmp_path, capsys):
    run(flags, "--label_fraction", 0.2, "--label_fraction_by", "subject", "--max_steps", 1, "--output", tmp_path)
    assert "16 of 96 training frames are labelled, of 1 subjects" in capsys.readouterr().out


def test_the_temperature_of_descriptions_is_the_asked_one_and_kept_whatever_the_checkpoint_has(flags, tmp_path):
    def scale(name, *more):
        run(flags, "--max_steps", 2, "--warmup", 0, "--test", "false", "--output", tmp_path / name, *more)
        return load_file(tmp_path / name / "model.safetensors")["clef.logit_scale"].exp().item()

    first = scale("first")
    assert first != pytest.approx(1 / 0.07, abs=1e-4)  # from scratch it starts there, and is learned
    assert scale("asked", "--description_temperature", 0.3) == pytest.approx(1 / 0.3)
    start = ["--init_from", tmp_path / "first"]
    assert scale("again", *start, "--description_temperature", 0.2) == pytest.approx(1 / 0.2)
    assert scale("kept", "--init_from", tmp_path / "again") == pytest.approx(1 / 0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"description_temperature": 0.001}, "got 0.001, expected at least .01"),
        ({"description_temperature": 0.3, "head": "names"}, "head 'names' has no description–name loss"),
    ],
)
def test_temperatures_of_descriptions_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FinetuningOptions(**arguments)


def test_phrasings_are_shown_when_asked_for(flags, tmp_path):
    for asked in ("false", "true"):
        run(flags, "--phrasings", asked, "--max_steps", 2, "--output", tmp_path / asked, "--test", "false")
    plain, phrased = (
        AutoModelForImageClassification.from_pretrained(tmp_path / asked).config.label_sets
        for asked in ("false", "true")
    )
    assert all(label_set["phrasing_tokens"] is None for label_set in plain)
    assert all(max(map(len, label_set["phrasing_tokens"])) > 3 for label_set in phrased)
    a, b = (load_file(tmp_path / asked / "model.safetensors") for asked in ("false", "true"))
    assert not torch.equal(a["clef.text_projection.weight"], b["clef.text_projection.weight"])
    losses = [
        json.loads((tmp_path / asked / "history.jsonl").read_text().splitlines()[-1]) for asked in ("false", "true")
    ]
    assert ["image_phrasing_loss" in line for line in losses] == [False, True]


def test_phrasings_need_a_head_that_shows_names_and_a_weight():
    for head in ("linear", "descriptions"):
        with pytest.raises(ValueError, match=f"head '{head}' shows no names"):
            FinetuningOptions(phrasings=True, head=head)
    with pytest.raises(ValueError, match="phrasing_weight: got 0, expected more than 0"):
        FinetuningOptions(phrasings=True, phrasing_weight=0)


def test_the_saved_classifier_is_the_average_and_comes_with_temperatures(flags, tmp_path):
    run(flags, "--max_steps", 3, "--checkpoint_steps", 3, "--eval_steps", 1, "--ema_decay", 0.9, "--output", tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    averages = load_file(tmp_path / "checkpoints" / "step_00000003" / "average.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in averages.items())
    sets = AutoModelForImageClassification.from_pretrained(tmp_path).config.label_sets
    assert all(len(label_set["temperatures"]) == len(label_set["labels"]) for label_set in sets)


def test_balanced_weights_reach_the_configuration(flags, tmp_path):
    run(flags, "--class_weighting", "balanced", "--max_steps", 1, "--output", tmp_path, "--test", "false")
    sets = AutoModelForImageClassification.from_pretrained(tmp_path).config.label_sets
    assert all(len(s["positive_weights"]) == len(s["labels"]) for s in sets)


def test_balancing_weights_by_hand():
    labels = np.array([[1, 0], [0, 0], [0, np.nan], [0, 1.0]], dtype=np.float32)
    assert balancing_weights(labels, "multi_label_classification") == [3, 2]
    onehot = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [np.nan, np.nan]], dtype=np.float32)
    assert balancing_weights(onehot, "single_label_classification") == pytest.approx([0.5, 1.5])
