"""From inputs to rows: `analyze` gives them as a stream, `analyze_to_file` writes them to a table, resumably."""

import importlib.metadata
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from analysis.decode import Span, count_frames
from analysis.journal import Journal, ResumeError
from analysis.model import FaceClassifier, load_classifier
from analysis.onnx_faces import OnnxYuNetDetector
from analysis.pipeline import DONE, FAILED, INCOMPLETE, Batch, Cursor, Pipeline, SourceReport
from analysis.rows import batch_table, table_columns, table_schema
from analysis.sources import CAMERA, FoundSources, Problem, Source, find_sources
from analysis.stages import DETECTION_SIZE
from analysis.writers import rows_of, table_format
from processing.face_detection_clef import FaceDetector, YuNetDetector, find_detector

FORMAT = "clef-analysis-1"
CHANGED = "it has changed since it was analysed, its rows have not; write a new table, or begin anew (--overwrite)"
PACKAGES = ("clef-faces", "torch", "transformers", "numpy", "pillow", "av", "opencv-python-headless", "pyarrow")


@dataclass
class Analysis:
    """What is to be done, and how. Iterating over it gives the rows; each iteration begins anew.

    found: the sources, and inputs that came to none. reports: of the sources, as they end. columns and metadata: of the
    table.
    """

    found: FoundSources
    classifier: FaceClassifier
    make_detector: Callable[[], FaceDetector]
    detector: dict
    span: Span
    max_faces: int | None
    batch_size: int
    threads: int
    reports: list[SourceReport] = field(default_factory=list)

    def __post_init__(self):
        self.columns = table_columns(self.classifier.groups)
        self.metadata = self._describe()
        self.schema = table_schema(self.columns)

    @property
    def problems(self) -> list[Problem]:
        """Inputs that came to no source, and sources that could not be read, or not to their end."""
        broken = [Problem(report.source, report.problem) for report in self.reports if report.problem is not None]
        return [*self.found.problems, *broken]

    def __iter__(self) -> Iterator[dict]:
        self.reports.clear()
        pipeline = self.start(self.found.sources)
        try:
            while (batch := pipeline.next_batch()) is not None:
                self.reports += batch.ended
                yield from rows_of(self.table(batch))
        finally:
            pipeline.close()
        for problem in self.problems:
            warnings.warn(f"{problem.source}: {problem.message}", stacklevel=2)

    def start(self, sources: Sequence[Source], cursor: Cursor | None = None) -> Pipeline:
        """The threads that analyse `sources`, under way; whoever starts them closes them."""
        return Pipeline(
            sources,
            self.classifier,
            self.make_detector,
            self.span,
            max_faces=self.max_faces,
            batch_size=self.batch_size,
            threads=self.threads,
            cursor=cursor,
        )

    def table(self, batch: Batch) -> pa.Table:
        return batch_table(batch, self.classifier.groups, self.schema)

    def _describe(self) -> dict:
        classifier = self.classifier
        return {
            "format": FORMAT,
            "columns": [column.described() for column in self.columns],
            "model": {
                "name": classifier.name,
                "weights_sha256": classifier.weights,
                "crop_recipe": classifier.recipe.name,
                "crop_size": classifier.crop_size,
                "mirror": classifier.mirror,
                "label_groups": [vars(group) for group in classifier.groups],
                "neutral_logits": classifier.neutral_logits,
                "labels_of_the_user": classifier.texts,
            },
            "detector": self.detector,
            "settings": {
                "every": self.span.every,
                "from_s": self.span.start,
                "to_s": self.span.stop,
                "max_faces": self.max_faces,
            },
            "run": {
                "device": str(classifier.device),
                "backend": classifier.backend,
                "batch_size": self.batch_size,
                "threads": self.threads,
            },
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        }


def analyze(
    inputs: str | os.PathLike | int | Sequence,
    *,
    model: str | Path | None = None,
    labels: Sequence[str] | Mapping[str, str] | None = None,
    every: int = 1,
    start: float | None = None,
    stop: float | None = None,
    max_faces: int | None = None,
    detector: str | FaceDetector = "auto",
    detection_size: int = DETECTION_SIZE,
    device: str | None = None,
    backend: str = "torch",
    mirror: bool = False,
    thresholds: Mapping[str, float] | None = None,
    batch_size: int = 16,
    threads: int | None = None,
) -> Analysis:
    """Action units and expressions of all faces in images and videos, row by row.

    ```python
    for row in analyze("interview.mp4"):
        if row["face_found"]:
            print(row["time_s"], row["track_id"], row["AU12_probability"], row["expression"])
    ```

    Args:
        inputs: one or several image or video files, folders, globs, text files that list these, or a camera's index;
            see `analysis.sources.find_sources`.
        model: folder or Hub id of a CLEF checkpoint; default: the one that ships with the project.
        labels: instead of the checkpoint's own labels these words; see `analysis.model.load_classifier`.
        every: of every source take frames 0, every, 2·every, …
        start, stop: take the part of videos from `start` to before `stop`, in seconds by the container's clock, as in
            the column `time_s`: recordings may begin at another time than 0.
        max_faces: at most so many a frame, the largest.
        detector: "auto", "yunet", "haar", the path of a YuNet model (.onnx), or a detector of your own, which is then
            used by one thread.
        detection_size: pictures are scaled down to so many pixels, on their longer side, to look for faces; crops are
            cut from the whole picture. 480 finds faces from about a thirtieth of the picture's width and takes YuNet
            about 12 ms on one core; more finds smaller ones and takes longer.
        device: where the model runs; default: the GPU if there is one.
        backend: "torch", or "onnx": ONNX Runtime runs the model (see `analysis.model.load_classifier`), and YuNet.
        mirror: average each face's scores with those of its mirror image; somewhat better, and the model takes twice
            as long.
        thresholds: label → probability from which it counts as present, instead of the one that was fitted.
        batch_size: a batch is encoded as soon as it holds so many faces.
        threads: how many look for faces, and run the model where there is no GPU; default: one a processor core.

    Returns:
        An `Analysis`. Iterating over it yields a dict for each frame and face, or for a frame without a face, with the
        table's columns as keys and None where there is nothing. A source that cannot be read does not raise: it is
        warned about at the end, and listed in `problems`.

    Raises:
        ValueError: an option is out of range, or does not fit the checkpoint. FileNotFoundError: no such checkpoint or
        detector. ImportError: OpenCV is missing, or what the backend needs.
    """
    span = Span(every, start, stop)
    for name, value in (("max_faces", max_faces), ("batch_size", batch_size), ("threads", threads)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    make_detector, about_detector = _detector_maker(detector, detection_size, backend)
    if not isinstance(detector, str):
        threads = 1
    classifier = load_classifier(model, labels, device, backend, mirror, thresholds)
    return Analysis(
        find_sources(inputs),
        classifier,
        make_detector,
        about_detector,
        span,
        max_faces,
        batch_size,
        threads or _processors(),
    )


@dataclass
class Outcome:
    """What became of a run.

    done, incomplete, failed: how many sources of this run. skipped: how many an earlier run had finished. frames,
    frames_with_face, faces: of this run. rows: in the table, those of earlier runs too. seconds: this run took.
    problems: what went wrong, and where; of sources of an earlier run, what is missing of them, or that they changed.
    """

    done: int = 0
    incomplete: int = 0
    failed: int = 0
    skipped: int = 0
    frames: int = 0
    frames_with_face: int = 0
    faces: int = 0
    rows: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)


def analyze_to_file(
    analysis: Analysis, output: str | Path, *, resume: bool = False, overwrite: bool = False, progress: bool = False
) -> Outcome:
    """Writes all rows of `analysis` to `output`, and what they mean to `output`.json; without a row, as when no source
    can be read, neither.

    Args:
        output: .parquet, .csv, .jsonl or .ndjson.
        resume: go on where an earlier run was killed, skip what is finished, and add what is new. Of a source that
            has changed since, or that is left out now, the rows that are there stay, and `Outcome.problems` says so.
            A file whose path is spelled otherwise now is the same file and keeps its first name, in
            `analysis.found` too.
        overwrite: throw away what lies there.
        progress: show frames a second and the time left on stderr.

    Raises:
        FileExistsError: `output` or an unfinished run is there, and neither `resume` nor `overwrite` is given; or
            another process writes the same output.
        ValueError: another suffix. ResumeError: other settings than before, or a source that lies elsewhere now.
        OSError: the output cannot be written, as on a full disk; what was written before can be resumed.
    """
    output = Path(output)
    table_format(output)
    began = time.monotonic()
    schema = table_schema(analysis.columns, {b"clef": json.dumps(analysis.metadata, ensure_ascii=False).encode()})
    with Journal(output, schema, analysis.metadata, _agreement, resume, overwrite) as journal:
        sources = analysis.found.sources = _as_recorded(analysis.found.sources, journal)
        left_out = _end_half_done(sources, journal)
        pending = _pending(sources, journal)
        problems = [*analysis.found.problems, *left_out, *_earlier_problems(sources, journal)]
        outcome = Outcome(skipped=len(sources) - len(pending), problems=problems)
        pipeline = analysis.start(pending, journal.cursor)
        bar = _progress_bar(pending, analysis.span, journal.cursor, progress)
        try:
            _write_batches(analysis, pipeline, journal, outcome, bar)
        except KeyboardInterrupt:
            journal.flush()
            raise
        finally:
            pipeline.close()
            bar.close()
        journal.finish([vars(problem) for problem in analysis.found.problems])
        outcome.rows = journal.rows
    outcome.seconds = time.monotonic() - began
    return outcome


def _write_batches(analysis: Analysis, pipeline: Pipeline, journal: Journal, outcome: Outcome, bar: tqdm) -> None:
    while True:
        try:
            batch = pipeline.next_batch()
        except KeyboardInterrupt:
            if not any(source.kind == CAMERA for source in pipeline.sources):
                raise
            pipeline.finish_reading()  # a camera has no other end
            continue
        if batch is None:
            return
        journal.add(analysis.table(batch), batch.ended, batch.cursor)
        for report in batch.ended:
            outcome.done += report.status == DONE
            outcome.incomplete += report.status == INCOMPLETE
            outcome.failed += report.status == FAILED
            if report.problem is not None:
                outcome.problems.append(Problem(report.source, report.problem))
        outcome.frames += len(batch.frames)
        outcome.frames_with_face += sum(bool(frame.faces) for frame in batch.frames)
        outcome.faces += sum(len(frame.faces) for frame in batch.frames)
        bar.update(len(batch.frames))
        if batch.frames:
            bar.set_postfix_str(f"faces: {outcome.faces}, {batch.frames[-1].source[-40:]}", refresh=False)


def _as_recorded(sources: Sequence[Source], journal: Journal) -> list[Source]:
    """The sources, each by the name that an earlier run gave it: by another one its rows would come twice."""
    before = {**journal.failed, **journal.done}
    if journal.cursor is not None:
        before[journal.cursor.report.source] = journal.cursor.report
    before = {name: report for name, report in before.items() if report.kind != CAMERA}
    by_path = {os.path.realpath(name): name for name in before}
    named = []
    for source in sources:
        recorded = None if source.path is None else by_path.get(os.path.realpath(source.path))
        if source.name not in before and recorded is not None:
            # From another working folder a relative name may be that of another file.
            if os.path.isabs(recorded) or not _changed(source, before[recorded]):
                source = replace(source, name=recorded)
        named.append(source)
    present = {source.name for source in named}
    for name, report in before.items():
        if name in present or name in journal.failed or os.path.exists(name) or report.fingerprint is None:
            continue
        for source in named:
            alike = source.name not in before and Path(source.name).name == Path(name).name
            if alike and not _changed(source, report):
                raise ResumeError(
                    f"{name!r}, of which there are rows, seems to be {source.name!r} now: give the inputs as they were "
                    "given then, from the same working folder, or begin anew (--overwrite)."
                )
    return named


def _end_half_done(sources: Sequence[Source], journal: Journal) -> list[Problem]:
    """Ends the source within which an earlier run stopped, where it cannot go on: what there is until then is all of
    it. Returns what is to be said of one that is not among `sources`."""
    if journal.cursor is None:
        return []
    before = journal.cursor.report
    source = next((source for source in sources if source.name == before.source), None)
    if before.kind == CAMERA:  # which cannot go back
        problem = "the recording was broken off"
    elif source is None or _changed(source, before):
        alike = [source.name for source in sources if source.fingerprint() == before.fingerprint is not None]
        if source is None and alike:
            raise ResumeError(
                f"the unfinished run stopped within {before.source!r}, which seems to be {alike[0]!r} now: give the "
                "inputs as they were given then, or begin anew (--overwrite)."
            )
        problem = "the run was broken off within it; begin anew (--overwrite) to have the rest"
    else:
        return []
    journal.add(journal.schema.empty_table(), [replace(before, status=INCOMPLETE, problem=problem)], None)
    journal.flush()
    return [Problem(before.source, f"{problem}, and it is not among the inputs now")] if source is None else []


def _pending(sources: Sequence[Source], journal: Journal) -> list[Source]:
    """The sources that are still to be analysed, a half-done one first."""
    half = journal.cursor.report.source if journal.cursor is not None else None
    return sorted((source for source in sources if source.name not in journal.done), key=lambda one: one.name != half)


def _earlier_problems(sources: Sequence[Source], journal: Journal) -> list[Problem]:
    """What is to be said of sources whose rows an earlier run wrote: that they have changed since, and again what of
    them could not be read."""
    problems = []
    for source in sources:
        report = journal.done.get(source.name)
        if report is None:
            continue
        known = [report.problem] if report.problem else []
        known += [CHANGED] if _changed(source, report) else []
        if known:
            problems.append(Problem(source.name, "; ".join(known)))
    return problems


def _changed(source: Source, before: SourceReport) -> bool:
    return source.kind != CAMERA and source.fingerprint() != before.fingerprint


def _agreement(metadata: dict) -> dict[str, Any]:
    """What rows of one table must have in common."""
    model = metadata["model"]
    return {
        "list of columns": [column["name"] for column in metadata["columns"]],
        "model (SHA-256 of its weights)": model["weights_sha256"],
        "crop recipe": model["crop_recipe"],
        "choice of mirroring": model.get("mirror", False),
        "set of labels": model["label_groups"],
        "detector": metadata["detector"],
        "choice of frames and faces": metadata["settings"],
    }


def _progress_bar(sources: Sequence[Source], span: Span, cursor: Cursor | None, shown: bool) -> tqdm:
    counts = [count_frames(source, span) for source in sources] if shown else [None]
    return tqdm(
        total=None if None in counts else sum(counts),
        initial=cursor.report.frames if cursor else 0,
        unit=" frames",
        desc="analysing",
        disable=not shown,
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 30,  # seconds; a log needs fewer lines than a screen
        smoothing=0.1,
    )


def _detector_maker(detector: str | FaceDetector, size: int, backend: str) -> tuple[Callable[[], FaceDetector], dict]:
    """What makes a detector for a thread, and what is written down about it. The first one is made at once, so that
    what is missing is known before anything is read."""
    if not isinstance(detector, str):
        return (lambda: detector), {"name": type(detector).__name__, "file": None, "detection_size": None}
    name, path = ("yunet", detector) if detector.endswith(".onnx") else (detector, None)
    first = find_detector(name, path, size)
    make = partial(find_detector, name, path, size)
    if backend == "onnx" and isinstance(first, YuNetDetector):
        make = partial(OnnxYuNetDetector, first.path, longest_side=size)
        first = make()
    return make, {"name": type(first).__name__, "file": Path(first.path).name, "detection_size": size}


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
