"""Features of a frozen text tower, computed once a text."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

ROWS_KEPT = 4096


def fingerprint(tensors: Iterable[torch.Tensor]) -> tuple:
    """Changes when a tensor is replaced, moved, or written to in place (optimizer step, `load_state_dict`).

    Not when it is written to through `.data`, which PyTorch counts as another tensor's change: to see that, all weights
    would have to be read at every call. Write under `torch.no_grad()` instead; or say afterwards what was done, and
    whatever was remembered is computed anew: `torch.autograd.graph.increment_version(list(model.parameters()))`.
    """
    return tuple((t.data_ptr(), t.device, t.dtype, 0 if t.is_inference() else t._version) for t in tensors)


def weights_of(*modules: nn.Module) -> list[torch.Tensor]:
    """Parameters and buffers of the modules and of all within them. `Module.parameters` takes many times as long, which
    at every call costs a small vision tower a quarter of its speed."""
    pending, tensors = list(modules), []
    while pending:
        module = pending.pop()
        tensors += [t for t in (*module._parameters.values(), *module._buffers.values()) if t is not None]
        pending += [child for child in module._modules.values() if child is not None]
    return tensors


def has_adapters(*modules: nn.Module) -> bool:
    """Whether there are adapters of peft, which are switched without a weight being written to: `fingerprint` does not
    change, and nothing can be remembered. It does change when they are put in."""
    return any(hasattr(type(part), "adapter_layer_names") for module in modules for part in module.modules())


class FrozenTextFeatures:
    """Remembers the pooled feature of each token row.

    Each row is computed alone and without its padding, so that its feature does not depend on the batch it came in,
    nor on autocast. Everything is forgotten when the tower's weights change, as far as `fingerprint` sees, and at every
    call where it has adapters; beyond `ROWS_KEPT` rows the oldest go.
    """

    def __init__(self):
        self.rows: dict[tuple[int, ...], torch.Tensor] = {}
        self.weights: tuple = ()

    def __call__(
        self,
        tower: nn.Module,
        encode: Callable[[torch.Tensor], torch.Tensor],
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """(T, C) features, without a graph. `encode` maps (1, L) ids, none of them padding, to a (1, C) feature."""
        weights = fingerprint(weights_of(tower))
        if weights != self.weights:
            self.rows, self.weights = {}, () if has_adapters(tower) else weights
        ids = input_ids.tolist()
        mask = [[1] * len(row) for row in ids] if attention_mask is None else attention_mask.tolist()
        keys = [
            tuple(token for token, kept in zip(row, keep, strict=True) if kept)
            for row, keep in zip(ids, mask, strict=True)
        ]
        with torch.no_grad(), torch.autocast(input_ids.device.type, enabled=False):
            for key in dict.fromkeys(keys):
                if key not in self.rows:
                    self.rows[key] = encode(torch.tensor([key], device=input_ids.device))[0].clone()
            features = torch.stack([self.rows[key] for key in keys])
        while len(self.rows) > ROWS_KEPT:
            del self.rows[next(iter(self.rows))]
        return features


__all__ = ["FrozenTextFeatures"]
