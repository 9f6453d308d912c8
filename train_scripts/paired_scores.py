"""Two runs on the same test frames: who differs, and by how much in every bootstrap draw of their people."""

from typing import NamedTuple

import numpy as np

from train_scripts.bootstrap import draw_subjects
from train_scripts.fold_subjects import check_folds
from train_scripts.predictions import Predictions
from train_scripts.score_draws import Frames, fold_draws, frames_of, headline_scores, label_scores, pool_draws


class PairedScores(NamedTuple):
    """Scores of two runs in the same draws; row 0 is everyone once.

    headlines: (label set, score) → two arrays (draws,). labels: (label set, score, label) → two arrays (draws,).
    frames, subjects: how many were compared. notes: what was left out.
    """

    headlines: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]
    labels: dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]]
    frames: int
    subjects: int
    notes: list[str]


def paired_scores(a: list[Predictions], b: list[Predictions], resamples: int, seed: int) -> PairedScores:
    """Scores of both runs on the labels that both have, subjects drawn alike for both, stratified by the folds of `a`.

    Raises:
        ValueError: the runs tested other subjects, frames or labels, or have no label in common.
    """
    for folds in (a, b):
        check_folds(folds)
    tests = [[fold.split("test") for fold in folds] for folds in (a, b)]
    keys = _frame_keys(tests)
    _refuse_other_frames(tests, keys)
    # Who names no subject counts alone, as in `fold_subjects`.
    people = [
        [np.where(test.subject_ids == "", key, test.subject_ids) for test, key in zip(folds, run, strict=True)]
        for folds, run in zip(tests, keys, strict=True)
    ]
    names, first = np.unique(np.concatenate(people[0]), return_index=True)
    fold_of_frame = np.repeat(np.arange(len(people[0])), [len(part) for part in people[0]])
    drawn = draw_subjects(fold_of_frame[first], resamples, seed)
    numbers = [[np.searchsorted(names, part) for part in run] for run in people]

    headlines, labels, notes = {}, {}, []
    for name, shared in _shared_labels(a[0], b[0], notes).items():
        runs = [
            [_restricted(frames_of(test, name, ids), shared) for test, ids in zip(folds, run, strict=True)]
            for folds, run in zip(tests, numbers, strict=True)
        ]
        _refuse_other_labels(name, shared, runs, keys)
        draws = [pool_draws([fold_draws(frames, drawn) for frames in run]) for run in runs]
        means, each = ([score(part) for part in draws] for score in (headline_scores, label_scores))
        headlines |= {(name, key): tuple(scores[key] for scores in means) for key in means[0]}
        for key in each[0]:
            for k, label in enumerate(shared):
                labels[name, key, label] = tuple(scores[key][:, k] for scores in each)
    lost = [sum(int((~test.face_found).sum()) for test in folds) for folds in tests]
    if any(lost):
        notes.append(f"Frames without a detected face, counted as answered absent or wrong: A {lost[0]}, B {lost[1]}.")
    return PairedScores(headlines, labels, len(fold_of_frame), len(names), notes)


def _frame_keys(tests: list[list[Predictions]]) -> list[list[np.ndarray]]:
    """A name for each test frame: subject, sequence and frame, and its row where these do not tell all apart."""

    def names(test: Predictions, with_row: bool) -> np.ndarray:
        columns = [test.subject_ids, test.sequence_ids, test.frames] + ([test.rows] if with_row else [])
        return np.array(["\t".join(map(str, row)) for row in zip(*columns, strict=True)], dtype=str)

    keys = [[names(test, False) for test in folds] for folds in tests]
    if any(len(np.unique(np.concatenate(run))) < sum(map(len, run)) for run in keys):
        keys = [[names(test, True) for test in folds] for folds in tests]
    return keys


def _refuse_other_frames(tests: list[list[Predictions]], keys: list[list[np.ndarray]]) -> None:
    for what, sets in (
        ("subjects", [set(np.concatenate([test.subject_ids for test in folds]).tolist()) for folds in tests]),
        ("frames", [set(np.concatenate(run).tolist()) for run in keys]),
    ):
        only = [sorted(sets[0] - sets[1]), sorted(sets[1] - sets[0])]
        if any(only):
            parts = [
                f"{len(names)} only in {run} ({', '.join(name.replace(chr(9), '/') for name in names[:4])}"
                + (", …)" if len(names) > 4 else ")")
                for run, names in zip("AB", only, strict=True)
                if names
            ]
            raise ValueError(
                f"the runs tested other {what}: {' and '.join(parts)}, {len(sets[0] & sets[1])} in both. A paired "
                "comparison needs the same test frames: evaluate both on the same corpus, protocol and folds."
            )


def _shared_labels(a: Predictions, b: Predictions, notes: list[str]) -> dict[str, list[str]]:
    """Label set → labels that both have, in A's order; what only one has is noted."""
    sets = [{label_set["name"]: label_set["labels"] for label_set in run.label_sets} for run in (a, b)]
    shared = {}
    single = {s["name"] for run in (a, b) for s in run.label_sets if s["problem_type"].startswith("single")}
    for name in dict.fromkeys([*sets[0], *sets[1]]):
        of_a, of_b = (run.get(name, []) for run in sets)
        left_out = [label for label in [*of_a, *of_b] if (label in of_a) != (label in of_b)]
        common = [label for label in of_a if label in of_b]
        if left_out and common and name in single:
            notes.append(f"{name} is not compared: {', '.join(left_out)} could be answered in one run only.")
            continue
        if left_out:
            notes.append(f"Not compared, in one run only: {', '.join(left_out)}.")
        if common:
            shared[name] = common
    if not shared:
        raise ValueError(f"the runs have no labels to compare: A {sets[0]}, B {sets[1]}.")
    return shared


def _restricted(frames: Frames, labels: list[str]) -> Frames:
    """Only these labels, in this order."""
    own = frames.label_set
    columns = [own["labels"].index(label) for label in labels]
    lists = ("labels", "thresholds", "temperatures", "calibration_biases")
    label_set = own | {key: [own[key][c] for c in columns] for key in lists if own.get(key) is not None}
    return Frames(label_set, frames.logits[:, columns], frames.labels[:, columns], frames.face_found, frames.subjects)


def _refuse_other_labels(name: str, labels: list[str], runs: list[list[Frames]], keys: list[list[np.ndarray]]) -> None:
    truths = [
        np.concatenate([frames.labels for frames in run])[np.argsort(np.concatenate(own), kind="stable")]
        for run, own in zip(runs, keys, strict=True)
    ]
    differ = ((truths[0] != truths[1]) & ~(np.isnan(truths[0]) & np.isnan(truths[1]))).sum(axis=0)
    if differ.any():
        counts = ", ".join(f"{label} in {n}" for label, n in zip(labels, differ, strict=True) if n)
        raise ValueError(
            f"the true labels of {name} differ between the runs ({counts} frames): they were scored against other "
            "annotations. Evaluate both on the same version of the corpus."
        )
