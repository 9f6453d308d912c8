"""Whether rows of an ablation stand in the paper's order, and which of the differences are more than noise."""

from itertools import combinations

import numpy as np
from scipy.stats import spearmanr

from train_scripts.photo_metrics import interval

# What the paper's table says of its parts: a row, the row that has one thing more or another, and that thing.
CLAIMS = (
    ("clip_i", "clef_pi_i", "stage 1 by image pairs"),
    ("clip_i", "clip_i_n", "label names, without stage 1"),
    ("clip_i_n", "clip_i_n_d", "descriptions, without stage 1"),
    ("clef_pi_i", "clef_pa_pi_i", "activity texts, without label texts"),
    ("clef_pi_i", "clef_pi_i_n", "label names, without activity texts"),
    ("clef_pa_pi_i", "clef_pa_pi_i_n", "label names, with activity texts"),
    ("clef_pa_pi_i_n", "clef_pa_pi_i_n_d", "descriptions, with activity texts"),
    ("clef_pa_pi_i_d", "clef_pa_pi_i_n_d", "label names beside descriptions"),
    ("clef_pi_i_n_d", "clef_pa_pi_i_n_d", "activity texts, with label texts"),
    ("clip_i_n_d", "clef_pa_pi_i_n_d", "stage 1 as a whole, with label texts"),
)
Draws = dict[str, np.ndarray]


def summarise(seeds: list[Draws]) -> dict[str, dict]:
    """For each score: "mean" and "sd" over seeds (None with one), the seeds' "values", and the 95 % "interval" of the
    mean over the people drawn, training runs as they are.

    Args:
        seeds: for each seed score → (1 + resamples,), the score first, its bootstrap draws after it.
    """
    result = {}
    for name in seeds[0]:
        draws = np.stack([seed[name] for seed in seeds])
        values = draws[:, 0]
        result[name] = {
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
            "interval": interval(draws.mean(axis=0)[1:]),
            "values": values.tolist(),
        }
    return result


def difference(before: list[Draws], after: list[Draws], name: str) -> dict:
    """How much `after` is better than `before` in one score, seed by seed on the same people; see `summarise`.

    "clear" is true when the interval leaves out 0 and all seeds agree in the sign.
    """
    pairs = [{name: b[name] - a[name]} for a, b in zip(before, after, strict=True)]
    result = summarise(pairs)[name]
    low, high = result["interval"]
    signs = set(np.sign(result["values"]).tolist())
    return result | {"clear": bool(low > 0 or high < 0) and len(signs) == 1}


def agreement(paper: dict[str, dict], draws: dict[str, list[Draws]]) -> dict[str, dict]:
    """For each score that the paper gives: does the order of the rows agree?

    Args:
        paper: row → score → the paper's number in percent; rows without numbers take no part.
        draws: row → for each seed its draws, see `summarise`.

    Returns:
        score → "rank_correlation" (Spearman's, None with fewer than three rows or all alike); "pairs": how many pairs
        of rows that the paper orders are here clearly ordered the same way ("agree"), clearly the other way
        ("disagree"), or not clearly ("undecided"), and how many have the same sign at all ("same_sign"); "claims":
        `CLAIMS` of which both rows are there, each with the "paper"'s difference in points, "ours" and a "verdict".
    """
    result = {}
    for score in dict.fromkeys(score for numbers in paper.values() for score in numbers):
        rows = [row for row, numbers in paper.items() if score in numbers]
        theirs = [paper[row][score] for row in rows]
        ours = [summarise(draws[row])[score]["mean"] for row in rows]
        ranked = len(rows) > 2 and min(len(set(theirs)), len(set(ours))) > 1
        verdicts, same_sign = [], 0
        for a, b in combinations(rows, 2):
            points = paper[b][score] - paper[a][score]
            if points:
                found = difference(draws[a], draws[b], score)
                verdicts.append(verdict(points, found))
                same_sign += np.sign(found["mean"]) == np.sign(points)
        result[score] = {
            "rows": len(rows),
            "rank_correlation": float(spearmanr(theirs, ours).statistic) if ranked else None,
            "pairs": {name: verdicts.count(name) for name in ("agree", "disagree", "undecided")}
            | {"same_sign": int(same_sign), "all": len(verdicts)},
            "claims": [
                {"claim": claim, "rows": [a, b], "paper": paper[b][score] - paper[a][score], "ours": found}
                | {"verdict": verdict(paper[b][score] - paper[a][score], found)}
                for a, b, claim in CLAIMS
                if a in rows and b in rows
                for found in [difference(draws[a], draws[b], score)]
            ],
        }
    return result


def verdict(points: float, found: dict) -> str:
    """ "agree", "disagree", or "undecided" where our difference is not clear.

    Args:
        points: the paper's difference. found: what `difference` returns.
    """
    if not found["clear"]:
        return "undecided"
    return "agree" if np.sign(found["mean"]) == np.sign(points) else "disagree"
