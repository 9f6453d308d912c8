"""`clef analyze`: images and videos in, a table out."""

import argparse
import errno
import sys
import warnings
from pathlib import Path

from clef import extras
from clef.cli import (
    EXIT_CODES,
    FINE,
    INTERRUPTED,
    NOT_WRITTEN,
    NOTHING_FOUND,
    SOME_FAILED,
    counted,
    fail,
    problem_with_file,
    seconds,
    table_path,
)

DESCRIPTION = """Finds the faces in images and videos and writes, for every frame and face, the probability of each
action unit and expression. One row a frame and face; a frame without a face is a row too. FILE.json, beside the
table, says what each column means, in which unit, and how it was made."""

EXAMPLES = """examples:
  clef analyze interview.mp4 --output interview.parquet
  clef analyze recordings/ "extra/*.mov" list.txt --output all.csv --every 5
  clef analyze photo.jpg --output photo.jsonl --labels AU12 "smirk=a smirk on one side of the mouth"
  clef analyze photo.jpg --output photo.csv --threshold AU12=0.3 AU6=0.25
  clef analyze talk.mp4 --output talk.parquet --overlay talk-drawn.mp4 --plot talk/ --summary talk-summary.csv
  clef analyze recordings/ --output all.csv --resume        goes on where it was killed, and adds what is new

"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clef analyze",
        description=DESCRIPTION,
        epilog=EXAMPLES + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="image or video file, folder (with its subfolders), glob, text file (.txt) that lists such, or the index "
        "of a camera, which Ctrl-C or --to ends",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=table_path,
        metavar="FILE",
        help="table: .parquet, .csv, .jsonl or .ndjson",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on where an earlier run was killed; add new inputs")
    again.add_argument("--overwrite", action="store_true", help="throw away an output that exists")

    extras.add_options(parser)

    frames = parser.add_argument_group("which frames and faces")
    frames.add_argument("--every", type=_at_least_one, default=1, metavar="N", help="take every Nth frame (default: 1)")
    frames.add_argument(
        "--from",
        dest="start",
        type=seconds,
        metavar="TIME",
        help="begin videos at 12.5 or 1:02:30 of their own clock, which the column time_s shows",
    )
    frames.add_argument("--to", dest="stop", type=seconds, metavar="TIME", help="end videos before this time")
    frames.add_argument(
        "--max-faces", type=_at_least_one, metavar="N", help="the N largest faces of a frame (default: all)"
    )

    model = parser.add_argument_group("what recognises them")
    model.add_argument("--model", metavar="CHECKPOINT", help="folder or Hub id (default: the one that ships)")
    model.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help="your own labels instead of the checkpoint's, written after the inputs: known ones (AU12), any words, or "
        "NAME=WORDS. Trained action units give the numbers that they give without this; all else is uncalibrated, "
        "judged by itself (expressions, too) and present from a probability of .5",
    )
    model.add_argument(
        "--threshold",
        dest="thresholds",
        nargs="+",
        type=_threshold,
        default=[],
        metavar="LABEL=P",
        help="probability from which a label counts as present, written after the inputs (AU12=0.3); of the others the "
        "one that was fitted on rendered people",
    )
    model.add_argument(
        "--detector", default="auto", metavar="NAME", help="auto, yunet, haar, or a YuNet model file (default: auto)"
    )
    model.add_argument(
        "--detection-size",
        type=_at_least_one,
        default=480,
        metavar="PIXELS",
        help="longer side of the picture that faces are looked for in; more finds smaller faces, slower (default: 480)",
    )

    model.add_argument(
        "--mirror",
        action="store_true",
        help="average each face's scores with those of its mirror image; somewhat better, and the model takes twice as "
        "long",
    )

    speed = parser.add_argument_group("where and how fast it runs")
    speed.add_argument("--device", metavar="DEVICE", help="cpu, cuda, mps, … (default: the GPU if there is one)")
    speed.add_argument(
        "--backend",
        choices=("torch", "onnx"),
        default="torch",
        help="onnx: YuNet and the model in ONNX Runtime, half as fast again on a processor after some seconds "
        "of preparation; needs clef-faces[onnx] (default: torch)",
    )
    speed.add_argument("--batch-size", type=_at_least_one, default=16, metavar="N", help="faces a batch (default: 16)")
    speed.add_argument("--threads", type=_at_least_one, metavar="N", help="processor threads (default: one a core)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    try:
        from PIL import Image
        from transformers.utils import logging

        from analysis import analyze, analyze_to_file
        from analysis.journal import ResumeError
        from analysis.onnx_network import OnnxDifferenceError
        from analysis.sources import describe_ignored
    except ImportError as error:
        return fail("analyze", f"{error}; `pip install 'clef-faces[analysis]'` brings what is needed.")
    logging.disable_progress_bar()
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # pictures so large are refused, in our words
    if problem := problem_with_file(arguments.output):
        return fail("analyze", problem)
    try:
        analysis = analyze(
            arguments.inputs,
            model=arguments.model,
            labels=arguments.labels,
            every=arguments.every,
            start=arguments.start,
            stop=arguments.stop,
            max_faces=arguments.max_faces,
            detector=arguments.detector,
            detection_size=arguments.detection_size,
            device=arguments.device,
            backend=arguments.backend,
            mirror=arguments.mirror,
            thresholds=dict(arguments.thresholds),
            batch_size=arguments.batch_size,
            threads=arguments.threads,
        )
    except (ValueError, FileNotFoundError, ImportError, OnnxDifferenceError) as error:
        return fail("analyze", str(error))
    found = analysis.found
    if found.ignored:
        print(f"passed over in folders: {describe_ignored(found.ignored)}", file=sys.stderr)
    if found.drawings:
        count, first = counted(len(found.drawings), "drawing"), found.drawings[0]
        print(f"passed over: {count} by clef ({first}{', …' if len(found.drawings) > 1 else ''})", file=sys.stderr)
    if found.repeated:
        print(f"named more than once, and analysed once: {counted(found.repeated, 'file')}", file=sys.stderr)
    if not found.sources:
        _print_problems(found.problems)
        return fail("analyze", "nothing found: no image and no video among the inputs.", NOTHING_FOUND)
    if problem := extras.problem_with(arguments, found):
        return fail("analyze", problem)
    try:
        outcome = analyze_to_file(
            analysis, arguments.output, resume=arguments.resume, overwrite=arguments.overwrite, progress=True
        )
    except KeyboardInterrupt:
        return fail("analyze", "interrupted; go on with --resume.", INTERRUPTED)
    except (FileExistsError, ResumeError, ImportError) as error:
        return fail("analyze", str(error))
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        begun = arguments.output.with_name(f"{arguments.output.name}.unfinished").exists()
        resume = " What is written goes on with --resume." if begun else ""
        return fail("analyze", f"{str(arguments.output)!r} could not be written: {reason}.{resume}", NOT_WRITTEN)
    _print_problems(outcome.problems)
    print(_summary(outcome, arguments.output), file=sys.stderr)
    if not outcome.rows:
        return SOME_FAILED
    if code := extras.make(arguments, found.sources):
        return code
    if outcome.problems:
        return SOME_FAILED
    if outcome.frames and not outcome.faces:
        return fail("analyze", "nothing found: no face in any frame.", NOTHING_FOUND)
    return FINE


def _print_problems(problems) -> None:
    for problem in problems:
        print(f"{problem.source}: {problem.message}", file=sys.stderr)


def _summary(outcome, output: Path) -> str:
    rate = f", {outcome.frames / outcome.seconds:.1f} frames a second" if outcome.frames else ""
    counts = [f"{outcome.done} done"]
    counts += [f"{outcome.skipped} finished before"] if outcome.skipped else []
    counts += [f"{outcome.incomplete} in part"] if outcome.incomplete else []
    counts += [f"{outcome.failed} failed"] if outcome.failed else []
    table = f"{counted(outcome.rows, 'row')} in {output}" if outcome.rows else f"no row, so {output} is not written"
    return (
        f"{', '.join(counts)}: {counted(outcome.frames, 'frame')}, {outcome.frames_with_face} with a face, "
        f"{counted(outcome.faces, 'face')}{rate}; {table}"
    )


def _threshold(text: str) -> tuple[str, float]:
    label, _, number = text.rpartition("=")
    try:
        return label.strip(), float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no threshold; expected LABEL=P, such as AU12=0.3") from None


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
