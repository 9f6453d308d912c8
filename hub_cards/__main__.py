"""Writes README.md, the model card, into a checkpoint folder that carries its metrics.

python -m hub_cards checkpoints/clef-small
"""

import argparse
import sys
from pathlib import Path

from hub_cards.measured import FACTS
from hub_cards.model_card import write_model_card


def make_parser() -> argparse.ArgumentParser:
    facts = "".join(f"  {name:<16}{meaning}\n" for name, meaning in FACTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m hub_cards",
        description=__doc__.splitlines()[0],
        epilog=f"card.yaml in the folder adds what nobody can measure; a draft may lack it:\n{facts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="FOLDER", help="checkpoint or run: config.json, metrics.json and recipe.yaml"
    )
    parser.add_argument(
        "--repo", metavar="OWNER/NAME", help="Hub id it is published under, such as org/clef; without, it is a draft"
    )
    parser.add_argument(
        "--measure-speed",
        action="store_true",
        help="first measure its speed on one CPU thread of this machine, best while nothing else runs, into "
        "metrics.json, which the card tells",
    )
    return parser


def main() -> int:
    options = make_parser().parse_args()
    try:
        if options.measure_speed:
            from hub_cards.speed import measure_speed

            measure_speed(options.checkpoint)
        print(write_model_card(options.checkpoint, options.repo))
    except (FileNotFoundError, ValueError) as error:
        print(f"no card: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
