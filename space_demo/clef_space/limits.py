"""What the demonstration takes, and the sentences that it refuses the rest with."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MEGABYTE = 1_000_000
PICTURE_BYTES = 20 * MEGABYTE
PICTURE_PIXELS = 40_000_000
VIDEO_BYTES = 60 * MEGABYTE
UPLOAD_BYTES = 100 * MEGABYTE  # beyond which nothing is received at all
VIDEO_PIXELS = 4_200_000  # a frame: 2560 x 1600 fits
VIDEO_SECONDS = 30.0
VIDEO_RATE = 10.0  # frames a second that are looked at
SHOWN_FACES = 6
LABELS = 12
LABEL_LENGTH = 80
REQUEST_SECONDS = 120.0
STREAM_SECONDS = 60
FRAME_SECONDS = 1.0  # that a frame of the webcam waits for its turn
AT_ONCE = 2
WAITING = 16
# Long enough for a browser to have loaded the preview of what it sent.
KEPT_SECONDS = float(os.environ.get("CLEF_DEMO_KEPT_SECONDS", "60"))
REMEMBERED_SECONDS = 600
RESULT_SECONDS = 900  # files to be downloaded


class Refused(Exception):
    """Something that is not done; the message is a sentence for whoever asked."""


class Gate:
    """Lets `at_once` requests work and `waiting` wait; others are told that the demonstration is busy."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING, patience: float = REQUEST_SECONDS):
        self._places = threading.BoundedSemaphore(at_once + waiting)
        self._working = threading.BoundedSemaphore(at_once)
        self._patience = patience

    @contextmanager
    def pass_through(self) -> Iterator[None]:
        """Raises Refused when there is no place, or none to work within the time limit."""
        if not self._places.acquire(blocking=False):
            raise Refused("Many people are using this right now. Please try again in a minute.")
        try:
            with self.turn(self._patience):
                yield
        finally:
            self._places.release()

    @contextmanager
    def turn(self, patience: float) -> Iterator[None]:
        """For what comes often and waits briefly, as a webcam's frames: takes no place that a request could wait in.

        Raises Refused when there is none to work within so many seconds.
        """
        if not self._working.acquire(timeout=patience):
            raise Refused("This has waited too long for its turn. Please try again in a minute.")
        try:
            yield
        finally:
            self._working.release()


class Deadline:
    """Of one request, from when it is made."""

    def __init__(self, seconds: float = REQUEST_SECONDS):
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self._end:
            raise Refused(f"This took longer than {self.seconds:.0f} seconds and was stopped. Try something smaller.")


def read_words(text: str) -> list[str]:
    """A user's labels, one a line or separated by commas or semicolons, each once, in their order.

    Raises:
        Refused: none, too many, or one that is too long.
    """
    separated = str(text or "").replace(";", "\n").replace(",", "\n").splitlines()
    return check_words([word for word in (" ".join(part.split()) for part in separated) if word])


def check_words(words: list[str]) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Refused("Labels are a list of texts.")
    words = list(dict.fromkeys(" ".join(word.split()) for word in words))
    if not words or not all(words):
        raise Refused("Type at least one label, such as “raised eyebrows”.")
    if len(words) > LABELS:
        raise Refused(f"These are {len(words)} labels; at most {LABELS} are taken at a time.")
    for word in words:
        if len(word) > LABEL_LENGTH:
            raise Refused(f"“{word[:20]}…” has {len(word)} characters; a label may have {LABEL_LENGTH}.")
    return words
