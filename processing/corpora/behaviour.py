"""How subjects behave: activities, the AUs they draw out, their course in time, and what expression that makes.

All of it is our choice: it makes AUs, activities and expressions that hang together as in a recording session, with
frequencies like those of spontaneous corpora. It says nothing about how a face looks; renderers take the AUs.
"""

import numpy as np

from processing.corpora.random_streams import CLIP_BEHAVIOUR, SUBJECT_BEHAVIOUR, random_generator

ACTION_UNITS = tuple(f"AU{number}" for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26))
EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "anger", "disgust")
COLUMN = {name: index for index, name in enumerate(ACTION_UNITS)}

# Activity -> three ways to react to it, most frequent first; a way: AU -> (probability, mean intensity at apex).
Pattern = dict[str, tuple[float, float]]
ACTIVITY_PATTERNS: dict[str, tuple[Pattern, Pattern, Pattern]] = {
    "joke": (
        {"AU6": (0.9, 3), "AU12": (1, 4), "AU25": (0.7, 3), "AU7": (0.3, 2)},
        {"AU12": (1, 3), "AU26": (0.7, 2.5), "AU25": (0.9, 3), "AU6": (0.8, 3)},
        {"AU12": (0.9, 2.2), "AU14": (0.4, 2)},
    ),
    "documentary": (
        {"AU1": (0.9, 3.2), "AU4": (0.7, 2.5), "AU15": (0.8, 3), "AU17": (0.5, 2)},
        {"AU15": (0.9, 3), "AU17": (0.7, 3), "AU24": (0.3, 2)},
        {"AU1": (0.8, 2.5), "AU4": (0.8, 3), "AU7": (0.3, 2)},
    ),
    "sudden_sound": (
        {"AU1": (0.9, 4), "AU2": (0.9, 4), "AU5": (0.8, 3.5), "AU25": (0.9, 3), "AU26": (0.8, 3.5)},
        {"AU1": (0.8, 3), "AU2": (0.8, 3), "AU5": (0.7, 3), "AU12": (0.3, 2)},
        {"AU4": (0.6, 2.5), "AU7": (0.7, 3), "AU20": (0.4, 2.5)},
    ),
    "silly_song": (
        {"AU12": (0.9, 3), "AU14": (0.7, 3), "AU24": (0.5, 2.5), "AU6": (0.5, 2.5)},
        {"AU12": (0.9, 2.5), "AU23": (0.5, 2.5), "AU7": (0.4, 2)},
        {"AU25": (0.9, 3), "AU26": (0.6, 2), "AU1": (0.5, 2.5), "AU2": (0.5, 2.5), "AU12": (0.5, 2.5)},
    ),
    "physical_threat": (
        {
            "AU1": (0.9, 3),
            "AU2": (0.7, 2.8),
            "AU4": (0.7, 2.5),
            "AU5": (0.8, 3.5),
            "AU20": (0.6, 3),
            "AU25": (0.6, 2.5),
        },
        {"AU20": (0.8, 3), "AU25": (0.7, 2.5), "AU4": (0.5, 2.5)},
        {"AU5": (0.8, 3), "AU24": (0.4, 2.5), "AU1": (0.5, 2.5)},
    ),
    "ice_water": (
        {"AU4": (0.9, 3.5), "AU6": (0.8, 3), "AU7": (0.8, 3.5), "AU10": (0.5, 2.5)},
        {"AU4": (0.8, 3), "AU7": (0.7, 3), "AU20": (0.5, 3), "AU25": (0.6, 2.5), "AU9": (0.3, 2.5)},
        {"AU10": (0.7, 3), "AU6": (0.8, 3), "AU12": (0.4, 2.5), "AU25": (0.5, 2.5)},
    ),
    "insults": (
        {"AU4": (0.9, 3.5), "AU5": (0.5, 2.5), "AU7": (0.7, 3), "AU23": (0.7, 3.2)},
        {"AU4": (0.8, 3), "AU24": (0.8, 3.2), "AU17": (0.5, 2.5)},
        {"AU23": (0.7, 3), "AU14": (0.6, 2.8), "AU7": (0.4, 2.5)},
    ),
    "unpleasant_smell": (
        {"AU9": (0.9, 3.6), "AU10": (0.7, 3.2), "AU4": (0.6, 2.5), "AU17": (0.4, 2.5), "AU7": (0.4, 2.5)},
        {"AU10": (0.9, 3.4), "AU17": (0.6, 2.6), "AU15": (0.4, 2.5)},
        {"AU9": (0.7, 3), "AU25": (0.5, 2.5), "AU6": (0.4, 2)},
    ),
}
ACTIVITIES = tuple(ACTIVITY_PATTERNS)
PATTERN_SHARES = (0.5, 0.3, 0.2)

EVENTS_PER_CLIP = 2
EXPRESSIVENESS_SPREAD = 0.22  # sd of the log of a subject's expressiveness
GAIN_RANGE = (0.7, 1.25)  # a subject's gain for each AU
RESTING_SHARE, RESTING_RANGE = 0.06, (0.5, 1.5)  # AUs that a subject shows at rest
FRAME_JITTER = 0.15  # sd of an intensity from frame to frame


def clip_action_units(
    seed: int, subject: int, activity: int, frames: int, purity: float = 0.9, off_script: float = 0.06
) -> np.ndarray:
    """AU intensities of one clip: (frames, 17) float32 in 0..5, columns as `ACTION_UNITS`.

    The clip depends on its arguments alone, whatever other clips there are.

    Args:
        activity: index into `ACTIVITIES`.
        purity: probability that the subject reacts to this activity rather than as if to another one.
        off_script: probability, for each AU, of one burst that no activity asked for.
    """
    person = random_generator(seed, SUBJECT_BEHAVIOUR, subject)
    expressiveness = np.exp(person.normal(0, EXPRESSIVENESS_SPREAD))
    gains = person.uniform(*GAIN_RANGE, len(ACTION_UNITS))
    resting = person.uniform(*RESTING_RANGE, len(ACTION_UNITS)) * (person.random(len(ACTION_UNITS)) < RESTING_SHARE)

    rng = random_generator(seed, CLIP_BEHAVIOUR, subject, activity)
    reaction = activity
    if rng.random() >= purity:
        reaction = (activity + rng.integers(1, len(ACTIVITIES))) % len(ACTIVITIES)
    patterns = ACTIVITY_PATTERNS[ACTIVITIES[reaction]]
    time = (np.arange(frames) + 0.5) / frames
    course = np.zeros((frames, len(ACTION_UNITS)))
    for event in range(EVENTS_PER_CLIP):
        pattern = patterns[rng.choice(len(patterns), p=PATTERN_SHARES)]
        start = rng.uniform(-0.08, 0.12) + event / EVENTS_PER_CLIP
        onset, apex, offset = rng.uniform(0.05, 0.12), rng.uniform(0.20, 0.34), rng.uniform(0.08, 0.20)
        for name, (probability, mean) in pattern.items():
            # Drawn whether used or not, so that one AU's presence does not shift the draws of the next.
            present, lag, intensity = rng.random() < probability, rng.normal(0, 0.02), rng.normal(mean, 0.7)
            if present:
                since = time - lag - start
                rise, fall = np.clip(since / onset, 0, 1), np.clip((onset + apex + offset - since) / offset, 0, 1)
                column = COLUMN[name]
                course[:, column] = np.maximum(course[:, column], rise * fall * np.clip(intensity, 0.8, 5))
    for column in range(len(ACTION_UNITS)):
        present, centre, intensity = rng.random() < off_script, rng.uniform(0, 0.8), rng.uniform(1.5, 4)
        if present:
            burst = np.clip(1 - np.abs(time - centre) / 0.2, 0, 1) * intensity
            course[:, column] = np.maximum(course[:, column], burst)
    jitter = rng.normal(0, FRAME_JITTER, course.shape)
    intensities = np.clip(course * expressiveness * gains + resting + jitter, 0, 5)
    return apply_cooccurrence(intensities).astype(np.float32)


def apply_cooccurrence(action_units: np.ndarray) -> np.ndarray:
    """Rules of anatomy on (..., 17) intensities: lips that part cannot be pressed, and a dropped jaw parts them."""
    values = np.array(action_units)
    tightener, pressor, part, drop = (values[..., COLUMN[name]] for name in ("AU23", "AU24", "AU25", "AU26"))
    tightener *= np.clip(1 - drop / 2.5, 0, 1)
    pressor *= np.clip(1 - part / 2.5, 0, 1) * np.clip(1 - drop / 2.0, 0, 1)
    np.maximum(part, 0.8 * drop, out=part)
    return values


def name_expressions(action_units: np.ndarray) -> list[str]:
    """The expression that (N, 17) intensities make: the best of six scores, neutral when none is above its level."""
    au = {name: action_units[:, column].astype(np.float64) for name, column in COLUMN.items()}
    tight_lips = np.maximum(au["AU23"], au["AU24"])
    scores = [
        np.full(len(action_units), 1.1),
        0.7 * au["AU12"] + 0.3 * au["AU6"] - 0.3 * au["AU10"] - 0.2 * au["AU14"],
        (au["AU1"] + 0.6 * au["AU4"] + 1.2 * au["AU15"] + 0.4 * au["AU17"] - au["AU2"] - 0.5 * (au["AU9"] + au["AU10"]))
        / 2.2,
        (au["AU1"] + au["AU2"] + au["AU26"] + 0.6 * au["AU5"] - au["AU4"] - au["AU20"]) / 2.9,
        (0.5 * (au["AU1"] + au["AU2"]) + 0.6 * au["AU4"] + 0.8 * au["AU5"] + 1.4 * au["AU20"] - 0.5 * au["AU26"]) / 2.4,
        (au["AU4"] + 0.7 * au["AU7"] + 1.2 * tight_lips - 0.5 * (au["AU1"] + au["AU6"]) - 0.7 * au["AU9"]) / 2.3,
        (1.3 * au["AU9"] + 1.2 * au["AU10"] + 0.3 * au["AU17"] - 0.3 * au["AU6"]) / 1.9,
    ]
    return [EXPRESSIONS[index] for index in np.argmax(np.stack(scores), axis=0)]
