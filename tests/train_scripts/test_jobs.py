import json

import pytest

from train_scripts.jobs import Job, run_jobs
from train_scripts.stage_jobs import stage_job


def job(folder, name, code, needs=()):
    return Job(name, ["-c", code], folder / name, list(needs))


def test_jobs_wait_for_what_they_need_and_are_not_done_twice(tmp_path):
    first = job(tmp_path, "first", f"open({str(tmp_path / 'a')!r}, 'x').write('made')")
    second = job(tmp_path, "second", f"assert open({str(tmp_path / 'a')!r}).read() == 'made'", ["first"])
    seconds = run_jobs([first, second], parallel=2)
    assert set(seconds) == {"first", "second"}
    # Opened with "x", the file would make a second execution fail.
    assert run_jobs([first, second], parallel=2) == seconds


def test_a_job_whose_stamp_was_not_written_to_its_end_runs_again(tmp_path):
    only = job(tmp_path, "only", f"open({str(tmp_path / 'a')!r}, 'a').write('x')")
    run_jobs([only], parallel=1)
    stamp = tmp_path / "only" / "done.json"
    for rest in ("", stamp.read_text()[:20]):
        stamp.write_text(rest)
        run_jobs([only], parallel=1)
    assert (tmp_path / "a").read_text() == "xxx"


def test_a_changed_job_and_what_needs_it_run_again(tmp_path):
    counter = "f = open({!r}, 'a'); f.write('x')".format
    second = job(tmp_path, "second", counter(str(tmp_path / "b")), ["first"])
    run_jobs([job(tmp_path, "first", counter(str(tmp_path / "a"))), second], parallel=1)
    run_jobs([job(tmp_path, "first", counter(str(tmp_path / "a")) + "; 1"), second], parallel=1)
    assert (tmp_path / "a").read_text() == "xx" and (tmp_path / "b").read_text() == "xx"


def test_a_job_runs_again_when_the_files_it_starts_from_have_changed(tmp_path):
    corpus, texts, start = tmp_path / "corpus", tmp_path / "labels.yaml", tmp_path / "start"
    for folder in (corpus, start):
        folder.mkdir()
    files = [corpus / "metadata.json", texts, start / "config.json", start / "model.safetensors"]
    for path in files:
        path.write_text("before")
    paths = ["--root", str(corpus), "--label_texts", str(texts), "--init_from", str(start)]
    count = f"open({str(tmp_path / 'n')!r}, 'a').write('x')"
    first = Job("first", ["-c", count, *paths], tmp_path / "first")
    # Starts from what the first writes, which is not there when both are looked at.
    write = f"open({str(tmp_path / 'first' / 'config.json')!r}, 'a').write('x')"
    second = Job("second", ["-c", write, "--init_from", str(first.folder)], tmp_path / "second", ["first"])
    for times, changed in enumerate([None, *files]):
        if changed:
            changed.write_text("after!")
        for _ in range(2):
            run_jobs([first, second], parallel=1)
            assert (tmp_path / "n").read_text() == "x" * (times + 1)
            assert (first.folder / "config.json").read_text() == "x" * (times + 1)
            files[-1].write_text(files[-1].read_text())  # a copy of the same weights is no change


def test_a_job_runs_again_when_labels_below_its_root_have_changed(tmp_path):
    root, elsewhere = tmp_path / "official", tmp_path / "elsewhere"
    for folder in (root / "AUCoding/AU_OCC", root / "annotations", elsewhere, root / "out" / "first"):
        folder.mkdir(parents=True)
    (root / "linked").symlink_to(elsewhere)
    (root / "back").symlink_to(root)
    files = [root / "AUCoding/AU_OCC/F001_T1.CSV", root / "labels.csv", root / "annotations/1_exp.npy"]
    files.append(elsewhere / "list.txt")
    for path in (*files, root / "picture.jpg"):
        path.write_text("before")
    count = f"open({str(tmp_path / 'n')!r}, 'a').write('x')"
    job = Job("first", ["-c", count, "--root", str(root)], root / "out" / "first")  # its own log.txt is no label
    for times, changed in enumerate([None, *files]):
        if changed:
            changed.write_text("after!")
        for _ in range(2):
            run_jobs([job], parallel=1)
            assert (tmp_path / "n").read_text() == "x" * (times + 1)
            files[-1].write_text(files[-1].read_text())  # a copy is no change
            (root / "picture.jpg").write_text("not a label")
            (root / "out" / "results.csv").write_text(f"{times}: nor is this")
    files[1].rename(root / "other.csv")
    run_jobs([job], parallel=1)
    assert len((tmp_path / "n").read_text()) == len(files) + 2


def test_a_job_runs_again_when_a_file_that_its_corpus_options_name_has_changed(tmp_path):
    segments = tmp_path / "segments.csv"
    segments.write_text("before")
    options = json.dumps({"camera": "left", "segments": str(segments), "labels": ["smirk"]})
    count = f"open({str(tmp_path / 'n')!r}, 'a').write('x')"
    job = Job("first", ["-c", count, "--corpus_options", options], tmp_path / "first")
    for content, times in (("before", 1), ("before", 1), ("after!", 2), ("after!", 2)):
        segments.write_text(content)
        run_jobs([job], parallel=1)
        assert (tmp_path / "n").read_text() == "x" * times
    segments.unlink()
    run_jobs([job], parallel=1)  # for the adapter to report
    assert (tmp_path / "n").read_text() == "x" * 3


def test_paths_of_a_stage_are_those_of_the_working_folder_from_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    settings = dict.fromkeys(("root", "init_from", "vision_tower", "text_tower", "label_texts"), "here")
    command = stage_job("a", "finetune", tmp_path / "run", settings).command
    assert command.count(str(tmp_path / "here")) == len(settings) and "here" not in command


def test_a_failure_shows_the_end_of_its_log_and_is_tried_again(tmp_path):
    broken = job(tmp_path, "broken", "raise SystemExit('the disk is full')")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the disk is full"):
            run_jobs([broken], parallel=1)


def test_a_killed_job_keeps_its_checkpoints_and_another_command_does_not_get_them(tmp_path):
    code = "import os; d = {!r}; print(os.path.exists(d)); os.makedirs(d, exist_ok=True); {}".format
    checkpoints = str(tmp_path / "one" / "checkpoints")
    killed = job(tmp_path, "one", code(checkpoints, "raise SystemExit(1)"))
    for there in ("False", "True"):
        with pytest.raises(RuntimeError):
            run_jobs([killed], parallel=1)
        assert killed.log.read_text().strip() == there
    other = job(tmp_path, "one", code(checkpoints, "pass"))
    run_jobs([other], parallel=1)
    assert other.log.read_text().strip() == "False"


def test_a_job_has_the_threads_it_is_given_and_runs_again_with_others(tmp_path):
    shown = job(tmp_path, "shown", "import os; print(os.environ['OMP_NUM_THREADS'])")
    for threads in (1, 3):
        run_jobs([shown], parallel=1, threads=threads)
        assert shown.log.read_text().strip() == str(threads)
