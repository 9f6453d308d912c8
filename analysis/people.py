"""Who is who in a table, and when they are neutral: by a stretch of time, or by a list of sources."""

import csv
import io
import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS = ("source", "subject", "neutral")
OPTIONAL = ("track_id", "from_s", "to_s")


@dataclass(frozen=True)
class NeutralStretch:
    """Every face that is followed through a source is a person, neutral from `start` to before `stop`, in seconds of
    the column `time_s`."""

    start: float
    stop: float

    def __post_init__(self):
        if not (math.isfinite(self.start) and math.isfinite(self.stop) and self.start < self.stop):
            raise ValueError(f"got the neutral seconds {self.start:g} to {self.stop:g}; expected FROM before TO.")

    @property
    def sources(self) -> set[str]:
        """Those that are named: none, as everyone's are meant."""
        return set()

    def subject(self, source: str, track: int) -> Hashable | None:
        return source, track

    def is_neutral(self, source: str, track: int, time: float | None) -> bool:
        return time is not None and self.start <= time < self.stop

    def described(self) -> dict:
        return {"neutral_from_s": self.start, "neutral_to_s": self.stop}


@dataclass
class PeopleList:
    """Subjects by source, and by `track_id` where a source shows several; see `read_people`."""

    name: str
    subjects: dict[tuple[str, int | None], str] = field(default_factory=dict)
    stretches: dict[tuple[str, int | None], list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def sources(self) -> set[str]:
        return {source for source, _ in self.subjects}

    def subject(self, source: str, track: int) -> Hashable | None:
        return self.subjects.get((source, track), self.subjects.get((source, None)))

    def is_neutral(self, source: str, track: int, time: float | None) -> bool:
        key = (source, track) if (source, track) in self.subjects else (source, None)
        return any(
            (start == -math.inf and stop == math.inf) if time is None else start <= time < stop
            for start, stop in self.stretches.get(key, ())
        )

    def described(self) -> dict:
        return {"people": self.name}


def read_people(path: str | Path) -> PeopleList:
    """From a CSV file with the columns source (as in the table), subject and neutral (1: the face of this source is
    this subject's neutral face; 0 or empty: it is not), and, if wanted, track_id (which face of the source; else all
    are the subject's), from_s and to_s (the neutral part of a video, in seconds of the column time_s; else all of it).

    A source may have several rows: for several faces, or several stretches of time.

    Raises:
        FileNotFoundError: no such file. ValueError: other columns, cells that cannot be read, one face that is two
            subjects; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no list of people {str(path)!r}.")
    people = PeopleList(path.name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not in UTF-8 ({error}); save it so.") from error
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file)
        columns = [name.strip() for name in reader.fieldnames or ()]
        unknown = [name for name in columns if name not in (*COLUMNS, *OPTIONAL)]
        if unknown or not set(COLUMNS) <= set(columns):
            raise ValueError(
                f"{str(path)!r} has the columns {', '.join(columns) or 'none'}; expected {', '.join(COLUMNS)}, and if "
                f"wanted {', '.join(OPTIONAL)}."
            )
        reader.fieldnames = columns
        for row in reader:
            _add(people, row, f"{str(path)!r}, line {reader.line_num}")
    if not people.subjects:
        raise ValueError(f"{str(path)!r} lists nobody.")
    return people


def _add(people: PeopleList, row: dict, where: str) -> None:
    if row.get(None):
        raise ValueError(f"{where}: more cells than columns; put quotation marks around names with commas.")
    cells = {name: (row.get(name) or "").strip() for name in (*COLUMNS, *OPTIONAL)}
    if not cells["source"] or not cells["subject"]:
        raise ValueError(f"{where}: source and subject must not be empty.")
    if cells["neutral"] not in ("", "0", "1"):
        raise ValueError(f"{where}: neutral is {cells['neutral']!r}; expected 1, or 0 or nothing.")
    track = int(_number(cells, "track_id", where)) if cells["track_id"] else None
    key = cells["source"], track
    before = people.subjects.setdefault(key, cells["subject"])
    if before != cells["subject"]:
        raise ValueError(f"{where}: {cells['source']!r} shows {before!r} further up, and {cells['subject']!r} here.")
    if cells["neutral"] == "1":
        start = _number(cells, "from_s", where) if cells["from_s"] else -math.inf
        stop = _number(cells, "to_s", where) if cells["to_s"] else math.inf
        if not start < stop:
            raise ValueError(f"{where}: from_s {start:g} is not before to_s {stop:g}.")
        people.stretches.setdefault(key, []).append((start, stop))
    elif cells["from_s"] or cells["to_s"]:
        raise ValueError(f"{where}: from_s and to_s say when a face is neutral, and neutral is not 1.")


def _number(cells: dict, name: str, where: str) -> float:
    try:
        number = float(cells[name])
    except ValueError:
        number = math.nan
    is_track = number >= 0 and number.is_integer()  # false for NaN
    if not math.isfinite(number) or (name == "track_id" and not is_track):
        raise ValueError(f"{where}: {name} is {cells[name]!r}; expected a {'track' if name == 'track_id' else 'time'}.")
    return number


__all__ = ["NeutralStretch", "PeopleList", "read_people"]
