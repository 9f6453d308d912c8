"""`clef finetune`: a checkpoint learns from one's own pictures and labels."""

import argparse
import errno
from pathlib import Path

from clef.cli import FINE, INTERRUPTED, NOT_WRITTEN, WRONG_USAGE, fail

DESCRIPTION = """Trains a checkpoint on your own pictures and labels, and measures it on people it was not trained on.
DATA is a folder with a labels.csv, one row a face: a column `file`, and any of subject, split, sequence, AU1 … AU45,
expression, and columns of your own with cells of 0 and 1. Or it is a data set of the `datasets` library (Hub id,
Parquet files, pictures in folders), or a folder of train_scripts/prepare.py. FOLDER becomes a checkpoint with its
scores and its model card. A killed run goes on when it is started again."""

EXAMPLES = """examples:
  clef finetune recordings/ --output outputs/mine
  clef finetune recordings/ --output outputs/mine --labels labels.yaml --train probe
  clef finetune org/faces --output outputs/mine --base org/clef
  clef finetune crops/ --output outputs/mine --aligned

"""

EXIT_CODES = f"""exit codes:
  {FINE}    trained and measured
  {WRONG_USAGE}    wrong usage, or data that nothing can be learned from; it says what is missing
  {NOT_WRITTEN}    the output could not be written, as on a full disk
  {INTERRUPTED}  interrupted (Ctrl-C); the same command goes on"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clef finetune",
        description=DESCRIPTION,
        epilog=EXAMPLES + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help="folder with a labels.csv, data set, or prepared folder")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FOLDER", help="run folder that is written")
    parser.add_argument(
        "--overwrite", action="store_true", help="throw away another run in the output folder (crops are kept)"
    )

    labels = parser.add_argument_group("pictures and labels")
    labels.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="YAML file that says which label sets are learned, in which words (default: action units, expressions and "
        "all columns of 0 and 1)",
    )
    faces = labels.add_mutually_exclusive_group()
    faces.add_argument("--aligned", action="store_true", help="pictures are crops already, aligned as the checkpoint's")
    faces.add_argument(
        "--detector", default="auto", metavar="NAME", help="auto, yunet, haar, or a YuNet model file (default: auto)"
    )
    labels.add_argument(
        "--work", type=Path, metavar="FOLDER", help="where crops are kept (default: FOLDER-data, beside the run folder)"
    )

    training = parser.add_argument_group("what is trained, and how")
    training.add_argument(
        "--base", metavar="CHECKPOINT", help="folder or Hub id to start from (default: the one that ships)"
    )
    training.add_argument(
        "--train",
        choices=("auto", "lora", "full", "probe"),
        default="auto",
        help="lora: low-rank adapters, merged at the end; full: all weights; probe: a linear classifier on the tower "
        "as it is, which knows no words; auto: lora for large towers, else full (default)",
    )
    training.add_argument(
        "--epochs",
        type=_positive(float),
        metavar="N",
        help="passes over the pictures; the best on the validation people is kept (default: 20, fewer where there are "
        "many pictures)",
    )
    training.add_argument(
        "--batch-size", type=_positive(int), default=32, metavar="N", help="faces a step (default: 32)"
    )
    training.add_argument(
        "--learning-rate", type=_positive(float), metavar="RATE", help="its peak (default: by what is trained)"
    )
    training.add_argument(
        "--lora-rank", type=_positive(int), default=8, metavar="N", help="of the adapters (default: 8)"
    )
    training.add_argument(
        "--seed", type=int, default=0, help="of the draw of people, the order and the weights (default: 0)"
    )
    training.add_argument("--processes", type=_positive(int), metavar="N", help="that cut faces (default: one a core)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    try:
        import datasets
        from transformers.utils import logging

        from clef.finetune_run import finetune_own_data
    except ImportError as error:
        return fail("finetune", f"{error}; `pip install 'clef-faces[analysis]'` brings what is needed.")
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    values = vars(arguments)
    detector = "none" if values.pop("aligned") else values.pop("detector")
    values.pop("detector", None)
    try:
        finetune_own_data(values.pop("data"), values.pop("output"), detector=detector, **values)
    except KeyboardInterrupt:
        return fail("finetune", "interrupted; the same command goes on.", INTERRUPTED)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return fail("finetune", "the disk is full; make room and start the same command again.", NOT_WRITTEN)
        return fail("finetune", str(error))
    except (ValueError, ImportError, FloatingPointError) as error:
        return fail("finetune", str(error))
    return FINE


def _positive(kind: type):
    def read(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a{' whole' if kind is int else ''} number above 0")
        return value

    return read
