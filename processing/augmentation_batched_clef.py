"""Low resolution and JPEG for whole batches on any device, by matrices, where FaceAugmentation has a file or Pillow per
image on a CPU. Both are followed step by step; what differs is rounding between the steps.

All functions take float32 pixels (N, 3, H, W) in [0, 1] and return new ones.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional as F

# The tables of the JPEG standard's annex K for luminance and chrominance, which libjpeg scales by the quality.
_LUMINANCE = """
16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""
_CHROMINANCE = """
17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
"""
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def on_device(numbers: np.ndarray, device: torch.device) -> torch.Tensor:
    """The numbers on the device; a GPU copies them when it gets there, and nobody waits for it."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def reduce_and_enlarge(pixels: torch.Tensor, factors: np.ndarray, largest: float) -> torch.Tensor:
    """Each view reduced by its factor, from 1 to `largest`, antialiased, and enlarged again (see `resampling`)."""
    height, width = (_chosen_matrices(side, factors, largest, pixels.device) for side in pixels.shape[-2:])
    return (height[:, None] @ _eight_bits(pixels) @ width[:, None].transpose(-1, -2)).clamp_(0, 1)


def _chosen_matrices(side: int, factors: np.ndarray, largest: float, device: torch.device) -> torch.Tensor:
    smallest = _reduced(side, largest)
    sizes = np.array([_reduced(side, factor) for factor in factors.tolist()])
    return _all_matrices(side, smallest, device)[on_device(sizes - smallest, device)]


def _reduced(side: int, factor: float) -> int:
    return max(1, round(side / factor))


@lru_cache(maxsize=4)
def _all_matrices(side: int, smallest: int, device: torch.device) -> torch.Tensor:
    """For each size from `smallest` to `side`, (side, side): to that size by a triangle, back by a bicubic filter."""
    made = [resampling(size, side, bicubic) @ resampling(side, size, triangle) for size in range(smallest, side + 1)]
    return torch.from_numpy(np.stack(made)).float().to(device)


def resampling(size: int, new_size: int, kernel) -> np.ndarray:
    """(new_size, size): one row of weights a new pixel, as Pillow's `resize` has them: the kernel is widened when an
    image shrinks, cut at the border, and its weights sum to 1.
    """
    scale = size / new_size
    widening = max(scale, 1.0)
    centres = (np.arange(new_size)[:, None] + 0.5) * scale
    weights = kernel((np.arange(size) + 0.5 - centres) / widening)
    return weights / weights.sum(axis=1, keepdims=True)


def triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def bicubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def through_jpeg(pixels: torch.Tensor, qualities: np.ndarray) -> torch.Tensor:
    """Each view as a JPEG file of its quality, an integer from 1 to 100, would give it back: 4:2:0, smooth chroma."""
    height, width = pixels.shape[-2:]
    colours = _mix(255 * _eight_bits(pixels), _TO_YCBCR, pixels.device)
    colours[:, 1:].add_(128)
    colours.round_()
    padding = (0, -width % 16, 0, -height % 16)
    colours = F.pad(colours, padding, mode="replicate")
    chroma = F.avg_pool2d(colours[:, 1:], 2).round_()
    luma = _quantised(colours[:, :1], _tables(_LUMINANCE, qualities, pixels.device))
    chroma = _quantised(chroma, _tables(_CHROMINANCE, qualities, pixels.device))
    # libjpeg's "fancy" upsampling: each new pixel is 3/4 of the nearest and 1/4 of the next one, along each side.
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    colours = torch.cat((luma, chroma.sub_(128)), dim=1)[..., :height, :width]
    return _mix(colours, _TO_RGB, pixels.device).round_().clamp_(0, 255).div_(255)


def _eight_bits(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.clamp(0, 1).mul_(255).round_().div_(255)


def _mix(pixels: torch.Tensor, rows: tuple, device: torch.device) -> torch.Tensor:
    """A linear map of the three channels, summed one by one: float32 whatever the device's products are made of."""
    red, green, blue = pixels.unbind(1)
    return torch.stack([red * a + green * b + blue * c for a, b, c in rows], dim=1)


def _quantised(channels: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) of 0 to 255 after 8 x 8 cosine transform, quantisation by (N, 8, 8) tables, and back."""
    transform = _cosine_transform(channels.device)
    tables = tables[:, None, None, None]
    blocks = channels.sub(128).unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-2, -3)
    coefficients = (transform @ blocks @ transform.T).div_(tables).round_().mul_(tables)
    blocks = transform.T @ coefficients @ transform
    return blocks.transpose(-2, -3).flatten(-2).flatten(-3, -2).add_(128).round_().clamp_(0, 255)


@lru_cache(maxsize=4)
def _cosine_transform(device: torch.device) -> torch.Tensor:
    """The orthonormal (8, 8) DCT-II."""
    frequency, place = np.arange(8)[:, None], np.arange(8)
    matrix = np.cos(math.pi * (2 * place + 1) * frequency / 16) / 2
    matrix[0] /= math.sqrt(2)
    return torch.from_numpy(matrix).float().to(device)


def _tables(base: str, qualities: np.ndarray, device: torch.device) -> torch.Tensor:
    """(N, 8, 8), the steps that libjpeg divides by at each quality."""
    table = np.array(base.split(), dtype=np.int64).reshape(8, 8)
    scale = np.where(qualities < 50, 5000 // np.maximum(qualities, 1), 200 - 2 * qualities)
    steps = (table * scale[:, None, None] + 50) // 100
    return on_device(np.clip(steps, 1, 255).astype(np.float32), device)


__all__ = ["bicubic", "on_device", "reduce_and_enlarge", "resampling", "through_jpeg", "triangle"]
