"""Has the contrastive loss left chance?

A loss at chance looks like training: it is finite, and it wobbles. Its chance level and its floor are known from the
batch's activities alone, so the run can say so.
"""

import math

import numpy as np


def image_image_levels(group_ids: np.ndarray) -> tuple[float, float]:
    """(chance, floor) of the supervised contrastive loss over two views of images with these group ids.

    At chance all other views are equally likely: ln(2N - 1). At the floor only positives are: the mean of
    ln(positives) over anchors.
    """
    counts = _views_a_group(group_ids)
    if not len(counts):
        return 0.0, 0.0
    return math.log(counts.sum() - 1), float((counts * np.log(counts - 1)).sum() / counts.sum())


def image_activity_levels(activity_ids: np.ndarray, texts: int) -> tuple[float, float]:
    """(chance, floor) of the image–text loss, the mean of both directions, over two views an image."""
    counts = _views_a_group(activity_ids)
    if not len(counts):
        return 0.0, 0.0
    return (math.log(texts) + math.log(counts.sum())) / 2, float(np.log(counts).mean() / 2)


def _views_a_group(group_ids: np.ndarray) -> np.ndarray:
    """Number of views in each known group; a negative id is unknown."""
    return 2 * np.unique(group_ids[group_ids >= 0], return_counts=True)[1]


class ChanceWatch:
    """Says once, after `after_steps` steps, which losses have not come `share` of the way from chance to floor."""

    ADVICE = (
        "What usually helps: longer training or a higher learning rate with warm-up; aligned crops; per-image "
        "normalisation of the pixels; milder augmentation; activity texts on (they give the early gradient); a tower "
        "that is pretrained, or convolutional if it starts from nothing."
    )

    def __init__(self, after_steps: int, share: float = 0.05):
        self.after_steps, self.share = after_steps, share

    def verdict(self, step: int, losses: dict[str, float], levels: dict[str, tuple[float, float]]) -> str | None:
        """A sentence if it is time and some loss is still at chance, else None. Losses without levels are passed by."""
        if step < self.after_steps:
            return None
        self.after_steps = math.inf
        stuck = []
        for name, (chance, floor) in levels.items():
            if name in losses and chance > floor and (chance - losses[name]) < self.share * (chance - floor):
                stuck.append(f"{name} is {losses[name]:.3f} after {step} steps; chance is {chance:.3f}")
        return f"NOT LEARNING YET: {'; '.join(stuck)}. {self.ADVICE}" if stuck else None
