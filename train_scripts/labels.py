"""Label sets of a corpus: which labels, in which words, and every row's values."""

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from modeling_clef import build_label_set
from processing import CLEFProcessor
from processing.corpora import action_unit_labels, expression_labels
from processing.corpora.schema import (
    action_unit_names,
    coded_action_units,
    own_label_columns,
    own_label_matrix,
    own_words,
)
from processing.prompts_clef import ACTION_UNITS, EXPRESSIONS
from train_scripts.label_texts import LabelTexts, described, known_text
from train_scripts.probes import KINDS

PROBLEM_TYPES = {name: f"{kind}_classification" for name, kind in KINDS.items()}


def corpus_label_names(corpus: Dataset, set_name: str) -> list[str]:
    """The labels of a set that this corpus codes at least once, in the order of the project's tables, then those in
    words of one's own. Sets: "action_units", "expression", and columns of words of one's own."""
    if set_name == "action_units":
        present = set(coded_action_units(corpus))
        return [name for name in ACTION_UNITS if name in present]
    if set_name == "expression":
        present = set(corpus.unique("expression")) - {None}
        return [name for name in EXPRESSIONS if name in present] + sorted(present - set(EXPRESSIONS))
    words = [name for name, kind in own_label_columns(corpus).items() if kind == "word"]
    if set_name in words:
        return own_words(corpus, set_name)
    raise ValueError(f"label set: got {set_name!r}, expected one of {', '.join([*PROBLEM_TYPES, *words])}.")


def problem_type(corpus: Dataset, set_name: str) -> str:
    """Of a label set of this corpus: one of one's own is single-label if a column of words has its name."""
    if set_name in PROBLEM_TYPES:
        return PROBLEM_TYPES[set_name]
    single = own_label_columns(corpus).get(set_name) == "word"
    return f"{'single' if single else 'multi'}_label_classification"


def make_label_sets(
    corpus: Dataset,
    set_names: list[str],
    processor: CLEFProcessor,
    phrasings: bool = False,
    action_units: Sequence[str] = (),
    texts: LabelTexts | None = None,
) -> list[dict]:
    """Label sets for `CLEFConfig.label_sets`, worded by the processor's templates and the project's tables.

    Args:
        phrasings: training also shows the labels in the everyday phrasings of `prompts_clef`.
        action_units: those that a protocol is about; default: all that the corpus codes.
        texts: other words for labels, and which labels a set of one's own has. A set with a label that nothing
            describes has no descriptions.

    Raises:
        ValueError: the corpus codes no label of a set, or not all of `action_units`.
    """
    sets = []
    for set_name in set_names:
        words = (texts or {}).get(set_name) or {}
        labels = corpus_label_names(corpus, set_name) if set_name == "action_units" or not words else list(words)
        wanted = list(action_units) or list(words)
        if set_name == "action_units" and wanted:
            uncoded = [name for name in wanted if name not in labels]
            if uncoded:
                known = ", ".join(labels) or "none"
                raise ValueError(f"action_units: the corpus does not code {', '.join(uncoded)}, only {known}.")
            labels = [name for name in labels if name in wanted]
        if not labels:
            raise ValueError(f"the corpus codes no label of {set_name!r}: leave the set out of --label_sets.")
        words = {label: words.get(label) or known_text(label) for label in labels}
        names = {label: text.name for label, text in words.items()}
        descriptions = {label: text.description for label, text in words.items()}
        sets.append(
            build_label_set(
                set_name,
                labels,
                problem_type(corpus, set_name),
                processor.label_prompts(names),
                processor.tokenizer,
                descriptions=processor.description_prompts(descriptions) if described(words) else None,
                phrasings=processor.phrasing_prompts(names) if phrasings else None,
            )
        )
    return sets


def corpus_labels(corpus: Dataset, set_name: str, labels: list[str]) -> np.ndarray:
    """Float32 (rows, labels) in {0, 1}, NaN where unknown; an action unit that the corpus does not code is NaN
    throughout.

    Raises:
        ValueError: a set of one's own that the corpus does not have.
    """
    if set_name == "expression":
        return expression_labels(corpus, labels)
    if set_name != "action_units":
        single = problem_type(corpus, set_name).startswith("single")
        return own_label_matrix(corpus, labels, set_name if single else None)
    names = action_unit_names(corpus)
    coded = [i for i, label in enumerate(labels) if label in names]
    values = np.full((len(corpus), len(labels)), np.nan, dtype=np.float32)
    if coded:
        values[:, coded] = action_unit_labels(corpus, [labels[i] for i in coded])
    return values


def label_matrix(corpus: Dataset, label_sets: list[dict]) -> np.ndarray:
    """`corpus_labels` of all sets side by side, (rows, K) in the order of the model's logits."""
    return np.concatenate([corpus_labels(corpus, s["name"], s["labels"]) for s in label_sets], axis=1)


def balancing_weights(labels: np.ndarray, problem_type: str, limit: float = 10.0) -> list[float]:
    """One weight a label from its known rows: negatives over positives for a multi-label set (the weight of its
    positives), inverse frequency with mean 1 over the labels seen for a single-label set; at most `limit`."""
    known = ~np.isnan(labels)
    positives = np.where(known, labels, 0).sum(axis=0)
    total = known.sum(axis=0)
    if problem_type == "multi_label_classification":
        weights = (total - positives) / np.maximum(positives, 1)
        return np.clip(weights, 1 / limit, limit).tolist()
    weights = np.where(positives > 0, total / np.maximum(positives, 1), 0)
    weights = weights / weights[positives > 0].mean() if (positives > 0).any() else np.ones_like(weights)
    return np.where(positives > 0, np.clip(weights, 1 / limit, limit), 1.0).tolist()


def with_known_labels(corpus: Dataset, label_sets: list[dict]) -> Dataset:
    """The frames of which at least one label of these sets is known.

    Raises:
        ValueError: there is none.
    """
    known = ~np.isnan(label_matrix(corpus, label_sets)).all(axis=1)
    if not known.any():
        names = ", ".join(label_set["name"] for label_set in label_sets)
        raise ValueError(f"none of {len(corpus)} frames has a label of {names}: check the split and the label sets.")
    return corpus if known.all() else corpus.select(np.flatnonzero(known))
