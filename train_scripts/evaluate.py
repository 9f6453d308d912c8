"""Scores a checkpoint on unseen subjects: action units, expressions, linear probes, identity.

python train_scripts/evaluate.py outputs/finetune                      # the corpus that the run's recipe names
python train_scripts/evaluate.py outputs/pretrain --probe_fractions 0.05 0.2
python train_scripts/evaluate.py user/checkpoint --corpus synthetic --corpus_options '{"subjects": 72}'
"""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    # The repository root instead of this folder, where this very file hides the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, AutoProcessor

import modeling_clef  # noqa: F401  (registers the Auto classes)
from processing.corpora import load_corpus
from train_scripts.data import choose_labelled
from train_scripts.epoch_scores import epoch_selection
from train_scripts.labels import corpus_label_names, corpus_labels
from train_scripts.options import CorpusOptions, option, run_script
from train_scripts.predict import Features, extract_features, predict_logits
from train_scripts.predictions import write_predictions
from train_scripts.probes import KINDS, identity_probe, linear_probe
from train_scripts.readable import ReadableCorpora
from train_scripts.results import summarise_predictions, write_results
from train_scripts.runtime import write_metrics
from train_scripts.score_table import score_table
from train_scripts.split_scores import fitted_predictions, full_scores
from train_scripts.subject_leaks import (
    refuse_any_shared_subjects,
    refuse_shared_subjects,
    refuse_training_subjects,
    run_recipe,
    subjects_of,
)

# What of a label set is fitted here.
FITTED = ("thresholds", "temperatures", "calibration_biases", "neutral_logits")


@dataclass
class EvaluationOptions(CorpusOptions):
    checkpoint: str = option("", "run folder or Hub id; may also stand first, without --checkpoint")
    corpus: str | None = option(None, "corpus name; default: what the run folder's recipe.yaml names")
    split: str = option("test", "split that is scored")
    threshold_split: str = option("validation", "split that thresholds and the probes' strength are fitted on")
    probe_fractions: list[str] = field(
        default_factory=list,
        metadata={"help": "also fit linear probes with these fractions of the training frames labelled, e.g. 0.05 0.2"},
    )
    write_thresholds: bool | None = option(
        None,
        "write the fitted thresholds and temperatures into the run folder's config.json; default: unless --output "
        "names another folder",
    )
    predictions: bool = option(False, "also write predictions.parquet, from which compare.py works")
    output: str | None = option(None, "folder of metrics.json; default: the run folder")
    mirror: bool = option(False, "average each face with its mirror image; what is fitted is for that")
    batch_size: int = option(256, "images at a time")
    workers: int = option(0, "processes that decode images")
    device: str | None = option(None, "where to run; default: the GPU if there is one")
    seed: int = option(0, "seed of the probes' labelled frames and of the identity probe's halves")

    def __post_init__(self):
        super().__post_init__()
        if not self.checkpoint:
            raise ValueError("no checkpoint: give a run folder or Hub id as the first argument.")
        if self.split == self.threshold_split:
            raise ValueError(
                f"split and threshold_split are both {self.split!r}: thresholds fitted on the frames that are scored "
                "give inflated scores. Name another split for one of them."
            )
        for fraction in self.probe_fractions:
            if not fraction.replace(".", "", 1).isdigit() or not 0 < float(fraction) <= 1:
                raise ValueError(f"probe_fractions: got {fraction!r}, expected more than 0 and at most 1.")
        if self.batch_size < 1 or self.workers < 0:
            raise ValueError(f"got batch_size {self.batch_size}, workers {self.workers}; expected >= 1 and >= 0.")


def evaluate_checkpoint(
    model,
    processor,
    validation: Dataset,
    test: Dataset | None,
    batch_size: int = 256,
    device=None,
    num_workers: int = 0,
    seed: int = 0,
    progress: bool = True,
    features: Features | None = None,
    validation_logits: np.ndarray | None = None,
    mirror: bool = False,
    predictions_folder: Path | None = None,
    fold: int | None = None,
    identity: bool = True,
    selected: str = "not said",
    splits: tuple[str, str] = ("test", "validation"),
    unreadable: dict[str, int] | None = None,
    rows: dict[str, np.ndarray] | None = None,
) -> dict:
    """Scores on the test subjects, all fractions in [0, 1]; also keeps what is fitted in the model's config.

    Temperatures are fitted first, then thresholds of the calibrated probabilities. What "at half" says is of the
    uncalibrated ones, as a network without validation subjects would decide. Frames without a detected face are left
    out of the fit, and count in the scores (see `score_draws`).

    Args:
        model: any CLEF model; its label sets are scored against the corpus.
        validation: frames of other subjects, on which each label's temperature and threshold are fitted.
        test: frames to score. None: the validation frames are scored, with nothing that was fitted on them and without
            identity probe.
        features: `extract_features` of the test frames, if at hand.
        validation_logits: `predict_logits` of the validation frames, if at hand.
        mirror: average the logits of each frame with those of its mirror image.
        predictions_folder: where predictions.parquet, and of test frames results.json and results.csv with 95 %
            intervals, are written, if anywhere; `fold` is noted in them.
        identity: also probe for identity, which takes minutes with thousands of frames of hundreds of people.
        selected: by what the epoch was chosen, said in results.json. splits: see `summarise_predictions`.
        unreadable: split → frames that were taken out before, as their image cannot be decoded; the files say so.
        rows: split → which rows of it as it was loaded its frames are, where some were taken out.

    Returns:
        "data": counts. For each label set of the model, under its name: mean scores, and per label under "labels".
        "identity": see `probes.identity_probe`, or "identity_skipped": why there is none.

    Raises:
        ValueError: a subject occurs in both splits, or a label set that corpora do not know.
    """
    scored = validation if test is None else test
    result = {"data": {"scored": _counts(scored), "thresholds_from": _counts(validation)}}
    if test is not None:
        refuse_shared_subjects(validation, test)
    run = {"batch_size": batch_size, "device": device, "num_workers": num_workers, "progress": progress}
    label_sets = (model.config.label_sets or []) if hasattr(model, "clef") and hasattr(model, "set_labels") else []
    if label_sets:
        if validation_logits is None:
            validation_logits = predict_logits(model, validation, processor, mirror=mirror, **run)
        parts = {"validation": (validation, validation_logits)}
        if test is not None:
            parts["test"] = test, predict_logits(model, test, processor, mirror=mirror, **run)
        predictions = fitted_predictions(label_sets, parts, fold)
        predictions.unreadable = {split: count for split, count in (unreadable or {}).items() if split in parts}
        for split in parts.keys() & (rows or {}).keys():
            predictions.rows[predictions.splits == split] = rows[split]
        result |= full_scores(predictions.split("validation" if test is None else "test"), fitted=test is not None)
        if predictions_folder is not None:
            write_predictions(predictions_folder, predictions)
            if test is not None:
                said = {"epoch_selection": selected, "splits": splits}
                write_results(summarise_predictions([predictions], seed=seed, **said), predictions_folder)
    if test is not None and identity:
        features = features or extract_features(model, test, processor, **run)
        try:
            result["identity"] = identity_probe(features, test["subject_id"][:], test["activity"][:], seed)
        except ValueError as error:
            result["identity_skipped"] = str(error)
    return result


def probe_checkpoint(
    model,
    processor,
    train: Dataset,
    validation: Dataset,
    test: Dataset | None = None,
    **run,
) -> dict:
    """Linear probes on the backbone's features; scores as in `probes.linear_probe`.

    All label sets that the training frames know are probed. `run` holds options of `extract_features`.

    Raises:
        ValueError: a subject occurs in two splits.
    """
    splits = [split for split in (train, validation, test) if split is not None]
    refuse_any_shared_subjects(splits)
    names = _coded_labels(train)
    parts = [(extract_features(model, part, processor, **run).backbone, _labels_by_set(part, names)) for part in splits]
    return linear_probe(*parts)


def _coded_labels(corpus: Dataset) -> dict[str, list[str]]:
    """Label sets that a corpus codes, and their labels."""
    names = {set_name: corpus_label_names(corpus, set_name) for set_name in KINDS}
    return {set_name: labels for set_name, labels in names.items() if labels}


def _labels_by_set(corpus: Dataset, names: dict[str, list[str]]) -> dict[str, np.ndarray]:
    return {set_name: corpus_labels(corpus, set_name, labels) for set_name, labels in names.items()}


def _counts(dataset: Dataset) -> dict:
    counts = {"frames": len(dataset), "subjects": len(subjects_of(dataset))}
    if "face_found" in dataset.column_names:
        counts["without_face"] = sum(found is False for found in dataset["face_found"][:])
    return counts


def load_model_and_processor(checkpoint: str):
    """Model and processor of a run folder or Hub id, the model with its head if it was saved with one."""
    config = AutoConfig.from_pretrained(checkpoint)
    headed = "CLEFForImageClassification" in (config.architectures or [])
    auto_class = AutoModelForImageClassification if headed else AutoModel
    return auto_class.from_pretrained(checkpoint), AutoProcessor.from_pretrained(checkpoint)


def corpus_of(options: EvaluationOptions) -> tuple[str, str | None, dict]:
    """Name, root and options of the corpus: those given, else those of the run folder's recipe."""
    if options.corpus is not None:
        return options.corpus, options.root, options.corpus_options
    recipe = run_recipe(options.checkpoint)
    if not recipe.get("corpus"):
        raise ValueError(
            f"got the checkpoint {options.checkpoint!r} without a recipe.yaml beside it that names a corpus: check the "
            "folder, or say with --corpus what to evaluate on."
        )
    corpus_options = options.corpus_options or recipe.get("corpus_options") or {}
    return recipe["corpus"], options.root or recipe.get("root"), corpus_options


def write_thresholds(folder: Path, label_sets: list[dict]) -> None:
    """Puts what was fitted of the label sets into `folder/config.json` and leaves everything else there as it is."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for saved, fitted in zip(config["label_sets"], label_sets, strict=True):
        saved |= {key: fitted[key] for key in FITTED if fitted.get(key) is not None}
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(config, indent=2) + "\n")
    partial.replace(path)


def main(options: EvaluationOptions) -> dict:
    # One process is enough, and two would write the same files.
    if int(os.environ.get("RANK", 0)):
        print("evaluation runs in one process; this one has nothing to do")
        return {}
    name, root, corpus_options = corpus_of(options)
    test, validation = (
        load_corpus(name, root=root, split=split, **corpus_options)
        for split in (options.split, options.threshold_split)
    )
    if options.split != "train":  # whoever names that split wants the training people scored
        parts = [test] if options.threshold_split == "train" else [test, validation]
        refuse_training_subjects(options.checkpoint, name, root, corpus_options, parts)
    model, processor = load_model_and_processor(options.checkpoint)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    run = {"batch_size": options.batch_size, "device": device, "num_workers": options.workers}
    folder = Path(options.checkpoint)
    output = Path(options.output) if options.output else folder
    if options.predictions and not (options.output or folder.is_dir()):
        raise ValueError("predictions: the checkpoint is no local folder; name one with --output")
    scored = ReadableCorpora({"validation": validation, "test": test})

    def score(parts: dict[str, Dataset]) -> tuple[Features, dict]:
        features = extract_features(model, parts["test"], processor, **run)
        return features, evaluate_checkpoint(
            model,
            processor,
            parts["validation"],
            parts["test"],
            seed=options.seed,
            features=features,
            mirror=options.mirror,
            predictions_folder=output if options.predictions else None,
            fold=corpus_options.get("fold"),
            selected=epoch_selection(run_recipe(options.checkpoint)),
            splits=(options.split, options.threshold_split),
            unreadable=scored.left_out,
            rows=scored.rows,
            **run,
        )

    features, result = scored.score(score)
    validation, test = scored.corpora["validation"], scored.corpora["test"]
    result["data"] |= {
        "corpus": name,
        "corpus_options": corpus_options,
        "split": options.split,
        "threshold_split": options.threshold_split,
        "mirror": options.mirror,
        "corrupt_images_left_out": scored.left_out,
    }
    if options.probe_fractions:
        train = load_corpus(name, root=root, split="train", **corpus_options)
        result["linear_probe"] = _probes(options, model, processor, train, validation, test, features, run)

    print(score_table(result))
    fitted = [s for s in getattr(model.config, "label_sets", None) or () if s["name"] in result]
    kept = output.resolve() == folder.resolve() if options.write_thresholds is None else options.write_thresholds
    if folder.is_dir() and kept and fitted:
        write_thresholds(folder, model.config.label_sets)
        print(f"thresholds and temperatures written to {folder / 'config.json'}")
    if options.output or folder.is_dir():
        output.mkdir(parents=True, exist_ok=True)
        write_metrics(output, evaluation=result)
        print(f"scores written to {output / 'metrics.json'}{', predictions beside it' if options.predictions else ''}")
    else:
        print("scores not written: the checkpoint is no local folder; name one with --output")
    return result


def _probes(options, model, processor, train, validation, test, test_features, run) -> dict:
    """Probes at each label fraction; features are extracted once, for the largest fraction's frames."""
    refuse_any_shared_subjects([train, validation, test])
    names = _coded_labels(train)
    subjects = np.array(train["subject_id"][:])
    chosen = {f: choose_labelled(subjects, float(f), "frame", options.seed) for f in options.probe_fractions}
    needed = np.unique(np.concatenate(list(chosen.values())))
    train = train.select(needed)
    train_x, train_y = extract_features(model, train, processor, **run).backbone, _labels_by_set(train, names)
    validation_x = extract_features(model, validation, processor, **run).backbone
    scores = {}
    for fraction, frames in chosen.items():
        rows = np.searchsorted(needed, frames)
        scores[fraction] = linear_probe(
            (train_x[rows], {set_name: y[rows] for set_name, y in train_y.items()}),
            (validation_x, _labels_by_set(validation, names)),
            (test_features.backbone, _labels_by_set(test, names)),
        )
    return scores


def with_checkpoint_flag(argv: list[str]) -> list[str]:
    """Lets the checkpoint stand first, as `evaluate.py RUN_FOLDER …`."""
    positional = argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml"))
    return ["--checkpoint", *argv] if positional else argv


if __name__ == "__main__":
    run_script(main, EvaluationOptions, with_checkpoint_flag(sys.argv[1:]))
