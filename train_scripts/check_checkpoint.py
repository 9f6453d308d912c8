"""Does a checkpoint still reach the figures it was published with? Renders a small set of people and scores them.

python train_scripts/check_checkpoint.py checkpoints/clef-small            # compares, exit status 1 when worse
python train_scripts/check_checkpoint.py checkpoints/clef-small --record   # writes the figures into metrics.json

The people are of another seed than any that was trained on. The face model is found as `load_corpus` finds it.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from processing.corpora import load_corpus
from train_scripts.evaluate import load_model_and_processor, with_checkpoint_flag
from train_scripts.label_scores import score_label_sets
from train_scripts.labels import label_matrix
from train_scripts.options import option, run_script
from train_scripts.predict import predict_logits
from train_scripts.runtime import write_metrics

# 40 people, 3 frames of each activity; the validation part is not rendered.
SMALL_SET = {"subjects": 60, "frames": 3, "image_size": 96, "seed": 20_261, "purity": 0.9, "off_script": 0.12}
# Other library versions and processors round differently; a broken crop or a wrong label costs far more than this.
TOLERANCE = 0.01


@dataclass
class CheckOptions:
    checkpoint: str = option("", "checkpoint folder; may also stand first, without --checkpoint")
    root: str | None = option(None, "face model; default: the environment variable CLEF_ICT_FACEKIT")
    record: bool = option(False, "write the figures into the checkpoint's metrics.json instead of comparing")

    def __post_init__(self):
        if not self.checkpoint:
            raise ValueError("no checkpoint: give its folder as the first argument.")


def small_set_scores(checkpoint: str, root: str | None = None, cache_dir: str | None = None) -> dict:
    """Scores of a checkpoint with its own thresholds and temperatures on the small rendered set.

    Raises:
        ValueError: it does not recognise both action units and expressions.
    """
    model, processor = load_model_and_processor(checkpoint)
    label_sets = getattr(model.config, "label_sets", None) or []
    if missing := sorted({"action_units", "expression"} - {label_set["name"] for label_set in label_sets}):
        raise ValueError(
            f"{checkpoint} has no label set {' and no '.join(missing)}: the small set is scored on action_units and "
            "expression."
        )
    corpus = load_corpus("ict_facekit", root=root, split="train", cache_dir=cache_dir, **SMALL_SET)
    logits = predict_logits(model, corpus, processor, progress=False)
    scores = score_label_sets(label_sets, logits, label_matrix(corpus, label_sets), fitted=True)
    return {
        "corpus_options": SMALL_SET,
        "frames": len(corpus),
        "au_f1": scores["action_units"]["mean_f1"],
        "au_auroc": scores["action_units"]["mean_auroc"],
        "expression_accuracy": scores["expression"]["accuracy"],
    }


def recorded_scores(checkpoint: str) -> dict:
    """What `--record` wrote. Raises ValueError where it never did."""
    path = Path(checkpoint, "metrics.json")
    metrics = json.loads(path.read_text()) if path.is_file() else {}
    if "small_set" not in metrics:
        raise ValueError(f"{checkpoint} has no recorded figures to reach: write them with --record first.")
    return metrics["small_set"]


def fallen_short(found: dict, recorded: dict) -> list[str]:
    """A sentence for each figure that is more than the tolerance below the recorded one."""
    names = ("au_f1", "au_auroc", "expression_accuracy")
    short = [name for name in names if found[name] < recorded[name] - TOLERANCE]
    return [f"{name} is {found[name]:.4f}, recorded {recorded[name]:.4f}" for name in short]


def main(options: CheckOptions) -> int:
    recorded = None if options.record else recorded_scores(options.checkpoint)
    found = small_set_scores(options.checkpoint, options.root)
    if recorded is None:
        write_metrics(Path(options.checkpoint), small_set=found)
        print(f"recorded: {json.dumps(found)}")
        return 0
    problems = fallen_short(found, recorded)
    print("\n".join(problems) or f"as recorded: {json.dumps(found)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_script(main, CheckOptions, with_checkpoint_flag(sys.argv[1:])))
