"""Rendered videos of which everything is known: who is where when, and which AUs they move.

They serve tests and demonstrations of what reads videos. Heads are rendered by the ict_facekit renderer and laid over a
plain background, one beside the other.
"""

import math
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from processing.corpora.behaviour import ACTIVITIES
from processing.corpora.bilateral_behaviour import ACTION_UNITS, clip_sides
from processing.corpora.ict_faces import FaceRenderer, Person, RenderedFaces
from processing.corpora.ict_identity import sample_identity
from processing.corpora.ict_model import load_face_model
from processing.corpora.ict_nuisance import (
    MAXIMUM_YAW,
    Nuisance,
    Variation,
    sample_clip_nuisances,
    sample_session,
)
from processing.corpora.random_streams import IDENTITY, SESSION, VIDEO_CLIP, random_generator
from processing.corpora.splits import check_integer, check_share

# What a camera adds is left out unless asked for; who people are, their poses and the light vary.
PLAIN = {
    name: False for name in ("background", "placement", "occluders", "exposure", "greyscale", "blur", "noise", "jpeg")
}
FRAMES_AT_ONCE = 8
ZOOM, RAISED = 0.5, 0.01  # of a face in its square, whose side is 1: room for hair, chin and neck
HALF_HEAD = 0.3  # of the square's side, ears and turned heads included
CLOCK = 90_000  # ticks a second of videos with a variable frame rate

TRUTH = pa.schema(
    {
        "frame": pa.int32(),
        "time_s": pa.float64(),
        "face": pa.int32(),
        "subject_id": pa.string(),
        "box": pa.list_(pa.float32(), 4),
        "landmarks": pa.list_(pa.list_(pa.float32(), 2), 5),
        "action_units": pa.struct([(name, pa.float32()) for name in ACTION_UNITS]),
    }
)


def render_clip(
    path: str | Path,
    root: str | Path | None = None,
    subjects: Sequence[int] = (0,),
    activity: str | Sequence[str] = "joke",
    action_units: np.ndarray | Sequence[np.ndarray] | None = None,
    seconds: float = 4.0,
    fps: float | Fraction = 25,
    times: Sequence[float] | None = None,
    size: tuple[int, int] = (640, 360),
    gaps: Sequence[tuple[int, float, float]] = (),
    seed: int = 0,
    purity: float = 1.0,
    off_script: float = 0.0,
    variation: dict[str, bool] | None = None,
    background: tuple[int, int, int] = (104, 110, 116),
) -> pa.Table:
    """Render a video (H.264, yuv420p) to `path`, and the truth about it to a .parquet file of the same name.

    Needs PyAV (`pip install av`). Frames are encoded as they are made. The same arguments give the same pictures.

    Args:
        path: ends with .mp4, .mov or .mkv.
        root: the face model, see `processing.corpora.ict_model.load_face_model`.
        subjects: who is in the picture, from left to right; each moves slowly within their part of it.
        activity: what they do, as in the corpora: one for all, or one a subject.
        action_units: instead of an activity, (frames, 21) intensities 0..5 in the order of
            `bilateral_behaviour.ACTION_UNITS`, or (frames, 21, 2) for the subject's left and right side; one array for
            all, or a list of one a subject.
        seconds: length, where neither `action_units` nor `times` give the number of frames.
        fps: frames a second, where `times` are not given.
        times: of every frame, in seconds from 0, ascending: a variable frame rate, kept to 1/90,000 s.
        size: width and height of the picture in pixels, even numbers.
        gaps: (face, from, to): the face with this position among `subjects` is out of the picture from `from` to
            before `to`, in seconds.
        seed: of identities, behaviour, light and movement, as in the ict_facekit corpus.
        purity, off_script: as in the corpora.
        variation: switches of `Variation` by name; by default what belongs to cameras (`PLAIN`) is off.
        background: RGB 0..255.

    Returns:
        The truth, one row a frame and face that is in it: `frame`, `time_s`, `face` (position among `subjects`),
        `subject_id`, `box` (left, top, width, height) and `landmarks` (right eye, left eye, nose tip, right and left
        mouth corner) in pixels of the picture, and `action_units` as they are drawn, in 0..5.

    Raises ValueError for options that do not fit together, FileNotFoundError when the face model is missing,
    ImportError without PyAV.
    """
    path = Path(path)
    if path.suffix not in (".mp4", ".mov", ".mkv"):
        raise ValueError(f"path is {str(path)!r}; expected a name that ends with .mp4, .mov or .mkv")
    for subject in subjects:
        check_integer("a subject", subject, 0, 2**63 - 1)
    check_integer("seed", seed, 0, 2**63 - 1)
    check_share("purity", purity)
    check_share("off_script", off_script)
    clock = _clock(action_units, seconds, fps, times, len(subjects))
    sides = _sides(subjects, activity, action_units, len(clock.ticks), seed, purity, off_script)
    side = _square_side(size, len(subjects))
    for face, start, stop in gaps:
        if not 0 <= face < len(subjects) or not start < stop:
            raise ValueError(f"gaps holds {(face, start, stop)}; expected (face 0..{len(subjects) - 1}, from, to)")
    switches = Variation.of({**PLAIN, **(variation or {})})
    renderer = FaceRenderer(load_face_model(root))
    actors = [
        _actor(renderer, position, subject, size, len(subjects), side, clock.seconds, seed, switches)
        for position, subject in enumerate(subjects)
    ]
    rows = []

    def pictures() -> Iterator[np.ndarray]:
        for start in range(0, len(clock.ticks), FRAMES_AT_ONCE):
            frames = np.arange(start, min(start + FRAMES_AT_ONCE, len(clock.ticks)))
            batch = np.full((len(frames), size[1], size[0], 3), background, dtype=np.uint8)
            found = []
            for actor, side_values in zip(actors, sides, strict=True):
                away = [(a, b) for face, a, b in gaps if face == actor.position]
                here = [f for f in frames if not any(a <= clock.seconds[f] < b for a, b in away)]
                if not here:
                    continue
                shown = [actor.nuisances[f] for f in here]
                faces = renderer.render(actor.person, shown, side_values[here], side)
                for index, frame in enumerate(here):
                    _paste(batch[frame - start], faces.images[index], faces.alpha[index], actor.corners[frame])
                    found.append(_truth(actor, frame, clock.seconds[frame], faces, index))
            rows.extend(sorted(found, key=lambda row: (row["frame"], row["face"])))
            yield from batch

    _encode(path, pictures(), clock, size)
    truth = pa.Table.from_pylist(rows, schema=TRUTH)
    pq.write_table(truth, path.with_suffix(".parquet"))
    return truth


@dataclass(frozen=True)
class _Clock:
    """When frames are shown: `ticks` of `time_base` seconds."""

    ticks: list[int]
    time_base: Fraction
    rate: Fraction

    @property
    def seconds(self) -> list[float]:
        return [float(tick * self.time_base) for tick in self.ticks]


@dataclass(frozen=True)
class _Actor:
    position: int  # among the subjects
    subject_id: str
    person: Person
    nuisances: list[Nuisance]
    corners: np.ndarray  # (frames, 2) int, left and top of the square in the picture


def _clock(action_units, seconds: float, fps: float | Fraction, times, subjects: int) -> _Clock:
    if subjects < 1:
        raise ValueError("subjects is empty; expected at least one")
    frames = None
    if action_units is not None:
        tables = action_units if isinstance(action_units, (list, tuple)) else [action_units]
        if not tables:
            raise ValueError("action_units is an empty list; expected an array, or a list of one a subject")
        frames = len(tables[0])
    for name, numbers in (("seconds", [seconds]), ("fps", [fps]), ("times", [] if times is None else times)):
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"{name} holds a number that is not finite; expected seconds, or frames a second")
    if times is not None:
        ticks = [round(time * CLOCK) for time in times]
        if not ticks or ticks[0] != 0 or any(b <= a for a, b in zip(ticks, ticks[1:], strict=False)):
            raise ValueError("times must begin with 0 and ascend, a frame at a time")
        if frames not in (None, len(ticks)):
            raise ValueError(f"there are {len(ticks)} times for {frames} rows of action_units; give one a frame")
        mean = Fraction((len(ticks) - 1) * CLOCK, ticks[-1]) if len(ticks) > 1 else Fraction(25)
        return _Clock(ticks, Fraction(1, CLOCK), mean.limit_denominator(1001))
    rate = Fraction(fps).limit_denominator(1001)
    if rate <= 0:
        raise ValueError(f"fps is {fps!r}; expected frames a second")
    frames = frames if frames is not None else round(seconds * rate)
    if frames < 1:
        raise ValueError(f"{seconds!r} seconds at {fps!r} frames a second hold no frame")
    return _Clock(list(range(frames)), 1 / rate, rate)


def _sides(subjects, activity, action_units, frames: int, seed, purity, off_script) -> list[np.ndarray]:
    """(frames, 21, 2) for each subject."""
    if action_units is None:
        activities = [activity] * len(subjects) if isinstance(activity, str) else list(activity)
        unknown = sorted(set(activities) - set(ACTIVITIES))
        if unknown or len(activities) != len(subjects):
            raise ValueError(
                f"activity is {activity!r}; expected one of {', '.join(ACTIVITIES)}, or a list of one a subject"
            )
        numbers = [list(ACTIVITIES).index(name) for name in activities]
        pairs = zip(subjects, numbers, strict=True)
        return [clip_sides(seed, subject, number, frames, purity, off_script) for subject, number in pairs]
    tables = list(action_units) if isinstance(action_units, (list, tuple)) else [action_units] * len(subjects)
    if len(tables) != len(subjects):
        raise ValueError(f"action_units is a list of {len(tables)} arrays for {len(subjects)} subjects; give one each")
    sides = []
    for table in tables:
        values = np.asarray(table, dtype=np.float32)
        if values.shape not in ((frames, len(ACTION_UNITS)), (frames, len(ACTION_UNITS), 2)):
            raise ValueError(
                f"action_units has the shape {values.shape}; expected ({frames}, {len(ACTION_UNITS)}) or "
                f"({frames}, {len(ACTION_UNITS)}, 2), one row a frame"
            )
        sides.append(np.repeat(values[..., None], 2, axis=2) if values.ndim == 2 else values)
    return sides


def _square_side(size: tuple[int, int], faces: int) -> int:
    """Side in pixels of the square that a head is rendered in."""
    width, height = size
    if width % 2 or height % 2:
        raise ValueError(f"size is {size}; yuv420p needs an even width and height")
    side = int(min(height, width / faces / (2 * HALF_HEAD), 512))
    if side < 64:
        raise ValueError(f"size is {size}: too small for {faces} faces, whose squares would have {side} of 64 pixels")
    return side


def _actor(renderer, position, subject, size, faces, side, seconds, seed, variation: Variation) -> _Actor:
    """A subject, and their slow way through their part of the picture and through poses."""
    identity = sample_identity(random_generator(seed, IDENTITY, subject))
    session = sample_session(random_generator(seed, SESSION, subject))
    rng = random_generator(seed, VIDEO_CLIP, subject, position)
    (still,) = sample_clip_nuisances(rng, session, 1, variation)
    phases, periods = rng.uniform(0, 2 * np.pi, (7, 1)), rng.uniform(6, 12, (7, 1))
    waves = np.sin(phases + 2 * np.pi * np.asarray(seconds) / periods)  # (7, frames)
    defects = rng.integers(0, 2**31, len(seconds))
    column = size[0] / faces
    reach = min(0.9 * max(column / 2 - HALF_HEAD * side, 0), 0.4 * side)
    x = (position + 0.5) * column + reach * waves[0] - side / 2
    y = (size[1] - side) / 2 + 0.02 * side * waves[1]
    corners = np.floor(np.stack([x, y], axis=1))
    turned, moves = (0.12, 0.06, 0.05) if variation.pose else (0, 0, 0), (0.1, 0.04) if variation.gaze else (0, 0)
    nuisances = []
    for frame, (left, top) in enumerate(corners):
        yaw, pitch, roll, aside, up = waves[2:, frame]
        nuisances.append(
            replace(
                still,
                yaw=float(np.clip(still.yaw + turned[0] * yaw, -MAXIMUM_YAW, MAXIMUM_YAW)),
                pitch=float(still.pitch + turned[1] * pitch),
                roll=float(still.roll + turned[2] * roll),
                gaze=(float(still.gaze[0] + moves[0] * aside), float(still.gaze[1] + moves[1] * up)),
                # Whole pixels are the square's, fractions of them the face's within it.
                shift=(float((x[frame] - left) / side), float(RAISED - (y[frame] - top) / side)),
                zoom=ZOOM * still.zoom,
                defect_seed=int(defects[frame]),
            )
        )
    person = renderer.person(identity, variation)
    return _Actor(position, f"I{subject:04d}", person, nuisances, corners.astype(int))


def _paste(picture: np.ndarray, image: np.ndarray, alpha: np.ndarray, corner: np.ndarray) -> None:
    """Lay a head over the picture; its neck, which the model cuts off, fades out."""
    side = len(image)
    left, top = corner.tolist()
    height, width = picture.shape[:2]
    rows = slice(max(top, 0), min(top + side, height))
    columns = slice(max(left, 0), min(left + side, width))
    inside = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    place = (np.arange(side) + 0.5) / side
    edge = np.clip(np.minimum(place, 1 - place) / 0.03, 0, 1)
    fade = np.clip((0.92 - place) / 0.1, 0, 1) * edge
    cover = (alpha / 255 * fade[:, None] * edge[None])[inside][..., None]
    under = picture[rows, columns]
    under[:] = np.rint(under * (1 - cover) + image[inside] * cover).astype(np.uint8)


def _truth(actor: _Actor, frame: int, time: float, faces: RenderedFaces, index: int) -> dict:
    corner = actor.corners[frame]
    box, values = faces.boxes[index], faces.action_units[index].tolist()
    return {
        "frame": int(frame),
        "time_s": time,
        "face": actor.position,
        "subject_id": actor.subject_id,
        "box": [*(box[:2] + corner).tolist(), *box[2:].tolist()],
        "landmarks": (faces.landmarks[index] + corner).tolist(),
        "action_units": dict(zip(ACTION_UNITS, values, strict=True)),
    }


def _encode(path: Path, pictures: Iterator[np.ndarray], clock: _Clock, size: tuple[int, int]) -> None:
    try:
        import av
    except ImportError as error:
        raise ImportError("videos are written with PyAV, which is not installed: pip install av") from error
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        with av.open(str(temporary), "w") as container:
            stream = container.add_stream("libx264", rate=clock.rate, options={"crf": "18", "preset": "veryfast"})
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = clock.time_base
            stream.codec_context.thread_count = 1  # what several threads write depends on how many they are
            for tick, picture in zip(clock.ticks, pictures, strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = tick, clock.time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
