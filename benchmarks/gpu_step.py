"""What a stage-1 step of ViT-B/16 costs on one GPU: bf16, 224 px, two views an image.

python benchmarks/gpu_step.py                                             # prints
python benchmarks/gpu_step.py --output benchmarks/results/gpu_step.json   # also writes

Variants, in turn, of one batch (two views an image and each activity text once):

* bound: forward and backward of the encoders, nothing else. step: `CLEFForPreTraining`, its losses and backward. with
  optimizer: also what `train_scripts.runtime` adds, gradients clipped and AdamW.
* the same with both towers compiled, as `pretrain.py --compile true` has them.
* open_clip: the same images, every one with a text of its own, through open_clip's own ViT-B-16 and its loss; left out
  where open_clip is not installed.

Batches: one step with optimizer of each size, with gradient caching where there are more views than a chunk. Losses: of
each size's views alone, in strips (`tiled`) and on the whole N x N matrix (`plain`), float32. Profile: where the GPU's
time of a step goes.

Model FLOPs are those of the encoders' matrix products and convolutions, three times the forward pass, however often a
chunk is encoded; utilisation (MFU) is their rate over the vendor's dense bf16 rate of this GPU. Memory is the most that
is allocated during a step, less what is there before it: weights, the optimizer's state and the pixels.
"""

import argparse
import importlib.metadata
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.loss_memory import CONTRASTS, loss_and_gradients, make_embeddings
from benchmarks.machine import at_least_one, describe_machine, median, ratio, seconds_side_by_side, write_result
from benchmarks.pretrain_step import Case, cases, make_batch, make_model
from modeling_clef.towers_clef import pool_text, pooled_image_features
from processing.prompts_clef import ACTIVITIES, activity_text
from train_scripts.gradient_cache import cache_gradients
from train_scripts.options import TrainingOptions
from train_scripts.runtime import make_optimizer

# Dense bf16, TFLOP/s, from the vendor's data sheets.
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0}
CHUNK, KERNELS = 512, 12


def make_case(batch: int) -> Case:
    return replace(next(case for case in cases() if case.name == "ViT-B/16"), batch=batch, rounds=4)


class Encoders:
    """A `CLEFForPreTraining` on the device and what is done with it, in bf16."""

    def __init__(self, case: Case, device: torch.device, compiled: bool = False):
        self.model = make_model(case).to(device)
        self.device = device
        if compiled:
            self.model.clef.vision_model.compile()
            self.model.clef.text_model.compile()
        self.training = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.model, TrainingOptions(learning_rate=1e-6))

    def autocast(self):
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def bound(self, batch: dict) -> None:
        clef = self.model.clef
        with self.autocast():
            images = pooled_image_features(clef.vision_model(pixel_values=batch["pixel_values"].flatten(0, 1)))
            texts = clef.text_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            texts = pool_text(texts, batch["attention_mask"], self.model.config.text_pooling)
        torch.autograd.backward((images, texts), (torch.ones_like(images), torch.ones_like(texts)))
        self.model.zero_grad()

    def step(self, batch: dict) -> None:
        self._backward(batch)
        self.model.zero_grad()

    def with_optimizer(self, batch: dict) -> None:
        self._backward(batch)
        torch.nn.utils.clip_grad_norm_(self.training, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _backward(self, batch: dict) -> None:
        with self.autocast():
            loss = self.model(**batch).loss
        loss.backward()


def make_device_batch(case: Case, device: torch.device) -> dict[str, torch.Tensor]:
    """As `pretrain_step.make_batch`, with pixels in bf16 that the device draws."""
    batch = {name: tensor.to(device) for name, tensor in make_batch(replace(case, image_size=1)).items()}
    generator = torch.Generator(device).manual_seed(0)
    shape = (case.batch, 2, 3, case.image_size, case.image_size)
    pixels = torch.empty(shape, dtype=torch.bfloat16, device=device)
    for start in range(0, case.batch, CHUNK):
        pixels[start : start + CHUNK].normal_(generator=generator)
    return batch | {"pixel_values": pixels}


def open_clip_step(case: Case, device: torch.device) -> Callable[[dict], None] | None:
    """Forward, loss and backward of open_clip's ViT-B-16 on as many texts as views, as its training loop does them."""
    if importlib.util.find_spec("open_clip") is None:
        return None
    import open_clip

    model = open_clip.create_model("ViT-B-16", device=device).train()
    loss_of = open_clip.loss.ClipLoss()
    tokens = open_clip.get_tokenizer("ViT-B-16")([activity_text(key) for key in ACTIVITIES]).to(device)

    def step(batch: dict) -> None:
        texts = tokens[batch["activity_ids"].repeat_interleave(2)]
        with torch.autocast(device.type, dtype=torch.bfloat16):
            images, texts, scale = model(batch["pixel_values"].flatten(0, 1), texts)[:3]
            loss = loss_of(images, texts, scale)
        loss.backward()
        model.zero_grad()

    return step


def forward_flops(case: Case) -> tuple[float, float]:
    """Of one image through the vision tower, and of all texts of a batch through the text tower."""
    with torch.device("meta"):
        model = make_model(case)
        pixels = torch.empty(1, 3, case.image_size, case.image_size)
    batch = {name: tensor.to("meta") for name, tensor in make_batch(replace(case, image_size=1)).items()}
    with torch.no_grad(), FlopCounterMode(display=False) as image:
        model.clef.vision_model(pixel_values=pixels)
    tokens = batch["input_ids"].numel() * sum(p.numel() for p in model.clef.text_model.encoder.parameters())
    return float(image.get_total_flops()), 2.0 * tokens


def step_flops(case: Case) -> float:
    """Forward and backward of both encoders on a batch, whose backward costs twice their forward."""
    image, texts = forward_flops(case)
    return 3 * (2 * case.batch * image + texts)


def synchronised(function: Callable[[], object], device: torch.device) -> Callable[[], None]:
    def run():
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def peak_gigabytes(function: Callable[[], object], device: torch.device) -> float | None:
    """The most that is allocated during the call, less what is there before; None where nobody counts."""
    if device.type != "cuda":
        function()
        return None
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    function()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e9


def measure_variants(case: Case, device: torch.device, peak: float | None) -> dict:
    eager, compiled = Encoders(case, device), Encoders(case, device, compiled=True)
    batch = make_device_batch(case, device)
    steps = {
        "bound": eager.bound,
        "step": eager.step,
        "with optimizer": eager.with_optimizer,
        "bound, compiled": compiled.bound,
        "step, compiled": compiled.step,
        "with optimizer, compiled": compiled.with_optimizer,
        "open_clip": open_clip_step(case, device),
    }
    runs = {name: synchronised(lambda step=step: step(batch), device) for name, step in steps.items() if step}
    seconds = seconds_side_by_side(runs, case.rounds, calls=2, title="variants")
    flops, image_flops = step_flops(case), forward_flops(case)[0]
    result = {"batch": case.batch, "rounds": case.rounds, "gigaflops_an_image_forward": image_flops / 1e9}
    result["variants"] = {
        name: speed_of(median(seconds[name]), 2 * case.batch, None if name == "open_clip" else flops, peak)
        | {"gigabytes": peak_gigabytes(run, device)}
        for name, run in runs.items()
    }
    pairs = [("step", "bound"), ("with optimizer", "bound"), ("step", "step, compiled"), ("bound", "bound, compiled")]
    pairs += [("step, compiled", "bound, compiled")] + [("open_clip", "step")] * ("open_clip" in runs)
    result["ratios"] = {f"{name} over {base}": ratio(seconds, name, base) for name, base in pairs}
    result["profile"] = where_time_goes(runs["with optimizer"], device)
    return result


def speed_of(seconds: float, images: int, flops: float | None, peak: float | None) -> dict:
    speed = {"milliseconds": 1e3 * seconds, "images_per_second": images / seconds}
    if flops:
        speed["model_tflops"] = flops / seconds / 1e12
        speed["mfu"] = flops / seconds / 1e12 / peak if peak else None
    return speed


def where_time_goes(step: Callable[[], None], device: torch.device) -> list[dict]:
    """The kernels (on a CPU: operations) that most of a step's time goes to, and their share of all."""
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as trace:
        step()
    events = trace.key_averages()
    times = [(e.self_device_time_total if cuda else e.self_cpu_time_total, e.count, e.key) for e in events]
    total = sum(time for time, _, _ in times)
    largest = sorted(times, reverse=True)[:KERNELS]
    return [{"kernel": key[:120], "calls": count, "share": time / total} for time, count, key in largest]


def measure_batches(sizes: list[int], chunk: int, device: torch.device, peak: float | None) -> list[dict]:
    """A step with optimizer of each number of images; more views than a chunk are encoded with gradient caching."""
    encoders = Encoders(make_case(sizes[0]), device)
    cache_gradients(encoders.model, chunk)
    encoders.with_optimizer(make_device_batch(make_case(sizes[0]), device))
    rows = []
    for size in sizes:
        rows.append(measure_batch(encoders, make_case(size), peak) | {"chunk": chunk})
        print(f"  batch {size}: {rows[-1]['images_per_second']:.0f} images/s", flush=True)
    return rows


def measure_batch(encoders: Encoders, case: Case, peak: float | None) -> dict:
    batch, device = make_device_batch(case, encoders.device), encoders.device
    step, seconds = synchronised(lambda: encoders.with_optimizer(batch), device), []
    gigabytes = peak_gigabytes(lambda: seconds.append(seconds_of(step)), device)
    memory = {"gigabytes": gigabytes, "gigabytes_of_pixels": batch["pixel_values"].nbytes / 1e9}
    return {"batch": case.batch} | speed_of(seconds[0], 2 * case.batch, step_flops(case), peak) | memory


def seconds_of(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def measure_losses(sizes: list[int], device: torch.device) -> list[dict]:
    """Forward and backward of the image-image loss alone, of both views of each image."""
    rows = []
    for size in sizes:
        found = {name: measure_loss(contrast, 2 * size, device) for name, contrast in CONTRASTS.items()}
        rows.append({"batch": size, "embeddings": 2 * size} | found)
    return rows


def measure_loss(contrast: Callable, count: int, device: torch.device) -> dict | str:
    embeds, ids = make_embeddings(count).to(device), torch.arange(count, device=device) // 2 % len(ACTIVITIES)
    run = synchronised(lambda: loss_and_gradients(contrast, embeds.detach(), ids, count), device)
    try:
        run()
        return {
            "milliseconds": 1e3 * min(seconds_of(run) for _ in range(3)),
            "gigabytes": peak_gigabytes(run, device),
        }
    except torch.OutOfMemoryError:
        return "out of memory"


def describe_gpu(device: torch.device) -> dict:
    if device.type != "cuda":
        return {"gpu": "none: run on the CPU", "peak_tflops": None}
    name = torch.cuda.get_device_name(device)
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    )
    found = {"gpu": name, "gigabytes": torch.cuda.get_device_properties(device).total_memory / 1e9}
    found |= {"driver": driver.stdout.split("\n")[0].strip() or None, "cuda": torch.version.cuda}
    found["peak_tflops"] = next((peak for part, peak in PEAKS.items() if part in name), None)
    square = [torch.randn(8192, 8192, dtype=torch.bfloat16, device=device) for _ in range(2)]
    product = synchronised(lambda: [square[0] @ square[1] for _ in range(10)], device)
    product()
    found["measured_tflops"] = 10 * 2 * 8192**3 / seconds_of(product) / 1e12
    return found


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="default: cuda")
    parser.add_argument("--batch", type=at_least_one, default=256, help="images of the variants; default: 256")
    help = "images of the steps with gradient caching, and of the losses alone; default: 256 1024 4096 32768"
    parser.add_argument("--batches", type=at_least_one, nargs="+", default=[256, 1024, 4096, 32768], help=help)
    parser.add_argument("--chunk", type=at_least_one, default=CHUNK, help="views encoded at once; default: 512")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA GPU here; --device cpu runs everything, which takes hours.")
    torch.manual_seed(0)
    result = {"machine": describe_machine("transformers") | describe_gpu(device)}
    if importlib.util.find_spec("open_clip"):
        result["machine"]["open_clip"] = importlib.metadata.version("open_clip_torch")
    peak = result["machine"]["peak_tflops"]
    result["losses"] = measure_losses(options.batches, device)
    write_result(result, options.output)
    result["cached"] = measure_batches(options.batches, options.chunk, device, peak)
    write_result(result, options.output)
    result["step"] = measure_variants(make_case(options.batch), device, peak)
    write_result(result, options.output)
    show(result)
    return result


def show(result: dict) -> None:
    print(f"one batch of {result['step']['batch']} images, two views each")
    for name, row in result["step"]["variants"].items():
        print(f"  {name:26}{_speed(row)}")
    for name, value in result["step"]["ratios"].items():
        print(f"  {name:50}{value['median']:7.3f}")
    print(f"with gradient caching, {result['cached'][0]['chunk']} views at a time")
    for row in result["cached"]:
        print(f"  {row['batch']:6} images            {_speed(row)}")
    print("the loss alone")
    for row in result["losses"]:
        for name in CONTRASTS:
            found = row[name]
            cost = found if isinstance(found, str) else f"{found['milliseconds']:9.1f} ms{_memory(found)}"
            print(f"  {row['embeddings']:6} embeddings, {name:6} {cost}")
    print("where a step's time goes")
    for row in result["step"]["profile"]:
        print(f"  {row['share']:6.1%} {row['calls']:5} x {row['kernel']}")


def _speed(row: dict) -> str:
    mfu = f", MFU {row['mfu']:.2f}" if row.get("mfu") else ""
    return f"{row['milliseconds']:10.1f} ms{row['images_per_second']:9.0f} images/s{mfu}{_memory(row)}"


def _memory(row: dict) -> str:
    return f", {row['gigabytes']:.1f} GB" if row["gigabytes"] is not None else ""


if __name__ == "__main__":
    main()
