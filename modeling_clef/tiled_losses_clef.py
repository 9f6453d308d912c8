"""The contrastive sum over anchors without an N × N matrix: memory grows with the number of rows, not with its square.

Each strip of anchors is compared with all columns, and its share of every gradient is computed while its similarities
are still there. That needs no second look at them, because the result is a sum: whatever the gradient of the sum turns
out to be, it is a factor of all of them. Positives are never looked up in the strip: the mean of an anchor's positives
is its group's sum of columns, less the anchor itself, over their number.
"""

from dataclasses import dataclass

import torch
from torch.autograd.function import once_differentiable

# Similarities held at once (64 MiB in float32). Low strips are slow: each adds to the gradient of every column.
TILE_ELEMENTS = 2**24


def tiled_contrast(
    rows: torch.Tensor,
    row_ids: torch.Tensor,
    columns: torch.Tensor,
    column_ids: torch.Tensor,
    scale: torch.Tensor | float,
    own: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum over anchors of -log softmax over `columns`, averaged over each anchor's positives (columns of its id).

    Rows without a positive or of negative id are no anchors; columns of negative id count for nobody.

    Args:
        rows: (R, D) float32 or float64. columns: (C, D) of the same dtype.
        row_ids: (R,) long. column_ids: (C,) long.
        scale: multiplies the similarities.
        own: row i is column `own + i`, of the same id, and does not count for itself; None: rows are no columns.

    Returns:
        The sum, a scalar that can be differentiated once by `rows`, `columns` and `scale`; and the number of anchors.
    """
    scale = torch.as_tensor(scale, dtype=rows.dtype, device=rows.device)
    groups = _find_groups(row_ids, column_ids, itself=int(own is not None))
    differentiate = torch.is_grad_enabled() and any(t.requires_grad for t in (rows, columns, scale))
    total = _TiledContrast.apply(rows, columns, scale, groups, own, differentiate)
    return total, (groups.positives > 0).sum()


@dataclass(frozen=True)
class _Groups:
    """Which columns are whose positives.

    Attributes:
        of_rows: (R,) the group of each row, any where the row has no positive. of_columns: (C,).
        number: how many groups there are, or more.
        positives: (R,) how many each row has.
        counted: (C,) bool, the column has an id.
    """

    of_rows: torch.Tensor
    of_columns: torch.Tensor
    number: int
    positives: torch.Tensor
    counted: torch.Tensor


def number_ids(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of the distinct ids, in ascending order, each of (N,) is; and (N,) bool, whether it is its id's first.

    As `unique` with its inverse, but of shapes that are known before: no processor has to wait for its GPU.
    """
    ordered, order = ids.sort(stable=True)
    first = _is_first(ordered)
    numbers = torch.empty_like(order).scatter_(0, order, first.cumsum(0) - 1)
    return numbers, torch.empty_like(first).scatter_(0, order, first)


def _is_first(ordered: torch.Tensor) -> torch.Tensor:
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return first


def _find_groups(row_ids: torch.Tensor, column_ids: torch.Tensor, itself: int) -> _Groups:
    """`itself`: 1 if each row is a column of its group, which is no positive of its own; else 0."""
    if not len(column_ids):
        nothing = torch.zeros_like(row_ids)
        return _Groups(nothing, column_ids, 0, nothing, column_ids >= 0)
    ids, order = column_ids.sort(stable=True)
    numbers = _is_first(ids).cumsum(0) - 1
    of_columns = torch.empty_like(order).scatter_(0, order, numbers)
    place = torch.searchsorted(ids, row_ids.contiguous()).clamp(max=len(ids) - 1)
    has_group = (ids[place] == row_ids) & (row_ids >= 0)
    # How many there are only a GPU knows, and asking it means waiting: as many as there are columns at most.
    number = int(numbers[-1]) + 1 if ids.device.type == "cpu" else len(ids)
    sizes = numbers.new_zeros(number).index_add_(0, numbers, torch.ones_like(numbers))
    of_rows = numbers[place]
    return _Groups(of_rows, of_columns, number, torch.where(has_group, sizes[of_rows] - itself, 0), column_ids >= 0)


class _TiledContrast(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, columns, scale, groups, own, differentiate):
        losses = rows.new_zeros(len(rows))
        row_gradient, column_gradient = (torch.zeros_like(t) if differentiate else None for t in (rows, columns))
        sums = columns.new_zeros(groups.number, columns.shape[1]).index_add_(0, groups.of_columns, columns)
        pulls = torch.zeros_like(sums) if differentiate else None  # what anchors do to all columns of their group
        # Not -inf: a row without any counted column would have NaN gradients.
        lowest = torch.finfo(rows.dtype).min / 2
        offsets = rows.new_zeros(1, len(columns)).masked_fill_(~groups.counted, lowest)
        # Several tensors of a strip are as wide as its rows: beside few columns, those count.
        height = max(1, TILE_ELEMENTS // max(1, len(columns), 16 * columns.shape[1]))
        for start in range(0, len(rows) if len(columns) else 0, height):
            strip = slice(start, start + height)
            scaled, own_columns = rows[strip] * scale, None
            logits = torch.addmm(offsets, scaled, columns.T)
            if own is not None:
                logits.diagonal(own + start).fill_(lowest)
                own_columns = columns[own + start : own + start + len(scaled)]
            highest = logits.amax(dim=1, keepdim=True)
            shares = logits.sub_(highest).exp_()
            norms = shares.sum(dim=1, keepdim=True)
            group, positives = groups.of_rows[strip], groups.positives[strip, None].to(rows.dtype)
            anchors, positives = (positives > 0).to(rows.dtype), positives.clamp(min=1)
            targets = sums[group]
            if own is not None:
                targets -= own_columns
            targets /= positives
            loss = (highest + norms.log()).squeeze(1) - (scaled * targets).sum(dim=1)
            losses[strip] = loss * anchors[:, 0]
            if not differentiate:
                continue
            torch.mm(shares, columns, out=row_gradient[strip])
            row_gradient[strip].div_(norms).sub_(targets).mul_(anchors)
            column_gradient.addmm_(shares.T, scaled * (anchors / norms))
            scaled *= anchors / positives
            pulls.index_add_(0, group, scaled)
            if own is not None:
                column_gradient[own + start : own + start + len(scaled)] += scaled
        if differentiate:
            for start in range(0, len(columns), height):
                strip = slice(start, start + height)
                column_gradient[strip] -= pulls[groups.of_columns[strip]]
            ctx.save_for_backward(rows, scale, row_gradient, column_gradient)
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        rows, scale, row_gradient, column_gradient = ctx.saved_tensors
        by_rows = by_columns = by_scale = None
        if ctx.needs_input_grad[0]:
            by_rows = row_gradient * (gradient * scale)
        if ctx.needs_input_grad[1]:
            by_columns = column_gradient * gradient
        if ctx.needs_input_grad[2]:
            by_scale = torch.einsum("rd,rd->", rows, row_gradient) * gradient
        return by_rows, by_columns, by_scale, None, None, None


__all__ = ["number_ids", "tiled_contrast"]
