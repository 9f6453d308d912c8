"""Table files: Parquet, CSV or JSON lines, written piece by piece."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
ROWS_AT_ONCE = 8192  # of a Parquet row group


def table_format(path: Path) -> str:
    """ "parquet", "csv" or "jsonl", by the suffix. Raises ValueError for another one."""
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise ValueError(f"got the output {str(path)!r}; expected a name that ends with {', '.join(FORMATS)}.")
    return found


def write_table(path: Path, kind: str, schema: pa.Schema, tables: Iterator[pa.Table], base: Path | None = None) -> int:
    """Writes the rows of `base`, a file of the same kind and columns, then those of `tables`; memory stays bounded.

    Returns how many rows of `tables` there were. CSV leaves empty what is not there, JSON lines say null.
    """
    rows = 0
    with _WRITERS[kind](path, schema, base) as write:
        for table in _gathered(tables):
            write(table)
            rows += len(table)
    return rows


def rows_of(table: pa.Table) -> list[dict]:
    """The rows as dicts; numbers of 32 bits come with the digits they have, not with those of their 64-bit value."""
    columns = [
        column.cast(pa.string()).cast(pa.float64()) if pa.types.is_float32(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names).to_pylist()


def _gathered(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    waiting, rows = [], 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        if rows >= ROWS_AT_ONCE:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if rows:
        yield pa.concat_tables(waiting)


@contextmanager
def _parquet(path: Path, schema: pa.Schema, base: Path | None):
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        if base is not None:
            with pq.ParquetFile(base) as before:
                for number in range(before.num_row_groups):
                    writer.write_table(before.read_row_group(number).cast(schema))
        yield writer.write_table


@contextmanager
def _csv(path: Path, schema: pa.Schema, base: Path | None):
    with path.open("wb") as file:
        _copy(base, file)
        options = pa_csv.WriteOptions(include_header=base is None)
        with pa_csv.CSVWriter(file, schema, write_options=options) as writer:
            yield writer.write_table


@contextmanager
def _json_lines(path: Path, schema: pa.Schema, base: Path | None):
    with path.open("wb") as file:
        _copy(base, file)

        def write(table: pa.Table) -> None:
            for row in rows_of(table):
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")

        yield write


def _copy(base: Path | None, file) -> None:
    if base is not None:
        with base.open("rb") as before:
            while block := before.read(1 << 20):
                file.write(block)


_WRITERS = {"parquet": _parquet, "csv": _csv, "jsonl": _json_lines}

__all__ = ["rows_of", "table_format", "write_table"]
