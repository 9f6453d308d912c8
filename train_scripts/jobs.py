"""Runs commands that depend on each other, several at a time; what is done already is skipped."""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parents[1]
# Scripts whose code no job's result depends on, by how their names begin.
IRRELEVANT = (
    "ablation",
    "compare",
    "cross_validate",
    "jobs",
    "quickstart",
    "report",
    "result",
    "zero_shot",
)
# What the adapters of official files read labels, points and boxes from.
LABEL_FILES = (".csv", ".txt", ".npy")


@dataclass
class Job:
    """One command. It is done when `folder/done.json` names the same command, code and files that it starts from."""

    name: str
    command: list[str]
    folder: Path
    needs: list[str] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"


def run_jobs(jobs: list[Job], parallel: int, threads: int = 1) -> dict[str, float]:
    """Runs the jobs, at most `parallel` at a time, each on so many threads and no more, so that results do not depend
    on the machine's cores. Returns each job's seconds.

    Raises:
        RuntimeError: a job failed; the end of its log is in the message, and the other jobs are stopped.
    """
    fingerprints = _fingerprints(jobs, threads)
    waiting, running, seconds = list(jobs), {}, {}
    try:
        while waiting or running:
            for job in [job for job in waiting if all(need in seconds for need in job.needs)]:
                done = _read_stamp(job.folder)
                if done.get("fingerprint") == fingerprints[job.name]:
                    seconds[job.name] = done["seconds"]
                    waiting.remove(job)
                    tqdm.write(f"{job.name}: done before")
                elif len(running) < parallel:
                    waiting.remove(job)
                    running[job.name] = _Running(job, fingerprints[job.name], len(running), threads)
            time.sleep(0.2)
            for name, process in list(running.items()):
                if process.finished():
                    seconds[name] = process.seconds
                    del running[name]
                    tqdm.write(f"{name}: {process.seconds:.0f} s")
    finally:
        for process in running.values():
            process.stop()
    return seconds


def _read_stamp(folder: Path) -> dict:
    """Of a job that is done; empty if there is none, or none that could be written to its end."""
    try:
        return json.loads((folder / "done.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


class _Running:
    def __init__(self, job: Job, fingerprint: str, position: int, threads: int):
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / "done.json").unlink(missing_ok=True)
        started, text = job.folder / "started.json", json.dumps({"fingerprint": fingerprint})
        if not started.exists() or started.read_text() != text:
            # What an earlier, different command left: a job that resumes must not go on from it.
            (job.folder / "history.jsonl").unlink(missing_ok=True)
            shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
            started.write_text(text)
        self.job, self.fingerprint, self.began = job, fingerprint, time.perf_counter()
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        environment["PYTHONUNBUFFERED"] = "1"
        with job.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *job.command], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        # No bar where there is no terminal: redrawn lines would fill a log.
        self.bar = tqdm(desc=job.name, unit="step", position=position, leave=False, disable=None)

    def finished(self) -> bool:
        code = self.process.poll()
        if code is None:
            self._show_progress()
            return False
        self.bar.close()
        if code:
            tail = "\n".join(self.job.log.read_text(errors="replace").splitlines()[-25:])
            raise RuntimeError(f"{self.job.name} failed with exit status {code}; the end of {self.job.log}:\n{tail}")
        self.seconds = round(time.perf_counter() - self.began, 1)
        stamp = {"fingerprint": self.fingerprint, "seconds": self.seconds}
        (self.job.folder / "done.json").write_text(json.dumps(stamp))
        return True

    def _show_progress(self) -> None:
        history = self.job.folder / "history.jsonl"
        lines = history.read_text().splitlines() if history.exists() else []
        if lines and lines[-1].endswith("}"):
            line = json.loads(lines[-1])
            self.bar.total, self.bar.n = line["total_steps"], line["step"]
            speed = f"loss {line['loss']:.3f}, {line['images_per_second']:.0f} images/s"
            self.bar.set_postfix_str(speed, refresh=False)
            self.bar.refresh()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.bar.close()


def _fingerprints(jobs: list[Job], threads: int) -> dict[str, str]:
    """What each job's result depends on: the source code, its command and threads, the files that the command and
    its --corpus_options name, the label files below its --root, and the jobs before it."""
    code, fingerprints = _code_digest(), {}
    contents, labels = functools.cache(_contents), functools.cache(_labels)  # many jobs name the same files
    # What jobs write is there only after the first time, and is known by their own fingerprints.
    written = frozenset(job.folder.resolve() for job in jobs)
    for job in jobs:
        paths = [Path(ROOT, argument) for argument in job.command[1:] if os.path.exists(Path(ROOT, argument))]
        files = [contents(path) for path in paths if path.resolve() not in written]
        roots = [Path(ROOT, value) for value in _values(job, "--root")]
        files += [labels(root, written) for root in roots if root.is_dir()]
        files += [contents(path) for options in _values(job, "--corpus_options") for path in _files_in(options)]
        parts = [code, str(threads), *job.command, *files, *(fingerprints[need] for need in job.needs)]
        fingerprints[job.name] = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return fingerprints


def _values(job: Job, flag: str) -> list[str]:
    return [value for name, value in zip(job.command, job.command[1:], strict=False) if name == flag]


def _files_in(corpus_options: str) -> list[Path]:
    """Files that options of a corpus, as JSON, name, such as DISFA's `segments`: they may lie outside its root."""
    values = [value for value in json.loads(corpus_options).values() if isinstance(value, str)]
    return [path for value in values if os.path.isfile(path := Path(ROOT, value))]


def _contents(path: Path) -> str:
    """Of a file what is in it. Of a folder what it says of a prepared corpus or a model, and which weights it has."""
    files = [path]
    if path.is_dir():
        files = [file for name in ("metadata.json", "config.json") if (file := path / name).is_file()]
        files += sorted(path.glob("*.safetensors"))
    return "\n".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def _labels(root: Path, written: frozenset[Path]) -> str:
    """Of the label files below a data set's root, by name and content, but for those that runs write: in the folders
    `written`, and in those above them, where tables of results lie.

    By content, as a set that was copied or unpacked again is the same, and training again takes hours where reading its
    tables takes seconds (every job's adapter reads them, too). Pictures and videos are not looked at: a million of them
    would take too long, and labels are what people correct.
    """
    digest, seen = hashlib.sha256(), set()
    above = {folder for job in written for folder in job.parents} - {root.resolve()}
    for folder, folders, files in os.walk(root, followlinks=True):
        here = Path(folder).resolve()
        if here in seen or here in written:  # seen: a link back
            folders.clear()
            continue
        seen.add(here)
        folders.sort()
        names = [name for name in files if name.lower().endswith(LABEL_FILES) and here not in above]
        for file in sorted(Path(folder, name) for name in names):
            digest.update(f"\n{file.relative_to(root).as_posix()} ".encode(errors="surrogateescape"))
            try:
                digest.update(hashlib.sha256(file.read_bytes()).digest())
            except OSError:  # for the adapter to report
                digest.update(b"unreadable")
    return digest.hexdigest()


def _code_digest() -> str:
    """Of the files that jobs may run; those that only read their results are left out."""
    digest = hashlib.sha256()
    for package in ("modeling_clef", "processing", "train_scripts"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if not path.name.startswith(IRRELEVANT):
                digest.update(path.read_bytes())
    return digest.hexdigest()
