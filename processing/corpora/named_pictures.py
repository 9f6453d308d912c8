"""Pictures below a folder, found by the names that label files give them."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from processing.corpora.numbered_pictures import PICTURES, folder_entries
from processing.corpora.official import ReadingReport

SUFFIXES = (*PICTURES, ".tif", ".tiff", ".webp")


class NamedPictures:
    """All pictures below `folder`, nested folders and links to folders included.

    Files of other kinds and folders that cannot be read are counted in `report`; hidden ones are passed over.

    Attributes:
        paths: name relative to `folder`, with "/" between folders → path; sorted by name.
    """

    def __init__(self, folder: Path, report: ReadingReport, ignored: Collection[str] = ()):
        """`ignored`: relative names of files that are known to be something else, such as a label file."""
        self.paths: dict[str, Path] = {}
        for name, path in sorted(_files(Path(folder), "", report, frozenset())):
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                self.paths[name] = path
            elif name not in ignored:
                report.add("file that is no picture", name.rpartition("/")[0], example=path)
        self._by_lower_case: dict[str, list[str]] = {}
        for name in self.paths:
            self._by_lower_case.setdefault(name.lower(), []).append(name)

    def find(self, name: str) -> str | None:
        """The key of `paths` that a label file means by `name`; None if there is no such picture.

        Backslashes count as "/". Upper and lower case may differ where that leaves one candidate.
        """
        name = name.replace("\\", "/").removeprefix("./")
        if name in self.paths:
            return name
        candidates = self._by_lower_case.get(name.lower(), [])
        return candidates[0] if len(candidates) == 1 else None

    def count_unlabelled(self, labelled: Collection[str], report: ReadingReport, part: str | None = None) -> None:
        """Count the pictures whose names are not among `labelled`, by folder or all under the name `part`."""
        for name in self.paths:
            if name not in labelled:
                place = part if part is not None else name.rpartition("/")[0]
                report.add("picture without a label", place, example=name)


def _files(folder: Path, prefix: str, report: ReadingReport, above: frozenset[str]) -> Iterator[tuple[str, Path]]:
    real = os.path.realpath(folder)
    if real in above:  # a link back to a folder that we are in
        return
    for entry in folder_entries(folder, report, prefix.rstrip("/")):
        if entry.is_dir():
            yield from _files(Path(entry.path), f"{prefix}{entry.name}/", report, above | {real})
        else:
            yield prefix + entry.name, Path(entry.path)
