"""Is one run better than another by more than noise? A paired bootstrap over the subjects that both were tested on.

python train_scripts/compare.py outputs/a outputs/b       # run folders, or folders of cross_validate.py

All frames of a drawn subject come along in both runs, so that what makes a subject hard for both cancels out. Prints a
table and writes compare.json into B's folder (or --output). Differences are B less A.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from train_scripts.bootstrap import FEW_SUBJECTS, LEVEL, holm, p_value
from train_scripts.options import option, run_script
from train_scripts.paired_scores import paired_scores
from train_scripts.photo_metrics import interval
from train_scripts.predictions import FILE, Predictions, read_predictions
from train_scripts.results_text import full_name, percent, score_name

SCHEMA_VERSION = 1
LABEL_SCORES = {"multi_label": ("f1", "auroc"), "single_label": ("f1", "recall")}
LABEL_SCORE_NAMES = {"f1": "F1", "auroc": "AUROC", "recall": "recall"}


@dataclass
class CompareOptions:
    a: str = option("", "folder of the first result; may also stand first, without --a")
    b: str = option("", "folder of the second result; may also stand second, without --b")
    output: str | None = option(None, "folder of compare.json; default: that of the second result")
    resamples: int = option(2000, "bootstrap draws")
    seed: int = option(0, "seed of the draws")

    def __post_init__(self):
        if not self.a or not self.b:
            raise ValueError("expected two folders: `python train_scripts/compare.py A B`.")
        if self.resamples < 1:
            raise ValueError(f"resamples: got {self.resamples}, expected at least 1.")


def load_folds(folder: str | Path) -> list[Predictions]:
    """The predictions of a run folder, or of every fold somewhere below a folder of cross_validate.py.

    Raises:
        FileNotFoundError: there are none.
    """
    folder = Path(folder)
    if (folder / FILE).is_file():
        return [read_predictions(folder)]
    folds = [read_predictions(path.parent) for path in sorted(folder.rglob(FILE))]
    # Raises, with what to do.
    return folds or [read_predictions(folder)]


def compare(a: list[Predictions], b: list[Predictions], resamples: int = 2000, seed: int = 0) -> dict:
    """Differences of two runs, B less A, with 95 % percentile intervals over subjects.

    Args:
        a, b: the folds of each run, tested on the same frames.

    Returns:
        "comparisons", each {"label_set", "score", "label" (None: the whole set), "a", "b", "difference" (fractions),
        "interval", "p" (two-sided bootstrap), "family" (what it was made among), "p_adjusted" (Holm, within the
        family), "more_than_noise", "verdict"}; "frames", "subjects", "resamples", "seed", "level", "notes".

    Raises:
        ValueError: the runs tested other subjects, frames or labels.
    """
    scores = paired_scores(a, b, resamples, seed)
    families = {
        "all labels together": [
            ((name, key, None), pair) for (name, key), pair in scores.headlines.items() if key != "mean_base_rate"
        ]
    }
    kinds = {s["name"]: s["problem_type"].removesuffix("_classification") for run in a for s in run.label_sets}
    for (name, key, label), pair in scores.labels.items():
        if key in LABEL_SCORES[kinds[name]]:
            families.setdefault(f"{name}: {key} of each label", []).append(((name, key, label), pair))
    comparisons = []
    for family, members in families.items():
        rows = [_difference(*key, *pair) for key, pair in members]
        rows = [row for row in rows if row["difference"] is not None]
        for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
            row |= {"p_adjusted": adjusted, "family": family}
            row |= _verdict(row, len(rows))
        comparisons += rows
    return {
        "schema_version": SCHEMA_VERSION,
        "frames": scores.frames,
        "subjects": scores.subjects,
        "resamples": resamples,
        "seed": seed,
        "level": LEVEL,
        "comparisons": comparisons,
        "notes": scores.notes + _notes(scores.subjects, resamples, families),
    }


def _difference(name: str, key: str, label: str | None, a: np.ndarray, b: np.ndarray) -> dict:
    """One row; "difference" is None where the score is undefined."""
    differences = b - a
    defined = not np.isnan(differences[0])
    return {
        "label_set": name,
        "score": key,
        "label": label,
        "a": float(a[0]) if defined else None,
        "b": float(b[0]) if defined else None,
        "difference": float(differences[0]) if defined else None,
        "interval": interval(differences[1:]),
        "p": p_value(differences[1:]),
    }


def _verdict(row: dict, family: int) -> dict:
    difference, (low, high) = row["difference"], row["interval"] or (0.0, 0.0)
    better = "B" if difference > 0 else "A"
    by = f"{100 * abs(difference):.1f} points"
    more = row["p_adjusted"] < 1 - LEVEL and difference != 0
    if difference == low == high == 0:
        text = "no difference at all"
    elif more:
        text = f"{better} is better by {by}: more than noise"
    elif not low <= 0 <= high:
        text = f"{better} is better by {by}: more than noise by itself, not as one of {family} comparisons"
    else:
        text = "no more than noise"
    return {"more_than_noise": more, "verdict": text}


def _notes(subjects: int, resamples: int, families: dict[str, list]) -> list[str]:
    counts = "; ".join(f"{name}: {len(members)}" for name, members in families.items())
    notes = [
        f"Several comparisons are made ({counts}); p is adjusted by Holm's method within each of these families.",
        "Noise here is which people were tested. Another training seed may move both runs as well: only several seeds "
        "of each tell.",
    ]
    most = max(len(members) for members in families.values())
    if most * p_value(np.ones(resamples)) >= 1 - LEVEL:
        notes.append(f"With {resamples} draws no difference can count among {most} comparisons: raise --resamples.")
    if subjects < FEW_SUBJECTS:
        few = f"Only {subjects} subjects: with fewer than about {FEW_SUBJECTS}, differences seem surer than they are."
        notes.append(few)
    return notes


def comparison_table(result: dict) -> str:
    """What `compare` returns as aligned text, in percent."""
    lines = [f"{result['subjects']} subjects, {result['frames']} frames; differences are B less A, in points"]
    heads = ("A", "B", "B − A [95 %]", "p adjusted")
    family = None
    for row in result["comparisons"]:
        if row["family"] != family:
            family = row["family"]
            lines += ["", f"{family:38}{heads[0]:>8}{heads[1]:>8}{heads[2]:>24}{heads[3]:>12}"]
        name = score_name(row["label_set"], row["score"]) if row["label"] is None else full_name(row["label"])
        name += "" if row["label"] is None else f", {LABEL_SCORE_NAMES[row['score']]}"
        low, high = row["interval"] or (float("nan"),) * 2
        difference = f"{100 * row['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        cells = f"{percent(row['a']):>8}{percent(row['b']):>8}{difference:>24}{row['p_adjusted']:>12.3f}"
        lines.append(f"{name:38}{cells}  {row['verdict']}")
    return "\n".join([*lines, "", *(f"note: {note}" for note in result["notes"])])


def main(options: CompareOptions) -> dict:
    try:
        result = compare(load_folds(options.a), load_folds(options.b), options.resamples, options.seed)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"A = {options.a}, B = {options.b}: {error}")
    result = {"a": options.a, "b": options.b} | result
    print(f"A = {options.a}\nB = {options.b}")
    print(comparison_table(result))
    folder = Path(options.output or options.b)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "compare.json.partial"
    partial.write_text(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(folder / "compare.json")
    print(f"written to {folder / 'compare.json'}")
    return result


def with_folder_flags(argv: list[str]) -> list[str]:
    """Lets both folders stand first, as `compare.py A B …`."""
    flags = []
    for name in ("--a", "--b"):
        if argv and not argv[0].startswith("-"):
            flags += [name, argv[0]]
            argv = argv[1:]
    return [*flags, *argv]


if __name__ == "__main__":
    run_script(main, CompareOptions, with_folder_flags(sys.argv[1:]))
