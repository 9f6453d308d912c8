"""Stage 2: recognises action units and expressions by the similarity of a face to label texts.

accelerate launch train_scripts/finetune.py --init_from outputs/pretrain       # names and descriptions (I+N+D)
accelerate launch train_scripts/finetune.py --init_from outputs/pretrain --head names          # I+N
accelerate launch train_scripts/finetune.py --init_from outputs/pretrain --head descriptions   # I+D
accelerate launch train_scripts/finetune.py --init_from outputs/pretrain --head linear         # I
accelerate launch train_scripts/finetune.py --init_from outputs/pretrain --linear_probe        # tower as it is
accelerate launch train_scripts/finetune.py --label_fraction 0.05 --label_fraction_by subject  # from scratch
"""

import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch

from modeling_clef import CLEFForImageClassification
from processing.corpora import load_corpus
from processing.corpora.prepared import rows_with_faces
from train_scripts.augmentation import augmenting_device, make_augmentation
from train_scripts.checkpoints import EPOCHS, LOGS, PREDICTIONS, save_finished
from train_scripts.data import (
    ClassificationCollator,
    FaceCrops,
    adopt_crop_recipe,
    choose_labelled,
    make_loader,
    without_expressions,
)
from train_scripts.epoch_scores import NOT_SELECTED, SELECTED_ON_VALIDATION, EpochScores, epoch_ends, epoch_selection
from train_scripts.evaluate import evaluate_checkpoint
from train_scripts.label_texts import read_label_texts
from train_scripts.labels import PROBLEM_TYPES, balancing_weights, label_matrix, make_label_sets, with_known_labels
from train_scripts.lora import merge_adapters
from train_scripts.options import TrainingOptions, option, run_script, save_recipe
from train_scripts.predict import extract_features, predict_logits
from train_scripts.probes import fit_linear
from train_scripts.readable import ReadableCorpora
from train_scripts.runtime import start_accelerator, total_optimizer_steps, train, write_metrics
from train_scripts.sampling import FaceBatchSampler, steps_per_epoch
from train_scripts.subject_leaks import refuse_any_shared_subjects
from train_scripts.summaries import summary
from train_scripts.towers import make_model, make_processor


@dataclass
class FinetuningOptions(TrainingOptions):
    output: str = option("outputs/finetune", "folder that the run is written to")
    learning_rate: float = option(1e-3, "peak learning rate")
    label_sets: list[str] = field(
        default_factory=lambda: ["action_units", "expression"],
        metadata={"help": "label sets to learn, jointly if several: action_units, expression, those of label_texts"},
    )
    label_texts: str | None = option(
        None, "YAML file with label sets of one's own and other words for known labels, see label_texts.py"
    )
    head: Literal["linear", "names", "names_and_descriptions", "descriptions"] = option(
        "names_and_descriptions",
        "linear head on the image features (I), label names (I+N), names and descriptions (I+N+D), or descriptions in "
        "place of names (I+D)",
    )
    action_units: list[str] = field(
        default_factory=list,
        metadata={"help": "action units of the protocol, e.g. AU1 AU2; default: all that the corpus codes"},
    )
    description_weight: float = option(1.0, "weight of the description–name loss")
    description_temperature: float | None = option(
        None,
        "temperature of the description–name loss, kept; default: that of the checkpoint, kept or learned as there, or "
        "one that starts from .07 and is learned",
    )
    phrasings: bool = option(False, "also show labels in everyday phrasings, so that other words work later")
    phrasing_weight: float = option(0.3, "with phrasings: weight of the image–phrasing loss")
    held_out_expressions: list[str] = field(
        default_factory=list,
        metadata={"help": "expressions neither shown nor named here: their frames are left out of every split"},
    )
    linear_probe: bool = option(False, "fit a linear head on the features of the tower as it is; nothing else trains")
    label_fraction: float = option(1.0, "fraction of the training data whose labels are used")
    label_fraction_by: Literal["frame", "subject"] = option("frame", "what the fraction is drawn from")
    class_weighting: Literal["none", "balanced"] = option("none", "weigh rare labels up in the loss")
    identity_probe: bool = option(True, "with the test split, also ask how well people are found again")
    crop_recipe: str | None = option(
        None, "crop recipe that the processor records; default: what the corpus says of its crops"
    )
    text_free: bool = option(
        False,
        "save label embeddings in place of the text tower, which join_text_tower() brings back if it is published",
    )
    test: bool = option(True, "evaluate on the test split at the end, thresholds fitted on validation subjects")
    predictions: bool = option(
        True, "with test: write predictions.parquet, from which results and comparisons are made"
    )
    epoch_scores: bool = option(
        False, "score the validation subjects, and with test the test subjects, after every epoch, in epochs.jsonl"
    )
    select_epoch: Literal["last", "validation"] = option(
        "last", "which epoch's weights are saved: the last, or the best on the validation subjects (scores every epoch)"
    )

    def __post_init__(self):
        super().__post_init__()
        known = [*PROBLEM_TYPES, *(read_label_texts(self.label_texts) if self.label_texts else ())]
        if not self.label_sets or not set(self.label_sets) <= set(known):
            raise ValueError(
                f"label_sets: got {self.label_sets}, expected some of {', '.join(dict.fromkeys(known))}; sets of one's "
                "own need label_texts."
            )
        if self.action_units and "action_units" not in self.label_sets:
            raise ValueError("action_units: these are not learned, as the label set 'action_units' is not.")
        if not 0 < self.label_fraction <= 1:
            raise ValueError(f"label_fraction: got {self.label_fraction}, expected more than 0 and at most 1.")
        self.epoch_scores = self.epoch_scores or self.select_epoch == "validation"
        if self.linear_probe:
            self.head, self.freeze_vision = "linear", True
            if self.epoch_scores:
                raise ValueError("linear_probe has no epochs: leave epoch_scores and select_epoch out.")
        if self.phrasings and not self.head.startswith("names"):
            raise ValueError(f"phrasings are other names, and head {self.head!r} shows no names: leave them out.")
        if self.description_temperature is not None:
            if self.head != "names_and_descriptions":
                raise ValueError(f"description_temperature: head {self.head!r} has no description–name loss.")
            if self.description_temperature < 0.01:
                raise ValueError(
                    f"description_temperature: got {self.description_temperature}, expected at least .01, below which "
                    "similarities are not scaled up further."
                )
        if self.phrasing_weight <= 0:
            raise ValueError(f"phrasing_weight: got {self.phrasing_weight}, expected more than 0.")


def main(options: FinetuningOptions) -> Path:
    accelerator = start_accelerator(options)
    folder = Path(options.output)
    with accelerator.main_process_first():
        splits = ("train", "validation", "test") if options.test else ("train", "validation")
        corpora = {
            split: load_corpus(options.corpus, root=options.root, split=split, **options.corpus_options)
            for split in splits
        }
    if options.held_out_expressions:
        corpora = {split: without_expressions(part, options.held_out_expressions) for split, part in corpora.items()}
    refuse_any_shared_subjects(list(corpora.values()))
    processor = make_processor(options)
    if options.crop_recipe is None:
        adopt_crop_recipe(processor, corpora["train"])
    else:
        processor.image_processor.crop_recipe = options.crop_recipe
    label_sets = make_label_sets(
        corpora["train"],
        options.label_sets,
        processor,
        options.phrasings,
        options.action_units,
        read_label_texts(options.label_texts) if options.label_texts else None,
    )
    unlabelled = {split: len(part) for split, part in corpora.items()}
    corpora = {split: with_known_labels(part, label_sets) for split, part in corpora.items()}
    unlabelled = {split: count - len(corpora[split]) for split, count in unlabelled.items()}
    if any(unlabelled.values()):
        accelerator.print(f"frames without any label, left out: {unlabelled}")
    corpus = rows_with_faces(corpora["train"])
    if len(corpus) < len(corpora["train"]):
        accelerator.print(f"training frames without a detected face, left out: {len(corpora['train']) - len(corpus)}")
    rows = choose_labelled(
        np.array(corpus["subject_id"][:]), options.label_fraction, options.label_fraction_by, options.seed
    )
    labelled = corpus.select(rows)
    accelerator.print(
        f"{len(labelled)} of {len(corpus)} training frames are labelled, "
        f"of {len(set(labelled['subject_id'][:]))} subjects"
    )
    labels = label_matrix(labelled, label_sets)
    if options.class_weighting == "balanced":
        start = 0
        for label_set in label_sets:
            columns = labels[:, start : start + len(label_set["labels"])]
            label_set["positive_weights"] = balancing_weights(columns, label_set["problem_type"])
            start += len(label_set["labels"])
    temperature = {}
    if options.description_temperature is not None:
        temperature["logit_scale_init_value"] = -math.log(options.description_temperature)
        temperature["learn_temperature"] = False
    model = make_model(
        CLEFForImageClassification,
        options,
        processor,
        label_sets=label_sets,
        head=options.head,
        description_weight=options.description_weight,
        phrasing_weight=options.phrasing_weight,
        **temperature,
    )
    if temperature:
        with torch.no_grad():  # a checkpoint brings its own
            model.clef.logit_scale.fill_(temperature["logit_scale_init_value"])

    scored = ReadableCorpora({name: part for name, part in corpora.items() if name != "train"}, accelerator.print)
    run = {"num_workers": options.workers, "progress": False}
    if options.linear_probe:
        scored.corpora["train"] = labelled
        if accelerator.is_main_process:
            save_recipe(options, folder)
        extraction = run | {"device": accelerator.device, "progress": accelerator.is_local_main_process}
        report = scored.score(
            lambda parts: _fit_linear_head(model, processor, parts["train"], parts["validation"], extraction)
        )
    else:
        crops = FaceCrops(labelled, processor, options.workers)
        world = accelerator.num_processes
        batches = steps_per_epoch(len(labelled), options.batch_size * world)
        steps = total_optimizer_steps(options, batches)
        collator = ClassificationCollator(processor, make_augmentation(options, steps), labels)

        def make_batches(start_step):
            sampler = FaceBatchSampler(
                len(labelled),
                options.batch_size,
                steps * options.gradient_accumulation,
                seed=options.seed,
                rank=accelerator.process_index,
                world_size=world,
                start_step=start_step,
            )
            return make_loader(crops, sampler, collator, options.workers, augmenting_device(options, accelerator))

        def losses_of(output):
            names = ("image_name_loss", "image_phrasing_loss", "description_name_loss")
            return {"loss": output.loss} | {name: output[name] for name in names if name in output}

        epochs = None
        if options.epoch_scores:
            ends = epoch_ends(batches / options.gradient_accumulation, steps)
            epochs = EpochScores(folder, ends, keep_weights=options.select_epoch == "validation")

        def on_step(step, line, averaged):
            if epochs and epochs.is_due(step):
                if accelerator.is_main_process:
                    inner = accelerator.unwrap_model(model)
                    with averaged():
                        record = scored.score(
                            lambda parts: epochs.add(
                                step,
                                inner,
                                parts["validation"],
                                parts.get("test"),
                                lambda part: predict_logits(inner, part, processor, **run),
                            )
                        )
                    accelerator.print(f"\nepoch {record['epoch']}: validation subjects {summary(record['validation'])}")
                accelerator.wait_for_everyone()
            if options.eval_steps and step % options.eval_steps == 0 and step < steps:
                if accelerator.is_main_process:
                    inner = accelerator.unwrap_model(model)
                    with averaged():
                        scores = scored.score(
                            lambda parts: evaluate_checkpoint(inner, processor, parts["validation"], None, **run)
                        )
                    accelerator.print(f"\nstep {step}: validation subjects {summary(scores)}")
                accelerator.wait_for_everyone()

        report = train(accelerator, model, make_batches, steps, options, losses_of, on_step)

    if accelerator.is_main_process:
        inner = accelerator.unwrap_model(model)
        epoch = None
        if options.select_epoch == "validation":
            epoch = {"saved": epochs.restore_best(inner)["epoch"], "of": len(ends), "which": SELECTED_ON_VALIDATION}
        elif options.epoch_scores:
            epoch = {"saved": len(ends), "of": len(ends), "which": NOT_SELECTED}
        merge_adapters(inner)
        validation, scores = scored.score(
            lambda parts: _final_scores(inner, processor, parts, options, folder, run, scored)
        )
        if options.text_free:
            inner.freeze_labels()
            inner.config.text_config._name_or_path = ""  # a folder of this machine
        written = () if options.linear_probe else LOGS
        written += (EPOCHS,) if options.epoch_scores else ()
        written += PREDICTIONS if options.test and options.predictions else ()
        save_finished(folder, inner, processor, keep=written)
        write_metrics(
            folder,
            stage="linear probe" if options.linear_probe else "finetuning",
            training=report,
            labelled_frames=len(labelled),
            frames_without_label=unlabelled,
            corrupt_images_left_out=scored.left_out,
            epoch=epoch,
            validation=validation,
            evaluation=scores,
        )
        done = "fitted a linear head" if options.linear_probe else f"fine-tuned {report['steps']} steps"
        print(
            f"{done} in {report['seconds']:.0f} s; "
            f"{'test' if options.test else 'validation'} subjects: {summary(scores)}; written to {folder}"
        )
    accelerator.end_training()
    return folder


def _final_scores(
    model, processor, parts: dict, options: FinetuningOptions, folder: Path, run: dict, scored: ReadableCorpora
):
    """Scores of the validation subjects without anything fitted on them, and of the test subjects if they are wanted
    (else the same again). The validation frames are read once for both. `scored`: whose corpora `parts` are."""
    validation = parts["validation"]
    logits = predict_logits(model, validation, processor, **run)
    alone = evaluate_checkpoint(model, processor, validation, None, validation_logits=logits, **run)
    if not options.test:
        return alone, alone
    tested = evaluate_checkpoint(
        model,
        processor,
        validation,
        parts["test"],
        **run,
        validation_logits=logits,
        predictions_folder=folder if options.predictions else None,
        fold=options.corpus_options.get("fold"),
        identity=options.identity_probe,
        selected=epoch_selection(vars(options)),
        unreadable=scored.left_out,
        rows=scored.rows,
    )
    return alone, tested


def _fit_linear_head(model, processor, labelled, validation, run: dict) -> dict:
    """Fits the classifier on the tower's features; its regularisation is chosen on the validation subjects."""
    began = time.perf_counter()
    features, validation_features = (
        extract_features(model, corpus, processor, **run).backbone for corpus in (labelled, validation)
    )
    labels, validation_labels = (label_matrix(corpus, model.config.label_sets) for corpus in (labelled, validation))
    for label_set in model.config.label_sets:
        columns = model.label_slices[label_set["name"]]
        weights, bias = fit_linear(
            features,
            labels[:, columns],
            label_set["problem_type"].removesuffix("_classification"),
            validation=(validation_features, validation_labels[:, columns]),
            positive_weights=label_set["positive_weights"],
        )
        model.label_head.classifier.weight.data[columns] = torch.from_numpy(weights)
        model.label_head.biases.data[columns] = torch.from_numpy(bias)
    return {"steps": 0, "seconds": round(time.perf_counter() - began, 2)}


if __name__ == "__main__":
    run_script(main, FinetuningOptions)
