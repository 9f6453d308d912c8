"""Tables that go on where a run was killed: no row lost, none doubled, the same values."""

import contextlib
import errno
import gc
import io
import json
import multiprocessing
import os
import random
import signal
import sys
import time

import pyarrow.parquet as pq
import pytest

pytest.importorskip("cv2", reason="needs opencv-python-headless")
pytest.importorskip("av", reason="needs PyAV")

from analysis import analyze, analyze_to_file, journal
from analysis.journal import Journal, ResumeError


@pytest.fixture
def sources(tmp_path, make_video, make_blocks, make_block_picture):
    """Two videos of one name, pictures, and a file that is none."""
    from PIL import Image

    folder = tmp_path / "sources"
    for name, count in (("a", 30), ("b", 17)):
        (folder / name).mkdir(parents=True)
        # A frame a second: who is gone for a frame comes back with another number, which the tracker must know.
        make_video(folder / name / "clip.mp4", make_blocks(count), fps=1)
    for number in range(5):
        Image.fromarray(make_block_picture((10 * number, 20), texture=number)).save(folder / f"m{number}.png")
    (folder / "broken.mp4").write_text("no video")
    return folder


class Slow:
    """A detector that takes its time."""

    def __init__(self, detector, seconds):
        self.detector, self.seconds = detector, seconds

    def detect(self, image):
        time.sleep(self.seconds)
        return self.detector.detect(image)


@pytest.fixture
def run(checkpoint, detector):
    def make(inputs, **options):
        return analyze(inputs, **{"model": checkpoint, "detector": detector, "batch_size": 4, **options})

    return make


@pytest.fixture
def many_parts(monkeypatch):
    """A part a batch."""
    monkeypatch.setattr(journal, "SECONDS_A_PART", 0.0)


class Killed(BaseException):
    pass


def kill_after(monkeypatch, name, count):
    """The run is gone when the journal does `name` for the `count`th time."""
    original, calls = getattr(Journal, name), []

    def method(self, *args):
        calls.append(name)
        if len(calls) == count:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(Journal, name, method)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_run_broken_off_after_any_part_goes_on_to_the_same_table(
    run, sources, tmp_path, many_parts, suffix, monkeypatch
):
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    first = analyze_to_file(run(sources), whole)
    assert (first.done, first.failed) == (7, 1)
    runs = 0
    while runs < 40:
        runs += 1
        with monkeypatch.context() as patch:
            kill_after(patch, "add", 4)
            try:
                last = analyze_to_file(run(sources), parts, resume=True)
                break
            except Killed:
                continue
    assert runs >= 4 and parts.read_bytes() == whole.read_bytes()
    assert last.rows == first.rows and last.done + last.skipped == 7 and last.failed == 1
    about = [json.loads(path.with_name(path.name + ".json").read_text()) for path in (whole, parts)]
    assert sorted(about[0]["sources"], key=str) == sorted(about[1]["sources"], key=str)
    assert not parts.with_name(parts.name + ".unfinished").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_process_killed_at_any_moment_goes_on_to_the_same_table(
    run, sources, tmp_path, many_parts, detector, request
):
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    analyze_to_file(run(sources), whole)
    analysis = run(sources, detector=Slow(detector, 0.02))
    folder = tmp_path / "parts.parquet.unfinished"
    fork, moments, killed = multiprocessing.get_context("fork"), random.Random(0), 0
    # Decoders that lie in garbage end their threads when it is collected; a forked process lacks these and would wait.
    gc.collect()
    gc.freeze()
    request.addfinalizer(gc.unfreeze)
    while killed < 60:
        before = len(list(folder.glob("part-*")))
        process = fork.Process(target=analyze_to_file, args=(analysis, parts), kwargs={"resume": True})
        process.start()
        # Every other time it gets at least one part further; however fast it is, some kills come before its end.
        latest = time.monotonic() + 60
        while killed % 2 and process.is_alive() and len(list(folder.glob("part-*"))) == before:
            assert time.monotonic() < latest, "it gets no further"
            time.sleep(0.002)
        process.join(moments.uniform(0, 0.1) if killed < 12 else 60)
        if process.exitcode is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed += 1
    assert process.exitcode == 0 and killed >= 3
    assert pq.read_table(parts).equals(pq.read_table(whole))


@pytest.mark.parametrize("step", ["write_table", "_write_whole", "unlink", "sidecar", "merged", "run"])
def test_a_run_killed_while_it_puts_the_table_together(run, sources, tmp_path, many_parts, monkeypatch, step):
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    analyze_to_file(run(sources), whole)

    def dies_when(condition, original):
        def function(self, *args, **kwargs):
            if condition(self, *args):
                raise Killed
            return original(self, *args, **kwargs)

        return function

    from pathlib import Path

    with monkeypatch.context() as patch:
        if step in ("write_table", "_write_whole"):
            original = getattr(journal, step)
            late = dies_when(lambda path, *_: path.suffix == ".tmp" or path.name == "merged.json", original)
            patch.setattr(journal, step, late)
        elif step == "unlink":
            patch.setattr(
                Path, "unlink", dies_when(lambda path, **_: path.name == "part-00000003.parquet", Path.unlink)
            )
        elif step == "run":
            patch.setattr(Path, "unlink", dies_when(lambda path, **_: path.name == "run.json", Path.unlink))
        else:
            name = {"sidecar": "merged.json", "merged": "merged.parquet"}[step]
            patch.setattr(Path, "replace", dies_when(lambda path, target: path.name == name, Path.replace))
        with pytest.raises(Killed):
            analyze_to_file(run(sources), parts)
    outcome = analyze_to_file(run(sources), parts, resume=True)
    assert outcome.done == 0 and outcome.skipped == 7
    assert pq.read_table(parts).equals(pq.read_table(whole)) and outcome.rows == pq.read_metadata(parts).num_rows
    assert {source["status"] for source in json.loads((tmp_path / "parts.parquet.json").read_text())["sources"]} == {
        "done",
        "failed",
    }


def test_where_all_failed_nothing_is_in_the_way_of_the_next_try(run, sources, tmp_path, make_video, make_blocks):
    path = tmp_path / "tables" / "t.csv"
    outcome = analyze_to_file(run(sources / "broken.mp4"), path)
    assert (outcome.failed, outcome.rows) == (1, 0) and outcome.problems and not list(path.parent.iterdir())
    make_video(sources / "broken.mp4", make_blocks(8))
    assert analyze_to_file(run(sources / "broken.mp4"), path).done == 1
    (sources / "broken.mp4").write_text("no video")
    analyze_to_file(run(sources / "broken.mp4"), path, resume=True)
    assert len(path.read_text().splitlines()) > 8  # rows of an earlier run stay


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_new_sources_are_added_and_failed_ones_are_tried_again(run, sources, tmp_path, make_video, make_blocks, suffix):
    path, whole = tmp_path / f"t{suffix}", tmp_path / f"whole{suffix}"
    analyze_to_file(run([sources / "broken.mp4", sources / "a"]), path)
    again = analyze_to_file(run([sources / "broken.mp4", sources / "a"]), path, resume=True)
    assert (again.done, again.failed, again.skipped) == (0, 1, 1)
    make_video(sources / "broken.mp4", make_blocks(8))
    outcome = analyze_to_file(run([sources / "broken.mp4", sources / "a", sources / "b"]), path, resume=True)
    assert (outcome.done, outcome.failed, outcome.skipped) == (2, 0, 1)
    analyze_to_file(run([sources / "a", sources / "broken.mp4", sources / "b"]), whole)
    if suffix == ".parquet":
        import pandas as pd

        # Batches of one run reach over sources, so values differ in the last bit.
        pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_parquet(whole), rtol=1e-5)
    else:
        lines, expected = path.read_text().splitlines(), whole.read_text().splitlines()
        assert len(lines) == len(expected) == outcome.rows + (suffix == ".csv")
        assert [line.split(",")[:2] for line in lines] == [line.split(",")[:2] for line in expected]
    about = json.loads(path.with_name(path.name + ".json").read_text())
    assert {source["status"] for source in about["sources"]} == {"done"} and len(about["sources"]) == 3


def test_what_an_earlier_run_could_read_in_part_is_told_again(run, tmp_path, make_video, make_blocks):
    whole = make_video(tmp_path / "whole.mkv", make_blocks(60)).read_bytes()
    (tmp_path / "whole.mkv").unlink()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    first = analyze_to_file(run(tmp_path / "cut.mkv"), tmp_path / "t.parquet")
    again = analyze_to_file(run(tmp_path / "cut.mkv"), tmp_path / "t.parquet", resume=True)
    assert (first.incomplete, again.incomplete, again.skipped) == (1, 0, 1)
    assert "are missing" in first.problems[0].message and again.problems == first.problems


def test_what_lies_there_is_not_touched_unasked(run, sources, tmp_path, many_parts, monkeypatch):
    path = tmp_path / "t.parquet"
    with monkeypatch.context() as patch:
        kill_after(patch, "add", 3)
        with pytest.raises(Killed):
            analyze_to_file(run(sources), path)
    with pytest.raises(FileExistsError, match="an unfinished run lies at"):
        analyze_to_file(run(sources), path)
    analyze_to_file(run(sources / "b"), path, overwrite=True)
    assert not (tmp_path / "t.parquet.unfinished").exists()
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="a table lies at"):
        analyze_to_file(run(sources), path)
    assert path.read_bytes() == before
    assert analyze_to_file(run(sources / "a"), path, overwrite=True).rows == pq.read_metadata(path).num_rows
    assert set(pq.read_table(path)["source"].to_pylist()) == {str(sources / "a" / "clip.mp4")}


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_names_that_no_table_can_have(run, sources, tmp_path, options):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="folder.csv' is a folder; choose another name"):
        analyze_to_file(run(sources / "a"), tmp_path / "folder.csv", **options)
    with pytest.raises(FileExistsError, match="file' is no folder"):
        analyze_to_file(run(sources / "a"), tmp_path / "file" / "deeper" / "t.csv", **options)
    assert (tmp_path / "file").read_text() == "mine" and not list((tmp_path / "folder.csv").iterdir())


def test_two_runs_do_not_write_one_table(run, sources, tmp_path):
    from filelock import FileLock

    path = tmp_path / "t.parquet"
    (tmp_path / "t.parquet.unfinished").mkdir()
    with FileLock(tmp_path / "t.parquet.unfinished" / "lock"):
        with pytest.raises(FileExistsError, match="another process"):
            analyze_to_file(run(sources), path, resume=True)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"every": 2}, "choice of frames"),
        ({"labels": ["a big smile"]}, "columns"),
        ({"max_faces": 1}, "choice of frames"),
        ({"mirror": True}, "choice of mirroring"),
    ],
)
def test_a_run_goes_on_with_the_same_settings_only(run, sources, tmp_path, many_parts, monkeypatch, options, what):
    path = tmp_path / "t.parquet"
    with monkeypatch.context() as patch:
        kill_after(patch, "add", 3)
        with pytest.raises(Killed):
            analyze_to_file(run(sources), path)
    with pytest.raises(ResumeError, match=what):
        analyze_to_file(run(sources, **options), path, resume=True)
    analyze_to_file(run(sources), path, resume=True)
    with pytest.raises(ResumeError, match=what):
        analyze_to_file(run(sources, **options), path, resume=True)


def reports(path):
    return {
        os.path.relpath(source["source"], path.parent / "sources"): (source["status"], source["problem"])
        for source in json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))["sources"]
    }


def test_names_in_any_script_are_resumed_in_any_locale(run, tmp_path, make_block_picture, many_parts, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(io, "text_encoding", lambda encoding, *_: encoding or "ascii")
    folder = tmp_path / "Zoë 笑顔"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(make_block_picture((10, 10))).save(folder / f"ü{number}.png")
    with monkeypatch.context() as patch:
        kill_after(patch, "add", 2)
        with pytest.raises(Killed):
            analyze_to_file(run(folder, labels={"Lächeln": "a big smile"}), tmp_path / "t.csv")
    for skipped in (3, 6):
        outcome = analyze_to_file(run(folder, labels={"Lächeln": "a big smile"}), tmp_path / "t.csv", resume=True)
        assert (outcome.skipped, outcome.rows) == (skipped, 6)


def test_a_file_that_changed_keeps_its_rows_and_holds_up_no_other(run, sources, tmp_path):
    path, clip = tmp_path / "t.parquet", sources / "a" / "clip.mp4"
    analyze_to_file(run(sources / "a"), path)
    before = pq.read_table(path)
    os.utime(clip, (2, 2))
    outcome = analyze_to_file(run([sources / "a", sources / "b"]), path, resume=True)
    assert (outcome.done, outcome.skipped) == (1, 1)
    (problem,) = outcome.problems
    assert problem.source == str(clip) and "has changed since it was analysed" in problem.message
    after = pq.read_table(path)
    assert after.slice(0, len(before)).equals(before) and len(after) == outcome.rows > len(before)
    assert reports(path) == {"a/clip.mp4": ("done", None), "b/clip.mp4": ("done", None)}
    assert analyze_to_file(run(sources / "a"), path, resume=True).problems == outcome.problems
    (tmp_path / "t.parquet.json").unlink()
    with pytest.raises(ResumeError, match="without t.parquet.json"):
        analyze_to_file(run(sources / "a"), path, resume=True)


@pytest.mark.parametrize("damage", ["half a record", "another record", "half a table"])
def test_files_that_are_not_what_was_written_are_refused_in_words(run, sources, tmp_path, damage):
    path, record = tmp_path / "t.parquet", tmp_path / "t.parquet.json"
    analyze_to_file(run(sources / "a"), path)
    broken = path if damage == "half a table" else record
    content = broken.read_bytes()
    broken.write_bytes(b"{}" if damage == "another record" else content[: len(content) // 2])
    before = path.read_bytes()
    with pytest.raises(ResumeError, match="is not what an analysis writes"):
        analyze_to_file(run([sources / "a", sources / "b"]), path, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("what", ["changed", "left out"])
def test_a_half_done_file_that_cannot_go_on_is_ended_and_holds_up_no_other(
    run, sources, tmp_path, many_parts, monkeypatch, what
):
    path, clip = tmp_path / "t.parquet", sources / "a" / "clip.mp4"
    with monkeypatch.context() as patch:
        kill_after(patch, "add", 3)  # within it
        with pytest.raises(Killed):
            analyze_to_file(run(sources / "a"), path)
    os.utime(clip, (1, 1))
    inputs = [sources / "a", sources / "b"] if what == "changed" else [sources / "b"]
    outcome = analyze_to_file(run(inputs), path, resume=True)
    assert (outcome.done, outcome.skipped) == (1, len(inputs) - 1)
    (problem,) = outcome.problems
    assert problem.source == str(clip) and "broken off within it" in problem.message
    assert ("has changed" if what == "changed" else "not among the inputs") in problem.message
    assert reports(path) == {
        "a/clip.mp4": ("incomplete", "the run was broken off within it; begin anew (--overwrite) to have the rest"),
        "b/clip.mp4": ("done", None),
    }
    rows = [row["source"] for row in pq.read_table(path).select(["source"]).to_pylist()]
    assert rows == sorted(rows) and 0 < rows.count(str(clip)) < len(rows) == outcome.rows


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("relative_first", [False, True])
def test_a_file_whose_path_is_spelled_otherwise_is_the_same(
    run, sources, tmp_path, many_parts, monkeypatch, killed, relative_first
):
    path, whole = tmp_path / "t.parquet", tmp_path / "whole.parquet"
    monkeypatch.chdir(sources)
    first, second = ("a", sources / "a") if relative_first else (sources / "a", "a")
    analyze_to_file(run(first), whole)
    with monkeypatch.context() as patch:
        if killed:
            kill_after(patch, "add", 3)
        with pytest.raises(Killed) if killed else contextlib.nullcontext():
            analyze_to_file(run(first), path)
    again = run(second)
    outcome = analyze_to_file(again, path, resume=True)
    assert (outcome.done, outcome.skipped, outcome.problems) == (int(killed), int(not killed), [])
    assert pq.read_table(path).equals(pq.read_table(whole))
    assert {source.name for source in again.found.sources} == set(pq.read_table(path)["source"].to_pylist())


@pytest.mark.parametrize("killed", [False, True])
def test_a_file_that_seems_to_lie_elsewhere_is_refused_and_another_is_not(
    run, sources, tmp_path, many_parts, monkeypatch, killed
):
    path = tmp_path / "t.parquet"
    monkeypatch.chdir(sources)
    with monkeypatch.context() as patch:
        if killed:
            kill_after(patch, "add", 3)
        with pytest.raises(Killed) if killed else contextlib.nullcontext():
            analyze_to_file(run("a"), path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResumeError, match="seems to be 'sources/a/clip.mp4' now: give the inputs as they were given"):
        analyze_to_file(run("sources/a"), path, resume=True)
    if not killed:  # the same name in another working folder, but other content
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "clip.mp4").write_bytes((sources / "b" / "clip.mp4").read_bytes())
        outcome = analyze_to_file(run(tmp_path / "a" / "clip.mp4"), path, resume=True)
        assert (outcome.done, outcome.skipped) == (1, 0)
    else:
        monkeypatch.chdir(sources)
        assert analyze_to_file(run("a"), path, resume=True).done == 1


def test_a_full_disk_leaves_what_was_written(run, sources, tmp_path, many_parts, monkeypatch):
    whole, path = tmp_path / "whole.parquet", tmp_path / "t.parquet"
    analyze_to_file(run(sources), whole)
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            analyze_to_file(run(sources), path)
    folder = tmp_path / "t.parquet.unfinished"
    assert len(list(folder.glob("part-*.parquet"))) == 4 and not list(folder.glob("*.tmp"))
    analyze_to_file(run(sources), path, resume=True)
    assert pq.read_table(path).equals(pq.read_table(whole))


def test_the_users_interruption_keeps_every_row(run, sources, tmp_path, monkeypatch):
    path, original, calls = tmp_path / "t.parquet", Journal.add, []

    def add(self, *args):
        original(self, *args)
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "add", add)
    with pytest.raises(KeyboardInterrupt):
        analyze_to_file(run(sources), path)
    (part,) = (tmp_path / "t.parquet.unfinished").glob("part-*.parquet")
    assert pq.read_metadata(part).num_rows == sum(len(table) for table, *_ in calls)


def test_a_recording_that_was_killed_is_kept_as_it_is(run, tmp_path, monkeypatch, make_block_picture, many_parts):
    import cv2

    class Camera:
        def __init__(self, index):
            self.left = 40

        def read(self):
            self.left -= 1
            time.sleep(0.01)
            return (True, make_block_picture((10, 10))[..., ::-1]) if self.left else (False, None)

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    path = tmp_path / "t.parquet"
    with monkeypatch.context() as patch:
        kill_after(patch, "add", 4)
        with pytest.raises(Killed):
            analyze_to_file(run(0), path)
    outcome = analyze_to_file(run(0), path, resume=True)
    (source,) = json.loads((tmp_path / "t.parquet.json").read_text())["sources"]
    assert (source["status"], source["problem"]) == ("incomplete", "the recording was broken off")
    assert outcome.rows == source["faces"] == pq.read_metadata(path).num_rows == 12
