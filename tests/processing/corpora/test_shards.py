import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from processing.corpora import shards
from processing.corpora.shards import (
    Task,
    map_in_order,
    missing_shards,
    open_shards,
    plan_shards,
    unreadable_shards,
    write_shards,
)

FEATURES = datasets.Features({"image": datasets.Image(), "number": datasets.Value("int32")})
PLAN = plan_shards("train", [Task((start, 4), 4) for start in range(0, 40, 4)], rows_per_shard=12)


def make_rows(key, log=None):
    start, rows = key
    if log is not None:
        with open(log, "a") as file:
            file.write(f"{start}\n")
    numbers = list(range(start, start + rows))
    return {"image": [{"bytes": bytes([number]) * 50, "path": None} for number in numbers], "number": numbers}


def write(folder, plan=PLAN, make_rows=make_rows, num_proc=1):
    folder.mkdir(exist_ok=True)
    write_shards(folder, plan, FEATURES, make_rows, num_proc, "writing")


def rows(folder, plan=PLAN):
    data = open_shards(folder, plan, FEATURES, "train").cast_column("image", datasets.Image(decode=False))
    return data["number"], [image["bytes"] for image in data["image"]]


def test_a_plan_keeps_order_and_cuts_no_task():
    assert [shard.rows for shard in PLAN] == [12, 12, 12, 4]
    assert [task.key[0] for shard in PLAN for task in shard.tasks] == list(range(0, 40, 4))
    assert PLAN[1].name == "train-00001-of-00004.parquet"
    (only,) = plan_shards("test", [Task(0, 5), Task(1, 5)], rows_per_shard=6)
    assert only.rows == 10
    assert [shard.rows for shard in plan_shards("test", [Task(0, 7), Task(1, 1)], rows_per_shard=6)] == [7, 1]


@pytest.mark.parametrize("num_proc", [1, 3])
def test_what_is_written_is_read_back(tmp_path, num_proc):
    write(tmp_path / "corpus", num_proc=num_proc)
    numbers, images = rows(tmp_path / "corpus")
    assert list(numbers) == list(range(40))
    assert images == [bytes([number]) * 50 for number in range(40)]
    assert sorted(file.name for file in (tmp_path / "corpus").glob("*.parquet")) == [shard.name for shard in PLAN]
    data = open_shards(tmp_path / "corpus", PLAN, FEATURES, "train")
    assert data.features == FEATURES and str(data.split) == "train"
    assert data.cache_files  # memory-mapped, not held


def test_files_say_to_others_what_they_hold(tmp_path):
    write(tmp_path / "corpus")
    data = datasets.Dataset.from_parquet(str(tmp_path / "corpus" / PLAN[0].name), cache_dir=str(tmp_path / "elsewhere"))
    assert data.features == FEATURES


def test_the_number_of_processes_does_not_show_in_the_files(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "three", num_proc=3)
    for shard in PLAN:
        assert (tmp_path / "one" / shard.name).read_bytes() == (tmp_path / "three" / shard.name).read_bytes()


def test_a_row_group_holds_a_task(tmp_path):
    """Writer and reader hold a row group at a time: that is what bounds memory."""
    write(tmp_path / "corpus")
    assert pq.ParquetFile(tmp_path / "corpus" / PLAN[0].name).num_row_groups == 3


def test_shards_that_are_there_are_not_made_again(tmp_path):
    def stops(key):
        if key[0] == 28:
            raise KeyboardInterrupt
        return make_rows(key)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "corpus", make_rows=stops)
    assert missing_shards(tmp_path / "corpus", PLAN) == PLAN[2:]
    assert {file.name for file in (tmp_path / "corpus").iterdir()} == {shard.name for shard in PLAN[:2]}
    log = tmp_path / "log"
    write(tmp_path / "corpus", make_rows=functools.partial(make_rows, log=log))
    assert log.read_text().split() == ["24", "28", "32", "36"]
    assert list(rows(tmp_path / "corpus")[0]) == list(range(40))


@pytest.mark.parametrize("damage", ["missing", "truncated", "other rows"])
def test_damaged_shards_are_made_again(tmp_path, damage):
    write(tmp_path / "corpus")
    file = tmp_path / "corpus" / PLAN[1].name
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        file.write_bytes((tmp_path / "corpus" / PLAN[3].name).read_bytes())
    assert missing_shards(tmp_path / "corpus", PLAN) == [PLAN[1]]
    write(tmp_path / "corpus")
    assert list(rows(tmp_path / "corpus")[0]) == list(range(40))


@pytest.mark.parametrize("damage", ["truncated", "its end lost", "missing", "nothing said about it"])
def test_a_damaged_copy_is_made_anew(tmp_path, damage):
    write(tmp_path)
    (file,) = {entry["filename"] for entry in open_shards(tmp_path, PLAN, FEATURES, "train").cache_files}
    file = Path(file)
    content = file.read_bytes()
    half = len(content) // 2
    if damage == "truncated":
        file.write_bytes(content[:half])
    elif damage == "its end lost":
        file.write_bytes(content[:half] + bytes(len(content) - half))
    elif damage == "missing":
        file.unlink()
    else:
        (file.parent / "dataset_info.json").write_bytes(b"")
    assert list(rows(tmp_path)[0]) == list(range(40))


def test_what_is_damaged_within_is_found(tmp_path, damage_within):
    write(tmp_path)
    assert unreadable_shards(tmp_path, PLAN) == []
    damage_within(tmp_path / PLAN[2].name)
    assert missing_shards(tmp_path, PLAN) == [] and unreadable_shards(tmp_path, PLAN) == [PLAN[2]]


def test_a_task_that_makes_other_rows_than_planned_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\(0, 4\) made 5 rows of train-00000-of-00004.parquet; planned were 4"):
        write(tmp_path / "corpus", make_rows=lambda key: make_rows((key[0], 5)))
    assert list((tmp_path / "corpus").iterdir()) == []


def test_errors_of_workers_arrive(tmp_path):
    def fails(key):
        raise ZeroDivisionError("in a worker")

    with pytest.raises(ZeroDivisionError, match="in a worker"):
        write(tmp_path / "corpus", make_rows=fails, num_proc=2)


def test_workers_run_only_a_little_ahead(tmp_path):
    """Rows that are made but not written yet are held in memory: there must not be many, however slow the disk."""
    log = tmp_path / "log"
    results = map_in_order(functools.partial(make_rows, log=log), [(start, 1) for start in range(200)], num_proc=2)
    assert next(results)["number"] == [0]
    time.sleep(0.3)
    assert len(log.read_text().split()) <= 8
    results.close()


def blas_threads(key):
    np.ones((4, 4)) @ np.ones((4, 4))
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("num_proc", [1, 2])
def test_blas_has_one_thread_wherever_rows_are_made(num_proc):
    with threadpool_limits(2):
        assert set(blas_threads(0)) == {2}
        assert set(sum(map_in_order(blas_threads, range(4), num_proc), [])) == {1}


KILLED = """
import sys, time
from pathlib import Path
from test_shards import PLAN, make_rows, write
def slow(key):
    open(sys.argv[2], "a").write(f"{__import__('os').getpid()}\\n")
    time.sleep(0.2 if key[0] < 16 else 60)
    return make_rows(key)
write(Path(sys.argv[1]), make_rows=slow, num_proc=2)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_goes_on_and_leaves_no_workers(tmp_path):
    pids = tmp_path / "pids"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "corpus"), str(pids)]
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    deadline = time.monotonic() + 60
    while not (tmp_path / "corpus" / PLAN[0].name).exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)  # the second shard is begun
    process.kill()
    process.wait()
    assert list((tmp_path / "corpus").glob("*.tmp"))
    workers = {int(pid) for pid in pids.read_text().split()}
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive the run that started them"
        time.sleep(0.05)
    write(tmp_path / "corpus")
    assert list(rows(tmp_path / "corpus")[0]) == list(range(40))
    assert not list((tmp_path / "corpus").glob("*.tmp"))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # nobody may collect an orphan in a container
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_the_bar_counts_what_is_there_already(tmp_path, monkeypatch):
    write(tmp_path / "corpus", plan=PLAN[:2])
    bars = []

    class Bar(shards.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs, disable=False, file=open(os.devnull, "w"))
            bars.append(self)

    monkeypatch.setattr(shards, "tqdm", Bar)
    write(tmp_path / "corpus")
    assert (bars[0].initial, bars[0].total, bars[0].n) == (24, 40, 40)
