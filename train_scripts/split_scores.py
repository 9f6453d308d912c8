"""Scores of a split's frames, those without a detected face among them, from logits to thresholds to numbers."""

import numpy as np
from datasets import Dataset

from train_scripts.label_scores import fit_label_sets, score_label_sets
from train_scripts.predictions import Predictions, gather_predictions
from train_scripts.score_draws import fold_draws, frames_of, headline_scores, label_scores


def fitted_predictions(
    label_sets: list[dict], parts: dict[str, tuple[Dataset, np.ndarray]], fold: int | None = None
) -> Predictions:
    """Predictions whose thresholds and temperatures are fitted on the part "validation", on its frames with a face.

    The label sets are fitted in place; arguments otherwise as in `gather_predictions`.

    Raises:
        ValueError: no validation frame shows a face.
    """
    validation = gather_predictions(label_sets, {"validation": parts["validation"]})
    faces = validation.face_found
    if not faces.any():
        raise ValueError(f"in none of the {len(faces)} validation frames was a face found: nothing can be fitted.")
    fit_label_sets(label_sets, validation.logits[faces], validation.labels[faces])
    return gather_predictions(label_sets, parts, fold)


def headlines(predictions: Predictions) -> dict[str, dict]:
    """Label set → scores of `score_draws.headline_scores` over all frames, and under "labels" those of each label.

    Fractions in [0, 1], None where undefined. Frames without a face count as `score_draws` says.
    """
    everyone = np.ones((1, 1), dtype=np.int32)
    scores = {}
    for label_set in predictions.label_sets:
        frames = frames_of(predictions, label_set["name"], np.zeros(len(predictions.subject_ids), dtype=np.int64))
        draws = fold_draws(frames, everyone)
        means = {name: _number(values[0]) for name, values in headline_scores(draws).items()}
        each = {name: values[0] for name, values in label_scores(draws).items()}
        labels = {
            label: {name: _number(values[i]) for name, values in each.items()}
            for i, label in enumerate(label_set["labels"])
        }
        scores[label_set["name"]] = means | {"labels": labels}
    return scores


def full_scores(predictions: Predictions, fitted: bool) -> dict[str, dict]:
    """`label_scores.score_label_sets` of the frames; where some show no face, headline scores and those of labels
    count them, and calibration, counts and confusion matrices are of the others."""
    faces = predictions.face_found
    scores = score_label_sets(predictions.label_sets, predictions.logits[faces], predictions.labels[faces], fitted)
    if not faces.all():
        for name, counted in headlines(predictions).items():
            _take_over(scores[name], counted)
            for label, values in counted["labels"].items():
                _take_over(scores[name]["labels"][label], values)
            if scores[name].get("accuracy_calibrated") is not None:  # of the frames with a face; wrong in all others
                everyone = frames_of(predictions, name, np.zeros(len(faces), dtype=np.int64)).known.sum()
                scores[name]["accuracy_calibrated"] *= scores[name]["known"] / everyone
    return scores


def _take_over(scores: dict, others: dict) -> None:
    scores |= {key: value for key, value in others.items() if key in scores and key != "labels"}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
