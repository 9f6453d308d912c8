"""Pictures and videos in the folders of a data set, found by the numbers in their names, however these are padded."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from processing.corpora.official import ReadingReport

PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
VIDEOS = (".avi", ".mp4", ".mov", ".mkv", ".wmv")
NOT_COUNTED = (".obj", ".mtl", ".wrl", ".bnd")  # three-dimensional models, which some sets keep beside the pictures


def folder_entries(folder: Path, report: ReadingReport, sequence: str = "") -> list[os.DirEntry]:
    """What a folder holds, by name and without hidden files; empty where it cannot be read (counted)."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        report.add("folder that cannot be read", sequence, example=f"{folder}: {error.strerror or error}")
        return []


def walk(root: Path, report: ReadingReport, depth: int, whole: re.Pattern) -> Iterator[os.DirEntry]:
    """Files and folders down to `depth` levels below `root`; folders whose name matches `whole` are not entered."""
    for entry in folder_entries(root, report):
        yield entry
        if entry.is_dir() and depth > 1 and not whole.fullmatch(entry.name):
            yield from walk(Path(entry.path), report, depth - 1, whole)


def has_pictures(folder: Path) -> bool:
    """Whether a folder holds a picture; a folder that cannot be read is taken to, so that reading it is reported."""
    report = ReadingReport()
    names = [entry.name for entry in folder_entries(folder, report)]
    return bool(report.reasons) or any(name.lower().endswith(PICTURES) for name in names)


def pictures_by_number(folder: Path, report: ReadingReport, sequence: str = "") -> dict[int, Path]:
    """Number at the end of a picture's name → picture, ascending: "0732.jpg" and "732.JPG" both have the number 732.

    Two pictures of one number are both left out unless they are the same bytes; these, pictures without a number and
    files that are no pictures are counted.
    """
    found: dict[int, list[Path]] = {}
    for entry in folder_entries(folder, report, sequence):
        if entry.is_dir():
            continue
        stem, suffix = os.path.splitext(entry.name)
        if suffix.lower() not in PICTURES:
            if suffix.lower() not in NOT_COUNTED:
                report.add("file that is no picture", sequence, example=entry.path)
            continue
        number = re.search(r"[0-9]+$", stem)
        if number is None:
            report.add("picture without a frame number in its name", sequence, example=entry.path)
        else:
            found.setdefault(int(number.group()), []).append(Path(entry.path))
    chosen = {}
    for number, paths in sorted(found.items()):
        if len(paths) == 1 or len({path.read_bytes() for path in paths}) == 1:
            chosen[number] = paths[0]
            report.add("identical pictures of one frame", sequence, len(paths) - 1, paths[-1])
        else:
            report.add("different pictures of one frame", sequence, len(paths), " and ".join(map(str, paths)))
    return chosen
