"""What the benchmarks share: measuring side by side, describing the machine, writing the result."""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from processing.corpora.splits import available_cores


def seconds_side_by_side(
    variants: Mapping[str, Callable[[], object]], rounds: int, calls: int = 1, title: str = ""
) -> dict[str, list[float]]:
    """Wall-clock seconds a call, one number a round, of variants that are measured in turn.

    In every other round the order is reversed, so that neither a machine that slows down nor what a variant leaves
    behind in the caches favours one of them. Each variant is called once before, unmeasured.

    Args:
        calls: in a row, of which one measurement is the mean; more where one takes less than a few milliseconds.
        title: of the progress bar.
    """
    if rounds < 1 or calls < 1:
        raise ValueError(f"got {rounds} rounds of {calls} calls, expected at least one of each.")
    seconds = {name: [] for name in variants}
    with tqdm(total=rounds + 1, desc=title, unit="round", file=sys.stderr, disable=None) as bar:
        for function in variants.values():
            function()
        bar.update()
        for number in range(rounds):
            for name in variants if number % 2 == 0 else reversed(variants):
                began = time.perf_counter()
                for _ in range(calls):
                    variants[name]()
                seconds[name].append((time.perf_counter() - began) / calls)
            bar.update()
    return seconds


def at_least_one(text: str) -> int:
    """Of an option on the command line, for argparse's `type`."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, expected at least 1")
    return number


def median(values) -> float:
    return float(np.median(values))


def ratio(seconds: Mapping[str, list[float]], name: str, baseline: str) -> dict[str, float]:
    """Of the times of `name` over those of `baseline`: the median of the rounds' ratios, and their quartiles."""
    ratios = np.array(seconds[name]) / np.array(seconds[baseline])
    lower, middle, upper = np.percentile(ratios, (25, 50, 75)).tolist()
    return {"median": middle, "lower_quartile": lower, "upper_quartile": upper}


def describe_machine(*packages: str) -> dict:
    """The machine now; `packages`: those beside Python and torch whose versions matter."""
    return {
        "processor": processor_name(),
        "cores": available_cores(),
        "torch_threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: importlib.metadata.version(name) for name in packages},
    }


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def write_result(result: dict, output: Path | None) -> None:
    """`result` as JSON in `output`, if one is given; a file is never left half-written."""
    if output is None:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    partial.replace(output)
