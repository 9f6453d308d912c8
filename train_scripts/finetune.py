"""Stage 2: recognises action units and expressions by the similarity of a face to label texts.

accelerate launch train_scripts/finetune.py --init_from outputs/pretrain       # names and descriptions (I+N+D)
accelerate launch train_scripts/finetune.py --init_from outputs/pretrain --head names          # I+N
accelerate launch train_scripts/finetune.py --init_from outputs/pretrain --head linear         # I
accelerate launch train_scripts/finetune.py --init_from outputs/pretrain --linear_probe        # tower as it is
accelerate launch train_scripts/finetune.py --label_fraction 0.05 --label_fraction_by subject  # from scratch
"""

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
from train_scripts.augmentation import make_augmentation
from train_scripts.data import ClassificationCollator, FaceCrops, adopt_crop_recipe, choose_labelled, make_loader
from train_scripts.evaluate import evaluate_checkpoint
from train_scripts.labels import PROBLEM_TYPES, balancing_weights, label_matrix, make_label_sets
from train_scripts.options import TrainingOptions, option, parse_options
from train_scripts.predict import extract_features
from train_scripts.probes import fit_linear
from train_scripts.runtime import start_accelerator, total_optimizer_steps, train, write_metrics
from train_scripts.sampling import FaceBatchSampler, steps_per_epoch
from train_scripts.summaries import summary
from train_scripts.towers import make_model, make_processor


@dataclass
class FinetuningOptions(TrainingOptions):
    output: str = option("outputs/finetune", "folder that the run is written to")
    learning_rate: float = option(1e-3, "peak learning rate")
    label_sets: list[str] = field(
        default_factory=lambda: ["action_units", "expression"],
        metadata={"help": "label sets to learn, jointly if several: action_units, expression"},
    )
    head: Literal["linear", "names", "names_and_descriptions"] = option(
        "names_and_descriptions",
        "linear head on the image features (I), label names (I+N), or names and descriptions (I+N+D)",
    )
    description_weight: float = option(1.0, "weight of the description–name loss")
    phrasings: bool = option(False, "show labels in several phrasings by turns, so that other words work later")
    linear_probe: bool = option(False, "fit a linear head on the features of the tower as it is; nothing else trains")
    label_fraction: float = option(1.0, "fraction of the training data whose labels are used")
    label_fraction_by: Literal["frame", "subject"] = option("frame", "what the fraction is drawn from")
    class_weighting: Literal["none", "balanced"] = option("none", "weigh rare labels up in the loss")
    test: bool = option(True, "evaluate on the test split at the end, thresholds fitted on validation subjects")

    def __post_init__(self):
        super().__post_init__()
        unknown = [name for name in self.label_sets if name not in PROBLEM_TYPES]
        if unknown or not self.label_sets:
            raise ValueError(f"label_sets: got {self.label_sets}, expected some of {', '.join(PROBLEM_TYPES)}.")
        if not 0 < self.label_fraction <= 1:
            raise ValueError(f"label_fraction: got {self.label_fraction}, expected more than 0 and at most 1.")
        if self.linear_probe:
            self.head, self.freeze_vision = "linear", True


def main(options: FinetuningOptions) -> Path:
    accelerator = start_accelerator(options)
    folder = Path(options.output)
    with accelerator.main_process_first():
        splits = ("train", "validation", "test") if options.test else ("train", "validation")
        corpora = {
            split: load_corpus(options.corpus, root=options.root, split=split, **options.corpus_options)
            for split in splits
        }
    corpus = corpora["train"]
    rows = choose_labelled(
        np.array(corpus["subject_id"][:]), options.label_fraction, options.label_fraction_by, options.seed
    )
    labelled = corpus.select(rows)
    accelerator.print(
        f"{len(labelled)} of {len(corpus)} training frames are labelled, "
        f"of {len(set(labelled['subject_id'][:]))} subjects"
    )

    processor = make_processor(options)
    adopt_crop_recipe(processor, corpus)
    label_sets = make_label_sets(corpus, options.label_sets, processor, phrasings=options.phrasings)
    labels = label_matrix(labelled, label_sets)
    if options.class_weighting == "balanced":
        start = 0
        for label_set in label_sets:
            columns = labels[:, start : start + len(label_set["labels"])]
            label_set["positive_weights"] = balancing_weights(columns, label_set["problem_type"])
            start += len(label_set["labels"])
    model = make_model(
        CLEFForImageClassification,
        options,
        processor,
        label_sets=label_sets,
        head=options.head,
        description_weight=options.description_weight,
    )

    if options.linear_probe:
        report = _fit_linear_head(model, processor, labelled, labels, corpora["validation"])
    else:
        crops = FaceCrops(labelled, processor)
        world = accelerator.num_processes
        steps = total_optimizer_steps(options, steps_per_epoch(len(labelled), options.batch_size * world))
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
            return make_loader(crops, sampler, collator, options.workers)

        def losses_of(output):
            parts = {"image_name_loss": output.image_name_loss, "description_name_loss": output.description_name_loss}
            return {"loss": output.loss} | {name: loss for name, loss in parts.items() if loss is not None}

        def on_step(step, line, averaged):
            if options.eval_steps and step % options.eval_steps == 0 and step < steps:
                if accelerator.is_main_process:
                    inner = accelerator.unwrap_model(model)
                    with averaged():
                        scores = evaluate_checkpoint(inner, processor, corpora["validation"], None, progress=False)
                    accelerator.print(f"\nstep {step}: validation subjects {summary(scores)}")
                accelerator.wait_for_everyone()

        report = train(accelerator, model, make_batches, steps, options, losses_of, on_step)

    if accelerator.is_main_process:
        inner = accelerator.unwrap_model(model)
        validation = evaluate_checkpoint(inner, processor, corpora["validation"], None, progress=False)
        scores = validation
        if options.test:
            scores = evaluate_checkpoint(inner, processor, corpora["validation"], corpora["test"], progress=False)
        inner.save_pretrained(folder)
        processor.save_pretrained(folder)
        write_metrics(
            folder,
            stage="linear probe" if options.linear_probe else "finetuning",
            training=report,
            labelled_frames=len(labelled),
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


def _fit_linear_head(model, processor, labelled, labels, validation) -> dict:
    """Fits the classifier on the tower's features; its regularisation is chosen on the validation subjects."""
    began = time.perf_counter()
    features, validation_features = (
        extract_features(model, corpus, processor, progress=False).backbone for corpus in (labelled, validation)
    )
    validation_labels = label_matrix(validation, model.config.label_sets)
    for label_set in model.config.label_sets:
        columns = model.label_slices[label_set["name"]]
        weights, bias = fit_linear(
            features,
            labels[:, columns],
            label_set["problem_type"].removesuffix("_classification"),
            validation=(validation_features, validation_labels[:, columns]),
        )
        model.label_head.classifier.weight.data[columns] = torch.from_numpy(weights)
        model.label_head.biases.data[columns] = torch.from_numpy(bias)
    return {"steps": 0, "seconds": round(time.perf_counter() - began, 2)}


if __name__ == "__main__":
    main(parse_options(FinetuningOptions))
