"""Resumable training state as safetensors and JSON: nothing here is ever unpickled.

A checkpoint is a folder `checkpoints/step_00000100` with the weights that train, buffers, their moving averages (if
any are kept), optimizer state and, per process, the random generators' state. Order of data, augmentation and learning
rate are functions of the step, so that there is nothing of them to store.
"""

import json
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from train_scripts.ema import WeightAverage

KEEP = 2


def save_checkpoint(
    folder: Path, step: int, accelerator: Accelerator, model, optimizer, average: WeightAverage | None = None
) -> None:
    """Writes a checkpoint atomically and removes all but the newest `KEEP`. Called by every process."""
    final = Path(folder, "checkpoints", f"step_{step:08d}")
    partial = final.with_name(final.name + ".partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(training_state(accelerator.unwrap_model(model)), partial / "model.safetensors")
        if average is not None:
            save_file(average.state_dict(), partial / "average.safetensors")
        state = optimizer.state_dict()
        tensors = {f"{key}.{name}": t for key, slots in state["state"].items() for name, t in slots.items()}
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in tensors.items()}, partial / "optimizer.safetensors"
        )
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
        progress = {"step": step, "num_processes": accelerator.num_processes}
        (partial / "state.json").write_text(
            json.dumps({**progress, "param_groups": state["param_groups"], "scaler": scaler})
        )
    accelerator.wait_for_everyone()
    save_file(_random_state(), partial / f"random_{accelerator.process_index}.safetensors")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in sorted(final.parent.glob("step_????????"))[:-KEEP]:
            shutil.rmtree(old)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run folder."""
    return max(Path(folder, "checkpoints").glob("step_????????"), default=None)


def load_checkpoint(
    checkpoint: Path, accelerator: Accelerator, model, optimizer, average: WeightAverage | None = None
) -> int:
    """Restores weights, averages and optimizer; returns the step to go on from.

    The random generators are restored apart, by `restore_random_state`, after the data iterator exists: creating it
    draws from them.
    """
    state = json.loads((checkpoint / "state.json").read_text())
    if state["num_processes"] != accelerator.num_processes:
        raise ValueError(
            f"{checkpoint} was written by {state['num_processes']} processes and is resumed by "
            f"{accelerator.num_processes}. Launch the same number, or start anew in another output folder."
        )
    inner = accelerator.unwrap_model(model)
    expected = set(training_state(inner))
    weights = load_file(checkpoint / "model.safetensors", device=str(accelerator.device))
    if set(weights) != expected:
        raise ValueError(
            f"{checkpoint} holds other weights than this model: {sorted(expected ^ set(weights))[:5]} … "
            "Resume with the options the run was started with."
        )
    inner.load_state_dict(weights, strict=False)
    averages = checkpoint / "average.safetensors"
    if averages.exists() != (average is not None):
        raise ValueError(
            f"{checkpoint} was written {'with' if averages.exists() else 'without'} averages of the weights. Resume "
            "with the ema_decay the run was started with."
        )
    if average is not None:
        average.load_state_dict(load_file(averages))
    slots: dict[int, dict] = {}
    for name, tensor in load_file(checkpoint / "optimizer.safetensors").items():
        key, slot = name.split(".", 1)
        slots.setdefault(int(key), {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": state["param_groups"]})
    if accelerator.scaler is not None and state["scaler"]:
        accelerator.scaler.load_state_dict(state["scaler"])
    return state["step"]


def restore_random_state(checkpoint: Path, accelerator: Accelerator) -> None:
    state = load_file(checkpoint / f"random_{accelerator.process_index}.safetensors")
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def training_state(model) -> dict[str, torch.Tensor]:
    """Weights that train, and buffers; frozen weights come from where the run got them."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items() if k not in frozen}


def _random_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state
