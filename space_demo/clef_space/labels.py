"""The labels of a checkpoint, in its label sets and in the order in which they lie on a face."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Upper face to lower; within a region as the eye travels.
REGIONS = {
    "Brows": ("AU1", "AU2", "AU4"),
    "Eyes": ("AU5", "AU7", "AU45", "AU43"),
    "Cheeks and nose": ("AU6", "AU9", "AU11"),
    "Lips and mouth corners": (
        "AU10", "AU12", "AU13", "AU14", "AU18", "AU20", "AU22", "AU23", "AU24", "AU25", "AU28", "AU15", "AU16",
    ),
    "Chin and jaw": ("AU17", "AU26", "AU27"),
}  # fmt: skip
OTHERS = "Others"
_ORDER = [label for labels in REGIONS.values() for label in labels]


@dataclass(frozen=True)
class Label:
    """column: of the probabilities. group: name of its label set. name: in words; description: what it looks like, ""
    where unknown. threshold: probability from which it counts as there; None where exactly one label of the set holds.
    key: what tables call it, other than `label` where label sets share labels.
    """

    column: int
    group: str
    label: str
    name: str
    description: str
    threshold: float | None
    key: str = ""

    @property
    def region(self) -> str:
        """Under which heading it stands; labels of one's own under their label set's."""
        others = OTHERS if self.group == "action_units" else title_of(self.group)
        return next((region for region, labels in REGIONS.items() if self.label in labels), others)

    @property
    def code(self) -> str:
        """Of an action unit, such as AU12; "" of other labels."""
        return self.label if re.fullmatch(r"AU\d+\w*", self.label) and self.label != self.name else ""


@dataclass(frozen=True)
class LabelSet:
    """exclusive: exactly one label holds."""

    name: str
    exclusive: bool
    labels: tuple[Label, ...]

    @property
    def title(self) -> str:
        return title_of(self.name)

    def best(self, scores) -> Label:
        return max(self.labels, key=lambda label: scores[label.column])


def title_of(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def anatomical(labels: list[Label]) -> list[Label]:
    """Upper face to lower; labels that are no known action units come last, in their order."""
    return sorted(labels, key=lambda one: _ORDER.index(one.label) if one.label in _ORDER else len(_ORDER))


def label_sets_of(config, texts: Mapping, template: str = "{}") -> list[LabelSet]:
    """Args: config: of the checkpoint. texts: label → (name, description), of the checkpoint's prompts. template: what
    its label texts were put into, which is not shown.
    """
    start, _, end = template.partition("{}")
    sets, column = [], 0
    for label_set in config.label_sets:
        exclusive, labels = label_set["problem_type"].startswith("single"), []
        for position, label in enumerate(label_set["labels"]):
            words = label_set["names"][position].removeprefix(start).removesuffix(end)
            name, description = _texts(label_set["name"], label, words, texts)
            threshold = None if exclusive else float(label_set["thresholds"][position])
            key = config.id2label[column]
            labels.append(Label(column, label_set["name"], label, name, description, threshold, key))
            column += 1
        sets.append(LabelSet(label_set["name"], exclusive, tuple(labels)))
    return sets


def _texts(group: str, label: str, words: str, texts: Mapping) -> tuple[str, str]:
    """Name and description. A label of one's own is called what the data call it, and described by the words that the
    model was told."""
    if label in texts and (group in ("action_units", "expression") or words == texts[label][0]):
        return texts[label]
    name = label.replace("_", " ")
    return name, words if words not in (name, f"a {name}", f"an {name}") else ""
