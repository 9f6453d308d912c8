"""Several processes under DistributedDataParallel have the gradients of one process with the whole batch, with and
without gradient caching, in one batch or accumulated.

Gradients, not losses: the loss is right in wrong implementations too.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("gradient_worker.py")
NAN = float("nan")


@dataclass
class Case:
    """`sizes`: image rows of each process in each accumulated batch. `texts`: the ids each process brings texts of.
    `chunk`: rows encoded at a time, 0 without gradient caching."""

    loss: str
    sizes: list[list[int]]
    texts: list[list[int]]
    chunk: int = 0


TEXTS = {2: [[0, 1, 2], [3, 2, 0, 1]], 4: [[0, 1, 2], [3, 2, 0, 1], [2, 0], [3]]}
SIZES = {
    2: {
        "activity": ("activity", [6, 6]),
        "activity, unequal": ("activity", [8, 3]),
        "activity, one without positives": ("activity", [6, 2]),
        "instance": ("instance", [6, 4]),
        "text": ("text", [5, 5]),
        "text, unequal": ("text", [7, 2]),
        "text, one unknown": ("text", [5, 3]),
        "binary": ("binary", [4, 2]),
        "classes": ("classes", [3, 3]),
    },
    4: {
        "activity": ("activity", [3, 3, 3, 3]),
        "activity, unequal": ("activity", [6, 1, 4, 2]),
        "activity, one has none": ("activity", [4, 4, 0, 3]),
        "activity, one lacks an activity": ("activity", [4, 3, 4, 2]),
        "instance, unequal": ("instance", [4, 2, 6, 2]),
        "text, unequal": ("text", [5, 1, 4, 2]),
        "text, one lacks an activity": ("text", [4, 3, 4, 2]),
        "descriptions": ("descriptions", [4, 3, 1, 2]),
        "binary, unequal": ("binary", [4, 2, 1, 3]),
        "classes, unequal": ("classes", [3, 1, 4, 2]),
    },
}


def cases(world):
    made = {}
    for name, (loss, sizes) in SIZES[world].items():
        texts = [[0, 1, 2], [2, 0]] if name == "text" else TEXTS[world]  # so that no one has the text of id 3
        last = [max(size - 2, 0) for size in sizes]  # an uneven last batch
        made[name] = Case(loss, [sizes], texts)
        made[f"{name}; cached"] = Case(loss, [sizes], texts, chunk=2)
        made[f"{name}; cached and accumulated"] = Case(loss, [sizes, sizes, last], texts, chunk=2)
    return made


def whole_batches(name, case, generator):
    batches = []
    for sizes in case.sizes:
        count, first = sum(sizes), sizes[0]
        ids = torch.randint(0, 4, (count,), generator=generator)
        ids[1] = -1
        labels = torch.randint(0, 2, (count, 5), generator=generator).double()
        labels[0, 2:] = NAN
        if case.loss == "classes":
            labels = torch.eye(5).double()[torch.randint(0, 5, (count,), generator=generator)]
            labels[0] = NAN
        if "one without positives" in name:
            ids[first:] = 100 + torch.arange(count - first)
        if "one unknown" in name:
            ids[first:] = -1
        if "one lacks an activity" in name:
            others = ids[:first]
            others[others == 2] = 1
        images = torch.randn(count, 6, generator=generator).double()
        labels_of_all = torch.randn(6, 4, generator=generator).double()
        batches.append({"images": images, "ids": ids, "labels": labels, "labels_of_all": labels_of_all})
    return batches


def split(batch, sizes, text_ids):
    """Each process's part, and the whole batch with all texts, each once."""
    texts = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)).double()
    rows = {name: batch[name].split(sizes) for name in ("images", "ids", "labels")}
    parts = []
    for rank, ids in enumerate(text_ids):
        part = {name: values[rank].clone() for name, values in rows.items()}
        ids = torch.tensor(ids)
        parts.append(part | {"labels_of_all": batch["labels_of_all"], "texts": texts[ids], "text_ids": ids})
    unique = torch.tensor(sum(text_ids, [])).unique()
    return parts, batch | {"texts": texts[unique], "text_ids": unique}


@pytest.fixture(scope="module")
def worker():
    spec = importlib.util.spec_from_file_location("gradient_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """World → (case → its whole batches, what each process found)."""
    found, generator = {}, torch.Generator().manual_seed(1)
    for world in SIZES:
        folder = tmp_path_factory.mktemp("processes")
        wholes, handed = {}, {}
        for name, case in cases(world).items():
            batches = whole_batches(name, case, generator)
            splits = [split(b, s, case.texts) for b, s in zip(batches, case.sizes, strict=True)]
            wholes[name] = [whole for _, whole in splits]
            parts = [[parts[rank] for parts, _ in splits] for rank in range(world)]
            handed[name] = {"loss": case.loss, "chunk": case.chunk, "parts": parts}
        torch.save(handed, folder / "cases.pt")
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        processes = [
            subprocess.Popen([sys.executable, str(WORKER), str(folder), str(rank), str(world)], env=environment)
            for rank in range(world)
        ]
        assert [process.wait(timeout=180) for process in processes] == [0] * world
        found[world] = wholes, [torch.load(folder / f"{rank}.pt") for rank in range(world)]
    return found


@pytest.mark.parametrize("world, name", [(world, name) for world in SIZES for name in cases(world)])
def test_gradients_of_several_processes_are_those_of_the_whole_batch(world, name, results, worker):
    wholes, ranks = results[world]
    expected = worker.train(worker.Small().double(), cases(world)[name].loss, wholes[name], chunk=0)
    assert sum(rank[name]["loss"] for rank in ranks) / world == pytest.approx(expected["loss"].item(), abs=1e-12)
    trained = "text.weight" if name.startswith("descriptions") else "image.weight"
    assert expected["gradients"][trained].abs().max() > 1e-4
    for rank in ranks:
        for parameter, gradient in rank[name]["gradients"].items():
            torch.testing.assert_close(
                gradient, expected["gradients"][parameter], rtol=0, atol=1e-12, msg=lambda m, p=parameter: f"{p}: {m}"
            )


@pytest.mark.parametrize("name", ["activity", "instance", "text", "binary", "classes"])
def test_one_process_with_gradient_caching_has_the_gradients_of_the_whole_batch(name, results, worker):
    wholes, _ = results[2]
    batches = wholes[f"{name}; cached and accumulated"]
    plain, cached = (worker.train(worker.Small().double(), name, batches, chunk) for chunk in (0, 3))
    for parameter, gradient in cached["gradients"].items():
        torch.testing.assert_close(gradient, plain["gradients"][parameter], rtol=0, atol=1e-14)
