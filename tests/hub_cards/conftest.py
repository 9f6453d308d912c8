import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import BertConfig, ResNetConfig

from modeling_clef import CLEFConfig, CLEFForImageClassification, build_label_set
from processing import CLEFImageProcessor, CLEFProcessor
from processing.prompts_clef import label_text
from train_scripts.predictions import Predictions, write_predictions
from train_scripts.split_scores import full_scores
from train_scripts.towers import _tokenizer

ROOT = Path(__file__).resolve().parents[2]
LABELS = {
    "action_units": ("multi_label_classification", ["AU4", "AU12"]),
    "expression": ("single_label_classification", ["happiness", "sadness", "neutral"]),
}


@pytest.fixture(scope="session")
def hub_server():
    """The module hub_server.py."""
    spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
    module = sys.modules["hub_server"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(hub_server):
    """A server with a user who writes to "org" (token hf_ada), a reader of its private repositories (hf_ben) and
    somebody else (hf_eve)."""
    users = {
        "hf_ada": hub_server.User("ada", writes=("org",)),
        "hf_ben": hub_server.User("ben", reads=("org",)),
        "hf_eve": hub_server.User("eve"),
    }
    with hub_server.HubServer(users, part_size=30_000, page_size=12) as server:
        yield server


@pytest.fixture
def client(hub, tmp_path):
    """`client(*command, endpoint=…, token="hf_ada", **variables)` runs Python in a process whose Hub is `hub`."""

    def run(*command, endpoint=hub.url, token="hf_ada", **variables):
        return _run_client(endpoint, token, tmp_path, command, **variables)

    return run


def _run_client(endpoint, token, home, command, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_HOME": str(home / "hf"), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | ({"HF_TOKEN": token} if token else {})
    environment |= {name: str(value) for name, value in variables.items()}
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=home, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="session")
def published_run(tmp_path_factory):
    """The run folder of a tiny fine-tuned model, with what a run leaves behind."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    torch.manual_seed(0)
    image_processor = CLEFImageProcessor(size={"height": 32, "width": 32}, crop_recipe="eyes-nose-1")
    processor = CLEFProcessor(image_processor, _tokenizer("tiny"))
    text = BertConfig(
        vocab_size=len(processor.tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=1,
    )  # fmt: skip
    vision = ResNetConfig(embedding_size=8, hidden_sizes=[8, 32], depths=[1, 1], layer_type="basic")
    sets = []
    for name, (kind, labels) in LABELS.items():
        texts = [f"a photo of a person with {label_text(label).name}" for label in labels]
        label_set = build_label_set(name, labels, kind, texts, processor.tokenizer)
        sets.append(label_set | {"thresholds": [0.4] * len(labels), "temperatures": [0.7] * len(labels)})
    towers = {"vision_config": vision.to_dict(), "text_config": text.to_dict(), "text_pooling": "mean"}
    config = CLEFConfig(label_sets=sets, projection_dim=16, freeze_text=True, **towers)
    CLEFForImageClassification(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    _write_results(folder, sets)
    recipe = {"corpus": "synthetic", "output": "/home/ada/outputs/tiny", "learning_rate": 0.002, "text_tower": "tiny"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for name in ("started.json", "done.json", "epochs.jsonl", "history.jsonl", "log.txt"):
        (folder / name).write_text("{}\n")
    for name in ("checkpoints/step_00000010/model.safetensors", "epochs/3/predictions.parquet"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("S001")
    return folder


def _write_results(folder, sets):
    random = np.random.default_rng(0)
    people = np.repeat([f"S{number:03d}" for number in range(8)], 20)
    labels = (random.random((len(people), 2)) < 0.4).astype(np.float32)
    labels = np.concatenate([labels, np.eye(3, dtype=np.float32)[random.integers(0, 3, len(people))]], axis=1)
    logits = (2 * labels - 1 + random.normal(0, 1, labels.shape)).astype(np.float32)
    split = np.where(np.arange(len(people)) < 80, "test", "validation")
    predictions = Predictions(sets, people, logits, labels, split, np.ones(len(people), dtype=bool), {}, 1)
    counts = {"frames": 80, "subjects": 4}
    metrics = {
        "stage": "finetuning",
        "training": {"seconds": 61.7, "images_per_second": 401.4, "steps": 1234, "resumed_from": 0},
        "labelled_frames": 5678,
        "evaluation": {
            "data": {"scored": counts, "thresholds_from": counts},
            **full_scores(predictions.split("test"), fitted=True),
        },
        "started_from": "/home/ada/outputs/before",
        "provenance": "Drawn by hand from /home/ada/faces/day_1, then from C:\\home\\ada\\day_2. See https://e.org/a/b.",
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    write_predictions(folder, predictions)
