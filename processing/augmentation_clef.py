"""FaceAugmentation: random views of face crops for training, a pure function of seed, epoch, sample and view."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from .augmentation_batched_clef import on_device
from .augmentation_pixels_clef import (
    OCCLUSION_DRAWS,
    SHADING_DRAWS,
    add_grain,
    add_noise,
    blur,
    compress,
    lower_resolution,
    occlude,
    per_view,
    pixel_centres,
    row_numbers,
    shade,
    signed,
)
from .image_processing_clef import list_of_images, to_rgb_image

# One stream of random numbers a view; each parameter has its place in it, so that switching one on or off leaves the
# others as they are. New parameters go to the end.
_DRAWS = ("flip", "rotation", "shift_x", "shift_y", "scale", "brightness", "contrast", "red", "green", "blue")
_DRAWS += ("saturation", "tone", "grayscale", "blur", "noise")
_DRAWS += ("occlusion", *OCCLUSION_DRAWS, *SHADING_DRAWS, "low_resolution", "resolution", "jpeg", "quality")
_DRAWS += ("grain", "grain_place")

# Views are made in portions of about this many numbers, so that large crops do not need several times their memory.
_CHUNK_PIXELS = 1 << 20
# A GPU needs many at once, and has the memory.
_DEVICE_CHUNK_PIXELS = 1 << 25

_LUMINANCE = (0.299, 0.587, 0.114)

# What `FaceAugmentation.preset` knows. "photographs" covers what separates renders from snapshots of strangers.
PRESETS: dict[str, dict[str, float]] = {
    "mild": {},
    "photographs": {
        "rotation": 0.15,
        "shift": 0.06,
        "scale": 0.12,
        "flip": 0.5,
        "brightness": 0.35,
        "contrast": 0.35,
        "colour": 0.2,
        "saturation": 0.5,
        "tone": 0.5,
        "grayscale": 0.15,
        "blur": 1.2,
        "grain": 0.05,
        "occlusion": 0.35,
        "shading": 0.5,
        "low_resolution": 0.25,
        "jpeg": 0.25,
    },
}
_GOLDEN = 0x9E3779B97F4A7C15
_ALL_BITS = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class FaceAugmentation:
    """Draws views of aligned face crops; 0 switches an option off. The defaults are mild, as aligned crops need (ours:
    the paper does not state its augmentation).

    A view depends on (`seed`, epoch, sample id, view number) and its image only: on a CPU it is the same, bit for bit,
    in any batch, in any order and in any worker. For that the pixel arithmetic keeps to additions and multiplications,
    which round alike wherever a pixel lies, and takes no sums over images. Images on a GPU are augmented there: their
    views are the same but for rounding, also of what a JPEG file rounds.

    Args:
        rotation: largest angle, in radians, either way.
        shift: largest displacement along x and along y, as a fraction of the width (height).
        scale: largest relative change of size; .05 means 95 % to 105 %.
        flip: probability of a left-right mirror image.
        brightness: largest relative change of all channels by one common factor.
        contrast: largest relative change of the distance from mid grey.
        colour: largest relative change of each channel by a factor of its own.
        saturation: largest relative change of the distance from the pixel's own grey.
        tone: largest `t` of the tone curve x + t x (1 - x), which bends the mid tones as a gamma of about 1 - t does.
        grayscale: probability of a grey image.
        blur: largest standard deviation of a Gaussian blur, in pixels.
        noise: largest standard deviation of Gaussian pixel noise, of a pixel range of 1 (costs more
            time than all the rest together).
        occlusion: probability of one or two occluders: soft-edged rectangles and ellipses of any colour, place and
            direction, which together cover an eighth of the crop at most.
        shading: largest relative change by a smooth field of light, linear plus quadratic in the place, slightly
            coloured.
        low_resolution: probability of an image that is reduced by a factor of 1 to 2.5 and enlarged again.
        jpeg: probability of JPEG compression, at a quality of 30 to 95.
        grain: as noise, but cut from one shared field of random numbers: a tenth of the time.
        seed: of the random numbers.

    Raises:
        ValueError: an option out of its range.
    """

    rotation: float = 0.05
    shift: float = 0.04
    scale: float = 0.05
    flip: float = 0.5
    brightness: float = 0.1
    contrast: float = 0.1
    colour: float = 0.05
    saturation: float = 0.1
    tone: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    occlusion: float = 0.0
    shading: float = 0.0
    low_resolution: float = 0.0
    jpeg: float = 0.0
    grain: float = 0.0
    seed: int = 0

    def __post_init__(self):
        highest = {"rotation": math.pi, "noise": math.inf, "blur": math.inf, "grain": math.inf}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "seed":
                if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                    raise ValueError(f"FaceAugmentation: `seed` must be an integer of at least 0, got {value!r}.")
                continue
            limit = highest.get(field.name, 1.0)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= limit:
                raise ValueError(
                    f"FaceAugmentation: `{field.name}` must be a number from 0 to {limit:.4g}, got {value!r}."
                )

    @classmethod
    def preset(cls, name: str, seed: int = 0) -> "FaceAugmentation":
        """ "mild": the defaults. "photographs": strong, for training on renders what shall read photographs."""
        if name not in PRESETS:
            raise ValueError(f"augmentation preset: got {name!r}, expected one of {', '.join(PRESETS)}.")
        return cls(**PRESETS[name], seed=seed)

    def __call__(
        self, images: Any, sample_ids: Sequence[int], epoch: int, views: int = 2, strength: float = 1.0
    ) -> torch.Tensor:
        """Draws `views` views of every image.

        Args:
            images: uint8 or float tensor (N, 3, H, W), floats in [0, 1], on any device; or a list of images of one
                size, of any kind that `CLEFImageProcessor` takes.
            sample_ids: (N,) integers that name the images across the whole data set.
            epoch: any integer that differs from one pass over the data to the next.
            views: how many views an image.
            strength: from 0 to 1, multiplies every range and probability (for a ramp over training).

        Returns:
            float32 (N, views, 3, H, W) in [0, 1], where the images are.

        Raises:
            ValueError: shapes, lengths or `strength` are not as above.
        """
        images = _as_batch(images)
        ids = _as_ids(sample_ids, len(images))
        if views < 1:
            raise ValueError(f"`views` must be at least 1, got {views}.")
        if not 0 <= strength <= 1:
            raise ValueError(f"`strength` must lie between 0 and 1, got {strength}.")
        keys = _keys(self.seed, epoch, ids, views)
        uniform = _uniform(keys, len(_DRAWS))

        result = torch.empty(len(keys), *images.shape[1:], device=images.device)
        portion = _CHUNK_PIXELS if images.device.type == "cpu" else _DEVICE_CHUNK_PIXELS
        chunk = max(1, portion // images[0].numel())
        for start in range(0, len(keys), chunk):
            rows = slice(start, min(start + chunk, len(keys)))
            # A copy, so that all that follows may work in place: fresh memory costs more than the arithmetic.
            pixels = images[torch.arange(rows.start, rows.stop, device=images.device) // views]
            draws = dict(zip(_DRAWS, uniform[:, rows], strict=True))
            result[rows] = self._draw(pixels, draws, keys[rows], strength)
        return result.unflatten(0, (len(images), views))

    def _draw(self, pixels: torch.Tensor, uniform: dict, keys: np.ndarray, strength: float) -> torch.Tensor:
        if self.flip:
            flipped = row_numbers(uniform["flip"] < self.flip * strength, pixels.device)
            pixels[flipped] = pixels[flipped].flip(-1)
        pixels = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()
        if self.rotation or self.shift or self.scale:
            pixels = self._warp(pixels, uniform, strength)
        if self.occlusion:
            pixels = occlude(pixels, uniform, uniform["occlusion"] < self.occlusion * strength)
        if self.shading:
            pixels = shade(pixels, uniform, self.shading * strength)
        if self.blur:
            pixels = blur(pixels, self.blur * strength * uniform["blur"], math.ceil(2 * self.blur))
        pixels = self._recolour(pixels, uniform, strength)
        if self.low_resolution:
            chosen = uniform["low_resolution"] < self.low_resolution * strength
            pixels = lower_resolution(pixels, uniform["resolution"], chosen)
        if self.noise:
            pixels = add_noise(pixels, self.noise * strength * uniform["noise"], keys)
        if self.grain:
            pixels = add_grain(pixels, self.grain * strength * uniform["grain"], uniform["grain_place"])
        if self.jpeg:
            pixels = compress(pixels, uniform["quality"], uniform["jpeg"] < self.jpeg * strength)
        return pixels.clamp_(0, 1)

    def _warp(self, pixels: torch.Tensor, uniform: dict, strength: float) -> torch.Tensor:
        height, width = pixels.shape[-2:]
        angle = self.rotation * strength * signed(uniform["rotation"])
        zoom = 1 / (1 + self.scale * strength * signed(uniform["scale"]))
        cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
        # The grid says where each output pixel comes from, in coordinates from -1 to 1, hence the factor 2. Sides of
        # different length stretch these coordinates, hence the ratios.
        shift_x = 2 * self.shift * strength * signed(uniform["shift_x"])
        shift_y = 2 * self.shift * strength * signed(uniform["shift_y"])
        device = pixels.device
        x, y = pixel_centres(width, device), pixel_centres(height, device)
        # Sums of a row term and a column term: a matrix product could round differently from batch to batch.
        columns = (cosine, -sine * height / width, shift_x, sine * width / height, cosine, shift_y)
        xx, xy, x0, yx, yy, y0 = on_device(np.stack(columns).astype(np.float32), device)[..., None]
        across_x, down_x, across_y, down_y = xx * x, xy * y + x0, yx * x, yy * y + y0
        grid = torch.empty(len(pixels), height, width, 2, device=device)
        torch.add(across_x[:, None, :], down_x[:, :, None], out=grid[..., 0])
        torch.add(across_y[:, None, :], down_y[:, :, None], out=grid[..., 1])
        return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def _recolour(self, pixels: torch.Tensor, uniform: dict, strength: float) -> torch.Tensor:
        device = pixels.device
        contrast = 1 + self.contrast * strength * signed(uniform["contrast"])
        gain = contrast * (1 + self.brightness * strength * signed(uniform["brightness"]))
        gains = np.stack(
            [gain * (1 + self.colour * strength * signed(uniform[name])) for name in ("red", "green", "blue")], axis=1
        )
        if self.brightness or self.contrast or self.colour:
            pixels.mul_(on_device(gains.astype(np.float32), device)[:, :, None, None])
            pixels.add_(per_view(0.5 - 0.5 * contrast, device))
        if self.tone:
            bend = per_view(self.tone * strength * signed(uniform["tone"]), device)
            pixels.clamp_(0, 1)
            pixels.add_((1 - pixels).mul_(pixels).mul_(bend))
        if self.saturation or self.grayscale:
            saturation = 1 + self.saturation * strength * signed(uniform["saturation"])
            saturation = np.where(uniform["grayscale"] < self.grayscale * strength, 0.0, saturation)
            red, green, blue = (pixels[:, channel : channel + 1] * weight for channel, weight in enumerate(_LUMINANCE))
            grey = red.add_(green).add_(blue).mul_(per_view(1 - saturation, device))
            pixels.mul_(per_view(saturation, device)).add_(grey)
        return pixels


def _as_batch(images: Any) -> torch.Tensor:
    if isinstance(images, torch.Tensor) and images.ndim == 4 and images.shape[1] == 3:
        if 0 in images.shape:
            raise ValueError(f"got a batch of shape {tuple(images.shape)}, expected at least one image and one pixel.")
        if images.dtype == torch.uint8:
            return images
        # Written so that NaN fails; normalised pixels would come back clamped and useless.
        if images.is_floating_point() and images.min() >= 0 and images.max() <= 1:
            return images
        raise ValueError(
            f"got a tensor of {images.dtype} values from {images.min().item():.4g} to {images.max().item():.4g}; "
            "expected uint8, or floats in [0, 1] that are not normalised yet."
        )
    arrays = [np.asarray(to_rgb_image(image)) for image in list_of_images(images)]
    sizes = sorted({f"{array.shape[1]}x{array.shape[0]}" for array in arrays})
    if len(sizes) > 1:
        raise ValueError(f"got images of sizes {', '.join(sizes)}; crop or resize them to one size first.")
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def _as_ids(sample_ids: Any, count: int) -> np.ndarray:
    ids = np.asarray(sample_ids)
    if ids.shape != (count,) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"`sample_ids` must be {count} integers, one an image; got shape {ids.shape} of type {ids.dtype}."
        )
    return ids.astype(np.uint64)


def _mix(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: a one-to-one scrambling of 64-bit numbers."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _keys(seed: int, epoch: int, ids: np.ndarray, views: int) -> np.ndarray:
    """One 64-bit number a view, (N * views,), views of an image next to each other."""
    key = np.array([(int(seed) + _GOLDEN) & _ALL_BITS], dtype=np.uint64)
    key = _mix(_mix(key) + np.array([int(epoch) & _ALL_BITS], dtype=np.uint64))
    key = _mix(key + ids)
    return _mix(key[:, None] + np.arange(1, views + 1, dtype=np.uint64)).reshape(-1)


def _uniform(keys: np.ndarray, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) for each key: (count, len(keys)) float64. This is SplitMix64 started at the keys."""
    steps = np.arange(1, count + 1, dtype=np.uint64)[:, None] * np.uint64(_GOLDEN)
    return (_mix(keys + steps) >> np.uint64(11)) * 2.0**-53


__all__ = ["PRESETS", "FaceAugmentation"]
