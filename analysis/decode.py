"""Sources to frames: images of every kind, videos as they stream, a camera."""

import time
from collections.abc import Iterator

import numpy as np

from analysis.decode_images import read_image
from analysis.decode_video import expected_frames, read_video
from analysis.frames import Frame, SourceError, Span
from analysis.sources import CAMERA, IMAGE, Source


def read_frames(source: Source, span: Span | None = None, first: int = 0) -> Iterator[Frame]:
    """The frames of `source` in the order they are shown, one in memory at a time.

    Frames before `first` (where a resumed run goes on) and before `span.start` are decoded and passed over: only so is
    the number of every frame right, whatever the container says.

    Raises:
        SourceError: the source cannot be read, or, after its last frame, what could be read is not all of it.
        ImportError: a video without PyAV, a camera without OpenCV.
    """
    span = span or Span()
    if source.kind == IMAGE:
        frames = read_image(source.path)
    elif source.kind == CAMERA:
        frames = read_camera(source.camera)
    else:
        yield from read_video(source.path, span, first)
        return
    for frame in frames:
        if span.stop is not None and frame.time_s is not None and frame.time_s >= span.stop:
            return
        if frame.index >= first and span.takes(frame.index, frame.time_s):
            yield frame


def read_camera(index: int) -> Iterator[Frame]:
    """Frames of a camera through OpenCV, until it gives no more. Times count from the first frame, as they arrive."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError("a camera is read with OpenCV: pip install opencv-python-headless") from error
    camera = cv2.VideoCapture(index)
    try:
        number, begin = 0, None
        while True:
            there, picture = camera.read()
            now = time.monotonic()
            if not there:
                break
            begin = now if begin is None else begin
            yield Frame(number, now - begin, np.ascontiguousarray(picture[..., ::-1]))
            number += 1
        if not number:
            raise SourceError(f"camera {index} gives no picture; is it connected, and not in use elsewhere?")
    finally:
        camera.release()


def count_frames(source: Source, span: Span) -> int | None:
    """About how many frames `read_frames` will give, by what the file's header says; None where that is unknown."""
    if source.kind == IMAGE:
        return 1
    return None if source.kind == CAMERA else expected_frames(source.path, span)


__all__ = ["Frame", "SourceError", "Span", "count_frames", "read_frames"]
