"""Gradient caching: a contrastive batch that the memory of activations does not bound (Gao et al. 2021,
https://arxiv.org/abs/2101.06983).

All images are encoded in chunks of which only the embeddings are kept, the loss sees all embeddings, and when its
gradient comes back each chunk is encoded once more, now keeping activations, and followed down to the weights before
the next. Dropout draws what it drew the first time. The price is one more forward pass of the vision tower.

The gradient is that of the same chunks encoded without caching, and without dropout that of the whole batch at once.
Batch norm is the exception: it normalises each chunk by the chunk's own mean and variance, as it does each process's
batch where several processes train.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import MethodType

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def encode_in_chunks(
    encode: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, chunk: int, module: nn.Module
) -> torch.Tensor:
    """`encode(inputs)`, (N, …) to (N, D), at most `chunk` rows at a time, recomputed in the backward pass.

    Chunks differ by one row at most: a batch norm can do little with one that is left over.

    Args:
        module: what `encode` runs; its batch norms count a chunk's statistics once, though they see it twice.
    """

    def contexts():
        return nullcontext(), running_statistics_kept(module)

    parts = inputs.tensor_split(max(1, -(-len(inputs) // chunk)))
    # One engine runs nodes in the reverse order of their making: a chunk is done before the one before it begins.
    return torch.cat([checkpoint(encode, part, use_reentrant=False, context_fn=contexts) for part in parts])


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch norms in training mode normalise as ever inside, but leave their running statistics alone."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    # Statistics stay arguments of the operation: without them, other tensors would be saved than the first time.
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, number) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(number)


def cache_gradients(model: nn.Module, chunk: int) -> bool:
    """Makes a `CLEFForPreTraining` encode at most `chunk` views at a time. Texts, one an activity, stay whole.

    Evaluation and anything else without gradients is as before. Losses gather embeddings across processes as ever.

    Returns:
        Whether the vision tower has batch norms that see chunks now.
    Raises:
        ValueError: `chunk` is below 1, or the vision tower is frozen and keeps no activations anyway.
    """
    if chunk < 1:
        raise ValueError(f"cache_chunk: got {chunk}, expected at least 1 image.")
    clef = model.clef
    if not any(p.requires_grad for p in clef.vision_model.parameters()):
        raise ValueError("the vision tower is frozen and keeps no activations: leave cache_chunk at 0.")
    whole = type(clef).image_embeds

    def image_embeds(self, pixel_values: torch.Tensor, **kwargs) -> torch.Tensor:
        if not torch.is_grad_enabled() or len(pixel_values) <= chunk:
            return whole(self, pixel_values, **kwargs)
        return encode_in_chunks(lambda part: whole(self, part, **kwargs), pixel_values, chunk, self.vision_model)

    clef.image_embeds = MethodType(image_embeds, clef)
    return any(isinstance(module, _BatchNorm) for module in clef.vision_model.modules())


__all__ = ["cache_gradients", "encode_in_chunks", "running_statistics_kept"]
