"""All text that models are shown: label names and descriptions, prompt templates, activity sentences.

Each table says where its words come from. "Poster" is the ICCV 2023 poster of *Weakly-Supervised Text-driven
Contrastive Learning for Facial Behavior Understanding*. Other words for the same labels are in `phrasings_clef.py`,
which also says which words no text here may contain.
"""

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

from .phrasings_clef import PHRASINGS, UNSEEN_PHRASINGS


class LabelText(NamedTuple):
    """What a label is called, and what it looks like on a face (one clause or several, no full stop)."""

    name: str
    description: str


class Activity(NamedTuple):
    """What a participant was asked to do, and the emotion the task was meant to elicit."""

    sentence: str
    target_emotion: str


# Names: the Facial Action Coding System's. Descriptions: ours (the paper's own, if it had any, are not published).
ACTION_UNITS: dict[str, LabelText] = {
    "AU1": LabelText(
        "inner brow raiser",
        "the inner corners of the eyebrows are pulled up and the centre of the forehead wrinkles",
    ),
    "AU2": LabelText(
        "outer brow raiser",
        "the outer parts of the eyebrows are raised into an arch and the sides of the forehead wrinkle",
    ),
    "AU4": LabelText(
        "brow lowerer",
        "the eyebrows are lowered and drawn together, with vertical creases between them",
    ),
    "AU5": LabelText(
        "upper lid raiser",
        "the upper eyelids are raised, widening the eyes and showing more of the eyeball",
    ),
    "AU6": LabelText(
        "cheek raiser",
        "the cheeks are lifted and crow's-feet wrinkles gather around narrowed eyes",
    ),
    "AU7": LabelText(
        "lid tightener",
        "the eyelids are tightened and the lower lids are raised, narrowing the eyes",
    ),
    "AU9": LabelText(
        "nose wrinkler",
        "the skin along the sides of the nose is pulled up and the bridge of the nose wrinkles",
    ),
    "AU10": LabelText(
        "upper lip raiser",
        "the upper lip is raised and the folds from the nose to the mouth deepen into a pouch",
    ),
    "AU11": LabelText(
        "nasolabial deepener",
        "the middle of the folds from the nose to the mouth deepens and the upper lip is slightly raised",
    ),
    "AU12": LabelText(
        "lip corner puller",
        "the corners of the lips are pulled up and back toward the cheeks",
    ),
    "AU14": LabelText(
        "dimpler",
        "the corners of the lips are tightened and pulled inward, making dimples beside the mouth",
    ),
    "AU15": LabelText(
        "lip corner depressor",
        "the corners of the lips are pulled down",
    ),
    "AU17": LabelText(
        "chin raiser",
        "the chin is pushed up and wrinkles, and the lower lip is raised",
    ),
    "AU18": LabelText(
        "lip pucker",
        "the lips are drawn together toward the middle and pushed forward, making the mouth small and round",
    ),
    "AU20": LabelText(
        "lip stretcher",
        "the lips are stretched back sideways, flattening the mouth",
    ),
    "AU23": LabelText(
        "lip tightener",
        "the lips are tightened and narrowed, so that they look thinner",
    ),
    "AU24": LabelText(
        "lip pressor",
        "the lips are pressed together while the chin stays still",
    ),
    "AU25": LabelText(
        "lips part",
        "the lips are parted, so that the teeth or the inside of the mouth can be seen",
    ),
    "AU26": LabelText(
        "jaw drop",
        "the jaw hangs open in relaxation and the teeth are apart",
    ),
    "AU27": LabelText(
        "mouth stretch",
        "the jaw is pulled down and the mouth is stretched wide open",
    ),
    "AU28": LabelText(
        "lip suck",
        "the lips are sucked in over the teeth, so that little or no red of them can be seen",
    ),
    "AU45": LabelText(
        "blink",
        "the eyelids are closed over the eyes",
    ),
}

# Names: the poster's, except "a neutral expression", which is ours so that the name template reads as English.
# Descriptions: our own wording of what the poster says of each expression.
EXPRESSIONS: dict[str, LabelText] = {
    "neutral": LabelText(
        "a neutral expression",
        "the mouth forms a straight line, the brows and cheeks are relaxed and the gaze rests, "
        "with no feature moved from where it lies at rest",
    ),
    "happiness": LabelText(
        "happiness",
        "the cheeks are lifted, the eyes are slightly narrowed with fine wrinkles at their outer corners, "
        "and the mouth widens as its corners rise, perhaps baring the teeth",
    ),
    "sadness": LabelText(
        "sadness",
        "the eyebrows are drawn together with their inner ends slanting upward, the corners of the mouth droop, "
        "and the lips are pulled in or pushed out into a pout",
    ),
    "surprise": LabelText(
        "surprise",
        "the eyebrows are lifted high above wide open eyes, lines run across the forehead, "
        "and the jaw drops so that the mouth hangs open",
    ),
    "fear": LabelText(
        "fear",
        "the eyebrows are lifted and pulled toward each other, the eyes are wide open above tense lower lids, "
        "and the mouth is stretched back, perhaps baring the teeth",
    ),
    "disgust": LabelText(
        "disgust",
        "the nose is wrinkled, the eyebrows come down over narrowed eyes, the cheeks are pushed up, "
        "and the upper lip is lifted, perhaps baring the teeth",
    ),
    "anger": LabelText(
        "anger",
        "the eyebrows are pulled down and together above a hard stare, the lips are tight or rolled in, "
        "the corners of the mouth point down, and the jaw is clenched or pushed forward",
    ),
    "contempt": LabelText(
        "contempt",
        "one corner of the mouth is tightened and pulled up and back, the eyes look uninvolved, "
        "and the head may be tilted back with one eyebrow raised, so that the gaze goes down the nose",
    ),
}

# BP4D (Zhang et al., Image and Vision Computing 2014, table 1). "joke" and "unpleasant_smell" are also shown on the
# poster; the other sentences follow the table, with articles added. The keys are ours.
_BP4D: dict[str, Activity] = {
    "joke": Activity("Talk to the experimenter and listen to a joke", "happiness or amusement"),
    "documentary": Activity("Watch and listen to a recorded documentary and discuss the reactions to it", "sadness"),
    "sudden_sound": Activity("Experience a sudden, unexpected burst of sound", "surprise or startle"),
    "silly_song": Activity("Play a game of improvising a silly song", "embarrassment"),
    "physical_threat": Activity("Anticipate and experience a physical threat", "fear or nervous"),
    "ice_water": Activity("Submerge a hand in ice water for as long as possible", "physical pain"),
    "insults": Activity("Experience harsh insults from the experimenter", "anger or upset"),
    "unpleasant_smell": Activity("Experience an unpleasant smell", "disgust"),
}

# BP4D+ (Zhang et al., CVPR 2016, table 1): which task elicits what is the table's, the exact wording is ours, as are
# the keys.
_BP4D_PLUS: dict[str, Activity] = {
    "funny_joke": Activity("Listen to a funny joke", "happiness"),
    "avatar": Activity("Watch a 3D avatar of oneself", "surprise"),
    "emergency_call": Activity("Listen to a 911 emergency phone call", "sadness"),
    "sound_burst": Activity("Experience a sudden burst of sound", "startle or surprise"),
    "true_or_false": Activity("Respond to a true-or-false question", "skeptical"),
    "song_improvisation": Activity("Improvise a silly song", "embarrassment"),
    "dart_game": Activity("Experience a physical threat in a dart game", "fear or nervous"),
    "hand_in_ice": Activity("Submerge a hand into ice water", "physical pain"),
    "poor_performance": Activity("Receive complaints about a poor performance", "anger or upset"),
    "smelly_odor": Activity("Experience a smelly odor", "disgust"),
}

ACTIVITIES: dict[str, Activity] = {**_BP4D, **_BP4D_PLUS}

# The data sets number their tasks in the order of the tables above.
BP4D_TASKS: dict[str, str] = {f"T{number}": key for number, key in enumerate(_BP4D, start=1)}
BP4D_PLUS_TASKS: dict[str, str] = {f"T{number}": key for number, key in enumerate(_BP4D_PLUS, start=1)}

# Poster: the one template that label names are put into.
NAME_TEMPLATE = "a photo of a person with {}"

# The poster pairs descriptions at random with several templates and shows three of them. The first here is the
# poster's; the others are ours, because descriptions are whole clauses and have to read as English behind each.
DESCRIPTION_TEMPLATES: tuple[str, ...] = (
    "a photo of a face where {}",
    "a cropped photo of a face in which {}",
    "a photo of a person: {}",
    "a close-up of a person's face, where {}",
    "a portrait in which {}",
    "in this photo of a face, {}",
)

# Ours: what names and phrasings are put into when labels are learned in several phrasings.
PHRASING_TEMPLATES: tuple[str, ...] = (
    NAME_TEMPLATE,
    "a person with {}",
    "a face with {}",
    "{}",
    "a close-up photo of a face with {}",
)


def closest(word: str, known: Iterable[str]) -> list[str]:
    """Up to three of the `known` words, the one most like `word` first; upper and lower case count as equal."""
    spellings: dict[str, str] = {}
    for key in known:
        spellings.setdefault(key.lower(), key)
    matches = difflib.get_close_matches(str(word).lower().strip(), spellings, n=3, cutoff=0.5)
    return [spellings[match] for match in matches]


def activity_text(key: str) -> str:
    """The text of a known activity: `"{sentence}. The target emotion is {emotion}."` (format: poster).

    Raises:
        ValueError: `key` is not in `ACTIVITIES`; the message names the closest keys.
    """
    if not isinstance(key, str) or key not in ACTIVITIES:
        near = closest(key, ACTIVITIES)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "no known key comes close."
        raise ValueError(
            f"unknown activity {key!r}: {hint} Known are {', '.join(ACTIVITIES)}. "
            "Your own activity is given as a sentence, such as 'Listen to a sad story'."
        )
    activity = ACTIVITIES[key]
    return f"{activity.sentence}. The target emotion is {activity.target_emotion}."


def action_unit_label(text: str) -> str | None:
    """ "AU1" for "AU1", "au 1", and "AU01" as OpenFace and py-feat write it, whether it is known or not; None for what
    is no action unit's number."""
    match = re.fullmatch(r"AU *0*(\d+[A-Z]?)", text.strip(), flags=re.IGNORECASE)
    return f"AU{match[1].upper()}" if match else None


def label_text(label: str) -> LabelText:
    """Name and description of a known action unit (`"AU12"`) or expression (`"happiness"`).

    Raises:
        ValueError: neither table knows `label`; the message names the closest known labels.
    """
    if isinstance(label, str):
        if label in ACTION_UNITS:
            return ACTION_UNITS[label]
        if label in EXPRESSIONS:
            return EXPRESSIONS[label]
    known = {**ACTION_UNITS, **EXPRESSIONS}
    by_name = {text.name: key for key, text in known.items()}
    near = list(dict.fromkeys(by_name.get(match, match) for match in closest(label, [*known, *by_name])))
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "no known label comes close."
    raise ValueError(
        f"unknown label {label!r}: {hint} Known are {', '.join(known)}. "
        "Your own labels are given as a dict of phrases, such as {'smile': 'a big smile'}."
    )


__all__ = [
    "ACTION_UNITS",
    "ACTIVITIES",
    "BP4D_PLUS_TASKS",
    "BP4D_TASKS",
    "DESCRIPTION_TEMPLATES",
    "EXPRESSIONS",
    "NAME_TEMPLATE",
    "PHRASINGS",
    "PHRASING_TEMPLATES",
    "UNSEEN_PHRASINGS",
    "Activity",
    "LabelText",
    "action_unit_label",
    "activity_text",
    "closest",
    "label_text",
]
