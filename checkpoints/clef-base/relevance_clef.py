"""Where in an image the similarity to a text comes from: relevance maps, for transformers and convolutional towers.

A map says which parts this model's score hangs on, by its gradients. It does not say whether the score is right.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from .towers_clef import pooled_image_features

# Ours: feature maps with fewer cells a side cannot tell a brow from an eye.
FEWEST_CELLS = 8


def relevance_map(
    model: nn.Module,
    pixel_values: torch.Tensor,
    label: int | torch.Tensor,
    interpolate_pos_encoding: bool = False,
) -> torch.Tensor:
    """How much each place of each image speaks for a label.

    What is explained is the cosine of image and text embedding, before scale, bias and calibration, and apart from
    other labels of a softmax; with a linear head, the logit.

    Transformers: attention times gradient, rolled out over the layers (Chefer, Gur and Wolf, "Generic Attention-model
    Explainability", ICCV 2021, eqs. 5 and 6), with eager attention while it lasts. Their last step takes the row of
    the class token; as towers pool differently, rows are weighted here by the norm of the score's gradient at each
    token of the last layer, which comes to the same where only the class token is pooled.

    Convolutional towers: activation times gradient, summed over channels, the positive part (HiResCAM, Draelos and
    Carin 2020, there for the last layer), each scaled to a maximum of 1 and added up over all stages with at least 8
    cells a side, or of the finest stage if none has. On rendered faces that show the action unit, hiding the highest
    15 % of `checkpoints/clef-small`'s map lowers the cosine by .25 on the mean over six action units, and by .01 when
    areas as large are shifted at random (48 faces; over all faces, shown or not: by .04, and not at all).

    Args:
        model: `CLEFForImageClassification`, or any CLEF model where a text embedding is given.
        pixel_values: (N, 3, H, W), as for the model.
        label: column of the logits; or text embedding, (D,) for all images or (N, D), any length.
        interpolate_pos_encoding: for transformers at another image size than they were made for.

    Returns:
        (N, H, W) float32 in [0, 1], bilinear between the tower's patches or cells. The maximum of each image is 1,
        unless nothing speaks for the label: then all are 0. Maps of different images or labels have no common scale.

    Raises:
        ValueError: images or a label of another shape, no such column, a text embedding for a linear head, a tower
            that shows neither attention between patches nor feature maps.
    """
    if pixel_values.ndim != 4 or not len(pixel_values):
        raise ValueError(f"got pixel_values {tuple(pixel_values.shape)}, expected (N, 3, H, W) with N at least 1.")
    clef = model.base_model
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            target = _target(model, label, len(pixel_values))
            # A copy that wants a gradient: frozen towers would not have any else.
            pixels = pixel_values.detach().clone().to(clef.device, clef.dtype).requires_grad_()
            coarse = None
            if hasattr(clef.vision_model.config, "num_attention_heads"):
                coarse = _attention_rollout(model, pixels, target, interpolate_pos_encoding)
            if coarse is None:
                coarse = _activation_times_gradient(model, pixels, target)
    finally:
        model.train(training)
    return _scaled(_enlarged(coarse, pixel_values.shape[-2:]))


def _target(model: nn.Module, label: int | torch.Tensor, images: int) -> int | torch.Tensor:
    """The column of a linear head's logits, or unit text embeddings (1 or N, D)."""
    linear = getattr(model.config, "head", None) == "linear" and hasattr(model, "label_head")
    clef = model.base_model
    if isinstance(label, torch.Tensor) and label.ndim > 0:
        if linear:
            raise ValueError("a linear head compares images with no text; give the column of a label.")
        embeds = label.detach().clone().to(clef.device).float()
        embeds = embeds[None] if embeds.ndim == 1 else embeds
        width = clef.config.projection_dim
        if embeds.ndim != 2 or len(embeds) not in (1, images) or embeds.shape[1] != width:
            raise ValueError(f"got a text embedding {tuple(label.shape)}, expected ({width},) or ({images}, {width}).")
        return F.normalize(embeds, dim=-1)
    if not hasattr(model, "label_head"):
        raise ValueError(f"a {type(model).__name__} has no labels; give a text embedding.")
    column, labels = int(label), len(model.label_head.biases)
    if not 0 <= column < labels:
        raise ValueError(f"got column {column}, expected 0 to {labels - 1}: {labels} labels.")
    if linear:
        return column
    with torch.no_grad():
        return F.normalize(model.label_head.embed_names(clef)[column].clone()[None].float(), dim=-1)


def _score(model: nn.Module, outputs, target: int | torch.Tensor) -> torch.Tensor:
    """Sum over the images; each image's gradient is its own."""
    features = pooled_image_features(outputs)
    if isinstance(target, int):
        return model.label_head.linear_logits(features)[:, target].sum()
    embeds = F.normalize(model.base_model.visual_projection(features).float(), dim=-1)
    return (embeds * target).sum()


def _attention_rollout(model: nn.Module, pixels: torch.Tensor, target, interpolate: bool) -> torch.Tensor | None:
    """(N, h, w) over the patches; None for a tower whose layers do not attend from every token to every token."""
    clef = model.base_model
    with _eager_attention(clef.vision_model):
        outputs = clef.encode_images(pixels, interpolate, output_attentions=True)
        attentions, last = outputs.attentions, outputs.last_hidden_state
        whole = (len(last), last.shape[1], last.shape[1])
        if not attentions or last.ndim != 3 or any((len(a), *a.shape[2:]) != whole for a in attentions):
            return None
        *slopes, at_last = torch.autograd.grad(_score(model, outputs, target), [*attentions, last])
    with torch.no_grad():
        relevance = torch.eye(last.shape[1], device=last.device).expand(len(last), -1, -1)
        for attention, slope in zip(attentions, slopes, strict=True):
            heads = (attention.float() * slope.float()).clamp(min=0).mean(dim=1)
            relevance = relevance + heads @ relevance
        weights = at_last.float().norm(dim=-1)
        tokens = (weights[:, None] @ relevance)[:, 0]
        rows, columns = _grid(clef.vision_model.config, pixels)
        prefix = tokens.shape[1] - rows * columns  # class token, registers
        if prefix < 0:
            raise ValueError(f"the tower has {tokens.shape[1]} tokens for {rows} x {columns} patches.")
        # What a token has of itself shows how the tower pools, not what the patch shows.
        return (tokens - weights)[:, prefix:].clamp(min=0).unflatten(1, (rows, columns))


def _activation_times_gradient(model: nn.Module, pixels: torch.Tensor, target) -> torch.Tensor:
    """(N, h, w) with the cells of the finest stage that counts."""
    outputs = model.base_model.encode_images(pixels, output_hidden_states=True)
    stages = [*(outputs.get("hidden_states") or ())][1:]  # the first is what goes into the first stage
    stages = [stage for stage in stages if _as_maps(stage) is not None]
    if not stages:
        raise ValueError(
            f"a tower of type {model.base_model.vision_model.config.model_type!r} shows neither attention between all "
            "of its patches nor feature maps (N, C, h, w)."
        )
    slopes = torch.autograd.grad(_score(model, outputs, target), stages, allow_unused=True)
    with torch.no_grad():
        pairs = zip(stages, slopes, strict=True)
        pairs = [(_as_maps(stage), _as_maps(slope)) for stage, slope in pairs if slope is not None]
        finest = max(min(stage.shape[-2:]) for stage, _ in pairs)
        counted = [pair for pair in pairs if min(pair[0].shape[-2:]) >= min(FEWEST_CELLS, finest)]
        size = max((stage.shape[-2:] for stage, _ in counted), key=min)
        maps = [_scaled((stage.float() * slope.float()).sum(dim=1).clamp(min=0)) for stage, slope in counted]
        return sum(_enlarged(part, size) for part in maps)


def _as_maps(states: torch.Tensor) -> torch.Tensor | None:
    """(N, C, h, w); transformers that merge patches have a square of them as (N, h * w, C)."""
    if states.ndim == 4:
        return states
    side = math.isqrt(states.shape[1])
    if states.ndim != 3 or side**2 != states.shape[1]:
        return None
    return states.transpose(1, 2).unflatten(2, (side, side))


def _grid(config, pixels: torch.Tensor) -> tuple[int, int]:
    patch = config.patch_size
    height, width = patch if isinstance(patch, (list, tuple)) else (patch, patch)
    return pixels.shape[-2] // height, pixels.shape[-1] // width


def _enlarged(maps: torch.Tensor, size) -> torch.Tensor:
    return F.interpolate(maps[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    highest = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(highest > 0, maps / highest.clamp(min=torch.finfo(maps.dtype).tiny), 0)


@contextmanager
def _eager_attention(tower: nn.Module) -> Iterator[None]:
    """Other implementations do not show their attention."""
    before = tower.config._attn_implementation
    if before == "eager":
        yield
        return
    tower.set_attn_implementation("eager")
    try:
        yield
    finally:
        tower.set_attn_implementation(before)


__all__ = ["relevance_map"]
