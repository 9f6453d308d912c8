"""FSDP2 and DeepSpeed: what the loop has to know of them. With neither, nothing here does anything.

FSDP2 spreads every tensor over the processes: they are brought together for a file, and spread again after reading it.
DeepSpeed takes the optimizer's step by itself, inside the backward pass.
"""

import os

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor, distribute_tensor


def prepare_for_launcher(accelerator: Accelerator, options) -> None:
    """Tells a launch file's DeepSpeed what this run is, and says or refuses what does not go together.

    Raises:
        ValueError: an option that FSDP2 or DeepSpeed cannot serve.
    """
    # The script's option decides, whatever the launcher's environment says.
    accelerator.gradient_accumulation_steps = options.gradient_accumulation
    kind = accelerator.distributed_type
    for name, variable, started in (
        ("FSDP", "ACCELERATE_USE_FSDP", DistributedType.FSDP),
        ("DeepSpeed", "ACCELERATE_USE_DEEPSPEED", DistributedType.DEEPSPEED),
    ):
        if os.environ.get(variable, "false").lower() == "true" and kind != started:
            accelerator.print(f"the launch file asks for {name}, which Accelerate uses on GPUs only: not used here")
    if kind == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise ValueError("got FSDP version 1, expected 2: set fsdp_version: 2 in the launch file's fsdp_config.")
    if kind not in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return
    refused = {"compile": options.compile, "eval_steps": options.eval_steps, "lora_rank": options.lora_rank}
    refused["epoch_scores"] = getattr(options, "epoch_scores", False)
    if kind == DistributedType.DEEPSPEED:
        refused |= {"checkpoint_steps": options.checkpoint_steps, "resume": options.resume}
        refused |= {"ema_decay": options.ema_decay}
    names = [name for name, value in refused.items() if value]
    if names:
        raise ValueError(
            f"{', '.join(names)}: not with {kind.value}, see docs/launching.md. Leave them out, or launch with "
            "train_scripts/accelerate/gpus.yaml."
        )
    if kind == DistributedType.DEEPSPEED:
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        config["train_micro_batch_size_per_gpu"] = options.batch_size
        config["gradient_accumulation_steps"] = options.gradient_accumulation
        config["gradient_clipping"] = options.max_grad_norm


def takes_steps_itself(accelerator: Accelerator) -> bool:
    """Whether the optimizer has stepped when the backward pass returns."""
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def reshapes(accelerator: Accelerator) -> bool:
    """Whether `prepare` turns a model's weights into something else, in place."""
    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def shardable(model: torch.nn.Module) -> torch.nn.Module:
    """The model itself, made into what FSDP2 and DeepSpeed can shard: scalar weights become vectors of one."""
    for module in list(model.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.ndim == 0:
                vector = torch.nn.Parameter(parameter.detach()[None], requires_grad=parameter.requires_grad)
                setattr(module, name, vector)
    # Accelerate makes a language model's input embeddings a unit of their own; these models have none to tell of.
    model.get_input_embeddings = lambda: None
    return model


def load_whole(whole: torch.nn.Module, sharded: torch.nn.Module) -> None:
    """Copies the weights of a model that `shardable` and `prepare` changed into one that is whole. Called by every
    process."""
    like = whole.state_dict()
    whole.load_state_dict({name: t.view(like[name].shape) for name, t in full_tensors(sharded.state_dict()).items()})


def is_sharded(model: torch.nn.Module) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def full_tensors(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Detached, contiguous, on the CPU and whole. If any is sharded, every process has to call this."""
    return {
        name: (t.full_tensor() if isinstance(t, DTensor) else t).detach().cpu().contiguous()
        for name, t in tensors.items()
    }


def shards_like(tensors: dict[str, torch.Tensor], like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Whole tensors, the same on every process, spread as those of the same name in `like` are."""
    return {
        name: distribute_tensor(t.to(like[name].device), like[name].device_mesh, like[name].placements)
        if isinstance(like[name], DTensor)
        else t
        for name, t in tensors.items()
    }
