"""Writes README.md, the model card, into a checkpoint folder that carries its metrics.

python -m hub_cards checkpoints/clef-small
"""

import argparse
from pathlib import Path

from hub_cards.rendered_faces_card import write_card


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hub_cards", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="folder with config.json and metrics.json")
    parser.add_argument("--name", help="what the model is called; default: the folder's name")
    options = parser.parse_args()
    print(write_card(options.checkpoint, options.name))


if __name__ == "__main__":
    main()
