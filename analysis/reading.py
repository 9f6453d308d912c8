"""Reading tables back: what they say about themselves, and their rows, source by source or frame by frame."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from analysis.journal import sidecar_path
from analysis.model import LabelGroup
from analysis.writers import table_format

ROWS_AT_ONCE = 4096
# From the upper face to the lower: brows, eyes, nose, upper lip, corners of the mouth, lips, chin and jaw.
ANATOMICAL_ORDER = (1, 2, 4, 5, 7, 6, 43, 45, 46, 9, 11, 10, 13, 12, 14, 15, 16, 18, 20, 22, 23, 24, 28, 25, 26, 27, 17)


@dataclass(frozen=True)
class TableAbout:
    """What a table says about itself. groups: of labels. columns: name → Arrow type. metadata: all of it."""

    groups: tuple[LabelGroup, ...]
    columns: dict[str, pa.DataType]
    metadata: dict = field(default_factory=dict)

    @property
    def against_neutral(self) -> bool:
        """Whether its labels were judged against each person's neutral face."""
        return "baseline" in self.metadata

    def anatomical(self, group: LabelGroup) -> list[str]:
        """The group's labels, action units from the upper face to the lower, others after them as they come."""
        order = {f"AU{number}": place for place, number in enumerate(ANATOMICAL_ORDER)}
        return sorted(group.labels, key=lambda label: order.get(label, len(order)))


@dataclass
class SourceRows:
    """The rows of one source, as columns.

    frame: (R,) int64. time_s: (R,) float64, NaN where there is none. track: (R,) int64, -1 where no face was found.
    out_of_scope: (R,) bool. probabilities: label → (R,) float32, NaN where there is none. present: label → (R,) bool;
    of labels that exclude each other: the chosen one. judged: (R,) bool, there are results.
    """

    source: str
    frame: np.ndarray
    time_s: np.ndarray
    track: np.ndarray
    out_of_scope: np.ndarray
    judged: np.ndarray
    probabilities: dict[str, np.ndarray]
    present: dict[str, np.ndarray]

    @property
    def tracks(self) -> list[int]:
        return [int(track) for track in np.unique(self.track) if track >= 0]


def read_about(path: Path) -> TableAbout:
    """From the JSON beside a table, or else a Parquet file's own metadata.

    Raises:
        FileNotFoundError: no such table. ValueError: neither is there, or it is about no such table.
    """
    about = _metadata(Path(path))
    try:
        groups = tuple(
            LabelGroup(**{k: tuple(v) if isinstance(v, list) else v for k, v in group.items()})
            for group in about["model"]["label_groups"]
        )
        columns = {column["name"]: pa.type_for_alias(column["type"]) for column in about["columns"]}
        return TableAbout(groups, columns, about)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"what {str(path)!r} says of itself lacks {error}; expected a table of `clef analyze`."
        ) from error


def _metadata(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {str(path)!r}.")
    sidecar = sidecar_path(path)
    try:
        if sidecar.is_file():
            text = sidecar.read_bytes()
        else:
            metadata = pq.read_schema(path).metadata if table_format(path) == "parquet" else None
            text = (metadata or {}).get(b"clef")
        about = None if text is None else json.loads(text)
    except (pa.ArrowInvalid, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r}, or {sidecar.name} beside it, is damaged: {error}") from error
    if about is None:
        raise ValueError(f"{str(path)!r} does not say what its labels are: {sidecar.name} is missing beside it.")
    return about


def read_batches(path: Path, about: TableAbout, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows in order, some thousand at a time; `columns`: only these. Raises ValueError for a damaged table."""
    path = Path(path)
    try:
        yield from _batches(path, about, columns)
    except (pa.ArrowInvalid, json.JSONDecodeError) as error:
        raise ValueError(f"the table {str(path)!r} is damaged: {error}") from error


def _batches(path: Path, about: TableAbout, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    names = list(about.columns) if columns is None else list(columns)
    kind = table_format(path)
    if kind == "parquet":
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
                yield pa.Table.from_batches([batch]).select(names)
    elif kind == "csv":
        options = pa_csv.ConvertOptions(column_types=about.columns, include_columns=names, strings_can_be_null=True)
        with pa_csv.open_csv(path, convert_options=options) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
    else:
        schema = pa.schema([(name, about.columns[name]) for name in names])
        with path.open(encoding="utf-8") as file:
            rows = []
            for line in file:
                rows.append(json.loads(line))
                if len(rows) == ROWS_AT_ONCE:
                    yield pa.Table.from_pylist(rows, schema=schema)
                    rows = []
            if rows:
                yield pa.Table.from_pylist(rows, schema=schema)


def read_source_names(path: Path, about: TableAbout) -> set[str]:
    """Of all rows; the rest of the table is not kept."""
    return {name for batch in read_batches(path, about, ["source"]) for name in batch["source"].to_pylist()}


def read_sources(path: Path, about: TableAbout) -> Iterator[SourceRows]:
    """One source after the other; memory goes with the rows of the longest, about 5 bytes a row and label.

    Raises:
        ValueError: rows of a source that do not stand together, as in a table that was sorted otherwise.
    """
    labels = [(group, label) for group in about.groups for label in group.labels]
    names = ["source", "frame", "time_s", "track_id", "out_of_scope"]
    names += [f"{label}_probability" for _, label in labels]
    names += [group.name if group.exclusive else label for group, label in labels]
    names = list(dict.fromkeys(name for name in names if name in about.columns))
    seen: set[str] = set()
    pieces: list[pa.Table] = []
    for table in read_batches(path, about, names):
        for source, piece in _by_source(table):
            if pieces and pieces[0][0] != source:
                yield _source_rows(pieces, about)
                pieces = []
            if not pieces:
                _refuse_scattered(source, seen, path)
            pieces.append((source, piece))
    if pieces:
        yield _source_rows(pieces, about)


def read_frames_of_sources(path: Path, about: TableAbout) -> Iterator[tuple[str, Iterator[tuple[int, list[dict]]]]]:
    """For every source its frames in order, each with the rows of its faces (none where there is no face). A source's
    frames are to be taken before the next source; those that are not are passed over. Memory is constant.

    Raises:
        ValueError: as `read_sources`.
    """
    seen: set[str] = set()
    rows = (row for table in read_batches(path, about) for row in table.to_pylist())
    for source, of_source in groupby(rows, key=lambda row: row["source"]):
        _refuse_scattered(source, seen, path)
        yield source, _frames(of_source)


def frame_seconds(frame: np.ndarray, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The frames of a source, when each is shown, and for how long.

    A frame lasts until the next one; the last as long as the median of the others. Frames without times last 1 each and
    are shown at NaN.

    Returns:
        (F,) int64, frame numbers in order; (F,) float64, seconds; (F,) float64, seconds, or 1 each.
    """
    numbers, first = np.unique(frame, return_index=True)
    times = time_s[first]
    if np.isnan(times).any() or len(times) < 2:
        return numbers, times, np.ones(len(numbers))
    steps = np.maximum(np.diff(times), 0)  # damaged containers have times that go back
    return numbers, times, np.append(steps, np.median(steps))


def _frames(rows: Iterator[dict]) -> Iterator[tuple[int, list[dict]]]:
    for frame, of_frame in groupby(rows, key=lambda row: row["frame"]):
        yield frame, [row for row in of_frame if row["face_found"]]


def _refuse_scattered(source: str, seen: set[str], path: Path) -> None:
    if source in seen:
        raise ValueError(f"the rows of {source!r} do not stand together in {str(path)!r}; sort them by source first.")
    seen.add(source)


def _by_source(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    sources = table["source"].to_pylist()
    start = 0
    for source, run in groupby(sources):
        length = sum(1 for _ in run)
        yield source, table.slice(start, length)
        start += length


def _source_rows(pieces: list[tuple[str, pa.Table]], about: TableAbout) -> SourceRows:
    table = pa.concat_tables([piece for _, piece in pieces])
    track = table["track_id"].fill_null(-1).to_numpy().astype(np.int64)
    probabilities, present = {}, {}
    judged = np.zeros(len(table), dtype=bool)
    for group in about.groups:
        chosen = np.array(table[group.name].to_pylist(), dtype=object) if group.exclusive else None
        for label in group.labels:
            values = table[f"{label}_probability"].to_numpy(zero_copy_only=False).astype(np.float32)
            if chosen is None:
                decided = table[label].to_numpy(zero_copy_only=False).astype(np.float32)  # NaN where there is none
                judged |= ~np.isnan(decided)
                present[label] = decided == 1
            else:
                present[label] = chosen == label
                judged |= ~np.isnan(values)
            probabilities[label] = values
    return SourceRows(
        pieces[0][0],
        table["frame"].to_numpy().astype(np.int64),
        table["time_s"].to_numpy(zero_copy_only=False).astype(np.float64),
        track,
        table["out_of_scope"].fill_null(False).to_numpy(zero_copy_only=False).astype(bool),
        judged & (track >= 0),
        probabilities,
        present,
    )


__all__ = [
    "ANATOMICAL_ORDER",
    "SourceRows",
    "TableAbout",
    "frame_seconds",
    "read_about",
    "read_batches",
    "read_frames_of_sources",
    "read_source_names",
    "read_sources",
]
