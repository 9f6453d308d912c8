"""One of several processes that train a small network by DistributedDataParallel (see test_losses_processes.py).

python gradient_worker.py FOLDER RANK WORLD: reads FOLDER/case.pt, writes FOLDER/RANK.pt.
"""

import importlib.util
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

# The file alone: importing the package would take each process seconds.
PATH = Path(__file__).parents[2] / "modeling_clef" / "losses_clef.py"
spec = importlib.util.spec_from_file_location("losses_clef", PATH)
losses = importlib.util.module_from_spec(spec)
spec.loader.exec_module(losses)


class Small(torch.nn.Module):
    """Rows in, loss out: one image layer, one text layer, a learned scale."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = torch.nn.Linear(6, 5), torch.nn.Linear(4, 5)
        self.scale = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self, case, part):
        images = F.normalize(self.image(part["images"]), dim=-1)
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
        if case == "binary":
            return losses.masked_binary_loss(images, part["labels"]) + keep
        return losses.masked_cross_entropy(images, part["labels"], torch.arange(1.0, 6.0).double()) + keep


def main(folder: Path, rank: int, world: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    cases = torch.load(folder / "cases.pt", weights_only=True)
    results = {}
    for name, parts in cases.items():
        model = DistributedDataParallel(Small().double())
        loss = model(name.split(",")[0], parts[rank])
        loss.backward()
        results[name] = {
            "loss": loss.detach(),
            "gradients": {n: p.grad for n, p in model.module.named_parameters()},
        }
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
