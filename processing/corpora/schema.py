"""One schema for every corpus: a row is one face, and `subject_id` is what every split goes by."""

import json

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Features, Image, Value


def face_features(action_units: list[str] | tuple[str, ...]) -> Features:
    """Features of a corpus that codes `action_units` (names such as "AU12").

    `action_units` is a struct of float32: intensity 0..5 or occurrence 0/1 as the corpus codes it, null = not coded.
    `activity` is a key of prompts_clef's tables or null, `expression` a name or null.
    """
    return Features(
        {
            "image": Image(),
            "corpus": Value("string"),
            "subject_id": Value("string"),
            "sequence_id": Value("string"),
            "frame": Value("int32"),
            "activity": Value("string"),
            "expression": Value("string"),
            "action_units": {name: Value("float32") for name in action_units},
        }
    )


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


def action_unit_labels(dataset: Dataset, labels: list[str], threshold: float = 2.0) -> np.ndarray:
    """(N, K) float32 in {0, 1, NaN}: whether each of `labels` (names such as "AU12") occurs; NaN = not coded.

    Intensity-coded corpora count an AU from `threshold` on; occurrence-coded ones are taken as they are.
    Raises ValueError for a label that the corpus does not know and for a coding it does not know.
    """
    coding = corpus_metadata(dataset).get("action_unit_coding")
    if coding not in ("intensity", "occurrence"):
        raise ValueError(
            f"action_unit_coding is {coding!r} in the corpus' metadata; expected 'intensity' or 'occurrence'"
        )
    known = list(dataset.features["action_units"])
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ValueError(f"the corpus does not code {unknown}; it codes {known}")
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


def _arrow_column(dataset: Dataset, name: str):
    # Through the data set rather than its table, so that select and filter are honoured.
    column = dataset.select_columns([name]).with_format("arrow")[:].column(name).combine_chunks()
    return column.chunk(0) if hasattr(column, "chunk") else column
