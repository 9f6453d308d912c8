"""The project's own `evaluate` metric modules, loaded from this folder without the network."""

from pathlib import Path

import evaluate


def load_metric(name: str) -> evaluate.EvaluationModule:
    """Loads `action_units` or `expression`; raises ValueError for a name that has no folder here."""
    folder = Path(__file__).resolve().parent / name
    if not (folder / f"{name}.py").is_file():
        known = sorted(path.parent.name for path in folder.parent.glob("*/*.py"))
        raise ValueError(f"There is no metric {name!r} in {folder.parent}; known metrics are {known}.")
    # In memory: several processes on one file system would otherwise share a cache file.
    return evaluate.load(str(folder), module_type="metric", keep_in_memory=True)
