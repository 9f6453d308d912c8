"""The text side's projection fitted anew after training, so that words no label was trained with are understood.

Trained end to end on a few hundred label texts, a projection of hundreds of inputs knows them by heart: on rendered
people, prompts it never saw rank frames far worse than those it did. A ridge regression from the frozen sentence
encoder's features to the label embeddings that were learned has one parameter that trades the two, and phrasings left
out say which value is best. The label names keep their embeddings, hence all logits stay.
"""

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import rankdata

from processing.phrasings_clef import PHRASINGS
from train_scripts.labels import label_matrix
from train_scripts.predict import extract_features

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the regularisation, in mean squared norms of the features
PARTS = 4  # phrasings are left out in so many turns


def refit_text_projection(model, processor, validation: Dataset) -> dict:
    """Fits `model.clef.text_projection` anew, in place.

    Args:
        model: a CLEFForImageClassification with a text tower and a head on label texts.
        validation: frames of people that were not trained on; they choose the strength.

    Returns:
        "strength", and for each strength under "held_out_auroc" the mean AUROC of phrasings that were left out of the
        fit, over labels that the validation frames know as both present and absent.

    Raises:
        ValueError: a linear head, a text-free model, or labels without phrasings.
    """
    if model.config.head == "linear" or model.clef.text_model is None:
        raise ValueError("a linear head or a text-free model has no text projection to fit.")
    labels = [label for label_set in model.config.label_sets for label in label_set["labels"]]
    names = processor.label_prompts(labels)
    others, owners, parts = _other_texts(processor, labels)
    if not (parts >= 0).any():
        raise ValueError(f"none of the labels {labels} has phrasings.")
    model.eval()
    with torch.no_grad():
        fixed, features = (_features(model, processor, texts) for texts in (names, others))
        targets = model.label_head.embed_names(model.clef).double().cpu().numpy()
    images = extract_features(model, validation, processor, progress=False).projection
    truth = label_matrix(validation, model.config.label_sets)

    unit = (features**2).sum(axis=1).mean()
    rankings = {}
    for strength in STRENGTHS:
        rankings[strength] = []
        for part in range(PARTS):
            left_out = parts == part
            kept = ~left_out
            weight = constrained_ridge(features[kept], targets[owners[kept]], fixed, targets, strength * unit)
            rankings[strength] += _rankings(features[left_out] @ weight.T, owners[left_out], images, truth)
    best = choose_strength(rankings)
    weight = constrained_ridge(features, targets[owners], fixed, targets, best * unit)
    projection = model.clef.text_projection.weight
    with torch.no_grad():
        projection.copy_(torch.from_numpy(weight).to(projection))
    means = {strength: float(np.mean(values)) for strength, values in rankings.items()}
    return {"strength": best, "held_out_auroc": {str(key): mean for key, mean in means.items()}}


def choose_strength(rankings: dict[float, list[float]]) -> float:
    """The strongest regularisation whose mean lies within a standard error of the best mean: as far as left-out
    phrasings tell, it is as good, and it bends less to the words that training had."""
    best = max(rankings.values(), key=np.mean)
    error = np.std(best) / np.sqrt(len(best))
    return max(strength for strength, values in rankings.items() if np.mean(values) >= np.mean(best) - error)


def constrained_ridge(
    features: np.ndarray, targets: np.ndarray, fixed: np.ndarray, fixed_targets: np.ndarray, penalty: float
) -> np.ndarray:
    """The matrix W (D, C) that minimises |features Wᵀ - targets|² + penalty |W|² subject to fixed Wᵀ = fixed_targets.

    Args:
        features (N, C), targets (N, D): to be met nearly. fixed (K, C), fixed_targets (K, D): to be met exactly;
            K <= C linearly independent rows.
    """
    inverse = np.linalg.inv(features.T @ features + penalty * np.eye(features.shape[1]))
    free = inverse @ (features.T @ targets)
    moved = inverse @ fixed.T
    return (free + moved @ np.linalg.solve(fixed @ moved, fixed_targets - fixed @ free)).T


def _other_texts(processor, labels: list[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Descriptions and phrasings; the label each belongs to; and the part in which each is left out, -1 for never.

    A phrasing is left out in all its templates at once.
    """
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


def _features(model, processor, texts: list[str]) -> np.ndarray:
    """(N, C) float64: what the text projection is given."""
    rows = []
    handle = model.clef.text_projection.register_forward_pre_hook(lambda _, given: rows.append(given[0].double().cpu()))
    try:
        for text in texts:
            model.clef.get_text_features(**processor.tokenizer(text, return_tensors="pt").to(model.device))
    finally:
        handle.remove()
    return torch.cat(rows).numpy()


def _rankings(embeds: np.ndarray, owners: np.ndarray, images: np.ndarray, truth: np.ndarray) -> list[float]:
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
