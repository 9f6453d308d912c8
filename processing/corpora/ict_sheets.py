"""Sheets that show the three-dimensional faces: who they are, what each AU looks like, what varies besides.

python -m processing.corpora.ict_sheets --root FaceXModel --output outputs/sheets
"""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from processing.corpora.behaviour import ACTIVITIES
from processing.corpora.bilateral_behaviour import (
    ACTION_UNITS,
    COLUMN,
    LEFT,
    MIDLINE,
    RIGHT,
    clip_sides,
    name_expressions,
)
from processing.corpora.ict_faces import FaceRenderer
from processing.corpora.ict_identity import Identity, sample_identity
from processing.corpora.ict_model import load_face_model
from processing.corpora.ict_nuisance import Nuisance, Variation, frontal_nuisance, sample_clip_nuisances, sample_session
from processing.corpora.random_streams import CLIP_NUISANCE, IDENTITY, SESSION, random_generator
from processing.corpora.sheets import grid

LEVELS = (1.5, 3.0, 4.5)
# What makes a person besides the traits that a switch of `Variation` covers.
UNSWITCHED_TRAITS = (
    *("coefficients", "skin", "lips", "lip_strength", "lip_gap", "lip_fullness"),
    *("sclera", "iris", "iris_radius", "pupil_radius"),
)


def identities(renderer: FaceRenderer, image_size: int = 128, seed: int = 0, subjects: int = 48) -> Image.Image:
    """Neutral frontal faces of the first subjects."""
    faces = [_frontal(renderer, _identity(seed, number), _alone(()), image_size)[0] for number in range(subjects)]
    return grid(faces, [f"I{number:04d}" for number in range(subjects)], 12)


def action_units(renderer: FaceRenderer, image_size: int = 128, seed: int = 0, subjects: int = 2) -> Image.Image:
    """Each AU alone at three intensities beside the neutral face, for unlike people."""
    people = [_identity(seed, number) for number in diverse_subjects(seed, subjects)]
    faces, captions = [], []
    for name in ACTION_UNITS:
        sides = _alone((), *[((name, level, level),) for level in LEVELS])
        for identity in people:
            faces.extend(_frontal(renderer, identity, sides, image_size))
            captions.extend(["neutral", *(f"{name} {level:g}" for level in LEVELS)])
    return grid(faces, captions, 2 * subjects * (1 + len(LEVELS)))


def one_sided(renderer: FaceRenderer, image_size: int = 128, seed: int = 0, subjects: int = 2) -> Image.Image:
    """Each AU whose muscles do not cross the midline, on the subject's left alone and on the right alone."""
    people = [_identity(seed, number) for number in diverse_subjects(seed, subjects)]
    faces, captions = [], []
    for name in ACTION_UNITS:
        if name in MIDLINE:
            continue
        sides = _alone(((name, LEVELS[-1], 0),), ((name, 0, LEVELS[-1]),))
        for identity in people:
            faces.extend(_frontal(renderer, identity, sides, image_size))
            captions.extend([f"{name} left", f"{name} right"])
    return grid(faces, captions, 6 * subjects)


def activities(renderer: FaceRenderer, image_size: int = 128, seed: int = 0, subjects: int = 8) -> Image.Image:
    """The strongest frame of each activity, one subject a row; captions name the expression."""
    faces, captions = [], []
    for number in range(subjects):
        person = renderer.person(_identity(seed, number))
        for activity, name in enumerate(ACTIVITIES):
            sides = clip_sides(seed, number, activity, 20)
            apex = int(sides.max(axis=-1).sum(axis=-1).argmax())
            nuisance = _nuisances(seed, number, activity, 20)[apex]
            rendered = renderer.render(person, [nuisance], sides[apex : apex + 1], image_size)
            faces.extend(rendered.images)
            captions.append(f"{name}\n{name_expressions(rendered.action_units)[0]}")
    return grid(faces, captions, len(ACTIVITIES))


def randomisation(renderer: FaceRenderer, image_size: int = 128, seed: int = 0, draws: int = 10) -> Image.Image:
    """One smiling face on which each switch of `Variation` alone is on, a row a switch; the last row has all on.

    Of a switch that does nothing to most faces, such as occluders, the draws are shown to which it does something.
    """
    own = _identity(seed, diverse_subjects(seed, 1)[0])
    faces, captions = [], []
    for switch in Variation.none().switches():
        variation = replace(Variation.none(), **{switch: True})
        drawn = (_smiling(renderer, own, variation, seed, draw, image_size) for draw in range(100 * draws))
        shown = list(islice(drawn_differently(drawn), draws))
        if len(shown) < draws:
            raise RuntimeError(f"{switch} changes {len(shown)} of {100 * draws} faces; {draws} are to be shown")
        faces.extend(shown)
        captions.extend([switch] * draws)
    for draw in range(draws):
        faces.append(_smiling(renderer, own, Variation(), seed, draw, image_size)[0])
        captions.append("everything")
    return grid(faces, captions, draws)


def clip(
    renderer: FaceRenderer, image_size: int = 128, seed: int = 0, subject: int = 1, activity: str = "joke"
) -> Image.Image:
    """One clip of 24 frames over time; captions name the AUs of intensity 2 and more."""
    index, frames = ACTIVITIES.index(activity), 24
    sides, nuisances = clip_sides(seed, subject, index, frames), _nuisances(seed, subject, index, frames)
    rendered = renderer.render(renderer.person(_identity(seed, subject)), nuisances, sides, image_size)
    shown = [[name[2:] for name in ACTION_UNITS if row[COLUMN[name]] >= 2] for row in rendered.action_units]
    return grid(rendered.images, [" ".join(names) or "-" for names in shown], 12)


SHEETS = {
    "identities": identities,
    "action_units": action_units,
    "one_sided": one_sided,
    "activities": activities,
    "randomisation": randomisation,
    "clip": clip,
}


def diverse_subjects(seed: int, subjects: int, among: int = 40) -> list[int]:
    """Subjects with bare faces and closed lips who differ most in skin, hair and shape."""
    people = {number: _identity(seed, number) for number in range(among)}
    bare = [
        number
        for number, p in people.items()
        if not p.glasses and p.beard < 0.5 and p.fringe == 0 and p.hair_length > 0 and p.lip_gap < 0.05
    ]
    # Square roots: the eye, and the sheet, tell dark tones apart better than linear colours do.
    traits = {
        n: np.array([*3 * np.sqrt(people[n].skin), *np.sqrt(people[n].hair), *0.1 * people[n].coefficients[:5]])
        for n in bare
    }
    chosen = bare[:1]
    while len(chosen) < subjects:
        chosen.append(max(bare, key=lambda n: min(np.linalg.norm(traits[n] - traits[other]) for other in chosen)))
    return chosen


def drawn_differently(pairs):
    """The first of each pair of pictures that differ by more than rounding."""
    for picture, plain in pairs:
        if np.abs(picture.astype(np.int16) - plain).max() > 8:
            yield picture


def _smiling(
    renderer: FaceRenderer, own: Identity, variation: Variation, seed: int, draw: int, image_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """AU6 and AU12 on a face of `own` shape and skin with the traits and circumstances of a draw; the same plain."""
    kept = {name: getattr(own, name) for name in UNSWITCHED_TRAITS}
    identity = replace(_identity(seed, draw), **kept)
    nuisances = _nuisances(seed, draw, 0, 1, variation)
    sides = _alone((("AU6", 4, 4), ("AU12", 4, 4)))
    varied = renderer.render(renderer.person(identity, variation), nuisances, sides, image_size)
    plain = renderer.person(identity, Variation.none())
    return varied.images[0], renderer.render(plain, [frontal_nuisance()], sides, image_size).images[0]


def _identity(seed: int, number: int) -> Identity:
    return sample_identity(random_generator(seed, IDENTITY, number))


def _nuisances(
    seed: int, number: int, activity: int, frames: int, variation: Variation | None = None
) -> list[Nuisance]:
    session = sample_session(random_generator(seed, SESSION, number))
    return sample_clip_nuisances(random_generator(seed, CLIP_NUISANCE, number, activity), session, frames, variation)


def _alone(*rows: tuple[tuple[str, float, float], ...]) -> np.ndarray:
    """(N, 21, 2) intensities that are zero but for each row's (AU, left, right)."""
    sides = np.zeros((len(rows), len(ACTION_UNITS), 2), dtype=np.float32)
    for index, row in enumerate(rows):
        for name, left, right in row:
            sides[index, COLUMN[name], LEFT], sides[index, COLUMN[name], RIGHT] = left, right
    return sides


def _frontal(renderer: FaceRenderer, identity: Identity, sides: np.ndarray, image_size: int) -> np.ndarray:
    return renderer.render(renderer.person(identity), [frontal_nuisance()] * len(sides), sides, image_size).images


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the three-dimensional faces' sheets.")
    parser.add_argument("--root", help="the face model's FaceXModel folder or .npz; default: $CLEF_ICT_FACEKIT")
    parser.add_argument("--output", type=Path, default=Path("outputs/sheets"), help="folder for the PNG files")
    parser.add_argument("--image_size", type=int, default=128, help="pixels a face, 32 to 512")
    parser.add_argument("--seed", type=int, default=0, help="the corpus' seed")
    options = parser.parse_args()
    renderer = FaceRenderer(load_face_model(options.root))
    options.output.mkdir(parents=True, exist_ok=True)
    for name, draw in SHEETS.items():
        path = options.output / f"ict_{name}.png"
        draw(renderer, image_size=options.image_size, seed=options.seed).save(path)
        print(path)


if __name__ == "__main__":
    main()
