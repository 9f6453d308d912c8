"""From what a user names (files, folders, globs, lists, a camera) to the sources that are analysed one by one."""

import glob
import os
import stat
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.decode_images import NEEDS_HEIF, is_heif, reads_heif
from analysis.drawing_mark import is_drawing

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .bmp .gif .webp .tif .tiff .avif .ppm .pgm .pbm .pnm".split()
)
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .mts .m2ts .ts .wmv .asf .flv .3gp .3g2 .ogv .mxf .vob .y4m".split()
)
HEIF_SUFFIXES = frozenset(".heic .heif .hif".split())
LIST_SUFFIX = ".txt"
IMAGE, VIDEO, CAMERA = "image", "video", "camera"
NO_FILE = "is a pipe, socket or device, no file; copy it to a file first"


@dataclass(frozen=True)
class Source:
    """One image file, video file or camera.

    name: what the table's column `source` says: the path as it was given (a file of a folder or list: with the folder's
        path before it), so that files of the same name stay apart; "camera 0" for a camera.
    kind: "image", "video" or "camera".
    path: of the file; None for a camera.
    camera: index of the camera; None for a file.
    """

    name: str
    kind: str
    path: Path | None = None
    camera: int | None = None

    def fingerprint(self) -> list[int] | None:
        """Size in bytes and time of the last change in nanoseconds, by which a resumed run tells whether a file is
        still the same; None for a camera or a file that cannot be looked at."""
        try:
            found = os.stat(self.path) if self.path is not None else None
        except OSError:
            return None
        return [found.st_size, found.st_mtime_ns] if found else None


@dataclass(frozen=True)
class Problem:
    """Why a source, or an input that gave no source, was not (or not wholly) analysed."""

    source: str
    message: str


@dataclass
class FoundSources:
    """`sources` in the order of the inputs, each file once; inputs that came to nothing (`problems`); files of folders
    that are neither images nor videos, or HEIC without what reads it, counted by suffix (`ignored`); how often a file
    was named again (`repeated`); pictures that were drawn here, passed over (`drawings`); and the real paths of all
    folders that were searched (`folders`)."""

    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored: Counter = field(default_factory=Counter)
    repeated: int = 0
    drawings: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)

    def folder_above(self, path: Path) -> str | None:
        """A searched folder in which `path` lies, or would: files made there would be found the next time."""
        real = Path(os.path.realpath(path))
        return next((str(place) for place in (real, *real.parents) if str(place) in self.folders), None)


def find_sources(inputs: str | os.PathLike | int | Iterable) -> FoundSources:
    """The sources that `inputs` name.

    Args:
        inputs: one or several of
            - an image or video file, told by its suffix, and by its content where the suffix says nothing; HEIC counts
              as an image, and is read where pillow-heif is installed;
            - a folder, searched with its subfolders in alphabetical order, links after the others; hidden files are
              passed over;
            - a glob such as "takes/**/*.mp4", for shells that leave it as it is;
            - a text file (.txt) with one of these a line, relative to the file's folder; blank lines and lines that
              begin with "#" do not count;
            - the index of a camera, such as 0.

    Overlays, timelines and explanations that were drawn here are passed over where there is anything else to analyse:
    "*.png" also names those of an earlier run.

    Nothing raises for an input that is missing or empty: it becomes a `Problem`.

    Raises:
        TypeError: something that names no source, such as a picture itself.
    """
    if isinstance(inputs, (str, os.PathLike, int)) or not isinstance(inputs, Iterable):
        inputs = [inputs]
    inputs = list(inputs)
    for given in inputs:
        if not isinstance(given, (str, os.PathLike, int)):
            raise TypeError(
                f"got {type(given).__name__} as an input; expected the path of a file or folder, a glob or a camera's "
                'index. Pictures in memory go to `pipeline("facial-behavior")`.'
            )
    found = FoundSources()
    seen: set[str] = set()
    for given in inputs:
        _add(given, found, seen, within_list=False)
    _pass_over_drawings(found)
    return found


def _pass_over_drawings(found: FoundSources) -> None:
    pictures = (source for source in found.sources if source.path and source.path.suffix.lower() == ".png")
    drawings = {source.name: source for source in pictures if is_drawing(source.path)}
    if len(drawings) < len(found.sources):
        found.drawings = list(drawings)
        found.sources = [source for source in found.sources if source.name not in drawings]


def _add(given: str | os.PathLike | int, found: FoundSources, seen: set[str], within_list: bool) -> None:
    text = os.fspath(given) if isinstance(given, os.PathLike) else str(given)
    if not text:
        found.problems.append(Problem("''", "an input without a name"))
        return
    path = Path(text)
    try:
        if path.is_dir():
            _add_folder(path, found, seen)
        elif path.exists():
            if path.suffix.lower() != LIST_SUFFIX or is_no_file(path):
                _add_file(path, found, seen)
            elif within_list:
                found.problems.append(Problem(shown(path), "a list within a list is not read; name it as an input"))
            else:
                _add_list(path, found, seen)
        elif text.isdecimal():
            _add_source(Source(f"camera {int(text)}", CAMERA, camera=int(text)), text, found, seen)
        elif glob.has_magic(text):
            _add_glob(text, found, seen, within_list)
        else:
            found.problems.append(Problem(shown(path), "there is no such file or folder"))
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        found.problems.append(Problem(shown(path), f"cannot be looked at: {error}"))


def _add_source(source: Source, identity: str, found: FoundSources, seen: set[str]) -> None:
    if identity in seen:
        found.repeated += 1
        return
    seen.add(identity)
    found.sources.append(source)


def _add_file(path: Path, found: FoundSources, seen: set[str]) -> None:
    if is_no_file(path):  # whoever opens a pipe that nobody writes to waits for ever
        found.problems.append(Problem(shown(path), NO_FILE))
        return
    _add_source(Source(shown(path), _kind(path), path=path), os.path.realpath(path), found, seen)


def _add_file_of_folder(path: Path, found: FoundSources, seen: set[str]) -> None:
    suffix = path.suffix.lower()
    if suffix in HEIF_SUFFIXES and not reads_heif():
        found.ignored[f"{suffix} ({NEEDS_HEIF})"] += 1
    elif suffix in IMAGE_SUFFIXES | HEIF_SUFFIXES | VIDEO_SUFFIXES:
        _add_file(path, found, seen)
    else:
        found.ignored[suffix or "no suffix"] += 1


def _add_folder(folder: Path, found: FoundSources, seen: set[str]) -> None:
    before, problems = len(found.sources) + found.repeated, len(found.problems)

    def unreadable(error: OSError) -> None:
        found.problems.append(Problem(shown(Path(error.filename or folder)), f"cannot be read: {error.strerror}"))

    # Links come last: what is there itself is known by its own name, whatever points to it.
    visited, pending = set(), deque([folder])
    while pending:
        path = pending.popleft()
        if not path.is_dir():
            _add_file_of_folder(path, found, seen)
            continue
        for place, folders, files in os.walk(path, onerror=unreadable):
            real = os.path.realpath(place)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            pending += (Path(place, name) for name in folders if os.path.islink(os.path.join(place, name)))
            for name in sorted(name for name in files if not name.startswith(".")):
                if os.path.islink(os.path.join(place, name)):
                    pending.append(Path(place, name))
                else:
                    _add_file_of_folder(Path(place, name), found, seen)
    found.folders |= visited
    # What is in a folder that cannot be read, nobody knows.
    if len(found.sources) + found.repeated == before and len(found.problems) == problems:
        found.problems.append(Problem(shown(folder), "the folder holds no image and no video"))


def _add_glob(pattern: str, found: FoundSources, seen: set[str], within_list: bool) -> None:
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        found.problems.append(Problem(shown(Path(pattern)), "no file or folder has such a name"))
    for match in matches:
        # "**" also matches the folders whose files it matches.
        if "**" in pattern and os.path.isdir(match):
            continue
        _add(match, found, seen, within_list)


def _add_list(path: Path, found: FoundSources, seen: set[str]) -> None:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        found.problems.append(Problem(shown(path), "is no list of files: it is not text in UTF-8"))
        return
    entries = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not entries:
        found.problems.append(Problem(shown(path), "the list names no file"))
    for entry in entries:
        _add(entry if entry.isdecimal() else path.parent / entry, found, seen, within_list=True)


def is_no_file(path: Path) -> bool:
    """Whether something lies there that is neither a file nor a folder. Files that cannot be looked at count as files:
    why they cannot be read is told when they are."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return VIDEO
    if suffix in IMAGE_SUFFIXES | HEIF_SUFFIXES or is_heif(path):
        return IMAGE
    from processing.image_reading_clef import DECODING_ERRORS, Image

    try:
        with Image.open(path):
            return IMAGE
    except DECODING_ERRORS:
        return VIDEO


def shown(path: Path) -> str:
    """A path as text that can be written as UTF-8, whatever bytes the file system holds."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def describe_ignored(ignored: Counter) -> str:
    """ "3 .json, 1 .csv": what was passed over in folders."""
    return ", ".join(f"{count} {suffix}" for suffix, count in ignored.most_common())


__all__: Sequence[str] = ["CAMERA", "IMAGE", "VIDEO", "FoundSources", "Problem", "Source", "find_sources"]
