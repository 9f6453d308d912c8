"""Corpora written as Parquet shards: in bounded memory, by all cores, going on after a run that was killed.

A corpus is a plan (which rows lie in which file) and a function that makes rows. Files appear under their name only
when they are complete, so what is there need not be made again.
"""

import functools
import multiprocessing
import os
import secrets
import shutil
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.utils import tqdm
from filelock import FileLock
from threadpoolctl import threadpool_limits

from processing.corpora.cache_folders import copy_folder, make_cache_folder

ROWS_PER_SHARD = 3000


@dataclass(frozen=True)
class Task:
    """A few hundred rows that are made together: `key` says which, in whatever way the corpus likes."""

    key: Any
    rows: int


@dataclass(frozen=True)
class Shard:
    """One file and the tasks whose rows it holds, in order."""

    name: str
    tasks: tuple[Task, ...]

    @property
    def rows(self) -> int:
        return sum(task.rows for task in self.tasks)


def plan_shards(split: str, tasks: Sequence[Task], rows_per_shard: int = ROWS_PER_SHARD) -> list[Shard]:
    """Distribute a split's tasks, in order, over files of about `rows_per_shard` rows; a task is never cut."""
    groups, rows = [[]], 0
    for task in tasks:
        if rows >= rows_per_shard:
            groups.append([])
            rows = 0
        groups[-1].append(task)
        rows += task.rows
    return [
        Shard(f"{split}-{number:05d}-of-{len(groups):05d}.parquet", tuple(group)) for number, group in enumerate(groups)
    ]


def write_shards(
    folder: Path,
    shards: Sequence[Shard],
    features: datasets.Features,
    make_rows: Callable[[Any], dict[str, list]],
    num_proc: int,
    title: str,
    anew: Sequence[Shard] = (),
) -> None:
    """Write those of `shards` that are not in `folder` yet. The caller holds the folder's lock.

    Args:
        make_rows: columns of a task, from its key; a function of the key alone. It runs in `num_proc` processes: forked
            on Linux, pickled elsewhere. BLAS has one thread in each, so that results do not depend on their number.
        title: of the progress bar, which counts faces.
        anew: those to be written although they are there; the old file stays until the new one is complete.

    Raises ValueError when a task makes another number of rows than the plan says.
    """
    for leftover in folder.glob("*.tmp"):  # of a run that was killed
        leftover.unlink()
    missing = missing_shards(folder, shards)
    missing = [shard for shard in shards if shard in missing or shard in anew]
    schema = features.arrow_schema
    total = sum(shard.rows for shard in shards)
    there = total - sum(shard.rows for shard in missing)
    keys = [task.key for shard in missing for task in shard.tasks]
    with tqdm(total=total, initial=there, unit="face", desc=title) as progress:
        results = map_in_order(make_rows, keys, num_proc)
        try:
            for shard in missing:
                _write_shard(folder / shard.name, shard, schema, results, progress)
        finally:
            results.close()


def missing_shards(folder: Path, shards: Sequence[Shard]) -> list[Shard]:
    """Those of `shards` that `folder` does not hold as complete files."""
    return [shard for shard in shards if not _is_complete(folder / shard.name, shard.rows)]


def unreadable_shards(folder: Path, shards: Sequence[Shard]) -> list[Shard]:
    """Those of `shards` that are damaged within, which takes reading all of them."""
    return [shard for shard in shards if not _is_readable(folder / shard.name)]


def open_shards(
    folder: Path, shards: Sequence[Shard], features: datasets.Features | None = None, split: str | None = None
) -> datasets.Dataset:
    """The shards (of one split) as a memory-mapped data set, by way of an Arrow copy that is kept, see `copy_folder`.

    A copy that is damaged, by a full disk or a loss of power, is made anew. Raises OSError where it cannot be kept, and
    datasets.exceptions.DatasetGenerationError where the shards themselves cannot be read.
    """
    copy = copy_folder(folder) / (split or "")
    make_cache_folder(copy.parent)
    read = functools.partial(
        datasets.Dataset.from_parquet,
        [str(folder / shard.name) for shard in shards],
        split=datasets.NamedSplit(split) if split else None,
        features=features,
        cache_dir=str(copy),
    )
    # One process makes the copy, the others of the same launch wait for it.
    with FileLock(f"{copy}.lock"):
        try:
            dataset = read()
            if len(dataset) == sum(shard.rows for shard in shards):
                return dataset
        except (OSError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
            pass
        shutil.rmtree(copy, ignore_errors=True)
        return read()


def map_in_order(function: Callable[[Any], Any], keys: Sequence[Any], num_proc: int) -> Iterator[Any]:
    """Yields `function(key)` in order, computed by `num_proc` processes that run only a little ahead."""
    num_proc = min(num_proc, len(keys))
    if num_proc <= 1:
        with threadpool_limits(1):
            yield from map(function, keys)
        return
    # Forked workers inherit what `function` holds and what is compiled already. Elsewhere fork is unsafe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(num_proc, mp_context=context, initializer=_start_worker, initargs=(function,))
    pending = deque()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*use of fork.*", category=DeprecationWarning)
            for key in keys:
                pending.append(pool.submit(_run_task, key))
                if len(pending) > 2 * num_proc:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


_function: Callable[[Any], Any] | None = None  # of this worker process


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    threadpool_limits(1)
    # A worker whose parent was killed would wait for tasks for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _run_task(key: Any) -> Any:
    return _function(key)


def _is_complete(file: Path, rows: int) -> bool:
    """Whether `file` is a whole Parquet file of `rows` rows; one that was cut short lacks the footer that says so."""
    try:
        return pq.read_metadata(file).num_rows == rows
    except (OSError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
        return False


def _is_readable(file: Path) -> bool:
    try:
        for _ in pq.ParquetFile(file).iter_batches():
            pass
    except (OSError, ValueError):
        return False
    return True


def _write_shard(file: Path, shard: Shard, schema: pa.Schema, results: Iterator[dict], progress: tqdm) -> None:
    """Write a shard, a row group a task, under a temporary name that it loses when it is complete."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    # Images are compressed already, and dictionaries help only where values repeat.
    repeating = [field.name for field in schema if pa.types.is_string(field.type)]
    try:
        with pq.ParquetWriter(temporary, schema, compression="none", use_dictionary=repeating) as writer:
            for task in shard.tasks:
                table = pa.table(next(results), schema=schema)
                if len(table) != task.rows:
                    raise ValueError(f"{task.key} made {len(table)} rows of {file.name}; planned were {task.rows}")
                writer.write_table(table)
                progress.update(task.rows)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
