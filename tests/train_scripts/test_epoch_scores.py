"""Epochs: when they end, what is recorded of them, and whose weights are saved."""

import json

import pytest
import torch
from safetensors.torch import load_file

from train_scripts import epoch_scores, finetune
from train_scripts.epoch_scores import EpochScores, best_epoch, epoch_ends, read_epochs
from train_scripts.finetune import FinetuningOptions
from train_scripts.options import parse_options
from train_scripts.predictions import read_predictions


def run(flags, output, *more):
    options = parse_options(FinetuningOptions, [*map(str, flags), "--output", str(output), *map(str, more)])
    return finetune.main(options)


@pytest.fixture
def epochs_flags(flags):
    """96 training frames: two steps an epoch, three epochs, learning fast enough for epochs to differ."""
    return [*flags, "--batch_size", 48, "--epochs", 3, "--learning_rate", 0.01, "--warmup", 0]


@pytest.fixture
def chosen_scores(monkeypatch):
    """Decides what the epochs are chosen by, in the order in which they are scored."""

    def decide(*values):
        remaining = list(values)
        monkeypatch.setattr(epoch_scores, "validation_score", lambda scores: remaining.pop(0))

    return decide


def test_epochs_end_at_whole_passes_and_the_last_at_the_last_step():
    assert epoch_ends(4, 12) == [4, 8, 12]
    assert epoch_ends(4, 10) == [4, 8, 10]
    assert epoch_ends(2.5, 10) == [3, 5, 8, 10]  # gradients accumulated over two of five batches
    assert epoch_ends(100, 7) == [7]
    assert epoch_ends(0.5, 3) == [1, 2, 3]
    assert epoch_ends(7 / 3, 7) == [3, 5, 7]


def test_the_saved_epoch_is_the_best_on_validation_subjects(epochs_flags, tmp_path):
    run(epochs_flags, tmp_path, "--select_epoch", "validation", "--checkpoint_steps", 2)
    records = read_epochs(tmp_path)
    assert [(r["epoch"], r["step"]) for r in records] == [(1, 2), (2, 4), (3, 6)]
    for record in records:
        both = record["validation"]["action_units"]["mean_f1"], record["validation"]["expression"]["accuracy"]
        assert record["validation_score"] == pytest.approx(sum(both) / 2)
    best = max(records, key=lambda record: record["validation_score"])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["epoch"] == {"saved": best["epoch"], "of": 3, "which": "selected on validation subjects"}
    said = json.loads((tmp_path / "results.json").read_text())["selection"]["honest"]["epoch"]
    assert said == "selected on validation subjects"
    # The scores of what was saved are those recorded of that epoch.
    final = metrics["evaluation"]
    assert final["action_units"]["mean_f1"] == pytest.approx(best["test"]["action_units"]["mean_f1"], abs=1e-6)
    assert final["expression"]["accuracy"] == pytest.approx(best["test"]["expression"]["accuracy"])
    predictions = read_predictions(tmp_path)
    assert (predictions.splits == "test").sum() == metrics["evaluation"]["data"]["scored"]["frames"]


def test_the_saved_weights_are_those_of_the_chosen_epoch_averaged_if_averages_are_kept(
    epochs_flags, chosen_scores, tmp_path
):
    for name, more, file in (("plain", [], "model"), ("averaged", ["--ema_decay", 0.5], "average")):
        chosen_scores(0.1, 0.9, 0.3)
        run(epochs_flags, tmp_path / name, "--select_epoch", "validation", "--checkpoint_steps", 4, *more)
        saved = load_file(tmp_path / name / "model.safetensors")
        then = load_file(tmp_path / name / "checkpoints" / "step_00000004" / f"{file}.safetensors")
        assert then and all(torch.equal(saved[key], value) for key, value in then.items())
        assert [path.name for path in (tmp_path / name / "epochs").iterdir()] == ["step_00000004.safetensors"]


def test_without_selection_the_last_epoch_is_saved_and_the_run_stays_the_same(epochs_flags, tmp_path):
    run(epochs_flags, tmp_path / "scored", "--epoch_scores", "true")
    run(epochs_flags, tmp_path / "plain")
    scored, plain = (load_file(tmp_path / name / "model.safetensors") for name in ("scored", "plain"))
    assert all(torch.equal(scored[key], plain[key]) for key in plain)
    metrics = json.loads((tmp_path / "scored" / "metrics.json").read_text())
    assert metrics["epoch"]["which"] == "the last epoch, not selected"
    assert not (tmp_path / "scored" / "epochs").exists() and not (tmp_path / "plain" / "epochs.jsonl").exists()


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    ("before", "after", "best_step"),
    [
        ((0.1, 0.9), (0.9, 0.2), 4),  # as it would have been without the kill
        ((0.2, 0.9), (0.1, 0.1), 2),  # had the second attempt at epoch 2 gone worse: epoch 1 is still there
    ],
)
def test_a_resumed_run_goes_on_with_its_epochs(
    epochs_flags, chosen_scores, monkeypatch, tmp_path, before, after, best_step
):
    flags = [*epochs_flags, "--select_epoch", "validation", "--checkpoint_steps", 3, "--ema_decay", 0.5]
    due = EpochScores.is_due

    def killed_at_5(self, step):
        if step == 5:
            raise KilledError
        return due(self, step)

    chosen_scores(*before)
    with monkeypatch.context() as patch:
        patch.setattr(EpochScores, "is_due", killed_at_5)
        with pytest.raises(KilledError):
            run(flags, tmp_path)
    assert [record["step"] for record in read_epochs(tmp_path)] == [2, 4]
    chosen_scores(*after)
    run(flags, tmp_path, "--resume", "true")
    records = read_epochs(tmp_path)
    assert [(r["step"], r["validation_score"]) for r in records] == [(2, before[0]), (4, after[0]), (6, after[1])]
    assert best_epoch(records)["step"] == best_step
    weights = load_file(tmp_path / "epochs" / f"step_{best_step:08d}.safetensors")
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in weights.items())


def test_a_run_that_starts_anew_in_a_folder_does_not_go_on_with_the_records_there(epochs_flags, tmp_path):
    run([*epochs_flags, "--max_steps", 2], tmp_path, "--epoch_scores", "true")
    run([*epochs_flags, "--batch_size", 24, "--epochs", 1], tmp_path, "--epoch_scores", "true")
    assert [record["step"] for record in read_epochs(tmp_path)] == [4]


def test_a_resumed_run_without_its_records_is_refused(epochs_flags, tmp_path):
    flags = [*epochs_flags, "--max_steps", 4, "--checkpoint_steps", 3, "--epoch_scores", "true"]
    run(flags, tmp_path)
    (tmp_path / "epochs.jsonl").unlink()
    with pytest.raises(ValueError, match=r"records of the steps \[\], expected \[2\]"):
        run(flags, tmp_path, "--resume", "true")


def test_validation_subjects_that_cannot_choose_are_refused():
    scores = {"action_units": {"mean_f1": None}, "expression": {"accuracy": 0.5}}
    with pytest.raises(ValueError, match="no label of action_units is present"):
        epoch_scores.validation_score(scores)


def test_a_linear_probe_has_no_epochs(flags):
    with pytest.raises(SystemExit):
        parse_options(FinetuningOptions, ["--linear_probe", "true", "--select_epoch", "validation"])


def test_people_in_two_splits_are_refused(flags, monkeypatch, tmp_path):
    load = finetune.load_corpus
    monkeypatch.setattr(
        finetune,
        "load_corpus",
        lambda name, split, **options: load(name, split={"test": "train"}.get(split, split), **options),
    )
    with pytest.raises(ValueError, match="both among"):
        run(flags, tmp_path, "--max_steps", 1)
