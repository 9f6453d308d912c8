"""Resumable training state as safetensors and JSON: nothing here is ever unpickled.

A checkpoint is a folder `checkpoints/step_00000100` with the weights that train, buffers, their moving averages (if
any are kept), optimizer state and the random generators' state of every process. Order of data, augmentation and
learning rate are functions of the step, so that there is nothing of them to store.

It is written beside, under a name of its own, brought to the disk, and renamed; `checksums.json` holds the SHA-256 of
every file. One that is not what its checksums say is never loaded: it is put aside, and the one before it is.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file, save_file

from train_scripts.ema import WeightAverage
from train_scripts.failures import STEADIER, WRITE_ERRORS, explained_write_errors, tell
from train_scripts.sharding import full_tensors, is_sharded, shards_like

KEEP = 2
CHECKSUMS = "checksums.json"
# What training and evaluation say of the weights in a folder, and is not true of others.
LOGS = ("history.jsonl", "skipped_steps.jsonl")
EPOCHS = "epochs.jsonl"
PREDICTIONS = ("predictions.parquet", "results.json", "results.csv")
OF_ONE_MODEL = (
    *LOGS,
    *PREDICTIONS,
    EPOCHS,
    "metrics.json",
    "compare.json",
    "report.html",
    "calibration.png",
    "README.md",
)


def save_checkpoint(
    folder: Path,
    step: int,
    accelerator: Accelerator,
    model,
    optimizer,
    average: WeightAverage | None = None,
    corrupt_draws: dict[int, int] | None = None,
    options: dict | None = None,
) -> bool:
    """Writes a checkpoint atomically and removes all but the newest `KEEP`. Called by every process.

    Args:
        corrupt_draws: of all processes, see `CorruptImages`.
        options: `binding_options` of the run.

    Returns:
        whether it was written. If it could not be (a full disk), that is said, the earlier ones stay, and the run can
        go on.
    """
    inner, random = accelerator.unwrap_model(model), _random_states(accelerator)
    files = {"random": random}
    # Sharded tensors are brought together by all processes; otherwise only the main one needs copies.
    if accelerator.is_main_process or is_sharded(inner):
        state = optimizer.state_dict()
        tensors = {f"{key}.{name}": t for key, slots in state["state"].items() for name, t in slots.items()}
        files |= {"model": training_state(inner), "optimizer": full_tensors(tensors)}
        if average is not None:
            files["average"] = full_tensors(average.averages)
    written = True
    if accelerator.is_main_process:
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
        progress = {
            "step": step,
            "num_processes": accelerator.num_processes,
            "corrupt_draws": {str(row): count for row, count in (corrupt_draws or {}).items()},
            "param_groups": state["param_groups"],
            "scaler": scaler,
            "options": options,
        }
        final = Path(folder, "checkpoints", f"step_{step:08d}")
        try:
            _write(final, files, progress)
            for old in sorted(final.parent.glob("step_????????"))[:-KEEP]:
                shutil.rmtree(old)
        except WRITE_ERRORS as error:
            written = False
            kept = ", ".join(path.name for path in sorted(final.parent.glob("step_????????"))) or "none"
            tell(
                f"\nCHECKPOINT NOT WRITTEN at step {step}: {error}. The run goes on; checkpoints on disk: {kept}. "
                "Make room."
            )
    accelerator.wait_for_everyone()
    return written


def newest_checkpoint(folder: Path, say: Callable = print) -> Path | None:
    """The newest checkpoint of a run folder that is as it was written; `say` prints what is wrong with newer ones."""
    for checkpoint in sorted(Path(folder, "checkpoints").glob("step_????????"), reverse=True):
        fault = damage(checkpoint)
        if fault is None:
            return checkpoint
        say(f"{checkpoint} is damaged and is not used: {fault}")
    return None


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, None if nothing."""
    try:
        expected = json.loads((checkpoint / CHECKSUMS).read_text())
    except (OSError, ValueError) as error:
        return f"{CHECKSUMS} cannot be read ({error})"
    if not isinstance(expected, dict) or "state.json" not in expected:
        return f"{CHECKSUMS} does not name the files"
    for name, digest in expected.items():
        try:
            found = _digest(checkpoint / name)
        except OSError as error:
            return f"{name} cannot be read ({error})"
        if found != digest:
            return f"{name} is not what was written (checksum)"
    return None


def choose_checkpoint(folder: Path, accelerator: Accelerator, resume: bool) -> Path | None:
    """The checkpoint that a run starts from, the same on every process, which all call this.

    What an earlier process left half written is removed. Damaged checkpoints get the ending `.damaged`, and a run that
    starts anew puts those of an earlier run into `checkpoints.before`, so that none is taken for this run's.

    Raises:
        FileNotFoundError: another process does not see the checkpoint.
    """
    chosen = [None]
    if accelerator.is_main_process:
        checkpoints = Path(folder, "checkpoints")
        for partial in checkpoints.glob("*.partial"):
            shutil.rmtree(partial)
        if resume:
            chosen[0] = newest_checkpoint(folder, accelerator.print)
            for path in sorted(checkpoints.glob("step_????????")):
                if chosen[0] is None or path.name > chosen[0].name:
                    _replace_folder(path, path.with_name(path.name + ".damaged"))
            found = chosen[0]
            accelerator.print(f"resumed from {found}" if found else "nothing to resume from: starting anew")
        elif any(checkpoints.glob("step_????????")):
            before = checkpoints.with_name("checkpoints.before")
            _replace_folder(checkpoints, before)
            accelerator.print(f"starting anew: the checkpoints of an earlier run are now in {before}")
    checkpoint = broadcast_object_list(chosen)[0]
    if checkpoint is not None and not checkpoint.is_dir():
        raise FileNotFoundError(
            f"process {accelerator.process_index} does not see {checkpoint}, from which process 0 resumes: `output` "
            "has to be a folder that all machines share."
        )
    return checkpoint


def load_checkpoint(
    checkpoint: Path,
    accelerator: Accelerator,
    model,
    optimizer,
    average: WeightAverage | None = None,
    options: dict | None = None,
) -> int:
    """Restores weights, averages and optimizer; returns the step to go on from.

    The random generators are restored apart, by `restore_random_state`, after the data iterator exists: creating it
    draws from them.

    Args:
        options: `binding_options` of the run that goes on. Checkpoints of earlier versions hold none, and pass.

    Raises:
        ValueError: the checkpoint is of other options, another number of processes or another model, or holds weights
            that are not finite, as earlier versions could write them.
    """
    state = json.loads((checkpoint / "state.json").read_text())
    there, now = state.get("options") or {}, options or {}
    if differing := [name for name in there if name in now and there[name] != now[name]]:
        said = "; ".join(f"{name} {there[name]!r} there, {now[name]!r} now" for name in differing)
        raise ValueError(
            f"{checkpoint} was written with other options: {said}. Resume with the options the run was started with, "
            "or start anew in another output folder."
        )
    if state["num_processes"] != accelerator.num_processes:
        raise ValueError(
            f"{checkpoint} was written by {state['num_processes']} processes and is resumed by "
            f"{accelerator.num_processes}. Launch the same number, or start anew in another output folder."
        )
    inner = accelerator.unwrap_model(model)
    known = training_tensors(inner)
    weights = load_file(checkpoint / "model.safetensors")
    if set(weights) != set(known):
        raise ValueError(
            f"{checkpoint} holds other weights than this model: {sorted(set(known) ^ set(weights))[:5]} … "
            "Resume with the options the run was started with."
        )
    _refuse_broken(checkpoint, weights)
    inner.load_state_dict(shards_like(weights, known), strict=False)
    averages = checkpoint / "average.safetensors"
    if averages.exists() != (average is not None):
        raise ValueError(
            f"{checkpoint} was written {'with' if averages.exists() else 'without'} averages of the weights. Resume "
            "with the ema_decay the run was started with."
        )
    if average is not None:
        averaged = load_file(averages)
        _refuse_broken(checkpoint, averaged)
        average.load_state_dict(shards_like(averaged, average.averages))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict] = {}
    for name, tensor in load_file(checkpoint / "optimizer.safetensors").items():
        key, slot = name.split(".", 1)
        if tensor.ndim:  # the step count is no tensor of the parameter's shape
            tensor = shards_like({slot: tensor}, {slot: parameters[int(key)]})[slot]
        slots.setdefault(int(key), {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": state["param_groups"]})
    if accelerator.scaler is not None and state["scaler"]:
        accelerator.scaler.load_state_dict(state["scaler"])
    return state["step"]


def _refuse_broken(checkpoint: Path, weights: dict[str, torch.Tensor]) -> None:
    broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f"{checkpoint} holds {len(broken)} tensors that are not finite, {broken[0]} among them: the training had "
            f"failed before it was written. To go on from the checkpoint before it, remove it. {STEADIER} in another "
            "output folder."
        )


def corrupt_draws_of(checkpoint: Path) -> dict[int, int]:
    """How often which row's image could not be decoded until this checkpoint, on all processes."""
    draws = json.loads((checkpoint / "state.json").read_text())["corrupt_draws"]
    return {int(row): count for row, count in draws.items()}


def restore_random_state(checkpoint: Path, accelerator: Accelerator) -> None:
    # Copies: torch reads from the beginning of a tensor's memory, whichever part of it the tensor is.
    states = {
        kind: state[accelerator.process_index].clone()
        for kind, state in load_file(checkpoint / "random.safetensors").items()
    }
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def training_state(model) -> dict[str, torch.Tensor]:
    """Weights that train, and buffers, on the CPU and whole; frozen weights come from where the run got them.

    Of a sharded model, every process has to call this.
    """
    return full_tensors(training_tensors(model))


def save_finished(folder: Path, *parts, keep: Sequence[str] = ()) -> None:
    """`save_pretrained` of a model, a processor … so that a kill leaves no half-written file, the weights last.

    What an earlier model in the folder was measured at goes once the new one is on the disk.

    Args:
        keep: names of `OF_ONE_MODEL` that are of this model already.

    Raises:
        OSError: the disk is full.
    """
    folder = Path(folder)
    partial = folder / "finished.partial"
    with explained_write_errors(f"the trained model in {folder}"):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for part in parts:
            part.save_pretrained(partial)
        for name in set(OF_ONE_MODEL) - set(keep):
            # A README of somebody's own has no front matter; a card has.
            if name != "README.md" or _is_card(folder / name):
                (folder / name).unlink(missing_ok=True)
        for path in sorted(partial.iterdir(), key=lambda path: path.suffix == ".safetensors"):
            _to_disk(path)
            os.replace(path, folder / path.name)
        partial.rmdir()


def _is_card(path: Path) -> bool:
    return path.is_file() and path.read_bytes().startswith(b"---")


def _write(final: Path, files: dict[str, dict[str, torch.Tensor]], progress: dict) -> None:
    partial = final.with_name(final.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, tensors in files.items():
            save_file(tensors, partial / f"{name}.safetensors")
        (partial / "state.json").write_text(json.dumps(progress))
        checksums = {path.name: _digest(path) for path in sorted(partial.iterdir())}
        (partial / CHECKSUMS).write_text(json.dumps(checksums, indent=2))
        for path in (*partial.iterdir(), partial):
            _to_disk(path)
        _replace_folder(partial, final)
        _to_disk(final.parent)
    except WRITE_ERRORS:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _replace_folder(path: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    path.rename(target)


def _to_disk(path: Path) -> None:
    """Until this returns, a machine that loses its power may have the name but not the content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def training_tensors(model) -> dict[str, torch.Tensor]:
    """The model's own tensors that train, and buffers."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def _random_states(accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """uint8 (processes, bytes) of each kind of generator. Called by every process."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {kind: accelerator.gather(state[None].to(accelerator.device)).cpu() for kind, state in states.items()}
