"""`clef baseline`: a table of `clef analyze` in, the same table out, judged against each person's neutral face."""

import argparse
import errno
import re
import sys
from pathlib import Path

from clef.cli import (
    FINE,
    NOT_WRITTEN,
    NOTHING_FOUND,
    WRONG_USAGE,
    counted,
    fail,
    problem_with_file,
    problem_with_folder,
    seconds,
    table_path,
)
from clef.extras import add_summary, make

DESCRIPTION = """Judges the action units of a table of `clef analyze` against the same person's neutral face, as some
faces look moved at rest. Say in which seconds of each video everybody is neutral, or list which source shows whom, and
who is neutral in which. Expressions stay as they are, and so do people without a neutral frame."""

EPILOG = f"""PEOPLE is a CSV file with the columns source (as in the table), subject and neutral (1 or 0); if wanted,
track_id (which face of a source that shows several), from_s and to_s (the neutral part of a video, in seconds).

examples:
  clef baseline talk.parquet --neutral 0-5 --output talk-judged.parquet
  clef baseline photos.csv --people people.csv --output photos-judged.csv

exit codes:
  {FINE}    all went well
  {WRONG_USAGE}    wrong usage: no such table, a list that cannot be read, an output that exists
  {NOTHING_FOUND}    nothing found: no neutral frame shows a face
  {NOT_WRITTEN}    the output could not be written"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clef baseline",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=table_path, metavar="TABLE", help="what `clef analyze` wrote")
    neutral = parser.add_mutually_exclusive_group(required=True)
    neutral.add_argument(
        "--neutral",
        type=_stretch,
        metavar="FROM-TO",
        help="each face that is followed through a video (track_id) is a person, neutral at these times: 0-5, or "
        "1:02-1:10, by the column time_s",
    )
    neutral.add_argument("--people", type=Path, metavar="FILE", help="CSV: who is seen in which source, and neutral")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=table_path,
        metavar="FILE",
        help="table: .parquet, .csv, .jsonl or .ndjson",
    )
    parser.add_argument("--overwrite", action="store_true", help="throw away outputs that exist")
    extras = parser.add_argument_group("what is made of the new table besides")
    extras.add_argument("--plot", type=Path, metavar="FOLDER", help="draw a timeline of each face of each video")
    add_summary(extras)
    return parser


def run(arguments: argparse.Namespace) -> int:
    try:
        from analysis.baseline import NoNeutralFrame, judge_against_neutral
        from analysis.people import NeutralStretch, read_people
    except ImportError as error:
        return fail("baseline", f"{error}; `pip install 'clef-faces[analysis]'` brings what is needed.")
    if problem := _problem_with_outputs(arguments):
        return fail("baseline", problem)
    try:
        people = read_people(arguments.people) if arguments.people else NeutralStretch(*arguments.neutral)
        outcome = judge_against_neutral(arguments.table, arguments.output, people, overwrite=True)
    except NoNeutralFrame as error:
        return fail("baseline", str(error), NOTHING_FOUND)
    except (ValueError, FileNotFoundError) as error:
        return fail("baseline", str(error))
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        return fail("baseline", f"{str(arguments.output)!r} could not be written: {reason}", NOT_WRITTEN)
    if outcome.unknown:
        shown = ", ".join(map(repr, outcome.unknown[:3])) + (", …" if len(outcome.unknown) > 3 else "")
        print(f"listed, and not in the table: {counted(len(outcome.unknown), 'source')}: {shown}", file=sys.stderr)
    left = f", {outcome.others} without a neutral frame of their person left as they were" if outcome.others else ""
    people_judged = counted(outcome.people, "person", "people")
    print(
        f"{counted(outcome.faces, 'face')} of {people_judged} judged anew{left}; "
        f"{counted(outcome.rows, 'row')} in {arguments.output}",
        file=sys.stderr,
    )
    made = argparse.Namespace(output=arguments.output, summary=arguments.summary, plot=arguments.plot, overlay=None)
    return make(made, [], "baseline")


def _problem_with_outputs(arguments: argparse.Namespace) -> str | None:
    files = [path for path in (arguments.output, arguments.summary) if path is not None]
    if len({path.resolve() for path in (arguments.table, *files)}) < 1 + len(files):
        return "the table, the new table and the summary need different names."
    for path in files:
        if problem := problem_with_file(path):
            return problem
        if path.exists() and not arguments.overwrite:
            return f"{str(path)!r} exists; throw it away with --overwrite, or choose another name."
    if arguments.plot is not None:
        if problem := problem_with_folder(arguments.plot):
            return problem
        if not arguments.overwrite and arguments.plot.is_dir() and any(arguments.plot.glob("*-track*.png")):
            return f"{str(arguments.plot)!r} holds timelines; draw them anew with --overwrite, or name another folder."
    return None


def _stretch(text: str) -> tuple[float, float]:
    found = re.fullmatch(r"([\d:.]+)-([\d:.]+)", text.replace(" ", ""))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no stretch of time; expected FROM-TO, such as 0-5")
    start, stop = map(seconds, found.groups())
    if not start < stop:
        raise argparse.ArgumentTypeError(f"{text!r} ends before it begins; expected FROM-TO, such as 0-5")
    return start, stop
