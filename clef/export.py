"""`clef export`: a checkpoint as an ONNX file, which runs without torch."""

import argparse
import errno
from pathlib import Path

from clef.cli import FINE, NOT_WRITTEN, WRONG_USAGE, counted, fail, problem_with_file

DESCRIPTION = """Writes a checkpoint as one ONNX file for programs without torch: browsers, telephones, C++. In go
crops, cut by eyes and nose and normalised, as pixel_values (N, 3, height, width); out come logits, calibrated
probabilities and embeddings. What a program has to know of it (labels, thresholds, sizes, normalisation, where eyes and
nose belong, licence) is in the file's metadata. It is run and compared with torch before it is kept."""

EPILOG = f"""examples:
  clef export checkpoints/clef-small --output clef-small.onnx
  clef export checkpoints/clef-small --output smirk.onnx --labels AU12 "smirk=a smirk on one side of the mouth"

exit codes:
  {FINE}    all went well
  {WRONG_USAGE}    wrong usage: unknown or unfitting options, no such checkpoint or one that torch cannot export, a
       package that is missing, an output that exists
  {NOT_WRITTEN}    the output could not be written, or gives other numbers than torch; nothing is left of it"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clef export",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder or Hub id")
    parser.add_argument("-o", "--output", required=True, type=_onnx, metavar="FILE", help="file to write: .onnx")
    parser.add_argument("--overwrite", action="store_true", help="throw away an output that exists")
    parser.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help="your own labels instead of the checkpoint's, written after the checkpoint: known ones (AU12), any words, "
        "or NAME=WORDS, as `clef analyze --labels` takes them. Their texts become part of the file",
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    output = arguments.output
    if problem := problem_with_file(output):
        return fail("export", problem)
    if output.exists() and not arguments.overwrite:
        return fail("export", f"{str(output)!r} exists; throw it away with --overwrite, or choose another name.")
    try:
        from transformers.utils import logging

        from analysis.model import load_classifier
        from analysis.onnx_export import export_classifier
        from analysis.onnx_network import check_packages
    except ImportError as error:
        return fail("export", f"{error}; `pip install 'clef-faces[analysis,onnx]'` brings what is needed.")
    logging.disable_progress_bar()
    try:
        check_packages("clef export")
        classifier = load_classifier(arguments.checkpoint, arguments.labels, device="cpu")
    except (ValueError, OSError, ImportError) as error:
        return fail("export", str(error))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        export_classifier(classifier, output)
    except ValueError as error:
        return fail("export", str(error))
    except RuntimeError as error:
        return fail("export", f"{str(output)!r} is not written: {error}", NOT_WRITTEN)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        return fail("export", f"{str(output)!r} could not be written: {reason}", NOT_WRITTEN)
    print(f"{output}: {counted(len(classifier.labels), 'label')}, {output.stat().st_size / 1e6:.1f} MB")
    return FINE


def _onnx(text: str) -> Path:
    if Path(text).suffix.lower() != ".onnx":
        raise argparse.ArgumentTypeError(f"{text!r} does not end with .onnx")
    return Path(text)
