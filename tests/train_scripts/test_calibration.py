import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from train_scripts.calibration import (
    calibrate_label_set,
    expected_calibration_error,
    fit_softmax_temperature,
    fit_temperatures,
    without_calibration,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def overconfident(count=20000, temperatures=(3.0, 0.5), biases=(-1.0, 0.7), seed=0):
    """Logits whose true log odds are logit / temperature + bias."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 4, (count, len(temperatures)))
    labels = (random.random(logits.shape) < sigmoid(logits / np.array(temperatures) + np.array(biases))).astype(float)
    return logits, labels


def test_recovers_the_temperature_and_bias_that_made_the_labels():
    temperatures, biases = fit_temperatures(*overconfident())
    np.testing.assert_allclose(temperatures, [3.0, 0.5], rtol=0.08)
    np.testing.assert_allclose(biases, [-1.0, 0.7], atol=0.12)


def test_equals_an_unregularised_logistic_regression_on_smoothed_targets():
    logits, labels = overconfident(300)
    (temperature,), (bias,) = fit_temperatures(logits[:, :1], labels[:, :1])
    positive = labels[:, 0] == 1
    up, down = (positive.sum() + 1) / (positive.sum() + 2), 1 / ((~positive).sum() + 2)
    targets = np.where(positive, up, down)
    # A soft target is a positive and a negative frame of its weights.
    fitted = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(
        np.tile(logits[:, :1], (2, 1)), np.repeat([1, 0], 300), sample_weight=np.concatenate([targets, 1 - targets])
    )
    assert 1 / temperature == pytest.approx(fitted.coef_[0, 0], rel=1e-3)
    assert bias == pytest.approx(fitted.intercept_[0], abs=1e-3)


def test_unknown_entries_take_no_part_and_one_sided_labels_are_not_fitted():
    logits, labels = overconfident(500)
    unknown = np.random.default_rng(1).random(labels.shape) < 0.3
    labels[unknown] = np.nan
    moved = np.where(unknown, 1e3, logits)
    np.testing.assert_array_equal(fit_temperatures(logits, labels), fit_temperatures(moved, labels))
    labels[:, 1] = np.where(labels[:, 1] == 1, np.nan, labels[:, 1])
    temperatures, biases = fit_temperatures(logits, labels)
    assert np.isnan([temperatures[1], biases[1]]).all() and np.isfinite([temperatures[0], biases[0]]).all()


def test_separable_and_senseless_logits_stay_finite():
    logits = np.array([[-2.0, 5.0], [-1.0, 1.0], [1.0, -1.0], [2.0, -5.0]])
    labels = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    temperatures, biases = fit_temperatures(logits, labels)
    assert (temperatures > 0).all() and np.isfinite(temperatures).all() and np.isfinite(biases).all()
    assert temperatures[1] == pytest.approx(100)  # logits that rank the wrong way round say nothing


def test_recovers_the_temperature_of_a_softmax():
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (20000, 4))
    scaled = np.exp(logits / 2.5)
    classes = (scaled.cumsum(axis=1) / scaled.sum(axis=1, keepdims=True) < random.random((20000, 1))).sum(axis=1)
    labels = np.eye(4)[classes]
    labels[:100] = np.nan
    assert fit_softmax_temperature(logits, labels) == pytest.approx(2.5, rel=0.05)
    moved = logits.copy()
    moved[:100] = 1e3
    assert fit_softmax_temperature(moved, labels) == fit_softmax_temperature(logits, labels)
    assert np.isnan(fit_softmax_temperature(logits[:100], labels[:100]))


def test_a_label_set_keeps_what_could_not_be_fitted():
    logits, labels = overconfident(500)
    labels[:, 1] = np.nan
    label_set = {"labels": ["a", "b"], "problem_type": "multi_label_classification", "temperatures": None}
    calibrate_label_set(label_set, logits, labels)
    assert label_set["temperatures"][1] == 1 and label_set["calibration_biases"][1] == 0
    assert label_set["temperatures"][0] == pytest.approx(3, rel=0.3)
    label_set |= {"temperatures": [2.0, 7.0], "calibration_biases": [0.1, 0.2]}
    calibrate_label_set(label_set, logits, labels)
    assert label_set["temperatures"][1] == 7 and label_set["calibration_biases"][1] == 0.2
    assert without_calibration(label_set)["temperatures"] is None and label_set["temperatures"] is not None


def test_a_softmax_shares_one_temperature_and_has_no_biases():
    label_set = {"labels": ["a", "b"], "problem_type": "single_label_classification"}
    calibrate_label_set(label_set, np.random.default_rng(0).normal(size=(50, 2)), np.eye(2)[np.arange(50) % 2])
    assert len(set(label_set["temperatures"])) == 1 and "calibration_biases" not in label_set


def test_calibration_error_by_hand():
    # 15 bins of two frames each: predicted .8, right every second time.
    assert expected_calibration_error(np.full(30, 0.8), np.tile([0.0, 1.0], 15)) == pytest.approx(0.3)
    assert expected_calibration_error(np.array([0.9, 0.2, 0.5]), np.array([1.0, 0.0, np.nan])) == pytest.approx(0.15)
    assert expected_calibration_error(np.array([0.5]), np.array([np.nan])) is None


def test_calibration_lowers_the_error():
    logits, labels = overconfident(seed=1)
    temperatures, biases = fit_temperatures(*overconfident(seed=2))
    before = expected_calibration_error(sigmoid(logits[:, 0]), labels[:, 0])
    after = expected_calibration_error(sigmoid(logits[:, 0] / temperatures[0] + biases[0]), labels[:, 0])
    assert before > 0.1 and after < 0.02


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        fit_temperatures(np.zeros((3, 2)), np.zeros((3, 1)))
