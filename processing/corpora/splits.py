"""What corpora that are made here share: splits by subject and checks of options."""

import os
from collections.abc import Iterable
from numbers import Real

import numpy as np

from processing.corpora.random_streams import SPLIT, random_generator

SPLITS = ("train", "validation", "test")


def split_subjects(subjects: int, seed: int) -> dict[str, list[int]]:
    """Subject numbers of each split: a seeded permutation cut at 2/3 and 7/9, at least one subject a split."""
    order = random_generator(seed, SPLIT, subjects).permutation(subjects)
    validation = max(1, round(subjects / 9))
    test = max(1, round(subjects * 2 / 9))
    train = subjects - validation - test
    cuts = np.split(order, [train, train + validation])
    return {name: sorted(part.tolist()) for name, part in zip(SPLITS, cuts, strict=True)}


def check_split(split: str | None) -> None:
    if split is not None and split not in SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {', '.join(map(repr, SPLITS))}, or None for all rows")


def check_integer(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; expected a whole number from {low} to {high}")


def check_options(corpus: str, options: Iterable[str], known: Iterable[str]) -> None:
    """Raises TypeError for the first of the options that the corpus does not have."""
    known = list(known)
    for option in options:
        if option not in known:
            raise TypeError(f"{corpus} has no option {option!r}; it has: {', '.join(known) or 'none'}")


def check_share(name: str, value: float) -> None:
    if not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}; expected a share between 0 and 1")


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
