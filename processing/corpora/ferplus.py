"""FERPlus: ten people's votes on the pictures of FER2013 (Barsoum et al., ICMI 2016; github.com/microsoft/FERPlus).

Votes come from `fer2013new.csv` of the repository, else from the `label.csv` that its script puts into the folders of
pictures. Pictures come from those folders, else from `fer2013.csv` of FER2013, whose rows go with those of
fer2013new.csv one by one:

    fer2013new.csv                       Usage,Image name,neutral,happiness,…,contempt,unknown,NF
    fer2013/fer2013.csv or fer2013.csv   emotion,pixels,Usage
    FER2013Train/fer0000000.png, FER2013Train/label.csv; FER2013Valid/, FER2013Test/ alike; also below data/

Pictures are 48 x 48, grey and cropped. Usage Training, PublicTest and PrivateTest are the splits "train", "validation"
and "test". Nobody is named: every picture counts as a subject of its own, and nobody can check that no person is in
two parts.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

import numpy as np
from datasets.utils import tqdm

from processing.corpora.label_tables import damaged_header, int_value, read_table, rows_by_key, shortened
from processing.corpora.named_pictures import NamedPictures
from processing.corpora.official import FaceRecord, OfficialCorpus, ReadingReport, wrong_root

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
EXPRESSIONS = VOTES[:8]
SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
FOLDERS = {"FER2013Train": "train", "FER2013Valid": "validation", "FER2013Test": "test"}
LABEL_COLUMNS = ("Image name", "box", *VOTES)
SIDE = 48
MOST_VOTES = 10
RULES = ("majority", "argmax")

LICENCE = "FERPlus: labels MIT; the pictures are FER2013's, collected from the web, under its distributor's terms"


@dataclass(frozen=True)
class _Vote:
    """A row of votes whose picture was found."""

    name: str
    split: str
    votes: tuple[int, ...]
    image: Path | None = None
    pixels: str | None = None


def majority_expression(votes: Sequence[int]) -> str | None:
    """The official rule: single votes are no votes, and the winner needs more than half of the others.

    `votes`: ten counts in the order of `VOTES`. None: no majority, or one for unknown or NF (no face). Source: mode
    "majority" of src/ferplus.py of the repository.
    """
    kept = [count if count > 1 else 0 for count in votes]
    winner = int(np.argmax(kept))
    if 2 * kept[winner] > sum(kept) and winner < len(EXPRESSIONS):
        return EXPRESSIONS[winner]
    return None


def argmax_expression(votes: Sequence[int]) -> str | None:
    """The loose rule of many papers: the expression with most votes, the first of the table among equals, whatever
    "unknown" and "NF" got. None: nobody voted for an expression."""
    of_expressions = votes[: len(EXPRESSIONS)]
    return EXPRESSIONS[int(np.argmax(of_expressions))] if max(of_expressions) > 0 else None


def read_ferplus(root: str | Path, rule: str = "majority") -> OfficialCorpus:
    """All faces of FERPlus on whose expression the voters agree.

    Args:
        rule: "majority", the official code's, or "argmax", with which many papers test on some 3,570 faces instead of
            some 3,150; accuracies differ by several points. The report counts by split what either rule keeps.

    Faces without a decision, without a name (the authors took those out) and with votes that cannot be read are left
    out and counted.

    Raises FileNotFoundError when votes or pictures are not there, ValueError for another rule and for tables that do
    not belong together.
    """
    if rule not in RULES:
        raise ValueError(f"got rule={rule!r}; expected one of {', '.join(map(repr, RULES))}")
    root, report = Path(root), ReadingReport()
    folders = {name: folder for name in FOLDERS for folder in (root / name, root / "data" / name) if folder.is_dir()}
    pictures = {name: NamedPictures(folder, report, frozenset({"label.csv"})) for name, folder in folders.items()}
    pictures = {name: files for name, files in pictures.items() if files.paths}
    labels = {name: folders[name] / "label.csv" for name in pictures if (folders[name] / "label.csv").is_file()}
    new = next((path for path in (root / "fer2013new.csv", root / "data/fer2013new.csv") if path.is_file()), None)
    old = next((path for path in (root / "fer2013.csv", root / "fer2013/fer2013.csv") if path.is_file()), None)
    if new is not None and pictures:
        votes = _votes_of_folders(_rows_by_folder(new, report), pictures, report)
    elif new is not None and old is not None:
        votes = _votes_of_tables(new, old, report)
    elif labels:
        rows = {name: read_table(path, report, FOLDERS[name], header=LABEL_COLUMNS) for name, path in labels.items()}
        votes = _votes_of_folders(rows, pictures, report)
    else:
        expected = ["fer2013new.csv with fer2013.csv", "or FER2013Train/ with pictures and label.csv"]
        raise wrong_root("FERPlus", root, expected)
    records = _decide(votes, rule, report)
    return OfficialCorpus("ferplus", records, report, licence=LICENCE)


def _decide(votes: Iterator[_Vote], rule: str, report: ReadingReport) -> list[FaceRecord]:
    records = []
    for vote in votes:
        decisions = {"majority": majority_expression(vote.votes), "argmax": argmax_expression(vote.votes)}
        for name, expression in decisions.items():
            if expression is not None:
                report.add(f"(for comparison) kept by the rule {name!r}", vote.split)
        if decisions[rule] is None:
            report.add(f"no expression by the rule {rule!r}", vote.split, example=vote.name)
            continue
        if rule == "argmax" and sorted(vote.votes[: len(EXPRESSIONS)])[-2] == max(vote.votes[: len(EXPRESSIONS)]):
            report.add("tie between expressions, the first one taken", vote.split, example=vote.name)
        pixels = None
        if vote.pixels is not None:
            pixels = _pixels(vote.pixels)
            if pixels is None:
                report.add("pixels that cannot be read", vote.split, example=f"{vote.name}: {vote.pixels[:40]!r}")
                continue
        records.append(
            FaceRecord(
                subject_id=vote.name.rpartition(".")[0] or vote.name,
                image=vote.image,
                expression=decisions[rule],
                split=vote.split,
                pixels=pixels,
            )
        )
    return records


def _counts(row: dict[str, str], split: str, report: ReadingReport) -> tuple[int, ...] | None:
    """The ten counts of votes; None, and counted, where they are not."""
    counts = tuple(int_value(row[name]) for name in VOTES)
    if all(count is not None and 0 <= count <= MOST_VOTES for count in counts):
        return counts
    found = ",".join(row[name] for name in VOTES)
    report.add("label outside its range", split, example=f"{row['Image name']}: {found[:60]}, expected 0 to 10 each")
    return None


def _rows_by_folder(table: Path, report: ReadingReport) -> dict[str, list[dict[str, str]]]:
    """Rows of fer2013new.csv by the folder that their pictures are in."""
    folder_of = {split: name for name, split in FOLDERS.items()}
    rows = {name: [] for name in FOLDERS}
    for row in read_table(table, report, required=("Usage", "Image name", *VOTES)):
        if row["Usage"] not in SPLITS:
            report.add("usage that is none of the three", example=f"{row['Image name']}: {row['Usage']!r}")
        elif not row["Image name"]:
            report.add("row without a name, taken out by the authors", SPLITS[row["Usage"]])
        else:
            rows[folder_of[SPLITS[row["Usage"]]]].append(row)
    return rows


def _votes_of_folders(
    rows: dict[str, list[dict[str, str]]], pictures: dict[str, NamedPictures], report: ReadingReport
) -> Iterator[_Vote]:
    for name, split in FOLDERS.items():
        if name not in pictures or name not in rows:
            report.add("part of the set that is missing", split, example=name)
            continue
        labelled = set()
        found = rows_by_key(rows[name], lambda row: row["Image name"] or None, report, split, of="picture")
        for file, row in found.items():
            picture = pictures[name].find(file)
            if picture is None:
                report.add("label without a picture", split, example=file)
                continue
            labelled.add(picture)
            votes = None if row is None else _counts(row, split, report)  # contradictory rows are counted already
            if votes is not None:
                yield _Vote(file, split, votes, image=pictures[name].paths[picture])
        pictures[name].count_unlabelled(labelled, report, split)


def _votes_of_tables(new: Path, old: Path, report: ReadingReport) -> Iterator[_Vote]:
    """Rows of fer2013new.csv with those of fer2013.csv: row i belongs to row i, so that none may be skipped."""
    names, seen = ("Usage", "Image name", *VOTES), set()
    pairs = zip_longest(_aligned_rows(new, names), _aligned_rows(old, ("pixels", "Usage")))
    for number, (row, source) in enumerate(tqdm(pairs, unit="face", desc="FERPlus")):
        line = number + 2  # as an editor counts, with the header
        if row is None or source is None:
            missing, present = (new, old) if row is None else (old, new)
            report.add(f"row of {present.name} that {missing.name} lacks", example=f"line {line}")
        elif not row or not source:
            report.add("row with missing columns, or damaged", example=f"{(old if row else new).name}, line {line}")
        elif row["Usage"] != source["Usage"] or row["Usage"] not in SPLITS:
            raise ValueError(
                f"line {line} has the usage {row['Usage']!r} in {str(new)!r} and {source['Usage']!r} in {str(old)!r}; "
                f"expected the same of {', '.join(SPLITS)}: their rows have to go one by one, in the published order"
            )
        elif not row["Image name"]:
            report.add("row without a name, taken out by the authors", SPLITS[row["Usage"]])
        elif row["Image name"] in seen:
            report.add("name that stands twice", SPLITS[row["Usage"]], example=f"line {line}: {row['Image name']}")
        else:
            seen.add(row["Image name"])
            votes = _counts(row, SPLITS[row["Usage"]], report)
            if votes is not None:
                yield _Vote(row["Image name"], SPLITS[row["Usage"]], votes, pixels=source["pixels"])


def _aligned_rows(path: Path, required: Sequence[str]) -> Iterator[dict[str, str]]:
    """Every row of a table, an empty dict where columns are missing or it is damaged; a row at a time, as fer2013.csv
    has 300 MB.

    Raises ValueError when a required column is missing or the first line is damaged.
    """
    # Bytes that are no UTF-8 spoil their own cell alone.
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = _cells_or_error(file)
        names = next(rows, [])
        if isinstance(names, csv.Error):
            raise damaged_header(path, names) from names
        names = [name.strip() for name in names]
        missing = [name for name in required if name not in names]
        if missing:
            found = shortened(", ".join(names))
            raise ValueError(f"{str(path)!r} has no column {', '.join(missing)}; its columns are {found}")
        for cells in rows:
            complete = not isinstance(cells, csv.Error) and len(cells) >= len(names)
            yield {name: cell.strip() for name, cell in zip(names, cells, strict=False)} if complete else {}


def _cells_or_error(file: TextIO) -> Iterator[list[str] | csv.Error]:
    """The cells of each row, or why they cannot be read; blank lines are no rows."""
    lines = csv.reader(file)
    while True:
        try:
            cells = next(lines, None)
        except csv.Error as error:
            yield error
            continue
        if cells is None:
            return
        if any("\0" in cell for cell in cells):  # which Python 3.10 refuses as well, and later ones do not
            yield csv.Error("line contains NUL")
        elif cells:
            yield cells


def _pixels(text: str) -> np.ndarray | None:
    """ "70 80 82 …" as uint8 (48, 48); None for another count or values outside 0 to 255."""
    try:
        values = np.array(text.split(), dtype=np.int64)
    except ValueError:
        return None
    if values.size != SIDE * SIDE or values.min() < 0 or values.max() > 255:
        return None
    return values.astype(np.uint8).reshape(SIDE, SIDE)
