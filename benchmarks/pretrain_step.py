"""What a stage-1 step costs beyond its encoders, and what a stock contrastive step costs beside it.

python benchmarks/pretrain_step.py                                                 # prints
python benchmarks/pretrain_step.py --output benchmarks/results/pretrain_step.json  # also writes

* step: forward, losses and backward of `CLEFForPreTraining` on two views an image and each activity text once.
* with optimizer: the same, with what `train_scripts.runtime` adds: gradients clipped, AdamW.
* bound: the same encoders' forward and backward on the same inputs, nothing else; of a frozen text tower the forward.
* image encoder: the bound without the texts, where the text tower is frozen. A step gets by without them too: it
  remembers a frozen tower's features after it has seen a text once.
* stock: the same encoders on the same images in a plain CLIP loss, every image with a text of its own, padded to the
  tower's longest as the stock contrastive example does it. For CLIP towers this is `CLIPModel` itself; a frozen text
  tower runs without a graph.

All weights are random, all pixels too: neither matters to the speed. Variants take turns, ratios are of one round.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.nn import functional as F
from transformers import (
    BertConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    PreTrainedConfig,
    ResNetConfig,
)

from benchmarks.machine import at_least_one, describe_machine, median, ratio, seconds_side_by_side, write_result
from modeling_clef import CLEFConfig, CLEFForPreTraining
from modeling_clef.towers_clef import pool_text, pooled_image_features
from processing.prompts_clef import ACTIVITIES, activity_text
from train_scripts.options import TrainingOptions
from train_scripts.runtime import make_optimizer
from train_scripts.towers import NAMED_TOWERS, tiny_tokenizer

STOCK_ROUNDS = 2  # its steps take long, and it is far off
BERT_LIKE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}


@dataclass(frozen=True)
class Case:
    """batch: images a step, of which each has two views. image_size: their side. longest_text: tokens that the stock
    step pads to. frozen_text: the text tower does not train."""

    name: str
    batch: int
    image_size: int
    vision: PreTrainedConfig
    text: PreTrainedConfig
    longest_text: int
    frozen_text: bool
    rounds: int


def cases() -> list[Case]:
    """ViT-B/16 with CLIP's text tower, and the towers that `pretrain.py` trains by default (MiniLM's shape)."""
    tokenizer = tiny_tokenizer()
    words, end = len(tokenizer), tokenizer.sep_token_id
    size, shape = NAMED_TOWERS["small-resnet"]
    small = ResNetConfig(**shape, layer_type="basic")
    clip_text = CLIPTextConfig(vocab_size=words, eos_token_id=end, bos_token_id=tokenizer.cls_token_id, pad_token_id=0)
    return [
        Case("small tower", 128, size, small, BertConfig(vocab_size=words, **BERT_LIKE), 128, True, 12),
        Case("ViT-B/16", 16, 224, CLIPVisionConfig(patch_size=16), clip_text, 77, False, 2),
    ]


def make_model(case: Case) -> CLEFForPreTraining:
    torch.manual_seed(0)
    is_clip = case.text.model_type == "clip_text_model"
    config = CLEFConfig(
        vision_config=case.vision,
        text_config=case.text,
        projection_dim=512 if is_clip else 128,
        text_pooling="pooler" if is_clip else "mean",
        freeze_text=case.frozen_text,
    )
    return CLEFForPreTraining(config).to(memory_format=torch.channels_last).train()


def make_variants(case: Case) -> dict[str, Callable[[], None]]:
    model = make_model(case)
    batch = make_batch(case)
    images = batch["pixel_values"].flatten(0, 1)
    training = [p for p in model.parameters() if p.requires_grad]
    optimizer = make_optimizer(model, TrainingOptions(learning_rate=1e-6))
    clef = model.clef

    def step():
        model(**batch).loss.backward()
        model.zero_grad()

    def with_optimizer():
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(training, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def encode_texts():
        texts = clef.text_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return pool_text(texts, batch["attention_mask"], model.config.text_pooling)

    def image_encoder():
        backward(pooled_image_features(clef.vision_model(pixel_values=images)))

    def bound():
        if case.frozen_text:
            with torch.no_grad():
                encode_texts()
            image_encoder()
        else:
            backward(pooled_image_features(clef.vision_model(pixel_values=images)), encode_texts())

    def backward(*outputs):
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
        model.zero_grad()

    variants = {"bound": bound, "step": step, "with optimizer": with_optimizer, "stock": stock_step(case, clef, batch)}
    return {"image encoder": image_encoder, **variants} if case.frozen_text else variants


def stock_step(case: Case, clef, batch: dict) -> Callable[[], None]:
    """Forward, CLIP's loss and backward with as many texts as images, in the towers of `clef`."""
    images = batch["pixel_values"].flatten(0, 1)
    texts = batch["activity_ids"].repeat_interleave(batch["pixel_values"].shape[1])
    padding = (0, case.longest_text - batch["input_ids"].shape[1])
    ids, mask = (F.pad(batch[name], padding)[texts] for name in ("input_ids", "attention_mask"))
    if case.text.model_type == "clip_text_model":
        config = CLIPConfig(vision_config=case.vision.to_dict(), text_config=case.text.to_dict())
        with torch.device("meta"):  # the towers are replaced
            stock = CLIPModel(config)
        stock.vision_model, stock.text_model = clef.vision_model, clef.text_model
        stock.visual_projection, stock.text_projection = clef.visual_projection, clef.text_projection
        stock.logit_scale = clef.logit_scale
        stock.train()

        def step():
            stock(input_ids=ids, attention_mask=mask, pixel_values=images, return_loss=True).loss.backward()
            stock.zero_grad()

        return step

    def plain_step():
        image_embeds = clef.visual_projection(pooled_image_features(clef.vision_model(pixel_values=images)))
        with torch.set_grad_enabled(not case.frozen_text):
            pooled = pool_text(clef.text_model(input_ids=ids, attention_mask=mask), mask, clef.config.text_pooling)
        text_embeds = F.normalize(clef.text_projection(pooled), dim=-1)
        logits = F.normalize(image_embeds, dim=-1) @ text_embeds.T * clef.logit_scale.exp()
        targets = torch.arange(len(logits))
        ((F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2).backward()
        clef.zero_grad()

    return plain_step


def make_batch(case: Case) -> dict[str, torch.Tensor]:
    """Random pixels; the activities in turn, with their texts as the corpus's own tokenizer of words splits them."""
    texts = tiny_tokenizer()([activity_text(key) for key in ACTIVITIES], padding=True, return_tensors="pt")
    present = torch.arange(min(len(ACTIVITIES), case.batch))
    return {
        "pixel_values": torch.randn(case.batch, 2, 3, case.image_size, case.image_size),
        "activity_ids": torch.arange(case.batch) % len(ACTIVITIES),
        "input_ids": texts["input_ids"][present],
        "attention_mask": texts["attention_mask"][present],
        "text_activity_ids": present,
    }


def measure(case: Case) -> dict:
    variants = make_variants(case)
    stock = {"step": variants["step"], "stock": variants.pop("stock")}
    seconds = seconds_side_by_side(variants, case.rounds, title=case.name)
    against_stock = seconds_side_by_side(stock, min(case.rounds, STOCK_ROUNDS), title=f"{case.name}, stock")
    measured = {
        "name": case.name,
        "batch": case.batch,
        "image_size": case.image_size,
        "rounds": case.rounds,
        "milliseconds": {name: 1e3 * median(values) for name, values in {**against_stock, **seconds}.items()},
        "step_over_bound": ratio(seconds, "step", "bound"),
        "with_optimizer_over_bound": ratio(seconds, "with optimizer", "bound"),
        "stock_over_step": ratio(against_stock, "stock", "step"),
    }
    if "image encoder" in seconds:
        measured["step_over_image_encoder"] = ratio(seconds, "step", "image encoder")
    return measured


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {case.name: case for case in cases()}
    parser.add_argument("--towers", nargs="+", choices=list(known), default=list(known), help="default: both")
    parser.add_argument("--rounds", type=at_least_one, help="instead of each case's own number")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    chosen = [replace(known[name], rounds=options.rounds or known[name].rounds) for name in options.towers]
    machine = describe_machine("transformers")
    result = {"cases": [measure(case) for case in chosen], "machine": machine}
    for case in result["cases"]:
        print(f"{case['name']}, {case['batch']} images of {case['image_size']} px, two views each")
        for name, value in case["milliseconds"].items():
            print(f"  {name:28}{value:10.1f} ms")
        for name in case:
            if "_over_" in name:
                print(f"  {name.replace('_', ' '):28}{case[name]['median']:10.3f}")
    write_result(result, options.output)
    return result


if __name__ == "__main__":
    main()
