"""What a table comes to: for every source, face and label how often, how strongly, how many times and for how long."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from analysis.outputs import written_whole
from analysis.reading import SourceRows, TableAbout, frame_seconds, read_about, read_sources
from analysis.writers import table_format, write_table

# Ours. A face moves no action unit for less than about this; single frames are noise. Seconds.
SHORTEST_EVENT = 0.1
LONGEST_GAP = 0.2  # an event goes on over so long a time without the label, or without the face
TICK = 1e-6  # times are multiples of a clock's ticks: limits must not depend on their rounding

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("track_id", pa.int32()),
        ("label_group", pa.string()),
        ("label", pa.string()),
        ("text", pa.string()),
        ("frames_with_face", pa.int64()),
        ("frames_without_face", pa.int64()),
        ("frames_out_of_scope", pa.int64()),
        ("frames_without_result", pa.int64()),
        ("seconds_with_result", pa.float64()),
        ("rate", pa.float64()),
        ("mean_probability", pa.float64()),
        ("onset_count", pa.int64()),
        ("mean_duration_s", pa.float64()),
        ("median_duration_s", pa.float64()),
        ("max_duration_s", pa.float64()),
    ]
)


def summarize(table: str | Path) -> pa.Table:
    """A row for every source, track and label of a table that `clef analyze` wrote.

    * `frames_with_face`: frames that show this face; `frames_without_face`: the source's other frames.
      `frames_out_of_scope` are among the first and count like the others; `frames_without_result` are among them too
      (no crop could be made) and count for nothing further.
    * `rate`: share of the time with results in which the label is present (in a group whose labels exclude each other:
      chosen). Every frame counts by how long it is shown, until the next one, so a variable frame rate is right.
      `mean_probability`: weighted alike.
    * `onset_count`: how many events there are. An event begins where the label becomes present, or is present when the
      face appears, and ends with the last frame that has it. Events less than or equal to .2 s apart are one, whether
      the label or the face was gone meanwhile; after that, those shorter than .1 s do not count. `mean_`, `median_`
      and `max_duration_s` are theirs; empty without events.

    Still images and other frames without times count alike in `rate`; they have no events, and empty seconds.

    Raises:
        FileNotFoundError, ValueError: see `analysis.reading`.
    """
    about = read_about(Path(table))
    return pa.Table.from_pylist([row for part in _parts(Path(table), about) for row in part], schema=SCHEMA)


def write_summary(table: str | Path, output: str | Path) -> int:
    """Writes `summarize(table)` to `output` (.parquet, .csv, .jsonl, .ndjson) and returns how many rows it has.

    Raises:
        OSError: it cannot be written; and what `summarize` raises.
    """
    table, output = Path(table), Path(output)
    kind = table_format(output)
    about = read_about(table)
    output.parent.mkdir(parents=True, exist_ok=True)
    parts = (pa.Table.from_pylist(part, schema=SCHEMA) for part in _parts(table, about))
    with written_whole(output) as temporary:
        return write_table(temporary, kind, SCHEMA, parts)


def events_of(present: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> list[tuple[float, float]]:
    """Begin and end, in seconds, of a label's events; see `summarize`.

    Args:
        present: (F,) bool, for the frames that have a result, in order. begins, ends: (F,) float64, of these frames.
    """
    found: list[list[float]] = []
    for position in np.flatnonzero(present):
        if found and begins[position] - found[-1][1] <= LONGEST_GAP + TICK:
            found[-1][1] = ends[position]
        else:
            found.append([begins[position], ends[position]])
    return [(begin, end) for begin, end in found if end - begin >= SHORTEST_EVENT - TICK]


def _parts(table: Path, about: TableAbout) -> Iterator[list[dict]]:
    for rows in read_sources(table, about):
        yield list(_source_summary(rows, about))


def _source_summary(rows: SourceRows, about: TableAbout) -> Iterator[dict]:
    numbers, times, seconds = frame_seconds(rows.frame, rows.time_s)
    timed = len(numbers) > 1 and not np.isnan(times).any()
    for track in rows.tracks:
        here = np.flatnonzero(rows.track == track)
        here = here[np.argsort(rows.frame[here], kind="stable")]
        with_result = here[rows.judged[here]]
        place = np.searchsorted(numbers, rows.frame[with_result])
        begins, lasting = times[place], seconds[place]
        common = {
            "source": rows.source,
            "track_id": track,
            "frames_with_face": len(here),
            "frames_without_face": len(numbers) - len(here),
            "frames_out_of_scope": int(rows.out_of_scope[here].sum()),
            "frames_without_result": len(here) - len(with_result),
            "seconds_with_result": float(lasting.sum()) if timed else None,
        }
        events = (begins, begins + lasting) if timed else None
        for group in about.groups:
            for label, text in zip(group.labels, group.texts, strict=True):
                yield common | {
                    "label_group": group.name,
                    "label": label,
                    "text": text,
                    **_figures(
                        rows.present[label][with_result],
                        rows.probabilities[label][with_result],
                        lasting,
                        events,
                    ),
                }


def _figures(present: np.ndarray, probability: np.ndarray, lasting: np.ndarray, events) -> dict:
    """`events`: when the frames begin and end, (F,) each; None where they have no times."""
    known = ~np.isnan(probability)  # tables of other tools have decisions without probabilities
    figures = {
        "rate": _mean(present, lasting),
        "mean_probability": _mean(probability[known], lasting[known]),
        "onset_count": None,
    }
    if events is None:
        return figures
    durations = [end - begin for begin, end in events_of(present, *events)]
    figures["onset_count"] = len(durations)
    if durations:
        figures |= {
            "mean_duration_s": float(np.mean(durations)),
            "median_duration_s": float(np.median(durations)),
            "max_duration_s": float(np.max(durations)),
        }
    return figures


def _mean(values: np.ndarray, weights: np.ndarray) -> float | None:
    if not len(values):
        return None
    return float(np.average(values.astype(np.float64), weights=weights if weights.sum() > 0 else None))


__all__ = ["LONGEST_GAP", "SHORTEST_EVENT", "events_of", "summarize", "write_summary"]
