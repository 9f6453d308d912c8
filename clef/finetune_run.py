"""The run behind `clef finetune`: from a folder of pictures to a measured checkpoint with its card."""

import dataclasses
import json
import shutil
from pathlib import Path

import torch
import yaml
from transformers import AutoConfig, AutoModel, AutoProcessor

from analysis.model import SHIPPED_CHECKPOINT
from hub_cards.model_card import write_model_card
from modeling_clef import CLEFConfig
from processing.corpora.prepared import read_prepared_metadata
from processing.image_processing_clef import RECIPES
from train_scripts.finetune import FinetuningOptions, main
from train_scripts.label_texts import read_label_texts, write_label_texts
from train_scripts.own_data import OwnData, count_lines, prepare_own_data
from train_scripts.predictions import read_predictions
from train_scripts.results import summarise_predictions, write_results
from train_scripts.sampling import steps_per_epoch
from train_scripts.score_table import score_table
from train_scripts.towers import make_processor

LARGE = 50_000_000  # weights of a vision tower from which adapters are trained: ViT-B has 86 million
# Peak learning rates by what is trained: our choice, for AdamW.
RATES = {"lora": 5e-4, "small": 1e-3, "large": 2e-5}
EPOCHS, FEWEST_EPOCHS, PICTURES = 20, 3, 100_000  # so many epochs while this many pictures are not exceeded
LABELS_FILE = "labels.yaml"
SAME_RUN = ("resume",)  # options that may differ when a run goes on
CARD_FACTS = """# What the card has to say and nobody else can know. Fill it in before `clef push`.
# license: cc-by-nc-4.0           # of the weights
# data: interviews of our lab     # what the pictures are called
# data_terms: recorded with consent; not to be passed on
"""


def finetune_own_data(
    data: str,
    output: Path,
    base: str | None = None,
    labels: Path | None = None,
    detector: str = "auto",
    work: Path | None = None,
    train: str = "auto",
    epochs: float | None = None,
    batch_size: int = 32,
    learning_rate: float | None = None,
    lora_rank: int = 8,
    seed: int = 0,
    processes: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Fine-tunes `base` on one's own data; a run that was killed goes on, one that is finished is only measured again.

    Args:
        data: see `own_data.prepare_own_data`, as `detector` ("none": crops), `seed` and `work` (default: OUTPUT-data).
        output: run folder.
        base: folder or Hub id of a CLEF or CLIP checkpoint; default: the one that ships.
        labels: YAML file, see `label_texts`.
        train: "lora", "full", "probe", or "auto": "lora" for vision towers of more than `LARGE` weights.
        epochs: default 20, fewer where that would be more than about 100,000 pictures, at least 3.
        learning_rate: default by `train`, see `RATES`.
        overwrite: throw away another run in `output`.

    Returns:
        `output`.

    Raises:
        ValueError: data that nothing can be learned from, a checkpoint of other crops, another run in `output`.
        FileNotFoundError: no such data, checkpoint, detector or text tower. OSError: a full disk.
    """
    output = Path(output)
    work = Path(work) if work else output.with_name(f"{output.name}-data")
    base = str(base or SHIPPED_CHECKPOINT)
    texts = None
    if labels is not None:
        if not Path(labels).is_file():
            raise FileNotFoundError(f"there is no file of labels {str(labels)!r}.")
        texts = read_label_texts(labels)
    if overwrite:
        _throw_away(output)
    processor = make_processor(FinetuningOptions(init_from=base)).image_processor
    config = CLEFConfig.from_pretrained(base)
    reads_faces = AutoConfig.from_pretrained(base).model_type == "clef"
    if reads_faces and detector != "none":
        _check_recipe(processor, data)
    size = max(processor.size["height"], processor.size["width"])
    own = prepare_own_data(data, work, size, detector, texts, seed, processes)
    print("\n".join(count_lines(own)))
    for note in own.notes:
        print(f"* {note}")
    _begin(output, own)
    options = training_options(
        own,
        config,
        base,
        output,
        train=train,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        lora_rank=lora_rank,
        seed=seed,
    )
    if reads_faces and detector == "none":
        options.crop_recipe = processor.crop_recipe
    if _is_finished(output, options):
        print(f"{output} is trained already; it is described anew")
    else:
        main(options)
        for name in ("checkpoints", "epochs"):  # to resume from, and the kept epoch's weights
            shutil.rmtree(output / name, ignore_errors=True)
    _describe(output, own)
    return output


def training_options(
    own: OwnData,
    config: CLEFConfig,
    base: str,
    output: Path,
    train: str = "auto",
    epochs: float | None = None,
    batch_size: int = 32,
    learning_rate: float | None = None,
    lora_rank: int = 8,
    seed: int = 0,
) -> FinetuningOptions:
    """What finetune.py is to do; arguments as in `finetune_own_data`."""
    large = count_weights(config.vision_config) > LARGE
    if train == "auto":
        train = "lora" if large else "full"
    rate = learning_rate or RATES["lora" if train == "lora" else "large" if large else "small"]
    frames = own.training_frames
    batch_size = min(batch_size, frames)
    if epochs is None:
        epochs = float(min(EPOCHS, max(FEWEST_EPOCHS, round(PICTURES / frames))))
    probe = train == "probe"
    return FinetuningOptions(
        output=str(output),
        corpus=own.corpus,
        root=own.root,
        corpus_options=own.corpus_options,
        seed=seed,
        init_from=base,
        label_sets=list(own.texts),
        label_texts=str(output / LABELS_FILE),
        head="names_and_descriptions" if own.has_descriptions else "names",
        linear_probe=probe,
        lora_rank=lora_rank if train == "lora" else 0,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=rate,
        mixed_precision="bf16" if torch.cuda.is_available() else "no",
        test=own.test,
        select_epoch="last" if probe else "validation",
        text_free=config.text_free and config.freeze_text,
        checkpoint_steps=0 if probe else max(20, steps_per_epoch(frames, batch_size)),
        resume=not probe,
    )


def count_weights(config) -> int:
    """Weights of a tower, from its configuration alone."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in AutoModel.from_config(config).parameters())


def _check_recipe(processor, data: str) -> None:
    """Raises ValueError unless crops for this checkpoint can be cut here, or are those of a prepared folder."""
    prepared = read_prepared_metadata(data)
    if prepared is None:
        processor.check_recipe()
    elif prepared["crop_recipe"] != processor.crop_recipe:
        raise ValueError(
            f"{data} holds crops of the recipe {prepared['crop_recipe']!r}, the checkpoint learned from "
            f"{processor.crop_recipe!r}. If you know that they agree, say --aligned."
        )


def _begin(output: Path, own: OwnData) -> None:
    """Makes the run folder with its labels. Raises ValueError where it holds something else."""
    labels = output / LABELS_FILE
    if output.is_dir() and any(output.iterdir()):
        if not labels.is_file():
            raise ValueError(f"{output} holds something else than a run of this command: name another folder.")
        if read_label_texts(labels) != own.texts:
            raise ValueError(
                f"{output} holds a run with other labels, or other words for them: name another folder, or use "
                "--overwrite."
            )
    output.mkdir(parents=True, exist_ok=True)
    write_label_texts(labels, own.texts)


def _is_finished(output: Path, options: FinetuningOptions) -> bool:
    """Whether this very run is there and done. Raises ValueError where it is another run."""
    recipe, metrics = output / "recipe.yaml", output / "metrics.json"
    if recipe.is_file():
        there = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        asked = yaml.safe_load(yaml.safe_dump(dataclasses.asdict(options)))
        differing = [k for k in there | asked if k not in SAME_RUN and there.get(k) != asked.get(k)]
        if differing:
            said = "; ".join(f"{k} {there.get(k)!r} there, {asked.get(k)!r} now" for k in differing)
            raise ValueError(f"{output} holds another run: {said}. Name another folder, or use --overwrite.")
    return metrics.is_file() and "evaluation" in json.loads(metrics.read_text(encoding="utf-8"))


def _card_facts(own: OwnData) -> str:
    if own.told_apart_by == "subject":
        return CARD_FACTS
    failure = (
        f"The training data do not say who everybody is: each {own.told_apart_by} without a name counts as a person, "
        "so people may have been both trained on and tested, and the scores say nothing about people who are new to "
        "the model."
    )
    return CARD_FACTS + yaml.safe_dump({"known_failures": [failure]}, width=120)


def _throw_away(output: Path) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / LABELS_FILE).is_file():
        raise ValueError(f"{output} holds something else than a run of this command, which is not thrown away.")
    shutil.rmtree(output)


def _describe(output: Path, own: OwnData) -> None:
    """Writes results with intervals, the card, and a form for what the card cannot know; says what came of it."""
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    if own.test:
        chosen = (metrics.get("epoch") or {}).get("which", "a linear probe has none")
        write_results(summarise_predictions([read_predictions(output)], epoch_selection=chosen), output)
    if not (output / "card.yaml").exists():
        (output / "card.yaml").write_text(_card_facts(own), encoding="utf-8")
    card = write_model_card(output)
    people = metrics["evaluation"]["data"]["scored"]["subjects"]
    print(f"\n{'test' if own.test else 'validation'} people ({people}), percent:")
    print(score_table(metrics["evaluation"]))
    print(f"\ncheckpoint: {output}\ncard: {card}")
    if AutoProcessor.from_pretrained(output).image_processor.crop_recipe in RECIPES:
        print(f"use it:   clef analyze photo.jpg --model {output} --output photo.csv")
    print(f"share it: clef push {output} --repo USER/{output.resolve().name}")
    print(f"before that, fill in {output / 'card.yaml'}: licence and terms, which nobody else can know")
