"""The paper's ablation on the synthetic corpus, with LoRA beside it: does each part do here what it does in the paper?

    make ablation                                                                   # three seeds, under an hour
    python train_scripts/ablation.py --seeds 1 --rows clip_i clef_pi_i clef_pa_pi_i_n_d --results outputs/ablation
    python train_scripts/ablation.py --subjects 18 --frames 8 --pretraining_epochs 2 --finetuning_steps 50

What a row is stands in `recipes/paper/`, with the paper's numbers. Rows of a seed share its people, its labelled frames
and stage 1; rows of the method called CLIP start from nothing here, as there are no photographs to know from. What is
done already is skipped when the command is run again. Writes ablation.json and ablation.md.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from processing.corpora import load_corpus
from train_scripts.ablation_agreement import agreement, summarise
from train_scripts.ablation_table import as_page
from train_scripts.bootstrap import draw_subjects
from train_scripts.jobs import Job, run_jobs
from train_scripts.options import option, refuse_less_than_one, run_script
from train_scripts.predictions import Predictions, read_predictions
from train_scripts.recipe_base import read_recipe
from train_scripts.score_draws import fold_draws, frames_of, headline_scores
from train_scripts.stage_jobs import stage_job

RECIPES = Path(__file__).resolve().parent / "recipes" / "paper"
# Rows of the paper's ablation, in its order, by the names of their recipes.
PAPER_ROWS = (
    "clip_i",
    "clip_i_n",
    "clip_i_n_d",
    "clef_pi_i",
    "clef_pa_pi_i",
    "clef_pi_i_n",
    "clef_pa_pi_i_n",
    "clef_pi_i_n_d",
    "clef_pa_pi_i_d",
    "clef_pa_pi_i_n_d",
)
# Rows of ours, all of which are the method itself with another way of training its tower in stage 2.
OUR_ROWS = ("clef_lora", "clef_frozen")


@dataclass
class AblationOptions:
    output: str = option("outputs/ablation", "folder of all runs")
    results: str = option("benchmarks/results", "folder of ablation.json and ablation.md")
    rows: list[str] = field(
        default_factory=lambda: [*PAPER_ROWS, *OUR_ROWS], metadata={"help": "rows of the table; default: all"}
    )
    seed: int = option(0, "first seed: of the corpus, the weights and the choice of labels")
    seeds: int = option(3, "number of seeds")
    subjects: int = option(72, "people in each seed's corpus")
    frames: int = option(20, "frames a person and activity")
    image_size: int = option(48, "side of a crop in pixels")
    purity: float = option(0.9, "share of clips that show the activity they are labelled with")
    text_tower: str = option("minilm", "text tower of all rows")
    pretraining_epochs: float = option(8.0, "passes of stage 1")
    finetuning_steps: int = option(200, "steps of stage 2, batches of 128")
    label_fraction: float = option(0.05, "fraction of the training frames that are labelled")
    lora_rank: int = option(8, "rank of the adapters in the row with LoRA")
    resamples: int = option(1000, "bootstrap draws over people")
    parallel: int = option(2, "jobs at a time; each runs on one thread")

    def __post_init__(self):
        known = (*PAPER_ROWS, *OUR_ROWS)
        if unknown := [name for name in self.rows if name not in known]:
            raise ValueError(f"rows: got {', '.join(unknown)}, expected some of {', '.join(known)}.")
        refuse_less_than_one(self, "seeds", "resamples", "parallel")


@dataclass(frozen=True)
class Row:
    """name: of the recipe. stage_1: None, "pi" (image pairs) or "pa_pi" (and activity texts). finetuning: options of
    stage 2. paper: score → the paper's number in percent; empty for rows of ours."""

    name: str
    stage_1: str | None
    finetuning: dict
    paper: dict


def main(options: AblationOptions) -> dict:
    began = time.perf_counter()
    rows, seeds = [make_row(name, options) for name in options.rows], range(options.seed, options.seed + options.seeds)
    seconds = {}
    for seed in seeds:
        started = time.perf_counter()
        load_corpus("synthetic", **corpus_options(options, seed))
        seconds[f"seed {seed}: corpus"] = round(time.perf_counter() - started, 1)
    seconds |= run_jobs(make_jobs(options, rows, seeds), min(options.parallel, os.cpu_count() or 1))

    draws = {}
    for seed in seeds:
        runs = {row.name: read_predictions(finetuned_folder(options, seed, row)).split("test") for row in rows}
        refuse_other_frames(runs)
        for name, run in runs.items():
            draws.setdefault(name, []).append(score_draws_of(run, options.resamples, seed))
    result = {
        "settings": asdict(options),
        "rows": {
            row.name: {
                "stage_1": row.stage_1,
                "finetuning": row.finetuning,
                "paper": row.paper,
                "trained_weights": trained_weights(options, seeds[0], row),
                "scores": summarise(draws[row.name]),
            }
            for row in rows
        },
        "agreement": agreement({row.name: row.paper for row in rows}, draws),
        # Of jobs done before: what they took then.
        "seconds": seconds,
        "seconds_of_all_jobs": round(sum(seconds.values()), 1),
        "seconds_of_this_call": round(time.perf_counter() - began, 1),
    }
    folder = Path(options.results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ablation.json").write_text(json.dumps(result, indent=2) + "\n")
    page = as_page(result)
    (folder / "ablation.md").write_text(page)
    print(page)
    print(f"written to {folder / 'ablation.json'} and {folder / 'ablation.md'}")
    return result


def make_row(name: str, options: AblationOptions) -> Row:
    if name in OUR_ROWS:
        method = make_row(PAPER_ROWS[-1], options)
        tower = {"lora_rank": options.lora_rank} if name == "clef_lora" else {"freeze_vision": True}
        return Row(name, method.stage_1, method.finetuning | tower, {})
    bp4d, raf_db = (read_recipe(RECIPES / f"{corpus}_{name}.yaml") for corpus in ("bp4d", "raf_db"))
    stage_1 = None
    if bp4d["pretraining"] is not None:
        stage_1 = "pa_pi" if bp4d["pretraining"]["activity_text"] else "pi"
    paper = {"action_units/mean_f1": bp4d["paper"]["f1"], "expression/accuracy": raf_db["paper"]["accuracy"]}
    return Row(name, stage_1, {"head": bp4d["finetuning"]["head"]}, paper)


def corpus_options(options: AblationOptions, seed: int) -> dict:
    names = ("subjects", "frames", "image_size", "purity")
    return {name: getattr(options, name) for name in names} | {"seed": seed}


def finetuned_folder(options: AblationOptions, seed: int, row: Row) -> Path:
    return Path(options.output, f"seed{seed}", row.name)


def make_jobs(options: AblationOptions, rows: list[Row], seeds: range) -> list[Job]:
    """Stage 1 of every seed, once for all rows that share it, then stage 2 of every row."""
    first, second = [], []
    towers = {"text_tower": options.text_tower, "image_size": options.image_size}
    for seed in seeds:
        shared = {"corpus_options": corpus_options(options, seed), "seed": seed}
        for stage in sorted({row.stage_1 for row in rows} - {None}, reverse=True):
            settings = shared | towers | {"activity_text": stage == "pa_pi", "epochs": options.pretraining_epochs}
            folder = Path(options.output, f"seed{seed}", f"stage_1_{stage}")
            first.append(stage_job(f"seed {seed}: stage 1, {stage}", "pretrain", folder, settings))
        for row in rows:
            start, needs = towers, []
            if row.stage_1 is not None:
                needs = [f"seed {seed}: stage 1, {row.stage_1}"]
                start = {"init_from": str(Path(options.output, f"seed{seed}", f"stage_1_{row.stage_1}").resolve())}
            settings = shared | start | row.finetuning
            settings |= {"label_fraction": options.label_fraction, "max_steps": options.finetuning_steps}
            folder = finetuned_folder(options, seed, row)
            second.append(stage_job(f"seed {seed}: {row.name}", "finetune", folder, settings, needs))
    return first + second


def refuse_other_frames(runs: dict[str, Predictions]) -> None:
    """Raises ValueError unless all runs answered for the same frames, in the same order."""
    (first, expected), *others = runs.items()
    for name, run in others:
        same = np.array_equal(run.subject_ids, expected.subject_ids) and np.array_equal(
            run.labels, expected.labels, True
        )
        if not same or not np.array_equal(run.frames, expected.frames):
            raise ValueError(
                f"rows {name} and {first} were tested on other frames: remove their folders and run again."
            )


def score_draws_of(test: Predictions, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """ "set/score" → (1 + resamples,): the score, and what it is for people drawn with replacement, the same people for
    all rows of a seed."""
    people, numbers = np.unique(test.subject_ids, return_inverse=True)
    drawn = draw_subjects(np.zeros(len(people)), resamples, seed)
    scores = {}
    for label_set in test.label_sets:
        of_set = headline_scores(fold_draws(frames_of(test, label_set["name"], numbers), drawn))
        scores |= {f"{label_set['name']}/{name}": values for name, values in of_set.items()}
    return scores


def trained_weights(options: AblationOptions, seed: int, row: Row) -> int:
    metrics = json.loads((finetuned_folder(options, seed, row) / "metrics.json").read_text())
    return metrics["training"]["trained_weights"]


if __name__ == "__main__":
    run_script(main, AblationOptions)
