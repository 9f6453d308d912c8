"""Trains and tests every fold of a protocol and puts honest and paper-style scores side by side in one table.

python train_scripts/cross_validate.py                                            # the synthetic corpus, 4 folds
python train_scripts/cross_validate.py RECIPE --root PREPARED --output outputs/bp4d
python train_scripts/cross_validate.py RECIPE --root PREPARED --folds 1 --parallel 1

Honest: thresholds, temperatures and the epoch are chosen on validation people, who are held out of the training folds.
Paper-style: threshold .5 and the epoch that is best on the tested people, as much of the literature reports; it says so
wherever it stands. Both columns come from the same runs, which therefore train on fewer people than published ones.

A recipe has the keys corpus, root, corpus_options, protocol, folds, validation_share, `pretraining` (options of
pretrain.py; absent: no stage 1), pretraining_data, `finetuning` (options of finetune.py), `paper` (the paper's numbers
of this row) and `ours`. With stage 1, stage 2 starts from it; `init_from` of `finetuning` counts without it. Stage 1
may learn from another corpus: `pretraining` then names its own corpus and corpus_options, and runs once.

What is done already is skipped when the command is run again; with `checkpoint_steps` in `pretraining` or `finetuning`
a killed stage goes on where it was. Writes results.json, results.csv, folds.csv, report.html, cross_validation.json.
"""

import csv
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import yaml

from processing.corpora import load_corpus
from processing.corpora.folds import assign_splits, fold_numbers, fold_report, report_lines
from processing.wording import counted
from train_scripts.epoch_scores import NOT_SELECTED, SELECTED_ON_VALIDATION, read_epochs
from train_scripts.finetune import FinetuningOptions
from train_scripts.jobs import Job, run_jobs
from train_scripts.options import CorpusOptions, option, parse_options, refuse_less_than_one, run_script, save_recipe
from train_scripts.predictions import read_predictions
from train_scripts.pretrain import PretrainingOptions
from train_scripts.result_report import write_report
from train_scripts.results import summarise_predictions, write_results
from train_scripts.results_table import as_markdown
from train_scripts.results_text import PAPER_STYLE, percent, results_table, score_name, with_spread
from train_scripts.stage_jobs import resolved, stage_job

# Who stage 1 learned from, for every table.
WHO_PRETRAINS = {
    "fold": "Stage 1 was done anew for each fold, on the training people's frames alone.",
    "all": "Stage 1 saw the frames of all people, the validation and test people's too, without their labels.",
    "other": "Stage 1 was done once, on another corpus: {corpus}.",
    "none": "There was no stage 1.",
}
# Options of the stages that are set here.
SET_HERE = {
    "pretraining": ("output", "root", "seed", "resume", "unlabelled_frames"),
    "finetuning": (
        "output",
        "corpus",
        "root",
        "corpus_options",
        "seed",
        "resume",
        "test",
        "predictions",
        "epoch_scores",
    ),
}


@dataclass
class CrossValidationOptions(CorpusOptions):
    output: str = option("outputs/cross_validation", "folder of all runs and of the table")
    seed: int = option(0, "seed of weights, order and augmentation in every fold, and of the intervals")
    protocol: str = option("kfold_4", "bp4d_3fold, disfa_3fold, bp4d_plus_4fold, official, or kfold_K")
    folds: list[int] = field(default_factory=list, metadata={"help": "which folds, counted from 1; default: all"})
    validation_share: float = option(0.15, "share of the people outside the tested fold who are held out to validate")
    fold_seed: int = option(0, "seed that draws the validation people, and the folds of kfold_K")
    pretraining: dict | str | None = option(None, "options of stage 1, as a mapping; none: no stage 1")
    pretraining_data: Literal["auto", "fold", "all", "none"] = option(
        "auto",
        "stage 1 learns from: the fold's training people, once from all people, or is left out; auto: 'fold' if there "
        "is a stage 1, 'all' if it has its own corpus",
    )
    pretraining_root: str | None = option(None, "root of the corpus that `pretraining` names")
    finetuning: dict | str | None = option(None, "options of stage 2, as a mapping")
    paper: dict | str | None = option(None, "the paper's numbers of this row, shown beside ours, as a mapping")
    ours: dict | str | None = option(None, "our own earlier numbers of this row, kept in cross_validation.json")
    resamples: int = option(1000, "bootstrap draws over people, for the intervals")
    parallel: int = option(1, "jobs at a time; each runs on one thread")

    def __post_init__(self):
        super().__post_init__()
        for name in ("pretraining", "finetuning", "paper", "ours"):
            value = getattr(self, name)
            value = yaml.safe_load(value) if isinstance(value, str) else value
            if not isinstance(value, (dict, type(None))):
                raise ValueError(f"{name}: got {value!r}, expected a mapping.")
            setattr(self, name, value)
        refuse_less_than_one(self, "resamples", "parallel")
        known = fold_numbers(self.protocol)
        if unknown := sorted(set(self.folds) - set(known)):
            raise ValueError(f"folds: got {unknown}, but {self.protocol} has {known}.")
        if clash := {"protocol", "fold", "validation_share", "fold_seed"} & set(self.corpus_options):
            raise ValueError(f"corpus_options: {', '.join(sorted(clash))} are options of their own here.")
        for name, taken in SET_HERE.items():
            if clash := sorted(set(getattr(self, name) or {}) & set(taken)):
                raise ValueError(f"{name}: {', '.join(clash)} are set by cross_validate.py itself: leave them out.")
        self._check_pretraining()

    def _check_pretraining(self):
        if self.pretraining is None:
            if self.pretraining_data in ("fold", "all") or self.pretraining_root:
                raise ValueError("pretraining_data and pretraining_root belong to a stage 1: give `pretraining`.")
            self.pretraining_data = "none"
        if self.pretraining_data == "auto":
            self.pretraining_data = "all" if self.pretrains_elsewhere else "fold"
        if self.pretrains_elsewhere and self.pretraining_data == "fold":
            raise ValueError(f"stage 1 on {self.pretraining['corpus']} has no folds: set pretraining_data to all.")
        if self.pretraining_root and not self.pretrains_elsewhere:
            raise ValueError("pretraining_root: `pretraining` names no other corpus; its files are those in root.")
        if not self.pretrains_elsewhere and "corpus_options" in (self.pretraining or {}):
            raise ValueError("pretraining: corpus_options belong to a corpus of its own; leave them out or name it.")

    @property
    def pretrains_elsewhere(self) -> bool:
        return (self.pretraining or {}).get("corpus", self.corpus) != self.corpus


def main(options: CrossValidationOptions) -> dict:
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    save_recipe(options, output)
    numbers = options.folds or fold_numbers(options.protocol)
    people, splits = who_is_where(options, numbers)
    jobs = make_jobs(options, numbers)
    for job in jobs:  # A wrong option shows now rather than after hours.
        parse_options(PretrainingOptions if "pretrain.py" in job.command[0] else FinetuningOptions, job.command[1:])
    seconds = run_jobs(jobs, options.parallel)

    folders = [finetuned_folder(options, fold) for fold in numbers]
    selects = (options.finetuning or {}).get("select_epoch", "validation") == "validation"
    results = summarise_predictions(
        [read_predictions(folder) for folder in folders],
        [read_epochs(folder) for folder in folders],
        resamples=options.resamples,
        seed=options.seed,
        paper=options.paper,
        epoch_selection=SELECTED_ON_VALIDATION if selects else NOT_SELECTED,
    )
    results["notes"] += [*notes(options), *report_lines(people, names=False)]
    record = {
        "corpus": options.corpus,
        "protocol": options.protocol,
        "validation_share": options.validation_share,
        "fold_seed": options.fold_seed,
        "seed": options.seed,
        "pretraining_data": options.pretraining_data,
        "stage_1": who_pretrains(options),
        "people": people,
        "folds": [
            {"fold": fold, **split, "epoch": json.loads((folder / "metrics.json").read_text())["epoch"]}
            for fold, split, folder in zip(numbers, splits, folders, strict=True)
        ],
        "seconds": seconds,
        "paper": options.paper,
        "ours": options.ours,
    }
    (output / "cross_validation.json").write_text(json.dumps(record, indent=2) + "\n")
    write_results(results, output)
    rows = score_rows(results)
    with (output / "folds.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    report = write_report(results, output, title=f"{options.corpus}, {options.protocol}")
    print(results_table(results))
    print(as_markdown(fold_table(results)))
    print(f"figures: {output / 'results.json'}, {output / 'folds.csv'}; report to look at: {report}")
    return results


def who_is_where(options: CrossValidationOptions, numbers: list[int]) -> tuple[dict, list[dict]]:
    """`folds.fold_report`, and people and frames of each split of each fold. A person in two splits is refused."""
    corpus = load_corpus(options.corpus, root=options.root, **options.corpus_options)
    people = fold_report(corpus, options.protocol, options.fold_seed)
    for line in report_lines(people):
        print(f"note: {line}")
    subjects, splits = np.array(corpus["subject_id"][:]), []
    for fold in numbers:
        assigned = assign_splits(corpus, options.protocol, fold, options.validation_share, options.fold_seed)
        split = {
            name: {"people": len(np.unique(subjects[assigned == name])), "frames": int((assigned == name).sum())}
            for name in ("train", "validation", "test")
        }
        counts = ", ".join(
            f"{counted(n['frames'], 'frame')} of {counted(n['people'], 'person', 'people')} {name}"
            for name, n in split.items()
        )
        print(f"{options.protocol}, fold {fold}: {counts}")
        splits.append(split)
    return people, splits


def finetuned_folder(options: CrossValidationOptions, fold: int) -> Path:
    return Path(options.output, f"fold_{fold}", "finetuned")


def make_jobs(options: CrossValidationOptions, numbers: list[int]) -> list[Job]:
    """Stage 1 and stage 2 of every fold, or stage 1 once."""
    jobs, once = [], options.pretraining_data == "all"
    if once:
        jobs.append(_stage_1(options, numbers[0], "stage 1", Path(options.output, "pretrained")))
    for fold in numbers:
        stage_1 = jobs[0] if once else None
        if options.pretraining_data == "fold":
            folder = Path(options.output, f"fold_{fold}", "pretrained")
            stage_1 = _stage_1(options, fold, f"fold {fold}: stage 1", folder)
            jobs.append(stage_1)
        jobs.append(_stage_2(options, fold, stage_1))
    return jobs


def _stage_1(options: CrossValidationOptions, fold: int, name: str, folder: Path) -> Job:
    settings = _corpus_of(options, fold) | {
        "unlabelled_frames": "train" if options.pretraining_data == "fold" else "all"
    }
    if options.pretrains_elsewhere:
        settings |= {"root": resolved(options.pretraining_root), "corpus_options": {}}
    settings |= options.pretraining
    return stage_job(name, "pretrain", folder, settings)


def _stage_2(options: CrossValidationOptions, fold: int, stage_1: Job | None) -> Job:
    settings = {"select_epoch": "validation", **(options.finetuning or {}), **_corpus_of(options, fold)}
    settings |= {"epoch_scores": True, "predictions": True, "test": True}
    if stage_1 is not None:
        settings["init_from"] = str(stage_1.folder.resolve())
    needs = [] if stage_1 is None else [stage_1.name]
    folder = finetuned_folder(options, fold)
    return stage_job(f"fold {fold}: stage 2", "finetune", folder, settings, needs)


def _corpus_of(options: CrossValidationOptions, fold: int) -> dict:
    """Options of both stages that choose the fold's frames."""
    people = {"protocol": options.protocol, "fold": fold}
    people |= {"validation_share": options.validation_share, "fold_seed": options.fold_seed}
    corpus = {"corpus": options.corpus, "root": resolved(options.root)}
    return corpus | {"corpus_options": options.corpus_options | people, "seed": options.seed}


def who_pretrains(options: CrossValidationOptions) -> str:
    kind = "other" if options.pretraining_data == "all" and options.pretrains_elsewhere else options.pretraining_data
    return WHO_PRETRAINS[kind].format(corpus=(options.pretraining or {}).get("corpus"))


def notes(options: CrossValidationOptions) -> list[str]:
    return [
        who_pretrains(options),
        f"{options.validation_share:.0%} of the people outside the tested fold validate and are not trained on, in the "
        "paper-style column either; published runs train on them, too.",
    ]


def score_rows(results: dict) -> list[dict]:
    """One dict a fold and headline score, honest and paper-style, and their mean and standard deviation over folds."""
    rows = []
    for name, scores in results["scores"].items():
        for key, over in scores["over_folds"].items():
            line = {"label_set": name, "score": key, "selection": "honest"}
            each = [(fold["fold"], fold["scores"][key]["value"]) for fold in scores["folds"]]
            rows += [line | {"fold": fold, "value": value} for fold, value in (*each, ("mean", over["value"]))]
            rows.append(line | {"fold": "sd", "value": over["sd"]})
            style, theirs = scores["paper_style"], PAPER_STYLE.get(key)
            if style is None or theirs is None:
                continue
            line = {"label_set": name, "score": key, "selection": f"paper-style, {style['selected_on']}"}
            each = [(fold["fold"], fold["paper_style"]["scores"][theirs]) for fold in scores["folds"]]
            rows += [line | {"fold": f, "value": v} for f, v in (*each, ("mean", style["scores"][theirs]["value"]))]
            rows.append(line | {"fold": "sd", "value": style["scores"][theirs]["sd"]})
    return rows


def fold_table(results: dict) -> list[list[str]]:
    """`score_rows` in percent, a row a score, with a header."""
    rows: dict[tuple, dict] = {}
    for row in score_rows(results):
        rows.setdefault((row["label_set"], row["score"], row["selection"]), {})[row["fold"]] = row["value"]
    folds = [fold for fold in next(iter(rows.values())) if fold not in ("mean", "sd")]
    lines = [["percent", *(f"fold {fold}" for fold in folds), "mean ± sd"]]
    for (label_set, score, selection), values in rows.items():
        spread = with_spread({"value": values["mean"], "sd": values["sd"]})
        name = f"{score_name(label_set, score)} ({selection})"
        lines.append([name, *(percent(values[fold]) for fold in folds), spread])
    return lines


if __name__ == "__main__":
    run_script(main, CrossValidationOptions)
