"""Runs the pipeline of a saved folder in a process that cannot import the project's packages (see test_pipeline.py),
and prints what it finds as JSON."""

import importlib.abc
import json
import sys
import tempfile
from pathlib import Path


class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("modeling_clef", "processing", "train_scripts", "analysis", "clef"):
            raise ImportError(f"{name} is not there")
        return None


sys.meta_path.insert(0, Refuse())

import torch  # noqa: E402
from transformers import pipeline  # noqa: E402

torch.set_num_threads(1)
folder, photo, crop, request = sys.argv[1:]
boxes, points, labels = json.loads(request)

find = pipeline("facial-behavior", model=folder, trust_remote_code=True)
faces = sys.modules[type(find.image_processor).__module__.replace("image_processing_clef", "face_detection_clef")]
given = faces.GivenFaces(boxes, points)
found = {
    "photo": find(photo, detector=given),
    "crop": find(crop, aligned=True),
    "labels": find(photo, detector=given, labels=labels),
}
with tempfile.TemporaryDirectory() as again:
    find.save_pretrained(again)
    found["saved_again"] = sorted(path.name for path in Path(again).glob("*.py"))
    found["custom_pipelines"] = json.loads(Path(again, "config.json").read_text())["custom_pipelines"]
print(json.dumps(found))
