"""Scores of a training run's corpora though some of their images cannot be decoded."""

from collections.abc import Callable
from typing import TypeVar

from datasets import Dataset

from train_scripts.data import DECODING_ERRORS
from train_scripts.predict import CorruptImagesError

ResultT = TypeVar("ResultT")


class ReadableCorpora:
    """Corpora by name, of which frames whose image cannot be decoded are left out once that turns out: counted in
    `left_out`, by corpus, and said. Finding them costs one more reading, which whole corpora never pay.

    Training replaces such frames by other draws; what is scored has none to replace them by.
    """

    def __init__(self, corpora: dict[str, Dataset], say: Callable = print):
        self.corpora, self.say = corpora, say
        self.left_out: dict[str, int] = {}

    def score(self, function: Callable[[dict[str, Dataset]], ResultT]) -> ResultT:
        """`function(corpora)`, called again without the corrupt frames if it meets some."""
        try:
            return function(self.corpora)
        except CorruptImagesError:
            kept = {name: readable(corpus) for name, corpus in self.corpora.items()}
            counts = {name: len(corpus) - len(kept[name]) for name, corpus in self.corpora.items()}
            self.left_out = {name: count for name, count in counts.items() if count}
            of = ", ".join(f"{count} of {name}" for name, count in self.left_out.items())
            self.say(f"\nframes whose image cannot be decoded are left out of the scores: {of}")
            self.corpora = kept
            return function(kept)


def readable(corpus: Dataset) -> Dataset:
    """The rows whose image can be decoded."""
    images = corpus.select_columns(["image"])

    def decodes(row: int) -> bool:
        try:
            return images[row]["image"] is not None
        except DECODING_ERRORS:
            return False

    return corpus.select([row for row in range(len(corpus)) if decodes(row)])
