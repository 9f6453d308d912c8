"""Probabilities from logits, with what has been fitted on people that training never saw."""

from collections.abc import Sequence

import torch


def calibrated_probabilities(logits: torch.Tensor, label_sets: Sequence[dict]) -> torch.Tensor:
    """Probabilities of labels from uncalibrated logits.

    A logit is first divided by its label's temperature, then its label's calibration bias is added (Platt scaling);
    what a label set does not hold counts as 1 and 0. Multi-label sets then pass the sigmoid, single-label sets the
    softmax over their columns.

    Args:
        logits: (N, K) over all label sets in their order, any float dtype.
        label_sets: of the configuration.

    Returns:
        (N, K) float32 in [0, 1].

    Raises:
        ValueError: the columns are not one a label.
    """
    widths = [len(label_set["labels"]) for label_set in label_sets]
    if logits.ndim != 2 or logits.shape[1] != sum(widths):
        raise ValueError(f"got logits {tuple(logits.shape)}, expected (N, {sum(widths)}): one column a label.")
    parts = []
    for part, label_set in zip(logits.float().split(widths, dim=1), label_sets, strict=True):
        if label_set["temperatures"] is not None:
            part = part / part.new_tensor(label_set["temperatures"])
        if label_set["calibration_biases"] is not None:
            part = part + part.new_tensor(label_set["calibration_biases"])
        parts.append(part.softmax(dim=1) if label_set["problem_type"].startswith("single") else part.sigmoid())
    return torch.cat(parts, dim=1)


__all__ = ["calibrated_probabilities"]
