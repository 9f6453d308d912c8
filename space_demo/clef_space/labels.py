"""The labels of a checkpoint, in the order in which they lie on a face."""

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
    """column: of the probabilities. name: in words; description: what it looks like, "" where unknown.
    threshold: probability from which it counts as there; None where exactly one label of the group holds.
    """

    column: int
    group: str
    label: str
    name: str
    description: str
    threshold: float | None

    @property
    def region(self) -> str:
        return next((region for region, labels in REGIONS.items() if self.label in labels), OTHERS)

    @property
    def is_action_unit(self) -> bool:
        return self.threshold is not None


def anatomical(labels: list[Label]) -> list[Label]:
    """Upper face to lower; labels that are no known action units come last, in their order."""
    return sorted(labels, key=lambda one: _ORDER.index(one.label) if one.label in _ORDER else len(_ORDER))


def labels_of(config, texts) -> list[Label]:
    """Args: config: of the checkpoint. texts: label → (name, description), of the checkpoint's prompts."""
    found, column = [], 0
    for label_set in config.label_sets:
        exclusive = label_set["problem_type"].startswith("single")
        for position, label in enumerate(label_set["labels"]):
            name, description = texts.get(label, (label_set["names"][position], ""))
            threshold = None if exclusive else float(label_set["thresholds"][position])
            found.append(Label(column, label_set["name"], label, name, description, threshold))
            column += 1
    return found
