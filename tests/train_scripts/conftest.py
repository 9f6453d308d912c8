import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from train_scripts.predictions import Predictions

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


class Nursery:
    """Scripts as forks of one process, see nursery.py."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("nursery.py")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, script, flags, output, *more, processes=1, pause=None) -> list[int]:
        Path(output).mkdir(parents=True, exist_ok=True)
        self.log = Path(output).with_name(Path(output).name + "_log")
        argv = [*map(str, flags), "--output", str(output), *map(str, more)]
        return self.order(script, argv, self.log, processes, pause)

    def order(self, script, argv, log, processes=1, pause=None) -> list[int]:
        order = {"script": script, "argv": argv, "log": str(log), "processes": processes, "pause": pause}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def codes(self) -> list[int]:
        return json.loads(self.process.stdout.readline())

    def finish(self, *arguments, **options) -> str:
        """Runs to the end; returns what the main process printed."""
        self.start(*arguments, **options)
        codes = self.codes()
        printed = self.printed()
        assert not any(codes), f"exit codes {codes}:\n{printed[-4000:]}"
        return printed

    def printed(self, rank=0) -> str:
        return Path(f"{self.log}_{rank}.txt").read_text()


@pytest.fixture(scope="session")
def nursery():
    """`nursery.finish(script, flags, output, *more, processes=1)` runs "pretrain", "finetune" or "evaluate" as `launch`
    does, in a fraction of its time."""
    nursery = Nursery()
    yield nursery
    nursery.process.kill()
    nursery.process.wait()
    nursery.process.stdin.close()
    nursery.process.stdout.close()


@pytest.fixture(scope="session")
def forked_jobs(nursery):
    """Stands in for `subprocess` in `jobs`: its commands go through the nursery, one after the other."""

    def popen(command, cwd, env, stdout, stderr):
        log = Path(stdout.name)
        nursery.order(Path(command[1]).stem, command[2:], log)
        (code,) = nursery.codes()
        log.write_text(Path(f"{log}_0.txt").read_text())
        return SimpleNamespace(poll=lambda: code, terminate=lambda: None, wait=lambda: code)

    return SimpleNamespace(Popen=popen, STDOUT=subprocess.STDOUT)


@pytest.fixture(scope="session")
def plant_predictions():
    """`plant_predictions(folds=3, …)` makes the predictions of a run: AU4, AU6, AU12 and three expressions.

    `skill` is how far apart logits of present and absent labels lie; people differ in their rates and offsets. The
    frames and labels depend on `seed` alone, the logits' noise also on `run`.
    """

    def plant(folds=3, subjects=6, frames=40, skill=2.0, seed=0, run=0, no_face=0.0, groups=True, unknown=0.05):
        made = []
        for fold in range(folds):
            random, noise = np.random.default_rng([seed, fold]), np.random.default_rng([seed, fold, run])
            people = [f"F{fold}{i:02d}" if i % 2 else f"M{fold}{i:02d}" for i in range(2 * subjects)]
            who = np.repeat(np.arange(2 * subjects), frames)
            rates = random.uniform(0.1, 0.6, (2 * subjects, 3))
            units = (random.random((len(who), 3)) < rates[who]).astype(np.float32)
            expressions = np.eye(3, dtype=np.float32)[random.integers(0, 3, len(who))]
            labels = np.concatenate([units, expressions], axis=1)
            hidden = random.random(units.shape) < unknown
            found = random.random(len(who)) >= no_face
            offsets = random.normal(0, 0.5, (2 * subjects, 6))
            logits = skill * (labels - 0.5) + offsets[who] + noise.normal(0, 1, labels.shape)
            labels[:, :3][hidden] = np.nan
            label_sets = [
                {
                    "name": name,
                    "problem_type": f"{kind}_classification",
                    "labels": names,
                    "thresholds": [0.4, 0.5, 0.45],
                    "temperatures": [0.7] * 3,
                    "calibration_biases": [0.1, -0.2, 0.0] if kind == "multi_label" else None,
                }
                for name, kind, names in (
                    ("action_units", "multi_label", ["AU4", "AU6", "AU12"]),
                    ("expression", "single_label", ["happiness", "sadness", "neutral"]),
                )
            ]
            names = np.array(people)[who]
            made.append(
                Predictions(
                    label_sets,
                    names,
                    logits.astype(np.float32),
                    labels,
                    np.where(who < subjects, "test", "validation"),
                    found,
                    {"gender": np.array(["woman" if name[0] == "F" else "man" for name in names])} if groups else {},
                    fold + 1,
                    np.char.add(names, "/T1"),
                    np.tile(np.arange(frames), 2 * subjects),
                )
            )
        return made

    return plant
