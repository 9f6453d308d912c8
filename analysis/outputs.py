"""Files made from a table: names that stay apart, and writing them whole."""

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath


class FileNames:
    """Stems for files about sources: of sources with the same stem, the second gets "-2", and so on."""

    def __init__(self):
        self._given: set[str] = set()
        self._counts: Counter = Counter()

    def stem(self, source: str) -> str:
        plain = PurePath(source).stem or "source"
        name = plain
        while name.casefold() in self._given:  # some file systems do not tell cases apart
            self._counts[plain] += 1
            name = f"{plain}-{self._counts[plain] + 1}"
        self._given.add(name.casefold())
        return name


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, of the same suffix, that takes its place when all went well."""
    temporary = path.with_name(f".{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


__all__ = ["FileNames", "written_whole"]
