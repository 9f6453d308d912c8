"""Label files of data sets as they really are: byte order marks, CRLF, cut lines, repeated rows, values out of range.

Whatever is not used is counted in a `ReadingReport`, by sequence.
"""

import csv
from collections.abc import Callable, Collection, Hashable, Sequence
from pathlib import Path

from processing.corpora.official import ReadingReport
from processing.prompts_clef import activity_text

NOT_CODED = (9, 999)  # FACS coders' "unknown" and the number that some preparations put in its place
LONGEST = 200  # characters of a file that an error repeats


def read_lines(path: Path, report: ReadingReport, sequence: str = "") -> list[str]:
    """Lines of a text file without byte order mark and line ends; empty where the file cannot be read (counted)."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        report.add("label file that cannot be read", sequence, example=f"{path}: {error.strerror or error}")
        return []
    # Not str.splitlines, which also breaks at form feeds and other marks within a line.
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_table(
    path: Path,
    report: ReadingReport,
    sequence: str = "",
    header: Sequence[str] | None = None,
    required: Collection[str] = (),
    delimiter: str = ",",
) -> list[dict[str, str]]:
    """Rows of a delimited text file as column name → text without surrounding blanks.

    Blank lines are skipped. Lines with another number of cells than the header are left out and counted, the last one
    as "truncated last line", as are damaged lines (NUL bytes, a cell longer than `csv` reads); empty cells beyond the
    header's (a trailing delimiter) are ignored. A cell does not span lines, so that a lost quotation mark costs a row.

    Args:
        path: the file; one that cannot be read or is empty gives no rows and is counted.
        sequence: where it is counted, as in `ReadingReport.add`.
        header: the columns' names where the file has no header line; a first line that holds the first of these names
            is one.
        required: columns that the caller cannot do without.
        delimiter: " " stands for any number of blanks and tabs.

    Raises ValueError when a required column is missing, when a name stands twice in the header and when the first line
    is damaged.
    """
    lines = [line for line in read_lines(path, report, sequence) if line.strip()]
    if not lines:
        report.add("label file without rows", sequence, example=path)
        return []
    try:
        names = [name.strip() for name in _cells(lines[0], delimiter)]
    except csv.Error as error:
        raise damaged_header(path, error) from error
    if header is None or header[0] in names:
        lines.pop(0)
    else:
        names = list(header)
    while names and not names[-1]:
        names.pop()
    missing = [name for name in required if name not in names]
    if missing:
        found = shortened(", ".join(names))
        raise ValueError(f"{str(path)!r} has no column {', '.join(missing)}; its columns are {found}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{str(path)!r} has the column {shortened(', '.join(map(repr, twice)))} more than once; rename or remove it"
        )
    if not lines:
        report.add("label file without rows", sequence, example=path)
    rows = []
    for number, line in enumerate(lines):
        try:
            cells = [cell.strip() for cell in _cells(line, delimiter)]
        except csv.Error as error:
            report.add("damaged line of a label file", sequence, example=f"{path}: {error}: {line[:60]!r}")
            continue
        while len(cells) > len(names) and not cells[-1]:
            cells.pop()
        if len(cells) == len(names):
            rows.append(dict(zip(names, cells, strict=True)))
        elif len(cells) < len(names) and number == len(lines) - 1:
            report.add("truncated last line", sequence, example=f"{path}: {line[:60]!r}")
        else:
            report.add(
                "line with another number of columns than the header", sequence, example=f"{path}: {line[:60]!r}"
            )
    return rows


def _cells(line: str, delimiter: str) -> list[str]:
    """Raises csv.Error for a damaged line."""
    if "\0" in line:  # which Python 3.10 refuses as well, and later ones do not
        raise csv.Error("line contains NUL")
    return line.split() if delimiter == " " else next(csv.reader([line], delimiter=delimiter))


def damaged_header(path: Path, error: Exception) -> ValueError:
    """The error for a table whose first line `csv` cannot read."""
    return ValueError(
        f"{str(path)!r}: its first line cannot be read ({error}); expected text in UTF-8. Save it as "
        "that (it may be UTF-16) or, if it is damaged, unpack it again"
    )


def shortened(text: str) -> str:
    """A list of columns for an error: a first line that is no header can hold hundreds of numbers."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def int_value(text: str) -> int | None:
    """ "12", " 0012 " and "12.0" are 12; None for what is no whole number."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def one_table(paths: Sequence[Path], report: ReadingReport, sequence: str = "") -> Path:
    """The label file of a sequence that should have one; further ones with the same lines are counted.

    Raises ValueError when they say different things: nothing tells which is right.
    """
    chosen, *others = paths
    for other in others:
        if _said(other) != _said(chosen):
            raise ValueError(
                f"two label files contradict each other, {str(chosen)!r} and {str(other)!r}; keep the one that is right"
            )
        report.add("identical label file, not used", sequence, example=other)
    return chosen


def _said(path: Path) -> list[str]:
    return [line.strip() for line in read_lines(path, ReadingReport()) if line.strip()]


def coded_value(
    text: str,
    low: int,
    high: int,
    report: ReadingReport,
    sequence: str = "",
    not_coded: Collection[int] = NOT_CODED,
    what: str = "",
) -> int | None:
    """A whole number from `low` to `high`; None = not coded, for an empty cell, "nan" and the numbers in `not_coded`.

    Anything else is None as well, and counted as "label outside its range". `what` names the place in its example,
    such as "F001_T1.csv, frame 2440, AU12".
    """
    if text.strip().lower() in ("", "nan"):
        return None
    value = int_value(text)
    if value is not None and low <= value <= high:
        return value
    if value is None or value not in not_coded:
        report.add("label outside its range", sequence, example=f"{what}: {text[:40]!r}, expected {low} to {high}")
    return None


def rows_by_key(
    rows: list[dict[str, str]],
    key: Callable[[dict[str, str]], Hashable | None],
    report: ReadingReport,
    sequence: str = "",
    of: str = "frame",
) -> dict[Hashable, dict[str, str] | None]:
    """One row a key, in the order of the file; None for a key whose rows say different things.

    Identical rows are counted as "identical rows for one {of}", different ones as "contradictory rows for one {of}"
    (once a key), rows whose key is None as "row without a {of}".
    """
    found: dict[Hashable, dict[str, str] | None] = {}
    for row in rows:
        name = key(row)
        if name is None:
            report.add(f"row without a {of}", sequence, example=", ".join(row.values())[:60])
        elif name not in found:
            found[name] = row
        elif found[name] == row:
            report.add(f"identical rows for one {of}", sequence, example=name)
        elif found[name] is not None:
            found[name] = None
            report.add(f"contradictory rows for one {of}", sequence, example=name)
    return found


def is_activity(text: str) -> bool:
    """Whether it is a sentence or a key of the project's activities, which is all that a model is shown."""
    if " " in text.strip():
        return True
    try:
        activity_text(text)
    except ValueError:
        return False
    return True


def count_unmatched(labelled: Collection, pictured: Collection, report: ReadingReport, sequence: str = "") -> None:
    """Count labels without a frame, and frames without labels, of a sequence; the collections hold frame numbers."""
    labelled, pictured = set(labelled), set(pictured)
    for reason, numbers in (
        ("label without a frame", labelled - pictured),
        ("frame without labels", pictured - labelled),
    ):
        if numbers:
            examples = f"{sequence} frame {min(numbers)}" + (f" to {max(numbers)}" if len(numbers) > 1 else "")
            report.add(reason, sequence, len(numbers), examples)
