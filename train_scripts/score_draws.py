"""Scores of test frames in every bootstrap draw at once: counts that folds add up, and what follows from them.

A frame without a detected face counts: the answer is "absent" for every action unit, ranked below all other frames,
and no class at all for an expression, hence wrong.
"""

from dataclasses import dataclass

import numpy as np
import torch

from modeling_clef.calibration_clef import calibrated_probabilities
from modeling_clef.label_sets_clef import with_optional_keys
from train_scripts.bootstrap import drawn_sums, nan_mean, ranking_draws, ratio
from train_scripts.calibration import without_calibration
from train_scripts.predictions import Predictions

# Scores of a whole set, in the order of tables. The first of each is what a paper reports.
HEADLINES = {
    "multi_label": ("mean_f1", "mean_f1_at_half", "mean_auroc", "mean_ap", "mean_base_rate"),
    "single_label": ("accuracy", "macro_f1", "uar"),
}
LABEL_SCORES = {"multi_label": ("f1", "f1_at_half", "auroc", "ap", "base_rate"), "single_label": ("f1", "recall")}


def kind_of(scores: dict) -> str:
    """ "multi_label" or "single_label", by the scores of a label set."""
    return "single_label" if "accuracy" in scores else "multi_label"


@dataclass
class Frames:
    """Frames of one fold and one label set.

    label_set: with the thresholds and temperatures of this fold. logits (N, K) uncalibrated; labels (N, K) in
    {0, 1, NaN}; face_found (N,); subjects (N,) integers, columns of the draws.
    """

    label_set: dict
    logits: np.ndarray
    labels: np.ndarray
    face_found: np.ndarray
    subjects: np.ndarray

    def select(self, chosen: np.ndarray) -> "Frames":
        parts = (values[chosen] for values in (self.logits, self.labels, self.face_found, self.subjects))
        return Frames(self.label_set, *parts)

    @property
    def kind(self) -> str:
        return self.label_set["problem_type"].removesuffix("_classification")

    @property
    def known(self) -> np.ndarray:
        """(N,): frames that say something about at least one label (of a single-label set: about all)."""
        unknown = np.isnan(self.labels)
        return ~(unknown.all(axis=1) if self.kind == "multi_label" else unknown.any(axis=1))

    def probabilities(self, calibrated: bool) -> np.ndarray:
        """(N, K) float32, with the temperatures fitted on validation subjects or without."""
        label_set = with_optional_keys(self.label_set) if calibrated else without_calibration(self.label_set)
        return calibrated_probabilities(torch.from_numpy(self.logits), [label_set]).numpy()


def frames_of(predictions: Predictions, name: str, subjects: np.ndarray) -> Frames:
    """One label set of a fold; `subjects` (N,) numbers its frames' subjects."""
    start = 0
    for label_set in predictions.label_sets:
        columns = slice(start, start + len(label_set["labels"]))
        start = columns.stop
        if label_set["name"] == name:
            logits, labels = predictions.logits[:, columns], predictions.labels[:, columns]
            return Frames(label_set, logits, labels, predictions.face_found, subjects)
    raise ValueError(f"got label sets {[s['name'] for s in predictions.label_sets]}, expected {name!r} among them.")


def fold_draws(frames: Frames, drawn: np.ndarray) -> dict[str, np.ndarray]:
    """What the scores of one fold are made of, in every draw.

    Multi-label: "fitted" and "half", (draws, K, 4) hits, wrong decisions, positives and known frames, at the fitted
    thresholds of the calibrated probabilities and at .5 of the uncalibrated ones; "auroc" and "ap" (draws, K).
    Single-label: "confusion" (draws, K, K + 1): class by answer; the last answer is none, for want of a face.

    Args:
        drawn: (draws, S) of `bootstrap.draw_subjects`.

    Raises:
        ValueError: logits that are not finite where there is a face.
    """
    if not np.isfinite(frames.logits[frames.face_found]).all():
        raise ValueError("some logits are not finite: the model has diverged or its weights are broken.")
    if frames.kind == "single_label":
        return {"confusion": _confusion(frames, drawn)}
    label_set, labels = frames.label_set, frames.labels
    known, positive = ~np.isnan(labels), labels == 1
    draws = {}
    for key, calibrated, thresholds in (("fitted", True, label_set["thresholds"]), ("half", False, 0.5)):
        # In float64, as `fit_thresholds` chose them.
        probabilities = frames.probabilities(calibrated).astype(np.float64)
        decided = (probabilities >= np.asarray(thresholds)) & frames.face_found[:, None]
        counts = (decided & positive, (decided != positive) & known, positive, known)
        draws[key] = np.stack([drawn_sums(count, frames.subjects, drawn) for count in counts], axis=2)
    scores = np.where(frames.face_found[:, None], frames.logits, -np.inf)
    ranked = []
    for k in range(labels.shape[1]):
        rows = known[:, k]
        ranked.append(ranking_draws(scores[rows, k], positive[rows, k], frames.subjects[rows], drawn))
    draws["auroc"], draws["ap"] = (np.stack(values, axis=1) for values in zip(*ranked, strict=True))
    return draws


def _confusion(frames: Frames, drawn: np.ndarray) -> np.ndarray:
    count = frames.labels.shape[1]
    rows = frames.known
    answers = np.where(frames.face_found, frames.logits.argmax(axis=1), count)[rows]
    cells = frames.labels[rows].argmax(axis=1) * (count + 1) + answers
    # Each subject's matrix first: a one-hot matrix of frames would be far larger.
    people = drawn.shape[1]
    matrices = np.bincount(frames.subjects[rows] * count * (count + 1) + cells, minlength=people * count * (count + 1))
    matrices = matrices.reshape(people, -1)
    present = matrices.any(axis=1)
    sums = drawn[:, present].astype(np.float64) @ matrices[present].astype(np.float64)
    return sums.reshape(len(drawn), count, count + 1)


def pool_draws(folds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """All folds as one: counts add up; AUROC and AP are means over the folds that have one.

    Scores of different models need not be on one scale, so they are never ranked together (Forman & Scholz 2010).
    """
    pooled = {}
    for key in folds[0]:
        stacked = np.stack([fold[key] for fold in folds])
        pooled[key] = nan_mean(stacked, axis=0) if key in ("auroc", "ap") else stacked.sum(axis=0)
    return pooled


def label_scores(draws: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(draws, K) of each of LABEL_SCORES: NaN where undefined (F1, AP, recall: no positive frame)."""
    if "confusion" in draws:
        frames, hits = draws["confusion"].sum(axis=2), np.diagonal(draws["confusion"], axis1=1, axis2=2)
        answered = draws["confusion"][:, :, :-1].sum(axis=1)
        f1 = ratio(2 * hits, frames + answered)
        return {"f1": np.where(frames > 0, f1, np.nan), "recall": ratio(hits, frames)}
    scores = {"auroc": draws["auroc"], "ap": draws["ap"]}
    for name, key in (("f1", "fitted"), ("f1_at_half", "half")):
        hits, wrong, positives, known = np.moveaxis(draws[key], 2, 0)
        scores[name] = np.where(positives > 0, ratio(2 * hits, 2 * hits + wrong), np.nan)
        scores["base_rate"] = ratio(positives, known)
    return {name: scores[name] for name in LABEL_SCORES["multi_label"]}


def headline_scores(draws: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(draws,) of each of HEADLINES: means over the labels that are defined in that draw."""
    labels = label_scores(draws)
    if "confusion" in draws:
        hits = np.trace(draws["confusion"][:, :, :-1], axis1=1, axis2=2)
        accuracy = ratio(hits, draws["confusion"].sum(axis=(1, 2)))
        return {"accuracy": accuracy, "macro_f1": nan_mean(labels["f1"], 1), "uar": nan_mean(labels["recall"], 1)}
    return {f"mean_{name}": nan_mean(labels[name], 1) for name in LABEL_SCORES["multi_label"]}
