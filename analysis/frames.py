"""One picture of a source, which of its pictures are taken, and what can be wrong with it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Pictures with more pixels are refused: one of them would take more than 240 MB, several times over.
LARGEST_PICTURE = 80_000_000


class SourceError(Exception):
    """A source that cannot be read, or not to its end; the message says why. Others are not concerned."""


@dataclass(frozen=True)
class Frame:
    """index: number of the frame in its source, from 0, counting frames that are passed over too.
    time_s: when it is shown, in seconds by the container's clock (in some files the first frame's is not 0); None for
        still images and where the container holds no times.
    image: uint8 (H, W, 3), RGB, upright: rotation and EXIF orientation are applied, pixels are square, transparent
        parts are white.
    """

    index: int
    time_s: float | None
    image: np.ndarray


@dataclass(frozen=True)
class Span:
    """Which frames are taken.

    every: of frames 0, 1, 2, … those whose number it divides.
    start, stop: in seconds by the container's clock, from `start` to before `stop`. Still images are not in time and
        are always taken.

    Raises:
        ValueError: `every` below 1, or `stop` not after `start`.
    """

    every: int = 1
    start: float | None = None
    stop: float | None = None

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(f"every is {self.every}; expected 1 (all frames) or more")
        if self.stop is not None and self.stop <= (self.start or 0):
            raise ValueError(f"the span ends at {self.stop} s and begins at {self.start or 0} s; expected a later end")

    def takes(self, index: int, time_s: float | None) -> bool:
        """Whether a frame that comes before `stop` belongs to the span."""
        return index % self.every == 0 and (self.start is None or time_s is None or time_s >= self.start)


def refuse_too_large(width: int, height: int) -> None:
    """Raises SourceError for pictures above the limit, before anything is decoded."""
    if width * height > LARGEST_PICTURE:
        raise SourceError(
            f"the picture has {width} x {height} pixels; at most {LARGEST_PICTURE // 1_000_000} million are taken. "
            "Make it smaller first."
        )


def refuse_empty(path: Path) -> None:
    """Raises SourceError for a file without a byte, of which libraries say that its format is unknown."""
    try:
        empty = path.stat().st_size == 0
    except OSError:  # why it cannot be read is told when it is
        return
    if empty:
        raise SourceError("the file is empty, as after a copy or a download that failed")
