"""F1 and AUROC of action units (any multi-label set), each unknown entry left out. Runs offline."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Per-label F1 and AUROC of multi-label predictions and their means over labels. True positives, false positives and
false negatives are accumulated over all frames (the usual BP4D and DISFA protocol), not averaged over subjects.
"""

_INPUTS = """
Args:
    probabilities: (N, K) floats in [0, 1].
    references: (N, K) with 1 present, 0 absent, NaN or -1 unknown; unknown entries are left out and counted.
    thresholds: a float or K floats; a label is predicted where its probability is at or above. Default .5.
Returns (all scores are fractions in [0, 1]):
    f1, auroc: K values; None where undefined (F1: no positive reference; AUROC: references of one class only).
    mean_f1, mean_auroc: means over the labels that have a value, None if none has.
    f1_left_out, auroc_left_out: how many labels are not in these means.
    positives, known: K counts of positive and of known references; unknown: their total number of unknown entries.
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class ActionUnits(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "probabilities": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Sequence(datasets.Value("float64")),
                }
            ),
        )

    def _compute(self, probabilities, references, thresholds=None):
        probabilities = np.asarray(probabilities, dtype=np.float64)
        references = np.asarray(references, dtype=np.float64)
        if probabilities.ndim != 2 or probabilities.shape != references.shape:
            raise ValueError(
                f"Expected probabilities and references of one shape (N, K), "
                f"got {probabilities.shape} and {references.shape}."
            )
        known = ~np.isnan(references) & (references != -1)
        if not np.isin(references[known], (0, 1)).all():
            odd = np.setdiff1d(references[known], (0, 1))[:5].tolist()
            raise ValueError(f"References must be 0, 1, or NaN / -1 for unknown; got also {odd}.")
        if np.isnan(probabilities[known]).any():
            raise ValueError("Some probabilities are NaN: the model's output is not finite.")
        labels = probabilities.shape[1]
        thresholds = np.asarray(0.5 if thresholds is None else thresholds, dtype=np.float64)
        if thresholds.shape not in ((), (labels,)):
            raise ValueError(f"Expected one threshold or {labels}, one a label; got shape {thresholds.shape}.")

        predicted = (probabilities >= thresholds) & known
        positive = (references == 1) & known
        hits = (predicted & positive).sum(axis=0)
        errors = (predicted != positive).sum(axis=0)
        positives = positive.sum(axis=0)
        f1 = [float(2 * h / (2 * h + e)) if n else None for h, e, n in zip(hits, errors, positives, strict=True)]
        auroc = [_auroc(probabilities[known[:, k], k], positive[known[:, k], k]) for k in range(labels)]
        return {
            "f1": f1,
            "mean_f1": _mean(f1),
            "f1_left_out": f1.count(None),
            "auroc": auroc,
            "mean_auroc": _mean(auroc),
            "auroc_left_out": auroc.count(None),
            "positives": positives.tolist(),
            "known": known.sum(axis=0).tolist(),
            "unknown": int((~known).sum()),
        }


def _mean(scores):
    defined = [score for score in scores if score is not None]
    return float(np.mean(defined)) if defined else None


def _auroc(scores, positive):
    """Probability that a positive frame scores above a negative one, ties counting half (Mann-Whitney)."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
