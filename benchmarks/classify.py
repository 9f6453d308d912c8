"""Images a second of `CLEFForImageClassification` in eval mode: how little it costs beyond its vision tower, and how
much less than stock zero-shot CLIP with the same label texts.

python benchmarks/classify.py                                           # prints
python benchmarks/classify.py --output benchmarks/results/classify.json # also writes, with the machine described

* tower: the vision tower alone.
* classifier: the whole model, whose labels are embedded once. "Labels frozen": `freeze_labels` was called, as before
  a model is put to use; otherwise the text tower is there, and every call makes sure that it has not changed. "Folded":
  `fold_batch_norms` was called besides, as `clef analyze` does; it is measured against the stock tower and against a
  tower whose batch norms are folded, too.
* stock: `CLIPModel` with the same towers, given the images and the label texts at every call, as stock zero-shot
  classification does. CLIP's towers only.

Weights and pixels are random: they do not matter to the speed. Variants take turns, ratios are of one round.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import BertConfig, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, ResNetConfig
from transformers import PreTrainedConfig as Config

from benchmarks.machine import at_least_one, describe_machine, median, ratio, seconds_side_by_side, write_result
from benchmarks.pretrain_step import BERT_LIKE
from modeling_clef import CLEFConfig, CLEFForImageClassification
from processing.prompts_clef import ACTION_UNITS, EXPRESSIONS
from train_scripts.towers import NAMED_TOWERS, tiny_tokenizer

BATCHES = (1, 32)
LABELS = (12, 40)
MEASURED_IMAGES = 64  # a measurement of the small tower is of so many at least; of ViT-B/16, a quarter of it


@dataclass(frozen=True)
class Case:
    """images_a_measurement: so many are classified, in several calls if the batch is smaller."""

    name: str
    image_size: int
    vision: Config
    text: Config
    rounds: int
    images_a_measurement: int


def cases() -> list[Case]:
    """The towers of `checkpoints/clef-small`, and ViT-B/16 with CLIP's text tower."""
    tokenizer = tiny_tokenizer()
    words, end = len(tokenizer), tokenizer.sep_token_id
    size, shape = NAMED_TOWERS["face-resnet"]
    bert = BertConfig(vocab_size=words, **BERT_LIKE)
    clip_text = CLIPTextConfig(vocab_size=words, eos_token_id=end, bos_token_id=tokenizer.cls_token_id, pad_token_id=0)
    return [
        Case("face-resnet", size, ResNetConfig(**shape, layer_type="basic"), bert, 20, MEASURED_IMAGES),
        Case("ViT-B/16", 224, CLIPVisionConfig(patch_size=16), clip_text, 3, MEASURED_IMAGES // 4),
    ]


def label_texts(count: int) -> dict[str, str]:
    """`count` labels with texts of the usual length: action units, expressions, then pairs of them."""
    names = [text.name for text in (*ACTION_UNITS.values(), *EXPRESSIONS.values())]
    pairs = [f"{first} and {second}" for first, second in zip(names, names[1:], strict=False)]
    chosen = [f"a photo of a person with {name}" for name in (names + pairs)[:count]]
    if len(chosen) < count:
        raise ValueError(f"got {count} labels, expected at most {len(chosen)}.")
    return {f"label{number}": text for number, text in enumerate(chosen)}


def make_models(case: Case, labels: int) -> tuple[CLEFForImageClassification, dict]:
    """A classifier with its text tower, in eval mode, and the tokens of its labels."""
    torch.manual_seed(0)
    is_clip = case.text.model_type == "clip_text_model"
    config = CLEFConfig(
        vision_config=case.vision,
        text_config=case.text,
        projection_dim=512 if is_clip else 128,
        text_pooling="pooler" if is_clip else "mean",
        freeze_text=True,
    )
    model = CLEFForImageClassification(config).eval()
    texts = label_texts(labels)
    tokens = tiny_tokenizer()(list(texts.values()), padding=True, return_tensors="pt")
    tokens = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    model.set_labels(list(texts), **tokens)
    return model.eval(), tokens


def make_stock(case: Case, clef) -> CLIPModel:
    """CLIPModel in the towers of `clef`."""
    config = CLIPConfig(vision_config=case.vision.to_dict(), text_config=case.text.to_dict())
    with torch.device("meta"):
        stock = CLIPModel(config)
    stock.vision_model, stock.text_model = clef.vision_model, clef.text_model
    stock.visual_projection, stock.text_projection = clef.visual_projection, clef.text_projection
    stock.logit_scale = clef.logit_scale
    return stock.eval()


def make_variants(case: Case, labels: int, batch: int) -> dict[str, Callable[[], torch.Tensor]]:
    model, tokens = make_models(case, labels)
    frozen, folded = (make_models(case, labels)[0] for _ in range(2))
    for one in (frozen, folded):
        one.freeze_labels()
    for one in (model, frozen, folded):
        one.to(memory_format=torch.channels_last)
    pixels = torch.randn(batch, 3, case.image_size, case.image_size)
    tower = frozen.clef.vision_model
    variants = {
        "tower": lambda: tower(pixel_values=pixels).pooler_output,
        "classifier, labels frozen": lambda: frozen(pixel_values=pixels).logits,
        "classifier": lambda: model(pixel_values=pixels).logits,
    }
    if folded.fold_batch_norms():
        folded_tower = folded.clef.vision_model
        variants["tower, folded"] = lambda: folded_tower(pixel_values=pixels).pooler_output
        variants["classifier, folded"] = lambda: folded(pixel_values=pixels).logits
    if case.text.model_type == "clip_text_model":
        stock = make_stock(case, model.clef)
        variants["stock"] = lambda: stock(pixel_values=pixels, **tokens).logits_per_image
    return variants


def measure(case: Case, labels: int, batch: int) -> dict:
    calls = -(-case.images_a_measurement // batch)
    with torch.inference_mode():
        variants = make_variants(case, labels, batch)
        seconds = seconds_side_by_side(variants, case.rounds, calls, f"{case.name}, {labels} labels, batch {batch}")
    measured = {
        "name": case.name,
        "image_size": case.image_size,
        "labels": labels,
        "batch": batch,
        "rounds": case.rounds,
        "images_a_second": {name: batch / median(values) for name, values in seconds.items()},
        "share_of_tower": {name: ratio(seconds, "tower", name) for name in seconds if name.startswith("classifier")},
    }
    if "classifier, folded" in seconds:
        measured["share_of_folded_tower"] = ratio(seconds, "tower, folded", "classifier, folded")
    if "stock" in seconds:
        measured["speed_over_stock"] = ratio(seconds, "stock", "classifier, labels frozen")
    return measured


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {case.name: case for case in cases()}
    parser.add_argument("--towers", nargs="+", choices=list(known), default=list(known), help="default: both")
    parser.add_argument("--batches", nargs="+", type=int, choices=BATCHES, default=BATCHES, help="default: both")
    parser.add_argument("--rounds", type=at_least_one, help="instead of each case's own number")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    chosen = [replace(known[name], rounds=options.rounds or known[name].rounds) for name in options.towers]
    machine = describe_machine("transformers")
    measured = [measure(case, labels, batch) for case in chosen for labels in LABELS for batch in options.batches]
    result = {"cases": measured, "machine": machine}
    for case in measured:
        print(f"{case['name']}, {case['labels']} labels, batch {case['batch']}")
        for name, value in case["images_a_second"].items():
            print(f"  {name:28}{value:10.1f} images a second")
        for name, value in case["share_of_tower"].items():
            print(f"  {name + ', of tower':36}{value['median']:10.3f}")
        if "share_of_folded_tower" in case:
            print(f"  {'classifier, folded, of folded tower':36}{case['share_of_folded_tower']['median']:10.3f}")
        if "speed_over_stock" in case:
            print(f"  {'speed over stock':36}{case['speed_over_stock']['median']:10.2f}")
    write_result(result, options.output)
    return result


if __name__ == "__main__":
    main()
