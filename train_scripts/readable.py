"""Scores of a training run's corpora though some of their images cannot be decoded."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from datasets import Dataset

from train_scripts.data import DECODING_ERRORS
from train_scripts.predict import CorruptImagesError

ResultT = TypeVar("ResultT")


class ReadableCorpora:
    """Corpora by name, of which frames whose image cannot be decoded are left out once that turns out: counted in
    `left_out`, by corpus, and said; `rows` says which rows such a corpus is left with, as it was before. Finding them
    costs one more reading, which whole corpora never pay.

    Training replaces such frames by other draws; what is scored has none to replace them by.
    """

    def __init__(self, corpora: dict[str, Dataset], say: Callable = print):
        self.corpora, self.say = corpora, say
        self.left_out: dict[str, int] = {}
        self.rows: dict[str, np.ndarray] = {}

    def score(self, function: Callable[[dict[str, Dataset]], ResultT]) -> ResultT:
        """`function(corpora)`, called again without the corrupt frames if it meets some."""
        try:
            return function(self.corpora)
        except CorruptImagesError:
            for name, corpus in self.corpora.items():
                self._leave_out_corrupt(name, corpus)
            of = ", ".join(f"{count} of {name}" for name, count in self.left_out.items())
            self.say(f"\nframes whose image cannot be decoded are left out of the scores: {of}")
            return function(self.corpora)

    def _leave_out_corrupt(self, name: str, corpus: Dataset) -> None:
        kept = readable_rows(corpus)
        if len(kept) == len(corpus):
            return
        self.corpora[name] = corpus.select(kept)
        self.rows[name] = self.rows.get(name, np.arange(len(corpus)))[kept]
        self.left_out[name] = self.left_out.get(name, 0) + len(corpus) - len(kept)


def readable_rows(corpus: Dataset) -> list[int]:
    """The rows whose image can be decoded."""
    images = corpus.select_columns(["image"])

    def decodes(row: int) -> bool:
        try:
            return images[row]["image"] is not None
        except DECODING_ERRORS:
            return False

    return [row for row in range(len(corpus)) if decodes(row)]
