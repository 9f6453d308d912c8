"""Decoding, face finding and encoding side by side, in threads with bounded queues between them.

What comes out does not depend on how the threads are scheduled: frames stay in order, and a batch ends after a number
of faces, frames or sources. A run that goes on at the end of a batch therefore forms the very batches that the whole
run would have formed, and gives the same values to the last bit.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from analysis.channels import END, Channel, Closed
from analysis.decode import Frame, SourceError, Span, read_frames
from analysis.model import FaceClassifier
from analysis.sources import CAMERA, Source
from analysis.stages import FoundFrame, encode_frames, find_faces
from analysis.tracking import FaceTracker
from processing.face_detection_clef import FaceDetector
from processing.opencv_clef import opencv

FRAMES_WAITING = 4  # decoded pictures between decoding and face finding: 25 MB each in 4K
BATCHES_WAITING = 2
FRAMES_A_BATCH = 128  # where there are few faces
SOURCES_A_BATCH = 256  # where there are few frames
NOMINAL_RATE = 25  # frames a second for the tracker, where the container holds no times

DONE, INCOMPLETE, FAILED = "done", "incomplete", "failed"


@dataclass
class SourceReport:
    """What became of a source.

    status: "done", "incomplete" (its rows are there, but not all of it could be read) or "failed" (it has no rows).
    frames, frames_with_face, faces: how many were analysed and found. problem: why, unless it is done.
    dropped: frames of a camera that came while earlier ones were still being analysed.
    fingerprint: see `Source.fingerprint`, at the time the source was opened.
    """

    source: str
    kind: str
    status: str = DONE
    frames: int = 0
    frames_with_face: int = 0
    faces: int = 0
    dropped: int = 0
    problem: str | None = None
    fingerprint: list[int] | None = None


@dataclass
class Cursor:
    """Where a run stands within a source: what it reports so far, the next frame, and the tracker's state."""

    report: SourceReport
    next_frame: int
    tracker: dict

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "Cursor":
        return cls(SourceReport(**values["report"]), values["next_frame"], values["tracker"])


@dataclass
class Batch:
    """Frames that are encoded together, with `probabilities` (faces with a crop, K) once they are; the sources that
    ended among them; and where the run stands after them (None: between two sources)."""

    frames: list[FoundFrame] = field(default_factory=list)
    ended: list[SourceReport] = field(default_factory=list)
    cursor: Cursor | None = None
    probabilities: np.ndarray | None = None


@dataclass(frozen=True)
class _Begin:
    source: Source
    first: int


@dataclass(frozen=True)
class _End:
    problem: str | None
    dropped: int


class Pipeline:
    """Analyses `sources` one after the other; `next_batch` gives the results in order.

    Args:
        sources: what to read. `cursor`: where a resumed run goes on within the first of them.
        make_detector: called once in every thread that looks for faces.
        threads: how many look for faces, and on a processor how many batches are encoded at a time.

    Errors of a source end up in its report; others (no memory, a broken model) are raised by `next_batch`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        classifier: FaceClassifier,
        make_detector: Callable[[], FaceDetector],
        span: Span,
        max_faces: int | None = None,
        batch_size: int = 16,
        threads: int = 1,
        cursor: Cursor | None = None,
    ):
        self.sources, self.classifier, self.span, self.max_faces = list(sources), classifier, span, max_faces
        self.batch_size, self.threads = batch_size, threads
        self._resume_at = cursor
        self._make_detector = make_detector
        self._detectors = threading.local()
        self._abandoned: set[str] = set()  # sources that face finding has given up
        self._stop_reading = threading.Event()
        self._frames = Channel(FRAMES_WAITING)
        self._found = Channel(BATCHES_WAITING)
        self._encoded = Channel(BATCHES_WAITING)
        self._threads = [
            threading.Thread(target=self._run, args=arguments, name=f"clef-{arguments[0].__name__}", daemon=True)
            for arguments in (
                (self._decode, None, self._frames),
                (self._find, self._frames, self._found),
                (self._encode, self._found, self._encoded),
            )
        ]
        # Work is shared out by whole frames and batches, so libraries need no threads of their own.
        self._threads_before = torch.get_num_threads(), opencv().getNumThreads()
        opencv().setNumThreads(1)
        for thread in self._threads:
            thread.start()

    def next_batch(self) -> Batch | None:
        """The next batch, or None at the end."""
        batch = self._encoded.get()
        return None if batch is END else batch

    def finish_reading(self) -> None:
        """Ends the source that is being read as if it were over, and reads no other: how a camera ends."""
        self._stop_reading.set()

    def close(self) -> None:
        """Stops the threads, and waits for them."""
        self._stop_reading.set()
        for channel in (self._encoded, self._found, self._frames):
            channel.close()
        for thread in self._threads:
            thread.join()
        torch.set_num_threads(self._threads_before[0])
        opencv().setNumThreads(self._threads_before[1])

    def _run(self, stage: Callable, source: Channel | None, target: Channel) -> None:
        error = None
        try:
            stage()
        except Closed:
            pass
        except BaseException as raised:  # handed to whoever reads, as far as the main thread
            error = raised
        target.end(error)
        if source is not None:
            source.close()

    def _decode(self) -> None:
        for source in self.sources:
            if self._stop_reading.is_set():
                return
            first = 0
            if self._resume_at is not None and self._resume_at.report.source == source.name:
                first = self._resume_at.next_frame
            self._frames.put(_Begin(source, first))
            problem, dropped = None, 0
            try:
                for frame in read_frames(source, self.span, first):
                    if source.kind == CAMERA:
                        dropped += not self._frames.offer(frame)
                    else:
                        self._frames.put(frame)
                    if self._stop_reading.is_set() or source.name in self._abandoned:
                        break
            except (Closed, ImportError):
                raise
            except SourceError as error:
                problem = str(error)
            except Exception as error:  # a file on which a library fails must not end the other sources
                problem = f"reading failed: {type(error).__name__}: {error}"
            self._frames.put(_End(problem, dropped))

    def _find(self) -> None:
        with ThreadPoolExecutor(self.threads, thread_name_prefix="clef-faces") as pool:
            finder = _Finder(self)
            window: deque = deque()
            try:
                while (item := self._frames.get()) is not END:
                    if isinstance(item, Frame):
                        item = pool.submit(self._faces_of, finder.reading, item)
                    elif isinstance(item, _Begin):
                        finder.reading = item.source.name
                    window.append(item)
                    while window and (len(window) > 2 * self.threads or not isinstance(window[0], Future)):
                        finder.settle(window.popleft())
                while window:
                    finder.settle(window.popleft())
                finder.hand_on()
            finally:
                for item in window:
                    if isinstance(item, Future):
                        item.cancel()

    def _faces_of(self, source: str, frame: Frame) -> FoundFrame:
        if not hasattr(self._detectors, "detector"):
            self._detectors.detector = self._make_detector()
        classifier = self.classifier
        return find_faces(
            source, frame, self._detectors.detector, classifier.crop_size, classifier.recipe, self.max_faces
        )

    def _encode(self) -> None:
        on_processor = self.classifier.device.type == "cpu"
        # Threads of one batch would wait for each other at every layer, and for long where others want the cores too:
        # whole batches go side by side instead, each in one thread.
        start = (lambda: torch.set_num_threads(1)) if on_processor else None
        with ThreadPoolExecutor(self.threads if on_processor else 1, "clef-model", initializer=start) as pool:
            window: deque = deque()
            try:
                while (batch := self._found.get()) is not END:
                    window.append((batch, pool.submit(encode_frames, batch.frames, self.classifier)))
                    if len(window) > self.threads or not on_processor:
                        self._hand_over(*window.popleft())
                while window:
                    self._hand_over(*window.popleft())
            finally:
                for _, future in window:
                    future.cancel()

    def _hand_over(self, batch: Batch, probabilities: Future) -> None:
        batch.probabilities = probabilities.result()
        self._encoded.put(batch)


class _Finder:
    """What face finding does in order: reports, tracks, batches."""

    def __init__(self, pipeline: Pipeline):
        self._pipeline = pipeline
        self._batch, self._faces = Batch(), 0
        self._report: SourceReport | None = None
        self._tracker: FaceTracker | None = None
        self._next_frame = 0
        self._failure: str | None = None
        self.reading = ""  # the source whose frames come in

    def settle(self, item: "_Begin | Future | _End") -> None:
        if isinstance(item, _Begin):
            self._begin(item)
            return
        if isinstance(item, _End):
            self._end(item)
        elif self._failure is None:
            self._take(item)
        if (
            self._faces >= self._pipeline.batch_size
            or len(self._batch.frames) >= FRAMES_A_BATCH
            or len(self._batch.ended) >= SOURCES_A_BATCH
        ):
            self.hand_on()

    def hand_on(self) -> None:
        if not (self._batch.frames or self._batch.ended):
            return
        if self._report is not None:
            report = SourceReport(**asdict(self._report))
            self._batch.cursor = Cursor(report, self._next_frame, self._tracker.state_dict())
        self._pipeline._found.put(self._batch)
        self._batch, self._faces = Batch(), 0

    def _begin(self, item: _Begin) -> None:
        source, cursor = item.source, self._pipeline._resume_at
        self._tracker, self._failure, self._next_frame = FaceTracker(), None, item.first
        if cursor is not None and cursor.report.source == source.name:
            self._tracker.load_state_dict(cursor.tracker)
            self._report = SourceReport(**asdict(cursor.report))
        else:
            self._report = SourceReport(source.name, source.kind, fingerprint=source.fingerprint())

    def _take(self, future: Future) -> None:
        report = self._report
        try:
            frame: FoundFrame = future.result()
            time_s = frame.time_s if frame.time_s is not None else frame.index / NOMINAL_RATE
            tracks = self._tracker.update([face.face for face in frame.faces], time_s)
        except Exception as error:  # a picture on which a library fails must not end the other sources
            self._failure = f"looking for faces failed: {type(error).__name__}: {error}"
            self._pipeline._abandoned.add(report.source)
            return
        for face, track in zip(frame.faces, tracks, strict=True):
            face.track_id = track
        self._batch.frames.append(frame)
        self._faces += len(frame.faces)
        report.frames += 1
        report.frames_with_face += bool(frame.faces)
        report.faces += len(frame.faces)
        self._next_frame = frame.index + 1

    def _end(self, item: _End) -> None:
        report = self._report
        report.problem, report.dropped = self._failure or item.problem, item.dropped
        if report.problem is not None:
            report.status = INCOMPLETE if report.frames else FAILED
        self._batch.ended.append(report)
        self._report = self._tracker = None
