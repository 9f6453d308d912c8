"""The losses, as functions of L2-normalised embeddings or of logits. The only file that knows of other processes.

Everything is computed in float32 (float64 if the inputs are), whatever autocast says; logarithms are natural.

Several processes: with `gather=None` the rows of all processes are brought together whenever `torch.distributed` runs
with more than one (`False`: never). Each process then computes its own rows against all columns, scaled so that the
mean of the processes' losses is the loss of the whole batch, and the mean of their gradients, which is what
DistributedDataParallel takes, is its gradient, whatever each process's number of rows. Every process has to call the
loss, even with nothing to add.
"""

import torch
import torch.distributed as dist
from torch.nn import functional as F

from .tiled_losses_clef import number_ids, tiled_contrast


def supervised_contrastive_loss(
    embeds: torch.Tensor,
    group_ids: torch.Tensor,
    temperature: torch.Tensor | float,
    gather: bool | None = None,
) -> torch.Tensor:
    """Multi-positive contrastive loss between images (SupCon, Khosla et al. 2020, L_out; as L_II' of the ICCV poster).

    For each anchor the mean over its positives of -log softmax over all other rows, then the mean over the anchors
    that have a positive.

    Args:
        embeds: (V, D), one row a view.
        group_ids: (V,) integers; rows of equal id are positives. Ids mean the same on every process. Rows of negative
            id belong to no known group: they are neither anchors nor negatives.
        temperature: divides the similarities.

    Returns:
        Scalar; 0, with a graph, if no anchor has a positive.
    """
    _check_ids(embeds, group_ids, "group_ids")
    with _full_precision(embeds):
        embeds = _precise(embeds)
        columns, start = _gather_rows(embeds, gather)
        column_ids, _ = _gather_rows(group_ids, gather)
        total, anchors = tiled_contrast(embeds, group_ids, columns, column_ids, 1 / temperature, own=start)
        return _mean_over_processes(total, anchors, gather)


def instance_discrimination_loss(
    embeds: torch.Tensor, temperature: torch.Tensor | float, gather: bool | None = None
) -> torch.Tensor:
    """`supervised_contrastive_loss` with each image a group of its own (SimCLR's NT-Xent). `embeds`: (N, views, D)."""
    images = torch.arange(len(embeds), device=embeds.device)
    start = _gather_rows(images, gather)[1]
    ids = (images + start).repeat_interleave(embeds.shape[1])
    return supervised_contrastive_loss(embeds.flatten(0, 1), ids, temperature, gather)


def image_text_contrastive_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    text_ids: torch.Tensor,
    logit_scale: torch.Tensor | float,
    text_row_ids: torch.Tensor | None = None,
    gather: bool | None = None,
) -> torch.Tensor:
    """Contrastive loss between images and the texts they share; the mean of both directions.

    Targets are spread evenly over all positives: an image has one, its text; a text has all images of its id. Several
    rows of one id (each process brings the texts of its own batch) count once, by the mean of their similarities.

    Args:
        image_embeds: (N, D). text_embeds: (T, D).
        text_ids: (N,) integers, the id of each image's text. An id without a text row makes the image an anchor without
            positive; a negative id also takes it out of the texts' negatives.
        logit_scale: multiplier of the similarities.
        text_row_ids: (T,) integers, the id each text row describes; default 0..T-1. Ids mean the same on every process.

    Returns:
        Scalar; a direction in which no anchor has a positive adds 0, with a graph.
    """
    if text_row_ids is None:
        text_row_ids = torch.arange(len(text_embeds), device=text_embeds.device)
    _check_ids(image_embeds, text_ids, "text_ids")
    _check_ids(text_embeds, text_row_ids, "text_row_ids")
    with _full_precision(image_embeds):
        image_embeds, text_embeds = _precise(image_embeds), _precise(text_embeds)
        images, _ = _gather_rows(image_embeds, gather)
        image_ids, _ = _gather_rows(text_ids, gather)
        texts, row_ids = _gather_rows(text_embeds, gather)[0], _gather_rows(text_row_ids, gather)[0]
        texts, row_ids = _mean_per_id(texts, row_ids)
        # After the merge every process holds all texts: each takes every W-th of them as anchors.
        rank, world = _rank_and_world(gather)
        to_text = tiled_contrast(image_embeds, text_ids, texts, row_ids, logit_scale)
        to_image = tiled_contrast(texts[rank::world], row_ids[rank::world], images, image_ids, logit_scale)
        return (_mean_over_processes(*to_text, gather) + _mean_over_processes(*to_image, gather)) / 2


def description_name_contrastive_loss(
    description_embeds: torch.Tensor, name_embeds: torch.Tensor, logit_scale: torch.Tensor | float
) -> torch.Tensor:
    """L_DN of the ICCV poster: text–text, row k of both (K, D) describes label k; the mean of both directions.

    Labels are the same on every process, so nothing is gathered.
    """
    if description_embeds.shape != name_embeds.shape:
        raise ValueError(
            f"got descriptions {tuple(description_embeds.shape)} and names {tuple(name_embeds.shape)}, "
            "expected one description a name."
        )
    with _full_precision(name_embeds):
        logits = _precise(description_embeds) @ _precise(name_embeds).T * logit_scale
        targets = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def masked_binary_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    positive_weights: torch.Tensor | None = None,
    gather: bool | None = None,
) -> torch.Tensor:
    """Mean binary cross-entropy over the known labels.

    Args:
        logits, labels: (N, K); labels in {0, 1}, NaN or negative unknown.
        positive_weights: (K,), factors of the positives' terms.

    Returns:
        Scalar; 0, with a graph, if nothing is known.
    """
    if logits.shape != labels.shape:
        raise ValueError(f"got labels {tuple(labels.shape)} for logits {tuple(logits.shape)}, expected the same shape.")
    with _full_precision(logits):
        logits = _precise(logits)
        known = labels >= 0  # NaN is not
        targets = torch.where(known, labels, 0).to(logits.dtype)
        terms = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=positive_weights, reduction="none")
        return _mean_over_processes(torch.where(known, terms, 0).sum(), known.sum(), gather)


def masked_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    class_weights: torch.Tensor | None = None,
    gather: bool | None = None,
) -> torch.Tensor:
    """Mean cross-entropy over the rows whose label is known, weighted by their class's weight if given.

    Args:
        logits: (N, K).
        labels: (N, K) one-hot, a row with a NaN or a negative number is unknown; or (N,) long, negative is unknown.
        class_weights: (K,).

    Returns:
        Scalar; 0, with a graph, if nothing is known.
    """
    if labels.shape not in (logits.shape, logits.shape[:1]):
        raise ValueError(
            f"got labels {tuple(labels.shape)} for logits {tuple(logits.shape)}, expected (N, K) one-hot or (N,)."
        )
    with _full_precision(logits):
        logits = _precise(logits)
        if labels.ndim == 1:
            known = labels >= 0
            targets = F.one_hot(labels.clamp(min=0), logits.shape[1])
        else:
            known, targets = (labels >= 0).all(dim=1), labels
        weights = torch.where(known[:, None], targets, 0).to(logits.dtype)
        if class_weights is not None:
            weights = weights * class_weights
        return _mean_over_processes(-(weights * logits.log_softmax(dim=1)).sum(), weights.sum(), gather)


def _mean_per_id(rows: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row as the mean of all of its id, and the ids, -1 for all but the first row of each."""
    numbers, first = number_ids(ids)
    sums = torch.zeros_like(rows).index_add(0, numbers, rows)
    counts = torch.zeros_like(ids).index_add(0, numbers, torch.ones_like(ids))
    return (sums / counts.clamp(min=1)[:, None])[numbers], torch.where(first, ids, -1)


def _check_ids(rows: torch.Tensor, ids: torch.Tensor, name: str) -> None:
    if rows.ndim != 2 or ids.shape != rows.shape[:1]:
        raise ValueError(f"got {name} {tuple(ids.shape)} for embeddings {tuple(rows.shape)}, expected (N,) and (N, D).")


def _precise(values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _full_precision(values: torch.Tensor) -> torch.autocast:
    return torch.autocast(values.device.type, enabled=False)


def _rank_and_world(gather: bool | None) -> tuple[int, int]:
    if gather is False or not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def _mean_over_processes(total: torch.Tensor, count: torch.Tensor, gather: bool | None) -> torch.Tensor:
    """`total / count`, scaled so that its mean over processes is the sum of totals over the sum of counts."""
    world = _rank_and_world(gather)[1]
    if world > 1:
        count = count.detach().clone()
        dist.all_reduce(count)
    return total * world / torch.where(count > 0, count, 1)


def _gather_rows(rows: torch.Tensor, gather: bool | None) -> tuple[torch.Tensor, int]:
    """All processes' rows, in the order of ranks, and the position of one's own first row among them."""
    rank, world = _rank_and_world(gather)
    if world == 1:
        return rows, 0
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(world)]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    counts = [int(count) for count in counts]
    return _AllGather.apply(rows, counts, rank), sum(counts[:rank])


class _AllGather(torch.autograd.Function):
    """Concatenates the processes' rows, of which each may have another number; backward sums all processes' gradients
    of one's own rows."""

    @staticmethod
    def forward(ctx, rows, counts, rank):
        start = sum(counts[:rank])
        ctx.own = slice(start, start + len(rows))
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[ctx.own], None, None


__all__ = [
    "description_name_contrastive_loss",
    "image_text_contrastive_loss",
    "instance_discrimination_loss",
    "masked_binary_loss",
    "masked_cross_entropy",
    "supervised_contrastive_loss",
]
