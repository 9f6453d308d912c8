"""What every training run needs around its loop: processes, optimizer, progress, files."""

import copy
import json
import os
import signal
import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, set_seed
from tqdm.auto import tqdm

from train_scripts.checkpoints import (
    EPOCHS,
    choose_checkpoint,
    corrupt_draws_of,
    load_checkpoint,
    restore_random_state,
    save_checkpoint,
    training_tensors,
)
from train_scripts.ema import WeightAverage
from train_scripts.failures import (
    CorruptImages,
    StepGuard,
    StopRequest,
    append_line,
    explained_out_of_memory,
    keep_lines,
)
from train_scripts.options import TrainingOptions, binding_options, save_recipe
from train_scripts.precision import SLOW_BF16, multiplies_in_bf16, resolve_precision
from train_scripts.schedule import learning_rate_at
from train_scripts.sharding import load_whole, prepare_for_launcher, reshapes, shardable, takes_steps_itself

SEVERAL_ON_CPUS = (
    "On CPUs `accelerate launch --num_processes N` starts one process only, whatever N: for several use "
    "`torchrun --nproc_per_node N train_scripts/…` or `accelerate launch --config_file "
    "train_scripts/accelerate/cpu.yaml --num_processes N train_scripts/…`."
)


def start_accelerator(options: TrainingOptions) -> Accelerator:
    """An Accelerator that knows as many processes as were started, with everything seeded.

    Raises:
        RuntimeError: the launcher started another number of processes than Accelerate or the caller believes in:
            each would train alone on the same data.
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    precision = resolve_precision(options.mixed_precision, device.type)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=precision,
        gradient_accumulation_steps=options.gradient_accumulation,
        log_with=None if options.tracker == "none" else options.tracker,
        project_dir=options.output,
        # The others wait while process 0 renders a corpus or evaluates, which NCCL would end after ten minutes.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
    )
    launched = int(os.environ.get("WORLD_SIZE", 1))
    wanted = launched if options.num_processes is None else options.num_processes
    if not accelerator.num_processes == launched == wanted:
        raise RuntimeError(
            f"got {accelerator.num_processes} connected of {launched} launched processes, expected {wanted}. "
            f"{SEVERAL_ON_CPUS}"
        )
    prepare_for_launcher(accelerator, options)
    set_seed(options.seed)
    if accelerator.is_main_process:
        try:
            Path(options.output).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                error.errno, f"{error.strerror}: output {options.output!r} is no folder and none can be made there"
            ) from error
    if options.tracker != "none":
        accelerator.init_trackers("clef")
    accelerator.print(
        f"{accelerator.num_processes} process(es) on {accelerator.device.type}, precision {precision}, "
        f"{options.batch_size} images a step and process"
    )
    # Accelerate's launcher of one process sets the first, and hands on to nobody how many it was asked for.
    launcher_of_one = "ACCELERATE_USE_CPU" in os.environ and "WORLD_SIZE" not in os.environ
    if launcher_of_one and device.type == "cpu" and options.num_processes is None:
        accelerator.print(f"NOTE: this is one process. {SEVERAL_ON_CPUS}")
    if precision == "bf16" and device.type == "cpu" and not multiplies_in_bf16("cpu"):
        accelerator.print(SLOW_BF16)
    return accelerator


def make_optimizer(model: torch.nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """AdamW over what trains; biases, norms and scales do not decay."""
    training = [p for p in model.parameters() if p.requires_grad]
    if not training:
        raise ValueError("every weight is frozen: unfreeze a tower (freeze_vision, freeze_text) or train a head.")
    groups = [
        {"params": [p for p in training if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in training if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=options.learning_rate)


class History:
    """Means of the losses since the last line, one line of `history.jsonl` every `log_steps`."""

    def __init__(self, folder: Path, accelerator: Accelerator, start_step: int):
        self.path, self.accelerator = Path(folder, "history.jsonl"), accelerator
        self.sums, self.count = {}, 0
        if accelerator.is_main_process:
            keep_lines(self.path, start_step)

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().float()
        self.count += 1

    def write(self, step: int, total_steps: int, **others) -> dict | None:
        """The means over all processes; the main process writes them down. None if every step was skipped."""
        if not self.count:
            return None
        names = sorted(self.sums)
        means = self.accelerator.reduce(torch.stack([self.sums[n] for n in names]) / self.count, reduction="mean")
        line = {"step": step, "total_steps": total_steps, **dict(zip(names, means.tolist(), strict=True)), **others}
        self.sums, self.count = {}, 0
        if self.accelerator.is_main_process:
            append_line(self.path, line)
        self.accelerator.log({k: v for k, v in line.items() if k not in ("step", "total_steps")}, step=step)
        return line


def train(
    accelerator, model, make_batches, total_steps: int, options: TrainingOptions, losses_of, on_step=None
) -> dict:
    """The loop both stages share. When it begins, the recipe is written down.

    A step whose loss or gradient is not finite is skipped (see `StepGuard`). On SIGTERM the run saves a checkpoint
    after the step at hand and ends.

    Args:
        make_batches: `start_step -> DataLoader` that yields this process's batches from that micro-batch on: the
            model's arguments, "rows" (N,) and "corrupt", see `data.make_loader`.
        total_steps: optimizer steps.
        losses_of: `model output -> {name: scalar}`, with the total under "loss".
        on_step: `(step, history line or None, averaged) -> None`, called on every process after each optimizer step.
            `with averaged():` the model holds the averages of its weights, if `options.ema_decay` keeps any.
    The model is left with the averages.
    Returns:
        `{"seconds", "images_per_second", "steps", "resumed_from", "trained_weights", "skipped_steps",
        "corrupt_images"}`; the last says how many draws fell on which row's undecodable image.

    Raises:
        FloatingPointError: too many steps in a row were skipped, or weights to be saved are not finite.
        MemoryError: with the options that help.
        SystemExit: 143, the status of a process ended by SIGTERM.
    """
    with explained_out_of_memory(options), StopRequest() as stop:
        return _train(accelerator, model, make_batches, total_steps, options, losses_of, on_step, stop)


def _train(accelerator, model, make_batches, total_steps, options, losses_of, on_step, stop) -> dict:
    folder, accumulate = Path(options.output), options.gradient_accumulation
    whole = model
    model, optimizer, average = _prepare(accelerator, model, options)
    averaged = average.swapped if average else nullcontext
    checkpoint, binding = choose_checkpoint(folder, accelerator, options.resume), binding_options(options)
    start = load_checkpoint(checkpoint, accelerator, model, optimizer, average, binding) if checkpoint else 0
    if accelerator.is_main_process:
        # Not before: a run that cannot begin would change the record of the finished one in this folder.
        save_recipe(options, folder)
        if not start:
            (folder / EPOCHS).unlink(missing_ok=True)  # of a run before, which records of this one would follow
    history = History(folder, accelerator, start)
    # What has been done by the time it is seen cannot be skipped: the first such step ends the run.
    borne = 1 if takes_steps_itself(accelerator) else options.max_skipped_steps
    guard = StepGuard(accelerator, model, folder, start, borne)
    # One process alone counts what was drawn before, as counts of all are added.
    known = corrupt_draws_of(checkpoint) if checkpoint and accelerator.is_main_process else {}
    corrupt = CorruptImages(known)
    weights = [p for p in model.parameters() if p.requires_grad]
    batches = iter(make_batches(start * accumulate))
    if checkpoint:
        restore_random_state(checkpoint, accelerator)

    model.train()
    began, images = time.perf_counter(), 0
    bar = tqdm(
        total=total_steps, initial=start, unit="step", desc=folder.name, disable=not accelerator.is_local_main_process
    )
    step, pending = start, []
    for batch in batches:
        rows = batch.pop("rows")
        corrupt.saw(batch.pop("corrupt"))
        batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in batch.items()}
        rate = learning_rate_at(step, total_steps, options.learning_rate, options.warmup, options.schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with accelerator.accumulate(model):
            losses = losses_of(model(**batch))
            accelerator.backward(losses["loss"])
            guard.saw(rows, losses["loss"])
            pending.append({name: loss.detach() for name, loss in losses.items()})
            if accelerator.sync_gradients:
                norm = accelerator.clip_grad_norm_(weights, options.max_grad_norm or float("inf"))
                finite, stopping = guard.agree(norm, stop.asked)
                # A loss scaler skips by itself, and has to be asked to, or it would never lower its scale.
                if finite or accelerator.scaler is not None:
                    optimizer.step()
            optimizer.zero_grad()
        images += len(rows) * accelerator.num_processes
        if not accelerator.sync_gradients:
            continue
        step += 1
        if finite:
            guard.stepped()
            for losses in pending:
                history.add(losses)
            if average:
                average.update(step)
        else:
            guard.skip(step, norm, accelerator.scaler is not None and accelerator.scaler.get_scale() >= 1)
        pending = []
        line = None
        if step % options.log_steps == 0 or step == total_steps:
            speed = images / (time.perf_counter() - began)
            line = history.write(
                step,
                total_steps,
                learning_rate=rate,
                images_per_second=round(speed, 1),
                skipped_steps=guard.skipped,
            )
        if line:
            shown = {k.removesuffix("_loss"): f"{v:.3f}" for k, v in line.items() if k.endswith("loss")}
            bar.set_postfix(shown | {"images/s": f"{speed:.0f}"})
        bar.update()
        due = options.checkpoint_steps and step % options.checkpoint_steps == 0
        if due or stopping or step == total_steps:
            guard.refuse_broken(step, training_tensors(accelerator.unwrap_model(model)))
            if average:
                guard.refuse_broken(step, average.averages)
        if on_step is not None:
            on_step(step, line, averaged)
            model.train()
        if due or stopping:
            draws = corrupt.of_all_processes()
            # DeepSpeed's state is no safetensors.
            written = not takes_steps_itself(accelerator) and save_checkpoint(
                folder, step, accelerator, model, optimizer, average, draws, binding
            )
        if stopping:
            accelerator.print(
                f"\nSIGTERM: {'saved' if written else 'NOT SAVED'} at step {step}; the same command with --resume true "
                "goes on from the newest checkpoint"
            )
            raise SystemExit(128 + signal.SIGTERM)
    bar.close()
    if average:
        average.write()
    if reshapes(accelerator):
        load_whole(whole, accelerator.unwrap_model(model))
        whole.to(accelerator.device)
    seconds = time.perf_counter() - began
    return {
        "seconds": round(seconds, 2),
        "images_per_second": round(images / seconds, 1) if images else 0.0,
        "steps": step,
        "resumed_from": start,
        "trained_weights": sum(p.numel() for p in weights),
        "skipped_steps": guard.skipped,
        "corrupt_images": {str(row): count for row, count in corrupt.of_all_processes().items()},
    }


def _prepare(accelerator, model, options: TrainingOptions):
    """The model and its optimizer as the loop needs them, and the averages of its weights, if any are kept."""
    if reshapes(accelerator):
        # It is changed in place, and the caller's model has to be whole at the end.
        model = shardable(copy.deepcopy(model))
    optimizer = make_optimizer(model, options)
    if options.activation_checkpointing:
        # The name since transformers 5.21, and the one before.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable()
    if options.compile:
        model.clef.vision_model.compile()
        model.clef.text_model.compile()
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    # Convolutions take about a quarter less time in this layout, and their inputs follow their weights. FSDP2 and
    # DeepSpeed cannot cut it into shards.
    if not reshapes(accelerator):
        model = model.to(memory_format=torch.channels_last)
    weights = list(model.parameters())
    trained = sum(p.numel() for p in weights if p.requires_grad)
    accelerator.print(f"{trained:,} of {sum(p.numel() for p in weights):,} weights train")
    model, optimizer = accelerator.prepare(model, optimizer)
    average = WeightAverage(accelerator.unwrap_model(model), options.ema_decay) if options.ema_decay else None
    return model, optimizer, average


def total_optimizer_steps(options: TrainingOptions, batches_per_epoch: int) -> int:
    if options.max_steps:
        return options.max_steps
    return max(1, round(options.epochs * batches_per_epoch / options.gradient_accumulation))


def write_metrics(folder: Path, **metrics) -> None:
    """Adds to `metrics.json`, keeping what other scripts wrote there."""
    path = Path(folder, "metrics.json")
    known = json.loads(path.read_text()) if path.exists() else {}
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(known | metrics, indent=2) + "\n")
    partial.rename(path)
