"""RAF-DB, the part with the seven basic expressions (Li, Deng and Du, CVPR 2017).

What is read, names as in the archives of the official release:

    basic/EmoLabel/list_patition_label.txt        "train_00001.jpg 5"; spelt so (its manual says list_partition_label)
    basic/Image/aligned/train_00001_aligned.jpg   the set's own crops, 100 x 100, by eyes and middle of the mouth
    basic/Image/original/train_00001.jpg          with `aligned=False`
    basic/Annotation/manual/train_00001_manu_attri.txt      if there: five points of the original, gender, race, age
    basic/Annotation/boundingbox/train_00001_boundingbox.txt  if there: left, top, right, bottom in the original

Label ids and the codes of gender, race and age are those of the release's manual (version 1.1). The official split has
12,271 faces to train with and 3,068 to test with, and no validation part: the protocol holds some out. The set does
not say who a person is, so every picture counts as a subject of its own; nobody can check that no person is in both
parts.
"""

from pathlib import Path

import numpy as np

from processing.corpora.face_geometry import checked_box, checked_points, numbers
from processing.corpora.label_tables import int_value, read_lines, read_table, rows_by_key
from processing.corpora.named_pictures import NamedPictures
from processing.corpora.official import FaceRecord, OfficialCorpus, ReadingReport, wrong_root

EXPRESSION_IDS = {
    1: "surprise",
    2: "fear",
    3: "disgust",
    4: "happiness",
    5: "sadness",
    6: "anger",
    7: "neutral",
}
LABEL_FILES = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt")
GENDERS = {0: "man", 1: "woman", 2: None}  # 2: the annotators were unsure
RACES = {0: "Caucasian", 1: "African-American", 2: "Asian"}
AGES = {0: "0-3", 1: "4-19", 2: "20-39", 3: "40-69", 4: "70+"}
ATTRIBUTES = {"gender": GENDERS, "race": RACES, "age": AGES}  # in the order of the files' last three lines
POINTS = 5

LICENCE = "RAF-DB: non-commercial research and education only, from its authors; they do not own the pictures"


def read_raf_db(root: str | Path, aligned: bool = True) -> OfficialCorpus:
    """All faces of RAF-DB (basic) that have a label and a picture.

    Args:
        root: the folder with `basic/` in it, or `basic/` itself.
        aligned: the set's own aligned crops; else the original pictures, with the set's points and boxes.

    Faces whose label is missing, outside 1 to 7 or contradictory are left out and counted. Landmarks, boxes and
    attributes that do not fit are counted, and the face goes without them.

    Raises FileNotFoundError when the label file or the pictures are not there.
    """
    root, report = Path(root), ReadingReport()
    base, label_file = _find(root, aligned)
    pictures = NamedPictures(base / _picture_folder(aligned), report)
    rows = read_table(label_file, report, header=("picture", "expression"), delimiter=" ")
    has_attributes = _folder_or_count(base / "Annotation/manual", report)
    has_boxes = not aligned and _folder_or_count(base / "Annotation/boundingbox", report)
    records, labelled = [], set()
    for row in rows:
        row["picture"] = row["picture"].lower()
    for name, row in rows_by_key(rows, lambda row: row["picture"], report, of="picture").items():
        stem = name.rpartition(".")[0] or name
        split = stem.partition("_")[0]
        picture = pictures.find(f"{stem}_aligned.jpg" if aligned else name)
        if picture is not None:
            labelled.add(picture)
        if split not in ("train", "test"):
            report.add("name that begins with neither train_ nor test_", example=name)
        elif picture is None:
            report.add("label without a picture", split, example=name)
        elif row is not None:  # contradictory rows are counted already
            expression = EXPRESSION_IDS.get(int_value(row["expression"]))
            if expression is None:
                report.add("label outside its range", split, example=f"{name}: {row['expression']!r}, expected 1 to 7")
                continue
            box = _read_box(base, stem, split, report) if has_boxes else None
            points, groups = _read_attributes(base, stem, split, report, box) if has_attributes else (None, {})
            records.append(
                FaceRecord(
                    subject_id=stem,
                    image=pictures.paths[picture],
                    frame=int_value(stem.partition("_")[2]) or 0,
                    expression=expression,
                    split=split,
                    points=None if aligned else points,
                    box=box,
                    aligned=aligned,
                    groups=groups,
                )
            )
    pictures.count_unlabelled(labelled, report)
    return OfficialCorpus("raf_db", records, report, licence=LICENCE)


def _picture_folder(aligned: bool) -> str:
    return "Image/aligned" if aligned else "Image/original"


def _find(root: Path, aligned: bool) -> tuple[Path, Path]:
    """The folder `basic` and the label file in it."""
    for base in (root / "basic", root):
        for name in LABEL_FILES:
            if (base / name).is_file() and (base / _picture_folder(aligned)).is_dir():
                return base, base / name
    raise wrong_root("RAF-DB", root, [f"basic/{LABEL_FILES[0]}", f"basic/{_picture_folder(aligned)}/"])


def _folder_or_count(folder: Path, report: ReadingReport) -> bool:
    if not folder.is_dir():
        report.add("annotation folder that is missing", folder.name, example=folder)
    return folder.is_dir()


def _read_box(base: Path, stem: str, split: str, report: ReadingReport) -> np.ndarray | None:
    path = base / "Annotation/boundingbox" / f"{stem}_boundingbox.txt"
    if not path.is_file():
        report.add("picture without a box", split, example=path.name)
        return None
    return checked_box(numbers(" ".join(read_lines(path, report, split)).split(), 4), report, split, path.name)


def _read_attributes(
    base: Path, stem: str, split: str, report: ReadingReport, box: np.ndarray | None
) -> tuple[np.ndarray | None, dict[str, str]]:
    """Points (5, 2) in the original picture, and groups."""
    path = base / "Annotation/manual" / f"{stem}_manu_attri.txt"
    if not path.is_file():
        report.add("picture without attributes", split, example=path.name)
        return None, {}
    words = " ".join(read_lines(path, report, split)).split()
    flat = numbers(words[: 2 * POINTS], 2 * POINTS)
    points = checked_points(None if flat is None else flat.reshape(POINTS, 2), report, split, path.name, box)
    groups, codes = {}, words[2 * POINTS :]
    if len(codes) != len(ATTRIBUTES):
        report.add("attributes that cannot be read", split, example=f"{path.name}: {' '.join(codes)[:40]!r}")
        return points, groups
    for (name, meanings), code in zip(ATTRIBUTES.items(), codes, strict=True):
        value = int_value(code)
        if value not in meanings:
            report.add("attribute outside its range", split, example=f"{path.name}: {name} {code!r}")
        elif meanings[value] is None:
            report.add(f"{name} that the annotators were unsure of", split, example=path.name)
        else:
            groups[name] = meanings[value]
    return points, groups
