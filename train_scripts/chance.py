"""Has the contrastive loss left chance?

A loss at chance looks like training: it is finite, and it wobbles. Its chance level and its floor are known from the
batch's activities alone, so the run can say so.
"""

import math

import torch


def image_image_levels(group_ids: torch.Tensor) -> tuple[float, float]:
    """(chance, floor) of the supervised contrastive loss over two views of images with these group ids.

    At chance all other views are equally likely: ln(2N - 1). At the floor only positives are: the mean of
    ln(positives) over anchors.
    """
    groups, counts = group_ids.repeat(2).unique(return_counts=True)
    positives = [c - 1 for c in counts[groups >= 0].tolist()]
    anchors = sum(c + 1 for c in positives)
    if not anchors:
        return 0.0, 0.0
    return math.log(2 * len(group_ids) - 1), sum((c + 1) * math.log(c) for c in positives) / anchors


def image_activity_levels(activity_ids: torch.Tensor, texts: int) -> tuple[float, float]:
    """(chance, floor) of the image–text loss, the mean of both directions, over two views an image."""
    known = activity_ids[activity_ids >= 0].repeat(2)
    if not len(known):
        return 0.0, 0.0
    counts = known.unique(return_counts=True)[1].tolist()
    floor = sum(math.log(c) for c in counts) / len(counts)
    return (math.log(texts) + math.log(len(known))) / 2, floor / 2


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
