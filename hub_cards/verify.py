"""Does a folder, or what the Hub has of it, give what the original gives where the project is not installed?"""

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import modeling_clef  # noqa: F401  makes the Auto classes know CLEF
from hub_cards import verify_worker
from modeling_clef.sentence_encoder_clef import find_sentence_encoder

WORKER = Path(verify_worker.__file__)
LARGEST_DIFFERENCE = 1e-5
REMOTE = "transformers_modules."  # where transformers puts code from a saved folder


class VerificationError(Exception):
    """What differs, or why a fresh process could not load it."""


class Original:
    """What the model that is to be published says of two pictures, in this process and with the installed package.

    Args:
        folder: the run folder or checkpoint.

    Raises:
        FileNotFoundError: a text-free model whose sentence encoder is published but not here (it says how to get it).
    """

    def __init__(self, folder: Path):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        encoder = config.get("sentence_encoder") or {}
        self.tower: str | None = None
        if config.get("text_free") and encoder.get("repo_id"):
            self.tower = str(find_sentence_encoder(encoder))
        # A text-free model whose tower nobody can get: its texts cannot be compared.
        self.without_texts = bool(config.get("text_free")) and self.tower is None
        with tempfile.TemporaryDirectory() as scratch:
            # False: told nothing, transformers asks on the terminal whether to run the code of a video processor.
            outputs = verify_worker.outputs_of(
                str(folder), _draw_pictures(Path(scratch)), self.tower, trust_remote_code=False
            )
        self.outputs = json.loads(json.dumps(outputs))

    def compare(
        self, source: str | Path, revision: str | None = None, environment: dict[str, str] | None = None
    ) -> float:
        """Loads `source`, a folder or with a revision a Hub id, in a fresh process with `trust_remote_code`, from
        nothing but that source, and returns the largest difference.

        Args:
            environment: variables of that process besides those of this one, such as the Hub's address and the token.

        Raises:
            VerificationError: it cannot be loaded there, or a number differs by more than 1e-5, or anything else does.
        """
        found = fresh_outputs(source, self.tower, revision, environment)
        for name, kind in found["classes"].items():
            remote = kind.startswith(REMOTE) or name == "AutoTokenizer"
            if not remote or kind.split(".")[-1] != self.outputs["classes"][name].split(".")[-1]:
                raise VerificationError(
                    f"{name} gives {kind} where the package is not installed; expected "
                    f"{self.outputs['classes'][name].split('.')[-1]} from the folder's own code."
                )
        expected = {key: value for key, value in self.outputs.items() if key != "classes"}
        found = {key: value for key, value in found.items() if key != "classes"}
        largest, place = largest_difference(found, expected)
        if largest > LARGEST_DIFFERENCE:
            raise VerificationError(
                f"{place} differs from the original by {largest:.3g}, more than {LARGEST_DIFFERENCE:g}."
            )
        return largest


def fresh_outputs(
    source: str | Path,
    tower: str | None,
    revision: str | None = None,
    environment: dict[str, str] | None = None,
) -> dict:
    """`verify_worker.outputs_of` in a process without the project, whose module cache is empty; with a revision also
    its Hub cache, without it offline.

    Raises:
        VerificationError: that process failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        environment = {**os.environ, **(environment or {})}
        environment.pop("PYTHONPATH", None)
        environment["HF_MODULES_CACHE"] = str(scratch / "modules")
        asked: dict[str, Any] = {"pictures": _draw_pictures(scratch), "tower": tower}
        asked["threads"] = torch.get_num_threads()
        if revision is None:
            environment["HF_HUB_OFFLINE"] = "1"
            asked["source"] = str(Path(source).resolve())
        else:
            environment |= {"HF_HUB_CACHE": str(scratch / "hub"), "HF_HUB_OFFLINE": "0"}
            asked |= {"source": str(source), "revision": revision}
        done = subprocess.run(
            [sys.executable, "-I", str(WORKER)],
            input=json.dumps(asked),
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise VerificationError(f"a process without the package cannot load {source}: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def largest_difference(found: Any, expected: Any, place: str = "") -> tuple[float, str]:
    """Of two nested values, the largest difference of their numbers, and where; infinite where anything else differs,
    such as a length, a text or NaN beside a number."""
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        parts = [(found[key], expected[key], f"{place}.{key}" if place else str(key)) for key in expected]
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        parts = [(one, other, place) for one, other in zip(found, expected, strict=True)]
    elif isinstance(expected, float) and isinstance(found, float):
        if math.isnan(expected) and math.isnan(found) or found == expected:
            return 0.0, place
        difference = abs(found - expected)
        return (math.inf if math.isnan(difference) else difference), place
    else:
        return (0.0 if type(found) is type(expected) and found == expected else math.inf), place
    return max((largest_difference(*part) for part in parts), key=lambda part: part[0], default=(0.0, place))


def _draw_pictures(folder: Path) -> list[str]:
    """Two pictures of different size, the same ones every time."""
    paths = []
    for name, size in (("one.png", (96, 96)), ("two.png", (120, 101))):
        noise = np.random.default_rng(len(paths)).integers(0, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(folder / name)
        paths.append(str(folder / name))
    return paths
