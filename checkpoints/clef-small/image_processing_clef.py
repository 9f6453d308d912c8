"""CLEFImageProcessor: face crops in, `pixel_values` out. Needs Pillow, numpy and torch, not torchvision."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, PILImageResampling, load_image

# Of pixels in [0, 1]: below this standard deviation an image counts as flat, and dividing would only raise its noise.
MINIMUM_STD = 0.02

# What a saved configuration holds beside the options themselves.
_SAVED_NAMES = {"image_processor_type", "processor_class", "auto_map"}


class CLEFImageProcessorKwargs(TypedDict, total=False):
    do_resize: bool | None
    size: int | dict[str, int] | list[int] | tuple[int, ...] | None
    resample: int | PILImageResampling | None
    do_rescale: bool | None
    rescale_factor: float | None
    do_normalize: bool | None
    image_mean: float | list[float] | tuple[float, ...] | None
    image_std: float | list[float] | tuple[float, ...] | None
    per_image_normalization: bool | None
    crop_recipe: str | None
    input_data_format: str | None
    return_tensors: str | None


class CLEFImageProcessor(PilBackend):
    """Resizes (bicubic, antialiased), rescales to [0, 1] and normalises face crops.

    Args:
        size: `{"height": pixels, "width": pixels}`, or one number for both. Default 224.
        do_resize, do_rescale, do_normalize: switch a step off.
        resample: one of Pillow's filters; default bicubic.
        rescale_factor: default 1/255.
        image_mean, image_std: of RGB pixels in [0, 1]; default CLIP's.
        per_image_normalization: instead of `image_mean` and `image_std`, subtract each channel's mean over the image
            and divide by one standard deviation, taken over all channels and pixels of the centred image and at least
            `MINIMUM_STD` (our choice). Takes away light level and colour cast, keeps the contrast between channels.
        crop_recipe: the version of the crop geometry that the checkpoint was trained on. It is recorded; a call may
            pass the recipe its images were cut by, and is refused when that is another one.

    A call takes one image or a list: PIL images of any mode, arrays or tensors of shape (H, W), (H, W, C) or (C, H, W)
    with 1, 3 or 4 channels, paths and URLs; a 4-D array or tensor is a batch. 8-bit values are 0..255, 16-bit values
    0..65535, floats in [0, 1], and everything is brought to 8 bits, as in an image file. Transparent parts become
    white. Returns a `BatchFeature` with `pixel_values`: float32 (3, height, width) an image, stacked to
    (N, 3, height, width) with `return_tensors="pt"` or `"np"`.

    Raises:
        TypeError: something is not an image, or an option is unknown.
        ValueError: an empty list, an image without pixels, values out of range, a file that is not an image.
        FileNotFoundError: a path that does not exist.
    """

    valid_kwargs = CLEFImageProcessorKwargs
    _auto_class = "AutoImageProcessor"  # saving copies this file and writes `auto_map`

    do_resize = True
    size = {"height": 224, "width": 224}
    resample = PILImageResampling.BICUBIC
    do_rescale = True
    do_normalize = True
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    per_image_normalization = False
    crop_recipe = "aligned-1"

    def __init__(self, **kwargs: Any):
        unknown = set(kwargs) - set(CLEFImageProcessorKwargs.__annotations__) - _SAVED_NAMES
        if unknown:
            raise TypeError(
                f"CLEFImageProcessor got unknown options {sorted(unknown)}; "
                f"it takes {', '.join(CLEFImageProcessorKwargs.__annotations__)}."
            )
        super().__init__(**kwargs)

    def normalize_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalises `pixels`, float (..., 3, H, W) in [0, 1], just as a plain call does after rescaling."""
        if not self.do_normalize:
            return pixels
        return _normalize(pixels, self.per_image_normalization, self.image_mean, self.image_std)

    def preprocess(self, images: Any, **kwargs: Any) -> BatchFeature:
        recipe = kwargs.get("crop_recipe")
        if recipe is not None and recipe != self.crop_recipe:
            raise ValueError(
                f"the images were cropped by recipe {recipe!r}, but this checkpoint expects {self.crop_recipe!r}; "
                "crop them again, or set `crop_recipe` when loading the processor if you know that they agree."
            )
        return super().preprocess(images, **kwargs)

    def process_image(self, image: Any, input_data_format: str | None = None, **kwargs: Any) -> np.ndarray:
        return np.moveaxis(np.asarray(to_rgb_image(image, input_data_format)), -1, 0)

    def _prepare_images_structure(self, images: Any, expected_ndims: int = 3) -> list:
        return list_of_images(images)

    def _standardize_kwargs(self, **kwargs: Any) -> dict:
        kwargs = super()._standardize_kwargs(default_to_square=True, **kwargs)
        size = kwargs["size"]
        if size is not None and not (size.height and size.width and size.height > 0 and size.width > 0):
            raise ValueError(f"`size` needs a positive 'height' and 'width', got {dict(size)}.")
        for name in ("image_mean", "image_std"):
            value = kwargs[name]
            if isinstance(value, (int, float)):
                kwargs[name] = value = (float(value),) * 3
            if value is not None and (len(value) != 3 or (name == "image_std" and min(value) <= 0)):
                raise ValueError(f"`{name}` needs one number or three (red, green, blue; std above 0), got {value}.")
        return kwargs

    def _preprocess(
        self,
        images: list[np.ndarray],
        do_resize: bool,
        size: Any,
        resample: Any,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        per_image_normalization: bool,
        return_tensors: str | None,
        **kwargs: Any,
    ) -> BatchFeature:
        processed = []
        for image in images:
            if do_resize:
                image = self.resize(image, size, resample)
            pixels = torch.from_numpy(image.astype(np.float32))
            if do_rescale:
                pixels = pixels * rescale_factor
            if do_normalize:
                pixels = _normalize(pixels, per_image_normalization, image_mean, image_std)
            processed.append(pixels.numpy())
        if return_tensors is not None and len({image.shape for image in processed}) > 1:
            sizes = sorted({f"{image.shape[1]}x{image.shape[2]}" for image in processed})
            raise ValueError(f"images of different sizes ({', '.join(sizes)}) cannot be stacked without `do_resize`.")
        return BatchFeature({"pixel_values": processed}, tensor_type=return_tensors)


def _normalize(pixels: torch.Tensor, per_image: bool, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    if per_image:
        centred = pixels - pixels.mean(dim=(-2, -1), keepdim=True)
        deviation = centred.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt()
        return centred / deviation.clamp(min=MINIMUM_STD)
    mean = torch.tensor(mean, dtype=pixels.dtype, device=pixels.device)[:, None, None]
    std = torch.tensor(std, dtype=pixels.dtype, device=pixels.device)[:, None, None]
    return (pixels - mean) / std


def list_of_images(images: Any) -> list:
    """One image or several, as a list; the images themselves are looked at by `to_rgb_image`."""
    if isinstance(images, (np.ndarray, torch.Tensor)) and images.ndim == 4:
        images = list(images)
    if not isinstance(images, (list, tuple)):
        return [images]
    if len(images) == 0:
        raise ValueError("got an empty list of images, expected at least one image.")
    for position, image in enumerate(images):
        if image is None or isinstance(image, (list, tuple)):
            raise TypeError(
                f"image {position} of {len(images)} is {'None' if image is None else 'itself a list'}; "
                "expected a flat list of PIL images, arrays, tensors or paths."
            )
    return list(images)


def to_rgb_image(image: Any, input_data_format: str | None = None) -> Image.Image:
    """Any single image as an upright 8-bit RGB `PIL.Image` (see `CLEFImageProcessor` for what is taken and refused).

    `input_data_format`: "channels_first" or "channels_last", for arrays whose shape does not tell. Where both would
    fit, tensors are taken as channels first and arrays as channels last.
    """
    if isinstance(image, (str, Path)):
        image = _open(image)
    if isinstance(image, torch.Tensor):
        if input_data_format is None and image.ndim == 3 and image.shape[0] in (1, 3, 4):
            input_data_format = "channels_first"
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    if isinstance(image, np.ndarray):
        return _from_array(image, input_data_format)
    if not isinstance(image, Image.Image):
        raise TypeError(
            f"got {type(image).__name__} ({str(image)[:60]!r}) where an image was expected: "
            "a PIL image, a numpy array, a torch tensor or the path of an image file."
        )
    if min(image.size) == 0:
        raise ValueError(f"got an image of zero size: {image.width} x {image.height} pixels (width x height).")
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):  # converting these with Pillow would clip them
        samples = np.asarray(image)
        return _from_array(samples.astype(np.uint16) if image.mode.startswith("I;16") else samples, None)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _open(path: str | Path) -> Image.Image:
    if isinstance(path, str) and path.startswith(("http://", "https://")):
        return load_image(path)
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no image file at {str(path)!r}.")
    try:
        with Image.open(path) as file:
            file.load()
            return file
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as an image: {error}") from error


def _from_array(array: np.ndarray, input_data_format: str | None) -> Image.Image:
    shape = array.shape
    expected = "(H, W), (H, W, C) or (C, H, W) with C = 1, 3 or 4"
    if 0 in shape:
        raise ValueError(f"got an image of zero size: shape {shape}, expected {expected}.")
    if array.ndim == 3:
        first = input_data_format or ("channels_last" if array.shape[-1] in (1, 3, 4) else "channels_first")
        if first not in ("channels_first", "channels_last"):
            raise ValueError(f"`input_data_format` is 'channels_first' or 'channels_last', got {input_data_format!r}.")
        if first == "channels_first":
            array = np.moveaxis(array, 0, -1)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)):
        raise ValueError(f"got an array of shape {shape} as one image, expected {expected}.")
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return to_rgb_image(Image.fromarray(np.ascontiguousarray(_eight_bits(array))))


def _eight_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return np.round(array / 257).astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"got an array of {array.dtype} as an image, expected numbers.")
    low, high = array.min(), array.max()
    if array.dtype.kind in "iu" and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    # Written so that NaN fails; resampling may leave [0, 1] by a hair.
    if array.dtype.kind == "f" and low >= -1e-3 and high <= 1 + 1e-3:
        return np.round(np.clip(array, 0, 1) * 255).astype(np.uint8)
    raise ValueError(
        f"got an image of {array.dtype} values from {low} to {high}; expected integers from 0 to 255 "
        "or floats from 0 to 1. Divide floats by 255 first; pixels already normalised need no image processor."
    )


__all__ = ["CLEFImageProcessor"]
