"""Recognises expressions that were never labelled in training, by their names and by their descriptions.

python train_scripts/zero_shot.py                                  # trains without some expressions, tests on these
python train_scripts/zero_shot.py --train_on action_units          # trains on AUs alone, tests on all expressions
python train_scripts/zero_shot.py --checkpoint outputs/finetune    # trains nothing
python train_scripts/zero_shot.py train_scripts/recipes/paper/zero_shot_raf_db_from_action_units.yaml \\
    --root … --test_root …

Each frame gets the label whose text is most similar. In stage 1 no frame has an expression label, but activity texts
name the emotion that a task was meant to elicit, as the paper's do: the words are not new to the model then, only
their use for a single face is.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
import yaml
from datasets import Dataset

from modeling_clef import CLEFConfig, CLEFForImageClassification
from processing.corpora import load_corpus
from processing.prompts_clef import EXPRESSIONS
from train_scripts.bootstrap import draw_subjects
from train_scripts.jobs import run_jobs
from train_scripts.labels import corpus_label_names, corpus_labels
from train_scripts.options import CorpusOptions, TrainingOptions, option, run_script, save_recipe
from train_scripts.photo_metrics import interval
from train_scripts.predict import predict_logits
from train_scripts.results_table import as_markdown
from train_scripts.score_draws import Frames, fold_draws, headline_scores
from train_scripts.stage_jobs import stage_job
from train_scripts.towers import make_model, make_processor

# Which expressions the paper held out is not known.
HELD_OUT = ["fear", "anger", "disgust"]
RESAMPLES = 1000


@dataclass
class ZeroShotOptions(CorpusOptions):
    output: str = option("outputs/zero_shot", "folder of runs and results")
    seed: int = option(0, "seed of weights, order, augmentation and the intervals")
    checkpoint: str | None = option(None, "recognise with this CLIP or CLEF checkpoint as it is; nothing is trained")
    train_on: Literal["expressions", "action_units"] = option(
        "expressions", "labels of stage 2: the expressions that are not held out, or action units alone"
    )
    held_out: list[str] = field(
        default_factory=list,
        metadata={
            "help": "expressions to recognise, which training neither shows nor names; default: "
            f"{' '.join(HELD_OUT)} when trained on expressions, otherwise all"
        },
    )
    pretraining: dict | str | None = option("{}", "options of stage 1, as a mapping; null: no stage 1")
    pretraining_root: str | None = option(None, "folder of the files of the corpus that `pretraining` names")
    finetuning: dict | str | None = option("{}", "options of stage 2, as a mapping")
    test_corpus: str | None = option(None, "corpus whose test subjects are recognised; default: the one trained on")
    test_root: str | None = option(None, "folder of the test corpus's files")
    test_corpus_options: dict | str | None = option(None, "further options of the test corpus, as a mapping")
    paper: dict | str | None = option(None, "the paper's figures of the same experiment, as a mapping")
    ours: dict | str | None = option(None, "this project's figures of the same experiment, as a mapping")

    def __post_init__(self):
        super().__post_init__()
        for name in ("pretraining", "finetuning", "test_corpus_options", "paper", "ours"):
            value = getattr(self, name)
            value = yaml.safe_load(value) if isinstance(value, str) else value
            if not isinstance(value, (dict, type(None))):
                raise ValueError(f"{name}: got {value!r}, expected a mapping.")
            setattr(self, name, value)
        unknown = [name for name in self.held_out if name not in EXPRESSIONS]
        if unknown:
            raise ValueError(f"held_out: got {', '.join(unknown)}, expected some of {', '.join(EXPRESSIONS)}.")
        if self.pretraining_root and not self.pretrains_elsewhere:
            raise ValueError("pretraining_root belongs to a corpus that `pretraining` names: name one.")
        if self.test_corpus is None and (self.test_root or self.test_corpus_options):
            raise ValueError("test_root and test_corpus_options belong to a test_corpus: name one.")
        if not self.checkpoint and not self.held_out and self.train_on == "expressions":
            self.held_out = list(HELD_OUT)

    @property
    def pretrains_elsewhere(self) -> bool:
        return "corpus" in (self.pretraining or {})


def main(options: ZeroShotOptions) -> dict:
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    save_recipe(options, folder)
    if options.test_corpus:
        corpus, root, corpus_options = options.test_corpus, options.test_root, options.test_corpus_options or {}
    else:
        corpus, root, corpus_options = options.corpus, options.root, options.corpus_options
    test = load_corpus(corpus, root=root, split="test", **corpus_options)
    everything = corpus_label_names(test, "expression")
    missing = [name for name in options.held_out if name not in everything]
    if missing:
        raise ValueError(f"no test frame shows {', '.join(missing)}; there are: {', '.join(everything) or 'none'}.")
    wanted = [name for name in everything if name in (options.held_out or everything)]
    test = test.select(np.flatnonzero(np.isin(np.array(test["expression"][:], dtype=object), wanted)))

    checkpoint = options.checkpoint or str(train(options))
    model, processor = load_text_model(checkpoint)
    trained = [name for name in wanted if any(name in label_set["labels"] for label_set in model.config.label_sets)]
    if trained:
        print(f"note: the checkpoint was trained to recognise {', '.join(trained)}: this is not zero-shot for these.")
    candidates = {"among these": wanted} | ({"among all": everything} if wanted != everything else {})
    texts = {
        "names": processor.label_prompts(everything),
        "descriptions": [prompts[0] for prompts in processor.description_prompts(everything)],
    }
    scores = {}
    for kind, prompts in texts.items():
        tokens = processor(text=prompts)
        model.set_labels(everything, **tokens, problem_type="single_label_classification", name="expression")
        logits = predict_logits(model, test, processor, device="cuda" if torch.cuda.is_available() else "cpu")
        for title, names in candidates.items():
            columns = [everything.index(name) for name in names]
            scores[f"{kind}, {title}"] = score(test, names, logits[:, columns], options.seed)
    result = {
        "checkpoint": checkpoint,
        "trained_on": None if options.checkpoint else options.train_on,
        "recognised": wanted,
        "recognised_and_trained": trained,
        "data": {"corpus": corpus, "frames": len(test), "subjects": len(set(test["subject_id"][:]))},
        "scores": scores,
        "paper": options.paper,
        "ours": options.ours,
    }
    (folder / "zero_shot.json").write_text(json.dumps(result, indent=2) + "\n")
    print(as_markdown(table(result)))
    print(f"written to {folder / 'zero_shot.json'}")
    return result


def train(options: ZeroShotOptions) -> Path:
    """Stage 1, if there is one, and stage 2; what is done already is skipped. Returns the folder of stage 2."""
    here = {"corpus": options.corpus, "root": options.root, "corpus_options": options.corpus_options}
    there = {"root": options.pretraining_root} if options.pretrains_elsewhere else here
    labels = {"label_sets": ["action_units"]}
    if options.train_on == "expressions":
        labels = {"label_sets": ["expression"], "held_out_expressions": options.held_out}
    jobs, seed = [], {"seed": options.seed}
    if options.pretraining is not None:
        folder = Path(options.output, "pretrained")
        jobs.append(stage_job("stage 1", "pretrain", folder, there | options.pretraining | seed))
        labels["init_from"] = str(folder.resolve())
    settings = here | (options.finetuning or {}) | labels | seed | {"test": False}
    folder = Path(options.output, "finetuned")
    jobs.append(stage_job("stage 2", "finetune", folder, settings, [job.name for job in jobs]))
    run_jobs(jobs, 1)
    return folder


def load_text_model(checkpoint: str):
    """A classifier without labels of its own, and its processor, from any CLEF or CLIP checkpoint.

    Raises:
        ValueError: a checkpoint with a linear head, whose text side was not trained.
    """
    options = TrainingOptions(init_from=checkpoint)
    processor = make_processor(options)
    known = CLEFConfig.from_pretrained(checkpoint)
    if known.head == "linear" and known.label_sets:
        raise ValueError(
            f"{checkpoint} has a linear head: its text side was not trained in stage 2. Take another head."
        )
    fields = {} if known.label_sets else {"head": "names"}
    return make_model(CLEFForImageClassification, options, processor, **fields).eval(), processor


def score(test: Dataset, names: list[str], logits: np.ndarray, seed: int) -> dict:
    """Accuracy and mean recall (UAR), each with its 95 % interval over subjects, and what chance would give.

    Frames without a detected face count as wrong.

    Args:
        logits: (rows of `test`, names).
    """
    labels = corpus_labels(test, "expression", names)
    subjects, numbers = np.unique(np.array(test["subject_id"][:], dtype=str), return_inverse=True)
    found = np.ones(len(test), dtype=bool)
    if "face_found" in test.column_names:
        found = np.array([value is not False for value in test["face_found"][:]])
    label_set = {"name": "expression", "problem_type": "single_label_classification", "labels": names}
    drawn = draw_subjects(np.zeros(len(subjects)), RESAMPLES, seed)
    draws = headline_scores(fold_draws(Frames(label_set, logits, labels, found, numbers), drawn))
    shares = np.nanmean(labels, axis=0)
    return {
        "candidates": names,
        **{
            name: {"value": float(draws[name][0]), "interval": interval(draws[name][1:])}
            for name in ("accuracy", "uar")
        },
        "chance": 1 / len(names),
        "most_frequent": {"name": names[int(shares.argmax())], "share": float(shares.max())},
    }


def table(result: dict) -> list[list[str]]:
    """One row a kind of text and set of candidates, in percent."""
    rows = [["recognised by", "accuracy [95 % interval]", "mean recall", "chance", "always the most frequent"]]
    for title, values in result["scores"].items():
        accuracy, frequent = values["accuracy"], values["most_frequent"]
        low, high = (100 * bound for bound in accuracy["interval"])
        rows.append(
            [
                f"{title} ({len(values['candidates'])})",
                f"{100 * accuracy['value']:.1f} [{low:.1f}, {high:.1f}]",
                f"{100 * values['uar']['value']:.1f}",
                f"{100 * values['chance']:.1f}",
                f"{100 * frequent['share']:.1f} ({frequent['name']})",
            ]
        )
    for name, value in (result["paper"] or {}).items():
        if isinstance(value, (int, float)):
            rows.append([f"the paper: {name}", f"{value:.2f}", "–", "–", "–"])
    return rows


if __name__ == "__main__":
    run_script(main, ZeroShotOptions)
