"""Bootstrap over subjects: the frames of one face are no independent draws, so whole people are drawn instead.

A draw is a row of counts, how often each subject comes along; row 0 always counts everyone once. Every score is then a
function of all rows at once, whose first value is the score itself and whose others are its bootstrap distribution.
"""

import numpy as np

LEVEL = 0.95
# With fewer people percentile intervals are known to be too narrow.
FEW_SUBJECTS = 20
# Bounds the memory of `ranking_draws`: weights of this many frames at a time, 4 bytes each and a few copies.
WEIGHTS_AT_A_TIME = 4_000_000


def draw_subjects(strata: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """(1 + resamples, S) int32: how often each subject is drawn; row 0 is all ones.

    Args:
        strata: (S,) what each subject belongs to, such as its fold. Each draw takes as many subjects of a stratum as
            the stratum has, with replacement.

    Raises:
        ValueError: no subjects, or no resamples.
    """
    strata = np.asarray(strata)
    if not len(strata) or resamples < 1:
        raise ValueError(f"got {len(strata)} subjects and {resamples} resamples; expected at least one of each.")
    rng = np.random.default_rng(seed)
    drawn = np.ones((1 + resamples, len(strata)), dtype=np.int32)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        drawn[1:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    return drawn


def drawn_sums(values: np.ndarray, subjects: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(draws, K) float64: sums of `values` (N, K) over frames, each as often as its subject is drawn.

    Args:
        subjects: (N,) integers in [0, S). drawn: (draws, S).
    """
    sums = np.stack([np.bincount(subjects, column, minlength=drawn.shape[1]) for column in values.T], axis=1)
    present = np.bincount(subjects, minlength=drawn.shape[1]) > 0
    return drawn[:, present].astype(np.float64) @ sums[present]


def ranking_draws(
    scores: np.ndarray, positive: np.ndarray, subjects: np.ndarray, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC (ties count half) and average precision of every draw, both (draws,) float64.

    Average precision is scikit-learn's: the sum over distinct scores of precision times gain in recall. NaN where a
    draw has no positive frame, AUROC also where it has no negative one.

    Args:
        scores: (N,) floats, -inf allowed. positive: (N,) booleans. subjects, drawn: as in `drawn_sums`.
    """
    auroc, precision = np.full(len(drawn), np.nan), np.full(len(drawn), np.nan)
    if not positive.any():
        return auroc, precision
    order = np.argsort(-scores, kind="stable")
    scores, positive, subjects = scores[order], positive[order], subjects[order]
    # Frames of one score are one step of the ranking; only steps that hold a positive frame add to the sums below.
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    last = np.append(first[1:], len(scores))
    hits_until = np.append(0, np.cumsum(positive))
    steps = hits_until[last] > hits_until[first]
    first, last = first[steps], last[steps]
    positives = subjects[positive]
    hits_until = hits_until[last]
    size = max(1, WEIGHTS_AT_A_TIME // len(scores))
    for start in range(0, len(drawn), size):
        rows = slice(start, start + size)
        frames = _running_sums(drawn[rows], subjects)
        hits = _running_sums(drawn[rows], positives)[:, hits_until].astype(np.float64)
        gained = np.diff(hits, axis=1, prepend=0)
        above = frames[:, last].astype(np.float64)
        wrong = above - hits
        # Negatives of the same score, half of which a positive beats.
        tied = above - frames[:, first] - gained
        total, negatives = hits[:, -1], frames[:, -1] - hits[:, -1]
        won = (gained * (negatives[:, None] - wrong + tied / 2)).sum(axis=1)
        auroc[rows] = ratio(won, total * negatives)
        gain = np.divide(gained * hits, above, out=np.zeros_like(hits), where=above > 0).sum(axis=1)
        precision[rows] = ratio(gain, total)
    return auroc, precision


def _running_sums(drawn: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """(draws, N + 1): weights of the first n frames."""
    sums = np.zeros((len(drawn), len(subjects) + 1), dtype=np.int32)
    np.cumsum(drawn[:, subjects], axis=1, out=sums[:, 1:])
    return sums


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Elementwise quotient in float64, NaN where `below` is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)


def nan_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean without NaN; NaN where nothing is left."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=axis), known.sum(axis=axis))


def p_value(differences: np.ndarray) -> float:
    """Two-sided bootstrap p-value of no difference: twice the smaller share of draws on either side of zero.

    One is added to both counts of the share, so that it is never 0. NaN draws are left out; without any left it is 1.

    Args:
        differences: (draws,) bootstrap differences, without the observed one.
    """
    known = differences[~np.isnan(differences)]
    smaller = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (smaller + 1) / (len(known) + 1)))


def holm(p_values: list[float]) -> list[float]:
    """p-values adjusted for being several, by Holm (1979)."""
    adjusted, highest = np.empty(len(p_values)), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted.tolist()
