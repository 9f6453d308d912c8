"""Ways to run a checkpoint on a processor: images a second against eager torch, and how far the logits go.

python benchmarks/cpu_inference.py                                                 # prints
python benchmarks/cpu_inference.py --output benchmarks/results/cpu_inference.json  # also writes

* eager: the checkpoint as it is loaded (the baseline).
* channels last: its weights in this layout. "bf16": with autocast, or its weights turned to bf16.
* compiled: `torch.compile`, channels last.
* analysis: what `clef analyze` runs by default: batch norms folded into convolutions, channels last.
* onnx: what `clef analyze --backend onnx` runs, exported by torch's exporter to ONNX Runtime.
* OpenVINO: the same network in OpenVINO, with float32 and bf16 arithmetic; where it is installed.

For each number of threads. What is ready for use must agree with eager to 1e-3 in every logit; for each way the largest
difference is measured on random pixels. Variants take turns, ratios are of one round; preparation is timed once.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from transformers import AutoModelForImageClassification, AutoProcessor

import modeling_clef  # noqa: F401  makes the Auto classes know CLEF
from analysis.model import SHIPPED_CHECKPOINT, FaceClassifier
from analysis.onnx_network import OnnxNetwork, export_onnx
from benchmarks.machine import at_least_one, describe_machine, median, ratio, seconds_side_by_side, write_result
from processing.corpora.splits import available_cores

BATCHES = (1, 16)
WAYS = ("eager", "channels last", "channels last, bf16 autocast", "channels last, bf16 weights", "compiled", "analysis")
WAYS += ("onnx", "OpenVINO", "OpenVINO, bf16")
MEASURED_IMAGES = 64  # a measurement is of so many at least

Way = Callable[[torch.Tensor], torch.Tensor]


def prepare(way: str, model, processor, threads: int) -> Way:
    """A function from pixels (N, 3, H, W) to logits (N, K) float32.

    Raises:
        ImportError: what the way needs is not installed.
    """
    size = processor.image_processor.size
    own = deepcopy(model)
    if way == "eager":
        return lambda pixels: own(pixel_values=pixels).logits
    if way in ("analysis", "onnx"):
        image_processor = processor.image_processor
        classifier = FaceClassifier("checkpoint", own, image_processor, image_processor.check_recipe())
        if way == "analysis":
            return lambda pixels: classifier.model(pixel_values=pixels).logits
        return OnnxNetwork(classifier.model, size["height"], size["width"], threads)
    if way.startswith("OpenVINO"):
        return _openvino(own, (size["height"], size["width"]), threads, "bf16" if "bf16" in way else "f32")
    own.to(memory_format=torch.channels_last)
    if way == "channels last":
        return lambda pixels: own(pixel_values=pixels).logits
    if way == "compiled":
        compiled = torch.compile(own, dynamic=True)
        return lambda pixels: compiled(pixel_values=pixels).logits
    if way.endswith("weights"):
        own.to(torch.bfloat16)
        return lambda pixels: own(pixel_values=pixels.bfloat16()).logits.float()

    def autocast(pixels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return own(pixel_values=pixels).logits.float()

    return autocast


def _openvino(model, size: tuple[int, int], threads: int, precision: str) -> Way:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        export_onnx(model, *size, path)
        network = openvino.Core().read_model(path)
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(network, "CPU", settings)
    return lambda pixels: torch.from_numpy(np.array(compiled(pixels.numpy())[0]))


def measure(checkpoint: Path, ways: list[str], threads: int, rounds: int) -> dict:
    torch.set_num_threads(threads)
    processor = AutoProcessor.from_pretrained(checkpoint)
    model = AutoModelForImageClassification.from_pretrained(checkpoint).eval()
    size = processor.image_processor.size
    ready, preparation, left_out = {}, {}, {}
    first = torch.randn(max(BATCHES), 3, size["height"], size["width"], generator=torch.Generator().manual_seed(0))
    for way in ways:
        began = time.perf_counter()
        try:
            with torch.no_grad():
                run = prepare(way, model, processor, threads)
            with torch.inference_mode():
                run(first)
        except Exception as error:  # whatever a converter or a compiler cannot do here is a result
            left_out[way] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            continue
        ready[way], preparation[way] = run, time.perf_counter() - began
    with torch.inference_mode():
        batches = []
        for batch in BATCHES:
            pixels = first[:batch].contiguous()
            calls = -(-MEASURED_IMAGES // batch)
            variants = {way: lambda run=run, pixels=pixels: run(pixels) for way, run in ready.items()}
            seconds = seconds_side_by_side(variants, rounds, calls, f"{threads} thread(s), batch {batch}")
            expected = ready["eager"](pixels)
            batches.append(
                {
                    "batch": batch,
                    "images_a_second": {way: batch / median(values) for way, values in seconds.items()},
                    "speed_over_eager": {way: ratio(seconds, "eager", way) for way in seconds},
                    "largest_logit_difference": {
                        way: (run(pixels) - expected).abs().max().item() for way, run in ready.items()
                    },
                }
            )
    return {"threads": threads, "preparation_seconds": preparation, "left_out": left_out, "batches": batches}


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED_CHECKPOINT, help="default: the one that ships")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS[1:],
        default=WAYS[1:],
        metavar="WAY",
        help=f"beside eager: {'; '.join(WAYS[1:])}; default: all",
    )
    parser.add_argument("--rounds", type=at_least_one, default=7, help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    packages = [name for name in ("onnxruntime", "onnxscript", "openvino") if importlib.util.find_spec(name)]
    machine = describe_machine("transformers", *packages)
    before = torch.get_num_threads()
    ways = [WAYS[0], *options.ways]
    counts = sorted({1, available_cores()})
    result = {
        "checkpoint": options.checkpoint.name,
        "rounds": options.rounds,
        "threads": [measure(options.checkpoint, ways, count, options.rounds) for count in counts],
        "machine": machine,
    }
    torch.set_num_threads(before)
    for one in result["threads"]:
        for batch in one["batches"]:
            print(f"{one['threads']} thread(s), batch {batch['batch']}")
            for way, rate in batch["images_a_second"].items():
                speed = batch["speed_over_eager"][way]["median"]
                difference = batch["largest_logit_difference"][way]
                print(f"  {way:30}{rate:8.1f} images a second  {speed:5.2f} of eager  logits within {difference:.1e}")
        for way, reason in one["left_out"].items():
            print(f"  {way} is left out: {reason}")
    write_result(result, options.output)
    return result


if __name__ == "__main__":
    main()
