"""What BP4D and BP4D+ have in common: where AU tables, pictures and videos lie, and how they belong together."""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from processing.corpora.label_tables import coded_value, count_unmatched, int_value, one_table, read_table, rows_by_key
from processing.corpora.numbered_pictures import (
    PICTURES,
    VIDEOS,
    folder_entries,
    has_pictures,
    pictures_by_number,
    walk,
)
from processing.corpora.official import FaceRecord, OfficialCorpus, ReadingReport, wrong_root
from processing.corpora.video_frames import count_frames
from processing.prompts_clef import ACTION_UNITS

LABEL_FOLDERS = ("AUCoding/AU_OCC", "AU_OCC", "AUCoding")
# The twelve that all published results are about; they are columns of the corpus even where none of them is coded.
PROTOCOL_UNITS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24")
GENDERS = {"F": "woman", "M": "man"}

SUBJECT = re.compile(r"([FM])([0-9]{3})", re.IGNORECASE)
LABELS = re.compile(r"([FM][0-9]{3})_(T[0-9]+)\.csv", re.IGNORECASE)
VIDEO = re.compile(r"2?([FM])([0-9]{2,3})_(T?)([0-9]+)", re.IGNORECASE)
USUAL = {"0": 0, "1": 1, "9": None}  # almost all of millions of cells
MISPLACED = "picture outside of folders such as F001/T1, not used"
DEPTH = 3  # levels of folders below the root in which subjects' folders are looked for


@dataclass(frozen=True)
class Release:
    """What sets the two apart.

    Attributes:
        tasks: "T1" → activity.
        coded_tasks: those whose AUs are coded.
        subjects: all that there are.
        session_tasks: number of a session in a video's name → task, where videos are named so.
    """

    name: str
    title: str
    tasks: dict[str, str]
    coded_tasks: tuple[str, ...]
    subjects: tuple[str, ...]
    session_tasks: dict[int, str]
    licence: str


SequenceKey = tuple[str, str]  # subject and task, such as ("F001", "T1")


@dataclass(frozen=True)
class Labels:
    """AU tables.

    Attributes:
        frames: sequence → frame number → AU → 0 or 1, without those that are not coded.
        action_units: the protocol's and those coded anywhere.
    """

    frames: dict[SequenceKey, dict[int, dict[str, int]]]
    action_units: tuple[str, ...]


def read_release(release: Release, root: Path, uncoded_frames: bool, uncoded_tasks: bool = False) -> OfficialCorpus:
    """All faces of a release, by subject, task and frame.

    Args:
        uncoded_frames: also frames of coded tasks without a row in a table; all their AUs are None.
        uncoded_tasks: also frames of the other tasks.

    Raises FileNotFoundError for a root without AU tables, or without pictures and videos; ValueError when pictures of
    a sequence lie in two folders, when its AU tables contradict each other and when video names do.
    """
    root, report = Path(root), ReadingReport()
    tables = _find_tables(release, root, report)
    pictures, videos = _find_frames(release, root, report)
    labels = _read_labels(tables, report)
    records = []
    for sequence in sorted(
        {*pictures, *videos, *labels.frames}, key=lambda sequence: (sequence[0], int(sequence[1][1:]))
    ):
        found = _frames(sequence, pictures, videos, report)
        coded = labels.frames.get(sequence)
        name = "/".join(sequence)
        if coded is None:
            if sequence[1] in release.coded_tasks:
                report.add("sequence without an AU table", name)
            if not (uncoded_frames if sequence[1] in release.coded_tasks else uncoded_tasks):
                report.add("frame of a sequence without an AU table, left out", name, len(found))
                continue
            coded = {}
        else:
            count_unmatched(coded, found, report, name)
            if found and coded and max(coded) > max(found):
                example = f"{name}: labels up to {max(coded)}, frames up to {max(found)}"
                report.add("sequence whose labels go on after its last frame", name, example=example)
            if not uncoded_frames:
                found = {number: source for number, source in found.items() if number in coded}
        # Shared between frames: BP4D+ has more than a million without AUs.
        fields = {
            "subject_id": sequence[0],
            "sequence_id": name,
            "activity": release.tasks[sequence[1]],
            "groups": {"gender": GENDERS[sequence[0][0]]},
        }
        nothing = dict.fromkeys(labels.action_units)
        for number in sorted(found):
            values = {**nothing, **coded[number]} if coded.get(number) else nothing
            records.append(FaceRecord(frame=number, action_units=values, **fields, **found[number]))
    _count_missing(release, {*pictures, *videos}, report)
    return OfficialCorpus(
        name=release.name,
        records=records,
        report=report,
        action_units=labels.action_units,
        action_unit_coding="occurrence",
        licence=release.licence,
    )


def _find_tables(release: Release, root: Path, report: ReadingReport) -> dict[SequenceKey, list[Path]]:
    """The AU tables of all folders that such tables are unpacked to."""
    expected = [f"{folder}/F001_T1.csv" for folder in LABEL_FOLDERS[:2]]
    if not root.is_dir():
        raise wrong_root(release.title, root, expected)
    tables: dict[SequenceKey, list[Path]] = defaultdict(list)
    for folder in (root / name for name in LABEL_FOLDERS):
        entries = [entry for entry in folder_entries(folder, report) if not entry.is_dir()] if folder.is_dir() else []
        if not any(LABELS.fullmatch(entry.name) for entry in entries):
            continue
        for entry in entries:
            match = LABELS.fullmatch(entry.name)
            if match and match[2].upper() in release.tasks:
                tables[match[1].upper(), match[2].upper()].append(Path(entry.path))
            else:
                report.add("file that is no AU table of a task", example=entry.path)
    if not tables:
        raise wrong_root(release.title, root, expected)
    return tables


def _find_frames(release: Release, root: Path, report: ReadingReport):
    """Sequence → number → picture, and sequence → video file."""
    folders: dict[SequenceKey, list[Path]] = defaultdict(list)
    archives, named = set(), {}
    for entry in walk(root, report, DEPTH, SUBJECT):
        stem, suffix = Path(entry.name).stem, Path(entry.name).suffix.lower()
        if SUBJECT.fullmatch(entry.name) and entry.is_dir():
            for task in folder_entries(Path(entry.path), report, entry.name.upper()):
                if task.name.upper() in release.tasks and task.is_dir():
                    folders[entry.name.upper(), task.name.upper()].append(Path(task.path))
        elif suffix == ".zip" and SUBJECT.fullmatch(stem):
            archives.add(stem.upper())
        elif suffix in VIDEOS:
            named[Path(entry.path)] = stem
    pictures = {}
    for sequence, places in folders.items():
        # A set keeps more than pictures by subject and task, such as physiological signals: only pictures count.
        found = {
            place: pictures_by_number(place, report, "/".join(sequence)) for place in places if has_pictures(place)
        }
        if len(found) > 1:
            raise ValueError(
                f"pictures of {'/'.join(sequence)} lie in {' and in '.join(str(place) for place in found)}; "
                "move all but one of these folders out of the root"
            )
        for numbers in found.values():
            pictures[sequence] = numbers
    _count_misplaced(root, {place for places in folders.values() for place in places}, report)
    for subject in sorted(archives - {subject for subject, _ in pictures}):
        report.add("archive that is not unpacked", subject, example=f"{subject}.zip")
    videos = _videos(release, named, report)
    if not pictures and not videos:
        raise wrong_root(release.title, root, ["F001/T1/*.jpg (unpack the archives F001.zip, … first)", "videos"])
    return pictures, videos


def _count_misplaced(root: Path, places: set[Path], report: ReadingReport) -> None:
    """Count pictures outside of `places`, the folders that are read, by folder."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if Path(folder) in places:
            continue
        misplaced = [name for name in files if name.lower().endswith(PICTURES) and not name.startswith(".")]
        if misplaced:
            place = Path(folder).relative_to(root).as_posix()
            report.add(MISPLACED, place, len(misplaced), f"{folder}/{min(misplaced)}")


def _videos(release: Release, named: dict[Path, str], report: ReadingReport) -> dict[SequenceKey, Path]:
    videos: dict[SequenceKey, Path] = {}
    sessions = [int(match[4]) for match in map(VIDEO.fullmatch, named.values()) if match and not match[3]]
    strangers = sorted(set(sessions) - set(release.session_tasks))
    if strangers:
        raise ValueError(
            f"videos are named by session, as in 2F01_{strangers[0]:02}, but session {strangers[0]} is not one of "
            f"{', '.join(map(str, release.session_tasks)) or 'any'}; rename them by task, as in 2F01_T5.avi"
        )
    for path, stem in sorted(named.items()):
        match = VIDEO.fullmatch(stem)
        task = None
        if match:
            task = f"T{int(match[4])}" if match[3] else release.session_tasks[int(match[4])]
        if task not in release.tasks:
            report.add("video without a subject and task in its name", example=path)
            continue
        sequence = (f"{match[1].upper()}{int(match[2]):03}", task)
        if sequence in videos:
            raise ValueError(
                f"{'/'.join(sequence)} has two videos, {str(videos[sequence])!r} and {str(path)!r}; keep one"
            )
        videos[sequence] = path
    return videos


def _frames(sequence: SequenceKey, pictures, videos, report: ReadingReport) -> dict[int, dict]:
    """Frame number → fields of its record that say where it is."""
    name = "/".join(sequence)
    if sequence in pictures:
        if sequence in videos:
            report.add("video not used, as there are pictures", name, example=videos[sequence])
        return {number: {"image": path} for number, path in pictures[sequence].items()}
    if sequence in videos:
        path = videos[sequence]
        # Labels count a video's frames from 1.
        return {index + 1: {"video": path, "video_frame": index} for index in range(count_frames(path, report, name))}
    return {}


def _read_labels(tables: dict[SequenceKey, list[Path]], report: ReadingReport) -> Labels:
    frames: dict[SequenceKey, dict[int, dict[str, int]]] = {}
    coded_anywhere: set[int] = set()
    columns: dict[int, set[SequenceKey]] = defaultdict(set)
    for sequence, paths in tables.items():
        name = "/".join(sequence)
        path = one_table(paths, report, name)
        frames[sequence] = _read_table(path, name, sequence, columns, coded_anywhere, report)
    for number in sorted(columns):
        if number not in coded_anywhere:
            report.add("action unit that is never coded", f"AU{number}", len(columns[number]))
        elif f"AU{number}" not in ACTION_UNITS:
            report.add("action unit without a text here", f"AU{number}", len(columns[number]))
    for sequence in frames:
        for name in PROTOCOL_UNITS:
            if frames[sequence] and sequence not in columns[int(name[2:])]:
                report.add("AU table without a column of the protocol", "/".join(sequence), example=name)
    kept = {f"AU{number}" for number in coded_anywhere} | set(PROTOCOL_UNITS)
    return Labels(frames, tuple(name for name in ACTION_UNITS if name in kept))


def _read_table(path: Path, name: str, sequence: SequenceKey, columns, coded_anywhere: set, report: ReadingReport):
    """Frame → AU → value; adds to `columns` and `coded_anywhere`, by AU number."""
    rows = read_table(path, report, name)
    if not rows:
        return {}
    first, *others = rows[0]
    units = {column: int(match[1]) for column in others if (match := re.fullmatch(r"(?:AU)?0*([0-9]+)", column, re.I))}
    for column in set(others) - set(units):
        report.add("column that is no action unit", name, example=f"{path.name}: {column!r}")
    for number in units.values():
        columns[number].add(sequence)
    names = {column: f"AU{number}" for column, number in units.items()}
    frames = {}
    for frame, row in rows_by_key(rows, lambda row: int_value(row[first]), report, name).items():
        values: dict[str, int] = {}
        for column, number in units.items() if row is not None else ():
            text = row[column]
            if text in USUAL:
                value = USUAL[text]
            else:
                value = coded_value(text, 0, 1, report, name, what=f"{path.name}, frame {frame}, AU{number}")
            if value is not None:
                coded_anywhere.add(number)
                if names[column] in ACTION_UNITS:
                    values[names[column]] = value
        frames[frame] = values
    return frames


def _count_missing(release: Release, found: set[SequenceKey], report: ReadingReport) -> None:
    for subject in release.subjects:
        for task in release.tasks:
            name = f"{subject}/{task}"
            if (subject, task) not in found:
                report.add("missing sequence: no pictures and no video", name)
    for subject, task in sorted(found):
        if subject not in release.subjects:
            report.add("subject that the set is not known to have", f"{subject}/{task}")
