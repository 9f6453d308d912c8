"""Frames a second from a video file to a table, of the whole and of each part alone; and the memory that takes.

python benchmarks/video.py                                             # prints
python benchmarks/video.py --output benchmarks/results/video.json      # also writes, with the machine described
python benchmarks/video.py --backend onnx                              # the checkpoint run by ONNX Runtime

Clips with one face and with three are rendered once and kept in a folder (`--clips`): so many distinct frames
(`--distinct`), shown forth and back until the clip is long enough, since what is seen does not matter to the speed.

Each part runs alone, with nothing else at work, in as many threads as the pipeline gives it; where that is more than
one, in one thread too. Parts that together want more threads than there are cores cannot all keep the rate they have
alone: "what the cores allow" is the cores over the processor time that the parts need for a frame. A part alone has all
cores for itself and, but for decoding, takes what it works on from memory; the whole shares the cores among all parts,
so it cannot keep the rate of a part that fills them. The largest share that it could reach, if no core were ever idle
and handing over cost nothing, is given beside the one that it reaches. A checkpoint is loaded before the clock starts.

The face model is found as `load_corpus` finds it, YuNet by CLEF_YUNET or in the Hub's cache. Figures are medians of
several rounds, each of which measures everything one after the other, so that shares are of one time; a busy machine
lowers all rates, processor time the least.
"""

import argparse
import itertools
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import av
import numpy as np
import torch

from analysis import Analysis, analyze, analyze_to_file
from analysis.decode import Frame, Span, read_frames
from analysis.journal import Journal
from analysis.model import BACKENDS
from analysis.pipeline import FRAMES_A_BATCH, Batch
from analysis.sources import Source
from analysis.stages import FoundFrame, encode_frames, find_faces
from analysis.tracking import FaceTracker
from benchmarks.machine import at_least_one, describe_machine, write_result
from processing.corpora.splits import available_cores
from processing.opencv_clef import opencv

FPS, SIZE = 25, (640, 360)
FACES = (1, 3)
PART_FRAMES = 300  # that parts are measured on: pictures are kept in memory, 0.7 MB each
LONGER = 10  # the long clip of the memory measurement over the short one


def make_clip(folder: Path, faces: int, frames: int, distinct: int, root: str | None) -> Path:
    """A clip of `frames` frames, rendered unless it is there already."""
    distinct = min(distinct, frames)
    path = folder / f"faces{faces}_frames{frames}_distinct{distinct}.mp4"
    if path.exists():
        return path
    from processing.corpora.video_clips import render_clip  # here, as it is no part of the memory that is measured

    folder.mkdir(parents=True, exist_ok=True)
    rendered = folder / f"faces{faces}_distinct{distinct}_rendered.mp4"
    if not rendered.exists():
        print(f"rendering {distinct} frames with {faces} face(s) …", file=sys.stderr)
        render_clip(rendered, root, subjects=range(faces), seconds=distinct / FPS, fps=FPS, size=SIZE)
    temporary = path.with_name(f".{path.name}")
    with av.open(str(rendered)) as source:
        pictures = [frame.to_ndarray() for frame in source.decode(video=0)]  # yuv420p, as they are encoded again
    with av.open(str(temporary), "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        forth_and_back = itertools.cycle(pictures + pictures[-2:0:-1])
        for picture in itertools.islice(forth_and_back, frames):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        target.mux(stream.encode(None))
    temporary.replace(path)
    return path


@dataclass
class Timing:
    frames_a_second: float
    processor_ms: float  # of all threads, a frame


def timed(frames: int, function: Callable[[], object]) -> Timing:
    wall, processor = time.perf_counter(), time.process_time()
    function()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Timing(frames / wall, 1e3 * processor / frames)


class Parts:
    """The stages of the pipeline, each called as the pipeline calls it, on frames of one clip."""

    def __init__(self, analysis: Analysis, folder: Path):
        self.analysis, self.folder = analysis, folder
        self.source: Source = analysis.found.sources[0]
        self.pictures = list(itertools.islice(read_frames(self.source, Span()), PART_FRAMES))
        self.batches = self._batches(self.find(analysis.threads))
        self.encode(analysis.threads)
        self.faces = [len(frame.faces) for batch in self.batches for frame in batch.frames]

    def decode(self) -> int:
        return sum(1 for _ in read_frames(self.source, Span()))

    def find(self, threads: int) -> list[FoundFrame]:
        """Faces, crops, quality and tracks."""
        analysis, local, tracker = self.analysis, threading.local(), FaceTracker()
        classifier = analysis.classifier

        def faces_of(frame: Frame) -> FoundFrame:
            if not hasattr(local, "detector"):
                local.detector = analysis.make_detector()
            return find_faces(self.source.name, frame, local.detector, classifier.crop_size, classifier.recipe)

        before = opencv().getNumThreads()
        opencv().setNumThreads(1)
        try:
            with ThreadPoolExecutor(threads) as pool:
                found = []
                for frame in pool.map(faces_of, self.pictures):
                    tracks = tracker.update([face.face for face in frame.faces], frame.time_s)
                    for face, track in zip(frame.faces, tracks, strict=True):
                        face.track_id = track
                    found.append(frame)
        finally:
            opencv().setNumThreads(before)
        return found

    def encode(self, threads: int) -> None:
        on_processor = self.analysis.classifier.device.type == "cpu"
        start = (lambda: torch.set_num_threads(1)) if on_processor else None
        before = torch.get_num_threads()
        with ThreadPoolExecutor(threads if on_processor else 1, initializer=start) as pool:
            found = pool.map(lambda batch: encode_frames(batch.frames, self.analysis.classifier), self.batches)
            for batch, probabilities in zip(self.batches, found, strict=True):
                batch.probabilities = probabilities
        torch.set_num_threads(before)

    def write(self) -> None:
        analysis = self.analysis
        output = self.folder / "part.parquet"
        with Journal(output, analysis.schema, analysis.metadata, dict, False, True) as journal:
            for batch in self.batches:
                journal.add(analysis.table(batch), [], None)
            journal.finish([])

    def _batches(self, frames: list[FoundFrame]) -> list[Batch]:
        batches, faces = [Batch()], 0
        for frame in frames:
            if faces >= self.analysis.batch_size or len(batches[-1].frames) >= FRAMES_A_BATCH:
                batches.append(Batch())
                faces = 0
            batches[-1].frames.append(frame)
            faces += len(frame.faces)
        return batches


def one_round(frames: int, threads: int, parts: Parts) -> dict[str, Timing]:
    """Everything once: the whole, and the parts by their names."""
    found = {"end to end": timed(frames, lambda: write_clip(parts.analysis, parts.folder / "whole.parquet"))}
    found["decoding"] = timed(frames, parts.decode)
    for name, part in (("face finding", parts.find), ("encoding", parts.encode)):
        for count in sorted({1, threads}):
            found[part_name(name, count)] = timed(len(parts.pictures), lambda part=part, count=count: part(count))
    found["writing"] = timed(len(parts.pictures), parts.write)
    return found


def part_name(name: str, threads: int) -> str:
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def write_clip(analysis: Analysis, output: Path) -> None:
    outcome = analyze_to_file(analysis, output, overwrite=True)
    if outcome.problems or not outcome.faces:
        raise RuntimeError(f"got {outcome.faces} faces in {outcome.frames} frames; expected some. {outcome.problems}")


def analysis_of(clip: Path, threads: int, backend: str) -> Analysis:
    return analyze(clip, detector="yunet", threads=threads, backend=backend)


def measure(clip: Path, faces: int, frames: int, threads: int, backend: str, rounds: int, folder: Path) -> dict:
    parts = Parts(analysis_of(clip, threads, backend), folder)
    measured = [one_round(frames, threads, parts) for _ in range(rounds)]
    rates, processor = ({name: {} for name in measured[0]} for _ in range(2))
    for name in measured[0]:
        rates[name] = float(np.median([found[name].frames_a_second for found in measured]))
        processor[name] = float(np.median([found[name].processor_ms for found in measured]))
    whole = "end to end"
    used = {"decoding", part_name("face finding", threads), part_name("encoding", threads), "writing"}
    single = {"decoding", part_name("face finding", 1), part_name("encoding", 1), "writing"}
    needed = sum(processor[name] for name in used)
    allowed = 1e3 * available_cores() / needed
    slowest = min(used, key=rates.get)
    slowest_single = min(single, key=rates.get)
    # By processor time, which tells the rate of a part that fills its cores also where others use them meanwhile.
    filled = min(threads, available_cores()) if slowest.endswith(("thread", "threads")) else 1

    def share(of: Callable[[dict[str, Timing]], float]) -> float:
        return float(np.median([found[whole].frames_a_second / of(found) for found in measured]))

    return {
        "faces": faces,
        "faces_found_a_frame": float(np.mean(parts.faces)),
        "frames_a_second": rates,
        "processor_ms_a_frame": processor,
        "slowest_part": slowest,
        "share_of_slowest_part": share(lambda found: found[slowest].frames_a_second),
        "largest_share_the_cores_allow": min(1.0, processor[slowest] / filled * available_cores() / needed),
        "slowest_part_in_one_thread": slowest_single,
        "share_of_slowest_part_in_one_thread": share(lambda found: found[slowest_single].frames_a_second),
        "frames_a_second_the_cores_allow": allowed,
        "share_of_what_the_cores_allow": rates[whole] / allowed,
        "processor_time_of_parts_over_whole": needed / processor[whole],
    }


def peak_megabytes(clip: Path, threads: int, backend: str) -> float:
    """Peak resident memory of this process, which has analysed `clip` and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        write_clip(analysis_of(clip, threads, backend), Path(folder) / "table.parquet")
    try:  # on Linux the peak that `getrusage` gives includes that of the process which started this one
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure_memory(short: Path, long: Path, threads: int, backend: str, rounds: int) -> tuple[float, float]:
    """Peak megabytes of the analysis of a short and a long clip, each in fresh processes, medians."""

    def peak(clip: Path) -> float:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(peak_megabytes, clip, threads, backend).result()

    peaks = [(peak(short), peak(long)) for _ in range(rounds)]
    return tuple(np.median(peaks, axis=0).tolist())


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="face model; default: the environment variable CLEF_ICT_FACEKIT")
    parser.add_argument("--clips", type=Path, help="folder that keeps the rendered clips; default: a temporary one")
    parser.add_argument("--frames", type=int, default=1800, help=f"of a clip, at least {LONGER} (default: %(default)s)")
    parser.add_argument("--distinct", type=at_least_one, default=180, help="frames rendered (default: %(default)s)")
    parser.add_argument("--rounds", type=at_least_one, default=3, help="medians are of so many (default: %(default)s)")
    parser.add_argument("--threads", type=at_least_one, default=available_cores(), help="default: one a core")
    parser.add_argument("--backend", choices=BACKENDS, default="torch", help="as `clef analyze` (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    if options.frames < LONGER:
        parser.error(f"argument --frames: got {options.frames}, expected at least {LONGER}")
    threads, backend, rounds = options.threads, options.backend, options.rounds
    machine = describe_machine("opencv-python-headless", "av", *(["onnxruntime"] if backend == "onnx" else []))
    clips = options.clips or Path(tempfile.gettempdir()) / "clef_video_benchmark"
    films = {n: make_clip(clips, n, options.frames, options.distinct, options.root) for n in FACES}
    short = make_clip(clips, 1, options.frames // LONGER, options.distinct, options.root)
    peaks = measure_memory(short, films[1], threads, backend, rounds)
    with tempfile.TemporaryDirectory() as folder:
        clip_results = [measure(films[n], n, options.frames, threads, backend, rounds, Path(folder)) for n in FACES]
    analysis = analysis_of(films[1], threads, backend)
    result = {
        "clip": {
            "frames": options.frames,
            "distinct_frames": min(options.distinct, options.frames),
            "size": list(SIZE),
            "codec": "h264",
        },
        "model": analysis.classifier.name,
        "crop_size": analysis.classifier.crop_size,
        "device": str(analysis.classifier.device),
        "backend": backend,
        "detector": analysis.detector,
        "batch_size": analysis.batch_size,
        "threads": threads,
        "rounds": rounds,
        "clips": clip_results,
        "peak_memory_mb": {
            f"{options.frames // LONGER} frames": peaks[0],
            f"{options.frames} frames": peaks[1],
            "ratio": peaks[1] / peaks[0],
        },
        "machine": machine,
    }
    print_result(result)
    write_result(result, options.output)
    return result


def print_result(result: dict) -> None:
    for clip in result["clips"]:
        print(f"{clip['faces']} face(s), {result['clip']['frames']} frames")
        for name, rate in clip["frames_a_second"].items():
            print(f"  {name:38}{rate:8.1f} frames a second{clip['processor_ms_a_frame'][name]:8.2f} ms of processor")
        print(f"  {'what the cores allow':38}{clip['frames_a_second_the_cores_allow']:8.1f} frames a second")
        print(f"  {'share of what the cores allow':38}{clip['share_of_what_the_cores_allow']:8.2f}")
        print(f"  {'processor time of parts over whole':38}{clip['processor_time_of_parts_over_whole']:8.2f}")
        print(f"  {'largest share that the cores allow':38}{clip['largest_share_the_cores_allow']:8.2f}")
        for key in ("slowest_part", "slowest_part_in_one_thread"):
            print(f"  {'share of ' + clip[key]:38}{clip[f'share_of_{key}']:8.2f}")
    for name, value in result["peak_memory_mb"].items():
        print(f"{'peak memory, ' + name:40}{value:8.2f}{'' if name == 'ratio' else ' MB'}")


if __name__ == "__main__":
    main()
