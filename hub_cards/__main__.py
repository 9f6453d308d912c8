"""Writes README.md, the model card, into a checkpoint folder that carries its metrics.

python -m hub_cards checkpoints/clef-small
"""

import argparse
import sys
from pathlib import Path

from hub_cards.model_card import write_model_card


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hub_cards", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="folder with config.json, metrics.json and recipe.yaml")
    parser.add_argument("--repo", help="Hub id it is published under, e.g. org/clef; default: a draft")
    parser.add_argument(
        "--measure-speed", action="store_true", help="first measure how fast it is here, into metrics.json"
    )
    options = parser.parse_args()
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
