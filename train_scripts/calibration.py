"""Calibration: what turns logits into probabilities that can be read as frequencies, fitted on validation subjects."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

BINS = 15
FEWEST_NEUTRAL = 20  # frames without any label that a neutral level is fitted to
# Beyond these a logit says nothing at all, or everything.
SLOPES = (1e-2, 1e2)


def fit_temperatures(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Platt scaling of each label of a multi-label set: sigmoid(logit / temperature + bias).

    Minimises the log loss over the label's known frames, whose targets are drawn in from 0 and 1 as Platt (1999) has
    it, (positives + 1) / (positives + 2) and 1 / (negatives + 2), so that separable frames give no infinite slope.

    Args:
        logits: (N, K) uncalibrated.
        labels: (N, K) in {0, 1, NaN}; NaN is unknown and left out.

    Returns:
        temperatures (K,) and biases (K,), float64; NaN for a label that is not known as both present and absent.

    Raises:
        ValueError: the shapes differ.
    """
    logits, labels = _checked(logits, labels)
    temperatures, biases = np.full(logits.shape[1], np.nan), np.full(logits.shape[1], np.nan)
    for label in range(logits.shape[1]):
        known = ~np.isnan(labels[:, label])
        x, positive = logits[known, label], labels[known, label] == 1
        positives, negatives = int(positive.sum()), int((~positive).sum())
        if not positives or not negatives:
            continue
        targets = np.where(positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))

        def loss(weights, x=x, targets=targets):
            z = weights[0] * x + weights[1]
            value = (np.logaddexp(0, z) - targets * z).mean()
            error = (1 / (1 + np.exp(-np.clip(z, -500, 500))) - targets) / len(x)
            return value, np.array([error @ x, error.sum()])

        slope, bias = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[SLOPES, (None, None)]).x
        temperatures[label], biases[label] = 1 / slope, bias
    return temperatures, biases


def fit_softmax(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Bias-corrected temperature scaling of a single-label set (Alexandari et al. 2020): softmax(logits / temperature +
    biases).

    Without biases, a network trained on balanced classes would go on naming rare ones as often as frequent ones. They
    have a normal prior of variance 1 (ours), which matters only where a class has a handful of frames.

    Args:
        logits: (N, K) uncalibrated.
        labels: (N, K) one-hot; a row with a NaN is unknown and left out.

    Returns:
        temperature, and biases (K,), float64, whose mean over the classes that occur is 0. NaN for a class without
        frame; all NaN if fewer than two classes occur.

    Raises:
        ValueError: the shapes differ.
    """
    logits, labels = _checked(logits, labels)
    known = ~np.isnan(labels).any(axis=1)
    biases = np.full(logits.shape[1], np.nan)
    occur = labels[known].any(axis=0)
    if occur.sum() < 2:
        return float("nan"), biases
    x, targets = logits[known][:, occur], labels[known][:, occur]

    def loss(weights):
        z = weights[0] * x + weights[1:]
        log_probabilities = z - logsumexp(z, axis=1, keepdims=True)
        error = (np.exp(log_probabilities) - targets) / len(x)
        value = -(targets * log_probabilities).sum() / len(x) + (weights[1:] ** 2).sum() / (2 * len(x))
        return value, np.array([(error * x).sum(), *(error.sum(axis=0) + weights[1:] / len(x))])

    start, bounds = [1.0, *np.zeros(occur.sum())], [SLOPES, *[(None, None)] * occur.sum()]
    slope, *fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    biases[occur] = fitted - np.mean(fitted)
    return float(1 / slope), biases


def calibrate_label_set(label_set: dict, logits: np.ndarray, labels: np.ndarray) -> None:
    """Fits `temperatures` and `calibration_biases` and keeps them in the label set.

    What cannot be fitted keeps the values that the label set came with, or 1 and 0. Arguments as in
    `fit_temperatures`.
    """
    count = len(label_set["labels"])
    if label_set["problem_type"] == "single_label_classification":
        temperature, biases = fit_softmax(logits, labels)
        temperatures = np.full(count, temperature)
    else:
        temperatures, biases = fit_temperatures(logits, labels)
    for key, fitted, default in (("temperatures", temperatures, 1.0), ("calibration_biases", biases, 0.0)):
        before = np.array(label_set.get(key) or [default] * count)
        label_set[key] = np.where(np.isnan(fitted), before, fitted).tolist()


def neutral_logits(label_set: dict, logits: np.ndarray, labels: np.ndarray) -> list[float] | None:
    """(K,) mean calibrated logits of the frames that are known to show no label of the set; what the label set came
    with where there are fewer than `FEWEST_NEUTRAL` of them. Arguments as in `fit_temperatures`."""
    none = (labels == 0).all(axis=1)
    if none.sum() < FEWEST_NEUTRAL:
        return label_set.get("neutral_logits")
    calibrated = logits[none] / np.array(label_set["temperatures"]) + np.array(label_set["calibration_biases"])
    return calibrated.mean(axis=0).tolist()


def without_calibration(label_set: dict) -> dict:
    return label_set | {"temperatures": None, "calibration_biases": None}


def expected_calibration_error(probabilities: np.ndarray, correct: np.ndarray) -> float | None:
    """Mean distance of predicted probability and frequency over `BINS` bins of equally many frames.

    Args:
        probabilities: (N,) in [0, 1], of the label, or of the class that is predicted.
        correct: (N,) in {0, 1, NaN}: whether the label is present, or the predicted class right; NaN left out.

    Returns:
        The mean over bins weighted by their frames, in [0, 1]; None without a known frame.
    """
    return calibration_error(reliability_bins(probabilities, correct))


def reliability_bins(probabilities: np.ndarray, correct: np.ndarray) -> list[list[float]]:
    """[mean probability, frequency, frames] of each of `BINS` bins of equally many frames, from the least probable on;
    fewer bins with fewer frames. Arguments as for `expected_calibration_error`."""
    known = ~np.isnan(correct)
    order = np.argsort(probabilities[known], kind="stable")
    scores, hits = probabilities[known][order].astype(float), correct[known][order]
    parts = [part for part in np.array_split(np.arange(len(scores)), BINS) if len(part)]
    return [[float(scores[part].mean()), float(hits[part].mean()), len(part)] for part in parts]


def calibration_error(bins: list[list[float]]) -> float | None:
    """Of `reliability_bins`: the mean distance of probability and frequency, weighted by frames; None without bins."""
    frames = sum(count for _, _, count in bins)
    return sum(abs(p - f) * count for p, f, count in bins) / frames if frames else None


def _checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if logits.ndim != 2 or logits.shape != labels.shape:
        raise ValueError(f"expected logits and labels of one shape (N, K), got {logits.shape} and {labels.shape}.")
    return logits, labels
