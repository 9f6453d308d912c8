"""Loads a saved folder with remote code in a process that cannot import the project's packages (see
test_remote_code.py), and prints what it finds as JSON."""

import importlib.abc
import json
import sys
import tempfile
from pathlib import Path


class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("modeling_clef", "processing", "train_scripts"):
            raise ImportError(f"{name} is not there")
        return None


sys.meta_path.insert(0, Refuse())

import torch  # noqa: E402
import transformers  # noqa: E402
from PIL import Image  # noqa: E402

torch.set_num_threads(1)
folder, image_path, request = sys.argv[1:]
labels, template, tower_folder = json.loads(request)
image = Image.open(image_path)

names = ["AutoConfig", "AutoModel", "AutoModelForPreTraining", "AutoModelForImageClassification"]
names += ["AutoModelForZeroShotImageClassification", "AutoProcessor", "AutoImageProcessor"]
loaded = {name: getattr(transformers, name).from_pretrained(folder, trust_remote_code=True) for name in names}

zero_shot = transformers.pipeline("zero-shot-image-classification", model=folder, trust_remote_code=True)
text_free = loaded["AutoModel"].text_model is None
if text_free:
    zero_shot.model.join_text_tower(tower_folder)
classifier = transformers.pipeline("image-classification", model=folder, top_k=None, trust_remote_code=True)
pixel_values = loaded["AutoProcessor"](images=image)["pixel_values"]
with torch.no_grad():
    logits = loaded["AutoModelForImageClassification"](pixel_values).logits
    image_embeds = loaded["AutoModel"].image_embeds(pixel_values)
with tempfile.TemporaryDirectory() as again:
    loaded["AutoModelForImageClassification"].save_pretrained(again)
    saved_again = [path.name for path in Path(again).glob("*.py")]

found = {
    "text_free": text_free,
    "classes": {name: type(value).__name__ for name, value in loaded.items()},
    "zero_shot": zero_shot(image, candidate_labels=labels, hypothesis_template=template),
    "classifier": classifier(image),
    "logits": logits.tolist(),
    "image_embeds": image_embeds.tolist(),
    "saved_again": saved_again,
}
print(json.dumps(found))
