"""Label sets: what is fitted on validation subjects, and scores of what it decides."""

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from modeling_clef.calibration_clef import calibrated_probabilities
from train_scripts.calibration import (
    calibrate_label_set,
    expected_calibration_error,
    neutral_logits,
    without_calibration,
)
from train_scripts.probes import multi_label_scores, single_label_scores
from train_scripts.thresholds import fit_thresholds


def fit_label_sets(label_sets: list[dict], logits: np.ndarray, labels: np.ndarray) -> None:
    """Fits temperatures and biases, then thresholds of the calibrated probabilities and the neutral level, and keeps
    them in the label sets.

    A label that has no positive frame here keeps the threshold that it came with; for temperatures see
    `calibrate_label_set`.

    Args:
        logits: (N, K) uncalibrated, over all label sets.
        labels: (N, K) in {0, 1, NaN}.
    """
    for label_set, columns in _columns(label_sets):
        calibrate_label_set(label_set, logits[:, columns], labels[:, columns])
        if _is_multi_label(label_set):
            fitted = fit_thresholds(_probabilities(label_set, logits[:, columns]), labels[:, columns])
            kept = np.array(label_set.get("thresholds") or [0.5] * len(label_set["labels"]))
            label_set["thresholds"] = np.where((labels[:, columns] == 1).any(axis=0), fitted, kept).tolist()
            label_set["neutral_logits"] = neutral_logits(label_set, logits[:, columns], labels[:, columns])


def score_label_sets(label_sets: list[dict], logits: np.ndarray, labels: np.ndarray, fitted: bool) -> dict:
    """Scores of each label set under its name, fractions in [0, 1], None where undefined, and per label under "labels".

    "mean_f1" and "f1" are at the thresholds, "…_at_half" at .5 of the uncalibrated probabilities. Calibration keeps
    the order of frames, so AUROC and average precision ("ap", beside its "base_rate") are the same with it and without.
    "ece": expected calibration error (15 bins of equally many frames) uncalibrated, "ece_calibrated" calibrated; of a
    single-label set that of the predicted class. Of a single-label set "accuracy" and what belongs to it are of the
    uncalibrated answers, as papers report them, "accuracy_calibrated" is of the calibrated ones.

    Args:
        logits, labels: as in `fit_label_sets`.
        fitted: whether thresholds and temperatures come from other frames than these; without, they are not scored.
    """
    scores = {}
    for label_set, columns in _columns(label_sets):
        plain = _probabilities(without_calibration(label_set), logits[:, columns])
        calibrated = _probabilities(label_set, logits[:, columns]) if fitted else None
        if _is_multi_label(label_set):
            found = _multi_label(label_set, logits[:, columns], plain, calibrated, labels[:, columns])
        else:
            found = _single_label(label_set, plain, calibrated, labels[:, columns])
        scores[label_set["name"]] = found
    return scores


def _multi_label(
    label_set: dict, logits: np.ndarray, plain: np.ndarray, calibrated: np.ndarray | None, labels: np.ndarray
) -> dict:
    full = multi_label_scores(plain, labels, None)
    # Logits tell frames apart whose probabilities round to the same number, as beyond a logit of 17 all do.
    full["auroc"] = _each(_auroc, logits, labels)
    full["mean_auroc"] = _mean(full["auroc"])
    if calibrated is not None:
        at_thresholds = multi_label_scores(calibrated, labels, label_set["thresholds"])
        full = {key: at_thresholds[key] for key in ("mean_f1", "f1")} | full
        full["ece_calibrated"] = _each(expected_calibration_error, calibrated, labels)
    full["ece"] = _each(expected_calibration_error, plain, labels)
    full["ap"] = _each(_average_precision, logits, labels)
    full["base_rate"] = [p / n if n else None for p, n in zip(full["positives"], full["known"], strict=True)]
    keys = ("f1", "f1_at_half", "auroc", "ap", "ece", "ece_calibrated", "base_rate", "positives", "known")
    per_label = {key: full.pop(key) for key in keys if key in full}
    means = {f"mean_{key}": _mean(per_label[key]) for key in ("ap", "ece", "ece_calibrated") if key in per_label}
    per_label["threshold"] = label_set["thresholds"]
    return full | means | {"labels": _by_label(label_set["labels"], **per_label)}


def _single_label(label_set: dict, plain: np.ndarray, calibrated: np.ndarray | None, labels: np.ndarray) -> dict:
    full = single_label_scores(plain, labels)
    scores = {k: full[k] for k in ("accuracy", "macro_f1", "uar", "confusion", "known", "unknown")}
    scores["ece"] = _error_of_answers(plain, labels)
    if calibrated is not None:
        scores["accuracy_calibrated"] = single_label_scores(calibrated, labels)["accuracy"]
        scores["ece_calibrated"] = _error_of_answers(calibrated, labels)
    counts = [sum(row) for row in full["confusion"]]
    scores["labels"] = _by_label(label_set["labels"], f1=full["f1"], recall=full["recall"], frames=counts)
    return scores


def _error_of_answers(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    unknown = np.isnan(labels).any(axis=1)
    hits = np.where(unknown, np.nan, labels[np.arange(len(labels)), probabilities.argmax(axis=1)])
    return expected_calibration_error(probabilities.max(axis=1), hits)


def _is_multi_label(label_set: dict) -> bool:
    return label_set["problem_type"].startswith("multi")


def _columns(label_sets: list[dict]):
    """Each label set with its columns."""
    start = 0
    for label_set in label_sets:
        columns = slice(start, start + len(label_set["labels"]))
        start = columns.stop
        yield label_set, columns


def _probabilities(label_set: dict, logits: np.ndarray) -> np.ndarray:
    return calibrated_probabilities(torch.from_numpy(logits), [label_set]).numpy()


def _each(score, values: np.ndarray, labels: np.ndarray) -> list[float | None]:
    return [score(values[:, k], labels[:, k]) for k in range(labels.shape[1])]


def _auroc(logits: np.ndarray, labels: np.ndarray) -> float | None:
    known = ~np.isnan(labels)
    if not ((labels == 1).any() and (labels == 0).any()):
        return None
    return float(roc_auc_score(labels[known], logits[known]))


def _average_precision(logits: np.ndarray, labels: np.ndarray) -> float | None:
    known = ~np.isnan(labels)
    if not (labels == 1).any():
        return None
    return float(average_precision_score(labels[known], logits[known]))


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _by_label(labels: list[str], **columns) -> dict[str, dict]:
    return {label: {key: values[i] for key, values in columns.items()} for i, label in enumerate(labels)}
