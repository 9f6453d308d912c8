"""Photographs of people in a folder with a metadata.csv: reading the table, finding and aligning the faces."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from processing.face_alignment_clef import CropRecipe, FaceDetector, align_face
from processing.image_processing_clef import to_rgb_image

METADATA = "metadata.csv"
REQUIRED = ("file_name", "subject_id", "expression")
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Photo:
    """One row of metadata.csv. `groups` holds the group columns, e.g. `{"gender": "female"}`."""

    file_name: str
    subject_id: str
    expression: str
    groups: dict[str, str]


class Crops(NamedTuple):
    """`pixels` uint8 (M, size, size, 3) of the photographs `rows` (M,) whose face was found; `failures`: why the others
    have none, by file name; `several`: names of the files with several faces, of which the largest was taken."""

    pixels: np.ndarray
    rows: np.ndarray
    failures: dict[str, str]
    several: list[str]


def read_photos(folder: Path, groups: list[str] | None = None) -> list[Photo]:
    """The rows of `folder/metadata.csv`, columns read by their names.

    Args:
        groups: columns to keep as groups of people. None: "gender" and "ethnicity" if they are there.

    Raises:
        FileNotFoundError: no metadata.csv. ValueError: a column is missing, a row without file name or subject, a file
            listed twice, or people who are in two groups of one column.
    """
    path = Path(folder, METADATA)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {METADATA} in {str(folder)!r}; expected a table with the columns {', '.join(REQUIRED)}."
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns, rows = reader.fieldnames or [], list(reader)
    if groups is None:
        groups = [name for name in ("gender", "ethnicity") if name in columns]
    missing = [name for name in (*REQUIRED, *groups) if name not in columns]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}; its columns are {', '.join(columns)}.")
    photos = []
    for line, row in enumerate(rows, start=2):
        values = {name: (row[name] or "").strip() for name in (*REQUIRED, *groups)}
        if not values["file_name"] or not values["subject_id"]:
            raise ValueError(f"{path}, line {line}: got {values}, expected a file_name and a subject_id.")
        photos.append(Photo(*(values[name] for name in REQUIRED), {name: values[name] or "unknown" for name in groups}))
    _refuse_contradictions(path, photos, groups)
    return photos


def _refuse_contradictions(path: Path, photos: list[Photo], groups: list[str]) -> None:
    names = [photo.file_name for photo in photos]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: {', '.join(twice[:5])} listed more than once; expected one row a photograph.")
    for group in groups:
        values: dict[str, set] = {}
        for photo in photos:
            values.setdefault(photo.subject_id, set()).add(photo.groups[group])
        odd = {subject: sorted(found) for subject, found in values.items() if len(found) > 1}
        if odd:
            raise ValueError(f"{path}: got people with several values of {group}: {odd}; expected one a person.")


def unlisted_pictures(folder: Path, photos: list[Photo]) -> list[str]:
    """Names of picture files beside metadata.csv that it does not list."""
    listed = {photo.file_name for photo in photos}
    found = (path.name for path in Path(folder).iterdir() if path.suffix.lower() in PICTURES)
    return sorted(set(found) - listed)


def find_crops(
    folder: Path, photos: list[Photo], detector: FaceDetector, size: int, recipe: CropRecipe, progress=None
) -> Crops:
    """Aligned crops of `size` pixels. What fails is kept with its reason: nothing is left out silently.

    `progress`: wraps the photographs while they are gone through, e.g. `tqdm`.
    """
    pixels, rows, failures, several = [], [], {}, []
    for row, photo in enumerate(progress(photos) if progress else photos):
        try:
            image = to_rgb_image(Path(folder, photo.file_name))
            faces = detector.detect(image)
            if not faces:
                raise ValueError("no face found")
            largest = max(faces, key=lambda face: np.prod(face.box[2:] - face.box[:2]))
            pixels.append(align_face(image, largest.points, size, recipe))
        except FileNotFoundError:
            failures[photo.file_name] = "no such file"
            continue
        except ValueError as error:
            failures[photo.file_name] = str(error).replace(str(folder), Path(folder).name)
            continue
        rows.append(row)
        if len(faces) > 1:
            several.append(photo.file_name)
    stacked = np.stack(pixels) if pixels else np.zeros((0, size, size, 3), dtype=np.uint8)
    return Crops(stacked, np.array(rows, dtype=np.int64), failures, several)
