"""From a corpus to batches: crops decoded once, augmented per (epoch, row), texts packed once an activity."""

import os
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import psutil
import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from processing import CLEFProcessor
from processing.corpora.schema import corpus_metadata
from processing.image_reading_clef import DECODING_ERRORS, to_rgb_image
from processing.prompts_clef import EXPRESSIONS
from train_scripts.failures import ignore_sigterm
from train_scripts.sampling import ATTEMPTS, FaceBatchSampler

# Of the memory that is free, shared by the processes of a machine.
IN_MEMORY_SHARE = 1 / 8


class FaceCrops:
    """A corpus's crops at the network's input size.

    Crops that fit `IN_MEMORY_SHARE` of the free memory are decoded once, by `workers` processes (0: this one); larger
    corpora are decoded on the way.

    Raises:
        ValueError: the corpus has rows, but not one image can be decoded.
    """

    def __init__(self, corpus: Dataset, processor: CLEFProcessor, workers: int = 0):
        self.images, self.image_processor = corpus.select_columns(["image"]), processor.image_processor
        size = self.image_processor.size
        room = IN_MEMORY_SHARE * psutil.virtual_memory().available / int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        self.corrupt: dict[int, str] = {}
        self.crops = None
        if len(corpus) * 3 * size["height"] * size["width"] <= room:
            self.crops = self._all_crops(workers)
        if self.corrupt and len(self.corrupt) == len(self):
            raise ValueError(
                f"none of the {len(self)} images can be decoded, the first for: {self.corrupt[0]}. Prepare the corpus "
                "again."
            )

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: list[int]) -> tuple[torch.Tensor, dict[int, str]]:
        """uint8 (len(rows), 3, H, W), and the reason of each row whose image cannot be decoded; its crop is black."""
        if self.crops is not None:
            return self.crops[rows], {row: self.corrupt[row] for row in rows if row in self.corrupt}
        return self._decode(rows)

    def _all_crops(self, workers: int) -> torch.Tensor:
        size = self.image_processor.size
        crops = torch.empty(len(self), 3, size["height"], size["width"], dtype=torch.uint8)
        portions = [list(range(start, min(start + 512, len(self)))) for start in range(0, len(self), 512)]
        loader = DataLoader(
            portions,
            batch_size=None,
            collate_fn=self._decode,
            num_workers=min(workers, len(portions)),
            generator=torch.Generator(),  # a loader draws a seed, which would shift the run's own random numbers
            worker_init_fn=ignore_sigterm,
        )
        for rows, (portion, corrupt) in zip(portions, loader, strict=True):
            crops[rows[0] : rows[-1] + 1] = portion
            self.corrupt |= corrupt
        return crops

    def _decode(self, rows: list[int]) -> tuple[torch.Tensor, dict[int, str]]:
        try:
            return self._pixels(rows), {}
        except DECODING_ERRORS:
            pass
        size = self.image_processor.size
        crops, corrupt = torch.zeros(len(rows), 3, size["height"], size["width"], dtype=torch.uint8), {}
        for place, row in enumerate(rows):
            try:
                crops[place] = self._pixels([row])[0]
            except DECODING_ERRORS as error:
                # Without addresses in memory, which Pillow names: the same file has the same reason everywhere.
                corrupt[row] = re.sub(r" <[^>]* at 0x[^>]*>", "", str(error)) or type(error).__name__
        return crops, corrupt

    def _pixels(self, rows: list[int]) -> torch.Tensor:
        images = self.images[rows]["image"]
        if any(image is None for image in images):
            raise ValueError("there is no image")
        size = self.image_processor.size
        if all(image.size == (size["width"], size["height"]) for image in images):
            # What the processor would do to them, in a third of the time.
            arrays = [np.asarray(to_rgb_image(image)) for image in images]
            if {array.shape[:2] for array in arrays} == {(size["height"], size["width"])}:  # upright, too
                return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
        packed = self.image_processor(images, do_rescale=False, do_normalize=False, return_tensors="pt")
        return packed["pixel_values"].round().clamp(0, 255).to(torch.uint8)


class Draws(torch.utils.data.Dataset):
    """The crops that a sampler draws. Indexed with `[(epoch, row, step), …]`, a whole batch at a time.

    In place of a row whose image cannot be decoded the sampler draws another one, which brings its own label and
    activity; "corrupt" of the batch holds the row and the reason, once a draw.
    """

    def __init__(self, crops: FaceCrops, sampler: FaceBatchSampler):
        self.crops, self.draw_instead = crops, sampler.draw_instead

    def __len__(self) -> int:
        return len(self.crops)

    def __getitems__(self, keys: list[tuple[int, int, int]]) -> dict:
        """Raises ValueError when `ATTEMPTS` draws in a row cannot be decoded."""
        epochs, drawn, steps = zip(*keys, strict=True)
        rows, corrupt = list(drawn), []
        crops, unreadable = self.crops.read(rows)
        for place, row in enumerate(drawn):
            if row not in unreadable:
                continue
            corrupt.append((row, unreadable[row]))
            for attempt in range(ATTEMPTS):
                rows[place] = self.draw_instead(row, epochs[place], steps[place], attempt)
                crop, reason = self.crops.read([rows[place]])
                if not reason:
                    crops[place] = crop[0]
                    break
                corrupt += reason.items()
            else:
                raise ValueError(
                    f"the image of row {row} cannot be decoded ({unreadable[row]}), nor those of {ATTEMPTS} other "
                    "draws: most of this corpus is broken. Prepare it again."
                )
        return {"crops": crops, "rows": np.array(rows), "epoch": epochs[0], "step": steps[0], "corrupt": corrupt}


class Collator:
    """Views of a batch's crops, and what they are to be taken for: `targets(rows)`, of each stage's own kind.

    Args:
        augment: `(crops, rows, epoch, step, views) -> (N, views, 3, H, W)` in [0, 1], e.g. a RampedAugmentation.
    """

    def __init__(self, processor: CLEFProcessor, augment: Callable):
        self.processor, self.augment = processor, augment

    def __call__(self, batch: dict) -> dict:
        return {"pixel_values": self.views(batch), **self.targets(batch["rows"])}

    def augmented(self, batch: dict, views: int) -> torch.Tensor:
        """(N, views, 3, H, W), normalised, where the crops are."""
        drawn = self.augment(batch["crops"], batch["rows"], batch["epoch"], batch["step"], views=views)
        return self.processor.image_processor.normalize_pixels(drawn)


class PretrainingCollator(Collator):
    """Two augmented views an image, and the batch's activity texts, each once.

    Args:
        activity_ids: long (rows of the corpus,), -1 where the activity is unknown.
        texts: `input_ids` and `attention_mask` of the activity texts, row i describing activity i.
    """

    def __init__(self, processor: CLEFProcessor, augment: Callable, activity_ids: np.ndarray, texts: dict):
        super().__init__(processor, augment)
        self.activity_ids, self.texts = torch.as_tensor(activity_ids), texts

    def views(self, batch: dict) -> torch.Tensor:
        return self.augmented(batch, views=2)

    def targets(self, rows: np.ndarray) -> dict:
        activity_ids = self.activity_ids[rows]
        # A batch without any known activity still passes one text, so that every rank takes part in the gather.
        present = activity_ids[activity_ids >= 0].unique()
        present = present if len(present) else torch.zeros(1, dtype=torch.long)
        return {
            "activity_ids": activity_ids,
            "input_ids": self.texts["input_ids"][present],
            "attention_mask": self.texts["attention_mask"][present],
            "text_activity_ids": present,
        }


class ClassificationCollator(Collator):
    """One augmented view an image, and its labels, float (rows of the corpus, K) with NaN for unknown."""

    def __init__(self, processor: CLEFProcessor, augment: Callable, labels: np.ndarray):
        super().__init__(processor, augment)
        self.labels = torch.as_tensor(labels, dtype=torch.float32)

    def views(self, batch: dict) -> torch.Tensor:
        return self.augmented(batch, views=1)[:, 0]

    def targets(self, rows: np.ndarray) -> dict:
        return {"labels": self.labels[rows]}


class WithRows:
    """A collator whose batches also say where they come from: "rows", long (N,), and "corrupt", see `Draws`."""

    def __init__(self, collator: Callable):
        self.collator = collator

    def __call__(self, batch: dict) -> dict:
        return {**self.collator(batch), "rows": torch.as_tensor(batch["rows"]), "corrupt": batch["corrupt"]}


class WithoutViews:
    """A collator that leaves the views to `ViewsOnDevice`, and hands on what they are made of."""

    def __init__(self, collator: Collator):
        self.collator = collator

    def __call__(self, batch: dict) -> dict:
        drawn = {name: batch[name] for name in ("crops", "rows", "epoch", "step")}
        return {**self.collator.targets(batch["rows"]), "drawn": drawn}


class ViewsOnDevice:
    """Batches whose views the training device makes, so that the processor's cores need not keep up with it."""

    def __init__(self, loader: DataLoader, collator: Collator, device: torch.device):
        self.loader, self.collator, self.device = loader, collator, device

    def __iter__(self) -> Iterator[dict]:
        # Begun at once: a loader draws a seed then, which must not come after a resumed run has restored its generator.
        return map(self._with_views, iter(self.loader))

    def _with_views(self, batch: dict) -> dict:
        drawn = batch.pop("drawn")
        drawn["crops"] = drawn["crops"].to(self.device, non_blocking=True)
        return {"pixel_values": self.collator.views(drawn), **batch}


def make_loader(
    crops: FaceCrops, sampler: FaceBatchSampler, collator: Collator, workers: int, device: torch.device | None = None
) -> Iterable[dict]:
    """Batches of `collator`, with "rows" and "corrupt" as `WithRows` gives them.

    Args:
        workers: processes that decode and, without a device, augment.
        device: where the views are made; None: by the workers.
    """
    loader = DataLoader(
        Draws(crops, sampler),
        batch_sampler=sampler,
        collate_fn=WithRows(collator if device is None else WithoutViews(collator)),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=ignore_sigterm,
    )
    return loader if device is None else ViewsOnDevice(loader, collator, device)


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
