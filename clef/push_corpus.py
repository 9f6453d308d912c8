"""`clef push-corpus`: a drawn corpus to the Hub."""

import argparse
import json

from clef.push import new_parser, publish

DESCRIPTION = """Publishes a corpus that this project draws as Parquet files with a card that says how every frame was
made. `load_dataset` must read it back equal, from disk before it is sent and from the Hub afterwards. Corpora of people
are refused: they are not ours to pass on."""

EXAMPLES = """examples:
  clef push-corpus synthetic --repo org/drawn-faces --options '{"subjects": 72}'
  clef push-corpus ict_facekit --repo org/rendered-faces --root ICT-FaceKit/FaceXModel --private

"""


def make_parser() -> argparse.ArgumentParser:
    parser = new_parser("push-corpus", DESCRIPTION, EXAMPLES)
    parser.add_argument("corpus", choices=("synthetic", "ict_facekit"), help="the corpus to draw")
    parser.add_argument(
        "--options", type=_options, default={}, metavar="JSON",
        help="what load_corpus takes for it, such as subjects, frames and seed (default: as it is there)",
    )  # fmt: skip
    parser.add_argument("--root", metavar="FOLDER", help="of ict_facekit: the face model (default: CLEF_ICT_FACEKIT)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    from hub_cards.push_corpus import push_corpus

    return publish(
        "push-corpus",
        arguments,
        "dataset",
        lambda destination: push_corpus(
            arguments.corpus, destination, arguments.options, arguments.root, dry_run=arguments.dry_run
        ),
    )


def _options(text: str) -> dict:
    try:
        options = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from error
    if not isinstance(options, dict):
        raise argparse.ArgumentTypeError(f"""{text!r} is no JSON object such as '{{"subjects": 72}}'""")
    return options
