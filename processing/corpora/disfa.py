"""DISFA: 27 people watching one four-minute film, twelve AUs coded in intensity 0 to 5 in every frame.

Mavadati et al., IEEE Transactions on Affective Computing 2013. Layout after unpacking:

    ActionUnit_Labels/SN001/SN001_au1.txt   lines "frame,intensity", frames from 1
    …/LeftVideoSN001_comp.avi               videos of two cameras, in Videos_LeftCamera and Videos_RightCamera
    …/SN001/0.png                           or pictures taken from them, numbered from 0 or from 1

Pictures and videos may lie up to three folders deep.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from processing.corpora.label_tables import (
    coded_value,
    count_unmatched,
    int_value,
    is_activity,
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

Intensities = dict[int, dict[str, int | None]]  # frame → AU → value


def read_disfa(root: str | Path, camera: str = "left", segments: str | Path | None = None) -> OfficialCorpus:
    """All frames of one camera with AU intensities 0 to 5; `schema.action_unit_labels` counts an AU from 2 on.

    Frames without labels are left out and counted.

    Args:
        root: the folder with ActionUnit_Labels and the pictures or videos.
        camera: "left" or "right". Pictures whose path names no camera are taken as this one's.
        segments: CSV with the columns start_frame, end_frame and activity: what is on the screen from one frame to
            another, both included and numbered as in the label files, the same for everybody. `activity` is a key of
            `prompts_clef.ACTIVITIES` or a sentence; another single word is refused. The set does not say where its
            clips begin; without this file, activities are None.

    Raises FileNotFoundError for a root without label files, or without pictures and videos of the camera; ValueError
    for another camera, for segments that overlap or are not understood, for an activity that is neither known nor a
    sentence, and when a subject has frames in two places; ImportError for videos without PyAV.
    """
    if camera not in CAMERAS:
        raise ValueError(f"camera is {camera!r}; expected 'left' or 'right'")
    root, report = Path(root), ReadingReport()
    label_folder = _label_folder(root)
    activities = _read_segments(Path(segments)) if segments is not None else None
    labels = {
        entry.name.upper(): _read_subject(Path(entry.path), entry.name.upper(), report)
        for entry in folder_entries(label_folder, report)
        if SUBJECT.fullmatch(entry.name) and entry.is_dir()
    }
    frames = _find_frames(root, camera, report)
    first_label = 0 if any(0 in values for values in labels.values()) else 1
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


def _read_subject(folder: Path, subject: str, report: ReadingReport) -> Intensities:
    frames: Intensities = defaultdict(dict)
    names = {}
    for entry in folder_entries(folder, report, subject):
        match = LABELS.fullmatch(entry.name)
        if match and match[1].upper() == subject:
            names[f"AU{int(match[2])}"] = Path(entry.path)
        else:
            report.add("file that is no label file of its subject", subject, example=entry.path)
    for name in sorted({*UNITS, *names}, key=lambda name: int(name[2:])):
        if name not in UNITS:
            known = "an action unit that the set is not known to code" if name in ACTION_UNITS else None
            report.add(known or "action unit without a text here", subject, example=names[name])
        elif name not in names:
            report.add("missing label file of an action unit", subject, example=f"{subject}_{name.lower()}.txt")
        else:
            rows = read_table(names[name], report, subject, header=("frame", "intensity"))
            for frame, row in rows_by_key(rows, lambda row: int_value(row["frame"]), report, subject).items():
                what = f"{names[name].name}, frame {frame}"
                text = "" if row is None else row["intensity"]
                frames[frame][name] = coded_value(text, 0, 5, report, subject, what=what)
    return dict(frames)


def _find_frames(root: Path, camera: str, report: ReadingReport) -> dict[str, dict[int, dict]]:
    """Subject → index of the frame from 0 → fields of its record that say where it is."""
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
    return _picture_frames(folders, report) | {
        subject: {index: {"video": path, "video_frame": index} for index in range(count_frames(path, report, subject))}
        for subject, (path,) in videos.items()
        if subject not in folders
    }


def _picture_frames(folders: dict[str, list[Path]], report: ReadingReport) -> dict[str, dict[int, dict]]:
    pictures = {subject: pictures_by_number(path, report, subject) for subject, (path,) in folders.items()}
    # Decided for all subjects together: one whose first picture is missing looks as if it counted from 1.
    first = 0 if any(0 in numbers for numbers in pictures.values()) else 1
    for subject, numbers in pictures.items():
        report.add(f"pictures numbered from {first} (used, nothing to do)", subject, len(numbers))
    return {
        subject: {number - first: {"image": path} for number, path in numbers.items()}
        for subject, numbers in pictures.items()
    }


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
