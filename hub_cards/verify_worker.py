"""What a saved model says of two pictures, through every Auto class and pipeline.

`verify` runs this file in a fresh process that cannot import the project's packages, with what it wants to know as JSON
on stdin; the answer is a line of JSON on stdout. It uses nothing of the project.
"""

import json
import sys
from typing import Any

PACKAGES = ("analysis", "clef", "hub_cards", "modeling_clef", "processing", "space_demo", "train_scripts")
MODELS = (
    "AutoModel",
    "AutoModelForZeroShotImageClassification",
    "AutoModelForPreTraining",
    "AutoModelForImageClassification",
)
OTHERS = ("AutoConfig", "AutoProcessor", "AutoImageProcessor", "AutoTokenizer")
TEXTS = ["a big smile", "lowered eyebrows", "AU12"]
TEMPLATE = "a photo of a person with {}"


def outputs_of(source: str, pictures: list[str], tower: str | None = None, **load: Any) -> dict:
    """
    Args:
        source: folder or Hub id. pictures: files of two images. tower: folder of the text tower that a text-free model
            is joined with; None: what needs texts is left out for such a model.
        load: options of `from_pretrained` and `pipeline`.

    Returns:
        plain values: "classes" (Auto class → the class it gave), "label_sets", and for each way of loading its numbers.
    """
    import torch
    import transformers
    from PIL import Image

    images = [Image.open(path).convert("RGB") for path in pictures]
    others = {name: getattr(transformers, name).from_pretrained(source, **load) for name in OTHERS}
    config, processor = others["AutoConfig"], others["AutoProcessor"]
    label_sets = config.label_sets
    pixel_values = processor(images=images)["pixel_values"]
    texts = processor(labels={text: text for text in TEXTS})
    found = {
        "label_sets": label_sets,
        "AutoProcessor": {"pixel_values": pixel_values.tolist(), "input_ids": texts["input_ids"].tolist()},
        "AutoImageProcessor": others["AutoImageProcessor"](images, return_tensors="pt")["pixel_values"].tolist(),
        "AutoTokenizer": others["AutoTokenizer"](TEXTS)["input_ids"],
    }
    classes = {name: _name(type(value)) for name, value in others.items()}
    for name in MODELS:
        model = getattr(transformers, name).from_pretrained(source, **load).eval()
        classes[name] = _name(type(model))
        base = model.base_model
        with torch.no_grad():
            found[name] = {"image_embeds": base.image_embeds(pixel_values.to(base.dtype)).tolist()}
            if name == "AutoModelForImageClassification" and label_sets:
                logits = model(pixel_values.to(base.dtype)).logits
                found[name] |= {"logits": logits.tolist(), "probabilities": model.probabilities(logits).tolist()}
            elif name == "AutoModelForPreTraining":
                found[name]["image_image_logit_scale"] = model.image_image_logit_scale.item()
            # Last: label embeddings that are kept make way for the tower.
            if config.text_free and tower is not None:
                model.join_text_tower(tower)
            if base.text_model is not None:
                found[name]["text_embeds"] = base.text_embeds(**texts).tolist()
        del model, base
    zero_shot = transformers.pipeline("zero-shot-image-classification", model=source, **load)
    if config.text_free and tower is not None:
        zero_shot.model.join_text_tower(tower)
    if zero_shot.model.text_model is not None:
        rows = zero_shot(images, candidate_labels=TEXTS, hypothesis_template=TEMPLATE)
        found["zero-shot-image-classification"] = [_by_label(row) for row in rows]
    if label_sets:
        classify = transformers.pipeline("image-classification", model=source, top_k=None, **load)
        found["image-classification"] = [_by_label(row) for row in classify(images)]
        find = transformers.pipeline("facial-behavior", model=source, **load)
        faces = [face for (face,) in find(images, aligned=True)]
        names = [label_set["name"] for label_set in label_sets]
        found["facial-behavior"] = [{name: _by_label(face[name]) for name in names} for face in faces]
        classes["facial-behavior"] = _name(type(find))
    return found | {"classes": classes}


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _by_label(rows: list[dict]) -> dict:
    return {row["label"]: row["score"] for row in rows}


def main() -> None:
    import importlib
    import importlib.abc

    class Refuse(importlib.abc.MetaPathFinder):
        # An editable install is found from every folder.
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in PACKAGES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return None

    sys.meta_path.insert(0, Refuse())
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        raise RuntimeError(f"this process can import {name}, so it would prove nothing")
    asked = json.load(sys.stdin)

    import torch

    torch.set_num_threads(asked.pop("threads"))  # as where it is compared
    found = outputs_of(trust_remote_code=True, **asked)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
