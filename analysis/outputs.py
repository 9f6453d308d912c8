"""Files made from a table: names that stay apart, and writing them whole."""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath


def file_stems(sources: Iterable[str]) -> dict[str, str]:
    """Source → stem of the files about it, whatever kind these are and in whichever order the sources come.

    It is the source's own. Where several have the same, as many of the folders above go before it as tell them apart
    ("F002-T1"), and where these lie in one folder its suffix goes after it ("T1-mp4"). What is alike still is numbered.
    """
    paths = {source: PurePath(source) for source in sorted(set(sources))}
    alike = Counter(_folded(path.parent / path.stem) for path in paths.values())
    parts, taken = {}, dict.fromkeys(paths, 1)
    for source, path in paths.items():
        alone = alike[_folded(path.parent / path.stem)] == 1
        folders = [part for part in path.parent.parts if part not in (path.anchor, "..")]
        parts[source] = [*folders, (path.stem if alone else path.name.replace(".", "-")) or "source"]
    while True:
        stems = {source: "-".join(parts[source][-taken[source] :]) for source in paths}
        counts = Counter(map(_folded, stems.values()))
        longer = [s for s in paths if counts[_folded(stems[s])] > 1 and taken[s] < len(parts[s])]
        if not longer:
            return _numbered(stems)
        for source in longer:
            taken[source] += 1


def _numbered(stems: dict[str, str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for source, stem in stems.items():
        name, number = stem, 1
        while _folded(name) in given:
            number += 1
            name = f"{stem}-{number}"
        given[_folded(name)] = source
        stems[source] = name
    return stems


def _folded(name: str | PurePath) -> str:
    return str(name).casefold()  # some file systems do not tell cases apart


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, of the same suffix, that takes its place when all went well."""
    temporary = path.with_name(f".{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


__all__ = ["file_stems", "written_whole"]
