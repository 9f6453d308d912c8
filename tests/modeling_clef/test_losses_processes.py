"""Two processes under DistributedDataParallel have the gradients of one process with the whole batch.

Gradients, not losses: the loss is right in wrong implementations too.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("gradient_worker.py")
NAN = float("nan")
# Case -> the number of image rows of each process.
SIZES = {"activity": (6, 6), "activity, unequal": (8, 3), "instance": (6, 4), "text": (5, 5), "text, unequal": (7, 2)}
SIZES |= {"binary": (4, 2), "classes": (3, 3), "activity, one without positives": (6, 2), "text, one unknown": (5, 3)}


def whole_batches():
    generator = torch.Generator().manual_seed(1)
    batches = {}
    for name, sizes in SIZES.items():
        count = sum(sizes)
        ids = torch.randint(0, 4, (count,), generator=generator)
        ids[1] = -1
        labels = torch.randint(0, 2, (count, 5), generator=generator).double()
        labels[0, 2:] = NAN
        if name == "classes":
            labels = torch.eye(5).double()[torch.randint(0, 5, (count,), generator=generator)]
            labels[0] = NAN
        if name == "activity, one without positives":
            ids[6], ids[7] = 100, 101
        if name == "text, one unknown":
            ids[5:] = -1
        images = torch.randn(count, 6, generator=generator).double()
        batches[name] = {"images": images, "ids": ids, "labels": labels}
    return batches


def split(batch, sizes):
    """Each process's part. The texts differ: ids 0, 1, 2 on the first, 2, 0 or 3, 2, 0, 1 on the second."""
    texts = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)).double()
    text_ids = [torch.tensor([0, 1, 2]), torch.tensor([2, 0]) if sizes[0] == sizes[1] else torch.tensor([3, 2, 0, 1])]
    parts = [
        dict(zip(batch, values, strict=True)) for values in zip(*(v.split(sizes) for v in batch.values()), strict=True)
    ]
    for part, ids in zip(parts, text_ids, strict=True):
        part |= {"texts": texts[ids], "text_ids": ids}
    unique = torch.cat(text_ids).unique()
    return parts, batch | {"texts": texts[unique], "text_ids": unique}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    batches = whole_batches()
    splits = {name: split(batch, SIZES[name]) for name, batch in batches.items()}
    torch.save({name: parts for name, (parts, _) in splits.items()}, folder / "cases.pt")
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    processes = [
        subprocess.Popen([sys.executable, str(WORKER), str(folder), str(rank), "2"], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return {name: whole for name, (_, whole) in splits.items()}, [
        torch.load(folder / f"{rank}.pt") for rank in range(2)
    ]


@pytest.mark.parametrize("name", SIZES)
def test_gradients_of_two_processes_are_those_of_the_whole_batch(name, results):
    wholes, ranks = results
    spec = importlib.util.spec_from_file_location("gradient_worker", WORKER)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    model = worker.Small().double()
    loss = model(name.split(",")[0], wholes[name])
    loss.backward()
    assert sum(rank[name]["loss"] for rank in ranks) / 2 == pytest.approx(loss.item(), abs=1e-12)
    expected = {n: p.grad for n, p in model.named_parameters()}
    assert expected["image.weight"].abs().max() > 1e-3
    for rank in ranks:
        for parameter, gradient in rank[name]["gradients"].items():
            torch.testing.assert_close(gradient, expected[parameter], rtol=0, atol=1e-12, msg=parameter)
