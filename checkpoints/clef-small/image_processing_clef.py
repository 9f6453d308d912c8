"""CLEFImageProcessor: face crops in, `pixel_values` out; and, with OpenCV, faces out of photographs.

Needs Pillow, numpy and torch, not torchvision. OpenCV is asked for only when faces are to be found or cut out.
"""

from .requirements_clef import check_transformers  # noqa: F401  first: older versions lack names imported below

# isort: split

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, PILImageResampling

from .face_alignment_clef import EYES_NOSE_1, CropRecipe, align_face
from .face_detection_clef import LONGEST_LONG_SIDE, Face, FaceDetector, find_detector
from .face_quality_clef import FaceQuality, face_quality
from .image_reading_clef import Image, list_of_images, to_rgb_image

# Of pixels in [0, 1]: below this standard deviation an image counts as flat, and dividing would only raise its noise.
MINIMUM_STD = 0.02

# Recipes that crops can be cut by.
RECIPES = {EYES_NOSE_1.name: EYES_NOSE_1}

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

    JPEG files given by their path are decoded at a half, a quarter or an eighth of their size where that leaves at
    least twice the pixels that resizing keeps, which takes a fraction of the time.

    A call takes one image or a list: PIL images of any mode, arrays or tensors of shape (H, W), (H, W, C) or (C, H, W)
    with 1, 3 or 4 channels, paths and URLs; a 4-D array or tensor is a batch. 8-bit values are 0..255, 16-bit values
    0..65535, floats in [0, 1], and everything is brought to 8 bits, as in an image file. Transparent parts become
    white. Returns a `BatchFeature` with `pixel_values`: float32 (3, height, width) an image, stacked to
    (N, 3, height, width) with `return_tensors="pt"` or `"np"`.

    Photographs go in with `landmarks`: the points of one face an image, and the crop is cut from it. For photographs
    with any number of faces:

    ```python
    detector = image_processor.find_detector()
    photo = image_processor.read_image("photo.jpg")
    faces = detector.detect(photo)
    crops = [image_processor.align(photo, face.points) for face in faces]
    ```

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

    def preprocess(self, images: Any, landmarks: Sequence | None = None, **kwargs: Any) -> BatchFeature:
        """
        Args:
            images: crops, or photographs where there are `landmarks`.
            landmarks: for each image the (5, 2) or (3, 2) points of its face (see `align`); crops are cut by them.
            kwargs: options of the processor, for this call.
        """
        if landmarks is not None:
            images = self._aligned(images, landmarks)
        recipe = kwargs.get("crop_recipe")
        if recipe is not None and recipe != self.crop_recipe:
            raise ValueError(
                f"the images were cropped by recipe {recipe!r}, but this checkpoint expects {self.crop_recipe!r}; "
                "crop them again, or set `crop_recipe` when loading the processor if you know that they agree."
            )
        return super().preprocess(images, **kwargs)

    @staticmethod
    def read_image(image: Any) -> Image.Image:
        """Whatever a call takes as one image, as an upright 8-bit RGB picture, whose pixels landmarks refer to."""
        return to_rgb_image(image)

    @staticmethod
    def find_detector(
        name: str = "auto", path: str | Path | None = None, longest_side: int = LONGEST_LONG_SIDE
    ) -> FaceDetector:
        """A face detector: see `face_detection_clef.find_detector`."""
        return find_detector(name, path, longest_side)

    def find_faces(self, image: Any, detector: FaceDetector | None = None) -> list[Face]:
        """The faces of one image, by default by a new `find_detector()`: give one where there are many images."""
        return (detector or self.find_detector()).detect(image)

    def align(self, image: Any, points: Sequence) -> np.ndarray:
        """The crop that this processor's model reads, uint8 (S, S, 3), S the larger side of `size`.

        Args:
            image: one image, as in a call.
            points: (5, 2) of the upright picture, right eye, left eye, nose tip, mouth corners; or the first three.

        Raises:
            ValueError: points without a crop (see `crop_matrix`), or a checkpoint trained on crops of a recipe that
                this version cannot cut. ImportError: OpenCV is missing.
        """
        return align_face(image, points, max(self.size["height"], self.size["width"]), self.check_recipe())

    def assess(self, image: Any, face: Face, crop: np.ndarray | None = None) -> FaceQuality:
        """The quality figures of a face: see `face_quality_clef.face_quality`."""
        return face_quality(image, face, crop)

    def _aligned(self, images: Any, landmarks: Sequence) -> list[np.ndarray]:
        images = list_of_images(images)
        if len(images) == 1 and np.ndim(landmarks) == 2:
            landmarks = [landmarks]
        if len(images) != len(landmarks):
            raise ValueError(f"got {len(images)} images and landmarks of {len(landmarks)}; expected one face an image.")
        return [self.align(image, points) for image, points in zip(images, landmarks, strict=True)]

    def check_recipe(self) -> CropRecipe:
        """The recipe that crops are cut by. Raises ValueError where `crop_recipe` names one unknown to this version."""
        if self.crop_recipe not in RECIPES:
            raise ValueError(
                f"this checkpoint was trained on crops of the recipe {self.crop_recipe!r}, which cannot be cut from "
                f"pictures here (known: {', '.join(RECIPES)}); crop the images as its training images were."
            )
        return RECIPES[self.crop_recipe]

    def process_image(self, image: Any, input_data_format: str | None = None, **kwargs: Any) -> np.ndarray:
        size = kwargs.get("size") if kwargs.get("do_resize") else None
        least_side = None if size is None else max(size.height, size.width)
        return np.moveaxis(np.asarray(to_rgb_image(image, input_data_format, least_side)), -1, 0)

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
                image = _resize(image, size, resample)
            pixels = torch.from_numpy(image.astype(np.float32, order="C"))
            if do_rescale:
                pixels = pixels * rescale_factor
            if do_normalize:
                pixels = _normalize(pixels, per_image_normalization, image_mean, image_std)
            processed.append(pixels.numpy())
        if return_tensors is not None and len({image.shape for image in processed}) > 1:
            sizes = sorted({f"{image.shape[1]}x{image.shape[2]}" for image in processed})
            raise ValueError(f"images of different sizes ({', '.join(sizes)}) cannot be stacked without `do_resize`.")
        return BatchFeature({"pixel_values": processed}, tensor_type=return_tensors)


def _resize(image: np.ndarray, size: Any, resample: Any) -> np.ndarray:
    """(3, H, W) uint8 to (3, size.height, size.width), as `PilBackend.resize` does, without its way through several
    copies. `image` is a view of (H, W, 3), as `process_image` makes it: Pillow then reads it where it lies."""
    picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1)))
    resized = picture.resize((size.width, size.height), PILImageResampling.BILINEAR if resample is None else resample)
    return np.moveaxis(np.asarray(resized), -1, 0)


def _normalize(pixels: torch.Tensor, per_image: bool, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    if per_image:
        centred = pixels - pixels.mean(dim=(-2, -1), keepdim=True)
        deviation = centred.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt()
        return centred / deviation.clamp(min=MINIMUM_STD)
    mean = torch.tensor(mean, dtype=pixels.dtype, device=pixels.device)[:, None, None]
    std = torch.tensor(std, dtype=pixels.dtype, device=pixels.device)[:, None, None]
    return (pixels - mean) / std


__all__ = ["CLEFImageProcessor"]
