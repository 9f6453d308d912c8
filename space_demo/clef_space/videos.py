"""A short video: its frames looked at one after the other, faces followed, a table and a video with boxes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clef_space.labels import Label
from clef_space.limits import (
    MEGABYTE,
    SHOWN_FACES,
    VIDEO_BYTES,
    VIDEO_PIXELS,
    VIDEO_RATE,
    VIDEO_SECONDS,
    Deadline,
    Refused,
)
from clef_space.recogniser import FoundFace, Recogniser

NOT_A_VIDEO = "This file is not a video that can be read. MP4, MOV, WebM, MKV and AVI usually are."
FRAMES_AT_ONCE = 24
OVERLAY_SIDE = 720
TICKS = 1000  # a second, of the overlay's clock
SAME_FACE = 0.25  # intersection over union of one face in successive frames
LONGEST_GAP = 1.0  # seconds that a face may be out of sight and keep its number


@dataclass
class SeenFrame:
    """index: in the file. faces and tracks: one number a face."""

    index: int
    time_s: float
    image: np.ndarray | None
    faces: list[FoundFace] = field(default_factory=list)
    tracks: list[int] = field(default_factory=list)


class Tracks:
    """Numbers that faces keep while their boxes overlap from frame to frame."""

    def __init__(self):
        self._last: dict[int, tuple[list[float], float]] = {}
        self._next = 0

    def follow(self, boxes: list[list[float]], time_s: float) -> list[int]:
        alive = {track: box for track, (box, seen) in self._last.items() if time_s - seen <= LONGEST_GAP}
        pairs = sorted(
            (
                (overlap(box, old), position, track)
                for position, box in enumerate(boxes)
                for track, old in alive.items()
            ),
            reverse=True,
        )
        given: dict[int, int] = {}
        for shared, position, track in pairs:
            if shared >= SAME_FACE and position not in given and track not in given.values():
                given[position] = track
        for position, box in enumerate(boxes):
            if position not in given:
                given[position], self._next = self._next, self._next + 1
            self._last[given[position]] = (box, time_s)
        return [given[position] for position in range(len(boxes))]


def overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union of two boxes: left, top, right, bottom."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (area - shared) if area > shared else 0.0


def analyse_video(
    recogniser: Recogniser,
    path: str | None,
    overlay: Path | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> list[SeenFrame]:
    """Frames with their faces, `VIDEO_RATE` a second; pictures are not kept. `overlay`: where a video with boxes goes.

    Raises:
        Refused: no video, or one beyond the limits.
    """
    _check_file(path)
    deadline = Deadline()
    frames, tracks, writer = [], Tracks(), None
    source = _frames(path, deadline)
    try:
        while chunk := list(islice(source, FRAMES_AT_ONCE)):
            for frame in chunk:
                deadline.check()
                frame.faces = recogniser.find(frame.image, SHOWN_FACES)
                frame.tracks = tracks.follow([face.box for face in frame.faces], frame.time_s)
            recogniser.score([face for frame in chunk for face in frame.faces if face.crop is not None], many=True)
            for frame in chunk:
                if overlay is not None:
                    writer = writer or _Overlay(overlay, frame.image.shape)
                    writer.add(frame, recogniser)
                frame.image = None
                for face in frame.faces:
                    face.crop = None
            frames += chunk
            progress(min(frames[-1].time_s / VIDEO_SECONDS, 1))
    finally:
        source.close()
        if writer is not None:
            writer.close()
    if not frames:
        raise Refused(NOT_A_VIDEO)
    if not any(frame.faces for frame in frames):
        raise Refused("No face was found in any frame of this video.")
    return frames


def rows(recogniser: Recogniser, frames: list[SeenFrame]) -> list[dict]:
    """The table: one row a frame and face, one for a frame without a face. Columns as in `clef analyze`."""
    found = []
    for frame in frames:
        start = {"frame": frame.index, "time_s": round(frame.time_s, 4)}
        for face, track in zip(frame.faces or [None], frame.tracks or [None], strict=True):
            found.append(start | {"face_found": face is not None} | _face_row(recogniser, face, track))
    return found


def _face_row(recogniser: Recogniser, face: FoundFace | None, track: int | None) -> dict:
    row: dict = {"track_id": track}
    for position, side in enumerate(("left", "top", "right", "bottom")):
        row[f"box_{side}"] = None if face is None else round(face.box[position], 1)
    row["out_of_scope"] = bool(face is not None and face.quality["out_of_scope"])
    row["out_of_scope_reason"] = (face.quality["reason"] or None) if face is not None else None
    scores = face.probabilities if face is not None else None
    labels: list[Label] = []
    for label_set in recogniser.single_label_sets:
        row[label_set.name] = None if scores is None else label_set.best(scores).label
        labels += label_set.labels
    for label in [*labels, *recogniser.multi_labels]:
        value = None if scores is None else float(scores[label.column])
        row[f"{label.key}_probability"] = None if value is None else round(value, 4)
        if label.threshold is not None:
            row[label.key] = None if value is None else int(value >= label.threshold)
    return row


def _check_file(path: str | None) -> None:
    if not path:
        raise Refused("Choose or record a video first.")
    try:
        size = Path(path).stat().st_size
    except OSError:
        raise Refused("The video is no longer here: uploads are removed after a minute. Choose it again.") from None
    if size == 0:
        raise Refused("This file is empty.")
    if size > VIDEO_BYTES:
        raise Refused(
            f"This file has {size / MEGABYTE:.0f} MB; at most {VIDEO_BYTES // MEGABYTE} MB are taken for a video."
        )


def _frames(path: str, deadline: Deadline) -> Iterator[SeenFrame]:
    """Frames at `VIDEO_RATE` or the file's own, upright RGB."""
    import av

    try:
        with av.open(path, metadata_errors="replace", options={"protocol_whitelist": "file"}) as container:
            stream = next(
                (one for one in container.streams.video if one.codec_context and one.codec_context.width), None
            )
            if stream is None or not container.format.name or "image2" in container.format.name:
                raise Refused(NOT_A_VIDEO)
            if stream.codec_context.width * stream.codec_context.height > VIDEO_PIXELS:
                raise Refused(
                    f"This video has {stream.codec_context.width} x {stream.codec_context.height} pixels; at most "
                    f"{VIDEO_PIXELS / 1e6:.1f} million a frame are taken."
                )
            _check_length(container.duration / 1_000_000 if container.duration else 0.0)
            stream.thread_type = "AUTO"
            begin, due, rate = None, 0.0, float(stream.average_rate or VIDEO_RATE)
            for index, frame in enumerate(container.decode(stream)):
                deadline.check()  # decoding frames that are not looked at takes time, too
                time_s = frame.time if frame.time is not None else index / rate
                begin = time_s if begin is None else begin
                time_s -= begin
                _check_length(time_s)
                if frame.width * frame.height > VIDEO_PIXELS:
                    raise Refused(NOT_A_VIDEO)
                if time_s + 1e-4 >= due:
                    due = max(due + 1 / VIDEO_RATE, time_s)
                    image = frame.to_ndarray(format="rgb24")
                    image = np.rot90(image, round(frame.rotation / 90) % 4)  # counter-clockwise, as numpy turns
                    yield SeenFrame(index, time_s, np.ascontiguousarray(image))
    except (av.FFmpegError, OSError, ValueError, EOFError) as error:
        raise Refused(NOT_A_VIDEO) from error


def _check_length(seconds: float) -> None:
    if seconds > VIDEO_SECONDS + 0.5:
        raise Refused(f"This video is longer than {VIDEO_SECONDS:.0f} seconds. Cut it, or use `clef analyze`.")


class _Overlay:
    """Writes an H.264 video of the frames with a thin numbered box around each face."""

    def __init__(self, path: Path, shape: tuple[int, ...]):
        import av

        height, width = shape[:2]
        factor = min(1.0, OVERLAY_SIDE / max(height, width))
        self._size = tuple(max(2, int(side * factor) // 2 * 2) for side in (width, height))
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = self._container.add_stream("libx264", rate=round(VIDEO_RATE), options={"preset": "veryfast"})
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, TICKS)
        self._av, self._last = av, -1

    def add(self, frame: SeenFrame, recogniser: Recogniser) -> None:
        picture = Image.fromarray(frame.image).resize(self._size, Image.Resampling.BILINEAR)
        scale = np.tile(np.array(self._size) / [frame.image.shape[1], frame.image.shape[0]], 2)
        draw = ImageDraw.Draw(picture)
        font = ImageFont.load_default(16)
        for face, track in zip(frame.faces, frame.tracks, strict=True):
            box = (np.array(face.box) * scale).tolist()
            draw.rectangle([edge - 1 for edge in box[:2]] + [edge + 1 for edge in box[2:]], outline="black", width=1)
            draw.rectangle(box, outline="white", width=1)
            words = str(track + 1)
            if face.probabilities is not None:
                best = [label_set.best(face.probabilities).label for label_set in recogniser.single_label_sets]
                words = f"{words} {', '.join(best)}".strip()
            place = (box[0] + 2, box[1] - 20 if box[1] >= 20 else box[3] + 2)
            draw.text(place, words, fill="white", font=font, stroke_width=2, stroke_fill="black")
        encoded = self._av.VideoFrame.from_image(picture)
        encoded.pts = self._last = max(round(frame.time_s * TICKS), self._last + 1)
        encoded.time_base = Fraction(1, TICKS)
        self._container.mux(self._stream.encode(encoded))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()
