"""What a model was trained on and what it started from, run by run."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from hub_cards.data_sets import data_set
from hub_cards.measured import Measured
from modeling_clef.sentence_encoder_clef import MINILM

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# Folders that the scripts write to: "outputs/pretrain" has the shape of a Hub id and is none.
OWN_FOLDERS = ("outputs", "checkpoints")


@dataclass(frozen=True)
class Lineage:
    """corpora: names, the last training first. base_models: Hub ids. foreign_vision: the vision tower began as
    somebody else's. unknown_start: it began as a local checkpoint that is no longer there."""

    corpora: tuple[str, ...]
    base_models: tuple[str, ...]
    foreign_vision: bool = False
    unknown_start: bool = False

    @property
    def drawn_only(self) -> bool:
        """Whether it has seen no photograph of anybody."""
        return all(data_set(name).drawn for name in self.corpora) and not (self.foreign_vision or self.unknown_start)


def lineage_of(measured: Measured) -> Lineage:
    """Follows `init_from` through local run folders until towers or a Hub id are reached.

    A `base_model` in card.yaml stands in place of the Hub ids that are found.
    """
    lineage = _follow(measured.recipe)
    encoder = (measured.config.get("sentence_encoder") or {}).get("repo_id")
    base = [encoder] if encoder else []
    base += [name for name in lineage.base_models if name not in base]
    if "base_model" in measured.facts:
        base = measured.facts["base_model"]
        base = [base] if isinstance(base, str) else base
    return Lineage(lineage.corpora, tuple(base), lineage.foreign_vision, lineage.unknown_start)


def is_hub_id(value: str) -> bool:
    """Whether a checkpoint's name is one on the Hub rather than a folder."""
    return bool(HUB_ID.fullmatch(value)) and value.split("/")[0] not in OWN_FOLDERS and not Path(value).exists()


def _follow(recipe: dict) -> Lineage:
    corpus = (recipe["corpus"],) if recipe.get("corpus") else ()
    # The recipe of real_faces.py keeps the options of the towers together.
    options = recipe | (recipe.get("towers") or {})
    start = options.get("init_from")
    if start is None:
        vision, text = options.get("vision_tower") or "", options.get("text_tower") or ""
        text = MINILM["repo_id"] if text == "minilm" else text
        towers = tuple(name for name in (vision, text) if is_hub_id(name))
        return Lineage(corpus, towers, foreign_vision="/" in vision)
    if is_hub_id(start):
        return Lineage(corpus, (start,), foreign_vision=True)
    path = Path(start) / "recipe.yaml"
    if not path.is_file():
        return Lineage(corpus, (), unknown_start=True)
    before = _follow(yaml.safe_load(path.read_text(encoding="utf-8")))
    corpora = corpus + tuple(name for name in before.corpora if name not in corpus)
    return Lineage(corpora, before.base_models, before.foreign_vision, before.unknown_start)
