"""Reading pictures: whatever a caller may hold, as an upright 8-bit RGB `PIL.Image`."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.image_utils import load_image
from transformers.utils import logging

try:
    from PIL import Image, ImageOps
except ImportError as error:
    raise ImportError("reading pictures needs Pillow: pip install pillow.") from error

logger = logging.get_logger(__name__)

# What Pillow raises for a broken file; RuntimeError, for AVIF.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# How many times the side that is asked for must be left where a file is decoded at a fraction of its size.
DECODED_SIDES = 2
DARK_BITS = 14  # that 16-bit values use at most, where the brightest is less than a quarter of white


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


def to_rgb_image(image: Any, input_data_format: str | None = None, least_side: int | None = None) -> Image.Image:
    """Any single image as an upright 8-bit RGB `PIL.Image` (see `CLEFImageProcessor` for what is taken and refused).

    `input_data_format`: "channels_first" or "channels_last", for arrays whose shape does not tell. Where both would
    fit, tensors are taken as channels first and arrays as channels last.

    `least_side`: pixels that a side will be resized to. A JPEG file is then decoded at a half, a quarter or an eighth
    of its size, as long as no side falls below `DECODED_SIDES` times that: what is lost, resizing would lose too.
    """
    if isinstance(image, (str, Path)):
        image = _open(image, least_side)
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


def _open(path: str | Path, least_side: int | None) -> Image.Image:
    if isinstance(path, str) and path.startswith(("http://", "https://", "data:image/")):
        try:
            return load_image(path)
        except Exception as error:  # of Pillow, or whatever the HTTP client has
            raise ValueError(f"{path[:200]!r} cannot be read as an image: {error}") from error
    if not os.path.exists(path):  # pathlib's raises where the name is too long
        raise FileNotFoundError(f"there is no image file at {str(path)[:200]!r}.")
    try:
        with Image.open(path) as file:
            if least_side is not None:
                file.draft(None, (DECODED_SIDES * least_side,) * 2)  # does nothing in formats that cannot
            file.load()
            return file
    except DECODING_ERRORS as error:
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
        _tell_of_unused_bits(int(array.max()))
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
        f"got an image of {array.dtype} values from {low} to {high}; expected integers from 0 to 255 or floats from "
        "0 to 1. Save a file with 8 bits a channel, or divide floats by 255 first; pixels already normalised need no "
        "image processor."
    )


def _tell_of_unused_bits(brightest: int) -> None:
    """Says that 16-bit values use few of their bits, as those of cameras with 12 do: which of them is white, no file
    says, and the picture may be just dark."""
    bits = brightest.bit_length()
    if 0 < bits <= DARK_BITS:
        logger.warning_once(
            f"a picture of 16 bits uses only the lower {bits} of them and is dark, as 65535 is white: faces may be "
            f"missed. If its values are meant to be of {bits} bits, multiply them by {2 ** (16 - bits)} and save anew."
        )


__all__ = ["list_of_images", "to_rgb_image"]
