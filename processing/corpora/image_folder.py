"""One's own pictures: a folder, nested or not, and a table `labels.csv` in it.

    file,subject,split,sequence,frame,activity,expression,AU6,AU12,left,top,right,bottom
    anna/smile/001.jpg,anna,train,smile,1,joke,happiness,1,1,,,,

`file` is relative to the folder; every other column may be left out, every cell may be empty:

- subject: who it is. Splits go by it, so that without it nobody can keep a person out of the test set. Where it is
  missing, the sequence counts as a person, and without one the picture.
- split: train, validation or test.
- sequence, frame: a clip's name, and a whole number from 0 on.
- activity: what the person was doing, as a key of the project's activities or as a sentence in one's own words; a
  single word that is no such key is counted and not read, as the texts of stage 1 are sentences.
- expression: neutral, happiness, sadness, surprise, fear, disgust, anger or contempt, in upper or lower case, or a word
  of one's own.
- AU1 … AU45 ("AU01" and "AU 1", too): occurrence (0 or 1) or intensity (0 to 5), no probabilities; empty, 9 and 999
  mean not coded.
- left, top, right, bottom: the face's box in pixels of the picture.
- any other column, asked for by its name: labels of one's own. Cells of 0 and 1 say whether the label named by the
  column is there, words say which one of several is; empty means not coded.

A picture may have several rows if their boxes differ: several faces.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from processing.corpora.face_geometry import checked_box, numbers
from processing.corpora.label_tables import (
    NOT_CODED,
    int_value,
    is_activity,
    read_table,
    rows_by_key,
    shortened,
)
from processing.corpora.named_pictures import NamedPictures
from processing.corpora.official import FaceRecord, OfficialCorpus, ReadingReport, wrong_root
from processing.prompts_clef import ACTION_UNITS, ACTIVITIES, EXPRESSIONS, action_unit_label

TABLE = "labels.csv"
SPLITS = ("train", "validation", "test")
BOX = ("left", "top", "right", "bottom")
COLUMNS = ("file", "subject", "split", "sequence", "frame", "activity", "expression")
CODINGS = ("auto", "occurrence", "intensity")
STRONGEST = 5  # FACS intensity E

NO_SUBJECT = "no column subject: every picture counts as a person of its own"
NO_SUBJECT_BUT_SEQUENCES = "no column subject: every sequence counts as a person of its own"
UNKNOWN_ACTIVITY = "activity of a single word that is no key, not read: stage 1 needs a sentence"
BLANK_SUBJECT = "row without a subject, counted as a person of its own"
BLANK_SUBJECT_BUT_SEQUENCE = "row without a subject, whose sequence counts as a person of its own"

LICENCE = "one's own pictures: whoever publishes what is made from them has to know their terms"


def read_image_folder(root: str | Path, coding: str = "auto", labels: Sequence[str] = ()) -> OfficialCorpus:
    """The faces of a folder with a `labels.csv`.

    Args:
        coding: of the AU columns: "occurrence", "intensity", or "auto": intensity if any cell holds a value from 0 to
            5 other than 0 and 1. The report says which it was; a slip in a single cell can make it the wrong one.
            Fractions without a value above 1 are refused: they look like probabilities, and as intensities none of
            them would count.
        labels: further columns that hold labels of one's own (see `own_columns`).

    Rows without a picture, pictures without a row, contradictory rows (left out) and columns that are not used are
    counted. A cell that is outside its range counts as empty, except in `split`: a slip there would let test people
    into training.

    Raises FileNotFoundError when there is no `labels.csv`, ValueError for another coding, AUs that look like
    probabilities, a split that is none of the three, a missing column `file`, a column that stands there twice, and
    `labels` that are no such columns.
    """
    if coding not in CODINGS:
        raise ValueError(f"got coding={coding!r}; expected one of {', '.join(map(repr, CODINGS))}")
    root, report = Path(root), ReadingReport()
    if not (root / TABLE).is_file():
        raise wrong_root("image_folder", root, [TABLE])
    pictures = NamedPictures(root, report, ignored=(TABLE,))
    rows = [_renamed(row) for row in _read_rows(root / TABLE, report)]
    columns = list(rows[0]) if rows else []
    units = _action_unit_columns(columns, report)
    has_box = set(BOX) <= set(columns)
    own = _chosen_labels(labels, rows, root / TABLE)
    _count_unused(columns, rows, {*COLUMNS, *(BOX if has_box else ()), *own}, report)
    _check_splits(rows, root / TABLE)

    rows = [row for row in rows if _has_picture(row, pictures, report)]
    key = ("file", *BOX) if has_box else ("file",)
    found = rows_by_key(rows, lambda row: tuple(row[name] for name in key), report, of="picture")
    pictures.count_unlabelled({row["file"] for row in rows}, report)
    rows = [row for row in found.values() if row is not None]  # contradictory rows are counted already
    if units and coding == "auto":
        coding = _found_coding(rows, units, root / TABLE)
        report.add(f"rows whose action units are read as {coding} (coding='auto')", count=len(rows))
    records = [_record(row, pictures.paths[row["file"]], units, coding, has_box, own, report) for row in rows]
    return OfficialCorpus("image_folder", records, report, tuple(units), coding if units else None, LICENCE, own)


def own_columns(root: str | Path) -> dict[str, str]:
    """The columns of `labels.csv` that have no meaning of their own here → what they hold: "occurrence" where all cells
    are 0, 1 or empty, else "word". Columns without any cell are left out. Raises as `read_image_folder` does."""
    if not Path(root, TABLE).is_file():
        raise wrong_root("image_folder", Path(root), [TABLE])
    return _other_columns([_renamed(row) for row in _read_rows(Path(root, TABLE), ReadingReport())])


def _renamed(row: dict[str, str]) -> dict[str, str]:
    return {_column(name): cell for name, cell in row.items()}


def _other_columns(rows: list[dict[str, str]]) -> dict[str, str]:
    kinds = {}
    for name in rows[0] if rows else ():
        if name not in (*COLUMNS, *BOX) and not re.fullmatch("AU[0-9]+", name):
            cells = {row[name] for row in rows} - {""}
            if cells:
                kinds[name] = "occurrence" if all(_number(cell) in (0, 1) for cell in cells) else "word"
    return kinds


def _chosen_labels(labels: Sequence[str], rows: list[dict[str, str]], table: Path) -> dict[str, str]:
    if not labels:
        return {}
    known = _other_columns(rows)
    unknown = [name for name in labels if name not in known]
    if unknown:
        raise ValueError(
            f"{str(table)!r} has no labels in a column {unknown[0]!r}; its further columns are "
            f"{', '.join(known) or 'none'}"
        )
    return {name: known[name] for name in labels}


def _read_rows(table: Path, report: ReadingReport) -> list[dict[str, str]]:
    rows = read_table(table, report)
    if rows and "file" not in {_column(name) for name in rows[0]}:
        found = shortened(", ".join(rows[0]))
        raise ValueError(f"{str(table)!r} has no column file, with commas between columns; its columns are {found}")
    known: dict[str, str] = {}
    for name in rows[0] if rows else ():
        if known.setdefault(_column(name), name) != name:
            raise ValueError(f"{str(table)!r} has two columns for {_column(name)}: {known[_column(name)]!r}, {name!r}")
    return rows


def _column(name: str) -> str:
    """The name by which a column is known here: "au06", "AU 6" → "AU6"; "Subject" → "subject"; others as they are."""
    unit = action_unit_label(name)
    if unit and re.fullmatch("AU[0-9]+", unit):  # "AU12L" is one side of a face
        return unit
    return name.lower() if name.lower() in (*COLUMNS, *BOX) else name


def _action_unit_columns(columns: Sequence[str], report: ReadingReport) -> list[str]:
    for name in columns:
        if re.fullmatch("AU[0-9]+", name) and name not in ACTION_UNITS:
            report.add("action units without a text here", name, example=name)
    return [name for name in ACTION_UNITS if name in columns]


def _count_unused(columns: Sequence[str], rows: list[dict[str, str]], used: set[str], report: ReadingReport) -> None:
    for name in columns:
        if name in used or re.fullmatch("AU[0-9]+", name):
            continue
        cells = {row[name] for row in rows} - {""}
        binary = cells and cells <= {"0", "1", "0.0", "1.0"}
        report.add("column of 0 and 1 that is not used" if binary else "column that is not used", name, example=name)
    if "subject" not in columns:
        report.add(NO_SUBJECT_BUT_SEQUENCES if "sequence" in columns else NO_SUBJECT, count=len(rows))


def _check_splits(rows: list[dict[str, str]], table: Path) -> None:
    wrong = [row["split"] for row in rows if row.get("split", "").lower() not in ("", *SPLITS)]
    if wrong:
        raise ValueError(
            f"{len(wrong)} rows of {str(table)!r} have the split {', '.join(map(repr, sorted(set(wrong))[:5]))}; "
            f"expected {', '.join(SPLITS)} or nothing"
        )


def _has_picture(row: dict[str, str], pictures: NamedPictures, report: ReadingReport) -> bool:
    """Puts the picture's name among `pictures` into the row."""
    name = pictures.find(row["file"])
    if name is None:
        report.add("label without a picture", row["file"].rpartition("/")[0], example=row["file"] or "(empty)")
        return False
    row["file"] = name
    return True


def _found_coding(rows: list[dict[str, str]], units: list[str], table: Path) -> str:
    values = {_number(row[name]) for row in rows for name in units} - {None}
    graded = sorted(value for value in values if 0 <= value <= STRONGEST and value not in (0, 1))
    if graded and graded[-1] < 1:
        raise ValueError(
            f"{str(table)!r} has action units such as {graded[0]:g} and no intensity above 1, so they look like "
            "probabilities: round them to 0 and 1, or say coding='intensity' if they are intensities"
        )
    return "intensity" if graded else "occurrence"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _record(
    row: dict[str, str],
    path: Path,
    units: list[str],
    coding: str,
    has_box: bool,
    own: dict[str, str],
    report: ReadingReport,
) -> FaceRecord:
    file = row["file"]
    sequence = row.get("sequence", "")
    subject = row.get("subject", "") or sequence  # frames of one recording show one person at least
    if row.get("subject") == "":
        report.add(BLANK_SUBJECT_BUT_SEQUENCE if sequence else BLANK_SUBJECT, sequence, example=file)
    box = None
    if has_box and any(row[edge] for edge in BOX):
        box = checked_box(numbers([row[edge] for edge in BOX], 4), report, sequence, file)
    return FaceRecord(
        subject_id=subject or file.rpartition(".")[0],
        image=path,
        sequence_id=sequence,
        frame=_frame(row, report),
        activity=_word(row, "activity", ACTIVITIES, report),
        expression=_word(row, "expression", EXPRESSIONS, report),
        action_units={name: _unit_value(row, name, coding, report) for name in units},
        split=row.get("split", "").lower() or None,
        box=box,
        own_labels={name: _own_label(row[name], kind) for name, kind in own.items()},
    )


def _own_label(text: str, kind: str) -> float | str | None:
    if text == "":
        return None
    return _number(text) if kind == "occurrence" else text


def _frame(row: dict[str, str], report: ReadingReport) -> int:
    text = row.get("frame", "")
    value = int_value(text)
    if value is not None and 0 <= value < 2**31:
        return value
    if text:
        found = f"{row['file']}: frame {text!r}, expected a whole number from 0 on"
        report.add("label outside its range", row.get("sequence", ""), example=found)
    return 0


def _word(row: dict[str, str], column: str, known: dict, report: ReadingReport) -> str | None:
    """A name of the project's table in its spelling, or one's own words as they are, which are counted."""
    word = row.get(column, "")
    if not word:
        return None
    if word.lower() in known:
        return word.lower()
    if column == "activity" and not is_activity(word):
        report.add(UNKNOWN_ACTIVITY, word)
        return None
    report.add(f"{column} in words of one's own", word)
    return word


def _unit_value(row: dict[str, str], name: str, coding: str, report: ReadingReport) -> float | None:
    text = row[name]
    value = _number(text)
    if text == "" or text.lower() == "nan" or value in NOT_CODED:
        return None
    if value is not None and (value in (0, 1) if coding == "occurrence" else 0 <= value <= STRONGEST):
        return value
    expected = "0 or 1" if coding == "occurrence" else f"0 to {STRONGEST}"
    report.add(
        "label outside its range",
        row.get("sequence", ""),
        example=f"{row['file']}: {name} {text!r}, expected {expected}",
    )
    return None
