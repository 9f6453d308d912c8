"""`clef explain`: where a checkpoint looked, for any label."""

import argparse
import errno
import json
import warnings
from pathlib import Path

from clef.cli import FINE, NOT_WRITTEN, NOTHING_FOUND, SOME_FAILED, WRONG_USAGE, counted, fail, problem_with_file

DESCRIPTION = """Draws where the checkpoint looked for a label: for each face in an image and each label a map of what
speaks for it, as lines over the face, with the label's probability and threshold. A map shows what the score hangs on,
not whether it is right."""

EPILOG = f"""examples:
  clef explain photo.jpg --label "lip corner puller" --output photo-explained.png
  clef explain photo.jpg --label AU12 --label "a smirk on one side" --output out.png --json out.json

exit codes:
  {FINE}    all went well
  {WRONG_USAGE}    wrong usage: unknown or unfitting options, no such checkpoint or detector, an output that exists
  {NOTHING_FOUND}    nothing found: no face, or none that can be cut out
  {SOME_FAILED}    the image cannot be read
  {NOT_WRITTEN}    the output could not be written"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clef explain",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", metavar="IMAGE", help="image file; of an animation the first picture is taken")
    parser.add_argument(
        "--label",
        dest="labels",
        action="append",
        required=True,
        metavar="LABEL",
        help="an action unit or expression, by id (AU12) or name, or any words; again for each further one. Words that "
        "the checkpoint was not trained on are unvalidated",
    )
    parser.add_argument("-o", "--output", required=True, type=_png, metavar="FILE", help="picture to draw: .png")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write scores, thresholds and maps as JSON, too")
    parser.add_argument("--overwrite", action="store_true", help="throw away outputs that exist")
    parser.add_argument("--model", metavar="CHECKPOINT", help="folder or Hub id (default: the one that ships)")
    parser.add_argument(
        "--detector", default="auto", metavar="NAME", help="auto, yunet, haar, or a YuNet model file (default: auto)"
    )
    parser.add_argument("--max-faces", type=int, metavar="N", help="the N largest faces (default: all)")
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda, mps, … (default: the GPU if there is one)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    if arguments.max_faces is not None and arguments.max_faces < 1:
        return fail("explain", f"--max-faces is {arguments.max_faces}; expected at least 1")
    outputs = [path for path in (arguments.output, arguments.json) if path is not None]
    if len({path.resolve() for path in outputs}) < len(outputs):
        return fail("explain", f"{str(arguments.output)!r} cannot be both the picture and the JSON.")
    for path in outputs:
        if problem := problem_with_file(path):
            return fail("explain", problem)
        if path.resolve() == Path(arguments.image).resolve():
            return fail("explain", f"{str(path)!r} is the image itself; choose another name.")
        if path.exists() and not arguments.overwrite:
            return fail("explain", f"{str(path)!r} exists; throw it away with --overwrite, or choose another name.")
    try:
        from PIL import Image
        from transformers.utils import logging

        from analysis.drawing_mark import MARK
        from analysis.explain import described, explain_image
        from analysis.explain_drawing import draw_explanations
        from analysis.frames import SourceError
        from analysis.outputs import written_whole
    except ImportError as error:
        return fail("explain", f"{error}; `pip install 'clef-faces[analysis]'` brings what is needed.")
    logging.disable_progress_bar()
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # pictures so large are refused, in our words
    try:
        faces = explain_image(
            arguments.image,
            arguments.labels,
            model=arguments.model,
            detector=arguments.detector,
            device=arguments.device,
            max_faces=arguments.max_faces,
        )
        figure = draw_explanations(faces) if any(face.crop is not None for face in faces) else None
    except SourceError as error:
        return fail("explain", f"{arguments.image}: {error}", SOME_FAILED)
    except (ValueError, FileNotFoundError, ImportError) as error:
        return fail("explain", str(error))
    if figure is None:
        what = f"none of {counted(len(faces), 'face')} can be cut out" if faces else "no face in the image"
        return fail("explain", f"nothing found: {what}.", NOTHING_FOUND)
    try:
        for path in outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(arguments.output) as temporary:
            figure.savefig(temporary, format="png", metadata=MARK)
        if arguments.json is not None:
            about = {"image": arguments.image, "faces": described(faces)}
            with written_whole(arguments.json) as temporary:
                temporary.write_text(json.dumps(about, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        return fail("explain", f"could not be written: {reason}", NOT_WRITTEN)
    for number, face in enumerate(faces):
        warning = f"  (not to be relied upon: {face.quality.reason})" if face.quality.out_of_scope else ""
        scores = ", ".join(_told(item) for item in face.explanations)
        print(f"face {number}: {scores}{warning}")
    return FINE


def _told(item) -> str:
    verdict = "" if item.present is None else " present" if item.present else " absent"
    return f"{item.label} {item.score:.2f}{verdict}"


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text!r} does not end with .png")
    return Path(text)
