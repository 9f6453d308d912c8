"""What differs between two pictures of one subject with the same AUs: pose, camera, light, gaze, background, defects.

Light rig and background palette belong to the subject, as in a recording session; the rest moves from frame to frame.
Every kind can be switched off. Angles are radians, lengths centimetres.
"""

from dataclasses import asdict, dataclass, fields, replace

import numpy as np

MAXIMUM_YAW = np.radians(35)


@dataclass(frozen=True)
class Variation:
    """What varies beyond identity, AUs and shape; False leaves a thing at its plain value, or out."""

    rest: bool = True  # what a face carries without any AU
    style: bool = True  # how AUs pull this face
    texture: bool = True  # skin texture, freckles, blotches
    wrinkles: bool = True
    brows: bool = True
    beard: bool = True
    makeup: bool = True
    hair: bool = True
    glasses: bool = True
    pose: bool = True
    focal_length: bool = True
    gaze: bool = True
    lights: bool = True
    coloured_lights: bool = True
    background: bool = True
    placement: bool = True  # what an alignment by found points leaves over
    occluders: bool = True
    exposure: bool = True
    greyscale: bool = True
    blur: bool = True
    noise: bool = True
    jpeg: bool = True

    @classmethod
    def of(cls, switches: dict[str, bool] | None) -> "Variation":
        """All on, but for `switches`. Raises ValueError for an unknown name and for what is no bool."""
        switches = dict(switches or {})
        names = [field.name for field in fields(cls)]
        wrong = {name: value for name, value in switches.items() if name not in names or not isinstance(value, bool)}
        if wrong:
            raise ValueError(f"variation: got {wrong}; expected true or false for some of {', '.join(names)}")
        return cls(**switches)

    @classmethod
    def none(cls) -> "Variation":
        return cls(**{field.name: False for field in fields(cls)})

    def switches(self) -> dict[str, bool]:
        return asdict(self)


@dataclass(frozen=True)
class Session:
    yaw: float  # where the camera stands
    pitch: float
    distance: float
    key: tuple[float, float, float]  # direction of the main light, from the front: x, y, z
    key_strength: float
    fill_strength: float
    rim_strength: float
    ambient: float
    warmth: float  # of the main light, against the ambient
    tint: tuple[float, float, float]  # of the second light
    exposure: float
    background_seed: int
    greyscale: bool
    camera_noise: float
    camera_blur: float
    metering: float  # how far the exposure makes up for the skin's brightness, 0 not at all, 1 wholly


@dataclass(frozen=True)
class Nuisance:
    yaw: float
    pitch: float
    roll: float
    distance: float  # of the camera
    gaze: tuple[float, float]  # to the subject's left, up
    light_directions: tuple[tuple[float, float, float], ...]  # three, toward the lights; the first casts shadows
    light_colours: tuple[tuple[float, float, float], ...]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    exposure: float
    metering: float
    background_seed: int  # negative: plain grey
    shift: tuple[float, float]  # of the crop's sides
    turn: float
    zoom: float
    defect_seed: int
    occluders: int
    greyscale: bool
    blur: float  # sd in crop widths
    noise: float
    jpeg: int  # quality, 0: not compressed


def sample_session(rng: np.random.Generator) -> Session:
    angle, height = rng.normal(0, 0.7), rng.normal(0.35, 0.35)
    turned = rng.random() < 0.15
    tint = np.clip(1 + rng.normal(0, 0.35, 3), 0.2, 2)
    coloured = rng.random() < 0.25
    return Session(
        yaw=float(rng.uniform(-0.5, 0.5) if turned else rng.normal(0, 0.13)),
        pitch=float(rng.normal(0.0, 0.09)),
        distance=float(np.exp(rng.uniform(np.log(35), np.log(220)))),
        key=(float(np.sin(angle)), float(height), float(max(np.cos(angle), 0.15))),
        key_strength=float(rng.uniform(0.35, 1.1)),
        fill_strength=float(rng.uniform(0.0, 0.45)),
        rim_strength=float(rng.uniform(0.0, 0.5) if rng.random() < 0.4 else 0.0),
        ambient=float(rng.uniform(0.3, 0.75)),
        warmth=float(rng.normal(0, 0.12)),
        tint=tuple(tint.tolist()) if coloured else (1.0, 1.0, 1.0),
        exposure=float(np.exp(rng.normal(0, 0.22))),
        background_seed=int(rng.integers(0, 2**31)),
        greyscale=bool(rng.random() < 0.08),
        camera_noise=float(rng.uniform(0, 0.03) if rng.random() < 0.5 else 0.0),
        camera_blur=float(rng.uniform(0, 0.012) if rng.random() < 0.4 else 0.0),
        metering=float(rng.uniform(0.1, 0.55)),
    )


PLAIN_SESSION = Session(
    yaw=0.0,
    pitch=0.0,
    distance=90.0,
    key=(0.35, 0.5, 0.85),
    key_strength=0.75,
    fill_strength=0.2,
    rim_strength=0.0,
    ambient=0.5,
    warmth=0.0,
    tint=(1.0, 1.0, 1.0),
    exposure=1.0,
    background_seed=-1,
    greyscale=False,
    camera_noise=0.0,
    camera_blur=0.0,
    metering=0.45,
)


def sample_clip_nuisances(
    rng: np.random.Generator, session: Session, frames: int, variation: Variation | None = None
) -> list[Nuisance]:
    """One nuisance a frame: a position of head and light for the clip, and movement around it.

    Everything is drawn whether it is switched on or not, so that a switch leaves the rest as it was.
    """
    variation = variation or Variation()
    session = _switched(session, variation)
    clip = rng.normal(0, 1, 8)
    nuisances = []
    for _ in range(frames):
        move = rng.normal(0, 1, 16)
        chance, seeds = rng.random(6), rng.integers(0, 2**31, 2)
        extra = rng.random(3)
        pose = np.array([0.10 * clip[0] + 0.10 * move[0], 0.07 * clip[1] + 0.06 * move[1], 0.05 * move[2]])
        placed = np.array([0.012 * move[3], 0.012 * move[4], 0.02 * move[5], 0.02 * move[6]])
        gaze = (float(0.16 * clip[2] + 0.12 * move[7]), float(0.07 * clip[3] + 0.07 * move[8]))
        wobble = 0.15 * clip[4:7] + 0.05 * move[9:12]
        nuisances.append(
            Nuisance(
                yaw=float(np.clip(session.yaw + pose[0], -MAXIMUM_YAW, MAXIMUM_YAW)) if variation.pose else 0.0,
                pitch=float(np.clip(session.pitch + pose[1], -0.4, 0.4)) if variation.pose else 0.0,
                roll=float(pose[2]) if variation.pose else 0.0,
                distance=session.distance,
                gaze=gaze if variation.gaze else (0.0, 0.0),
                **_lights(session, wobble if variation.lights else np.zeros(3)),
                exposure=session.exposure * (float(np.exp(0.06 * move[12])) if variation.exposure else 1.0),
                metering=session.metering,
                background_seed=int(seeds[0]) if variation.background and chance[5] < 0.5 else session.background_seed,
                shift=tuple(placed[:2].tolist()) if variation.placement else (0.0, 0.0),
                turn=float(placed[2]) if variation.placement else 0.0,
                zoom=float(1 + placed[3]) if variation.placement else 1.0,
                defect_seed=int(seeds[1]),
                occluders=int(chance[0] < 0.08) + int(chance[0] < 0.02) if variation.occluders else 0,
                greyscale=session.greyscale,
                blur=session.camera_blur + (float(0.012 * extra[0]) if variation.blur and chance[1] < 0.1 else 0.0),
                noise=session.camera_noise + (float(0.03 * extra[1]) if variation.noise and chance[2] < 0.1 else 0.0),
                jpeg=int(30 + 65 * extra[2]) if variation.jpeg and chance[3] < 0.35 else 0,
            )
        )
    return nuisances


def frontal_nuisance() -> Nuisance:
    """A frontal view in plain light: for sheets and comparisons."""
    return sample_clip_nuisances(np.random.Generator(np.random.PCG64(0)), PLAIN_SESSION, 1, Variation.none())[0]


def _switched(session: Session, variation: Variation) -> Session:
    plain = PLAIN_SESSION
    changes: dict = {}
    if not variation.focal_length:
        changes["distance"] = plain.distance
    if not variation.lights:
        names = ("key", "key_strength", "fill_strength", "rim_strength", "ambient")
        changes |= {name: getattr(plain, name) for name in names}
    if not variation.coloured_lights:
        changes |= {"warmth": 0.0, "tint": plain.tint}
    if not variation.exposure:
        changes |= {"exposure": 1.0, "metering": plain.metering}
    if not variation.background:
        changes["background_seed"] = -1
    if not variation.greyscale:
        changes["greyscale"] = False
    if not variation.noise:
        changes["camera_noise"] = 0.0
    if not variation.blur:
        changes["camera_blur"] = 0.0
    return replace(session, **changes)


def _lights(session: Session, wobble: np.ndarray) -> dict:
    key = np.array(session.key) + wobble * [1, 1, 0.3]
    fill = np.array([-key[0] - 0.3 * np.sign(key[0]), 0.2 + 0.3 * wobble[1], 0.8])
    rim = np.array([-np.sign(key[0]) * 0.9, 0.4, -0.35])
    unit = [tuple((light / np.linalg.norm(light)).tolist()) for light in (key, fill, rim)]
    warm = np.array([1 + session.warmth, 1.0, 1 - session.warmth])
    tint = np.array(session.tint)
    colours = [session.key_strength * warm, session.fill_strength * tint, session.rim_strength * tint]
    sky = session.ambient * (1 - 0.4 * session.warmth * np.array([1, 0, -1])) * 1.1
    return {
        "light_directions": tuple(unit),
        "light_colours": tuple(tuple(colour.tolist()) for colour in colours),
        "sky": tuple(sky.tolist()),
        "ground": tuple((0.6 * sky * np.array([1.05, 1.0, 0.92])).tolist()),
    }
