"""Averages the weights of two or more runs that went on from one another, or from the same one.

python train_scripts/average_checkpoints.py --runs outputs/round_7 outputs/round_8 --output outputs/averaged
python train_scripts/freeze_checkpoint.py outputs/averaged --output checkpoints/mine --refit true ...

Runs that share their start lie in one valley, and the middle of it often reads unseen people better than either
(Wortsman et al. 2022, "Model soups"; our choice, not the paper's). Whether it does must be asked of validation people,
and thresholds that were fitted to one of them do not hold for it: fit them anew with `evaluate.py`. Configuration,
processor, recipe and card.yaml are those of the last run that is named.
"""

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import modeling_clef  # noqa: F401  (registers the Auto classes)
from processing import CLEFProcessor
from train_scripts.options import option, run_script
from train_scripts.runtime import write_metrics

WEIGHTS = "model.safetensors"
# What belongs to a checkpoint beside weights and processor. All else a run holds is of its own training and scores.
KEPT = ("config.json", "*_clef.py", "recipe.yaml", "card.yaml")
TRAINING = ("stage", "training", "labelled_frames", "frames_without_label", "corrupt_images_left_out", "epoch")


@dataclass
class AveragingOptions:
    runs: list[str] = field(default_factory=list, metadata={"help": "folders of runs or checkpoints, at least two"})
    output: str = option("", "folder of the average")

    def __post_init__(self):
        if len(self.runs) < 2 or not self.output:
            raise ValueError("expected --runs FOLDER FOLDER … and --output FOLDER.")
        for run in self.runs:
            if not Path(run, WEIGHTS).is_file():
                raise ValueError(f"{run!r} holds no {WEIGHTS}: expected the folder of a run or of a checkpoint.")
        if Path(self.output).exists():
            raise ValueError(f"output {self.output!r} exists already, and nothing is overwritten: name a new folder.")


def average(runs: list[Path], target: Path) -> Path:
    """Writes the mean of the runs' weights to `target`; what else belongs to a checkpoint is the last one's.

    Floating-point tensors are averaged in double precision and keep their type; integers (the batches that a
    normalisation has seen) are the last run's.

    Raises:
        ValueError: a tensor that not all runs have, in one shape. Text-free checkpoints and whole runs do not mix.
    """
    weights = [load_file(run / WEIGHTS) for run in runs]
    for run, others in zip(runs[:-1], weights[:-1], strict=True):
        unlike = sorted(
            name
            for name in others.keys() | weights[-1].keys()
            if name not in others or name not in weights[-1] or others[name].shape != weights[-1][name].shape
        )
        if unlike:
            raise ValueError(
                f"{run} and {runs[-1]} are not runs of one network: {len(unlike)} tensors are not in both, in one "
                f"shape, such as {unlike[0]}."
            )
    mean = {
        name: torch.stack([w[name].double() for w in weights]).mean(dim=0).to(last.dtype).contiguous()
        if last.is_floating_point()
        else last
        for name, last in weights[-1].items()
    }
    target.mkdir(parents=True)
    CLEFProcessor.from_pretrained(runs[-1]).save_pretrained(target)
    for path in (path for pattern in KEPT for path in runs[-1].glob(pattern)):
        shutil.copy(path, target)
    with safe_open(runs[-1] / WEIGHTS, "pt") as file:
        save_file(mean, target / WEIGHTS, metadata=file.metadata())
    known = Path(runs[-1], "metrics.json")
    last = json.loads(known.read_text()) if known.is_file() else {}
    write_metrics(target, **{key: last[key] for key in TRAINING if key in last}, averaged=[run.name for run in runs])
    return target


def main(options: AveragingOptions) -> None:
    target = average([Path(run) for run in options.runs], Path(options.output))
    print(f"mean of {len(options.runs)} runs: {target}; nothing was measured or fitted on it yet")


if __name__ == "__main__":
    run_script(main, AveragingOptions)
