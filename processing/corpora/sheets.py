"""Sheets that show the synthetic corpus: who is in it, what each AU looks like, what the activities bring out.

python -m processing.corpora.sheets --output outputs/sheets
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from processing.corpora.behaviour import (
    ACTION_UNITS,
    ACTIVITIES,
    COLUMN,
    apply_cooccurrence,
    clip_action_units,
    name_expressions,
)
from processing.corpora.random_streams import CLIP_NUISANCE, IDENTITY, SESSION, random_generator
from processing.corpora.synthetic_faces import render_faces
from processing.corpora.synthetic_identity import Identity, sample_identity
from processing.corpora.synthetic_nuisance import frontal_nuisance, sample_clip_nuisances, sample_session

APEX = 4.5
MARGIN, CAPTION = 4, 16


def identities(image_size: int = 128, seed: int = 0, subjects: int = 48, columns: int = 12) -> Image.Image:
    """Neutral faces of the first subjects, each in its own session."""
    faces = [
        render_faces([_identity(seed, number)], [_nuisances(seed, number, 0, 1)[0]], np.zeros((1, 17)), image_size)[0]
        for number in range(subjects)
    ]
    return grid(faces, [f"S{number:03d}" for number in range(subjects)], columns)


def action_units(image_size: int = 128, seed: int = 0, subjects: int = 3) -> Image.Image:
    """The neutral face and each AU alone at its apex, for subjects as unlike as can be found."""
    rows = np.zeros((len(ACTION_UNITS) + 1, len(ACTION_UNITS)))
    for column in range(len(ACTION_UNITS)):
        rows[column + 1, column] = APEX
    # AU26 parts the lips: anatomy, not a second AU shown on purpose.
    rows = apply_cooccurrence(rows)
    faces, captions = [], []
    for number in diverse_subjects(seed, subjects):
        faces.extend(_frontal(_identity(seed, number), rows, image_size))
        captions.extend(["neutral", *ACTION_UNITS])
    return grid(faces, captions, 9)


def intensities(
    image_size: int = 128, seed: int = 0, names: tuple[str, ...] = ("AU1", "AU4", "AU12", "AU15")
) -> Image.Image:
    """Some AUs from 0 to 5."""
    faces, captions = [], []
    number = diverse_subjects(seed, 1)[0]
    for name in names:
        rows = np.zeros((6, len(ACTION_UNITS)))
        rows[:, COLUMN[name]] = range(6)
        faces.extend(_frontal(_identity(seed, number), rows, image_size))
        captions.extend(f"{name} {level}" for level in range(6))
    return grid(faces, captions, 6)


def activities(image_size: int = 128, seed: int = 0, subjects: int = 6) -> Image.Image:
    """A frame near the first apex of each activity, one subject a row; captions name the expression."""
    frames, frame = 20, 5
    faces, captions = [], []
    for number in range(subjects):
        for activity, name in enumerate(ACTIVITIES):
            values = clip_action_units(seed, number, activity, frames)[frame : frame + 1]
            nuisance = _nuisances(seed, number, activity, frames)[frame]
            faces.extend(render_faces([_identity(seed, number)], [nuisance], values, image_size))
            captions.append(f"{name}\n{name_expressions(values)[0]}")
    return grid(faces, captions, len(ACTIVITIES))


def clip(
    image_size: int = 128, seed: int = 0, subject: int = 4, activity: str = "joke", frames: int = 20
) -> Image.Image:
    """One clip over time; captions name the AUs of intensity 2 and more."""
    index = ACTIVITIES.index(activity)
    values = clip_action_units(seed, subject, index, frames)
    nuisances = _nuisances(seed, subject, index, frames)
    faces = render_faces([_identity(seed, subject)] * frames, nuisances, values, image_size)
    captions = [" ".join(name[2:] for name in ACTION_UNITS if row[COLUMN[name]] >= 2) or "-" for row in values]
    return grid(faces, captions, 10)


SHEETS = {
    "identities": identities,
    "action_units": action_units,
    "intensities": intensities,
    "activities": activities,
    "clip": clip,
}


def diverse_subjects(seed: int, count: int, among: int = 40) -> list[int]:
    """Subjects whose skin, hair and head differ most: each the farthest from those before it."""
    people = [_identity(seed, number) for number in range(among)]
    traits = np.array([[*p.skin, *p.hair, 2 * p.face_width, p.hair_length, 0.5 * p.curl, p.beard] for p in people])
    bare = [number for number, p in enumerate(people) if not p.glasses and p.beard < 0.5 and p.fringe == 0]
    chosen = [bare[0]]
    while len(chosen) < count:
        distance = np.min([np.linalg.norm(traits[bare] - traits[number], axis=1) for number in chosen], axis=0)
        chosen.append(bare[int(np.argmax(distance))])
    return chosen


def _identity(seed: int, number: int) -> Identity:
    return sample_identity(random_generator(seed, IDENTITY, number))


def _nuisances(seed: int, number: int, activity: int, frames: int) -> list:
    session = sample_session(random_generator(seed, SESSION, number))
    return sample_clip_nuisances(random_generator(seed, CLIP_NUISANCE, number, activity), session, frames)


def _frontal(identity: Identity, rows: np.ndarray, image_size: int) -> np.ndarray:
    return render_faces([identity] * len(rows), [frontal_nuisance()] * len(rows), rows, image_size)


def grid(faces, captions: list[str], columns: int) -> Image.Image:
    size, header = len(faces[0]), CAPTION * (1 + max(caption.count("\n") for caption in captions))
    rows = -(-len(faces) // columns)
    width, height = columns * (size + MARGIN) + MARGIN, rows * (size + header + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, height), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(max(9, min(12, size // 10)))
    for index, (face, caption) in enumerate(zip(faces, captions, strict=True)):
        left = MARGIN + index % columns * (size + MARGIN)
        top = MARGIN + index // columns * (size + header + MARGIN)
        for number, line in enumerate(caption.split("\n")):
            while line and pen.textlength(line, font=font) > size:
                line = line[:-1]
            pen.text((left + 1, top + number * CAPTION), line, fill=(40, 40, 40), font=font)
        sheet.paste(Image.fromarray(np.asarray(face)), (left, top + header))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the synthetic corpus' sheets.")
    parser.add_argument("--output", type=Path, default=Path("outputs/sheets"), help="folder for the PNG files")
    parser.add_argument("--image_size", type=int, default=128, help="pixels a face, 32 to 256")
    parser.add_argument("--seed", type=int, default=0, help="the corpus' seed")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, draw in SHEETS.items():
        path = options.output / f"{name}.png"
        draw(image_size=options.image_size, seed=options.seed).save(path)
        print(path)


if __name__ == "__main__":
    main()
