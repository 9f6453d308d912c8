"""Action units against a person's own neutral face: a table of `clef analyze` judged anew.

Some people's faces look moved at rest: brows lie low, mouths curve. A network that sees one picture takes that for an
action unit. Where frames are known in which a person is neutral, the logits there say by how much, and are taken off.
"""

import json
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.journal import sidecar_path
from analysis.outputs import written_whole
from analysis.people import NeutralStretch, PeopleList
from analysis.reading import TableAbout, read_about, read_batches, read_source_names
from analysis.rows import Column, decisions, table_schema
from analysis.writers import table_format, write_table

# Of one neutral frame half is taken off, as logits of single frames scatter about as much as those of people do. Ours,
# chosen on rendered people (`benchmarks/neutral_face.py`); .5 to 2 do as well.
FRAMES_AT_HALF = 1
FARTHEST = 1e-6  # probabilities are kept so far from 0 and 1

BASELINE_FRAMES = Column(
    "baseline_frames",
    pa.int32(),
    "neutral frames of this person that the labels are judged against; 0: none, they are as they were",
)


class NoNeutralFrame(ValueError):
    """Of nobody in the table a neutral frame is known."""


@dataclass(frozen=True)
class BaselineOutcome:
    """people: with a neutral frame. faces: rows judged anew. others: rows with results and no neutral frame of their
    person, as they were. unknown: sources of the list that are not in the table. rows: of the new table."""

    people: int
    faces: int
    others: int
    unknown: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class JudgedLabels:
    """Those of which the checkpoint knows `levels`, the mean logits of neutral faces."""

    names: tuple[str, ...]
    thresholds: np.ndarray
    levels: np.ndarray

    @property
    def columns(self) -> list[str]:
        return [f"{name}_probability" for name in self.names]


def judge_against_neutral(
    table: str | Path, output: str | Path, people: NeutralStretch | PeopleList, overwrite: bool = False
) -> BaselineOutcome:
    """Writes `table`, one of `clef analyze`, to `output` with probabilities and decisions of action units judged
    against the same person's neutral frames. All else stays, expressions and words of one's own too.

    With r the mean logit of a label over n neutral frames of a person (those out of scope apart), and m that of neutral
    faces among the people whom the checkpoint was calibrated on, a probability's logit becomes logit(p) - n / (n + 1)
    · (r - m); thresholds stay. A new column `baseline_frames` holds n. Rows of people without a neutral frame are as
    they were. The table is read twice, in parts; memory goes with the number of people.

    Raises:
        FileNotFoundError, ValueError: see `analysis.reading`. FileExistsError: `output` is there and `overwrite` is
            not given. NoNeutralFrame: none shows a face in scope. ValueError: a source with several faces and one
            subject for them, a table without action units or one that was judged so before, another suffix. OSError:
            it cannot be written.
    """
    table, output = Path(table), Path(output)
    kind, about = table_format(output), read_about(table)
    if about.against_neutral:
        raise ValueError(f"{str(table)!r} has been judged against neutral faces before; give the table it was made of.")
    if output.resolve() == table.resolve():
        raise ValueError("the new table needs another name: the one that it is made of is kept.")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{str(output)!r} exists; throw it away with overwrite, or choose another name.")
    labels = _judged_labels(table, about)
    neutral = _neutral_faces(table, about, labels, people)
    schema = _schema(about.metadata, people)
    counts = {"faces": 0, "others": 0}
    parts = (_judged(part, labels, people, neutral, schema, counts) for part in read_batches(table, about))
    output.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(sidecar_path(output)) as sidecar, written_whole(output) as temporary:
        rows = write_table(temporary, kind, schema, parts)
        sidecar.write_text(json.dumps(json.loads(schema.metadata[b"clef"]), indent=2, ensure_ascii=False) + "\n")
    unknown = tuple(sorted(people.sources - read_source_names(table, about))) if people.sources else ()
    return BaselineOutcome(len(neutral), counts["faces"], counts["others"], unknown, rows)


def against_neutral(
    probabilities: np.ndarray, neutral: np.ndarray, frames: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """(R, K) float64 probabilities judged against mean `neutral` logits, (R, K), of so many `frames`, (R,); `levels`:
    (K,), those of neutral faces in general."""
    weight = (frames / (frames + FRAMES_AT_HALF))[:, None]
    return 1 / (1 + np.exp(-(logit(probabilities) - weight * (neutral - levels))))


def logit(probabilities: np.ndarray) -> np.ndarray:
    kept = np.clip(np.asarray(probabilities, dtype=np.float64), FARTHEST, 1 - FARTHEST)
    return np.log(kept / (1 - kept))


def _judged_labels(table: Path, about: TableAbout) -> JudgedLabels:
    levels = about.metadata["model"].get("neutral_logits") or {}
    found = [
        (label, threshold, levels[label])
        for group in about.groups
        for label, threshold in zip(group.labels, group.thresholds, strict=True)
        if label in levels and not group.exclusive
    ]
    if not found:
        raise ValueError(
            f"{str(table)!r} has no label whose level in neutral faces is known: of words of one's own it is not. If "
            "the table is older than `clef baseline`, analyse anew; a checkpoint of your own learns the level from "
            "train_scripts/evaluate.py."
        )
    names, thresholds, levels = zip(*found, strict=True)
    return JudgedLabels(names, np.array(thresholds), np.array(levels))


def _neutral_faces(
    table: Path, about: TableAbout, labels: JudgedLabels, people: NeutralStretch | PeopleList
) -> dict[Hashable, tuple[int, np.ndarray]]:
    """Subject → how many neutral frames there are, and their mean logits (K,)."""
    found: dict[Hashable, tuple[int, np.ndarray]] = {}
    tracks: dict[str, int] = {}
    names = ["source", "track_id", "time_s", "out_of_scope"]
    for part in read_batches(table, about, [*names, *labels.columns]):
        values = _probabilities(part, labels)
        known = ~np.isnan(values).any(axis=1)
        faces = zip(*(part[name].to_pylist() for name in names), strict=True)
        for row, (source, track, time, out_of_scope) in enumerate(faces):
            if not known[row]:
                continue
            if isinstance(people, PeopleList):
                _refuse_crowd(source, track, tracks, people)
            subject = people.subject(source, track)
            if subject is not None and not out_of_scope and people.is_neutral(source, track, time):
                count, mean = found.get(subject, (0, np.zeros(len(labels.names))))
                found[subject] = count + 1, mean + (logit(values[row]) - mean) / (count + 1)
    if not found:
        there = read_source_names(table, about)
        if people.sources and not people.sources & there:
            raise NoNeutralFrame(
                f"{str(table)!r} has none of the listed sources: it has {min(there, default='no rows')!r}, the list "
                f"{min(people.sources)!r}; write them as the table does."
            )
        raise NoNeutralFrame(f"no frame of {str(table)!r} that is said to be neutral shows a face in scope.")
    return found


def _refuse_crowd(source: str, track: int, tracks: dict[str, int], people: PeopleList) -> None:
    unnamed = (source, None) in people.subjects and (source, track) not in people.subjects
    if unnamed and tracks.setdefault(source, track) != track:
        raise ValueError(
            f"{source!r} shows several faces, and {people.name} has one subject for all of them; give track_id, too."
        )


def _judged(
    part: pa.Table,
    labels: JudgedLabels,
    people: NeutralStretch | PeopleList,
    neutral: dict[Hashable, tuple[int, np.ndarray]],
    schema: pa.Schema,
    counts: dict[str, int],
) -> pa.Table:
    values = _probabilities(part, labels)
    known = ~np.isnan(values).any(axis=1)
    frames, means = np.zeros(len(part)), np.zeros_like(values)
    for row, face in enumerate(zip(part["source"].to_pylist(), part["track_id"].to_pylist(), strict=True)):
        if known[row] and (of_person := neutral.get(people.subject(*face))):
            frames[row], means[row] = of_person
    anew = frames > 0
    counts["faces"] += int(anew.sum())
    counts["others"] += int((known & ~anew).sum())
    values[anew] = against_neutral(values[anew], means[anew], frames[anew], labels.levels)
    columns = {name: part[name] for name in part.column_names}
    columns[BASELINE_FRAMES.name] = pa.array(frames.astype(np.int32), mask=~known)
    for place, (name, threshold) in enumerate(zip(labels.names, labels.thresholds, strict=True)):
        judged = values[:, place].astype(np.float32)
        columns[f"{name}_probability"] = _replaced(part[f"{name}_probability"], anew, judged)
        columns[name] = _replaced(part[name], anew, decisions(judged, threshold))
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


def _replaced(column: pa.ChunkedArray, here: np.ndarray, values: np.ndarray) -> pa.ChunkedArray:
    """The column with `values` where `here`, (R,) bool."""
    return pc.if_else(pa.array(here), pa.array(values).cast(column.type), column)


def _schema(metadata: dict, people: NeutralStretch | PeopleList) -> pa.Schema:
    columns = [Column(**{**one, "type": pa.type_for_alias(one["type"])}) for one in metadata["columns"]]
    columns.append(BASELINE_FRAMES)
    about = metadata | {
        "columns": [column.described() for column in columns],
        "baseline": {**people.described(), "frames_at_half": FRAMES_AT_HALF},
    }
    return table_schema(columns, {b"clef": json.dumps(about, ensure_ascii=False).encode()})


def _probabilities(part: pa.Table, labels: JudgedLabels) -> np.ndarray:
    """(R, K) float64, NaN where there is none."""
    return np.stack([part[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in labels.columns], axis=1)


__all__ = ["BaselineOutcome", "NoNeutralFrame", "against_neutral", "judge_against_neutral", "logit"]
