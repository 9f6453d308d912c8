"""Video files to frames as they stream, through PyAV (FFmpeg)."""

import heapq
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from analysis.frames import Frame, SourceError, Span, refuse_empty, refuse_too_large
from processing.wording import counted

# A stream that ends so much earlier than its header says counts as cut off, in seconds.
MISSING_END = 0.5


def read_video(path: Path, span: Span, first: int = 0) -> Iterator[Frame]:
    """The frames of the first video stream that is no cover picture; see `decode.read_frames`.

    Frames have the container's times, so a variable frame rate is right, and each its own size, should it change.
    Rotation by metadata is applied, and pixels that are not square are made so, in width.

    Raises:
        SourceError: no video, no frame in the span, no times where the span needs them; after the last frame: damaged
            parts that could not be decoded, or an end long before the one that the header promises.
    """
    av = _pyav()
    with _opened(av, path) as container:
        stream = _video_stream(container, av)
        refuse_too_large(stream.codec_context.width or 1, stream.codec_context.height or 1)
        stream.thread_type = "AUTO"
        damage = _Damage()
        number = taken = 0
        began = time_s = length = None
        end = _header_clock(stream)[1]
        for frame, ticks in _decoded(container, stream, damage, av):
            time_s = None if ticks is None else float(ticks * frame.time_base)
            length = float(frame.duration * frame.time_base) if frame.duration else 0.0
            if time_s is None and (span.start is not None or span.stop is not None):
                raise SourceError("the container holds no times, so no part of it can be chosen; leave out from and to")
            began = time_s if began is None else began
            if span.stop is not None and time_s >= span.stop:
                break
            damage.frames += bool(frame.is_corrupt)
            if span.takes(number, time_s):
                taken += 1
                if number >= first:
                    yield Frame(number, time_s, _picture(frame, stream.sample_aspect_ratio))
            number += 1
        else:
            if number and time_s is not None:
                damage.missing = 0.0 if end is None else end - time_s - length
                end = time_s + length
        damage.report(number)
        if not taken:
            raise SourceError(f"the video holds no frame{_where(span, began, end)}")


def expected_frames(path: Path, span: Span) -> int | None:
    """How many frames of `span` the header promises; None where it says nothing or cannot be read."""
    av = _pyav()
    try:
        with _opened(av, path) as container:
            stream = _video_stream(container, av)
            rate = stream.average_rate or stream.guessed_rate
            begin, end = _header_clock(stream)
            seconds = None if end is None else max(0.0, end - begin)
            if seconds is None and container.duration is not None:
                seconds = container.duration / 1_000_000
            frames = stream.frames or (round(seconds * rate) if seconds is not None and rate else None)
    except SourceError:
        return None
    if frames and rate and (span.start is not None or span.stop is not None):
        first = 0 if span.start is None else max(0, (span.start - begin) * rate)
        last = frames if span.stop is None else min(frames, (span.stop - begin) * rate)
        frames = max(0, round(last - first))
    return None if frames is None else -(-frames // span.every)


class _Damage:
    """What went wrong on the way: packets that the decoder refused, frames it marked, why reading broke off."""

    def __init__(self):
        self.packets = self.frames = 0
        self.broke_off: str | None = None
        self.missing = 0.0

    def report(self, frames: int) -> None:
        found = []
        if self.broke_off:
            found.append(f"reading broke off ({self.broke_off})")
        if self.packets:
            found.append(f"{counted(self.packets, 'packet')} could not be decoded")
        if self.frames:
            found.append(f"{counted(self.frames, 'frame')} {'is' if self.frames == 1 else 'are'} damaged")
        if self.missing > MISSING_END:
            found.append(f"the last {self.missing:.2f} s that its header promises are missing")
        if found:
            raise SourceError(f"{' and '.join(found)}; {counted(frames, 'frame')} could be read")


def _decoded(container, stream, damage: _Damage, av) -> Iterator[tuple]:
    """Frames in the order they are shown, each with its time in ticks of its time base, None if it has none."""
    # AVI numbers its packets in the order they are decoded; what is shown next has the lowest number still open.
    numbered = container.format.name == "avi"
    waiting: list[int] = []
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError) as error:
            damage.broke_off = _reason(error)
            packet = None
        try:
            frames = stream.codec_context.decode(packet)
            if numbered and packet is not None and packet.pts is not None:
                heapq.heappush(waiting, packet.pts)
        except (av.FFmpegError, ValueError, OSError):
            damage.packets += 1
            frames = []
        for frame in frames:
            yield frame, heapq.heappop(waiting) if waiting else frame.pts
        if packet is None:
            return


def _picture(frame, aspect) -> np.ndarray:
    refuse_too_large(frame.width, frame.height)
    size = {}
    if aspect and aspect != 1:
        size = {"width": max(1, round(frame.width * aspect)), "height": frame.height}
    if any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8":
        pixels = frame.to_ndarray(format="rgba", **size).astype(np.uint16)
        colours, alpha = pixels[..., :3], pixels[..., 3:]
        picture = ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    else:
        picture = frame.to_ndarray(format="rgb24", **size)
    return _upright(picture, frame)


def _upright(picture: np.ndarray, frame) -> np.ndarray:
    """The picture turned and mirrored as the frame's display matrix says: x' = ax + cy, y' = bx + dy."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32)
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    if a < 0:
        picture = picture[:, ::-1]
    if d < 0:
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def _where(span: Span, began: float | None, end: float | None) -> str:
    """The span, if one was asked for, and which times there are instead."""
    if span.start is None and span.stop is None:
        return ""
    where = f" from {span.start or 0:g} s to {'its end' if span.stop is None else f'{span.stop:g} s'}"
    if began is None:
        return where
    return f"{where}; its clock runs from {began:.2f} s{'' if end is None else f' to {end:.2f} s'}"


def _header_clock(stream) -> tuple[float, float | None]:
    """When the video stream begins and ends, by the header; None where it does not say. The container's own length may
    be its sound's."""
    begin = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    if stream.duration is not None and stream.time_base:
        return begin, begin + float(stream.duration * stream.time_base)
    try:  # Matroska has "00:01:02.500000000" for when it ends (mkvmerge: how long it lasts, which is never later)
        hours, minutes, seconds = (float(part) for part in stream.metadata["DURATION"].split(":"))
    except (KeyError, ValueError):
        return begin, None
    return begin, hours * 3600 + minutes * 60 + seconds


def _opened(av, path: Path):
    refuse_empty(path)
    try:
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = _reason(error)
        if isinstance(error, av.InvalidDataError) and _is_mp4(path):
            reason = (
                "its index (moov), which many cameras write last, is missing or broken, as in a recording or a copy "
                "that was cut off; copy it again, or repair it (untrunc)"
            )
        raise SourceError(f"cannot be opened as a video: {reason}") from error


def _is_mp4(path: Path) -> bool:
    """MP4, MOV and the like, by the content."""
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


def _video_stream(container, av):
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        raise SourceError("the file holds no video stream")
    if streams[0].codec_context is None:
        raise SourceError("there is no decoder for its video stream")
    return streams[0]


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _pyav():
    try:
        import av
    except ImportError as error:
        raise ImportError("videos are read with PyAV: pip install av") from error
    return av
