"""Decision thresholds, fitted on validation subjects."""

import numpy as np


def fit_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Threshold of each label that maximises its F1 on the frames given.

    Args:
        probabilities: (N, K) floats in [0, 1].
        labels: (N, K) in {0, 1, NaN}; NaN is unknown and left out.

    Returns:
        (K,) float64. A label is predicted where its probability is at or above its threshold. Candidates are the
        midpoints between neighbouring distinct scores and one below the lowest, so every distinct decision is tried;
        among equally good ones the nearest to .5 wins. A label without a positive frame keeps .5.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(labels, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape != labels.shape:
        raise ValueError(
            f"Expected probabilities and labels of one shape (N, K), got {probabilities.shape} and {labels.shape}."
        )
    known = ~np.isnan(labels)
    return np.array(
        [_best_threshold(probabilities[known[:, k], k], labels[known[:, k], k] == 1) for k in range(labels.shape[1])]
    )


def _best_threshold(scores: np.ndarray, positive: np.ndarray) -> float:
    if not positive.any():
        return 0.5
    distinct, inverse = np.unique(scores, return_inverse=True)
    # One entry a distinct score: how many frames, and how many positive ones, lie at or above it.
    at_or_above = np.bincount(inverse)[::-1].cumsum()[::-1]
    hits = np.bincount(inverse, weights=positive)[::-1].cumsum()[::-1]
    f1 = 2 * hits / (at_or_above + positive.sum())

    below = np.concatenate([[0.0], distinct[:-1]])
    # Two neighbouring floats may have no midpoint between them: the upper one then decides the same.
    middle = (below + distinct) / 2
    candidates = np.where(middle > below, middle, distinct)
    # Equal fractions of counts may differ in the last bit.
    best = candidates[f1 >= f1.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])
