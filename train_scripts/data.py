"""From a corpus to batches: crops decoded once, augmented per (epoch, row), texts packed once an activity."""

from collections.abc import Callable

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from processing import CLEFProcessor
from processing.corpora.schema import corpus_metadata
from processing.prompts_clef import EXPRESSIONS

IN_MEMORY_BYTES = 2 * 2**30


class FaceCrops(torch.utils.data.Dataset):
    """A corpus's crops at the network's input size. Indexed with `[(epoch, row, step), …]`, a whole batch at a time.

    Crops that fit `IN_MEMORY_BYTES` are decoded once; larger corpora are decoded on the way.
    """

    def __init__(self, corpus: Dataset, processor: CLEFProcessor):
        self.images, self.image_processor = corpus.select_columns(["image"]), processor.image_processor
        size = self.image_processor.size
        fits = len(corpus) * 3 * size["height"] * size["width"] <= IN_MEMORY_BYTES
        self.crops = self._all_crops() if fits else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, keys: list[tuple[int, int, int]]) -> dict:
        epochs, rows, steps = zip(*keys, strict=True)
        rows = list(rows)
        crops = self._decode(rows) if self.crops is None else self.crops[rows]
        return {"crops": crops, "rows": np.array(rows), "epoch": epochs[0], "step": steps[0]}

    def _all_crops(self) -> torch.Tensor:
        parts = [self._decode(range(i, min(i + 512, len(self)))) for i in range(0, len(self), 512)]
        return torch.cat(parts)

    def _decode(self, rows) -> torch.Tensor:
        """uint8 (len(rows), 3, H, W)."""
        try:
            images = self.images[list(rows)]["image"]
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(
                f"an image in rows {min(rows)}–{max(rows)} of the corpus cannot be decoded: {error}. "
                "Repair or remove it, then prepare the corpus again."
            ) from error
        packed = self.image_processor(images, do_rescale=False, do_normalize=False, return_tensors="pt")
        return packed["pixel_values"].round().clamp(0, 255).to(torch.uint8)


class PretrainingCollator:
    """Two augmented views an image, and the batch's activity texts, each once.

    Args:
        augment: `(crops, rows, epoch, step, views) -> (N, views, 3, H, W)` in [0, 1], e.g. a RampedAugmentation.
        activity_ids: long (rows of the corpus,), -1 where the activity is unknown.
        texts: `input_ids` and `attention_mask` of the activity texts, row i describing activity i.
    """

    def __init__(self, processor: CLEFProcessor, augment: Callable, activity_ids: np.ndarray, texts: dict):
        self.processor, self.augment = processor, augment
        self.activity_ids, self.texts = torch.as_tensor(activity_ids), texts

    def __call__(self, batch: dict) -> dict:
        views = self.augment(batch["crops"], batch["rows"], batch["epoch"], batch["step"], views=2)
        activity_ids = self.activity_ids[batch["rows"]]
        # A batch without any known activity still passes one text, so that every rank takes part in the gather.
        present = activity_ids[activity_ids >= 0].unique()
        present = present if len(present) else torch.zeros(1, dtype=torch.long)
        return {
            "pixel_values": self.processor.image_processor.normalize_pixels(views),
            "activity_ids": activity_ids,
            "input_ids": self.texts["input_ids"][present],
            "attention_mask": self.texts["attention_mask"][present],
            "text_activity_ids": present,
        }


class ClassificationCollator:
    """One augmented view an image, and its labels, float (rows of the corpus, K) with NaN for unknown."""

    def __init__(self, processor: CLEFProcessor, augment: Callable, labels: np.ndarray):
        self.processor, self.augment = processor, augment
        self.labels = torch.as_tensor(labels, dtype=torch.float32)

    def __call__(self, batch: dict) -> dict:
        views = self.augment(batch["crops"], batch["rows"], batch["epoch"], batch["step"], views=1)[:, 0]
        return {
            "pixel_values": self.processor.image_processor.normalize_pixels(views),
            "labels": self.labels[batch["rows"]],
        }


def make_loader(crops: FaceCrops, sampler, collator, workers: int) -> DataLoader:
    return DataLoader(
        crops,
        batch_sampler=sampler,
        collate_fn=collator,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


def adopt_crop_recipe(processor: CLEFProcessor, corpus: Dataset) -> None:
    """Records in the processor how the faces that a model learns from were cropped."""
    image_processor = processor.image_processor
    image_processor.crop_recipe = corpus_metadata(corpus).get("crop_recipe", image_processor.crop_recipe)


def activity_vocabulary(corpus: Dataset) -> tuple[list[str], np.ndarray]:
    """The corpus's activities in alphabetical order, and each row's index into them, -1 where it has none."""
    column = corpus["activity"][:]
    names = sorted({activity for activity in column if activity is not None})
    index = {name: i for i, name in enumerate(names)}
    return names, np.array([-1 if activity is None else index[activity] for activity in column], dtype=np.int64)


def without_expressions(corpus: Dataset, held_out: list[str]) -> Dataset:
    """The frames that show none of these expressions; frames whose expression is not known stay.

    Raises:
        ValueError: an expression that the project does not name, or nothing is left.
    """
    unknown = [name for name in held_out if name not in EXPRESSIONS]
    if unknown:
        raise ValueError(f"held-out expressions: got {', '.join(unknown)}, expected some of {', '.join(EXPRESSIONS)}.")
    kept = np.flatnonzero(~np.isin(np.array(corpus["expression"][:], dtype=object), held_out))
    if not len(kept):
        raise ValueError(f"no frame is left without the expressions {', '.join(held_out)}: hold out fewer.")
    return corpus.select(kept)


def choose_labelled(subjects: np.ndarray, fraction: float, by: str, seed: int) -> np.ndarray:
    """Sorted rows of a `fraction` of the frames (`by="frame"`) or of all frames of that share of the subjects.

    At least one frame or subject is chosen. Larger fractions contain smaller ones of the same seed.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"label fraction: got {fraction}, expected more than 0 and at most 1.")
    random = np.random.default_rng([seed, 0x1ABE1])
    if by == "frame":
        count = max(1, round(fraction * len(subjects)))
        return np.sort(random.permutation(len(subjects))[:count])
    names = random.permutation(np.unique(subjects))
    chosen = names[: max(1, round(fraction * len(names)))]
    return np.flatnonzero(np.isin(subjects, chosen))
