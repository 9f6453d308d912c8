"""`clef COMMAND …`: finds the command's module and calls it."""

import argparse
import importlib
import importlib.metadata
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

# A command is the module `clef.NAME`, with `make_parser() -> argparse.ArgumentParser` and `run(arguments) -> int`. A
# dash in the command is an underscore in the module.
COMMANDS = {
    "analyze": "action units and expressions of all faces in images and videos, as a table",
    "baseline": "action units of such a table, judged against the same person's neutral face",
    "demo": "pictures, videos and the webcam in a browser, on this machine alone",
    "explain": "where the checkpoint looked for a label, drawn over the faces of a picture",
    "export": "a checkpoint as an ONNX file, which runs without torch",
    "finetune": "a checkpoint learns from your own pictures and labels, and is measured",
    "push": "a run folder to the Hub, checked before and after",
    "push-corpus": "a drawn corpus to the Hub",
    "push-space": "the demo to a Space of the Hub",
}

FINE = 0
WRONG_USAGE = 2  # argparse's own
NOTHING_FOUND = 3
SOME_FAILED = 4
NOT_WRITTEN = 5
INTERRUPTED = 130  # what shells report of Ctrl-C

EXIT_CODES = f"""exit codes:
  {FINE}    all went well
  {WRONG_USAGE}    wrong usage: unknown or unfitting options, no such checkpoint or detector, an output that exists
  {NOTHING_FOUND}    nothing found: no image or video among the inputs, or no face in any of them
  {SOME_FAILED}    some inputs failed, or could be read in part only; the others are in the table
  {NOT_WRITTEN}    the output could not be written, as on a full disk; what is written can be resumed
  {INTERRUPTED}  interrupted (Ctrl-C); what is written can be resumed"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code. `argv`: without the program's name; default: the process's own."""
    argv = list(sys.argv[1:] if argv is None else argv)
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog="clef",
        description="CLEF: facial behaviour in words. Recognises action units (FACS) and expressions of faces.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n"
        + "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
        + "\n\n`clef COMMAND --help` tells more of each.",
        usage="clef COMMAND …",
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="one of those below")
    if not argv:
        parser.print_help(sys.stderr)
        return WRONG_USAGE
    try:
        command = parser.parse_args(argv[:1]).command
        module = importlib.import_module(f"clef.{command.replace('-', '_')}")
        arguments = module.make_parser().parse_args(argv[1:])
    except SystemExit as end:  # argparse has said why
        return int(end.code or 0)
    try:
        return module.run(arguments)
    except KeyboardInterrupt:
        print(f"clef {command}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _version() -> str:
    try:
        return f"clef-faces {importlib.metadata.version('clef-faces')}"
    except importlib.metadata.PackageNotFoundError:  # a copy that runs where it lies
        return "clef-faces, not installed"


def fail(command: str, message: str, code: int = WRONG_USAGE) -> int:
    """Says on stderr why a command ends, and returns `code`."""
    print(f"clef {command}: {message}", file=sys.stderr)
    return code


def counted(count: int, one: str, several: str = "") -> str:
    """As `processing.wording` has it, which takes seconds to import with its package."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def table_path(text: str) -> Path:
    """A table's path, for argparse."""
    if Path(text).suffix.lower() not in (".parquet", ".csv", ".jsonl", ".ndjson"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end with .parquet, .csv, .jsonl or .ndjson")
    return Path(text)


def seconds(text: str) -> float:
    """From "12.5", "1:30" or "1:02:30.5" to seconds, for argparse."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 12.5, 1:30 or 1:02:30")
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total


def problem_with_file(path: Path) -> str | None:
    """Why no file can be written at `path`, as far as that shows beforehand; None if nothing does."""
    if os.path.isdir(path):
        return f"{str(path)!r} is a folder; choose another name."
    return problem_with_folder(path.parent)


def problem_with_folder(folder: Path) -> str | None:
    """Why `folder` cannot be written to, or be made; None if nothing shows."""
    whole = folder.absolute()
    above = next((place for place in (whole, *whole.parents) if os.path.exists(place)), whole)
    if not above.is_dir():
        return f"{str(above)!r} is no folder, so nothing can lie in it; choose another name."
    if not os.access(above, os.W_OK | os.X_OK):
        return f"nothing can be written in the folder {str(above)!r}; change its permissions, or choose another place."
    return None
