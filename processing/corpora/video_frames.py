"""Frames of video files by their index in order of presentation, for data sets that ship videos. Needs PyAV."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from processing.corpora.official import ReadingReport

# Containers whose times are those of presentation. AVI has none: where frames are stored in another order than they are
# shown, the times that are made up for it are wrong.
TIMED_CONTAINERS = ("mov,", "matroska,")
UNREADABLE = "video that cannot be read"
UNDECODABLE = "video frame that cannot be decoded"


class VideoError(ValueError):
    """A file that is no video, or is cut so short that it cannot be opened."""


@dataclass(frozen=True)
class VideoIndex:
    """The frames of a video as its container lists them, none decoded.

    Attributes:
        frames: how many there are.
        times: of every frame, ascending, in units of the stream; None where the container does not give them reliably.
        keyframes: those of `times` at which decoding can begin.
    """

    frames: int
    times: list[int] | None
    keyframes: list[int]


def index_video(path: str | Path) -> VideoIndex:
    """List the frames of a video without decoding it; of a cut file, those that are left.

    Raises VideoError when the file cannot be read as a video, ImportError without PyAV.
    """
    times, keyframes, frames = [], [], 0
    with _open(path) as container:
        stream = container.streams.video[0]
        in_order = container.format.name.startswith(TIMED_CONTAINERS) or not stream.codec_context.has_b_frames
        try:
            for packet in container.demux(stream):
                if not packet.size or packet.is_discard:  # the last, empty packet, and what an edit list hides
                    continue
                frames += 1
                times.append(packet.pts)
                if packet.is_keyframe and packet.pts is not None:
                    keyframes.append(packet.pts)
        except _av().error.FFmpegError as error:
            if not frames:
                raise VideoError(f"{str(path)!r} cannot be read as a video: {error}") from error
    if not frames:
        raise VideoError(f"{str(path)!r} holds no video frame; copy the file again from its source")
    known = None not in times and len(set(times)) == frames and in_order
    return VideoIndex(frames, sorted(times) if known else None, sorted(keyframes) if known else [])


def count_frames(path: str | Path, report: ReadingReport, sequence: str = "") -> int:
    """Number of frames; 0 for a file that cannot be read, which is counted."""
    try:
        return index_video(path).frames
    except VideoError as error:
        report.add(UNREADABLE, sequence, example=error)
        return 0


def iterate_frames(
    path: str | Path, start: int = 0, stop: int | None = None, report: ReadingReport | None = None, sequence: str = ""
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode frames from `start` to before `stop`, in order of presentation.

    Decoding begins at the last keyframe before `start` if the container gives every frame's time reliably, else at the
    file's beginning. Frames that are damaged are left out, and the others keep their index; without times nothing after
    the damage has a known index, so all of it is left out. `report` counts what was left out.

    Args:
        path: the video.
        start, stop: 0-based; `stop` may be None or beyond the end, for all frames that there are.
        report, sequence: where left out frames are counted, if at all.

    Yields (index, (H, W, 3) uint8 RGB). Raises VideoError when the file cannot be read as a video, ValueError for a
    negative `start`, ImportError without PyAV.
    """
    if start < 0:
        raise ValueError(f"start is {start}; expected the 0-based index of a frame")
    index = index_video(path)
    stop = index.frames if stop is None else min(stop, index.frames)
    done = 0
    for number, frame in _decoded(path, index, start):
        if number >= stop:
            break
        if number >= start and not frame.is_corrupt:
            done += 1
            yield number, frame.to_ndarray(format="rgb24")
    missing = max(stop - start, 0) - done
    if report is not None:
        report.add(UNDECODABLE, sequence, missing, f"{path}: {missing} of frames {start} to {stop - 1}")


def _decoded(path, index: VideoIndex, start: int) -> Iterator[tuple[int, object]]:
    """(index, frame) from `start` or before it."""
    position = {time: number for number, time in enumerate(index.times or [])}
    before = [time for time in index.keyframes if start < index.frames and time <= index.times[start]]
    # From the file's beginning if that does not lead to where the container's times say, or gives other times.
    for seek_to in (before[-1], None) if before and before[-1] > index.times[0] else (None,):
        with _open(path) as container:
            stream = container.streams.video[0]
            if seek_to is not None:
                container.seek(seek_to, stream=stream)
            frames = _whole_frames(container, stream, skip_damage=index.times is not None)
            first = next(frames, None)
            if first is None or (seek_to is not None and position.get(first.pts, start + 1) > start):
                continue
            if first.pts in position:
                numbered = ((position[frame.pts], frame) for frame in chain([first], frames) if frame.pts in position)
            else:
                numbered = enumerate(chain([first], frames))
            yield from numbered
            return


def _whole_frames(container, stream, skip_damage: bool) -> Iterator[object]:
    error_type = _av().error.FFmpegError
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            return
        except error_type:
            if not skip_damage:
                return
            continue
        yield from frames


def _open(path):
    av = _av()
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{str(path)!r} cannot be read as a video: {error}") from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"{str(path)!r} holds no video stream; copy the file again from its source")
    return container


def _av():
    try:
        import av
    except ImportError as error:
        raise ImportError("videos are read with PyAV, which is not installed: pip install av") from error
    return av
