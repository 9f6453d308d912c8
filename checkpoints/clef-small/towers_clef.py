"""What differs between towers: width, pooling, arguments, parts that never see a gradient."""

import inspect

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

# Parts that stock towers carry for another purpose than the pooled output; they would never get a gradient, which
# DistributedDataParallel takes for an error.
PRETEXT_PARAMETERS = ("mask_token",)
POOLER_MODULES = ("pooler", "head")


def make_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """A tower with initial weights."""
    if not hasattr(config, "num_attention_heads"):
        # Convolutional towers refuse any other attention than this, which the whole model may have been asked for.
        config._attn_implementation = "eager"
    return AutoModel.from_config(config)


def tower_width(config: PreTrainedConfig) -> int:
    """Channels of the pooled output; of a convolutional tower, those of its last stage."""
    width = getattr(config, "hidden_size", None) or getattr(config, "hidden_sizes", [None])[-1]
    if width is None:
        raise ValueError(
            f"a tower of type {config.model_type!r} has neither hidden_size nor hidden_sizes; use one that does."
        )
    return width


def pooled_image_features(outputs) -> torch.Tensor:
    """(N, C); convolutional towers pool to (N, C, 1, 1)."""
    if outputs.pooler_output is None:
        raise ValueError("the vision tower returns no pooler_output; use a tower that pools.")
    return outputs.pooler_output.flatten(1)


def with_pooled(outputs, pooled: torch.Tensor) -> BaseModelOutputWithPooling:
    """A tower's outputs with another `pooler_output`, as CLIPModel returns them."""
    return BaseModelOutputWithPooling(
        last_hidden_state=outputs.last_hidden_state,
        pooler_output=pooled,
        hidden_states=outputs.get("hidden_states"),
        attentions=outputs.get("attentions"),
    )


def pool_text(outputs, attention_mask: torch.Tensor | None, pooling: str) -> torch.Tensor:
    """(T, C) from a text tower's outputs; padding (mask 0) counts for nothing."""
    if pooling == "pooler":
        if outputs.get("pooler_output") is None:
            raise ValueError("the text tower has no pooler of its own; set text_pooling to 'mean', 'cls' or 'last'.")
        return outputs.pooler_output
    states = outputs.last_hidden_state
    if pooling == "cls":
        return states[:, 0]
    if attention_mask is None:
        return states.mean(dim=1) if pooling == "mean" else states[:, -1]
    if pooling == "mean":
        weights = attention_mask[:, :, None].to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    positions = torch.arange(states.shape[1], device=states.device)
    last = (attention_mask.to(positions.device) * positions).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), last]


def takes_position_interpolation(tower: nn.Module) -> bool:
    return "interpolate_pos_encoding" in inspect.signature(tower.forward).parameters


def fold_batch_norms(tower: nn.Module) -> int:
    """Makes batch norms, which are affine in eval mode, part of the convolutions before them; says how many."""
    folded = 0
    for module in tower.modules():
        # Where a module of transformers has both by these names, one is all that the other is given.
        convolution, norm = (getattr(module, name, None) for name in ("convolution", "normalization"))
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.convolution, module.normalization = fuse_conv_bn_eval(convolution, norm), nn.Identity()
            folded += 1
    return folded


def stop_unused_gradients(vision_model: nn.Module, text_model: nn.Module | None, text_pooling: str) -> None:
    """Sets `requires_grad=False` on what no loss can reach. `text_model`: None where it is left out."""
    for tower in filter(None, (vision_model, text_model)):
        for name, parameter in tower.named_parameters():
            if name.rsplit(".", 1)[-1] in PRETEXT_PARAMETERS:
                parameter.requires_grad_(False)
    if text_pooling != "pooler":
        for name in POOLER_MODULES:
            unused = getattr(text_model, name, None)
            if unused is not None:
                unused.requires_grad_(False)


__all__ = [
    "fold_batch_norms",
    "make_tower",
    "pool_text",
    "pooled_image_features",
    "stop_unused_gradients",
    "takes_position_interpolation",
    "tower_width",
    "with_pooled",
]
