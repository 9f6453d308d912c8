"""The whole experiment in minutes: CLEF, instance discrimination (SimCLR) and training from scratch, side by side.

    make quickstart                      # one seed
    SEEDS=3 make quickstart              # mean and spread of three
    python train_scripts/quickstart.py --subjects 18 --frames 8 --pretraining_epochs 2      # smaller

Each arm sees the same synthetic corpus and the same budget. Results, report and a checkpoint go to `output`; what an
earlier call finished is not done again.
"""

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from processing.corpora import load_corpus
from train_scripts.jobs import Job, run_jobs
from train_scripts.options import option, refuse_less_than_one, run_script
from train_scripts.report import write_report
from train_scripts.results_table import as_markdown, result_rows

ARMS = {
    "clef": ["--image_pairs", "activity", "--activity_text", "true"],
    "instance": ["--image_pairs", "instance", "--activity_text", "false"],
    "scratch": None,
}


@dataclass
class QuickstartOptions:
    output: str = option("outputs/quickstart", "folder of results, report and checkpoint")
    seed: int = option(0, "first seed: of the corpus, the weights and the choice of labels")
    seeds: int = option(1, "number of seeds; more than one gives mean and spread")
    subjects: int = option(72, "people in the corpus")
    frames: int = option(20, "frames a person and activity")
    image_size: int = option(48, "side of a crop in pixels")
    purity: float = option(0.9, "share of clips that show the activity they are labelled with")
    text_tower: str = option("minilm", "text tower of all arms")
    pretraining_epochs: float = option(8.0, "passes of stage 1")
    finetuning_steps: int = option(200, "steps of stage 2, batches of 128")
    description_temperature: float = option(0.3, "of stage 2 in all arms: from scratch it would be another one")
    fractions: list[str] = field(
        default_factory=lambda: ["0.05", "0.2"], metadata={"help": "fractions of the training frames that are labelled"}
    )
    parallel: int = option(2, "jobs at a time; each runs on one thread")
    report: bool = option(True, "write report.html")

    def __post_init__(self):
        refuse_less_than_one(self, "seeds", "parallel")


def main(options: QuickstartOptions) -> dict:
    began = time.perf_counter()
    output = Path(options.output)
    seeds = [options.seed + i for i in range(options.seeds)]
    seconds = {}
    for seed in seeds:
        started = time.perf_counter()
        load_corpus("synthetic", **corpus_options(options, seed))
        seconds[f"seed {seed}: corpus"] = round(time.perf_counter() - started, 1)
    jobs = [job for seed in seeds for job in seed_jobs(options, seed)]
    seconds |= run_jobs(jobs, min(options.parallel, os.cpu_count() or 1))

    runs = {seed: collect(options, seed) for seed in seeds}
    metrics = {"seed": options.seed, "seconds": seconds, "arms": _over_seeds(runs, np.mean)}
    if len(seeds) > 1:
        metrics |= {"seeds": seeds, "spread": _over_seeds(runs, lambda values: np.std(values, ddof=1)), "runs": runs}
    model = output / "model"
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(
        arm_folder(options, seeds[0], "clef") / f"finetuned_{options.fractions[-1]}",
        model,
        ignore=shutil.ignore_patterns(
            "done.json", "started.json", "log.txt", "history.jsonl", "checkpoints", "predictions.parquet"
        ),
    )
    metrics["seconds"]["total"] = round(time.perf_counter() - began, 1)
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(as_markdown(result_rows(metrics, options.fractions)))
    if options.report:
        report = write_report(
            output, output / f"seed{seeds[0]}", corpus_options(options, seeds[0]), metrics, options.fractions
        )
        print(f"report to look at:  {report}")
    print(f"figures:            {output / 'metrics.json'}")
    print(f"checkpoint:         {model}   (import modeling_clef; AutoModel.from_pretrained({str(model)!r}))")
    return metrics


def corpus_options(options: QuickstartOptions, seed: int) -> dict:
    return {
        "subjects": options.subjects,
        "frames": options.frames,
        "image_size": options.image_size,
        "purity": options.purity,
        "seed": seed,
    }


def arm_folder(options: QuickstartOptions, seed: int, arm: str) -> Path:
    return Path(options.output, f"seed{seed}", arm)


def seed_jobs(options: QuickstartOptions, seed: int) -> list[Job]:
    """Pre-training and probing of two arms, fine-tuning of all three at every label fraction."""
    shared = ["--seed", str(seed), "--corpus_options", json.dumps(corpus_options(options, seed))]
    towers = ["--text_tower", options.text_tower, "--image_size", str(options.image_size)]
    pretraining, probing, finetuning = [], [], []
    for arm, switches in ARMS.items():
        folder = arm_folder(options, seed, arm).resolve()
        name, needs, start = f"seed {seed}: {arm}", [], towers
        if switches is not None:
            stage1 = folder / "pretrained"
            command = ["train_scripts/pretrain.py", "--output", str(stage1), *shared, *towers, *switches]
            command += ["--epochs", str(options.pretraining_epochs)]
            pretraining.append(Job(f"{name} pre-training", command, stage1))
            needs, start = [f"{name} pre-training"], ["--init_from", str(stage1)]
            probe = ["train_scripts/evaluate.py", str(stage1), "--probe_fractions", *options.fractions]
            probing.append(Job(f"{name} probes", probe + ["--seed", str(seed)], folder / "probes", needs))
        for fraction in options.fractions:
            stage2 = folder / f"finetuned_{fraction}"
            command = ["train_scripts/finetune.py", "--output", str(stage2), *shared, *start]
            command += ["--label_fraction", fraction, "--max_steps", str(options.finetuning_steps)]
            command += ["--description_temperature", str(options.description_temperature)]
            finetuning.append(Job(f"{name} fine-tuning {fraction}", command, stage2, needs))
    return pretraining + probing + finetuning


def collect(options: QuickstartOptions, seed: int) -> dict:
    """One seed's figures by arm."""
    arms = {}
    for arm, switches in ARMS.items():
        folder = arm_folder(options, seed, arm)
        arms[arm] = {}
        if switches is not None:
            evaluation = json.loads((folder / "pretrained" / "metrics.json").read_text())["evaluation"]
            arms[arm] = {"linear_probe": evaluation["linear_probe"], "identity": evaluation["identity"]}
        arms[arm]["fine_tuned"] = {}
        for fraction in options.fractions:
            evaluation = json.loads((folder / f"finetuned_{fraction}" / "metrics.json").read_text())["evaluation"]
            arms[arm]["fine_tuned"][fraction] = {
                set_name: {k: v for k, v in evaluation[set_name].items() if isinstance(v, float)}
                for set_name in ("action_units", "expression")
            }
    return arms


def _over_seeds(runs: dict[int, dict], statistic) -> dict:
    """The statistic of every number over the seeds, in the runs' own nesting."""

    def merge(parts):
        if isinstance(parts[0], dict):
            return {key: merge([part[key] for part in parts]) for key in parts[0]}
        return float(statistic(parts))

    return merge(list(runs.values()))


if __name__ == "__main__":
    run_script(main, QuickstartOptions)
