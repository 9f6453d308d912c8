"""`clef push-space`: the demo to a Space of the Hub."""

import argparse
from pathlib import Path

from clef.demo import SPACE
from clef.push import new_parser, publish, repo_id

DESCRIPTION = """Publishes the demo as a Space that shows a model of the Hub: its README.md names the model, and the app
loads it from there with the code that it carries."""

EXAMPLES = """examples:
  clef push-space --repo org/clef-demo --model org/clef
  clef push-space --repo org/clef-demo --model org/clef --folder my_demo     an app of your own

"""


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("push-space", DESCRIPTION, EXAMPLES, gates=False)
    parser.add_argument(
        "--model", required=True, type=repo_id, metavar="OWNER/NAME", help="the model on the Hub that it shows"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="README.md, requirements.txt and app (default: the demo)"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    from hub_cards.push_space import push_space

    def push(destination):
        return push_space(arguments.folder or SPACE, destination, arguments.model, dry_run=arguments.dry_run)

    return publish("push-space", arguments, "space", push)
