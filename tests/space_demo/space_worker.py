"""Serves the demonstration as a Space does: the folder and a checkpoint, none of the project's packages.

Usage: python -I space_worker.py FOLDER STREAM_SECONDS
"""

import importlib.abc
import runpy
import sys

PROJECT = ("analysis", "clef", "hub_cards", "modeling_clef", "processing", "train_scripts")


class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in PROJECT:
            raise ImportError(f"{name} is not on a Space")
        return None


sys.meta_path.insert(0, Refuse())
folder, stream_seconds = sys.argv[1:]
sys.path.insert(0, folder)

import torch  # noqa: E402

from clef_space import limits  # noqa: E402

torch.set_num_threads(1)
limits.STREAM_SECONDS = int(stream_seconds)
runpy.run_path(f"{folder}/app.py", run_name="__main__")
