import copy
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    recall_score,
    roc_auc_score,
)

from train_scripts.calibration import expected_calibration_error
from train_scripts.predictions import read_predictions, write_predictions
from train_scripts.result_report import write_report
from train_scripts.results import SELECTED_ON_TEST, summarise_predictions, write_results
from train_scripts.results_text import results_table
from train_scripts.score_draws import label_scores

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = Path(__file__).resolve().parents[2] / "train_scripts" / "templates" / "results.schema.json"
UNITS, CLASSES = ["AU4", "AU6", "AU12"], ["happiness", "sadness", "neutral"]


def validate(results):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(results, allow_nan=False)))


def decided(test, k):
    """Decisions of AU k at its fitted threshold, written out; none without a face."""
    units = test.label_sets[0]
    logit = test.logits[:, k].astype(float) / units["temperatures"][k] + units["calibration_biases"][k]
    return (1 / (1 + np.exp(-logit)) >= units["thresholds"][k]) & test.face_found


def epoch(number, f1, accuracy):
    units = {"mean_f1_at_half": f1, "labels": {label: {"f1_at_half": f1} for label in UNITS}}
    faces = {"accuracy": accuracy, "macro_f1": accuracy, "uar": accuracy}
    faces["labels"] = {label: {"f1": accuracy} for label in CLASSES}
    return {"epoch": number, "test": {"action_units": units, "expression": faces}}


def test_scores_of_a_fold_equal_sklearn(plant_predictions):
    folds = plant_predictions(no_face=0.1)
    results = summarise_predictions(folds, resamples=20)
    for fold, predictions in zip(results["scores"]["action_units"]["folds"], folds, strict=True):
        test = predictions.split("test")
        scores = np.where(test.face_found[:, None], test.logits, -99.0)
        f1 = []
        for k, label in enumerate(UNITS):
            known = ~np.isnan(test.labels[:, k])
            truth, row = test.labels[known, k], fold["labels"][label]
            f1.append(f1_score(truth, decided(test, k)[known]))
            at_half = (test.logits[known, k] >= 0) & test.face_found[known]
            assert row["f1"]["value"] == pytest.approx(f1[-1])
            assert row["f1_at_half"]["value"] == pytest.approx(f1_score(truth, at_half))
            assert row["auroc"]["value"] == pytest.approx(roc_auc_score(truth, scores[known, k]))
            assert row["ap"]["value"] == pytest.approx(average_precision_score(truth, scores[known, k]))
            assert row["base_rate"]["value"] == pytest.approx(truth.mean())
            assert (row["positives"], row["known"]) == (truth.sum(), known.sum())
            low, high = row["f1"]["interval"]
            assert low < row["f1"]["value"] < high
        assert fold["scores"]["mean_f1"]["value"] == pytest.approx(np.mean(f1))
        assert fold["frames_without_face"] == (~test.face_found).sum() > 0
    expression = results["scores"]["expression"]
    for fold, predictions in zip(expression["folds"], folds, strict=True):
        test = predictions.split("test")
        truth = test.labels[:, 3:].argmax(axis=1)
        answers = np.where(test.face_found, test.logits[:, 3:].argmax(axis=1), 3)
        kept = {"labels": [0, 1, 2], "average": "macro", "zero_division": 0}
        assert fold["scores"]["accuracy"]["value"] == pytest.approx((truth == answers).mean())
        assert fold["scores"]["macro_f1"]["value"] == pytest.approx(f1_score(truth, answers, **kept))
        assert fold["scores"]["uar"]["value"] == pytest.approx(recall_score(truth, answers, **kept))
        assert fold["confusion"] == confusion_matrix(truth, answers, labels=[0, 1, 2, 3])[:3].tolist()


def test_intervals_equal_a_loop_over_drawn_subjects(plant_predictions):
    """The naive way: frames of drawn people are really repeated, fold by fold, and everything is scored anew."""
    folds = plant_predictions(folds=2, no_face=0.1)
    results = summarise_predictions(folds, resamples=60, seed=5)
    tests = [fold.split("test") for fold in folds]
    people = [np.unique(test.subject_ids) for test in tests]
    random, f1, auroc, accuracy = np.random.default_rng(5), [], [], []
    # The same draws: one multinomial a fold.
    counts = [random.multinomial(6, np.full(6, 1 / 6), size=60) for _ in folds]
    for draw in range(60):
        drawn = []
        for test, names, count in zip(tests, people, counts, strict=True):
            rows = [np.flatnonzero(test.subject_ids == name) for name in np.repeat(names, count[draw])]
            drawn.append(test.select(np.concatenate(rows)))
        truth = [test.labels[:, 2] for test in drawn]
        known = [~np.isnan(values) for values in truth]
        pairs = list(zip(drawn, truth, known, strict=True))
        answers = np.concatenate([decided(test, 2)[k] for test, _, k in pairs])
        f1.append(f1_score(np.concatenate([t[k] for _, t, k in pairs]), answers))
        scores = [np.where(test.face_found, test.logits[:, 2], -99) for test in drawn]
        auroc.append(np.mean([roc_auc_score(t[k], s[k]) for (_, t, k), s in zip(pairs, scores, strict=True)]))
        right = [test.face_found & (test.logits[:, 3:].argmax(1) == test.labels[:, 3:].argmax(1)) for test in drawn]
        accuracy.append(np.concatenate(right).mean())
    row = results["scores"]["action_units"]["pooled"]["labels"]["AU12"]
    assert row["f1"]["interval"] == pytest.approx(np.percentile(f1, [2.5, 97.5]))
    assert row["auroc"]["interval"] == pytest.approx(np.percentile(auroc, [2.5, 97.5]))
    pooled = results["scores"]["expression"]["pooled"]["scores"]["accuracy"]
    assert pooled["interval"] == pytest.approx(np.percentile(accuracy, [2.5, 97.5]))


def test_frames_without_a_face_change_the_denominators(plant_predictions):
    folds = plant_predictions(folds=1)
    everyone = summarise_predictions(folds, resamples=5)
    lost = copy.deepcopy(folds)
    lost[0].face_found[::4] = False
    results = summarise_predictions(lost, resamples=5)
    for name, key in (("action_units", "mean_f1"), ("expression", "accuracy"), ("action_units", "mean_auroc")):
        before, after = (r["scores"][name]["pooled"] for r in (everyone, results))
        assert after["scores"][key]["value"] < before["scores"][key]["value"] - 0.02
        assert after["frames"] == before["frames"] and after["labels"].keys() == before["labels"].keys()
        assert after["faces_only"][key] == pytest.approx(before["scores"][key]["value"], abs=0.05)
        assert before["faces_only"][key] == pytest.approx(before["scores"][key]["value"])
    matrix = np.array(results["scores"]["expression"]["pooled"]["confusion"])
    assert matrix.sum() == 240 and matrix[:, 3].sum() == 60 == results["data"]["frames_without_face"]
    assert any("60 test frames no face" in note for note in results["notes"])
    lost[0].face_found[:] = False
    results = summarise_predictions(lost, resamples=5)
    validate(results)
    assert results["scores"]["action_units"]["pooled"]["scores"]["mean_f1"]["value"] == 0
    assert results["scores"]["action_units"]["pooled"]["faces_only"]["mean_f1"] is None


def test_pooled_and_over_folds(plant_predictions):
    folds = plant_predictions()
    scores = summarise_predictions(folds, resamples=20)["scores"]["action_units"]
    values = [fold["scores"]["mean_auroc"]["value"] for fold in scores["folds"]]
    assert scores["over_folds"]["mean_auroc"]["value"] == pytest.approx(np.mean(values))
    assert scores["over_folds"]["mean_auroc"]["sd"] == pytest.approx(np.std(values, ddof=1))
    tests = [fold.split("test") for fold in folds]
    known = [~np.isnan(test.labels[:, 0]) for test in tests]
    truth = np.concatenate([test.labels[k, 0] for test, k in zip(tests, known, strict=True)])
    answers = np.concatenate([decided(test, 0)[k] for test, k in zip(tests, known, strict=True)])
    assert scores["pooled"]["labels"]["AU4"]["f1"]["value"] == pytest.approx(f1_score(truth, answers))
    assert scores["pooled"]["labels"]["AU4"]["known"] == len(truth)


def test_groups_are_their_own_frames(plant_predictions):
    folds = plant_predictions()
    folds[0].groups["gender"][folds[0].subject_ids == "M000"] = ""
    groups = summarise_predictions(folds, resamples=20)["scores"]["action_units"]["groups"]["gender"]
    assert {value: block["subjects"] for value, block in groups.items()} == {"man": 8, "woman": 9, "unknown": 1}
    women = [fold.select(fold.groups["gender"] == "woman") for fold in folds]
    alone = summarise_predictions(women, resamples=20)["scores"]["action_units"]["pooled"]
    for key, score in alone["scores"].items():
        assert groups["woman"]["scores"][key]["value"] == pytest.approx(score["value"])
    assert groups["unknown"]["scores"]["mean_f1"]["interval"] is None


def test_calibration_errors_are_the_projects_own(plant_predictions):
    folds = plant_predictions(folds=2, no_face=0.1)
    scores = summarise_predictions(folds, resamples=2)["scores"]
    tests = [fold.split("test").select(fold.split("test").face_found) for fold in folds]
    logits, labels = (np.concatenate([getattr(test, name) for test in tests]) for name in ("logits", "labels"))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    row = scores["action_units"]["pooled"]["labels"]["AU4"]
    assert row["ece"] == pytest.approx(expected_calibration_error(sigmoid(logits[:, 0]), labels[:, 0]), abs=1e-6)
    calibrated = sigmoid(logits[:, 0] / np.float32(0.7) + np.float32(0.1))
    assert row["ece_calibrated"] == pytest.approx(expected_calibration_error(calibrated, labels[:, 0]), abs=1e-6)
    softmax = np.exp(logits[:, 3:]) / np.exp(logits[:, 3:]).sum(axis=1, keepdims=True)
    hits = labels[np.arange(len(labels)), 3 + softmax.argmax(axis=1)]
    error = expected_calibration_error(softmax.max(axis=1), hits)
    assert scores["expression"]["pooled"]["calibration"]["ece"] == pytest.approx(error, abs=1e-6)
    for fold in folds:
        fold.label_sets[0] |= {"temperatures": None, "calibration_biases": None}
    results = summarise_predictions(folds, resamples=2)
    assert results["scores"]["action_units"]["pooled"]["calibration"]["ece_calibrated"] is None
    assert "not fitted" in results["selection"]["honest"]["thresholds"]


def test_paper_style_takes_the_best_test_epoch_of_each_fold_and_set_and_says_so(plant_predictions, tmp_path):
    folds = plant_predictions(folds=2)
    epochs = [
        [epoch(1, 0.3, 0.9), epoch(2, 0.5, 0.2), epoch(3, 0.5, 0.3)],
        [epoch(1, 0.7, 0.1), epoch(2, None, 0.4), epoch(3, 0.2, 0.5)],
    ]
    results = summarise_predictions(folds, epochs, resamples=5)
    validate(results)
    units, faces = (results["scores"][name] for name in ("action_units", "expression"))
    assert [fold["paper_style"]["epoch"] for fold in units["folds"]] == [2, 1]
    assert [fold["paper_style"]["epoch"] for fold in faces["folds"]] == [1, 3]
    assert units["paper_style"]["scores"]["mean_f1_at_half"]["value"] == pytest.approx(0.6)
    assert faces["paper_style"]["scores"]["accuracy"]["value"] == pytest.approx(0.7)
    assert {units["paper_style"]["selected_on"], results["selection"]["paper_style"]["epoch"]} == {SELECTED_ON_TEST}
    assert SELECTED_ON_TEST in results_table(results)
    write_results(results, tmp_path)
    assert "f1_paper_style_selected_on_test" in (tmp_path / "results.csv").read_text().splitlines()[0]
    with pytest.raises(ValueError, match="epochs of 1 folds"):
        summarise_predictions(folds, epochs[:1])
    untested = [[{"epoch": 1, "validation": {}}], epochs[1]]
    results = summarise_predictions(folds, untested, resamples=5)
    assert results["scores"]["action_units"]["paper_style"] is None
    assert results["selection"]["paper_style"]["epoch"].startswith("not available")


def test_files(plant_predictions, tmp_path):
    folds = plant_predictions(no_face=0.05)
    folds[1].labels[:, 1] = np.nan  # not coded in this fold
    results = summarise_predictions(folds, resamples=10, paper={"f1": 65.9, "source": "a table"})
    validate(results)
    write_results(results, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert len(rows) == 2 * 3 * (3 + 1)
    by_key = {(row["label_set"], row["fold"], row["label"]): row for row in rows}
    fold = results["scores"]["action_units"]["folds"][2]["labels"]["AU12"]
    row = by_key["action_units", "3", "AU12"]
    assert float(row["f1"]) == fold["f1"]["value"] and float(row["f1_high"]) == fold["f1"]["interval"][1]
    assert float(row["threshold"]) == 0.45 and row["recall"] == ""
    assert by_key["action_units", "2", "AU6"]["f1"] == "" and by_key["action_units", "pooled", "AU6"]["f1"] != ""
    assert "65.9" in results_table(results)
    assert results == summarise_predictions(folds, resamples=10, paper={"f1": 65.9, "source": "a table"})
    results["data"] |= {"subjects": 1, "frames_without_face": 1, "folds": results["data"]["folds"][:1]}
    said = results_table(results).splitlines()[0]
    assert said.startswith("1 test subject, ") and said.endswith("1 fold; 1 frame without a detected face")


def test_frames_that_cannot_be_decoded_are_said_everywhere(plant_predictions, tmp_path):
    folds = plant_predictions()
    for number, fold in enumerate(folds):
        fold.unreadable = {"test": number, "validation": 1}
    folds[0].unreadable = {}
    folds = [read_predictions(write_predictions(tmp_path / str(n), fold).parent) for n, fold in enumerate(folds)]
    results = summarise_predictions(folds, resamples=5)
    validate(results)
    assert results["data"]["frames_unreadable"] == {"test": 3, "validation": 2}
    said = "The images of 3 test frames and 2 validation frames cannot be decoded: they are left out"
    assert said in results_table(results) and said in write_report(results, tmp_path).read_text()
    del results["data"]["frames_unreadable"]  # as older files
    validate(results)
    assert write_report(results, tmp_path).exists() and results_table(results)


def test_a_schema_that_would_let_anything_pass_is_none(plant_predictions):
    results = summarise_predictions(plant_predictions(folds=1), resamples=2)
    for change in (
        {"schema_version": 2},
        {"unknown": 1},
        {"scores": {}},
        {"data": results["data"] | {"frames": None}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validate(results | change)


def test_refusals(plant_predictions):
    folds = plant_predictions(folds=2)
    with pytest.raises(ValueError, match="no folds"):
        summarise_predictions([])
    with pytest.raises(ValueError, match="tested in fold 1 and before, in fold 1"):
        summarise_predictions([folds[0], folds[0]])
    with pytest.raises(ValueError, match="no test frames"):
        summarise_predictions([folds[0].split("validation")])
    shared = copy.deepcopy(folds[0])
    shared.subject_ids[shared.splits == "validation"] = "M000"
    with pytest.raises(ValueError, match="1 subject .M000. in both test and validation"):
        summarise_predictions([shared])
    other = copy.deepcopy(folds[1])
    other.label_sets[0]["labels"] = ["AU1", "AU6", "AU12"]
    with pytest.raises(ValueError, match="AU1"):
        summarise_predictions([folds[0], other])
    broken = copy.deepcopy(folds[0])
    broken.logits[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        summarise_predictions([broken], resamples=2)


def test_frames_without_subject_count_alone(plant_predictions):
    folds = plant_predictions(folds=1)
    folds[0].subject_ids[:] = ""
    results = summarise_predictions(folds, resamples=5)
    assert results["data"]["subjects"] == 240 == results["data"]["frames_without_subject"]
    assert any("without a subject's name" in note for note in results["notes"])


def test_f1_is_undefined_without_a_positive_frame():
    counts = np.array([[[0.0, 3.0, 0.0, 9.0], [2.0, 2.0, 3.0, 9.0]]])
    undefined = np.full((1, 2), np.nan)
    scores = label_scores({"fitted": counts, "half": counts, "auroc": undefined, "ap": undefined})
    np.testing.assert_allclose(scores["f1"], [[np.nan, 4 / 6]])
