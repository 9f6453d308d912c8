"""What is published of a run folder or checkpoint: a folder that says and holds all that others need, and no more."""

import fnmatch
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

import modeling_clef
import processing
from hub_cards.model_card import check_model_card, write_model_card
from hub_cards.sections_training import published_recipe
from hub_cards.send import SHARD_SIZE, size_of
from modeling_clef import CLEFConfig
from modeling_clef.version_clef import VERSION
from processing import CLEFProcessor

ARCHITECTURES = ("CLEFModel", "CLEFForPreTraining", "CLEFForImageClassification")
MEASURED = ("metrics.json", "results.json")
FACTS = "card.yaml"
# Names subjects: the card is made with it, and it stays here.
PREDICTIONS = "predictions.parquet"
# Fields of what `evaluate_photos.py` measured that name files, which may be called like the people in them.
NAMING_FILES = ("failures", "several_faces", "unlisted_pictures")
# An absolute path in a sentence and its last part; it is taken to end where a blank does. No address, and not 1/2/3.
NAME = r"[^\s/\\'\"`,;:()]"
PATH_WITHIN = re.compile(rf"(?<![\w.~:/\\])(?:/|[A-Za-z]:[/\\])(?:{NAME}+[/\\])+({NAME}*(?!\.){NAME})?")
# Files that `assemble` may write, as a repository may still hold them of an earlier push.
WRITTEN = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*_clef.py",
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
    "calibration.png",
    "recipe.yaml",
    *MEASURED,
    FACTS,
)


@dataclass(frozen=True)
class Assembled:
    """files: their names. left_out: names of what else the run folder holds, folders with a slash at the end.
    shortened: how many local paths were cut to their last part. parameters: of the model."""

    folder: Path
    files: tuple[str, ...]
    left_out: tuple[str, ...]
    shortened: int
    parameters: int


def assemble(run: Path, target: Path, repo_id: str | None = None, max_shard_size: str = SHARD_SIZE) -> Assembled:
    """Writes what is published of `run` into the empty folder `target`.

    That is the model as safetensors, its configuration (label sets, thresholds and temperatures in it), processor and
    tokenizer, all flat code files of this version, the card with its plot, the recipe and what was measured. All else
    stays where it is, as checkpoints to resume from and predictions, which name subjects. Of photographs that something
    was found in, metrics.json tells how many, not their file names.

    Args:
        repo_id: what the card's snippets name, and where it will be; None: a draft, see `write_model_card`.
        max_shard_size: larger models are cut into several files.

    Raises:
        FileNotFoundError, ValueError: no run of CLEF, weights that are missing or of other shapes, or a card that
            lacks a fact (see `write_model_card`).
    """
    run, target = Path(run), Path(target)
    architecture = _architecture(run)
    # Of the run, so that what is said to be missing can be put there.
    check_model_card(run, repo_id)
    parameters = _write_model(run, architecture, target, max_shard_size)
    CLEFProcessor.from_pretrained(run).save_pretrained(target)
    for package in (modeling_clef, processing):
        for path in sorted(Path(package.__file__).parent.glob("*_clef.py")):
            shutil.copy(path, target / path.name)
    there = [name for name in (*MEASURED, FACTS, PREDICTIONS, "recipe.yaml") if (run / name).is_file()]
    for name in there:
        shutil.copy(run / name, target / name)
    texts = [target / name for name in ("config.json", *MEASURED) if (target / name).is_file()]
    shortened = sum(_shorten(path, _without_paths) for path in texts)
    # Before whole paths are cut: whose model it started from is found by them.
    write_model_card(target, repo_id)
    (target / PREDICTIONS).unlink(missing_ok=True)
    recipe = yaml.safe_load((target / "recipe.yaml").read_text(encoding="utf-8"))
    (target / "recipe.yaml").write_text(yaml.safe_dump(published_recipe(recipe), sort_keys=False), encoding="utf-8")
    _count_named_files(target / "metrics.json")
    shortened += sum(_shorten(path, _last_part) for path in texts)
    files = sorted(path.name for path in target.iterdir())
    for name in files:
        # safetensors are written for their owner alone; everyone may read what is published.
        os.chmod(target / name, 0o644)
    others = [
        path.name + ("/" if path.is_dir() else "") for path in sorted(run.iterdir()) if not _is_written(path.name)
    ]
    return Assembled(target, tuple(files), tuple(others), shortened, parameters)


def _is_written(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in WRITTEN)


def _architecture(run: Path) -> str:
    """Raises FileNotFoundError, ValueError unless the run's configuration is of a model of CLEF."""
    if not (run / "config.json").is_file():
        raise FileNotFoundError(f"{run} holds no config.json; expected a run folder or checkpoint.")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != CLEFConfig.model_type:
        raise ValueError(f"{run} holds a model of type {config.get('model_type')!r}, expected 'clef'.")
    (name,) = config.get("architectures") or [None]
    if name not in ARCHITECTURES:
        raise ValueError(f"{run / 'config.json'}: got the architecture {name!r}, expected one of {ARCHITECTURES}.")
    return name


def _write_model(run: Path, architecture: str, target: Path, max_shard_size: str) -> int:
    try:
        model, report = getattr(modeling_clef, architecture).from_pretrained(
            run, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except OSError as error:
        raise FileNotFoundError(f"{run} holds no weights as safetensors: {error}") from error
    wrong = {kind: sorted(map(str, keys)) for kind, keys in report.items() if keys}
    if wrong:
        raise ValueError(f"the weights in {run} are not this model's: {wrong}.")
    model.save_pretrained(target, max_shard_size=max_shard_size)
    return sum(p.numel() for p in model.parameters())


def _count_named_files(path: Path) -> None:
    """Puts their number in the place of file names of photographs."""
    metrics = json.loads(path.read_text(encoding="utf-8"))
    data = (metrics.get("photographs") or {}).get("data") or {}
    for field in NAMING_FILES:
        # A checkpoint that was published before has the number already.
        if isinstance(data.get(field), (dict, list)):
            data[field] = len(data[field])
    path.write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _shorten(path: Path, shorten: Callable[[str], str]) -> int:
    """Shortens the texts of a JSON file; returns how many changed."""
    count = 0

    def visit(value: Any) -> Any:
        nonlocal count
        if isinstance(value, dict):
            return {key: visit(part) for key, part in value.items()}
        if isinstance(value, list):
            return [visit(part) for part in value]
        if not isinstance(value, str) or shorten(value) == value:
            return value
        count += 1
        return shorten(value)

    content = visit(json.loads(path.read_text(encoding="utf-8")))
    if count:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return count


def _last_part(text: str) -> str:
    """Of a text that is an absolute path its last part, any other as it is."""
    return PurePath(text).name if PurePath(text).is_absolute() else text


def _without_paths(text: str) -> str:
    """A sentence with only the last part of each absolute path in it."""
    if PurePath(text).is_absolute():
        return text
    return PATH_WITHIN.sub(lambda found: found[1] or PurePath(found[0]).name, text)


def describe(assembled: Assembled) -> list[str]:
    """Lines for whoever pushes: what is in it, and what was left out."""
    size = size_of(assembled.folder) / 1e6
    weights = sum(name.endswith(".safetensors") for name in assembled.files)
    lines = [
        f"{len(assembled.files)} files, {size:.1f} MB: {assembled.parameters / 1e6:.2f} M parameters in {weights} "
        f"file{'s' * (weights > 1)}, code of CLEF {VERSION}, card, {', '.join(_extras(assembled))}"
    ]
    if assembled.left_out:
        lines.append(f"left out: {', '.join(assembled.left_out)}")
    if assembled.shortened:
        lines.append(f"texts with local paths, cut to their last part: {assembled.shortened}")
    return lines


def _extras(assembled: Assembled) -> list[str]:
    return [name for name in ("recipe.yaml", *MEASURED, "calibration.png") if name in assembled.files]
