"""One of several processes that train a small network by DistributedDataParallel (see test_losses_processes.py).

python gradient_worker.py FOLDER RANK WORLD: reads FOLDER/cases.pt, writes FOLDER/RANK.pt.
"""

import importlib
import sys
import types
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

ROOT = Path(__file__).parents[2]


def load_alone(folder: str, name: str):
    """A file of a package without the package: importing that would take each process seconds."""
    package = types.ModuleType(f"{folder}_alone")
    package.__path__ = [str(ROOT / folder)]
    sys.modules.setdefault(package.__name__, package)
    return importlib.import_module(f"{package.__name__}.{name}")


losses = load_alone("modeling_clef", "losses_clef")
gradient_cache = load_alone("train_scripts", "gradient_cache")


class Small(torch.nn.Module):
    """Rows in, loss out: one image layer, one text layer, a learned scale."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = torch.nn.Linear(6, 5), torch.nn.Linear(4, 5)
        self.scale = torch.nn.Parameter(torch.tensor(3.0))

    def encode(self, images):
        return F.normalize(self.image(images).tanh(), dim=-1)

    def forward(self, case, part, chunk=0):
        if chunk:
            images = gradient_cache.encode_in_chunks(self.encode, part["images"], chunk, self.image)
        else:
            images = self.encode(part["images"])
        # Every parameter takes part in every case, as DistributedDataParallel asks.
        keep = 0 * (self.text(part["texts"]).sum() + self.scale + self.image.bias.sum())
        if case == "activity":
            return losses.supervised_contrastive_loss(images, part["ids"], 1 / self.scale) + keep
        if case == "instance":
            return losses.instance_discrimination_loss(images.unflatten(0, (-1, 2)), 1 / self.scale) + keep
        if case == "text":
            texts = F.normalize(self.text(part["texts"]), dim=-1)
            arguments = (images, texts, part["ids"], self.scale, part["text_ids"])
            return losses.image_text_contrastive_loss(*arguments) + keep
        if case == "descriptions":
            texts = F.normalize(self.text(part["labels_of_all"]), dim=-1)
            return losses.description_name_contrastive_loss(texts[:3], texts[3:], self.scale) + keep + 0 * images.sum()
        if case == "binary":
            return losses.masked_binary_loss(images, part["labels"]) + keep
        return losses.masked_cross_entropy(images, part["labels"], torch.arange(1.0, 6.0).double()) + keep


def train(model, loss: str, batches: list[dict], chunk: int, wait=nullcontext) -> dict:
    """One optimizer step's loss and gradients, of one batch or accumulated over several."""
    total = 0.0
    for i, batch in enumerate(batches):
        with nullcontext() if i == len(batches) - 1 else wait():
            value = model(loss, batch, chunk) / len(batches)
            value.backward()
        total += value.detach()
    return {"loss": total, "gradients": {n.removeprefix("module."): p.grad for n, p in model.named_parameters()}}


def main(folder: Path, rank: int, world: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    results = {}
    for name, case in torch.load(folder / "cases.pt", weights_only=True).items():
        model = DistributedDataParallel(Small().double())
        results[name] = train(model, case["loss"], case["parts"][rank], case["chunk"], model.no_sync)
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
