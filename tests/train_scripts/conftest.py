import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def corpus_cache(tmp_path_factory):
    """Where the tests' corpora are rendered once, shared by the subprocesses."""
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture(scope="session")
def small_corpus(corpus_cache):
    return {"subjects": 9, "frames": 2, "image_size": 32, "cache_dir": str(corpus_cache)}


@pytest.fixture
def flags(small_corpus):
    """Options that make both training scripts small."""
    return [
        "--corpus_options",
        json.dumps(small_corpus),
        "--text_tower",
        "tiny",
        "--image_size",
        "32",
        "--batch_size",
        "8",
    ]


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Accelerate keeps the first precision of a process for good; each test starts anew."""
    AcceleratorState._reset_state(True)


@pytest.fixture
def launch():
    """`launch(script, *flags, processes=1, check=True)` runs a script as a user would."""

    def run(script, *flags, processes=1, check=True):
        if processes == 1:
            start = [sys.executable]
        else:
            start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
            start += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [*start, f"train_scripts/{script}.py", *map(str, flags)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done

    return run
