"""What differs between two pictures of one subject with the same AUs: session, pose, gaze, blinks, grain.

Faces are meant to be aligned already: pose is what an alignment by the eyes leaves over. Background and light belong to
the subject, as in a recording session, and drift a little from frame to frame.
"""

from dataclasses import dataclass

import numpy as np

from processing.corpora.synthetic_identity import Colour


@dataclass(frozen=True)
class Session:
    background: tuple[Colour, Colour]  # a gradient between two colours
    background_phase: float
    light_x: float  # direction of the light, -1..1 or so; y is negative for light from above
    light_y: float
    ambient: float  # brightness of unlit skin
    exposure: float
    warmth: float


@dataclass(frozen=True)
class Nuisance:
    background: tuple[Colour, Colour]
    background_phase: float
    light_x: float
    light_y: float
    ambient: float
    exposure: float
    warmth: float
    roll: float  # radians
    yaw: float  # 1 is about 45 degrees
    pitch: float
    shift_x: float  # half image widths
    shift_y: float
    scale: float
    gaze_x: float
    gaze_y: float
    blink: float  # 0 open .. 1 closed
    grain: float  # standard deviation, in 0..1 brightness
    grain_seed: int


PLAIN_SESSION = Session(
    background=((0.60, 0.66, 0.70), (0.70, 0.74, 0.76)),
    background_phase=0.0,
    light_x=-0.25,
    light_y=-0.35,
    ambient=0.74,
    exposure=1.0,
    warmth=0.0,
)


def frontal_nuisance(session: Session = PLAIN_SESSION) -> Nuisance:
    """A frontal view without grain: for sheets and comparisons."""
    return Nuisance(
        **session.__dict__,
        **dict.fromkeys(("roll", "yaw", "pitch", "shift_x", "shift_y", "gaze_x", "gaze_y", "blink", "grain"), 0.0),
        scale=1.0,
        grain_seed=0,
    )


def sample_session(rng: np.random.Generator) -> Session:
    grey = rng.uniform(0.35, 0.80) + rng.uniform(-0.07, 0.07, 3)
    ends = np.clip(grey + rng.normal(0, 0.035, (2, 3)), 0.05, 0.98).tolist()
    return Session(
        background=(tuple(ends[0]), tuple(ends[1])),
        background_phase=rng.uniform(0, 2 * np.pi),
        light_x=rng.normal(0, 0.27),
        light_y=rng.normal(-0.35, 0.15),
        ambient=rng.uniform(0.66, 0.82),
        exposure=rng.normal(0.98, 0.04),
        warmth=rng.normal(0, 0.016),
    )


def sample_clip_nuisances(rng: np.random.Generator, session: Session, frames: int) -> list[Nuisance]:
    """One nuisance a frame: a head position for the clip, and movement around it."""
    position = {name: rng.normal(0, spread) for name, spread in _CLIP_SPREAD.items()}
    movement = {name: rng.normal(0, spread, frames).tolist() for name, spread in _FRAME_SPREAD.items()}
    blinks = np.where(rng.random(frames) < 0.04, rng.uniform(0.5, 1, frames), 0).tolist()
    grain = rng.uniform(0.003, 0.009, frames).tolist()
    grain_seeds = rng.integers(0, 2**31, frames).tolist()

    def placed(name: str, frame: int) -> float:
        return position.get(name, 0.0) + movement[name][frame]

    return [
        Nuisance(
            background=session.background,
            background_phase=session.background_phase,
            light_x=session.light_x + placed("light_x", frame),
            light_y=session.light_y + placed("light_y", frame),
            ambient=min(max(session.ambient + placed("ambient", frame), 0.6), 0.88),
            exposure=session.exposure + placed("exposure", frame),
            warmth=session.warmth + placed("warmth", frame),
            roll=placed("roll", frame),
            yaw=placed("yaw", frame),
            pitch=placed("pitch", frame),
            shift_x=placed("shift_x", frame),
            shift_y=placed("shift_y", frame),
            scale=1 + placed("scale", frame),
            gaze_x=placed("gaze_x", frame),
            gaze_y=placed("gaze_y", frame),
            blink=blinks[frame],
            grain=grain[frame],
            grain_seed=grain_seeds[frame],
        )
        for frame in range(frames)
    ]


_CLIP_SPREAD = {"roll": 0.032, "yaw": 0.12, "pitch": 0.088, "shift_x": 0.016, "shift_y": 0.016}
_FRAME_SPREAD = {
    "roll": 0.027,
    "yaw": 0.09,
    "pitch": 0.066,
    "shift_x": 0.0135,
    "shift_y": 0.012,
    "scale": 0.0225,
    "gaze_x": 0.175,
    "gaze_y": 0.11,
    "light_x": 0.07,
    "light_y": 0.04,
    "ambient": 0.015,
    "exposure": 0.0125,
    "warmth": 0.006,
}
