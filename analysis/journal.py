"""A table in the making: rows that survive being killed, and where the run goes on.

Beside OUTPUT lies the folder OUTPUT.unfinished until all is done. Rows are appended to it as numbered Parquet files,
each complete when it has its name, and each with the state of the run after its last row, so that rows and state can
not part. In the end the files are put together to OUTPUT, whatever its format; OUTPUT itself is never half-written.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from analysis.pipeline import FAILED, Cursor, SourceReport
from analysis.writers import table_format, write_table

SECONDS_A_PART = 5.0  # what a killed run loses at most
ROWS_A_PART = 4096


def sidecar_path(output: Path) -> Path:
    """Where the JSON about a table lies: beside it, with ".json" after its name."""
    return output.with_name(f"{output.name}.json")


class ResumeError(ValueError):
    """A run that cannot go on where an earlier one stopped; the message says why, and what to do."""


class Journal:
    """The rows of one output file.

    done: reports of sources whose rows are there, by name, of an earlier run or this one; failed ones are not among
    them, they are tried again. cursor: where an earlier run was killed within a source. rows: how many are there.

    Args:
        output: its suffix says the format.
        schema: of the rows.
        metadata: what is written beside the table, all but its "sources".
        agreement: the part of `metadata` that a resumed run must agree with, as a function of it.

    Raises (on entering):
        FileExistsError: there is a table or an unfinished run, and neither `resume` nor `overwrite` says what to do; a
            folder has that name, or no folder can lie above it; or another process writes this output.
        ResumeError: `resume` with other settings than before, or a table without the JSON that belongs to it.
    """

    def __init__(self, output: Path, schema: pa.Schema, metadata: dict, agreement, resume: bool, overwrite: bool):
        self.output, self.schema = Path(output), schema
        self.metadata = json.loads(json.dumps(metadata))  # as it will be read back, for comparison
        self.kind = table_format(self.output)
        self.folder = self.output.with_name(f"{self.output.name}.unfinished")
        self.sidecar = sidecar_path(self.output)
        self.done: dict[str, SourceReport] = {}
        self.failed: dict[str, SourceReport] = {}
        self.cursor: Cursor | None = None
        self.rows = 0
        self._agreement, self._resume, self._overwrite = agreement, resume, overwrite
        self._merged = self.folder / f"merged{self.output.suffix}"
        self._merged_sidecar = self.folder / "merged.json"
        self._parts = 0
        self._waiting: list[pa.Table] = []
        self._ended: list[SourceReport] = []
        self._flushed_at = time.monotonic()

    def __enter__(self) -> "Journal":
        if self.output.is_dir():
            raise FileExistsError(f"{str(self.output)!r} is a folder; choose another name.")
        above = next(path for path in self.output.absolute().parents if path.exists())
        if not above.is_dir():
            raise FileExistsError(f"{str(above)!r} is no folder, so nothing can lie in it; choose another name.")
        if not (self._resume or self._overwrite):
            for path, what in ((self.output, "a table"), (self.folder, "an unfinished run")):
                if path.exists():
                    raise FileExistsError(
                        f"{what} lies at {str(path)!r} already: resume it (--resume), or throw it away (--overwrite)."
                    )
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        self._lock = FileLock(self.folder / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise FileExistsError(f"another process is writing {str(self.output)!r}; wait until it is done.") from error
        try:
            if self._overwrite:
                self._throw_away()
            else:
                self._read_back()
            _write_whole(self.folder / "run.json", _as_json(self.metadata))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        empty = not any(path.name != "lock" for path in self.folder.iterdir())
        self._lock.release()
        if empty:
            shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, table: pa.Table, ended: list[SourceReport], cursor: Cursor | None) -> None:
        """Appends rows, the reports of sources that ended with them, and the state after them."""
        self._waiting.append(table)
        self._ended += ended
        self.cursor = cursor
        rows = sum(len(waiting) for waiting in self._waiting)
        if rows >= ROWS_A_PART or time.monotonic() - self._flushed_at >= SECONDS_A_PART:
            self.flush()

    def flush(self) -> None:
        """Puts what was added on the disk. What is added later begins a new part."""
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            state = {
                b"ended": json.dumps([asdict(report) for report in self._ended]).encode(),
                b"cursor": json.dumps(self.cursor and self.cursor.to_dict()).encode(),
            }
            self._write_part(table.replace_schema_metadata(state))
            self._remember(self._ended)
            self.rows += len(table)
            self._waiting, self._ended = [], []
        self._flushed_at = time.monotonic()

    def finish(self, problems: list[dict]) -> None:
        """Puts the table together, and the JSON beside it; `problems`: of inputs that came to no source. Without a row
        nothing is left, so that the same command can be given again."""
        self.flush()
        if not self.rows:
            self._throw_away()
            return
        base = self.output if self.output.exists() else None
        sources = [asdict(report) for report in {**self.failed, **self.done}.values()]
        about = _as_json({**self.metadata, "rows": self.rows, "sources": sources, "problems": problems})
        if base is not None and not self._part_files():
            _write_whole(self.sidecar, about)
            (self.folder / "run.json").unlink()
            return
        temporary = self.folder / "merging.tmp"
        try:
            write_table(temporary, self.kind, self.schema, self._stored_tables(), base)
            _write_whole(self._merged_sidecar, about)
            temporary.replace(self._merged)
        finally:
            temporary.unlink(missing_ok=True)
        self._put_in_place()
        (self.folder / "run.json").unlink()

    def _put_in_place(self) -> None:
        # In this order a run that is killed at any point here finds out, by the merged file, that its parts are in it.
        for part in self._part_files():
            part.unlink()
        if self._merged_sidecar.exists():
            self._merged_sidecar.replace(self.sidecar)
        self._merged.replace(self.output)

    def _throw_away(self) -> None:
        self.sidecar.unlink(missing_ok=True)
        self.output.unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.name != "lock":
                path.unlink()

    def _read_back(self) -> None:
        if self._merged.exists():
            self._put_in_place()
        for leftover in (*self.folder.glob("*.tmp"), *self.folder.glob("*.partial"), self._merged_sidecar):
            leftover.unlink(missing_ok=True)
        if self.output.exists():
            if not self.sidecar.exists():
                raise ResumeError(
                    f"{str(self.output)!r} cannot be resumed without {self.sidecar.name}, which says what is in it."
                )
            try:
                before = json.loads(self.sidecar.read_text(encoding="utf-8"))
                reports, self.rows = [SourceReport(**report) for report in before["sources"]], before["rows"]
                if self.output.suffix == ".parquet":
                    pq.read_metadata(self.output)
            except (ValueError, KeyError, TypeError) as error:  # pyarrow's are ValueErrors
                raise ResumeError(
                    f"{str(self.output)!r} cannot be resumed, as it or {self.sidecar.name} is not what an analysis "
                    f"writes ({error!r}). Put both back, or begin anew (--overwrite)."
                ) from error
            self._check_agreement(before)
            self._remember(reports)
        run, parts = self.folder / "run.json", self._part_files()
        if run.exists() and parts:
            self._check_agreement(json.loads(run.read_text(encoding="utf-8")))
        for part in parts:
            with pq.ParquetFile(part) as file:
                state = file.schema_arrow.metadata
                self.rows += file.metadata.num_rows
            self._remember([SourceReport(**report) for report in json.loads(state[b"ended"])])
            cursor = json.loads(state[b"cursor"])
            self.cursor = Cursor.from_dict(cursor) if cursor else None
        self._parts = len(parts)

    def _check_agreement(self, before: dict) -> None:
        ours, theirs = self._agreement(self.metadata), self._agreement(before)
        for name in ours:
            if ours[name] != theirs.get(name):
                raise ResumeError(
                    f"{str(self.output)!r} was begun with another {name}: {theirs.get(name)!r}, now {ours[name]!r}. "
                    "Resume with the same, or begin anew (--overwrite)."
                )

    def _remember(self, reports: list[SourceReport]) -> None:
        for report in reports:
            self.failed.pop(report.source, None)
            (self.failed if report.status == FAILED else self.done)[report.source] = report

    def _part_files(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def _stored_tables(self) -> Iterator[pa.Table]:
        for part in self._part_files():
            yield pq.read_table(part).cast(self.schema)

    def _write_part(self, table: pa.Table) -> None:
        name = self.folder / f"part-{self._parts:08d}.parquet"
        temporary = name.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                pq.write_table(table, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(name)
        finally:
            temporary.unlink(missing_ok=True)
        self._parts += 1


def _as_json(values: dict) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _write_whole(path: Path, text: str) -> None:
    """Writes a file that is never seen half-written."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


__all__ = ["Journal", "ResumeError", "sidecar_path"]
