"""How far probabilities are from frequencies, before and after the temperatures fitted on validation subjects.

Frames without a detected face have no probability and are left out here, and only here.
"""

import numpy as np

from train_scripts.calibration import calibration_error, reliability_bins
from train_scripts.score_draws import Frames

# Beside its classes, a single-label set has the probability of whichever class is predicted.
PREDICTED = "predicted class"


def reliability(folds: list[Frames]) -> dict[str, dict[str, list[list[float]]]]:
    """`reliability_bins` of all folds' frames together, each with its own fold's temperatures.

    Returns:
        For each label, and in a single-label set first for PREDICTED: "ece" the bins of uncalibrated probabilities,
        "ece_calibrated" those of calibrated ones (absent where a fold has none fitted).
    """
    faces = [frames.select(frames.face_found) for frames in folds]
    fitted = all(frames.label_set.get("temperatures") is not None for frames in folds)
    parts = {"ece": False} | ({"ece_calibrated": True} if fitted else {})
    bins = {}
    for stage, calibrated in parts.items():
        probabilities = np.concatenate([frames.probabilities(calibrated) for frames in faces])
        labels = np.concatenate([frames.labels for frames in faces])
        columns = {}
        if folds[0].kind == "single_label":
            # A row is known altogether or not at all, so that unknown rows give NaN.
            hits = labels[np.arange(len(labels)), probabilities.argmax(axis=1)]
            columns[PREDICTED] = (probabilities.max(axis=1), hits)
        for k, name in enumerate(folds[0].label_set["labels"]):
            columns[name] = (probabilities[:, k], labels[:, k])
        for name, (scores, correct) in columns.items():
            bins.setdefault(name, {})[stage] = reliability_bins(scores, correct)
    return bins


def calibration_errors(bins: dict[str, dict[str, list[list[float]]]]) -> dict[str, dict[str, float | None]]:
    """Expected calibration errors of `reliability`, in [0, 1]."""
    return {name: {stage: calibration_error(rows) for stage, rows in stages.items()} for name, stages in bins.items()}
