"""Peak memory and time of the contrastive loss in strips; baseline: the same loss on the whole N × N matrix.

python benchmarks/loss_memory.py                                               # prints
python benchmarks/loss_memory.py --output benchmarks/results/loss_memory.json  # also writes, with the machine described

Forward and backward together, in float32, of N rows in 64 groups, and of what one of four processes does: its quarter
of the rows against all. Each measurement is a fresh process; memory is the highest that the process has resident, less
what it had with the embeddings made and everything loaded. Then the same with gradient caching: forward and backward
of a small ViT and the loss, all views at once and in chunks.

Rounds measure everything in turn. Seconds, megabytes and ratios are medians of several rounds, ratios of the two
values of a round, so that a busy machine disturbs them less.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import ViTConfig, ViTModel

from benchmarks.machine import at_least_one, describe_machine, write_result
from modeling_clef.tiled_losses_clef import tiled_contrast
from train_scripts.gradient_cache import encode_in_chunks

WIDTH, GROUPS, TEMPERATURE, PROCESSES = 512, 64, 0.07, 4
AGREEMENT = 1e-5  # largest relative difference at which speed and memory say anything
VIT = ViTConfig(
    hidden_size=192, num_hidden_layers=6, num_attention_heads=3, intermediate_size=768, image_size=64, patch_size=8
)


def plain_contrast(rows, row_ids, columns, column_ids, scale, own):
    """What `tiled_contrast` computes, the usual way: all similarities, masks, autograd."""
    logits = rows @ columns.T * scale
    counted = (column_ids >= 0).expand(logits.shape)
    counted = counted.scatter(1, torch.arange(own, own + len(rows), device=rows.device)[:, None], False)
    positive = (row_ids[:, None] == column_ids) & counted
    positives = positive.sum(dim=1)
    log_normaliser = logits.masked_fill(~counted, torch.finfo(logits.dtype).min / 2).logsumexp(dim=1)
    mean_positive = torch.where(positive, logits, 0).sum(dim=1) / positives.clamp(min=1)
    return torch.where(positives > 0, log_normaliser - mean_positive, 0).sum(), (positives > 0).sum()


CONTRASTS = {"plain": plain_contrast, "tiled": tiled_contrast}


def make_embeddings(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(count, WIDTH, generator=generator), dim=-1)


def loss_and_gradients(contrast: Callable, embeds: torch.Tensor, ids: torch.Tensor, rows: int) -> list[torch.Tensor]:
    """Loss of the first `rows` rows against all, and its gradients by the embeddings and the temperature."""
    embeds = embeds.requires_grad_()
    temperature = torch.tensor(TEMPERATURE, requires_grad=True)
    # All rows are one tensor, as in one process; fewer are a tensor apart from the gathered columns.
    own = embeds if rows == len(embeds) else embeds.detach()[:rows].clone().requires_grad_()
    total, anchors = contrast(own, ids[:rows], embeds, ids, 1 / temperature, 0)
    loss = total / anchors
    loss.backward()
    return [loss.detach(), embeds.grad, temperature.grad]


def measure_loss(name: str, count: int, rows: int) -> tuple[float, float]:
    """Seconds and megabytes."""
    embeds, ids = make_embeddings(count), torch.arange(count) % GROUPS
    loss_and_gradients(CONTRASTS[name], make_embeddings(256), ids[:256], 256)  # loads kernels, starts threads
    return measured(lambda: loss_and_gradients(CONTRASTS[name], embeds, ids, rows))


def measure_cached(name: str, views: int, chunk: int) -> tuple[float, float]:
    """The same of a small ViT and the loss; `name`: "plain" encodes all at once, "cached" in chunks."""
    torch.manual_seed(0)
    tower, pixels, ids = ViTModel(VIT).train(), torch.randn(views, 3, 64, 64), torch.arange(views) % 8

    def encode(images):
        return F.normalize(tower(images).last_hidden_state[:, 0], dim=-1)

    def step(images):
        embeds = encode(images) if name == "plain" else encode_in_chunks(encode, images, chunk, tower)
        total, anchors = tiled_contrast(embeds, ids[: len(images)], embeds, ids[: len(images)], 1 / TEMPERATURE, 0)
        (total / anchors).backward()

    step(pixels[:chunk])
    return measured(lambda: step(pixels))


def measured(function: Callable) -> tuple[float, float]:
    before = resident_megabytes("VmRSS")
    began = time.perf_counter()
    function()
    return time.perf_counter() - began, resident_megabytes("VmHWM") - before


def resident_megabytes(name: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RuntimeError("memory is measured through /proc/self/status: run this on Linux.") from error
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def in_fresh_process(function: Callable, *arguments):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def agreement(count: int, groups: int) -> dict[str, float]:
    """Relative differences of the tiled loss from the plain one; of gradients, that of the norm of the difference."""
    ids = torch.arange(count) % groups
    found = [loss_and_gradients(contrast, make_embeddings(count), ids, count) for contrast in CONTRASTS.values()]
    differences = [float((tiled - plain).norm() / plain.norm()) for plain, tiled in zip(*found, strict=True)]
    named = dict(zip(("loss", "gradient of embeddings", "gradient of temperature"), differences, strict=True))
    if not max(differences) <= AGREEMENT:
        raise RuntimeError(f"{count} rows in {groups} groups: got {named}, expected at most {AGREEMENT}: not one loss.")
    return named


def compare(baseline: str, other: str, rounds: list[dict[str, tuple[float, float]]]) -> dict:
    """Medians of seconds and megabytes, and of their ratios."""
    values = {name: np.array([found[name] for found in rounds]) for name in (baseline, other)}
    seconds, megabytes = ({n: float(np.median(v[:, i])) for n, v in values.items()} for i in range(2))
    ratios = np.median(values[other] / values[baseline], axis=0).tolist()
    return {
        "seconds": seconds,
        "peak_extra_mb": megabytes,
        "ratio_of_seconds": ratios[0],
        "ratio_of_peak": ratios[1],
    }


def main() -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[4096, 8192, 16384], help="N (default: %(default)s)")
    parser.add_argument("--views", type=int, default=512, help="of the gradient caching (default: %(default)s)")
    parser.add_argument("--chunk", type=at_least_one, default=32, help="views encoded at a time (default: %(default)s)")
    parser.add_argument("--rounds", type=at_least_one, default=3, help="medians are of so many (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args()
    if min(*options.rows, options.views) < 2 * GROUPS:
        parser.error(f"got {min(*options.rows, options.views)} rows or views, expected at least {2 * GROUPS}")
    machine = describe_machine("transformers")
    shares = [(count, rows) for count in options.rows for rows in (count, count // PROCESSES)]
    loss_rounds, cache_rounds = {share: [] for share in shares}, []
    cached, largest = (options.views, options.chunk), max(options.rows)
    agreements = {
        f"{largest} rows in {groups} groups": in_fresh_process(agreement, largest, groups)
        for groups in (GROUPS, largest // 2)
    }
    for _ in tqdm(range(options.rounds), unit="round"):
        for share in shares:
            loss_rounds[share].append({name: in_fresh_process(measure_loss, name, *share) for name in CONTRASTS})
        cache_rounds.append({name: in_fresh_process(measure_cached, name, *cached) for name in ("plain", "cached")})
    result = {
        "width": WIDTH,
        "groups": GROUPS,
        "temperature": TEMPERATURE,
        "rounds": options.rounds,
        "losses": [{"rows": r, "columns": c, **compare("plain", "tiled", loss_rounds[c, r])} for c, r in shares],
        "relative_difference": agreements,
        "gradient_caching": {
            "views": options.views,
            "chunk": options.chunk,
            **compare("plain", "cached", cache_rounds),
        },
        "machine": machine,
    }
    print_result(result)
    write_result(result, options.output)
    return result


def print_result(result: dict) -> None:
    caching = result["gradient_caching"]
    measured = [(f"loss, {found['rows']} × {found['columns']}", found) for found in result["losses"]]
    measured.append((f"ViT and loss, {caching['views']} views by {caching['chunk']}", caching))
    for title, found in measured:
        print(title)
        for name, seconds in found["seconds"].items():
            print(f"  {name:38}{seconds:8.2f} s{found['peak_extra_mb'][name]:10.1f} MB more")
        print(f"  {'ratio':38}{found['ratio_of_seconds']:8.2f}{found['ratio_of_peak']:12.3f}")
    for title, differences in result["relative_difference"].items():
        print(f"relative difference, {title}")
        for name, value in differences.items():
            print(f"  {name:38}{value:8.1e}")


if __name__ == "__main__":
    main()
