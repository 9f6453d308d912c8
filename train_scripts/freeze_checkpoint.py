"""Makes a text-free checkpoint of a fine-tuned run: label embeddings are kept, the text tower is left out.

python train_scripts/freeze_checkpoint.py outputs/finetune --output checkpoints/mine
python train_scripts/freeze_checkpoint.py outputs/finetune --output checkpoints/mine --half true    # half the file
python train_scripts/freeze_checkpoint.py outputs/finetune --output checkpoints/mine --refit true   # more words

The result loads through the Auto classes and gives the run's logits; `model.join_text_tower()` brings free text back.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from datasets import Dataset

from modeling_clef import CLEFForImageClassification
from processing import CLEFProcessor
from processing.corpora import load_corpus
from train_scripts.evaluate import corpus_of, with_checkpoint_flag
from train_scripts.options import CorpusOptions, option, run_script
from train_scripts.runtime import write_metrics
from train_scripts.text_projection import refit_text_projection

STAY_WHOLE = ("label_head.", "clef.text_projection.weight", "clef.text_projection.labels")


@dataclass
class FreezingOptions(CorpusOptions):
    checkpoint: str = option("", "fine-tuned run folder; may also stand first, without --checkpoint")
    output: str = option("", "folder of the text-free checkpoint")
    half: bool = option(False, "store matrices and kernels in half precision: half the file; it is loaded in single")
    refit: bool = option(False, "fit the text projection anew, for words that no label was trained with")
    corpus: str | None = option(None, "with refit: validation people of this corpus; default: of the run's recipe.yaml")

    def __post_init__(self):
        super().__post_init__()
        if not self.checkpoint or not self.output:
            raise ValueError("expected a run folder as the first argument and --output FOLDER.")
        if not Path(self.checkpoint, "config.json").is_file():
            raise ValueError(f"{self.checkpoint!r} holds no run: expected the folder that finetune.py wrote to.")
        if Path(self.output).exists():
            raise ValueError(f"output {self.output!r} exists already, and nothing is overwritten: name a new folder.")
        if not self.refit and (self.corpus or self.root or self.corpus_options):
            raise ValueError("corpus, root and corpus_options say what to refit on: set refit true, or leave them out.")


def write_text_free(run: Path, target: Path, validation: Dataset | None = None, half: bool = False, **metrics) -> Path:
    """Writes the text-free form of the run's model to the new folder `target`, with its processor, recipe and metrics.

    Args:
        validation: frames on which the text projection is fitted anew (see `text_projection`); None: it stays. A run
            that is text-free already is joined with its sentence encoder for it.
        half: store what `half_precision` says in half precision. Its rounding (a part in 2,000 of each weight) is all
            that changes: the model is loaded, and computes, in single precision.
        metrics: kept in `metrics.json` beside the run's own, and what that fit gave as "text_projection".

    Raises:
        ValueError: the run has no labels. FileExistsError: `target` exists.
    """
    model = CLEFForImageClassification.from_pretrained(run).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    processor = CLEFProcessor.from_pretrained(run)
    if validation is not None:
        model.join_text_tower()
        metrics["text_projection"] = refit_text_projection(model, processor, validation)
    model.freeze_labels()
    model.config.text_config._name_or_path = ""  # a folder of this machine
    weights = half_precision(model.state_dict()) if half else None
    target.mkdir(parents=True)
    try:
        model.save_pretrained(target, state_dict=weights)
        processor.save_pretrained(target)
        shutil.copy(run / "recipe.yaml", target / "recipe.yaml")
        if (run / "results.json").is_file():
            shutil.copy(run / "results.json", target / "results.json")
        write_metrics(target, **(json.loads((run / "metrics.json").read_text()) | metrics))
    except BaseException:
        shutil.rmtree(target)  # half of it would be refused as a folder that is there
        raise
    return target


def half_precision(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Matrices and kernels in float16. Vectors stay, as running variances may leave its range; so do the kept label
    embeddings and the weights of the text projection, which shall give them again when the text tower joins (its
    anchors are numbers of half precision as they are).

    Raises:
        ValueError: a weight beyond the range of float16.
    """
    smaller = {}
    for name, weight in weights.items():
        if weight.is_floating_point() and weight.ndim > 1 and not name.startswith(STAY_WHOLE):
            weight = weight.half()
            if not weight.isfinite().all():
                raise ValueError(f"{name} holds weights beyond half precision: store it in single (half false).")
        smaller[name] = weight
    return smaller


def main(options: FreezingOptions) -> None:
    validation = None
    if options.refit:
        corpus, root, corpus_options = corpus_of(options)
        validation = load_corpus(corpus, root=root, split="validation", **corpus_options)
    target = write_text_free(Path(options.checkpoint), Path(options.output), validation, options.half)
    size = sum(path.stat().st_size for path in target.iterdir()) / 1e6
    print(f"text-free checkpoint of {size:.1f} MB: {target}")


if __name__ == "__main__":
    run_script(main, FreezingOptions, with_checkpoint_flag(sys.argv[1:]))
