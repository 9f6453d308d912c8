"""One schema for every corpus: a row is one face, and `subject_id` is what every split goes by."""

import json

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Features, Image, Value

# What a column of one's own labels holds → how it is stored.
OWN_LABELS = {"occurrence": "float32", "word": "string"}


def face_features(
    action_units: list[str] | tuple[str, ...],
    groups: list[str] | tuple[str, ...] = (),
    own_labels: dict[str, str] | None = None,
) -> Features:
    """Features of a corpus that codes `action_units` (names such as "AU12"), which may be none.

    `action_units` is a struct of float32: intensity 0..5 or occurrence 0/1 as the corpus codes it, null = not coded.
    Corpora that code none have no such column: Parquet cannot hold a struct without fields. `activity` is a key of
    prompts_clef's tables or null, `expression` a name or null. Corpora that say something about their people, such as
    their gender, have a further column `groups`, a struct of strings keyed by `groups`. Those with labels of one's own
    have `own_labels`, a struct of float32 (0 or 1) for what is "occurrence" and of strings for what is "word".
    """
    features = {
        "image": Image(),
        "corpus": Value("string"),
        "subject_id": Value("string"),
        "sequence_id": Value("string"),
        "frame": Value("int32"),
        "activity": Value("string"),
        "expression": Value("string"),
    }
    if action_units:
        features["action_units"] = {name: Value("float32") for name in action_units}
    if groups:
        features["groups"] = {name: Value("string") for name in groups}
    if own_labels:
        features["own_labels"] = {name: Value(OWN_LABELS[kind]) for name, kind in own_labels.items()}
    return Features(features)


def corpus_metadata(dataset: Dataset) -> dict:
    """What the corpus says about itself: "corpus", "crop_recipe", "action_unit_coding", "options", ...

    It is JSON in `dataset.info.description`, so that it survives filter, select and save_to_disk.
    Raises ValueError when the data set does not carry it.
    """
    description = dataset.info.description
    try:
        metadata = json.loads(description)
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict) or "corpus" not in metadata:
        raise ValueError(
            f"the data set's description is {description[:80]!r}, not the JSON that load_corpus writes; load the "
            "corpus with load_corpus, or put dict(corpus=…, crop_recipe=…, action_unit_coding=…) there as JSON "
            "(concatenating corpora with different metadata mixes their descriptions)"
        )
    return metadata


def action_unit_names(dataset: Dataset) -> list[str]:
    """The AUs that the corpus has a column for, in its order; none for a corpus that codes none."""
    return list(dataset.features.get("action_units", ()))


def coded_action_units(dataset: Dataset) -> list[str]:
    """Those of `action_unit_names` that at least one row of the data set codes."""
    names = action_unit_names(dataset)
    if not names or not len(dataset):
        return []
    column = _arrow_column(dataset, "action_units")
    return [name for name in names if pc.struct_field(column, name).null_count < len(column)]


def action_unit_labels(dataset: Dataset, labels: list[str], threshold: float = 2.0) -> np.ndarray:
    """(N, K) float32 in {0, 1, NaN}: whether each of `labels` (names such as "AU12") occurs; NaN = not coded.

    Intensity-coded corpora count an AU from `threshold` on; occurrence-coded ones are taken as they are.
    Raises ValueError for a label that the corpus does not know and for a coding it does not know.
    """
    known = action_unit_names(dataset)
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ValueError(f"the corpus does not code {unknown}; it codes {known or 'no action units'}")
    coding = corpus_metadata(dataset).get("action_unit_coding")
    if coding not in ("intensity", "occurrence"):
        raise ValueError(
            f"action_unit_coding is {coding!r} in the corpus' metadata; expected 'intensity' or 'occurrence'"
        )
    column = _arrow_column(dataset, "action_units")
    values = np.full((len(dataset), len(labels)), np.nan, dtype=np.float32)
    for index, label in enumerate(labels):
        values[:, index] = pc.struct_field(column, label).to_numpy(zero_copy_only=False)
    coded = ~np.isnan(values)
    if coding == "intensity":
        values[coded] = values[coded] >= threshold
    elif not np.isin(values[coded], (0, 1)).all():
        raise ValueError("the corpus says that its AUs are coded as occurrence, yet holds values other than 0 and 1")
    return values


def expression_labels(dataset: Dataset, labels: list[str]) -> np.ndarray:
    """(N, K) one-hot float32 over `labels`; a row whose expression is null or not among `labels` is all NaN."""
    position = {label: index for index, label in enumerate(labels)}
    names = _arrow_column(dataset, "expression").to_pylist()
    values = np.full((len(names), len(labels)), np.nan, dtype=np.float32)
    for row, name in enumerate(names):
        if name in position:
            values[row] = 0
            values[row, position[name]] = 1
    return values


def own_label_columns(dataset: Dataset) -> dict[str, str]:
    """Columns of one's own labels → what they hold, "occurrence" or "word"; none for other corpora."""
    kinds = {stored: kind for kind, stored in OWN_LABELS.items()}
    return {name: kinds[value.dtype] for name, value in dataset.features.get("own_labels", {}).items()}


def own_words(dataset: Dataset, column: str) -> list[str]:
    """The words of a column of words that occur, in alphabetical order."""
    return sorted({word for word in own_values(dataset, column) if word is not None})


def own_values(dataset: Dataset, column: str) -> list[float | str | None]:
    """A column of one's own labels, row by row; None = not coded."""
    if not len(dataset):
        return []
    return pc.struct_field(_arrow_column(dataset, "own_labels"), column).to_pylist()


def own_label_matrix(dataset: Dataset, labels: list[str], column: str | None = None) -> np.ndarray:
    """(N, K) float32 in {0, 1, NaN} of one's own labels; NaN = not coded.

    Args:
        column: a column of words of which one holds; a row whose word is none of `labels` is all NaN. None: `labels`
            are columns of 0 and 1 themselves.

    Raises ValueError for columns that the corpus does not have or that hold something else.
    """
    known, kind = own_label_columns(dataset), "occurrence" if column is None else "word"
    unknown = [name for name in (labels if column is None else [column]) if known.get(name) != kind]
    if unknown:
        raise ValueError(f"the corpus has no columns of {kind}s {unknown}; its own labels are {known or 'none'}")
    values = np.full((len(dataset), len(labels)), np.nan, dtype=np.float32)
    if column is None:
        for index, label in enumerate(labels):
            values[:, index] = [np.nan if value is None else value for value in own_values(dataset, label)]
        return values
    position = {label: index for index, label in enumerate(labels)}
    for row, word in enumerate(own_values(dataset, column)):
        if word in position:
            values[row] = 0
            values[row, position[word]] = 1
    return values


def _arrow_column(dataset: Dataset, name: str):
    # Through the data set rather than its table, so that select and filter are honoured.
    column = dataset.select_columns([name]).with_format("arrow")[:].column(name).combine_chunks()
    return column.chunk(0) if hasattr(column, "chunk") else column
