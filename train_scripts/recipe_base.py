"""Recipes that stand on others: a YAML file whose key `base` names the file that it changes."""

import json
from pathlib import Path

import yaml


def read_recipe(path: str | Path) -> dict:
    """The mapping in a YAML file. If it has a key `base`, a path beside the file, then that recipe with this one's keys
    in place of its own: mappings are merged key by key, all else is replaced.

    Raises:
        OSError, yaml.YAMLError: it cannot be read. ValueError: it is no mapping, or stands on itself.
    """
    return _read(Path(path), ())


def recipe_flags(options: dict) -> list[str]:
    """Options of a recipe as command-line flags; None and an empty list mean that the default stays."""
    flags = []
    for name, value in options.items():
        if value is None or value == []:
            continue
        flags.append(f"--{name}")
        if isinstance(value, list):
            flags += map(str, value)
        else:
            flags.append(json.dumps(value) if isinstance(value, (dict, bool)) else str(value))
    return flags


def merged(base: dict, changes: dict) -> dict:
    """`base` with `changes`, mappings within mappings, too."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(result.get(key), dict) and isinstance(value, dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _read(path: Path, above: tuple[Path, ...]) -> dict:
    path = path.resolve()
    if path in above:
        raise ValueError(f"{path.name} stands on itself: {' → '.join(p.name for p in (*above, path))}.")
    recipe = yaml.safe_load(path.read_text()) or {}
    if not isinstance(recipe, dict):
        raise ValueError(f"{path.name}: got a {type(recipe).__name__}, expected lines of the form 'option: value'")
    base = recipe.pop("base", None)
    return merged(_read(path.parent / base, (*above, path)), recipe) if base else recipe
