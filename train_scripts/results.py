"""Scores of all folds with intervals over subjects, as results.json and results.csv.

Honest scores use what was chosen on validation subjects. The paper-style ones beside them use threshold .5 and, fold
by fold and set by set, the epoch that is best on the test subjects, as much published code does; they say so wherever
they stand. `templates/results.schema.json` describes the file, `result_report` draws it.
"""

import csv
import json
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from processing.wording import counted
from train_scripts.bootstrap import FEW_SUBJECTS, LEVEL, draw_subjects, nan_mean
from train_scripts.calibration import BINS
from train_scripts.fold_subjects import check_folds, number_subjects
from train_scripts.photo_metrics import interval
from train_scripts.predictions import Predictions
from train_scripts.result_calibration import PREDICTED, calibration_errors, reliability
from train_scripts.score_draws import (
    HEADLINES,
    Frames,
    fold_draws,
    frames_of,
    headline_scores,
    kind_of,
    label_scores,
    pool_draws,
)

SCHEMA_VERSION = 1
SELECTED_ON_TEST = "selected on test subjects"
CSV_SCORES = ("f1", "f1_at_half", "auroc", "ap", "base_rate", "recall")
CSV_PAPER_STYLE = "f1_paper_style_selected_on_test"
CSV_PLAIN = ("ece", "ece_calibrated", "positives", "known", "threshold", "temperature", CSV_PAPER_STYLE)


def summarise_predictions(
    folds: list[Predictions],
    epochs: list[list[dict]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    paper: dict | None = None,
    epoch_selection: str = "not said",
    splits: tuple[str, str] = ("test", "validation"),
) -> dict:
    """Scores of each fold and of all together, of people in groups, their calibration, and the paper-style scores.

    All scores are fractions in [0, 1], {"value", "interval"}: 95 % percentile intervals of a bootstrap over the test
    subjects, stratified by fold; None where undefined. A frame without a detected face counts as answered "absent" or
    wrong; "faces_only" holds the scores without such frames. "pooled" takes all folds' decisions together and the mean
    of the folds' AUROC and AP; "over_folds" is mean and standard deviation of the folds' scores.

    Args:
        folds: of the same label sets; only their test frames are scored.
        epochs: for each fold its records of `epochs.jsonl`; None or empty ones: no paper-style scores.
        paper: the paper's own numbers of this row, kept as they are.
        epoch_selection: by what the epoch of the predictions was chosen, in words such as those of `epoch_scores`.
        splits: the corpus's names of the splits that are scored and that thresholds were fitted on.

    Returns:
        What `templates/results.schema.json` describes.

    Raises:
        ValueError: no test frames; a subject tested in two folds, or also a validation subject; other label sets.
    """
    check_folds(folds)
    if epochs is not None and len(epochs) != len(folds):
        raise ValueError(f"got the epochs of {len(epochs)} folds for the predictions of {len(folds)}.")
    tests = [fold.split("test") for fold in folds]
    subjects, strata, unnamed = number_subjects(tests)
    drawn = draw_subjects(strata, resamples, seed)
    records = epochs or [[]] * len(folds)
    scores = {}
    for name in (label_set["name"] for label_set in folds[0].label_sets):
        frames = [frames_of(test, name, ids) for test, ids in zip(tests, subjects, strict=True)]
        scores[name] = _label_set(frames, tests, drawn, [best_test_epoch(fold, name) for fold in records])
    return {
        "schema_version": SCHEMA_VERSION,
        "settings": {"resamples": resamples, "seed": seed, "level": LEVEL, "calibration_bins": BINS},
        "data": {
            "folds": [fold.fold for fold in folds],
            "frames": sum(len(test.subject_ids) for test in tests),
            "subjects": len(strata),
            "frames_without_face": int(sum((~test.face_found).sum() for test in tests)),
            "frames_without_subject": unnamed,
            "frames_unreadable": {split: _unreadable(folds, split) for split in ("test", "validation")},
        },
        "selection": _selection(
            folds, epoch_selection, splits[1], any(set_scores["paper_style"] for set_scores in scores.values())
        ),
        "notes": _notes(len(strata), unnamed, tests, splits[0]),
        "scores": scores,
        "paper": paper,
    }


def _label_set(frames: list[Frames], tests: list[Predictions], drawn: np.ndarray, best: list[dict | None]) -> dict:
    names = list(tests[0].groups)
    bar = tqdm(total=len(frames) * (1 + len(names)), desc=frames[0].label_set["name"], unit="fold", disable=None)
    with bar:
        draws = [_advance(bar, fold_draws(part, drawn)) for part in frames]
        groups = {name: _groups(name, frames, tests, drawn, bar) for name in names}
    bins = reliability(frames)
    result = {
        "problem_type": frames[0].label_set["problem_type"],
        "labels": frames[0].label_set["labels"],
        "folds": [
            {"fold": test.fold} | _block([part], [fold]) for part, fold, test in zip(frames, draws, tests, strict=True)
        ],
        "pooled": _block(frames, draws),
        "over_folds": _over_folds([headline_scores(fold) for fold in draws]),
        "groups": groups,
        "reliability": bins,
        "paper_style": _paper_style(best),
    }
    for fold, style in zip(result["folds"], best, strict=True):
        fold["paper_style"] = style
    return result


def _advance(bar, value):
    bar.update()
    return value


def _groups(name: str, frames: list[Frames], tests: list[Predictions], drawn: np.ndarray, bar) -> dict[str, dict]:
    """A block for each value of a group, its frames of all folds together; frames of unknown group under "unknown"."""
    values = sorted(set(np.concatenate([np.unique(test.groups[name]) for test in tests]).tolist()))
    blocks = {}
    for value in values:
        chosen = [part.select(test.groups[name] == value) for part, test in zip(frames, tests, strict=True)]
        chosen = [part for part in chosen if len(part.labels)]
        blocks[value or "unknown"] = _block(chosen, [fold_draws(part, drawn) for part in chosen])
        bar.update(len(frames) / len(values))
    return blocks


def _block(frames: list[Frames], draws: list[dict[str, np.ndarray]]) -> dict:
    """Scores of some folds' frames together, in all and by label, with what they were counted on."""
    pooled, first = pool_draws(draws), frames[0].label_set
    people = len(np.unique(np.concatenate([part.subjects for part in frames])))
    faces = [part.select(part.face_found) for part in frames if part.face_found.any()]
    # Everyone once: of the scores without faceless frames only the values are wanted.
    once = np.ones((1, 1 + max(int(part.subjects.max()) for part in frames)), dtype=np.int32)
    faces_only = headline_scores(pool_draws([fold_draws(part, once) for part in faces])) if faces else {}
    without_face = int(sum((~part.face_found).sum() for part in frames))
    errors = calibration_errors(reliability(frames))
    overall = [errors[PREDICTED]] if PREDICTED in errors else list(errors.values())
    block = {
        "subjects": people,
        "frames": sum(len(part.labels) for part in frames),
        "frames_without_face": without_face,
        "frames_unlabelled": int(sum((~part.known).sum() for part in frames)),
        "scores": {name: _scored(values, people) for name, values in headline_scores(pooled).items()},
        "faces_only": {name: _number(faces_only[name][0]) if faces else None for name in HEADLINES[frames[0].kind]},
        "calibration": {stage: _mean([row.get(stage) for row in overall]) for stage in ("ece", "ece_calibrated")},
    }
    by_label = {name: values.T for name, values in label_scores(pooled).items()}
    block["labels"] = {
        label: {name: _scored(values[k], people) for name, values in by_label.items()} | errors.get(label, {})
        for k, label in enumerate(first["labels"])
    }
    counts = _counts(pooled)
    for k, row in enumerate(block["labels"].values()):
        row |= {"positives": int(counts[k][0]), "known": int(counts[k][1])}
        if len(frames) == 1 and frames[0].kind == "multi_label":
            row |= {key: (first.get(f"{key}s") or [None] * len(counts))[k] for key in ("threshold", "temperature")}
    if "confusion" in pooled:
        block["confusion"] = pooled["confusion"][0].astype(int).tolist()
    return block


def _counts(draws: dict[str, np.ndarray]) -> list[tuple[float, float]]:
    """(positive frames, known frames) of each label."""
    if "confusion" in draws:
        frames = draws["confusion"][0].sum(axis=1)
        return [(count, frames.sum()) for count in frames]
    return [tuple(row) for row in draws["fitted"][0, :, 2:]]


def _over_folds(folds: list[dict[str, np.ndarray]]) -> dict[str, dict]:
    """Mean over folds with its interval, and standard deviation (n - 1) between them."""
    result = {}
    for name in folds[0]:
        values = np.stack([fold[name] for fold in folds])
        result[name] = {
            "value": _number(nan_mean(values, axis=0)[0]),
            "interval": interval(nan_mean(values, axis=0)[1:]),
            "sd": _spread([_number(value) for value in values[:, 0]]),
        }
    return result


def best_test_epoch(records: list[dict], name: str) -> dict | None:
    """Scores at .5 of the epoch whose test score of this label set is best, the earliest of equals; None without any.

    Args:
        records: of `epochs.jsonl`.
        name: of the label set: action units and other multi-label sets go by mean F1 at .5, expressions by accuracy.
    """
    tested = [(record["epoch"], record["test"][name]) for record in records if name in record.get("test", {})]
    multi = bool(tested) and kind_of(tested[0][1]) == "multi_label"
    keys = ("mean_f1_at_half",) if multi else HEADLINES["single_label"]
    tested = [(epoch, scores) for epoch, scores in tested if scores[keys[0]] is not None]
    if not tested:
        return None
    epoch, scores = max(tested, key=lambda pair: pair[1][keys[0]])
    return {
        "epoch": epoch,
        "selected_on": SELECTED_ON_TEST,
        "scores": {key: scores[key] for key in keys},
        "labels": {k: {"f1": row["f1_at_half" if multi else "f1"]} for k, row in scores["labels"].items()},
    }


def _paper_style(best: list[dict | None]) -> dict | None:
    """Mean and spread over folds of the paper-style scores; None unless every fold has them."""
    if not all(best):
        return None
    values = {key: [fold["scores"][key] for fold in best] for key in best[0]["scores"]}
    labels = {label: [fold["labels"][label]["f1"] for fold in best] for label in best[0]["labels"]}
    return {
        "selected_on": SELECTED_ON_TEST,
        "scores": {key: {"value": _mean(each), "sd": _spread(each)} for key, each in values.items()},
        "labels": {label: {"f1": _mean(each)} for label, each in labels.items()},
    }


def _selection(folds: list[Predictions], epoch_selection: str, fitted_on: str, has_paper_style: bool) -> dict:
    fitted = all(s.get("temperatures") is not None for fold in folds for s in fold.label_sets)
    on = f"fitted on {fitted_on} subjects" if fitted else "not fitted: as the model came"
    epoch = SELECTED_ON_TEST if has_paper_style else "not available: the run did not score its epochs on test subjects"
    return {
        "honest": {"thresholds": on, "temperatures": on, "epoch": epoch_selection},
        "paper_style": {"thresholds": "fixed at .5 of the uncalibrated probability", "epoch": epoch},
    }


def _notes(subjects: int, unnamed: int, tests: list[Predictions], scored: str) -> list[str]:
    notes = []
    if scored != "test":
        notes.append(f"What is called test here is the corpus's {scored} split.")
    if subjects < FEW_SUBJECTS:
        notes.append(
            f"Only {counted(subjects, 'test subject')}: with fewer than about {FEW_SUBJECTS}, intervals are narrower "
            "than they should be."
        )
    if unnamed:
        notes.append(
            f"{counted(unnamed, 'test frame')} without a subject's name: each counts as one person, which makes "
            "intervals too narrow if people recur."
        )
    lost = int(sum((~test.face_found).sum() for test in tests))
    if lost:
        notes.append(
            f"In {counted(lost, 'test frame')} no face was detected. That counts: action units as answered absent, "
            "expressions as wrong; faces_only leaves it out, as does calibration, for want of a probability."
        )
    lost = {split: count for split in ("test", "validation") if (count := _unreadable(tests, split))}
    if lost:
        frames = " and ".join(counted(count, f"{split} frame") for split, count in lost.items())
        notes.append(
            f"The images of {frames} cannot be decoded: they are left out of all scores, intervals and fits, and not "
            "among the frames counted here."
        )
    return notes


def _unreadable(folds: list[Predictions], split: str) -> int:
    return sum(fold.unreadable.get(split, 0) for fold in folds)


def _scored(values: np.ndarray, people: int) -> dict:
    return {"value": _number(values[0]), "interval": interval(values[1:]) if people > 1 else None}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _spread(values: list[float | None]) -> float | None:
    """Standard deviation (n - 1) of the defined values, None with fewer than two."""
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def write_results(results: dict, folder: Path) -> None:
    """Writes `folder/results.json` and `folder/results.csv` (one row a fold, or all of them pooled, and label)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "results.json", json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    columns = [part for name in CSV_SCORES for part in (name, f"{name}_low", f"{name}_high")]
    with (folder / "results.csv.partial").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["label_set", "fold", "label", *columns, *CSV_PLAIN])
        writer.writeheader()
        writer.writerows(result_rows(results))
    (folder / "results.csv.partial").replace(folder / "results.csv")


def result_rows(results: dict) -> list[dict]:
    """One dict a fold and label, then those of all folds pooled; what is undefined is missing."""
    rows = []
    for name, scores in results["scores"].items():
        folds = [("" if fold["fold"] is None else fold["fold"], fold) for fold in scores["folds"]]
        for fold, block in [*folds, ("pooled", scores["pooled"] | {"paper_style": scores["paper_style"]})]:
            style = (block["paper_style"] or {}).get("labels", {})
            for label, values in block["labels"].items():
                row = {"label_set": name, "fold": fold, "label": label}
                for key in CSV_SCORES:
                    scored = values.get(key) or {"value": None, "interval": None}
                    low, high = scored["interval"] or (None, None)
                    row |= {key: scored["value"], f"{key}_low": low, f"{key}_high": high}
                row |= {key: values.get(key) for key in CSV_PLAIN if key in values}
                row[CSV_PAPER_STYLE] = style.get(label, {}).get("f1")
                rows.append({key: value for key, value in row.items() if value is not None})
    return rows


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
