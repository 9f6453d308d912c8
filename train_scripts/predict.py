"""Runs a checkpoint over a corpus: features of its frames, or probabilities of its labels."""

from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from modeling_clef.mirror_clef import mean_with_mirror_image
from modeling_clef.towers_clef import pooled_image_features
from train_scripts.data import DECODING_ERRORS


class CorruptImagesError(ValueError):
    """Images of a corpus cannot be decoded; the message names their rows."""


class Features(NamedTuple):
    """One row a frame, float32: `backbone` (N, C) before the projection, `projection` (N, D) L2-normalised."""

    backbone: np.ndarray
    projection: np.ndarray


def extract_features(
    model,
    dataset: Dataset,
    processor,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    num_workers: int = 0,
    progress: bool = True,
) -> Features:
    """Features of every frame, in eval mode and without augmentation; the model's training mode is restored.

    Args:
        model: CLEFModel, CLEFForPreTraining or CLEFForImageClassification.
        dataset: rows with an `image`.
        processor: a CLEFProcessor or an image processor.
        device: where to run; the model is moved there and stays. Default: where it is.

    Raises:
        ValueError: no rows. CorruptImagesError: images that cannot be decoded (all such rows are named).
    """
    base = getattr(model, "clef", model)

    def forward(pixel_values):
        backbone = pooled_image_features(base.encode_images(pixel_values))
        projection = torch.nn.functional.normalize(base.visual_projection(backbone).float(), dim=-1)
        return backbone.float(), projection

    return Features(*_run(model, forward, dataset, processor, batch_size, device, num_workers, progress))


def predict(
    model,
    dataset: Dataset,
    processor,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    num_workers: int = 0,
    progress: bool = True,
    mirror: bool = False,
) -> np.ndarray:
    """(N, K) float32 calibrated probabilities over the model's label sets in their order: sigmoids of a multi-label
    set, a softmax over a single-label set. Arguments and errors as in `predict_logits`.
    """
    logits = predict_logits(model, dataset, processor, batch_size, device, num_workers, progress, mirror)
    return model.probabilities(torch.from_numpy(logits)).numpy()


def predict_logits(
    model,
    dataset: Dataset,
    processor,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    num_workers: int = 0,
    progress: bool = True,
    mirror: bool = False,
) -> np.ndarray:
    """(N, K) float32 uncalibrated logits over the model's label sets. `mirror`: see `image_logits`; other arguments
    and errors as in `extract_features`.
    """

    def forward(pixel_values):
        return (image_logits(model, pixel_values, mirror),)

    return _run(model, forward, dataset, processor, batch_size, device, num_workers, progress)[0]


def image_logits(model, pixel_values: torch.Tensor, mirror: bool = False) -> torch.Tensor:
    """(N, K) float32 uncalibrated logits of a CLEFForImageClassification in eval mode; with `mirror` each image's mean
    with its mirror image's."""
    return mean_with_mirror_image(lambda pixels: model(pixel_values=pixels).logits.float(), pixel_values, mirror)


def image_embeds(clef, pixel_values: torch.Tensor, mirror: bool = False) -> torch.Tensor:
    """(N, D) float32, L2-normalised; with `mirror` of each image's mean with its mirror image's."""
    embeds = mean_with_mirror_image(clef.image_embeds, pixel_values, mirror)
    return torch.nn.functional.normalize(embeds, dim=-1) if mirror else embeds


def _run(
    model, forward: Callable, dataset: Dataset, processor, batch_size, device, num_workers, progress
) -> list[np.ndarray]:
    """Applies `forward` to prepared batches and joins each of its outputs over the rows."""
    if not len(dataset):
        raise ValueError("got a dataset without rows; expected at least one frame. Check the split and the corpus.")
    if device is not None:
        model.to(device)
    parameter = next(model.parameters())
    # Each item is a whole batch; three in flight per worker at most, so that memory stays small.
    batches = _PreparedBatches(dataset, processor, batch_size)
    # A generator of its own: a loader draws a seed, which in the middle of a training would shift the run's dropout.
    loader = DataLoader(batches, batch_size=None, num_workers=num_workers, generator=torch.Generator())
    parts = []
    # no_grad rather than inference_mode: label embeddings cached on the way may later meet autograd.
    with _eval_mode(model), torch.no_grad(), tqdm(total=len(dataset), unit="image", disable=not progress) as bar:
        for pixel_values in loader:
            outputs = forward(pixel_values.to(parameter.device, parameter.dtype))
            parts.append([output.cpu().numpy() for output in outputs])
            bar.update(len(pixel_values))
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


@contextmanager
def _eval_mode(model):
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


class _PreparedBatches(torch.utils.data.Dataset):
    def __init__(self, dataset: Dataset, processor, batch_size: int):
        if "image" not in dataset.column_names:
            raise ValueError(f"got a dataset with columns {dataset.column_names}; expected one named 'image'.")
        self.images, self.processor, self.batch_size = dataset.select_columns(["image"]), processor, batch_size

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, batch: int) -> torch.Tensor:
        start = batch * self.batch_size
        if start >= len(self.images):
            raise IndexError(batch)
        try:
            images = self.images[start : start + self.batch_size]["image"]
        except DECODING_ERRORS as error:
            raise self._corrupt_rows(start) from error
        if any(image is None for image in images):
            raise self._corrupt_rows(start)
        return self.processor(images=images, return_tensors="pt")["pixel_values"]

    def _corrupt_rows(self, start: int) -> CorruptImagesError:
        """Names the rows from `start` on whose image is missing or cannot be decoded, with the first reason."""
        rows, reason = [], None
        for row in range(start, len(self.images)):
            try:
                problem = "no image" if self.images[row]["image"] is None else None
            except DECODING_ERRORS as error:
                problem = str(error)
            if problem is not None:
                rows.append(row)
                reason = reason or problem
        shown = ", ".join(map(str, rows[:10])) + (", …" if len(rows) > 10 else "")
        return CorruptImagesError(
            f"{len(rows)} of {len(self.images)} images cannot be decoded, in rows {shown} (the first: {reason}). "
            "Repair or remove these rows, then prepare the corpus again; nothing is skipped silently."
        )
