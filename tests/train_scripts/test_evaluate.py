import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from modeling_clef import CLEFForImageClassification, CLEFForPreTraining
from processing.corpora import action_unit_labels, expression_labels, load_corpus
from train_scripts import evaluate as script
from train_scripts.calibration import fit_temperatures
from train_scripts.labels import corpus_labels, make_label_sets
from train_scripts.options import TrainingOptions, parse_options
from train_scripts.predict import predict, predict_logits
from train_scripts.thresholds import fit_thresholds
from train_scripts.towers import make_model, make_processor

ROOT = Path(__file__).resolve().parents[2]
CORPUS = {"subjects": 9, "frames": 2, "image_size": 32}


@pytest.fixture(scope="module")
def corpora():
    return {split: load_corpus("synthetic", split=split, **CORPUS) for split in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def options():
    return TrainingOptions(text_tower="tiny", image_size=32, projection_dim=16, corpus_options=CORPUS)


@pytest.fixture(scope="module")
def processor(options):
    return make_processor(options)


@pytest.fixture
def model(options, processor, corpora):
    torch.manual_seed(0)
    label_sets = make_label_sets(corpora["train"], ["action_units", "expression"], processor)
    return make_model(CLEFForImageClassification, options, processor, label_sets=label_sets, head="names")


@pytest.fixture
def run_folder(tmp_path, model, processor, options):
    """What a training script leaves behind."""
    return save_run(tmp_path / "run", model, processor, options)


def save_run(folder, model, processor, options):
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(dataclasses.asdict(options)))
    (folder / "metrics.json").write_text(json.dumps({"training": {"steps": 3}, "evaluation": {"stale": 1}}))
    return folder


def launch(*arguments):
    return subprocess.run(
        [sys.executable, "train_scripts/evaluate.py", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def every_number(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in every_number(item)]
    return [value] if isinstance(value, float) else []


def test_the_script_scores_a_run_folder(run_folder, model, processor, corpora):
    # As a script: its own folder is first on the path then, and must not hide the `evaluate` library.
    run = launch(run_folder, "--probe_fractions", "0.25", "0.5")
    assert run.returncode == 0, run.stderr
    assert "AU12 lip corner puller" in run.stdout and "identity of 2 subjects" in run.stdout

    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert metrics["training"] == {"steps": 3}
    evaluation = metrics["evaluation"]
    assert "stale" not in evaluation
    assert evaluation["data"]["scored"] == {"frames": 32, "subjects": 2}
    assert evaluation["data"]["thresholds_from"] == {"frames": 16, "subjects": 1}
    assert {"mean_f1", "mean_f1_at_half", "mean_auroc"} < set(evaluation["action_units"])
    assert {"accuracy", "macro_f1", "uar", "accuracy_calibrated", "ece", "ece_calibrated"} < set(
        evaluation["expression"]
    )
    assert {"ap", "base_rate", "ece", "ece_calibrated"} < set(evaluation["action_units"]["labels"]["AU12"])
    assert set(evaluation["linear_probe"]) == {"0.25", "0.5"}
    assert set(evaluation["linear_probe"]["0.5"]["action_units"]) == {"mean_f1", "mean_f1_at_half", "mean_auroc"}
    assert {"projection_nearest_neighbour", "projection_linear", "backbone_linear"} < set(evaluation["identity"])
    scores = every_number({k: v for k, v in evaluation.items() if k != "data"})
    assert scores and all(0 <= score <= 1 for score in scores)

    expressions = model.config.label_sets[1]["labels"]
    chosen = predict(model, corpora["test"], processor, progress=False)[:, -len(expressions) :].argmax(axis=1)
    truth = expression_labels(corpora["test"], expressions).argmax(axis=1)
    assert evaluation["expression"]["accuracy"] == pytest.approx((chosen == truth).mean())

    # The thresholds are those that the validation subjects ask for, and the saved configuration holds them.
    validation = corpora["validation"]
    labels = model.config.label_sets[0]["labels"]
    truth = action_unit_labels(validation, labels)
    saved_sets = json.loads((run_folder / "config.json").read_text())["label_sets"]
    temperatures, biases = fit_temperatures(predict_logits(model, validation, processor, progress=False)[:, :17], truth)
    fitted = ~np.isnan(temperatures)
    assert fitted.any()
    np.testing.assert_allclose(np.array(saved_sets[0]["temperatures"])[fitted], temperatures[fitted], rtol=1e-2)
    np.testing.assert_allclose(np.array(saved_sets[0]["calibration_biases"])[fitted], biases[fitted], atol=1e-2)
    assert len(set(saved_sets[1]["temperatures"])) == 1
    # Thresholds belong to the calibrated probabilities, which are what the saved model predicts.
    reloaded, _ = script.load_model_and_processor(str(run_folder))
    expected = fit_thresholds(predict(reloaded, validation, processor, progress=False)[:, : len(labels)], truth)
    saved = saved_sets[0]["thresholds"]
    np.testing.assert_allclose(saved, expected, atol=1e-4)
    assert not np.allclose(saved, 0.5)
    assert [row["threshold"] for row in evaluation["action_units"]["labels"].values()] == saved


def test_results_name_the_splits_and_the_epoch_they_are_of(run_folder, tmp_path):
    script.main(script.EvaluationOptions(checkpoint=str(run_folder), predictions=True, output=str(tmp_path / "usual")))
    usual = json.loads((tmp_path / "usual" / "results.json").read_text())
    assert usual["selection"]["honest"]["thresholds"] == "fitted on validation subjects"
    assert usual["selection"]["honest"]["epoch"] == "not said" and "split" not in " ".join(usual["notes"])

    recipe = yaml.safe_load((run_folder / "recipe.yaml").read_text()) | {"select_epoch": "validation"}
    (run_folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    swapped = {"split": "validation", "threshold_split": "test", "predictions": True, "output": str(tmp_path / "swap")}
    script.main(script.EvaluationOptions(checkpoint=str(run_folder), **swapped))
    results = json.loads((tmp_path / "swap" / "results.json").read_text())
    assert results["selection"]["honest"]["thresholds"] == "fitted on test subjects"
    assert results["selection"]["honest"]["epoch"] == "selected on validation subjects"
    assert "What is called test here is the corpus's validation split." in results["notes"]
    assert results["data"]["frames"] == 16


def test_other_outputs_leave_the_run_folder_alone(run_folder, tmp_path):
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    output = tmp_path / "elsewhere"
    options = ["--checkpoint", str(run_folder), "--output", str(output)]
    script.main(parse_options(script.EvaluationOptions, options))
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before
    assert "action_units" in json.loads((output / "metrics.json").read_text())["evaluation"]
    script.main(parse_options(script.EvaluationOptions, [*options, "--write_thresholds", "true"]))
    assert [name for name in before if (run_folder / name).read_bytes() != before[name]] == ["config.json"]


def test_thresholds_are_written_only_where_they_are_wanted(run_folder):
    before = (run_folder / "config.json").read_bytes()
    options = ["--checkpoint", str(run_folder), "--write_thresholds", "false"]
    script.main(parse_options(script.EvaluationOptions, options))
    assert (run_folder / "config.json").read_bytes() == before


def test_only_what_was_fitted_changes_in_the_saved_configuration(run_folder, model):
    before = json.loads((run_folder / "config.json").read_text())
    label_sets = model.config.label_sets
    label_sets[0]["thresholds"] = [0.25] * len(label_sets[0]["labels"])
    label_sets[1]["temperatures"] = [2.0] * len(label_sets[1]["labels"])
    script.write_thresholds(run_folder, label_sets)
    after = json.loads((run_folder / "config.json").read_text())
    assert set(after["label_sets"][0]["thresholds"]) == {0.25}
    assert set(after["label_sets"][1]["temperatures"]) == {2.0}
    after["label_sets"][0]["thresholds"] = before["label_sets"][0]["thresholds"]
    after["label_sets"][1]["temperatures"] = before["label_sets"][1]["temperatures"]
    assert after == before


def test_a_pretrained_checkpoint_gets_the_identity_probe(tmp_path, options, processor):
    model = make_model(CLEFForPreTraining, options, processor)
    folder = save_run(tmp_path / "run", model, processor, options)
    config = (folder / "config.json").read_bytes()
    result = script.main(parse_options(script.EvaluationOptions, ["--checkpoint", str(folder)]))
    assert set(result) == {"data", "identity"}
    assert (folder / "config.json").read_bytes() == config


def test_evaluation_leaves_the_model_as_it_was(model, processor, corpora):
    model.train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    script.evaluate_checkpoint(model, processor, corpora["validation"], corpora["test"], progress=False)
    assert model.training
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_without_test_frames_nothing_fitted_is_scored(model, processor, corpora):
    result = script.evaluate_checkpoint(model, processor, corpora["validation"], None, progress=False)
    assert "mean_f1_at_half" in result["action_units"] and "mean_f1" not in result["action_units"]
    assert "identity" not in result
    assert "mean_ece_calibrated" not in result["action_units"]
    # Thresholds and temperatures are fitted all the same, for whoever uses the checkpoint.
    assert set(model.config.label_sets[0]["thresholds"]) != {0.5}
    assert set(model.config.label_sets[0]["temperatures"]) != {1}


def test_a_label_without_positive_frame_keeps_its_threshold(model, processor, corpora):
    label_set = model.config.label_sets[0]
    label_set["thresholds"] = [0.123] * len(label_set["labels"])
    quiet = corpora["validation"].map(
        lambda row: {"action_units": dict.fromkeys(row["action_units"], 0.0) | {"AU12": row["action_units"]["AU12"]}}
    )
    quiet.info.description = corpora["validation"].info.description
    script.evaluate_checkpoint(model, processor, quiet, None, progress=False)
    kept = dict(zip(label_set["labels"], label_set["thresholds"], strict=True))
    assert kept.pop("AU12") != 0.123 and set(kept.values()) == {0.123}


def test_action_units_that_the_corpus_does_not_code_are_unknown(corpora):
    labels = corpus_labels(corpora["test"], "action_units", ["AU12", "AU27"])
    assert np.isnan(labels[:, 1]).all()
    assert np.array_equal(labels[:, :1], action_unit_labels(corpora["test"], ["AU12"]))


def test_shared_subjects_are_refused(model, processor, corpora):
    subject = corpora["test"][0]["subject_id"]
    with pytest.raises(ValueError, match=f"1 subject \\({subject}\\) both among"):
        script.evaluate_checkpoint(model, processor, corpora["test"].select(range(4)), corpora["test"])
    with pytest.raises(ValueError, match="both among"):
        script.probe_checkpoint(model, processor, corpora["train"], corpora["validation"], corpora["train"])


def test_probes_of_a_checkpoint_in_training(model, processor, corpora):
    scores = script.probe_checkpoint(model, processor, corpora["train"], corpora["validation"], progress=False)
    assert set(scores["action_units"]) == {"mean_f1_at_half", "mean_auroc"}
    assert set(scores["expression"]) == {"accuracy", "macro_f1", "uar"}


def test_too_few_subjects_for_an_identity_probe_are_said_so(model, processor, corpora):
    one = corpora["test"].select(range(16))
    result = script.evaluate_checkpoint(model, processor, corpora["validation"], one, progress=False)
    assert "identity" not in result
    left_out = {"action_units": result["action_units"] | {"f1_left_out": 1}}
    assert "not in the mean F1: 1 label without" in script.score_table(left_out)
    assert "at least 2 subjects" in result["identity_skipped"] and "at least 2" in script.score_table(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no checkpoint"),
        (["--checkpoint", "x", "--split", "validation"], "inflated"),
        (["--checkpoint", "x", "--probe_fractions", "5"], "more than 0 and at most 1"),
        (["--checkpoint", "x", "--probe_fractions", "half"], "more than 0 and at most 1"),
        (["--checkpoint", "x", "--batch_size", "0"], "expected >= 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parse_options(script.EvaluationOptions, arguments)
    assert message in capsys.readouterr().err


def test_the_checkpoint_may_stand_first():
    assert script.with_checkpoint_flag(["run", "--split", "test"]) == ["--checkpoint", "run", "--split", "test"]
    assert script.with_checkpoint_flag(["--checkpoint", "run"]) == ["--checkpoint", "run"]
    assert script.with_checkpoint_flag(["recipe.yaml", "--checkpoint", "run"])[0] == "recipe.yaml"


def test_two_processes_do_the_work_of_one(nursery, run_folder):
    nursery.finish("evaluate", [run_folder], run_folder, processes=2)
    printed = nursery.printed(0) + nursery.printed(1)
    assert printed.count("nothing to do") == 1 and printed.count("scores written to") == 1
    assert "identity" in json.loads((run_folder / "metrics.json").read_text())["evaluation"]


def test_the_corpus_comes_from_the_options_or_the_recipe(tmp_path):
    def corpus_of(*arguments):
        return script.corpus_of(parse_options(script.EvaluationOptions, ["--checkpoint", str(tmp_path), *arguments]))

    with pytest.raises(ValueError, match="names a corpus.*--corpus"):
        corpus_of()
    recipe = {"corpus": "bp4d", "root": "/data", "corpus_options": {"fold": 1}, "epochs": 3}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert corpus_of() == ("bp4d", "/data", {"fold": 1})
    assert corpus_of("--root", "/other") == ("bp4d", "/other", {"fold": 1})
    assert corpus_of("--corpus", "synthetic", "--corpus_options", '{"subjects": 3}') == (
        "synthetic",
        None,
        {"subjects": 3},
    )


@pytest.fixture
def own_pictures(tmp_path):
    """Nine people, and a run folder whose recipe trains on the first fold of them."""
    root = tmp_path / "pictures"
    root.mkdir()
    for person in range(9):
        Image.new("RGB", (32, 32), (20 * person, 0, 0)).save(root / f"{person}.png")
    rows = [f"{person}.png,person{person},{person % 2}" for person in range(9)]
    (root / "labels.csv").write_text("\n".join(["file,subject,AU12", *rows]) + "\n")
    return write_recipe(tmp_path / "trained", "image_folder", root, {"protocol": "kfold_3", "fold": 1})


def write_recipe(folder, corpus, root, corpus_options):
    folder.mkdir(exist_ok=True)
    recipe = {"corpus": corpus, "root": root and str(root), "corpus_options": corpus_options}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def evaluate_on(folder, corpus_options, *arguments):
    """What `main` does before a model is loaded, as there is none in the folder."""
    flags = ["--checkpoint", str(folder), "--corpus_options", json.dumps(corpus_options), *map(str, arguments)]
    with pytest.raises((ValueError, OSError)) as raised:
        script.main(parse_options(script.EvaluationOptions, flags))
    return str(raised.value)


UNCHECKED = "not checked whether anybody who is scored was trained on"


def test_people_whom_the_run_was_trained_on_are_refused(own_pictures, capsys):
    other_fold = {"protocol": "kfold_3", "fold": 2}
    message = evaluate_on(own_pictures, other_fold)
    assert "were trained on, expected none" in message and "--split train" in message
    assert (
        message.startswith("3 of 4 subjects (person1, person4, person6)")
        and "'fold': 1" in message
        and "'fold': 2" in message
    )
    assert "were trained on" in evaluate_on(own_pictures, other_fold, "--threshold_split", "train")
    for allowed in (
        evaluate_on(own_pictures, {"protocol": "kfold_3", "fold": 1}),
        evaluate_on(own_pictures, other_fold, "--split", "train"),
    ):
        assert "trained on" not in allowed and "config.json" in allowed
    assert UNCHECKED not in capsys.readouterr().out


def test_people_of_an_earlier_stage_are_refused_too(own_pictures, tmp_path, capsys):
    own_fold = {"protocol": "kfold_3", "fold": 2}
    second = write_recipe(tmp_path / "second", "image_folder", tmp_path / "pictures", own_fold)
    recipe = yaml.safe_load((second / "recipe.yaml").read_text())
    for start, leaks in ((own_pictures, True), (second, False), (tmp_path / "nowhere", False)):
        (second / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"init_from": str(start)}))
        message = evaluate_on(second, own_fold)
        assert ("were trained on, expected none: " + str(own_pictures) in message) == leaks
        assert ("config.json" in message) != leaks
    assert UNCHECKED not in capsys.readouterr().out


def test_training_people_that_cannot_be_looked_up_are_said_so(own_pictures, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    fold = {"protocol": "kfold_3", "fold": 2}
    write_recipe(own_pictures, "image_folder", pictures, {"protocol": "kfold_3", "fold": 7})
    assert "config.json" in evaluate_on(own_pictures, fold)
    assert capsys.readouterr().out.count(UNCHECKED) == 1
    # Another folder of pictures holds other people, whatever they are called.
    write_recipe(own_pictures, "image_folder", tmp_path / "others", {"protocol": "kfold_3", "fold": 1})
    assert "config.json" in evaluate_on(own_pictures, fold, "--root", pictures)
    assert capsys.readouterr().out.count(UNCHECKED) == 1


def test_drawn_people_are_the_same_only_with_the_same_options(tmp_path, capsys):
    folder = write_recipe(tmp_path / "trained", "synthetic", None, CORPUS | {"protocol": "kfold_3", "fold": 1})
    other_fold = CORPUS | {"protocol": "kfold_3", "fold": 2}
    assert "were trained on" in evaluate_on(folder, other_fold)
    assert "config.json" in evaluate_on(folder, other_fold | {"seed": 1})
    assert UNCHECKED not in capsys.readouterr().out
