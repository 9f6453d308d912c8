"""NaN, no memory, corrupt images and SIGTERM in the middle of a run."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from processing.corpora import load_corpus
from train_scripts import data, evaluate, finetune, pretrain
from train_scripts.failures import (
    CorruptImages,
    StepGuard,
    StopRequest,
    append_line,
    explained_out_of_memory,
    json_lines,
    keep_lines,
)
from train_scripts.finetune import FinetuningOptions
from train_scripts.options import parse_options, run_script
from train_scripts.predictions import read_predictions
from train_scripts.pretrain import PretrainingOptions
from train_scripts.sampling import FaceBatchSampler

ROOT = Path(__file__).resolve().parents[2]
BATCH = 8


def run_finetuning(flags, folder, *more):
    argv = [*map(str, flags), "--test", "false", "--log_steps", "1", "--output", str(folder), *map(str, more)]
    finetune.main(parse_options(FinetuningOptions, argv))
    return json.loads((folder / "metrics.json").read_text())


def poison(monkeypatch, *steps, collator=data.ClassificationCollator, value=float("nan")):
    """One pixel is not finite in the batches of these steps, counted from 0."""
    plain = collator.__call__

    def poisoned(self, batch):
        out = plain(self, batch)
        if batch["step"] in steps:
            out["pixel_values"].flatten()[5] = value
        return out

    monkeypatch.setattr(collator, "__call__", poisoned)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_without_a_finite_loss_is_skipped_counted_and_named(
    flags, small_corpus, tmp_path, monkeypatch, capsys, value
):
    poison(monkeypatch, 2, value=value)
    metrics = run_finetuning(flags, tmp_path, "--max_steps", 3, "--checkpoint_steps", 1, "--ema_decay", 0.5)
    assert metrics["training"]["skipped_steps"] == 1
    size = len(load_corpus("synthetic", split="train", **small_corpus))
    rows = [row for _, row, _ in list(FaceBatchSampler(size, BATCH, 3))[2]]
    (line,) = json_lines(tmp_path / "skipped_steps.jsonl")
    assert line["step"] == 3 and line["rows"] == rows and line["losses"] == ["nan"]
    printed = capsys.readouterr().out
    assert "step 3 is skipped" in printed and str(rows)[1:-1] in printed
    # Weights, running statistics of batch norm, the optimizer and the averages are as if the batch had not been.
    before, after = (tmp_path / "checkpoints" / f"step_0000000{step}" for step in (2, 3))
    for name in ("model", "optimizer", "average"):
        a, b = load_file(before / f"{name}.safetensors"), load_file(after / f"{name}.safetensors")
        assert any("running_mean" in key for key in a) or name == "optimizer"
        assert all(torch.equal(a[key], b[key]) and a[key].isfinite().all() for key in a)
    history = json_lines(tmp_path / "history.jsonl")
    assert [entry["step"] for entry in history] == [1, 2]


@pytest.mark.parametrize("clipping", [1.0, 0.0])
def test_a_gradient_that_is_not_finite_skips_the_step_though_the_loss_is(flags, tmp_path, monkeypatch, clipping):
    plain, calls = finetune.CLEFForImageClassification.forward, []

    def forward(self, *arguments, **keywords):
        output = plain(self, *arguments, **keywords)
        if self.training:
            calls.append(1)
            if len(calls) == 2:
                # The square root of 0: a value of 0, and a gradient of infinity times 0.
                output.loss = output.loss + (self.clef.visual_projection.weight.sum() * 0).sqrt()
        return output

    monkeypatch.setattr(finetune.CLEFForImageClassification, "forward", forward)
    metrics = run_finetuning(flags, tmp_path, "--max_steps", 3, "--max_grad_norm", clipping)
    assert metrics["training"]["skipped_steps"] == 1
    (line,) = json_lines(tmp_path / "skipped_steps.jsonl")
    assert line["step"] == 2 and line["gradient_norm"] == "nan" and float(line["losses"][0]) > 0
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "model.safetensors").values())


def test_accumulated_batches_are_skipped_together(flags, tmp_path, monkeypatch):
    poison(monkeypatch, 3)
    run_finetuning(flags, tmp_path, "--max_steps", 3, "--gradient_accumulation", 2)
    (line,) = json_lines(tmp_path / "skipped_steps.jsonl")
    assert line["step"] == 2 and len(line["rows"]) == 2 * BATCH


def test_the_run_stops_after_so_many_in_a_row_and_not_before(flags, tmp_path, monkeypatch):
    poison(monkeypatch, 1, 2, 4, 5, 7, 8, 9)
    with pytest.raises(FloatingPointError, match=r"3 steps in a row, the last of them step 10 .* rows .*learning_rate"):
        run_finetuning(flags, tmp_path, "--max_steps", 12, "--max_skipped_steps", 3)
    assert [line["step"] for line in json_lines(tmp_path / "skipped_steps.jsonl")] == [2, 3, 5, 6, 8, 9, 10]


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_weights_that_broke_in_the_last_steps_never_take_the_place_of_good_ones(
    flags, tmp_path, monkeypatch, stage, decay
):
    plain, steps = torch.optim.AdamW.step, []

    def breaking(self, *arguments, **keywords):
        plain(self, *arguments, **keywords)
        steps.append(1)
        if len(steps) == 3:
            self.param_groups[0]["params"][0].data.flatten()[0] = float("inf")

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)
    module, options = {"pretrain": (pretrain, PretrainingOptions), "finetune": (finetune, FinetuningOptions)}[stage]
    argv = [*map(str, flags), "--output", str(tmp_path), "--max_steps", "4", "--checkpoint_steps", "2"]
    with pytest.raises(FloatingPointError, match="not finite after step 4, .*step_00000002, stays.*learning_rate"):
        module.main(parse_options(options, [*argv, "--ema_decay", str(decay)]))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000002"]
    assert not (tmp_path / "model.safetensors").exists()


def test_broken_averages_are_refused_and_so_is_a_first_checkpoint(tmp_path):
    guard = StepGuard(Accelerator(cpu=True), nn.Linear(1, 1), tmp_path, 0, limit=9)
    guard.refuse_broken(1, {"weight": torch.ones(2), "count": torch.tensor(3)})
    with pytest.raises(FloatingPointError, match="1 of the model's tensors .* weight among .*no earlier checkpoint"):
        guard.refuse_broken(1, {"weight": torch.tensor([1.0, float("nan")]), "count": torch.tensor(3)})


def test_skipped_steps_in_stage_1_too(flags, tmp_path, monkeypatch):
    poison(monkeypatch, 1, collator=data.PretrainingCollator)
    argv = [*map(str, flags), "--max_steps", "3", "--output", str(tmp_path)]
    pretrain.main(parse_options(PretrainingOptions, argv))
    assert json.loads((tmp_path / "metrics.json").read_text())["training"]["skipped_steps"] == 1


def test_a_resumed_run_goes_on_counting(tmp_path, flags, monkeypatch):
    poison(monkeypatch, 1, 3, 4)
    steps = ["--checkpoint_steps", 4, "--max_skipped_steps", 3]
    run_finetuning(flags, tmp_path, "--max_steps", 6, *steps)
    metrics = run_finetuning(flags, tmp_path, "--max_steps", 6, *steps, "--resume")
    assert metrics["training"]["resumed_from"] == 4 and metrics["training"]["skipped_steps"] == 3


@pytest.mark.parametrize(
    ("start", "skipped", "in_a_row"), [(6, 3, 0), (5, 3, 2), (4, 2, 1), (3, 1, 0), (1, 1, 1), (0, 0, 0)]
)
def test_steps_skipped_in_a_row_are_counted_across_a_kill(tmp_path, start, skipped, in_a_row):
    path = tmp_path / "skipped_steps.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (1, 4, 5)) + '{"step": ')
    guard = StepGuard(Accelerator(cpu=True), nn.Linear(1, 1), tmp_path, start, limit=9)
    assert (guard.skipped, guard.in_a_row) == (skipped, in_a_row)
    assert len(json_lines(path)) == skipped


# A loss that is NaN though its gradient is not: nothing but the processes' agreement tells the other one.
TWO_PROCESSES = """
import os, sys
sys.path.insert(0, {root!r})
from train_scripts import finetune
from train_scripts.options import parse_options
plain, calls = finetune.CLEFForImageClassification.forward, []
def poisoned(self, *arguments, **keywords):
    output = plain(self, *arguments, **keywords)
    calls.append(1)
    if self.training and len(calls) == 2 and os.environ["RANK"] == "1":
        output.loss = output.loss + float("nan")
    return output
finetune.CLEFForImageClassification.forward = poisoned
finetune.main(parse_options(finetune.FinetuningOptions, sys.argv[1:]))
"""


def test_a_nan_on_one_of_two_processes_skips_the_step_on_both(flags, small_corpus, tmp_path):
    script = tmp_path / "poisoned.py"
    script.write_text(TWO_PROCESSES.format(root=str(ROOT)))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    command += ["--rdzv_endpoint", "localhost:0", str(script), *map(str, flags), "--output", str(tmp_path / "run")]
    command += ["--max_steps", "3", "--test", "false"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    (line,) = json_lines(tmp_path / "run" / "skipped_steps.jsonl")
    size = len(load_corpus("synthetic", split="train", **small_corpus))
    shares = [list(FaceBatchSampler(size, BATCH, 3, rank=rank, world_size=2))[1] for rank in (0, 1)]
    assert line["step"] == 2 and line["rows"] == [row for share in shares for _, row, _ in share]
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "run" / "model.safetensors").values())


def test_too_little_memory_names_the_options_that_help(flags, tmp_path, monkeypatch):
    def forward(self, *arguments, **keywords):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(pretrain.CLEFForPreTraining, "forward", forward)
    argv = [*map(str, flags), "--max_steps", "2", "--activation_checkpointing", "true", "--output", str(tmp_path)]
    with pytest.raises(MemoryError) as error:
        pretrain.main(parse_options(PretrainingOptions, argv))
    text = str(error.value)
    assert "20.00 MiB" in text
    for part in ("--cache_chunk", "--mixed_precision bf16", "--batch_size 4 --gradient_accumulation 2", "--lora_rank"):
        assert part in text
    assert "--activation_checkpointing" not in text, "it is on already"
    known = {f"--{name}" for name in PretrainingOptions.__dataclass_fields__}
    assert {word for word in text.replace(",", " ").split() if word.startswith("--")} <= known


def test_what_the_system_says_is_recognised_and_other_errors_are_left_alone():
    options = FinetuningOptions()
    with pytest.raises(MemoryError, match="What helps"), explained_out_of_memory(options):
        torch.empty(2**50, dtype=torch.float64)
    with pytest.raises(MemoryError, match="What helps"), explained_out_of_memory(options):
        bytearray(2**62)
    with pytest.raises(RuntimeError, match="shapes"), explained_out_of_memory(options):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_sigterm_is_noted_inside_and_deadly_again_outside():
    def mark(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, mark)
    try:
        with StopRequest() as stop:
            assert not stop.asked
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_run_in_a_thread_works_without_signals():
    asked = []

    def inside():
        with StopRequest() as stop:
            asked.append(stop.asked)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert asked == [False]


def spoil(corpus, *rows):
    def cut(row, index):
        if index in rows:
            row["image"]["bytes"] = row["image"]["bytes"][:60]
        return row

    raw = corpus.cast_column("image", datasets.Image(decode=False))
    return raw.map(cut, with_indices=True, features=raw.features).cast(corpus.features)


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "linear_probe"])
def test_corrupt_images_anywhere_are_counted_and_end_no_run(flags, tmp_path, monkeypatch, capsys, stage):
    module = pretrain if stage == "pretrain" else finetune
    plain = module.load_corpus
    broken = {"train": (1, 10), "validation": (0, 3, 4), "test": (2,)}

    def with_broken_images(*arguments, split, **keywords):
        return spoil(plain(*arguments, split=split, **keywords), *broken[split])

    monkeypatch.setattr(module, "load_corpus", with_broken_images)
    options = PretrainingOptions if stage == "pretrain" else FinetuningOptions
    argv = [*map(str, flags), "--max_steps", "12", "--output", str(tmp_path)]
    argv += {
        "pretrain": ["--probe_fraction", "1", "--eval_steps", "10"],
        "finetune": ["--identity_probe", "false", "--epoch_scores", "true", "--eval_steps", "10"],
        "linear_probe": ["--linear_probe", "true", "--test", "false"],
    }[stage]
    module.main(parse_options(options, argv))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    printed = capsys.readouterr().out
    if stage != "linear_probe":
        assert set(metrics["training"]["corrupt_images"]) == {"1", "10"}
        assert "row 10 cannot be decoded" in printed
    expected = {"validation": 3} | ({"test": 1} if stage == "finetune" else {"train": 2})
    assert metrics["corrupt_images_left_out"] == expected
    assert "3 of validation" in printed
    assert (tmp_path / "model.safetensors").exists()
    if stage == "finetune":
        results = json.loads((tmp_path / "results.json").read_text())
        assert results["data"]["frames_unreadable"] == {"test": 1, "validation": 3}
        assert results["data"]["frames"] == metrics["evaluation"]["data"]["scored"]["frames"]
        assert read_predictions(tmp_path).split("validation").rows[:3].tolist() == [1, 2, 5]
        assert read_predictions(tmp_path).split("test").rows[:3].tolist() == [0, 1, 3]
        assert any("1 test frame and 3 validation frames cannot be decoded" in note for note in results["notes"])
        monkeypatch.setattr(evaluate, "load_corpus", with_broken_images)
        again = evaluate.main(
            evaluate.EvaluationOptions(checkpoint=str(tmp_path), output=str(tmp_path / "again"), predictions=True)
        )
        assert again["data"]["corrupt_images_left_out"] == expected
        assert again["data"]["scored"] == metrics["evaluation"]["data"]["scored"]
        np.testing.assert_array_equal(read_predictions(tmp_path / "again").rows, read_predictions(tmp_path).rows)


def test_each_corrupt_row_is_reported_once_and_every_draw_counted(capsys):
    corrupt = CorruptImages({4: 2})
    corrupt.saw([(4, "cut off"), (7, "no image")])
    corrupt.saw([(7, "no image")])
    Accelerator(cpu=True)
    assert corrupt.of_all_processes() == {4: 3, 7: 2}
    assert capsys.readouterr().out.count("row 7") == 1


def test_a_line_that_was_being_written_is_forgotten_and_earlier_ones_stay(tmp_path):
    path = tmp_path / "history.jsonl"
    for step in (1, 2, 3):
        append_line(path, {"step": step})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    keep_lines(path, 2)
    append_line(path, {"step": 3, "again": True})
    assert json_lines(path) == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_a_full_disk_loses_a_line_of_the_history_but_not_the_run(tmp_path, capsys):
    path = tmp_path / "history.jsonl"
    append_line(path, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        append_line(path, {"step": 2, "loss": 1.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    append_line(path, {"step": 3})
    assert json_lines(path) == [{"step": 1}, {"step": 3}]
    assert '"loss": 1.5' in capsys.readouterr().out


def test_a_run_that_fails_ends_although_its_workers_ignore_sigterm(flags, tmp_path):
    """Waited for with a limit: a hanging process is what this is about."""
    command = [sys.executable, "train_scripts/finetune.py", *flags, "--output", tmp_path, "--workers", 2]
    command += ["--augment_on", "device", "--max_steps", 50, "--max_skipped_steps", 1, "--learning_rate", "1e38"]
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "FloatingPointError" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("full", ["stdout", "stderr"])
def test_a_log_on_a_full_disk_ends_no_run(flags, tmp_path, full):
    command = [sys.executable, "train_scripts/pretrain.py", *flags, "--output", tmp_path, "--max_steps", 2]
    with open("/dev/full", "w") as log:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, full: log}
        done = subprocess.run([*map(str, command)], cwd=ROOT, text=True, timeout=120, **streams)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "metrics.json").read_text())["training"]["steps"] == 2


def test_an_output_that_is_a_file_is_named(flags, tmp_path):
    (tmp_path / "notes").write_text("mine")
    for output in (tmp_path / "notes", tmp_path / "notes" / "run"):
        argv = [*map(str, flags), "--output", str(output)]
        with pytest.raises(SystemExit, match="output '.*notes.*' is no folder and none can be made there"):
            run_script(pretrain.main, PretrainingOptions, argv)
