"""The augmentation of a run: its preset, and its strength as a pure function of the step."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator

from processing import FaceAugmentation
from train_scripts.options import TrainingOptions


def strength_at(step: int, total_steps: int, start: float, full: float, ramp: float) -> float:
    """Strength at batch `step` (from 0): a linear rise from `start` to `full` over `ramp * total_steps` batches."""
    length = ramp * total_steps
    return full if step >= length else start + (full - start) * step / length


@dataclass(frozen=True)
class RampedAugmentation:
    """Views of crops, a function of (seed, epoch, row, view) and, while the ramp lasts, of the step.

    Args:
        total_steps: batches of the whole run, accumulated ones counted singly.
        start, full: strengths at both ends of the ramp.
        ramp: the ramp's share of the run; 0: full from the first step.
    """

    augmentation: FaceAugmentation
    total_steps: int = 1
    start: float = 0.0
    full: float = 1.0
    ramp: float = 0.0

    def __call__(self, crops: torch.Tensor, rows, epoch: int, step: int, views: int) -> torch.Tensor:
        """uint8 (N, 3, H, W) to float32 (N, views, 3, H, W) in [0, 1]."""
        strength = strength_at(step, self.total_steps, self.start, self.full, self.ramp)
        return self.augmentation(crops, rows, epoch, views=views, strength=strength)


def make_augmentation(options: TrainingOptions, optimizer_steps: int) -> RampedAugmentation:
    return RampedAugmentation(
        FaceAugmentation.preset(options.augmentation_preset, seed=options.seed),
        optimizer_steps * options.gradient_accumulation,
        options.augmentation_start,
        options.augmentation,
        options.augmentation_ramp,
    )


def augmenting_device(options: TrainingOptions, accelerator: Accelerator) -> torch.device | None:
    """Where views are made; None: by the loader's workers."""
    return accelerator.device if options.augment_on == "device" else None
