"""Behaviour of faces that have two sides: 21 AUs, left and right apart, on top of the behaviour that all corpora share.

`behaviour` says who moves what in which activity. Added here (our choice, too): four AUs that the procedural faces
cannot draw (pucker, mouth stretch, lip suck, blink), how much stronger one side is, and which AUs exclude each other.
"""

import numpy as np

from processing.corpora import behaviour
from processing.corpora.random_streams import BILATERAL_CLIP, BILATERAL_SUBJECT, random_generator

EXTRA_ACTION_UNITS = ("AU18", "AU27", "AU28", "AU45")
ACTION_UNITS = tuple(sorted((*behaviour.ACTION_UNITS, *EXTRA_ACTION_UNITS), key=lambda name: int(name[2:])))
COLUMN = {name: index for index, name in enumerate(ACTION_UNITS)}
SHARED_COLUMNS = [COLUMN[name] for name in behaviour.ACTION_UNITS]
LEFT, RIGHT = 0, 1  # the subject's own sides

# Activity -> AU -> (probability a clip, mean intensity at apex).
EXTRA_PATTERNS: dict[str, dict[str, tuple[float, float]]] = {
    "joke": {"AU27": (0.10, 3.0), "AU45": (0.20, 3.0)},
    "documentary": {"AU28": (0.25, 3.0), "AU45": (0.25, 3.5)},
    "sudden_sound": {"AU27": (0.30, 3.5), "AU45": (0.40, 4.0)},
    "silly_song": {"AU18": (0.50, 3.3), "AU27": (0.25, 3.5), "AU28": (0.20, 3.0)},
    "physical_threat": {"AU27": (0.15, 3.0), "AU45": (0.20, 3.5)},
    "ice_water": {"AU45": (0.45, 4.2), "AU28": (0.25, 3.2), "AU27": (0.10, 3.0)},
    "insults": {"AU28": (0.30, 3.0), "AU18": (0.20, 2.8)},
    "unpleasant_smell": {"AU18": (0.30, 3.0), "AU45": (0.30, 3.8)},
}
BLINK_SHARE = 0.04  # of frames, besides what an activity draws out

# Muscles that cross the midline or move the jaw act on both sides alike.
MIDLINE = ("AU17", "AU18", "AU23", "AU24", "AU25", "AU26", "AU27", "AU28")
SUBJECT_ASYMMETRY, CLIP_ASYMMETRY = 0.08, 0.06  # sd of how much weaker one side is
ONE_SIDED_SHARE, ONE_SIDED_REST = 0.06, (0.0, 0.4)  # of AUs a clip; what is left of the weaker side

# (stronger, weaker, level): at `level` of the first nothing is left of the second. FACS manual: a puckered mouth is
# not stretched, sucked lips neither puckered nor pressed nor drawn, closed eyes show no raised lid, and 27 takes the
# place of 26.
EXCLUSIONS = (
    ("AU27", "AU26", 2.0),
    ("AU27", "AU24", 2.0),
    ("AU27", "AU23", 2.5),
    ("AU27", "AU17", 3.0),
    ("AU27", "AU28", 2.5),
    ("AU28", "AU18", 2.5),
    ("AU28", "AU24", 2.5),
    ("AU28", "AU23", 2.5),
    ("AU28", "AU10", 3.0),
    ("AU28", "AU25", 2.5),
    ("AU18", "AU20", 3.0),
    ("AU18", "AU12", 4.0),
    ("AU18", "AU14", 3.0),
    ("AU45", "AU5", 2.5),
)


def clip_sides(
    seed: int, subject: int, activity: int, frames: int, purity: float = 0.9, off_script: float = 0.06
) -> np.ndarray:
    """AU intensities of one clip, the two sides apart: (frames, 21, 2) float32 in 0..5, columns as `ACTION_UNITS`.

    The stronger side of an AU has the intensity that `behaviour.clip_action_units` gives for the same arguments.
    Combinations that cannot coexist are still in it: see `resolve_conflicts`.
    """
    shared = behaviour.clip_action_units(seed, subject, activity, frames, purity, off_script)
    intensities = np.zeros((frames, len(ACTION_UNITS)))
    intensities[:, SHARED_COLUMNS] = shared

    person = random_generator(seed, BILATERAL_SUBJECT, subject)
    gains = person.uniform(*behaviour.GAIN_RANGE, len(EXTRA_ACTION_UNITS))
    leaning = person.normal(0, SUBJECT_ASYMMETRY, len(ACTION_UNITS))

    rng = random_generator(seed, BILATERAL_CLIP, subject, activity)
    time = (np.arange(frames) + 0.5) / frames
    pattern = EXTRA_PATTERNS[behaviour.ACTIVITIES[activity]]
    for gain, name in zip(gains, EXTRA_ACTION_UNITS, strict=True):
        probability, mean = pattern.get(name, (0.0, 0.0))
        asked, start, length = rng.random() < probability, rng.uniform(0.0, 0.6), rng.uniform(0.2, 0.45)
        intensity = np.clip(rng.normal(mean, 0.7), 0.8, 5)
        unasked, centre, burst = rng.random() < off_script, rng.uniform(0.1, 0.9), rng.uniform(1.5, 4.5)
        if asked:
            rise_and_fall = np.clip(np.minimum(time - start, start + length - time) / (0.3 * length), 0, 1)
            intensities[:, COLUMN[name]] = rise_and_fall * intensity * gain
        if unasked:
            extra = np.clip(1 - np.abs(time - centre) / 0.2, 0, 1) * burst
            intensities[:, COLUMN[name]] = np.maximum(intensities[:, COLUMN[name]], extra)
    blinks, closure = rng.random(frames) < BLINK_SHARE, rng.uniform(1.5, 5, frames)
    intensities[blinks, COLUMN["AU45"]] = np.maximum(intensities[blinks, COLUMN["AU45"]], closure[blinks])
    intensities = np.clip(intensities, 0, 5)

    tilt = leaning + rng.normal(0, CLIP_ASYMMETRY, len(ACTION_UNITS))
    one_sided = rng.random(len(ACTION_UNITS)) < ONE_SIDED_SHARE
    rest, side = rng.uniform(*ONE_SIDED_REST, len(ACTION_UNITS)), rng.choice([-1.0, 1.0], len(ACTION_UNITS))
    tilt = np.where(one_sided, side * (1 - rest), np.clip(tilt, -0.3, 0.3))
    tilt[[COLUMN[name] for name in MIDLINE]] = 0
    shares = np.stack([1 - np.maximum(tilt, 0), 1 + np.minimum(tilt, 0)], axis=-1)
    return (intensities[..., None] * shares).astype(np.float32)


def resolve_conflicts(sides: np.ndarray) -> np.ndarray:
    """Intensities (..., 21, 2) of which combinations that cannot coexist are resolved as FACS has it; see
    `EXCLUSIONS` and `behaviour.apply_cooccurrence`, which hold for each side."""
    values = np.moveaxis(np.array(sides, dtype=np.float32), -1, -2)  # (..., 2, 21)
    for stronger, weaker, level in EXCLUSIONS:
        values[..., COLUMN[weaker]] *= np.clip(1 - values[..., COLUMN[stronger]] / level, 0, 1)
    jaw = np.maximum(values[..., COLUMN["AU26"]], values[..., COLUMN["AU27"]])
    shared = values[..., SHARED_COLUMNS]
    shared[..., behaviour.COLUMN["AU26"]] = jaw
    shared = behaviour.apply_cooccurrence(shared)
    shared[..., behaviour.COLUMN["AU26"]] = values[..., COLUMN["AU26"]]
    values[..., SHARED_COLUMNS] = shared
    return np.moveaxis(values, -1, -2)


def name_expressions(action_units: np.ndarray) -> list[str]:
    """The expression that (N, 21) intensities make, by `behaviour.name_expressions`; a stretched mouth counts as a
    dropped jaw."""
    shared = np.array(action_units[:, SHARED_COLUMNS])
    jaw = np.maximum(action_units[:, COLUMN["AU26"]], action_units[:, COLUMN["AU27"]])
    shared[:, behaviour.COLUMN["AU26"]] = jaw
    return behaviour.name_expressions(shared)
