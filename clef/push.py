"""`clef push`: a run folder to the Hub."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from clef.cli import FINE, NOT_WRITTEN, WRONG_USAGE, fail

SENT_BUT_DIFFERENT = 4

DESCRIPTION = """Publishes a run folder or checkpoint on the Hub: model, configuration with its label sets and
thresholds, processor, code, card, recipe and results, as one commit. Before anything is sent, a process that cannot
import this package loads it through every Auto class and pipeline; if any number differs from the original by more
than 1e-5, nothing is. Afterwards the same is done with the Hub's copy.

What only you know stands in card.yaml in that folder: license, of data of your own also data and data_terms, and what
else `python -m hub_cards --help` lists."""

EXAMPLES = """examples:
  clef push outputs/finetune --repo org/clef --dry-run       all but sending
  clef push outputs/finetune --repo org/clef --private
  clef push outputs/finetune --repo org/clef --create-pr     to somebody else's repository

"""

EXIT_CODES = f"""exit codes:
  {FINE}  published, or a dry run that went well
  {WRONG_USAGE}  wrong usage
  {SENT_BUT_DIFFERENT}  it was sent, but the Hub's copy gives something else
  {NOT_WRITTEN}  refused, or it could not be sent; nothing has changed on the Hub

environment: HF_TOKEN (or `hf auth login`); HF_ENDPOINT names another server, HF_HUB_DISABLE_XET=1 one without Xet."""


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("push", DESCRIPTION, EXAMPLES)
    parser.add_argument("run", type=Path, metavar="FOLDER", help="run folder or checkpoint")
    parser.add_argument(
        "--max-shard-size", type=_size, default="5GB", metavar="SIZE", help="cut weights into files (default: 5GB)"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    from hub_cards.push import push_model

    return publish(
        "push",
        arguments,
        "model",
        lambda destination: push_model(
            arguments.run, destination, max_shard_size=arguments.max_shard_size, dry_run=arguments.dry_run
        ),
    )


def new_parser(command: str, description: str, examples: str, gates: bool = True) -> argparse.ArgumentParser:
    """A parser with what all that is published needs: where to, and who may see it.

    Args:
        gates: the Hub can gate repositories of this kind.
    """
    parser = argparse.ArgumentParser(
        prog=f"clef {command}",
        description=description,
        epilog=examples + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repo", required=True, type=repo_id, metavar="OWNER/NAME", help="where to, e.g. org/clef")
    parser.add_argument("--private", action="store_true", help="create it private")
    parser.set_defaults(gated=None)
    if gates:
        parser.add_argument(
            "--gated",
            nargs="?",
            const="auto",
            choices=("auto", "manual"),
            help="downloaders must leave their contact: auto lets them in at once (default), manual after you agree",
        )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--branch", metavar="NAME", help="commit to this branch, made from main where it is new")
    where.add_argument("--create-pr", action="store_true", help="open a pull request instead of committing to main")
    parser.add_argument("--dry-run", action="store_true", help="assemble and check, send nothing; needs no token")
    return parser


def publish(command: str, arguments: argparse.Namespace, kind: str, push: Callable) -> int:
    """Runs `push(destination)` and says how it ended."""
    from transformers.utils import logging

    from hub_cards.push import NotAsSent
    from hub_cards.send import Destination, PushError

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # parts that a kind of model lacks are no news
    destination = Destination(
        arguments.repo,
        kind,
        private=arguments.private,
        gated=arguments.gated,
        branch=arguments.branch,
        create_pr=arguments.create_pr,
    )
    try:
        sent = push(destination)
    except PushError as error:
        return fail(command, str(error), NOT_WRITTEN)
    except NotAsSent as error:
        return fail(command, str(error), SENT_BUT_DIFFERENT)
    if sent is not None:
        print(f"{sent.url} (revision {sent.revision})")
    return FINE


def repo_id(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no repository; expected OWNER/NAME, such as org/clef")
    return text


def _size(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?[KMG]B", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 500MB or 5GB")
    return text
