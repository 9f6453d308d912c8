"""An exponential moving average of the weights: what is evaluated and saved in place of the last step's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """Averages, in float32, of a model's training weights and of its floating-point buffers.

    Running statistics of batch norm are averaged like weights (our choice: their own momentum is much faster); integer
    buffers are taken as they are. Frozen weights are left out. After update s, counted from 1, the average keeps
    min(decay, (1 + s) / (10 + s)) of itself, so that the random start is soon forgotten. With several processes each
    keeps its own; as weights agree, so do averages, and the buffers that count are the main process's.

    Args:
        model: as unwrapped from Accelerate, on its device, with its final `requires_grad`.
        decay: in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay: got {decay}, expected 0 or more and below 1.")
        self.model, self.decay = model, decay
        self.averages = {
            name: tensor.detach().clone().float() if tensor.is_floating_point() else tensor.detach().clone()
            for name, tensor in self._live().items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after optimizer step `step`, counted from 1."""
        kept = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in self._live().items():
            average = self.averages[name]
            if average.is_floating_point():
                average.lerp_(tensor.to(average.dtype), 1 - kept)
            else:
                average.copy_(tensor)

    @torch.no_grad()
    def write(self) -> None:
        """Puts the averages into the model."""
        for name, tensor in self._live().items():
            tensor.copy_(self.averages[name])

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The model holds the averages inside, and its own weights again, bit for bit, afterwards."""
        own = {name: tensor.detach().clone() for name, tensor in self._live().items()}
        self.write()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self._live().items():
                    tensor.copy_(own[name])

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: average.cpu().contiguous() for name, average in self.averages.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Raises ValueError when `state` was saved of another model."""
        if set(state) != set(self.averages):
            raise ValueError(
                f"got averages of other weights than this model's: {sorted(set(state) ^ set(self.averages))[:5]} … "
                "Resume with the options the run was started with."
            )
        for name, average in self.averages.items():
            average.copy_(state[name])

    def _live(self) -> dict[str, torch.Tensor]:
        frozen = {name for name, parameter in self.model.named_parameters() if not parameter.requires_grad}
        return {name: tensor for name, tensor in self.model.state_dict().items() if name not in frozen}
