"""Stage 1: learns behaviour from activity descriptions (faces of one activity are positives, whoever the person is).

accelerate launch train_scripts/pretrain.py                                    # embedded corpus, small towers
accelerate launch train_scripts/pretrain.py train_scripts/recipes/pretrain.yaml --epochs 20
accelerate launch --multi_gpu --num_processes 8 train_scripts/pretrain.py train_scripts/recipes/pretrain_clip.yaml
torchrun --nproc_per_node 2 train_scripts/pretrain.py                          # two CPU processes
python train_scripts/pretrain.py --checkpoint_steps 100 --resume               # after a kill the same command goes on
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from datasets import Dataset

from modeling_clef import CLEFForPreTraining
from processing.corpora import load_corpus
from processing.corpora.prepared import rows_with_faces
from train_scripts.augmentation import augmenting_device, make_augmentation
from train_scripts.chance import ChanceWatch, image_activity_levels, image_image_levels
from train_scripts.checkpoints import LOGS, save_finished
from train_scripts.data import (
    FaceCrops,
    PretrainingCollator,
    activity_vocabulary,
    adopt_crop_recipe,
    choose_labelled,
    make_loader,
)
from train_scripts.evaluate import probe_checkpoint
from train_scripts.gradient_cache import cache_gradients
from train_scripts.lora import merge_adapters
from train_scripts.options import TrainingOptions, option, run_script
from train_scripts.readable import ReadableCorpora
from train_scripts.runtime import start_accelerator, total_optimizer_steps, train, write_metrics
from train_scripts.sampling import FaceBatchSampler, steps_per_epoch
from train_scripts.summaries import flat, summary
from train_scripts.towers import make_model, make_processor

WHOSE_FRAMES = {"train": "those of the training people", "all": "those of all people, validation and test people too"}


@dataclass
class PretrainingOptions(TrainingOptions):
    output: str = option("outputs/pretrain", "folder that the run is written to")
    image_pairs: Literal["activity", "instance", "off"] = option(
        "activity",
        "positives of a face: faces of its activity (the paper), its own second view (SimCLR), or no image pairs",
    )
    activity_text: bool = option(True, "pull faces to their activity's text")
    image_image_weight: float = option(1.0, "weight of the image–image loss")
    image_activity_weight: float = option(1.0, "weight of the image–activity loss")
    image_image_temperature: float = option(0.3, "temperature of the image–image loss")
    image_text_temperature: float = option(0.3, "temperature that the image–activity loss starts from")
    learn_temperatures: bool = option(False, "learn both temperatures instead of keeping them")
    balance: bool = option(True, "every batch holds each activity equally often and goes round the subjects")
    unlabelled_frames: Literal["train", "all"] = option(
        "train",
        "frames learned from, no label needed: the train split's, or all of the corpus, validation and test people's "
        "among them",
    )
    cache_chunk: int = option(
        0,
        "encode so many views (two an image) at a time, and each once more in the backward pass, so that activations "
        "do not bound batch_size; 0: all at once",
    )
    chance_steps: int = option(200, "step at which a loss still at chance is reported")
    probe_fraction: float = option(0.05, "fraction of the training frames that the probe's labels are taken from")

    def __post_init__(self):
        super().__post_init__()
        if self.cache_chunk < 0:
            raise ValueError(f"cache_chunk: got {self.cache_chunk}, expected 0 or more.")
        for name in ("image_image_temperature", "image_text_temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected more than 0.")


def main(options: PretrainingOptions) -> Path:
    accelerator = start_accelerator(options)
    folder = Path(options.output)
    with accelerator.main_process_first():
        corpora = {
            name: load_corpus(options.corpus, root=options.root, split=split, **options.corpus_options)
            for name, split in (("train", "train"), ("validation", "validation"), ("all", None))
            if name in ("train", "validation", options.unlabelled_frames)
        }

    uses_activities = options.image_pairs == "activity" or options.activity_text
    corpora["train"] = _learnable(corpora["train"], uses_activities, accelerator.print)
    corpus = corpora["train"]
    if options.unlabelled_frames == "all":
        corpus = _learnable(corpora["all"], uses_activities, accelerator.print)
    accelerator.print(f"learns from {len(corpus)} frames: {WHOSE_FRAMES[options.unlabelled_frames]}")
    names, activity_ids = activity_vocabulary(corpus)
    if uses_activities and len(names) < 2:
        raise ValueError(
            f"got {len(names)} activities ({', '.join(names) or 'none'}), expected at least 2 to tell apart. Without "
            "activities, pre-train with --image_pairs instance --activity_text false."
        )

    processor = make_processor(options)
    adopt_crop_recipe(processor, corpus)
    model = make_model(
        CLEFForPreTraining,
        options,
        processor,
        image_pairs=options.image_pairs,
        activity_text=options.activity_text,
        image_image_weight=options.image_image_weight,
        image_activity_weight=options.image_activity_weight,
        image_image_temperature=options.image_image_temperature,
        logit_scale_init_value=-math.log(options.image_text_temperature),
        learn_temperature=options.learn_temperatures,
    )
    with torch.no_grad():  # a checkpoint brings its own: CLIP's published ones .01
        model.clef.logit_scale.fill_(-math.log(options.image_text_temperature))
        model.image_image_logit_scale.fill_(-math.log(options.image_image_temperature))
    if options.cache_chunk and cache_gradients(model, options.cache_chunk):
        accelerator.print(
            f"cache_chunk: batch norms of the vision tower normalise at most {options.cache_chunk} views at a time"
        )
    texts = processor(activities=names) if names else processor(text=["a face"])
    crops = FaceCrops(corpus, processor, options.workers)

    world = accelerator.num_processes
    batches_per_epoch = steps_per_epoch(len(corpus), options.batch_size * world)
    steps = total_optimizer_steps(options, batches_per_epoch)
    collator = PretrainingCollator(processor, make_augmentation(options, steps), activity_ids, texts)
    balanced = options.balance and uses_activities

    def make_batches(start_step):
        sampler = FaceBatchSampler(
            len(corpus),
            options.batch_size,
            steps * options.gradient_accumulation,
            seed=options.seed,
            activities=activity_ids if balanced else None,
            subjects=np.array(corpus["subject_id"][:]) if balanced else None,
            rank=accelerator.process_index,
            world_size=world,
            start_step=start_step,
        )
        return make_loader(crops, sampler, collator, options.workers, augmenting_device(options, accelerator))

    def losses_of(output):
        parts = {"image_image_loss": output.image_image_loss, "image_activity_loss": output.image_activity_loss}
        return {"loss": output.loss} | {name: loss for name, loss in parts.items() if loss is not None}

    # A typical global batch tells what chance and floor are; instance pairs make each image its own group. Drawn, as
    # the first rows of a corpus are one clip.
    typical = np.random.default_rng(options.seed).choice(activity_ids, options.batch_size * world)
    groups = np.arange(len(typical)) if options.image_pairs == "instance" else typical
    levels = {
        "image_image_loss": image_image_levels(groups),
        "image_activity_loss": image_activity_levels(typical, len(np.unique(typical))),
    }
    watch = ChanceWatch(options.chance_steps)

    labelled = choose_labelled(
        np.array(corpora["train"]["subject_id"][:]), options.probe_fraction, "frame", options.seed
    )

    scored = ReadableCorpora(
        {"train": corpora["train"].select(labelled), "validation": corpora["validation"]}, accelerator.print
    )

    run = {"num_workers": options.workers, "progress": False}

    def probe():
        inner = accelerator.unwrap_model(model)
        return scored.score(
            lambda parts: probe_checkpoint(inner, processor, parts["train"], parts["validation"], **run)
        )

    def on_step(step, line, averaged):
        if line is not None and (warning := watch.verdict(step, line, levels)):
            accelerator.print(f"\n{warning}")
        if options.eval_steps and step % options.eval_steps == 0 and step < steps:
            if accelerator.is_main_process:
                with averaged():
                    scores = probe()
                accelerator.log({f"probe/{k}": v for k, v in flat(scores).items()}, step=step)
                accelerator.print(f"\nstep {step}: probe on validation subjects {summary(scores)}")
            accelerator.wait_for_everyone()

    report = train(accelerator, model, make_batches, steps, options, losses_of, on_step)

    if accelerator.is_main_process:
        merge_adapters(accelerator.unwrap_model(model))
        save_finished(folder, accelerator.unwrap_model(model), processor, keep=LOGS)
        scores = probe()
        write_metrics(
            folder,
            stage="pretraining",
            training=report,
            unlabelled_frames={"from": options.unlabelled_frames, "frames": len(corpus)},
            corrupt_images_left_out=scored.left_out,
            validation_probe=scores,
        )
        print(
            f"pre-trained {report['steps']} steps in {report['seconds']:.0f} s "
            f"({report['images_per_second']:.0f} images/s); probe on validation subjects with "
            f"{options.probe_fraction:.0%} of the labels: {summary(scores)}; written to {folder}"
        )
    accelerator.end_training()
    return folder


def _learnable(corpus: Dataset, uses_activities: bool, say) -> Dataset:
    """The frames with a face, and with an activity if that is what is learned; `say` prints what is left out."""
    faces = rows_with_faces(corpus)
    if len(faces) < len(corpus):
        say(f"{len(corpus) - len(faces)} of {len(corpus)} frames show no detected face and are left out")
    if not uses_activities:
        return faces
    described = np.flatnonzero(activity_vocabulary(faces)[1] >= 0)
    say(f"{len(described)} of {len(faces)} frames have an activity; the rest is left out")
    return faces.select(described)


if __name__ == "__main__":
    run_script(main, PretrainingOptions)
