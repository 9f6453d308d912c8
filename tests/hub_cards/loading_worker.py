"""Loads a model of the Hub in all the ways that people do, and prints what it finds as JSON (see test_loading.py).

usage: loading_worker.py installed|remote REPO EARLIER_REVISION
"""

import importlib.abc
import json
import sys
import tempfile

how, repo, earlier = sys.argv[1:]
PACKAGES = ("analysis", "clef", "hub_cards", "modeling_clef", "processing", "space_demo", "train_scripts")


class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in PACKAGES:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return None


if how == "installed":
    import modeling_clef  # noqa: F401

    trust = {}
else:
    sys.meta_path.insert(0, Refuse())
    trust = {"trust_remote_code": True}

import torch  # noqa: E402
from transformers import AutoModel, AutoModelForImageClassification, AutoProcessor  # noqa: E402

torch.set_num_threads(1)
found = {}
pixels = AutoProcessor.from_pretrained(repo, **trust)(images=torch.zeros(3, 40, 40))["pixel_values"]
found["processor"] = list(pixels.shape)


def load(auto=AutoModel, **options):
    return auto.from_pretrained(repo, **trust, **options).eval()


def embeds(model):
    with torch.no_grad():
        return model.base_model.image_embeds(pixels.to(model.dtype)).tolist()


model = load()
found["class"] = f"{type(model).__module__}.{type(model).__name__}"
found["main"] = embeds(model)
found["earlier"] = embeds(load(revision=earlier))
found["earlier processor"] = list(AutoProcessor.from_pretrained(repo, revision=earlier, **trust).image_processor.size)
half = load(dtype=torch.bfloat16)
found["dtype"] = sorted({str(parameter.dtype) for parameter in half.parameters()})
found["dtype embeds"] = embeds(half)
for place in ("cpu", "auto"):
    placed = load(AutoModelForImageClassification, device_map=place)
    found[f"device_map {place}"] = [str(placed.device), embeds(placed)]
with tempfile.TemporaryDirectory() as folder:
    parts = {name: "cpu" for name in ("vision_model", "visual_projection", "text_projection", "logit_scale")}
    split = load(device_map=parts | {"text_model": "disk"}, offload_folder=folder)
    found["device_map split"] = [str(next(split.text_model.parameters()).device), embeds(split)]
    texts = AutoProcessor.from_pretrained(repo, **trust)(labels=["AU12"])
    with torch.no_grad():
        found["texts"] = [m.text_embeds(**texts).tolist() for m in (split, model)]
for attention in ("eager", "sdpa"):
    chosen = load(attn_implementation=attention)
    found[f"attention {attention}"] = [chosen.text_model.config._attn_implementation, embeds(chosen)]
print(json.dumps(found))
