"""Label sets of a corpus: which labels, in which words, and every row's values."""

import numpy as np
from datasets import Dataset

from modeling_clef import build_label_set
from processing import CLEFProcessor
from processing.corpora import action_unit_labels, expression_labels
from processing.prompts_clef import ACTION_UNITS, EXPRESSIONS
from train_scripts.probes import KINDS

PROBLEM_TYPES = {name: f"{kind}_classification" for name, kind in KINDS.items()}


def corpus_label_names(corpus: Dataset, set_name: str) -> list[str]:
    """The labels of a set that this corpus codes at least once, in the order of the project's tables."""
    if set_name == "action_units":
        coded = corpus.features["action_units"]
        column = corpus.data.column("action_units").combine_chunks()
        present = {name for name in coded if column.field(name).null_count < len(corpus)}
        return [name for name in ACTION_UNITS if name in present]
    if set_name == "expression":
        present = set(corpus.unique("expression"))
        return [name for name in EXPRESSIONS if name in present]
    raise ValueError(f"label set: got {set_name!r}, expected one of {', '.join(PROBLEM_TYPES)}.")


def make_label_sets(
    corpus: Dataset, set_names: list[str], processor: CLEFProcessor, phrasings: bool = False
) -> list[dict]:
    """Label sets for `CLEFConfig.label_sets`, worded by the processor's templates and the project's tables.

    Args:
        phrasings: training also shows the labels in the everyday phrasings of `prompts_clef`.

    Raises:
        ValueError: the corpus codes no label of a set.
    """
    sets = []
    for set_name in set_names:
        labels = corpus_label_names(corpus, set_name)
        if not labels:
            raise ValueError(f"the corpus codes no label of {set_name!r}: leave the set out of --label_sets.")
        sets.append(
            build_label_set(
                set_name,
                labels,
                PROBLEM_TYPES[set_name],
                processor.label_prompts(labels),
                processor.tokenizer,
                descriptions=processor.description_prompts(labels),
                phrasings=processor.phrasing_prompts(labels) if phrasings else None,
            )
        )
    return sets


def corpus_labels(corpus: Dataset, set_name: str, labels: list[str]) -> np.ndarray:
    """Float32 (rows, labels) in {0, 1}, NaN where unknown; an action unit that the corpus does not code is NaN
    throughout."""
    if set_name == "expression":
        return expression_labels(corpus, labels)
    coded = [i for i, label in enumerate(labels) if label in corpus.features["action_units"]]
    values = np.full((len(corpus), len(labels)), np.nan, dtype=np.float32)
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
