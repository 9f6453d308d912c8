"""Which labels of one's own data are learned, and in which words."""

from datasets import Dataset

from processing.corpora.schema import own_label_columns
from processing.prompts_clef import closest
from train_scripts.label_texts import LabelTexts, known_text
from train_scripts.labels import PROBLEM_TYPES, corpus_label_names, problem_type

OWN_SET = "behaviours"  # what the columns of 0 and 1 are called together where nobody names a set


def columns_to_learn(
    known: dict[str, str], texts: LabelTexts | None, classes: list[str], notes: list[str]
) -> list[str]:
    """Which of the further columns of a `labels.csv` hold labels to learn.

    Args:
        known: column → "occurrence" or "word".
        texts: the label sets to learn; None: all columns of 0 and 1, and `classes`.
        classes: columns of words that are surely labels.
        notes: gets a line on what is left out.

    Raises:
        ValueError: labels of `texts` that have no column.
    """
    if texts is None:
        words = [name for name, kind in known.items() if kind == "word" and name not in classes]
        if words:
            notes.append(f"columns of words that are not learned, as no file of labels names them: {', '.join(words)}")
        return [name for name, kind in known.items() if kind == "occurrence" or name in classes]
    chosen = []
    for set_name, labels in texts.items():
        if set_name in PROBLEM_TYPES:
            continue
        if known.get(set_name) == "word":
            chosen.append(set_name)
            continue
        if not labels:
            raise ValueError(f"the label set {set_name!r} names no labels, and no column of words is called so.")
        missing = [label for label in labels if known.get(label) != "occurrence"]
        if missing:
            near = closest(missing[0], [name for name in known if name not in labels])
            hint = f"; did you mean {' or '.join(near)}?" if near else "."
            there = ", ".join(
                f"{name} ({'0 and 1' if kind == 'occurrence' else 'words'})" for name, kind in known.items()
            )
            raise ValueError(
                f"the labels {', '.join(missing)} of {set_name!r} have no columns of 0 and 1, and no column of words "
                f"is called {set_name!r}{hint} There are: {there or 'none'}."
            )
        chosen += labels
    return list(dict.fromkeys(chosen))


def choose_labels(
    everyone: Dataset, texts: LabelTexts | None, notes: list[str], classes: list[str] | None = None
) -> LabelTexts:
    """The label sets with every label and its words. Arguments as in `columns_to_learn`.

    Raises:
        ValueError: nothing to learn, labels of `texts` that the data do not have, or words that differ in upper and
            lower case only.
    """
    columns = own_label_columns(everyone)
    chosen = columns_to_learn(columns, texts, classes or [], notes)
    if texts is None:
        wanted: LabelTexts = {name: {} for name in PROBLEM_TYPES if corpus_label_names(everyone, name)}
        alone = {name: known_text(name) for name in chosen if columns[name] == "occurrence"}
        wanted |= ({OWN_SET: alone} if alone else {}) | {name: {} for name in chosen if columns[name] == "word"}
        if not wanted:
            raise ValueError(
                "there is nothing to learn: expected a column such as AU12, a column expression, or one called as a "
                "label with cells of 0 and 1. Other columns of words need a file of labels that names them."
            )
    else:
        wanted = texts
    return {name: _complete(everyone, name, labels, notes) for name, labels in wanted.items()}


def _complete(everyone: Dataset, set_name: str, labels: dict, notes: list[str]) -> dict:
    """All labels of a set with their words."""
    if set_name in PROBLEM_TYPES or problem_type(everyone, set_name).startswith("single"):
        present = corpus_label_names(everyone, set_name)
        _refuse_two_spellings(set_name, present)
        if not present:
            raise ValueError(f"no picture has a label of {set_name!r}, which is to be learned.")
        unknown = [label for label in labels if label not in present]
        if unknown and set_name == "action_units":
            raise ValueError(f"no picture codes {', '.join(unknown)}; there are: {', '.join(present)}.")
        if unknown:
            notes.append(f"{set_name}: no picture is {', '.join(unknown)}")
        ignored = [label for label in present if labels and label not in labels]
        if ignored:
            notes.append(f"{set_name}: {', '.join(ignored)} not learned, as the file of labels leaves them out")
        labels = labels or {label: known_text(label) for label in present}
    undescribed = [label for label, text in labels.items() if not text.description]
    if 0 < len(undescribed) < len(labels):
        notes.append(f"{set_name}: learned from names alone, as {', '.join(undescribed)} have no description")
    return dict(labels)


def _refuse_two_spellings(set_name: str, words: list[str]) -> None:
    spellings: dict[str, str] = {}
    for word in words:
        other = spellings.setdefault(word.lower(), word)
        if other != word:
            raise ValueError(f"{set_name}: got both {other!r} and {word!r}, expected one spelling; correct the table.")


__all__ = ["OWN_SET", "choose_labels", "columns_to_learn"]
