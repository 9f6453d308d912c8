"""Label sets: plain dicts that live in the configuration, and the token tensors made of them."""

import math
from collections.abc import Sequence
from typing import Any

import torch

PROBLEM_TYPES = ("multi_label_classification", "single_label_classification")
# What a label set may lack: older ones do, and then it is None.
OPTIONAL = ("phrasing_tokens", "temperatures", "calibration_biases", "neutral_logits")
LONGEST_TEXT = 512  # tokenizers without a stated limit report an astronomic one


def build_label_set(
    name: str,
    labels: Sequence[str],
    problem_type: str,
    names: Sequence[str],
    tokenizer: Any,
    descriptions: Sequence[Sequence[str]] | None = None,
    phrasings: Sequence[Sequence[str]] | None = None,
) -> dict:
    """A label set for `CLEFConfig.label_sets`, its texts tokenized.

    Args:
        name: of the set, such as "action_units".
        labels: what predictions are called, such as "AU12".
        problem_type: "multi_label_classification" (sigmoid a label) or "single_label_classification" (softmax).
        names: one text a label that its embedding is made of, template included.
        tokenizer: the text tower's; texts are cut at its `model_max_length`, at most 512 tokens.
        descriptions: for each label its description, in each of several templates. Only training looks at them.
        phrasings: for each label any number of other texts for it, besides its name. Training draws one of them anew
            in every step for a loss of its own, so that texts never trained on are understood; logits are of names.

    Returns:
        dict with `name`, `problem_type`, `labels`, `names`, `name_tokens` (one string of token ids a label),
        `description_tokens` and `phrasing_tokens` (a list of such strings a label, or None), `thresholds` (.5 a label;
        decision thresholds fitted later replace them), `positive_weights` (None; one weight a label for its positives,
        or for its class in a single-label set), `temperatures` and `calibration_biases` (None; fitted later, one a
        label, see `calibration_clef`; a softmax has one temperature, so those of a single-label set are all equal),
        `neutral_logits` (None; fitted later in multi-label sets, one a label or None where unknown: the mean calibrated
        logit of faces that show none of the labels, against which `clef baseline` judges a person's own).

    Raises:
        ValueError: lengths that differ, an unknown problem type, empty or repeated labels.
    """
    label_set = {
        "name": name,
        "problem_type": problem_type,
        "labels": list(labels),
        "names": list(names),
        "name_tokens": _tokenize(names, tokenizer),
        "description_tokens": [_tokenize(texts, tokenizer) for texts in descriptions] if descriptions else None,
        "phrasing_tokens": [_tokenize(texts, tokenizer) for texts in phrasings] if phrasings else None,
        "thresholds": [0.5] * len(labels),
        "positive_weights": None,
        "temperatures": None,
        "calibration_biases": None,
        "neutral_logits": None,
    }
    validate_label_set(label_set)
    return label_set


def with_optional_keys(label_set: dict) -> dict:
    """A copy that has every key: what older label sets lack is None."""
    return {**label_set, **{key: label_set.get(key) for key in OPTIONAL}}


def validate_label_set(label_set: dict) -> None:
    """Raises ValueError unless `label_set` is what `build_label_set` describes."""
    expected = ("name", "problem_type", "labels", "names", "name_tokens", "description_tokens", "thresholds")
    missing = [key for key in (*expected, "positive_weights") if key not in label_set]
    if missing:
        raise ValueError(f"label set {label_set.get('name')!r} lacks {missing}; make it with build_label_set.")
    name, labels, problem_type = (label_set[key] for key in ("name", "labels", "problem_type"))
    if problem_type not in PROBLEM_TYPES:
        raise ValueError(f"label set {name!r}: got problem type {problem_type!r}, expected one of {PROBLEM_TYPES}.")
    if not labels:
        raise ValueError(f"label set {name!r} is empty, expected at least one label.")
    if len(set(labels)) < len(labels):
        raise ValueError(f"label set {name!r}: got {labels}, expected each label once.")
    if problem_type == "single_label_classification" and len(labels) < 2:
        raise ValueError(f"label set {name!r}: one label of {labels} is always right; expected at least two.")
    label_set = with_optional_keys(label_set)
    for key in ("names", "name_tokens", "description_tokens", "thresholds", "positive_weights", *OPTIONAL):
        values = label_set[key]
        if values is None and key in ("description_tokens", "positive_weights", *OPTIONAL):
            continue
        if len(values) != len(labels):
            raise ValueError(f"label set {name!r}: got {len(values)} {key} for {len(labels)} labels.")
    if label_set["description_tokens"]:
        counts = {len(texts) for texts in label_set["description_tokens"]}
        if len(counts) != 1 or 0 in counts:
            raise ValueError(
                f"label set {name!r}: got {sorted(counts)} descriptions a label, expected equally many, at least one."
            )
    if not all(0 <= threshold <= 1 for threshold in label_set["thresholds"]):
        raise ValueError(f"label set {name!r}: got thresholds {label_set['thresholds']}, expected numbers in [0, 1].")
    _validate_calibration(name, problem_type, label_set["temperatures"], label_set["calibration_biases"])
    if not all(value is None or math.isfinite(value) for value in label_set["neutral_logits"] or ()):
        raise ValueError(
            f"label set {name!r}: got neutral_logits {label_set['neutral_logits']}, expected finite numbers or None."
        )


def _validate_calibration(name: str, problem_type: str, temperatures, biases) -> None:
    if not all(0 < value < math.inf for value in temperatures or ()):
        raise ValueError(f"label set {name!r}: got temperatures {temperatures}, expected numbers more than 0.")
    if not all(math.isfinite(value) for value in biases or ()):
        raise ValueError(f"label set {name!r}: got calibration_biases {biases}, expected finite numbers.")
    if problem_type == "single_label_classification" and len(set(temperatures or ())) > 1:
        raise ValueError(
            f"label set {name!r}: got temperatures {temperatures}, expected one value repeated: its labels share a "
            "softmax, which has one temperature."
        )


def token_string(ids: Sequence[int]) -> str:
    return " ".join(str(int(i)) for i in ids)


def token_tensors(strings: Sequence[str], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token strings as `input_ids` and `attention_mask`, both long (len(strings), longest), padded on the right."""
    rows = [[int(i) for i in string.split()] for string in strings]
    longest = max((len(row) for row in rows), default=0)
    ids = torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows], dtype=torch.long)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], dtype=torch.long)
    return ids, mask


def _tokenize(texts: Sequence[str], tokenizer: Any) -> list[str]:
    if not texts:
        return []
    longest = min(tokenizer.model_max_length, LONGEST_TEXT)
    encoded = tokenizer(list(texts), truncation=True, max_length=longest, padding=False)
    return [token_string(ids) for ids in encoded["input_ids"]]


__all__ = ["build_label_set"]
