"""kill -9 and SIGTERM at any moment: what is resumed ends with the same bits."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train_scripts.checkpoints import damage

STEPS = 9


def flags_of(script, corpus_cache, processes=1):
    corpus = {"subjects": 9, "frames": 2, "image_size": 32, "cache_dir": str(corpus_cache)}
    flags = ["--corpus_options", json.dumps(corpus), "--text_tower", "tiny", "--image_size", "32"]
    flags += ["--batch_size", 8 // processes, "--max_steps", STEPS, "--checkpoint_steps", 2, "--log_steps", 1]
    flags += ["--ema_decay", "0.5"]
    if script == "finetune":
        # 2 epochs of 6 steps, the second cut short.
        flags += ["--label_fraction", "0.5", "--select_epoch", "validation", "--test", "false"]
    return flags


@pytest.fixture(scope="module")
def whole(nursery, corpus_cache, tmp_path_factory):
    """`whole(script, processes)`: the folder of an uninterrupted run."""
    known = {}

    def run(script, processes=1):
        if (script, processes) not in known:
            folder = tmp_path_factory.mktemp("whole") / script
            began = time.monotonic()
            nursery.finish(script, flags_of(script, corpus_cache, processes), folder, processes=processes)
            known[script, processes] = folder, time.monotonic() - began
        return known[script, processes]

    return run


def wait_until(condition, pids, nursery):
    while not condition():
        if not Path(f"/proc/{pids[0]}").exists():
            raise AssertionError(f"ended too early:\n{nursery.printed()[-4000:]}")
        time.sleep(0.0005)


def assert_same(whole: Path, killed: Path):
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, killed))
    assert expected.keys() == found.keys()
    different = [name for name in expected if not torch.equal(expected[name], found[name])]
    assert not different
    lines = [(folder / "history.jsonl").read_text().splitlines() for folder in (whole, killed)]
    losses = [[(json.loads(line)["step"], json.loads(line)["loss"]) for line in run] for run in lines]
    assert losses[0] == losses[1] and len(losses[0]) == STEPS
    for name in ("epochs.jsonl", "skipped_steps.jsonl"):
        texts = [(folder / name).read_text() if (folder / name).exists() else None for folder in (whole, killed)]
        assert texts[0] == texts[1], name


def complete_checkpoints(folder):
    return sorted(path for path in (folder / "checkpoints").glob("step_????????"))


def during_a_step(folder):
    history = folder / "history.jsonl"
    return history.exists() and history.read_text().count("\n") >= 5


def during_a_save(folder):
    return (folder / "checkpoints" / "step_00000004.partial").exists()


def between_epochs(folder):
    epochs = folder / "epochs.jsonl"
    return epochs.exists() and epochs.read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("script", "moment", "pause"),
    [
        ("pretrain", during_a_step, None),
        ("pretrain", during_a_save, "_digest"),
        ("finetune", between_epochs, None),
        ("finetune", during_a_save, "_to_disk"),
    ],
)
def test_killed_at_a_bad_moment_and_resumed_ends_with_the_same_bits(
    nursery, whole, corpus_cache, tmp_path, script, moment, pause
):
    flags, folder = flags_of(script, corpus_cache), tmp_path / "killed"
    pids = nursery.start(script, flags, folder, pause=pause)
    wait_until(lambda: moment(folder), pids, nursery)
    os.kill(pids[0], signal.SIGKILL)
    assert nursery.codes() == [-signal.SIGKILL]
    assert not (folder / "model.safetensors").exists()
    if moment is during_a_save:
        assert during_a_save(folder), "killed too late to show anything"
    assert all(damage(path) is None for path in complete_checkpoints(folder))
    printed = nursery.finish(script, flags, folder, "--resume")
    assert "resumed from" in printed.split("nothing to resume")[-1]
    assert_same(whole(script)[0], folder)
    assert not list((folder / "checkpoints").glob("*.partial"))


def test_one_of_two_processes_is_killed(nursery, whole, corpus_cache, tmp_path):
    flags, folder = flags_of("pretrain", corpus_cache, processes=2), tmp_path / "killed"
    pids = nursery.start("pretrain", flags, folder, processes=2)
    wait_until(lambda: during_a_step(folder), pids, nursery)
    os.kill(pids[1], signal.SIGKILL)
    first, second = nursery.codes()
    assert second == -signal.SIGKILL and first not in (0, None)
    assert complete_checkpoints(folder) and all(damage(path) is None for path in complete_checkpoints(folder))
    nursery.finish("pretrain", flags, folder, "--resume", processes=2)
    assert_same(whole("pretrain", 2)[0], folder)


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_saves_and_the_run_goes_on_from_there(nursery, whole, corpus_cache, tmp_path, processes):
    # Without regular checkpoints: what it resumes from is what SIGTERM saved. To one process only: all have to agree.
    flags, folder = flags_of("pretrain", corpus_cache, processes), tmp_path / "terminated"
    pids = nursery.start("pretrain", flags, folder, "--checkpoint_steps", 0, processes=processes)
    wait_until(lambda: during_a_step(folder), pids, nursery)
    os.kill(pids[-1], signal.SIGTERM)
    os.kill(pids[-1], signal.SIGTERM)
    assert nursery.codes() == [143] * processes
    assert "SIGTERM: saved at step" in nursery.printed()
    (checkpoint,) = complete_checkpoints(folder)
    assert damage(checkpoint) is None
    printed = nursery.finish("pretrain", flags, folder, "--checkpoint_steps", 0, "--resume", processes=processes)
    assert f"resumed from {checkpoint}" in printed
    assert_same(whole("pretrain", processes)[0], folder)


@pytest.mark.slow
def test_twenty_random_kills(nursery, whole, corpus_cache, tmp_path):
    draw, kills, runs = random.Random(0), 0, 0
    while kills < 20:
        script, processes = draw.choice([("pretrain", 1), ("finetune", 1), ("pretrain", 2)])
        (reference, seconds), flags = whole(script, processes), flags_of(script, corpus_cache, processes)
        folder, done, resume = tmp_path / f"run{runs}", False, []
        runs += 1
        while not done:
            pids = nursery.start(script, flags, folder, *resume, processes=processes)
            resume, end = ["--resume"], time.monotonic() + draw.uniform(0, seconds)
            while time.monotonic() < end and all(Path(f"/proc/{pid}").exists() for pid in pids):
                time.sleep(0.001)
            try:
                os.kill(draw.choice(pids), signal.SIGKILL)
            except ProcessLookupError:
                pass
            codes = nursery.codes()
            done = not any(codes)
            kills += not done
            assert done or -signal.SIGKILL in codes, f"{codes}\n{nursery.printed()[-4000:]}"
            assert all(damage(path) is None for path in complete_checkpoints(folder))
            print(f"run {runs} ({script}, {processes}): {codes}, {[p.name for p in complete_checkpoints(folder)]}")
        assert_same(reference, folder)
