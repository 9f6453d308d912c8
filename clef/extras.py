"""What `clef analyze` and `clef baseline` make of a table when it is done: overlays, timelines, a summary."""

import argparse
import errno
import glob
import sys
from pathlib import Path

from clef.cli import FINE, NOT_WRITTEN, WRONG_USAGE, counted, fail, problem_with_file, problem_with_folder, table_path


def add_options(parser: argparse.ArgumentParser) -> None:
    extras = parser.add_argument_group("what is made of the table besides")
    extras.add_argument(
        "--overlay",
        type=Path,
        metavar="FILE",
        help="draw boxes and bars on the video (.mp4) or image (.png), without sound; a folder for several inputs. It "
        "must not lie in an input folder",
    )
    extras.add_argument(
        "--plot",
        type=Path,
        metavar="FOLDER",
        help="draw a timeline of each face of each video into this folder, which must not lie in an input folder",
    )
    add_summary(extras)


def add_summary(parser) -> None:
    parser.add_argument(
        "--summary",
        type=table_path,
        metavar="FILE",
        help="rates, means, onset counts and durations of each face and label: .parquet, .csv, .jsonl or .ndjson",
    )


def problem_with(arguments: argparse.Namespace, found) -> str | None:
    """What is wrong with the options, before anything is analysed; None if nothing is. `found`: `FoundSources`."""
    from analysis.overlay import check_overlay_path, is_one_file
    from analysis.timeline import figure_module

    sources = found.sources
    for option, path in (("--overlay", arguments.overlay), ("--plot", arguments.plot)):
        if path is not None and (folder := found.folder_above(path)):
            return (
                f"{option} {str(path)!r} lies in the input folder {folder!r}, so the next run would take what is drawn "
                "for its input; name a place outside."
            )
    replaced = arguments.overwrite or arguments.resume
    if arguments.overlay is not None:
        try:
            check_overlay_path(arguments.overlay, sources)
        except ValueError as error:
            return str(error)
    if arguments.plot is not None:
        try:
            figure_module()
        except ImportError as error:
            return str(error)
        if arguments.plot.is_file():
            return f"--plot needs a folder; {str(arguments.plot)!r} is a file."
    for option, path, is_file in (
        ("--overlay", arguments.overlay, arguments.overlay is not None and is_one_file(arguments.overlay)),
        ("--plot", arguments.plot, False),
        ("--summary", arguments.summary, True),
    ):
        if path is not None and (problem := (problem_with_file if is_file else problem_with_folder)(path)):
            return f"{option}: {problem}"
    files = [path for path in (arguments.overlay, arguments.summary) if path is not None and path.suffix]
    for path in files:
        if path.is_file() and not replaced:
            return f"{str(path)!r} exists; make it anew with --resume or --overwrite, or choose another name."
    if not replaced and (there := _made_before(arguments, sources)):
        return f"{str(there)!r} exists; make it anew with --resume or --overwrite, or choose another folder."
    named = [path.resolve() for path in (arguments.output, *files)]
    if len(set(named)) < len(named):
        return f"{str(arguments.output)!r} and what is made of it need different names."
    return None


def _made_before(arguments: argparse.Namespace, sources: list) -> Path | None:
    """A file in the folders of overlays or timelines that would be replaced."""
    from analysis.outputs import file_stems

    for stem in file_stems(source.name for source in sources).values():
        found = []
        if arguments.overlay is not None and arguments.overlay.is_dir():
            found += [path for suffix in (".mp4", ".png") if (path := arguments.overlay / f"{stem}{suffix}").exists()]
        if arguments.plot is not None:
            found += arguments.plot.glob(f"{glob.escape(stem)}-track*.png")
        if found:
            return found[0]
    return None


def make(arguments: argparse.Namespace, sources: list, command: str = "analyze") -> int:
    """Makes what was asked for of the finished table. Returns an exit code."""
    from analysis.overlay import draw_overlays
    from analysis.summary import write_summary
    from analysis.timeline import plot_timelines

    try:
        if arguments.summary is not None:
            rows = write_summary(arguments.output, arguments.summary)
            print(f"{counted(rows, 'row')} in {arguments.summary}", file=sys.stderr)
        if arguments.plot is not None:
            made = plot_timelines(arguments.output, arguments.plot, [source.name for source in sources])
            notes = f", {counted(made.short, 'face')} seen for less than half a second left out" if made.short else ""
            notes += f", none of {counted(made.untimed, 'still image')}" if made.untimed else ""
            notes += f", none of {counted(made.faceless, 'video')} without any face" if made.faceless else ""
            print(f"{counted(len(made.files), 'timeline')} in {arguments.plot}{notes}", file=sys.stderr)
        if arguments.overlay is not None:
            made = draw_overlays(arguments.output, sources, arguments.overlay)
            notes = f", none of {', '.join(made.cameras)}: pictures are not kept" if made.cameras else ""
            notes += f", none of {counted(len(made.without_rows), 'input')} without rows" if made.without_rows else ""
            print(f"{counted(len(made.files), 'overlay')} in {arguments.overlay}{notes}", file=sys.stderr)
    except (ValueError, ImportError) as error:
        return fail(command, f"the table is written; what was to be made of it is not: {error}", WRONG_USAGE)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        return fail(command, f"the table is written; what was to be made of it is not: {reason}", NOT_WRITTEN)
    return FINE
