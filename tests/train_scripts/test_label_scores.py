import numpy as np
import pytest

from train_scripts.label_scores import fit_label_sets, score_label_sets
from train_scripts.thresholds import fit_thresholds


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def make_sets():
    common = {"temperatures": None, "calibration_biases": None}
    aus = {"name": "action_units", "labels": ["AU1", "AU12"], "problem_type": "multi_label_classification", **common}
    expression = {"name": "expression", "labels": list("abc"), "problem_type": "single_label_classification", **common}
    return [aus | {"thresholds": [0.5, 0.5]}, expression | {"thresholds": [0.5] * 3}]


def frames(seed, count=4000):
    """Logits three times as sure as they may be, and labels."""
    random = np.random.default_rng(seed)
    odds = random.normal(0, 2, (count, 5))
    labels = (random.random((count, 5)) < sigmoid(odds - 1)).astype(float)
    exponential = np.exp(odds[:, 2:])
    uniform = random.random((count, 1))
    classes = (exponential.cumsum(axis=1) / exponential.sum(axis=1, keepdims=True) < uniform).sum(axis=1)
    labels[:, 2:] = np.eye(3)[classes]
    labels[random.random(count) < 0.1, 0] = np.nan
    return (3 * odds).astype(np.float32), labels


@pytest.fixture
def fitted():
    label_sets = make_sets()
    fit_label_sets(label_sets, *frames(0))
    return label_sets


def test_what_is_fitted_on_one_half_serves_the_other(fitted):
    logits, labels = frames(1)
    aus, expression = score_label_sets(fitted, logits, labels, fitted=True).values()
    np.testing.assert_allclose(fitted[0]["temperatures"], 3, rtol=0.15)
    np.testing.assert_allclose(fitted[0]["calibration_biases"], -1, atol=0.15)
    np.testing.assert_allclose(fitted[1]["temperatures"], 3, rtol=0.15)
    assert aus["mean_ece"] > 0.1 > 0.03 > aus["mean_ece_calibrated"]
    assert expression["ece"] > 0.1 > 0.03 > expression["ece_calibrated"]
    row = aus["labels"]["AU1"]
    assert row["base_rate"] == np.nanmean(labels[:, 0]) and row["known"] == (~np.isnan(labels[:, 0])).sum()
    assert row["threshold"] == fitted[0]["thresholds"][0]


def test_thresholds_are_those_of_the_calibrated_probabilities(fitted):
    logits, labels = frames(0)
    scale, bias = 1 / np.array(fitted[0]["temperatures"]), np.array(fitted[0]["calibration_biases"])
    expected = fit_thresholds(sigmoid(logits[:, :2] * scale + bias), labels[:, :2])
    np.testing.assert_allclose(fitted[0]["thresholds"], expected, atol=1e-5)
    # The same decisions as the uncalibrated thresholds would make.
    plain = sigmoid(logits[:, :2].astype(float)) >= fit_thresholds(sigmoid(logits[:, :2].astype(float)), labels[:, :2])
    np.testing.assert_array_equal(sigmoid(logits[:, :2] * scale + bias) >= fitted[0]["thresholds"], plain)


def test_the_neutral_level_is_the_mean_calibrated_logit_of_frames_without_any_label(fitted):
    logits, labels = frames(0)
    scale, bias = 1 / np.array(fitted[0]["temperatures"]), np.array(fitted[0]["calibration_biases"])
    still = [row[:2] * scale + bias for row, known in zip(logits, labels, strict=True) if (known[:2] == 0).all()]
    assert len(still) > 500
    np.testing.assert_allclose(fitted[0]["neutral_logits"], np.mean(still, axis=0), rtol=1e-5)
    assert fitted[1].get("neutral_logits") is None  # classes exclude each other: there is no frame without any
    labels[:, 1] = np.nan
    kept = [fitted[0] | {"neutral_logits": [-1.0, -2.0]}, fitted[1]]
    fit_label_sets(kept, logits, labels)
    assert kept[0]["neutral_logits"] == [-1.0, -2.0]


def test_scores_at_half_and_rankings_do_not_depend_on_the_calibration(fitted):
    logits, labels = frames(1)
    with_fit = score_label_sets(fitted, logits, labels, fitted=True)
    without = score_label_sets(make_sets(), logits, labels, fitted=False)
    for key in ("mean_f1_at_half", "mean_auroc", "mean_ap", "mean_ece"):
        assert with_fit["action_units"][key] == without["action_units"][key]
    assert with_fit["expression"]["accuracy"] == without["expression"]["accuracy"]
    predicted, positive = sigmoid(logits[:, 1]) >= 0.5, labels[:, 1] == 1
    f1 = 2 * (predicted & positive).sum() / (predicted.sum() + positive.sum())
    assert without["action_units"]["labels"]["AU12"]["f1_at_half"] == pytest.approx(f1)
    assert "mean_f1" not in without["action_units"] and "mean_ece_calibrated" not in without["action_units"]
    assert "ece_calibrated" not in without["expression"]


def test_average_precision_against_a_loop():
    logits, labels = frames(1, count=60)
    row = score_label_sets(make_sets(), logits, labels, fitted=False)["action_units"]["labels"]["AU1"]
    known = ~np.isnan(labels[:, 0])
    order = np.argsort(-logits[known, 0])
    hits, precisions = 0, []
    for rank, positive in enumerate(labels[known, 0][order] == 1, start=1):
        if positive:
            hits += 1
            precisions.append(hits / rank)
    assert row["ap"] == pytest.approx(np.mean(precisions))


def test_a_label_that_is_never_there_has_no_scores():
    logits, labels = frames(1, count=60)
    labels[:, 1] = 0
    label_sets = make_sets()
    label_sets[0]["thresholds"] = [0.5, 0.123]
    fit_label_sets(label_sets, logits, labels)
    assert label_sets[0]["thresholds"][1] == 0.123
    row = score_label_sets(label_sets, logits, labels, fitted=True)["action_units"]["labels"]["AU12"]
    assert row["ap"] is None and row["f1"] is None and row["base_rate"] == 0


def test_a_label_set_of_any_name_is_fitted_by_its_problem_type():
    logits, labels = frames(1, count=60)
    renamed = [label_set | {"name": f"my {label_set['name']}"} for label_set in make_sets()]
    label_sets = make_sets()
    for sets in (label_sets, renamed):
        fit_label_sets(sets, logits, labels)
    expected = score_label_sets(label_sets, logits, labels, fitted=True)
    scores = score_label_sets(renamed, logits, labels, fitted=True)
    assert scores == {f"my {name}": values for name, values in expected.items()}


def test_frames_are_ranked_by_logits_as_sure_probabilities_are_all_the_same():
    logits = np.array([[18, 0], [20, 0], [25, 0], [30, 0], [-1, 0]], dtype=np.float32)
    labels = np.array([[0, np.nan], [1, np.nan], [0, np.nan], [1, np.nan], [np.nan, np.nan]])
    scores = score_label_sets(make_sets()[:1], logits, labels, fitted=False)["action_units"]
    au1, au12 = scores["labels"].values()
    assert au1["auroc"] == scores["mean_auroc"] == 3 / 4  # of the four pairs one is the wrong way round
    assert au1["ap"] == scores["mean_ap"] == pytest.approx((1 + 2 / 3) / 2)
    assert au12["auroc"] is au12["ap"] is None
