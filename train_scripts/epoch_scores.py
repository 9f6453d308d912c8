"""Scores after every epoch, in `epochs.jsonl`, and the weights of the epoch that the validation subjects choose.

A record is {"epoch", "step", "validation", "test", "validation_score"}. "validation" and "test" hold, for each label
set, the scores of `split_scores.headlines` and under "labels" those of each label, thresholds and temperatures
fitted on that epoch's validation frames. "validation_score" is what an epoch is chosen by: on the validation subjects,
the mean over label sets of F1 at the fitted thresholds (AUs) and of accuracy (expressions).

Test scores are recorded for one purpose, the paper-style column: much of the literature reports threshold .5 and the
epoch that is best on the tested people (`results.best_test_epoch`). Here they choose nothing.
"""

import copy
import json
import math
from pathlib import Path

import numpy as np
from datasets import Dataset
from safetensors.torch import load_file, save_file

from train_scripts.checkpoints import EPOCHS, training_state
from train_scripts.score_draws import HEADLINES, kind_of
from train_scripts.split_scores import fitted_predictions, headlines

# By what the saved epoch was chosen.
SELECTED_ON_VALIDATION = "selected on validation subjects"
NOT_SELECTED = "the last epoch, not selected"


def epoch_selection(recipe: dict) -> str:
    """By what the saved epoch of a run with these fine-tuning options was chosen; "not said" for other recipes."""
    if recipe.get("linear_probe"):
        return "none: a linear head has no epochs"
    return {"validation": SELECTED_ON_VALIDATION, "last": NOT_SELECTED}.get(recipe.get("select_epoch"), "not said")


def epoch_ends(batches_per_epoch: float, total_steps: int) -> list[int]:
    """The optimizer steps after which an epoch is over, the last one always `total_steps`.

    Args:
        batches_per_epoch: optimizer steps of an epoch, not necessarily whole.
    """
    epochs = max(1, math.ceil(total_steps / batches_per_epoch - 1e-9))
    return sorted({min(total_steps, math.ceil(k * batches_per_epoch - 1e-9)) for k in range(1, epochs + 1)})


class EpochScores:
    """Records the epochs of one run and keeps the weights of the best.

    Of a run that is resumed, records later than the checkpoint are forgotten, and so are their weights.

    Args:
        folder: of the run.
        ends: see `epoch_ends`.
        keep_weights: keep those of the epoch that is best on the validation subjects, for `restore_best`.
    """

    def __init__(self, folder: Path, ends: list[int], keep_weights: bool):
        self.folder, self.ends, self.keep_weights = Path(folder), ends, keep_weights
        self.records: list[dict] | None = None

    def is_due(self, step: int) -> bool:
        return step in self.ends

    def add(self, step: int, model, validation: Dataset, test: Dataset | None, predict) -> dict:
        """Scores the model as it is after optimizer step `step`, writes the record and returns it.

        Args:
            model: CLEFForImageClassification; its label sets stay as they are.
            predict: `corpus -> (N, K) uncalibrated logits` of the model.

        Raises:
            ValueError: earlier epochs are not recorded, or the validation subjects cannot tell epochs apart.
        """
        if self.records is None:
            self._begin(step)
        label_sets = copy.deepcopy(model.config.label_sets)
        corpora = {"validation": validation} | ({} if test is None else {"test": test})
        parts = {split: (corpus, predict(corpus)) for split, corpus in corpora.items()}
        predictions = fitted_predictions(label_sets, parts)
        scores = {split: headlines(predictions.split(split)) for split in parts}
        record = {"epoch": self.ends.index(step) + 1, "step": step, **scores}
        record["validation_score"] = validation_score(scores["validation"])
        self.records.append(record)
        if self.keep_weights:
            self._keep_best(model)
        self._write()
        return record

    def restore_best(self, model) -> dict:
        """Puts the weights of the best epoch into the model; returns its record."""
        best = best_epoch(read_epochs(self.folder))
        model.load_state_dict(load_file(self._weights(best["step"])), strict=False)
        return best

    def _begin(self, step: int) -> None:
        """The first epoch that this process sees: what an earlier process recorded before it stays."""
        known = read_epochs(self.folder) if (self.folder / EPOCHS).exists() else []
        self.records = [record for record in known if record["step"] < step]
        expected = [end for end in self.ends if end < step]
        if [record["step"] for record in self.records] != expected:
            raise ValueError(
                f"{self.folder / EPOCHS} has records of the steps {[r['step'] for r in self.records]}, expected "
                f"{expected}. Resume with the options the run was started with, or start anew in another folder."
            )

    def _write(self) -> None:
        partial = self.folder / (EPOCHS + ".partial")
        partial.write_text("".join(json.dumps(record) + "\n" for record in self.records))
        partial.replace(self.folder / EPOCHS)

    def _keep_best(self, model) -> None:
        best = best_epoch(self.records)
        folder = self._weights(0).parent
        folder.mkdir(parents=True, exist_ok=True)
        if best is self.records[-1]:
            path = self._weights(best["step"])
            partial = path.with_name(path.name + ".partial")
            save_file(training_state(model), partial)
            partial.replace(path)
        # A run that is resumed from a checkpoint needs the best epoch until then, which may be none of today's best.
        checkpoints = [int(path.name[-8:]) for path in Path(self.folder, "checkpoints").glob("step_????????")]
        until = [[record for record in self.records if record["step"] <= step] for step in checkpoints]
        needed = {best["step"], *(best_epoch(records)["step"] for records in until if records)}
        for path in folder.glob("step_????????.safetensors"):
            if int(path.stem[-8:]) not in needed:
                path.unlink()

    def _weights(self, step: int) -> Path:
        return self.folder / "epochs" / f"step_{step:08d}.safetensors"


def read_epochs(folder: Path) -> list[dict]:
    """The records of a run folder, in order; FileNotFoundError when it has none."""
    path = Path(folder, EPOCHS)
    if not path.is_file():
        raise FileNotFoundError(f"{str(folder)!r} holds no {EPOCHS}: it was trained without --epoch_scores true.")
    return [json.loads(line) for line in path.read_text().splitlines()]


def validation_score(scores: dict[str, dict]) -> float:
    """What an epoch is chosen by, from the validation subjects' scores: the mean of each set's first headline.

    Raises:
        ValueError: undefined for a label set, as none of its labels is present.
    """
    values = {name: scores[name][HEADLINES[kind_of(scores[name])][0]] for name in scores}
    undefined = [name for name, value in values.items() if value is None]
    if undefined:
        raise ValueError(
            f"no label of {', '.join(undefined)} is present in any frame of the validation subjects: they can neither "
            "choose an epoch nor give thresholds. Hold out more of them (validation_share), or others (fold_seed)."
        )
    return float(np.mean(list(values.values())))


def best_epoch(records: list[dict]) -> dict:
    """The record with the best validation score, the earliest of equals."""
    return max(records, key=lambda record: record["validation_score"])
