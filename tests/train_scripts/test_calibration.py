import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from train_scripts.calibration import (
    calibrate_label_set,
    expected_calibration_error,
    fit_softmax,
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


def test_recovers_temperature_and_biases_of_a_softmax():
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (20000, 4))
    true = np.array([1.5, 0.0, -0.5, -1.0])
    scaled = np.exp(logits / 2.5 + true)
    classes = (scaled.cumsum(axis=1) / scaled.sum(axis=1, keepdims=True) < random.random((20000, 1))).sum(axis=1)
    labels = np.eye(4)[classes]
    labels[:100] = np.nan
    temperature, biases = fit_softmax(logits, labels)
    assert temperature == pytest.approx(2.5, rel=0.05)
    np.testing.assert_allclose(biases, true, atol=0.08)
    moved = logits.copy()
    moved[:100] = 1e3
    same = fit_softmax(moved, labels)
    assert same[0] == temperature and np.array_equal(same[1], biases)
    assert np.isnan([fit_softmax(logits[:100], labels[:100])[0], *fit_softmax(logits[:100], labels[:100])[1]]).all()


def test_a_softmax_fit_has_no_better_neighbour():
    random = np.random.default_rng(1)
    logits, labels = random.normal(0, 2, (40, 3)), np.eye(3)[random.choice(3, 40, p=[0.7, 0.25, 0.05])]
    temperature, biases = fit_softmax(logits, labels)
    fitted = np.array([1 / temperature, *biases])

    def loss(weights):
        z = weights[0] * logits + weights[1:]
        likelihood = (z * labels).sum(axis=1) - np.log(np.exp(z).sum(axis=1))
        return -likelihood.sum() + (weights[1:] ** 2).sum() / 2

    assert all(loss(fitted) <= loss(fitted + step) for step in random.normal(0, 0.02, (200, 4)))


def test_classes_that_do_not_occur_get_no_bias():
    random = np.random.default_rng(2)
    logits = random.normal(0, 2, (200, 4))
    labels = np.eye(4)[random.choice([0, 2], 200, p=[0.8, 0.2])]
    temperature, biases = fit_softmax(logits, labels)
    assert np.isfinite(temperature) and np.isnan(biases[[1, 3]]).all() and biases[0] == -biases[2] > 0
    one = np.eye(4)[np.zeros(200, dtype=int)]
    assert np.isnan([fit_softmax(logits, one)[0], *fit_softmax(logits, one)[1]]).all()


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


def test_a_softmax_shares_one_temperature():
    label_set = {"labels": ["a", "b", "c"], "problem_type": "single_label_classification"}
    label_set["calibration_biases"] = [0.0, 0.0, 0.3]
    logits = np.random.default_rng(0).normal(size=(50, 3))
    calibrate_label_set(label_set, logits, np.eye(3)[np.arange(50) % 5 // 4])
    assert len(set(label_set["temperatures"])) == 1
    frequent, rare, absent = label_set["calibration_biases"]
    assert frequent > 0 > rare and absent == 0.3


def test_rare_classes_are_named_as_often_as_they_occur():
    """A network trained on balanced classes, and frames of which one class is most."""
    random = np.random.default_rng(3)
    classes = random.choice(3, 20000, p=[0.8, 0.15, 0.05])
    logits = np.eye(3)[classes] * 2 + random.gumbel(size=(20000, 3))
    labels = np.eye(3)[classes]
    label_set = {"labels": ["a", "b", "c"], "problem_type": "single_label_classification"}
    calibrate_label_set(label_set, logits, labels)
    z = logits / np.array(label_set["temperatures"]) + np.array(label_set["calibration_biases"])
    probabilities = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities.mean(axis=0), labels.mean(axis=0), atol=2e-3)
    hits = [(values.argmax(axis=1) == classes).mean() for values in (logits, z)]
    assert hits[1] > hits[0] + 0.01


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
