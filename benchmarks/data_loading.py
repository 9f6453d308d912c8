"""Records a second from a corpus to batches of views, and whether the small tower's training waits for them.

python benchmarks/data_loading.py                                                # prints
python benchmarks/data_loading.py --output benchmarks/results/data_loading.json  # also writes

* decoders: milliseconds to decode one picture to RGB, for the formats that corpora hold; OpenCV and simplejpeg only
  where they are installed. "reader" is what the project reads a file with, towards a side of 64 px.
* records: of stage 1, in one process: decoded and resized (the baseline), with two augmented views and collated, and
  the same from crops that were decoded before, as corpora of less than 2 GB are.
* fed: training steps of the small tower on what the loader gives, over the same steps on a batch that is there
  already. The loader has one worker and decodes on the way; torch has the other cores.

The corpus is rendered once into a temporary folder. Variants take turns, ratios are of one round.
"""

import argparse
import importlib.util
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from datasets import Dataset
from PIL import Image

from benchmarks.machine import at_least_one, describe_machine, median, ratio, seconds_side_by_side, write_result
from benchmarks.pretrain_step import cases, make_model
from processing import CLEFImageProcessor, CLEFProcessor, FaceAugmentation
from processing.augmentation_clef import PRESETS
from processing.corpora import load_corpus
from processing.corpora.splits import available_cores
from processing.image_reading_clef import to_rgb_image
from train_scripts import data
from train_scripts.augmentation import RampedAugmentation
from train_scripts.data import FaceCrops, PretrainingCollator, activity_vocabulary, make_loader
from train_scripts.options import TrainingOptions
from train_scripts.runtime import make_optimizer
from train_scripts.sampling import FaceBatchSampler
from train_scripts.towers import tiny_tokenizer

SIDES = (96, 256, 1024)
READ_SIDE = 64
FORMATS = {
    "png": {"compress_level": 1},
    "webp": {"lossless": True, "method": 0},
    "jpg": {"quality": 90},
}


def decoders(path: Path) -> dict[str, Callable[[], np.ndarray]]:
    content = path.read_bytes()
    found = {
        "Pillow": lambda: np.asarray(Image.open(io.BytesIO(content)).convert("RGB")),
        "reader": lambda: np.asarray(to_rgb_image(path, least_side=READ_SIDE)),
    }
    if importlib.util.find_spec("cv2"):
        import cv2

        buffer = np.frombuffer(content, np.uint8)
        found["OpenCV"] = lambda: cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB)
    if path.suffix == ".jpg" and importlib.util.find_spec("simplejpeg"):
        import simplejpeg

        found["simplejpeg"] = lambda: simplejpeg.decode_jpeg(content)
    return found


def measure_decoders(face: Image.Image, folder: Path, rounds: int) -> list[dict]:
    measured = []
    for side in SIDES:
        for suffix, options in FORMATS.items():
            path = folder / f"{side}.{suffix}"
            face.resize((side, side), Image.Resampling.BICUBIC).save(path, **options)
            seconds = seconds_side_by_side(decoders(path), rounds, max(1, SIDES[-1] // side), f"{suffix}, {side} px")
            milliseconds = {name: 1e3 * median(values) for name, values in seconds.items()}
            measured.append({"format": suffix, "side": side, "milliseconds": milliseconds})
    return measured


class Records:
    """The data path of stage 1, part by part, on batches of `rows`."""

    def __init__(self, corpus: Dataset, batch: int, image_size: int, preset: str):
        image_processor = CLEFImageProcessor(
            size={"height": image_size, "width": image_size}, per_image_normalization=True
        )
        processor = CLEFProcessor(image_processor, tiny_tokenizer())
        self.names, self.activities = activity_vocabulary(corpus)
        augment = RampedAugmentation(FaceAugmentation.preset(preset))
        texts = processor(activities=self.names)
        self.collator = PretrainingCollator(processor, augment, self.activities, texts)
        self.batch, self.rows = batch, np.arange(batch) % len(corpus)
        self.decoded_before = FaceCrops(corpus, processor)
        before, data.IN_MEMORY_SHARE = data.IN_MEMORY_SHARE, 0
        try:
            self.decoded_on_the_way = FaceCrops(corpus, processor)
        finally:
            data.IN_MEMORY_SHARE = before

    def decode(self) -> torch.Tensor:
        return self.decoded_on_the_way.read(self.rows.tolist())[0]

    def collate(self, crops: torch.Tensor) -> dict:
        return self.collator({"crops": crops, "rows": self.rows, "epoch": 0, "step": 0, "corrupt": []})

    def batches(self, steps: int, workers: int):
        sampler = FaceBatchSampler(len(self.decoded_on_the_way), self.batch, steps)
        for batch in make_loader(self.decoded_on_the_way, sampler, self.collator, workers):
            yield {name: value for name, value in batch.items() if name not in ("rows", "corrupt")}


def measure_records(corpus: Dataset, batch: int, image_size: int, preset: str, rounds: int) -> dict:
    records = Records(corpus, batch, image_size, preset)
    variants = {
        "decoded": records.decode,
        "decoded, two views, collated": lambda: records.collate(records.decode()),
        "two views, collated": lambda: records.collate(records.decoded_before.read(records.rows.tolist())[0]),
    }
    seconds = seconds_side_by_side(variants, rounds, title=f"records, {preset}")
    return {
        "augmentation": preset,
        "records_a_second": {name: batch / median(values) for name, values in seconds.items()},
        "time_over_decoding": ratio(seconds, "decoded, two views, collated", "decoded"),
    }


def measure_feeding(corpus: Dataset, batch: int, image_size: int, preset: str, steps: int, rounds: int) -> dict:
    """Time of `steps` training steps on the loader's batches over that on one batch, and the share spent waiting."""
    records = Records(corpus, batch, image_size, preset)
    model = make_model(next(case for case in cases() if case.name == "small tower"))
    optimizer = make_optimizer(model, TrainingOptions())
    ready = next(records.batches(1, 0))
    waiting: list[float] = []

    def train(batches) -> None:
        waited = 0.0
        for _ in range(steps):
            began = time.perf_counter()
            one = next(batches)
            waited += time.perf_counter() - began
            model(**one).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        waiting.append(waited)

    fed, alone = [], []
    for _ in range(rounds + 1):  # the first one warms up
        loaded = records.batches(steps + 1, 1)
        next(loaded)  # starts the worker
        began = time.perf_counter()
        train(loaded)
        fed.append(time.perf_counter() - began)
        loaded.close()
        began = time.perf_counter()
        train(iter([ready] * steps))
        alone.append(time.perf_counter() - began)
    seconds = {"fed": fed[1:], "alone": alone[1:]}
    shares = [waited / whole for waited, whole in zip(waiting[2::2], fed[1:], strict=True)]
    return {
        "augmentation": preset,
        "batch": batch,
        "steps": steps,
        "workers": 1,
        "torch_threads": torch.get_num_threads(),
        "records_a_second": {name: batch * steps / median(values) for name, values in seconds.items()},
        "time_over_steps_alone": ratio(seconds, "fed", "alone"),
        "share_of_time_waiting": median(shares),
    }


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=12, help="people in the corpus (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=96, help="of the corpus's crops (default: %(default)s)")
    parser.add_argument("--batch", type=at_least_one, default=128, help="(default: %(default)s)")
    parser.add_argument("--steps", type=at_least_one, default=12, help="of training in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=at_least_one, default=5, help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    machine = describe_machine("pillow", "numpy", "datasets")
    size = next(case.image_size for case in cases() if case.name == "small tower")
    with tempfile.TemporaryDirectory() as folder:
        corpus = load_corpus(
            "synthetic", subjects=options.subjects, frames=4, image_size=options.image_size, cache_dir=folder
        )
        decoded = measure_decoders(corpus[0]["image"], Path(folder), options.rounds)
        records = [measure_records(corpus, options.batch, size, preset, options.rounds) for preset in PRESETS]
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, available_cores() - 1))
        feeding = [
            measure_feeding(corpus, options.batch, size, preset, options.steps, options.rounds) for preset in PRESETS
        ]
        torch.set_num_threads(threads)
    result = {
        "corpus": {"image_size": options.image_size, "input_size": size, "batch": options.batch},
        "rounds": options.rounds,
        "decoders": decoded,
        "records": records,
        "feeding": feeding,
        "machine": machine,
    }
    print_result(result)
    write_result(result, options.output)
    return result


def print_result(result: dict) -> None:
    for one in result["decoders"]:
        figures = ", ".join(f"{name} {value:.3f} ms" for name, value in one["milliseconds"].items())
        print(f"{one['format']} of {one['side']} px: {figures}")
    for one in result["records"]:
        print(f"stage 1, augmentation {one['augmentation']}")
        for name, value in one["records_a_second"].items():
            print(f"  {name:36}{value:9.0f} records a second")
        print(f"  {'time over decoding':36}{one['time_over_decoding']['median']:9.2f}")
    for one in result["feeding"]:
        print(f"small tower, 1 worker, {one['torch_threads']} torch thread(s), augmentation {one['augmentation']}")
        for name, value in one["records_a_second"].items():
            print(f"  {'steps ' + name:36}{value:9.0f} records a second")
        print(f"  {'time over steps alone':36}{one['time_over_steps_alone']['median']:9.3f}")
        print(f"  {'share of time waiting':36}{one['share_of_time_waiting']:9.3f}")


if __name__ == "__main__":
    main()
