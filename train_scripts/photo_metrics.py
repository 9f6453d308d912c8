"""How well scores tell smiling from neutral photographs: AUROC, paired accuracy, intervals over people, thresholds.

Arrays throughout: `scores` (N,) floats, `positive` (N,) booleans (smiling), `people` (N,) integers from 0, whose
photograph it is. Higher scores mean smiling. Ties count half.
"""

import numpy as np


def auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Probability that a positive photograph scores above a negative one; None unless there are both."""
    wins = _wins(scores, positive)
    return float(wins.mean()) if wins.size else None


def paired_accuracy(scores: np.ndarray, positive: np.ndarray, people: np.ndarray) -> float | None:
    """Share of people whose positive photograph scores above their own negative one.

    With several photographs a person, the share of her pairs is averaged over people, each counting once. Who lacks
    one of the two is left out; None if nobody has both.
    """
    share, paired = _pair_shares(scores, positive, people, people.max(initial=-1) + 1)
    return float(share[paired].mean()) if paired.any() else None


def draw_people(count: int, draws: int, seed: int) -> np.ndarray:
    """(draws, count) integers: how often each of `count` people is drawn, `count` times with replacement."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)


def bootstrap_auroc(scores: np.ndarray, positive: np.ndarray, people: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(draws,) AUROCs where each person's photographs count as often as `drawn` (draws, people) says; NaN where a draw
    holds no positive or no negative photograph."""
    weights = drawn[:, people].astype(np.float64)
    up, down = weights[:, positive], weights[:, ~positive]
    total = up.sum(axis=1) * down.sum(axis=1)
    won = ((up @ _wins(scores, positive)) * down).sum(axis=1)
    return np.divide(won, total, out=np.full(len(drawn), np.nan), where=total > 0)


def bootstrap_paired(scores: np.ndarray, positive: np.ndarray, people: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(draws,) paired accuracies, as in `bootstrap_auroc`."""
    share, paired = _pair_shares(scores, positive, people, drawn.shape[1])
    total = (drawn * paired).sum(axis=1)
    won = drawn[:, paired] @ share[paired]
    return np.divide(won, total, out=np.full(len(drawn), np.nan), where=total > 0)


def interval(values: np.ndarray, level: float = 0.95) -> list[float] | None:
    """Lower and upper percentile of bootstrap values, NaN left out; None if nothing is left."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    tail = 100 * (1 - level) / 2
    return np.percentile(values, [tail, 100 - tail]).tolist()


def decision_scores(decisions: np.ndarray, positive: np.ndarray) -> dict:
    """Precision (None without a positive decision), recall and accuracy of `decisions` (N,) booleans."""
    hits = int((decisions & positive).sum())
    return {
        "precision": hits / int(decisions.sum()) if decisions.any() else None,
        "recall": hits / int(positive.sum()) if positive.any() else None,
        "accuracy": float((decisions == positive).mean()) if len(positive) else None,
    }


def most_accurate_threshold(scores: np.ndarray, positive: np.ndarray) -> float:
    """The threshold at or above which calling a photograph positive is right most often.

    Candidates lie midway between neighbouring scores, and beyond both ends; of equally good ones the middle one.
    """
    distinct = np.unique(scores)
    candidates = np.concatenate([[-np.inf], (distinct[:-1] + distinct[1:]) / 2, [np.inf]])
    right = ((scores >= candidates[:, None]) == positive).sum(axis=1)
    best = candidates[right == right.max()]
    return float(best[len(best) // 2])


def half_split_accuracy(
    scores: np.ndarray, positive: np.ndarray, people: np.ndarray, splits: int = 20, seed: int = 0
) -> float | None:
    """Accuracy on one half of the people of the threshold fitted on the other half, mean over random splits.

    None with fewer than two people.
    """
    known = np.unique(people)
    if len(known) < 2:
        return None
    rng = np.random.default_rng(seed)
    accuracies = []
    for _ in range(splits):
        fitted = np.isin(people, rng.permutation(known)[: len(known) // 2])
        threshold = most_accurate_threshold(scores[fitted], positive[fitted])
        accuracies.append(((scores >= threshold) == positive)[~fitted].mean())
    return float(np.mean(accuracies))


def _wins(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(positives, negatives): 1 where the positive scores higher, .5 for a tie."""
    up, down = scores[positive][:, None], scores[~positive][None]
    return (up > down) + 0.5 * (up == down)


def _pair_shares(scores, positive, people, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of `count` people the share of own pairs that are won (0 without a pair), and whether there is one."""
    own = people[positive][:, None] == people[~positive][None]
    who = np.broadcast_to(people[positive][:, None], own.shape)[own]
    pairs = np.bincount(who, minlength=count)
    won = np.bincount(who, weights=_wins(scores, positive)[own], minlength=count)
    return won / np.maximum(pairs, 1), pairs > 0
