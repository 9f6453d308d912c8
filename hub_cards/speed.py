"""How fast a checkpoint turns crops into probabilities on this machine, for its card."""

import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageClassification, AutoProcessor

import modeling_clef  # noqa: F401  (registers the Auto classes)

BATCH, REPEATS = 32, 7


def measure_speed(folder: Path) -> dict:
    """Writes "speed" into the folder's metrics.json: crops a second on one CPU thread, from picture to probabilities.

    Crops are noise of the network's input size; the median of several batches of 32 counts, after one that warms up.

    Raises:
        FileNotFoundError: no metrics.json. ValueError: a model without labels.
    """
    folder = Path(folder)
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    if not model.config.label_sets:
        raise ValueError(f"{folder} has no labels to give probabilities of: measure a fine-tuned model.")
    processor = AutoProcessor.from_pretrained(folder)
    size = processor.image_processor.size
    noise = np.random.default_rng(0).integers(0, 256, (BATCH, size["height"], size["width"], 3), dtype=np.uint8)
    crops = [Image.fromarray(crop) for crop in noise]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    try:
        for _ in range(1 + REPEATS):
            began = time.perf_counter()
            with torch.inference_mode():
                model.probabilities(model(**processor(images=crops)).logits)
            seconds.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    found = {
        "crops_per_second": BATCH / statistics.median(seconds[1:]),
        "batch_size": BATCH,
        "repeats": REPEATS,
        "threads": 1,
        "device": "a CPU",
    }
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(metrics | {"speed": found}, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return found
