"""Accuracy, macro F1 and unweighted average recall of expressions (any single-label set). Runs offline."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Accuracy, macro F1, unweighted average recall (UAR) and the confusion matrix of single-label predictions.
"""

_INPUTS = """
Args:
    predictions: N class ids.
    references: N class ids, -1 unknown; frames with an unknown reference are left out and counted.
    num_classes: size of the confusion matrix; default the largest id plus one.
Returns (all scores are fractions in [0, 1], None if every reference is unknown):
    accuracy; macro_f1 and uar: means over the classes that occur among the references.
    f1, recall: one value a class, None for a class that does not occur.
    confusion: num_classes rows (reference) of num_classes counts (prediction).
    known, unknown, classes_left_out: counts.
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Expression(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions, references, num_classes=None):
        predictions = np.asarray(predictions, dtype=np.int64)
        references = np.asarray(references, dtype=np.int64)
        if num_classes is None:
            num_classes = int(max(predictions.max(initial=-1), references.max(initial=-1))) + 1
        if ((references < -1) | (references >= num_classes)).any():
            raise ValueError(f"References must lie in [0, {num_classes}) or be -1 for unknown.")
        if ((predictions < 0) | (predictions >= num_classes)).any():
            raise ValueError(f"Predictions must lie in [0, {num_classes}).")
        known = references >= 0
        cells = references[known] * num_classes + predictions[known]
        confusion = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)

        occurrences = confusion.sum(axis=1)
        hits = confusion.diagonal()
        errors = occurrences + confusion.sum(axis=0) - 2 * hits
        recall = [float(h / n) if n else None for h, n in zip(hits, occurrences, strict=True)]
        f1 = [float(2 * h / (2 * h + e)) if n else None for h, e, n in zip(hits, errors, occurrences, strict=True)]
        total = int(occurrences.sum())
        return {
            "accuracy": float(hits.sum() / total) if total else None,
            "macro_f1": _mean(f1),
            "uar": _mean(recall),
            "f1": f1,
            "recall": recall,
            "confusion": confusion.tolist(),
            "known": total,
            "unknown": int((~known).sum()),
            "classes_left_out": recall.count(None),
        }


def _mean(scores):
    defined = [score for score in scores if score is not None]
    return float(np.mean(defined)) if defined else None
