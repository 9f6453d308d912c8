"""The text side's projection fitted anew after training, so that words no label was trained with are understood.

Trained end to end on a few hundred label texts, a linear projection of hundreds of inputs knows them by heart: on
rendered people, prompts it never saw rank frames far worse than those it did. Kernel regression from the frozen
sentence encoder's features to shares of the labels, whose embeddings were learned, makes up for much of that
(`benchmarks/unseen_words.py` compares them), and phrasings left out say how closely it should follow the others. The
label names keep their embeddings, hence all logits stay.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import rankdata

from modeling_clef.text_projection_clef import AnchoredProjection, likeness
from processing.phrasings_clef import PHRASINGS
from train_scripts.labels import label_matrix
from train_scripts.predict import extract_features

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0)  # of the regularisation: how far a phrasing may miss its label
NAME_STRENGTH = 1e-6  # names miss it by rounding alone
PARTS = 4  # phrasings are left out in so many turns

# (features (N, C), owners (N,), name features (K, C), targets (K, D)) → a function from features to embeddings (T, D)
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]


@dataclass(frozen=True, eq=False)
class LabelTexts:
    """The texts of K labels as the sentence encoder sees them, float64.

    Attributes:
        names: (K, C) features. targets: (K, D) embeddings that the labels have.
        others: (N, C) features of descriptions and phrasings. owners: (N,) the label each belongs to. parts: (N,) the
            turn in which each is left out, -1 for never; a phrasing is left out in all its templates at once.
    """

    names: np.ndarray
    targets: np.ndarray
    others: np.ndarray
    owners: np.ndarray
    parts: np.ndarray

    def held_out_rankings(self, fit: Fit, images: np.ndarray, truth: np.ndarray) -> list[float]:
        """AUROC of each phrasing where it was left out of the fit: see `text_rankings`."""
        rankings = []
        for part in range(PARTS):
            left_out = self.parts == part
            kept = ~left_out
            embed = fit(self.others[kept], self.owners[kept], self.names, self.targets)
            rankings += text_rankings(embed(self.others[left_out]), self.owners[left_out], images, truth)
        return rankings


def read_label_texts(model, processor) -> LabelTexts:
    """Of a CLEFForImageClassification in eval mode.

    Raises:
        ValueError: a linear head, a text-free model, or labels without phrasings.
    """
    if model.config.head == "linear" or model.clef.text_model is None:
        raise ValueError("a linear head or a text-free model has no text projection to fit.")
    labels = [label for label_set in model.config.label_sets for label in label_set["labels"]]
    texts, owners, parts = _other_texts(processor, labels)
    if not (parts >= 0).any():
        raise ValueError(f"none of the labels {labels} has phrasings.")
    with torch.no_grad():
        names = _features(model, [model.label_head.name_tokens(model.device)])
        others = _features(model, (_tokens(processor, text, model.device) for text in texts))
        targets = model.label_head.embed_names(model.clef).double().cpu().numpy()
    return LabelTexts(names, targets, others, owners, parts)


def refit_text_projection(model, processor, validation: Dataset) -> dict:
    """Gives `model.clef` an `AnchoredProjection` fitted to the embeddings of its labels, in place of what it has.

    Args:
        model: a CLEFForImageClassification with a text tower and a head on label texts.
        validation: frames of people that were not trained on; they choose the strength.

    Returns:
        "strength"; for each strength under "held_out_auroc" the mean AUROC of phrasings that were left out of the fit,
        over labels that the validation frames know as both present and absent; and under "names_auroc" that of the
        label names.

    Raises:
        ValueError: see `read_label_texts`.
    """
    model.eval()
    texts = read_label_texts(model, processor)
    images, truth = embed_frames(model, processor, validation)
    means = {s: float(np.mean(texts.held_out_rankings(anchored_fit(s), images, truth))) for s in STRENGTHS}
    best = max(means, key=means.get)
    _replace_projection(model, fit_projection(texts.others, texts.owners, texts.names, texts.targets, best))
    names = text_rankings(texts.targets, np.arange(len(texts.names)), images, truth)
    return {
        "strength": best,
        "held_out_auroc": {str(strength): mean for strength, mean in means.items()},
        "names_auroc": float(np.mean(names)),
    }


def embed_frames(model, processor, frames: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(F, D) projected embeddings of the frames' faces, not normalised, and (F, K) their labels, NaN unknown."""
    return (
        extract_features(model, frames, processor, progress=False).projection,
        label_matrix(frames, model.config.label_sets),
    )


def anchored_fit(strength: float) -> Fit:
    """What the module of `fit_projection` computes."""

    def fit(features, owners, names, targets):
        projection = fit_projection(features, owners, names, targets, strength)
        return lambda others: projection(torch.from_numpy(others)).numpy()

    return fit


@torch.no_grad()
def fit_projection(features, owners, names, targets, strength: float) -> AnchoredProjection:
    """Fitted to texts of K labels, float64, without gradients; the names are met exactly.

    Args:
        features: (N, C) of texts. owners: (N,) the label each has. names: (K, C) of the labels' names. targets: (K, D)
            where those shall lie.
    """
    known = np.concatenate([features, names])
    projection = AnchoredProjection(known.shape[1], targets.shape[1], len(known), len(names)).double()
    # As they may be stored, see `freeze_checkpoint.half_precision`: by those the names shall meet their embeddings.
    anchors = (known / np.linalg.norm(known, axis=1, keepdims=True)).astype(np.float16)
    projection.anchors.copy_(torch.from_numpy(anchors))
    miss = np.diag(np.repeat([strength, NAME_STRENGTH], [len(features), len(names)]))
    evidence = np.concatenate([np.eye(len(names))[owners], np.eye(len(names))])
    alike = likeness(torch.from_numpy(known), projection.anchors).numpy()
    projection.weight.copy_(torch.from_numpy(np.linalg.solve(alike + miss, evidence).T))
    shares = projection.shares(torch.from_numpy(names)).numpy()
    projection.labels.copy_(torch.from_numpy(np.linalg.solve(shares, targets)))
    return projection.requires_grad_(False)


def text_rankings(embeds: np.ndarray, owners: np.ndarray, images: np.ndarray, truth: np.ndarray) -> list[float]:
    """AUROC of each text's similarity to the frames, for the label that it means, from sums of ranks."""
    similarities = images @ (embeds / np.linalg.norm(embeds, axis=1, keepdims=True)).T
    scores = []
    for label in np.unique(owners):
        known = ~np.isnan(truth[:, label])
        positive = truth[known, label] == 1
        pairs = positive.sum() * (~positive).sum()
        if pairs:
            ranks = rankdata(similarities[known][:, owners == label], axis=0)
            wins = ranks[positive].sum(axis=0) - positive.sum() * (positive.sum() + 1) / 2
            scores += (wins / pairs).tolist()
    return scores


def _replace_projection(model, projection: AnchoredProjection) -> None:
    old = model.clef.text_projection.weight
    model.clef.text_projection = projection.to(old).requires_grad_(old.requires_grad)
    model.config.text_anchors, model.config.text_anchor_labels = len(projection.anchors), len(projection.labels)


def _other_texts(processor, labels: list[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Descriptions and phrasings; the label each belongs to; and the part in which each is left out, -1 for never."""
    texts, owners, parts = [], [], []
    for label, (descriptions, phrasings) in enumerate(
        zip(processor.description_prompts(labels), processor.phrasing_prompts(labels), strict=True)
    ):
        words = PHRASINGS.get(labels[label], ())
        for text in (*descriptions, *phrasings):
            held = [i for i, phrase in enumerate(words) if phrase in text] if text in phrasings else []
            texts.append(text)
            owners.append(label)
            # The longest phrase that the text holds is the one it was made from.
            parts.append(max(held, key=lambda i: len(words[i])) % PARTS if held else -1)
    return texts, np.array(owners), np.array(parts)


def _tokens(processor, text: str, device) -> tuple[torch.Tensor, torch.Tensor]:
    encoded = processor.tokenizer(text, return_tensors="pt").to(device)
    return encoded["input_ids"], encoded["attention_mask"]


def _features(model, tokens: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> np.ndarray:
    """(N, C) float64: what the text projection is given of pairs of `input_ids` and `attention_mask`."""
    rows = []
    handle = model.clef.text_projection.register_forward_pre_hook(lambda _, given: rows.append(given[0].double().cpu()))
    try:
        for input_ids, attention_mask in tokens:
            model.clef.get_text_features(input_ids, attention_mask)
    finally:
        handle.remove()
    return torch.cat(rows).numpy()
