"""The words of labels, from a YAML file: known labels in other words, and label sets of one's own.

    action_units:                # a set of the project in its own words: nothing more to say
    signals:                     # a set of one's own: columns of 0 and 1, each label on its own
      smirk: a smirk on one side of the mouth
      gaze_away:
        name: eyes that look away
        description: the irises are turned to the side or down, away from the camera
    engagement:                  # a column of words, of which one holds in each picture
      bored: a bored face
      interested: an interested face

A label without words is told in those of the project, or else by its own name. Descriptions are learned from where all
labels of a set have one.
"""

from pathlib import Path

import yaml

from processing.prompts_clef import ACTION_UNITS, EXPRESSIONS, LabelText

# Label set → label → its words. An empty set stands for all its labels that the corpus codes, in the known words.
LabelTexts = dict[str, dict[str, LabelText]]

KEYS = ("name", "description")
# What stands beside the label sets in metrics.json, or in what the pipeline returns.
TAKEN = ("data", "identity", "identity_skipped", "linear_probe", "box", "landmarks", "score", "quality", "labels")


def read_label_texts(path: str | Path) -> LabelTexts:
    """Reads such a file.

    Raises:
        FileNotFoundError: there is none. ValueError: it is no YAML, or says something else.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"{path}: got {_kind(content)}, expected label sets: 'signals:' and below it 'smirk: a smirk'."
        )
    texts = {}
    for set_name, labels in content.items():
        if not isinstance(set_name, str) or not isinstance(labels, dict | None):
            raise ValueError(
                f"{path}: got the label set {set_name!r} with {_kind(labels)}, expected labels below a name."
            )
        if set_name in TAKEN:
            raise ValueError(f"{path}: a label set cannot be called {set_name!r}; give it another name.")
        texts[set_name] = {_label(label, path): _text(label, words, path) for label, words in (labels or {}).items()}
    return texts


def write_label_texts(path: Path, texts: LabelTexts) -> None:
    """Writes all sets with all words, from which `read_label_texts` reads the same."""
    content = {
        name: {
            label: {"name": text.name} | ({"description": text.description} if text.description else {})
            for label, text in labels.items()
        }
        or None
        for name, labels in texts.items()
    }
    Path(path).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def known_text(label: str) -> LabelText:
    """The project's words for a known label; else the label itself, without description."""
    return ACTION_UNITS.get(label) or EXPRESSIONS.get(label) or LabelText(label.replace("_", " "), "")


def described(texts: dict[str, LabelText]) -> bool:
    """Whether every label of a set has a description, so that it is learned from them too."""
    return all(text.description for text in texts.values())


def _label(label, path: Path) -> str:
    # YAML reads yes, no, on and off as truth values, and 12 as a number.
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"{path}: got the label {label!r}, expected a name; put it in quotation marks.")
    return label


def _text(label: str, words, path: Path) -> LabelText:
    if isinstance(words, str):
        words = {"name": words}
    if words is None:
        return known_text(label)
    if not isinstance(words, dict) or not set(words) <= set(KEYS):
        raise ValueError(f"{path}: got {words!r} for {label!r}, expected its name, or {' and '.join(KEYS)} below it.")
    if any(not isinstance(text, str) or not text.strip() for text in words.values()):
        raise ValueError(f"{path}: got {words!r} for {label!r}, expected texts that are not empty.")
    known = known_text(label)
    return LabelText(words.get("name", known.name), words.get("description", known.description))


def _kind(content) -> str:
    return "nothing" if content is None else f"a {type(content).__name__}"
