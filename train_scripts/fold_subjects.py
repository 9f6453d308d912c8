"""Who is tested in which fold: refusals before anything is scored, and numbers for the bootstrap."""

import numpy as np

from processing.wording import counted
from train_scripts.predictions import Predictions


def check_folds(folds: list[Predictions]) -> None:
    """Raises ValueError unless these are the folds of one experiment, each subject tested once and by models that
    never chose anything on it."""
    if not folds:
        raise ValueError("got no folds to score; expected the predictions of at least one run.")
    expected = [(s["name"], s["labels"]) for s in folds[0].label_sets]
    tested_in: dict[str, object] = {}
    for position, fold in enumerate(folds):
        number = position if fold.fold is None else fold.fold
        labels = [(s["name"], s["labels"]) for s in fold.label_sets]
        if labels != expected:
            raise ValueError(f"fold {number} has the labels {labels}, other than the first fold's {expected}.")
        if set(fold.groups) != set(folds[0].groups):
            raise ValueError(
                f"fold {number} has the groups {sorted(fold.groups)}, other than the first fold's "
                f"{sorted(folds[0].groups)}."
            )
        tested = _names(fold.split("test"))
        if not (fold.splits == "test").any():
            raise ValueError(f"fold {number} has no test frames; its splits are {sorted(set(fold.splits.tolist()))}.")
        _refuse(
            tested & _names(fold.split("validation")),
            f"in both test and validation part of fold {number}: thresholds were fitted on people who are scored.",
        )
        twice = tested & tested_in.keys()
        first = tested_in[min(twice)] if twice else None
        _refuse(twice, f"tested in fold {number} and before, in fold {first}: give each fold once.")
        tested_in |= dict.fromkeys(tested, number)


def _refuse(subjects: set[str], problem: str) -> None:
    if subjects:
        shown = ", ".join(sorted(subjects)[:5]) + (", …" if len(subjects) > 5 else "")
        raise ValueError(f"{counted(len(subjects), 'subject')} ({shown}) {problem}")


def _names(predictions: Predictions) -> set[str]:
    return set(predictions.subject_ids.tolist()) - {""}


def number_subjects(tests: list[Predictions]) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Numbers the people of all folds; a frame whose subject is unknown ("") counts as a person of its own.

    Returns:
        For each fold (N,) subject numbers; (S,) position of the fold that each subject is tested in; how many frames
        name no subject.
    """
    numbers, strata, unnamed = [], [], 0
    for position, test in enumerate(tests):
        alone = test.subject_ids == ""
        _, inverse = np.unique(test.subject_ids[~alone], return_inverse=True)
        people = int(inverse.max(initial=-1)) + 1
        ids = np.empty(len(alone), dtype=np.int64)
        ids[~alone] = inverse
        ids[alone] = people + np.arange(alone.sum())
        numbers.append(ids + len(strata))
        strata += [position] * (people + int(alone.sum()))
        unnamed += int(alone.sum())
    return numbers, np.array(strata), unnamed
