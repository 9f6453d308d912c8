"""A face and its mirror image, whose scores are averaged: steadier answers for twice the model's time."""

from collections.abc import Callable

import torch


def mean_with_mirror_image(
    function: Callable[[torch.Tensor], torch.Tensor], pixel_values: torch.Tensor, mirror: bool
) -> torch.Tensor:
    """The mean of `function` over the images (N, C, H, W) and their mirror images; without `mirror`, of the images."""
    values = function(pixel_values)
    return (values + function(pixel_values.flip(-1))) / 2 if mirror else values


__all__ = ["mean_with_mirror_image"]
