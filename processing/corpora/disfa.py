"""DISFA: 27 people watching one four-minute film, twelve AUs coded in intensity 0 to 5 in every frame.

Mavadati et al., IEEE Transactions on Affective Computing 2013. Layout after unpacking:

    ActionUnit_Labels/SN001/SN001_au1.txt   lines "frame,intensity", frames from 1 (or from 0)
    …/LeftVideoSN001_comp.avi               videos of two cameras, in Videos_LeftCamera and Videos_RightCamera
    …/SN001/0.png                           or pictures taken from them, numbered from 0 or from 1

Pictures and videos may lie up to three folders deep.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from processing.corpora.label_tables import (
    coded_value,
    count_unmatched,
    int_value,
    is_activity,
    one_table,
    read_table,
    rows_by_key,
)
from processing.corpora.numbered_pictures import VIDEOS, folder_entries, has_pictures, pictures_by_number, walk
from processing.corpora.official import FaceRecord, OfficialCorpus, ReadingReport, wrong_root
from processing.corpora.video_frames import count_frames
from processing.prompts_clef import ACTION_UNITS, ACTIVITIES

SUBJECTS = tuple(f"SN{number:03}" for number in range(1, 33) if number not in (14, 15, 19, 20, 22))
UNITS = tuple(f"AU{number}" for number in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26))
CAMERAS = ("left", "right")
DEPTH = 3

SUBJECT = re.compile(r"SN[0-9]{3}", re.IGNORECASE)
LABELS = re.compile(r"(SN[0-9]{3})_au([0-9]+)\.txt", re.IGNORECASE)
FRAMES = re.compile(r"(?:(left|right)Video)?(SN[0-9]{3})(?:_comp)?", re.IGNORECASE)  # a video's stem, or a folder
LICENCE = "DISFA: research licence of the University of Denver, by agreement; not to be passed on"

Units = dict[str, dict[int, int | None]]  # AU → frame → value, of one subject
Intensities = dict[int, dict[str, int | None]]  # frame → AU → value


def read_disfa(root: str | Path, camera: str = "left", segments: str | Path | None = None) -> OfficialCorpus:
    """All frames of one camera with AU intensities 0 to 5; `schema.action_unit_labels` counts an AU from 2 on.

    Frames without labels are left out and counted. Whether labels and pictures count from 0 or from 1 is what most
    subjects say; a subject that counts otherwise is left out and counted, as is a single row or picture 0 where frames
    count from 1.

    Args:
        root: the folder with ActionUnit_Labels and the pictures or videos.
        camera: "left" or "right". Pictures whose path names no camera are taken as this one's.
        segments: CSV with the columns start_frame, end_frame and activity: what is on the screen from one frame to
            another, both included and numbered as in the label files, the same for everybody. `activity` is a key of
            `prompts_clef.ACTIVITIES` or a sentence; another single word is refused. The set does not say where its
            clips begin; without this file, activities are None.

    Raises FileNotFoundError for a root without label files, or without pictures and videos of the camera; ValueError
    for another camera, for segments that overlap or are not understood, for an activity that is neither known nor a
    sentence, when a subject has frames in two places or label files that contradict each other, and when as many
    subjects count from 0 as from 1; ImportError for videos without PyAV.
    """
    if camera not in CAMERAS:
        raise ValueError(f"camera is {camera!r}; expected 'left' or 'right'")
    root, report = Path(root), ReadingReport()
    label_folder = _label_folder(root)
    activities = _read_segments(Path(segments)) if segments is not None else None
    units = {
        entry.name.upper(): _read_subject(Path(entry.path), entry.name.upper(), report)
        for entry in folder_entries(label_folder, report)
        if SUBJECT.fullmatch(entry.name) and entry.is_dir()
    }
    first_label, labels = _label_frames(units, report)
    last = {subject: max(coded) - first_label for subject, coded in labels.items() if coded}
    frames = _find_frames(root, camera, last, report)
    records = []
    for subject in sorted({*labels, *frames}):
        found = {index + first_label: source for index, source in frames.get(subject, {}).items()}
        coded = labels.get(subject, {})
        count_unmatched(coded, found, report, subject)
        for number in sorted(found.keys() & coded.keys()):
            activity = _activity(activities, number, subject, report)
            records.append(
                FaceRecord(
                    subject_id=subject,
                    sequence_id=f"{subject}/{camera}",
                    frame=number,
                    activity=activity,
                    action_units={name: coded[number].get(name) for name in UNITS},
                    **found[number],
                )
            )
    for subject in SUBJECTS:
        if subject not in labels or subject not in frames:
            report.add("missing subject: no labels" if subject not in labels else "missing subject: no frames", subject)
    return OfficialCorpus("disfa", records, report, UNITS, "intensity", LICENCE)


def _label_folder(root: Path) -> Path:
    expected = ["ActionUnit_Labels/SN001/SN001_au1.txt"]
    for folder in (root / "ActionUnit_Labels", root / "ActionUnit_Labels" / "ActionUnit_Labels"):
        if folder.is_dir() and any(SUBJECT.fullmatch(path.name) for path in folder.iterdir()):
            return folder
    raise wrong_root("DISFA", root, expected)


def _read_subject(folder: Path, subject: str, report: ReadingReport) -> Units:
    units: Units = {}
    files = defaultdict(list)
    for entry in folder_entries(folder, report, subject):
        match = LABELS.fullmatch(entry.name)
        if match and match[1].upper() == subject:
            files[f"AU{int(match[2])}"].append(Path(entry.path))
        else:
            report.add("file that is no label file of its subject", subject, example=entry.path)
    for name in sorted({*UNITS, *files}, key=lambda name: int(name[2:])):
        if name not in UNITS:
            known = "an action unit that the set is not known to code" if name in ACTION_UNITS else None
            report.add(known or "action unit without a text here", subject, len(files[name]), files[name][0])
        elif name not in files:
            report.add("missing label file of an action unit", subject, example=f"{subject}_{name.lower()}.txt")
        else:
            file = one_table(files[name], report, subject)
            rows = read_table(file, report, subject, header=("frame", "intensity"))
            units[name] = {}
            for frame, row in rows_by_key(rows, lambda row: int_value(row["frame"]), report, subject).items():
                text = "" if row is None else row["intensity"]
                units[name][frame] = coded_value(text, 0, 5, report, subject, what=f"{file.name}, frame {frame}")
    units = {name: values for name, values in units.items() if values}
    _count_short(units, subject, report)
    return units


def _count_short(units: Units, subject: str, report: ReadingReport) -> None:
    """Count files without rows for frames that at least half of the subject's files have, such as one that was cut."""
    files = Counter(frame for values in units.values() for frame in values)
    usual = {frame for frame, count in files.items() if 2 * count >= len(units) and frame != 0}
    for name, values in units.items():
        if lacking := usual - values.keys():
            example = f"{subject} {name}: {len(lacking)} of {len(usual)} frames lacking, such as {min(lacking)}"
            report.add("label file with fewer frames than the others of its subject", subject, example=example)


def _label_frames(units: dict[str, Units], report: ReadingReport) -> tuple[int, dict[str, Intensities]]:
    """The number that labels count from, and the labels of all subjects that count so."""
    starts = {
        subject: _majority([0 if 0 in values else 1 for values in files.values()]) for subject, files in units.items()
    }
    first = _decided("labels", starts, [start for start in starts.values() if start is not None])
    labels: dict[str, Intensities] = {subject: {} for subject in units}
    for subject, files in units.items():
        if files and starts[subject] != first:
            reason = f"subject left out: its labels do not count from {first} as the others' do"
            report.add(
                reason, subject, example=f"{subject}: {sum(0 in v for v in files.values())} files have a frame 0"
            )
            continue
        frames: Intensities = defaultdict(dict)
        for name, values in files.items():
            for frame, value in values.items():
                if frame < first:
                    reason = f"label of a frame before the first, {first}"
                    report.add(reason, subject, example=f"{subject} {name}, frame {frame}")
                else:
                    frames[frame][name] = value
        labels[subject] = dict(frames)
    return first, labels


def _majority(votes: Iterable[int]) -> int | None:
    """Which of 0 and 1 more of `votes` are; None where there are as many, or none."""
    counts = Counter(votes)
    return None if counts[0] == counts[1] else counts.most_common(1)[0][0]


def _decided(what: str, subjects: Collection[str], votes: Sequence[int]) -> int:
    """The majority of votes, 1 without any. Raises ValueError for as many 0 as 1."""
    if not votes:
        return 1
    first = _majority(votes)
    if first is None:
        raise ValueError(
            f"{what} count frames from 0 for as many subjects as from 1 ({', '.join(sorted(subjects)[:6])}, …); "
            "expected one or the other: number all as the published ones, or take out those numbered otherwise"
        )
    return first


def _find_frames(root: Path, camera: str, last: dict[str, int], report: ReadingReport) -> dict[str, dict[int, dict]]:
    """Subject → index of the frame from 0 → fields of its record that say where it is.

    `last`: subject → index of the last frame that has labels.
    """
    folders: dict[str, list[Path]] = defaultdict(list)
    videos: dict[str, list[Path]] = defaultdict(list)
    for entry in walk(root, report, DEPTH, FRAMES):
        path = Path(entry.path)
        match = FRAMES.fullmatch(entry.name if entry.is_dir() else path.stem)
        if not match or _camera_of(path.relative_to(root)) not in (camera, None):
            continue
        subject = match[2].upper()
        if entry.is_dir():
            if has_pictures(path):
                folders[subject].append(path)
        elif path.suffix.lower() in VIDEOS:
            videos[subject].append(path)
    for places in (*folders.values(), *videos.values()):
        if len(places) > 1:
            raise ValueError(
                f"frames of one subject lie in {' and in '.join(map(str, places))}; move all but one out of the root"
            )
    if not folders and not videos:
        side = camera.capitalize()
        expected = [f"Videos_{side}Camera/{side}VideoSN001_comp.avi", "SN001/0.png"]
        raise wrong_root("DISFA", root, expected)
    for subject in sorted(videos.keys() & folders.keys()):
        report.add("video not used, as there are pictures", subject, example=videos[subject][0])
    return _picture_frames(folders, last, report) | {
        subject: {index: {"video": path, "video_frame": index} for index in range(count_frames(path, report, subject))}
        for subject, (path,) in videos.items()
        if subject not in folders
    }


def _picture_frames(
    folders: dict[str, list[Path]], last: dict[str, int], report: ReadingReport
) -> dict[str, dict[int, dict]]:
    pictures = {subject: pictures_by_number(path, report, subject) for subject, (path,) in folders.items()}
    pictures = {subject: numbers for subject, numbers in pictures.items() if numbers}
    # A first picture that is missing, or a stray one, makes a subject look as if it counted otherwise. Where pictures
    # start and end, beside the labels, tells; whoever fits both or neither says nothing, unless nobody says anything.
    starts = {subject: _fitting_start(numbers, last.get(subject)) for subject, numbers in pictures.items()}
    said = [start for start in starts.values() if start is not None]
    first = _decided("pictures", pictures, said or [0 if 0 in numbers else 1 for numbers in pictures.values()])
    found: dict[str, dict[int, dict]] = {subject: {} for subject in pictures}
    for subject, numbers in pictures.items():
        if starts[subject] not in (first, None):
            example = f"{subject}: {min(numbers)} to {max(numbers)}; renumber them to use them"
            report.add(
                f"picture left out: its subject does not count from {first} as the others do",
                subject,
                len(numbers),
                example,
            )
            continue
        stray = [path for number, path in numbers.items() if number < first]
        report.add(f"picture numbered before the first, {first}", subject, len(stray), *stray)
        report.add(f"pictures numbered from {first} (used, nothing to do)", subject, len(numbers) - len(stray))
        found[subject] = {number - first: {"image": path} for number, path in numbers.items() if number >= first}
    return found


def _fitting_start(numbers: Collection[int], last: int | None) -> int | None:
    """0 or 1 where the pictures lie within the labels, which end at the index `last`, only if they count from there."""
    if last is None:
        return None
    fitting = [first for first in (0, 1) if min(numbers) >= first and max(numbers) - first <= last]
    return fitting[0] if len(fitting) == 1 else None


def _camera_of(path: Path) -> str | None:
    named = {camera for camera in CAMERAS for part in path.parts if camera in part.lower()}
    return named.pop() if len(named) == 1 else None


def _read_segments(path: Path) -> list[tuple[int, int, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"segments is {str(path)!r}, which is no file")
    report = ReadingReport()
    rows = read_table(path, report, required=("start_frame", "end_frame", "activity"))
    segments = []
    for row in rows:
        start, end = int_value(row["start_frame"]), int_value(row["end_frame"])
        if start is None or end is None or end < start or not row["activity"]:
            raise ValueError(f"{str(path)!r}: {row} is no segment; expected whole numbers start ≤ end, and an activity")
        segments.append((start, end, row["activity"]))
    if report.reasons or not segments:
        raise ValueError(f"{str(path)!r} cannot be used: {'; '.join(report.lines()) or 'it has no rows'}")
    segments.sort()
    for (_, end, before), (start, _, after) in zip(segments, segments[1:], strict=False):
        if start <= end:
            raise ValueError(f"{str(path)!r}: {before!r} (to frame {end}) and {after!r} (from frame {start}) overlap")
    if unknown := [activity for _, _, activity in segments if not is_activity(activity)]:
        raise ValueError(
            f"{str(path)!r}: unknown activity {unknown[0]!r}; one in words of one's own is given as a sentence, the "
            f"others are {', '.join(ACTIVITIES)}"
        )
    return segments


def _activity(segments: Sequence[tuple[int, int, str]] | None, frame: int, subject: str, report) -> str | None:
    if segments is None:
        return None
    for start, end, activity in segments:
        if start <= frame <= end:
            return activity
    report.add("frame in no segment, without an activity", subject, example=frame)
    return None
