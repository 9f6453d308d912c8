"""What FaceAugmentation does to pixels beside geometry and colour: occluders, shading, blur, resolution, noise, JPEG.

All functions take float32 pixels (N, 3, H, W) around [0, 1] and numbers per view, change the pixels in place where
they can, and return them. On a CPU a view's result depends on that view alone, bit for bit: elementwise torch
arithmetic, or Pillow on one image at a time. Elsewhere nothing waits for the device, and Pillow's part is done by
`augmentation_batched_clef`.
"""

import io
import math
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional as F

from .augmentation_batched_clef import on_device, reduce_and_enlarge, through_jpeg
from .image_reading_clef import Image

# The random numbers that `occlude` and `shade` read, by name.
_OCCLUDER = ("shape", "area", "aspect", "angle", "x", "y", "red", "green", "blue", "fade", "softness")
OCCLUSION_DRAWS = ("occluders", *(f"occluder_{i}_{name}" for i in (1, 2) for name in _OCCLUDER))
SHADING_DRAWS = tuple(f"shading_{name}" for name in ("x", "y", "xx", "xy", "yy", "red", "green", "blue"))

# Each occluder covers this share of the crop; two together an eighth.
_AREAS = (0.01, 0.0625)
_LARGEST_REDUCTION = 2.5
_QUALITIES = (30, 95)
_GRAIN_SIZE = 1 << 20
_GRAIN_SEED = 0x6772


def signed(uniform: np.ndarray) -> np.ndarray:
    """[0, 1) to [-1, 1)."""
    return 2 * uniform - 1


def per_view(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """(N,) as float32 (N, 1, 1, 1)."""
    return on_device(values.astype(np.float32), device)[:, None, None, None]


def one_by_one(pixels: torch.Tensor) -> bool:
    """Whether views are worth a loop: on a CPU, where that is fast and a view's bits do not depend on its batch."""
    return pixels.device.type == "cpu"


def row_numbers(chosen: np.ndarray, device: torch.device) -> torch.Tensor:
    """Of the chosen (N,) views. Numbers, as a device would have to be waited for to count a mask."""
    return on_device(np.flatnonzero(chosen), device)


def occlude(pixels: torch.Tensor, uniform: dict[str, np.ndarray], chosen: np.ndarray) -> torch.Tensor:
    """Lays one or two soft-edged rectangles or ellipses over the `chosen` (N,) views."""
    if not chosen.any():
        return pixels
    device, rows = pixels.device, row_numbers(chosen, pixels.device)
    draws = {name: uniform[name][chosen] for name in OCCLUSION_DRAWS}
    views = pixels[rows]
    for number in (1, 2):
        one = {name: draws[f"occluder_{number}_{name}"] for name in _OCCLUDER}
        present = np.ones(len(rows)) if number == 1 else draws["occluders"] < 0.5
        cover, along = _occluder(one, *views.shape[-2:], device)
        cover.mul_(per_view(present.astype(float), device)[:, 0])
        # The colour changes along the occluder, as on anything that is lit from a side.
        fade = along.mul_(per_view(0.3 * signed(one["fade"]), device)[:, 0])
        for channel, name in enumerate(("red", "green", "blue")):
            colour = fade + per_view(one[name], device)[:, 0]
            views[:, channel].add_(colour.sub_(views[:, channel]).mul_(cover))
    pixels[rows] = views
    return pixels


def pixel_centres(count: int, device: torch.device) -> torch.Tensor:
    """(count,) from -1 to 1, which are the borders."""
    return on_device(((2 * np.arange(count) + 1) / count - 1).astype(np.float32), device)


def _occluder(
    draws: dict[str, np.ndarray], height: int, width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cover in [0, 1] and the place along the occluder's first axis in [-1, 1] within it; both (N, H, W)."""
    round_ones = draws["shape"] < 0.5
    area = _AREAS[0] + (_AREAS[1] - _AREAS[0]) * draws["area"]
    area = area * np.where(round_ones, 4 / math.pi, 1.0)  # ellipses fill less of their box
    aspect = np.exp(math.log(4) * signed(draws["aspect"]))
    half_x, half_y = np.sqrt(area * aspect), np.sqrt(area / aspect)  # in units of half a side
    angle = math.pi * draws["angle"]
    x = pixel_centres(width, device) - per_view(signed(draws["x"]), device)[:, 0]
    y = pixel_centres(height, device) - per_view(signed(draws["y"]), device)[:, 0]
    y = y.transpose(1, 2)

    def turned(cosine, sine):
        return x * per_view(cosine, device)[:, 0] + y * per_view(sine, device)[:, 0]

    along = turned(np.cos(angle) / half_x, np.sin(angle) / half_x)
    across = turned(-np.sin(angle) / half_y, np.cos(angle) / half_y)
    # Distance from the centre, 1 at the edge, for both shapes.
    distance = torch.where(
        on_device(round_ones, device)[:, None, None],
        (along * along).add_(across * across).sqrt_(),
        torch.maximum(along.abs(), across.abs()),
    )
    # The edge is one to about six pixels wide.
    softness = (1 + 5 * draws["softness"] ** 2) * 2 / min(height, width) / np.minimum(half_x, half_y)
    cover = distance.sub_(1).div_(per_view(-softness, device)[:, 0]).add_(0.5).clamp_(0, 1)
    return cover, along.clamp_(-1, 1)


def shade(pixels: torch.Tensor, uniform: dict[str, np.ndarray], amount: float) -> torch.Tensor:
    """Multiplies by 1 + amount * field, where the field is a random quadric in [-1, 1] with a tint of its own."""
    device = pixels.device
    y, x = (pixel_centres(side, device) for side in pixels.shape[-2:])
    y = y[:, None]
    names = ("x", "y", "xx", "xy", "yy")
    weights = {name: per_view(signed(uniform[f"shading_{name}"]), device)[:, 0] for name in names}
    field = (weights["x"] * x * 0.7 + weights["xx"] * (x * x - 1 / 3) * 0.7).add(
        weights["y"] * y * 0.7 + weights["yy"] * (y * y - 1 / 3) * 0.7
    )
    field.add_((weights["xy"] * y * 0.7) * x).clamp_(-1, 1)
    for channel, name in enumerate(("red", "green", "blue")):
        strength = per_view(amount * (1 + 0.3 * signed(uniform[f"shading_{name}"])), device)[:, 0]
        pixels[:, channel].mul_((field * strength).add_(1))
    return pixels


def blur(pixels: torch.Tensor, deviations: np.ndarray, radius: int) -> torch.Tensor:
    """Gaussian blur, separable; taps beyond two of the largest standard deviation are left out."""
    offsets = np.arange(-radius, radius + 1)
    safe = np.maximum(deviations, 1e-3)[:, None]
    weights = np.exp(-0.5 * (offsets / safe) ** 2)
    weights = on_device((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32), pixels.device)
    for dim in (-2, -1):
        padding = (0, 0, radius, radius) if dim == -2 else (radius, radius, 0, 0)
        padded = F.pad(pixels, padding, mode="replicate")
        size = pixels.shape[dim]
        pixels, product = torch.zeros_like(pixels), torch.empty_like(pixels)
        for tap in range(2 * radius + 1):
            torch.mul(padded.narrow(dim, tap, size), weights[:, tap, None, None, None], out=product)
            pixels.add_(product)
    return pixels


def lower_resolution(pixels: torch.Tensor, uniform: np.ndarray, chosen: np.ndarray) -> torch.Tensor:
    """Reduces the `chosen` views by a factor of 1 to 2.5, antialiased, and enlarges them again."""

    def reduced(image: Image.Image, factor: float) -> Image.Image:
        small = image.resize([max(1, round(side / factor)) for side in image.size], Image.Resampling.BILINEAR)
        return small.resize(image.size, Image.Resampling.BICUBIC)

    factors = 1 + (_LARGEST_REDUCTION - 1) * uniform
    if one_by_one(pixels):
        return _through_pillow(pixels, factors, chosen, reduced)
    return _through_batches(pixels, factors, chosen, lambda views, f: reduce_and_enlarge(views, f, _LARGEST_REDUCTION))


def compress(pixels: torch.Tensor, uniform: np.ndarray, chosen: np.ndarray) -> torch.Tensor:
    """Passes the `chosen` views through a JPEG file."""

    def decoded(image: Image.Image, quality: float) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    qualities = np.round(_QUALITIES[0] + (_QUALITIES[1] - _QUALITIES[0]) * uniform).astype(np.int64)
    if one_by_one(pixels):
        return _through_pillow(pixels, qualities, chosen, decoded)
    return _through_batches(pixels, qualities, chosen, through_jpeg)


def _through_batches(pixels: torch.Tensor, numbers: np.ndarray, chosen: np.ndarray, change) -> torch.Tensor:
    """`change(views, numbers) -> views` on the `chosen` views."""
    if chosen.any():
        rows = row_numbers(chosen, pixels.device)
        pixels[rows] = change(pixels[rows], numbers[chosen])
    return pixels


def _through_pillow(pixels: torch.Tensor, numbers: np.ndarray, chosen: np.ndarray, change) -> torch.Tensor:
    """`change(image, number) -> image` on 8-bit images of the `chosen` views."""
    for row in np.flatnonzero(chosen).tolist():
        eight_bits = (pixels[row].clamp(0, 1) * 255).round_().to(torch.uint8).permute(1, 2, 0).contiguous()
        image = np.array(change(Image.fromarray(eight_bits.numpy()), float(numbers[row])))
        pixels[row] = torch.from_numpy(image).permute(2, 0, 1).float().div_(255)
    return pixels


def add_noise(pixels: torch.Tensor, deviations: np.ndarray, keys: np.ndarray) -> torch.Tensor:
    """Gaussian noise from one generator a view, seeded with its 64-bit key."""
    noise = np.empty(pixels.shape, dtype=np.float32)
    for row, key in enumerate(keys):
        np.random.Generator(np.random.Philox(key=int(key))).standard_normal(out=noise[row], dtype=np.float32)
    return pixels.add_(on_device(noise, pixels.device).mul_(per_view(deviations, pixels.device)))


def add_grain(pixels: torch.Tensor, deviations: np.ndarray, places: np.ndarray) -> torch.Tensor:
    """Gaussian noise cut from one field that all views share, each at a place of its own."""
    length = pixels[0].numel()
    field = _grain_field(length, pixels.device)
    starts = (places * (len(field) - length + 1)).astype(np.int64)
    if not one_by_one(pixels):
        cuts = field.unfold(0, length, 1)[on_device(starts, pixels.device)]
        return pixels.addcmul_(cuts.view_as(pixels), per_view(deviations, pixels.device))
    for row, (start, deviation) in enumerate(zip(starts.tolist(), deviations.tolist(), strict=True)):
        pixels[row].add_(field[start : start + length].view(pixels.shape[1:]), alpha=deviation)
    return pixels


@lru_cache(maxsize=2)
def _grain_field(length: int, device: torch.device) -> torch.Tensor:
    """Standard normal numbers, `_GRAIN_SIZE` of them and one view more."""
    generator = np.random.Generator(np.random.Philox(key=_GRAIN_SEED))
    return torch.from_numpy(generator.standard_normal(_GRAIN_SIZE + length, dtype=np.float32)).to(device)


__all__ = [
    "OCCLUSION_DRAWS",
    "SHADING_DRAWS",
    "add_grain",
    "add_noise",
    "blur",
    "compress",
    "lower_resolution",
    "occlude",
    "one_by_one",
    "per_view",
    "pixel_centres",
    "row_numbers",
    "shade",
    "signed",
]
