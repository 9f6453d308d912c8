"""What the report shows, read from a quickstart run: losses, embeddings, label texts, example faces."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from datasets import Dataset
from sklearn.manifold import TSNE
from transformers import AutoModel, AutoModelForImageClassification, AutoProcessor

import modeling_clef  # noqa: F401  (registers the Auto classes)
from modeling_clef.label_sets_clef import token_tensors
from processing.prompts_clef import ACTION_UNITS
from train_scripts.chance import image_activity_levels, image_image_levels
from train_scripts.labels import PROBLEM_TYPES
from train_scripts.predict import extract_features
from train_scripts.report_figures import Curve, MapPanel
from train_scripts.results_table import ARM_NAMES

MAP_POINTS = 1000
NEIGHBOURS = 10
ENOUGH_POSITIVES = 20


class Face(NamedTuple):
    png: bytes
    caption: str
    alt: str


class Examples(NamedTuple):
    """One label with faces on which the model is right or wrong; `rows` maps a heading to its faces."""

    label: str
    auroc: float
    f1: float | None
    positives: int
    threshold: float
    rows: dict[str, list[Face]]


def read_history(folder: Path) -> list[dict]:
    """Lines of `history.jsonl`, none if there is no such file."""
    path = Path(folder, "history.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_recipe(folder: Path) -> dict:
    path = Path(folder, "recipe.yaml")
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def read_metrics(folder: Path) -> dict:
    return json.loads(Path(folder, "metrics.json").read_text())


def loss_panels(run: Path, fractions: list[str], activities: int, rates_alone: float) -> dict[str, list[Curve]]:
    """Curves of both stages by panel title; a loss that no arm has gets no panel.

    Args:
        activities: how many the corpus has.
        rates_alone: see `loss_of_rates`, the chance level of fine-tuning.
    """
    panels = {}
    for title, key in (
        ("pre-training: image–image loss", "image_image_loss"),
        ("pre-training: image–activity loss", "image_activity_loss"),
    ):
        curves = []
        for arm in ARM_NAMES:
            levels = _pretraining_levels(read_recipe(run / arm / "pretrained"), activities).get(key, (None, None))
            curves.append(_curve(arm, run / arm / "pretrained", key, *levels))
        panels[title] = [curve for curve in curves if curve is not None]
    for fraction in fractions:
        curves = [_curve(arm, run / arm / f"finetuned_{fraction}", "image_name_loss", rates_alone) for arm in ARM_NAMES]
        title = f"fine-tuning, {100 * float(fraction):g} % labels: image–name loss"
        panels[title] = [curve for curve in curves if curve is not None]
    return {title: curves for title, curves in panels.items() if curves}


def loss_of_rates(truth: dict[str, np.ndarray]) -> float:
    """The classification loss of answering every face with the labels' rates: the mean entropy over the labels of a
    multi-label set, the entropy over those of a single-label set, summed over the sets."""
    total = 0.0
    for name, labels in truth.items():
        rates = np.nanmean(labels, axis=0).clip(1e-12, 1 - 1e-12)
        entropies = -rates * np.log(rates)
        if PROBLEM_TYPES[name] == "multi_label_classification":
            total += float((entropies - (1 - rates) * np.log(1 - rates)).mean())
        else:
            total += float(entropies.sum())
    return total


def embedding_panels(run: Path, test: Dataset, seed: int = 0) -> dict[str, list[MapPanel]]:
    """t-SNE of the pre-trained arms' projections of test frames, coloured by activity and by subject.

    The notes count neighbours in the embedding space itself, not on the map, and leave out a frame's own clip, whose
    frames share everything.
    """
    columns = {"activity": np.array(test["activity"][:], dtype=str), "subject": np.array(test["subject_id"][:])}
    clips = np.array(test["sequence_id"][:])
    shown = np.sort(np.random.default_rng(seed).permutation(len(test))[:MAP_POINTS])
    rows = {"activity": [], "subject": []}
    for arm in ("clef", "instance"):
        model, processor = load_checkpoint(AutoModel, run / arm / "pretrained")
        embeds = extract_features(model, test, processor, progress=False).projection
        perplexity = min(30.0, (len(shown) - 1) / 3)
        tsne = TSNE(init="pca", learning_rate="auto", perplexity=perplexity, random_state=seed, n_jobs=1)
        points = tsne.fit_transform(embeds[shown])
        for kind, groups in columns.items():
            share, chance = neighbour_share(embeds, groups, clips)
            note = f"{100 * share:.0f} % of the {NEIGHBOURS} nearest share the {kind} (chance {100 * chance:.0f} %)"
            rows[kind].append(MapPanel(ARM_NAMES[arm], points, groups[shown], note))
    return rows


def neighbour_share(embeds: np.ndarray, groups: np.ndarray, clips: np.ndarray) -> tuple[float, float]:
    """(share of the `NEIGHBOURS` nearest frames of other clips that are of the frame's own group, the same share among
    all frames of other clips). Embeddings (N, D) are unit vectors."""
    other = clips[:, None] != clips[None]
    same = (groups[:, None] == groups[None]) & other
    similarity = np.where(other, embeds @ embeds.T, -np.inf)
    count = min(NEIGHBOURS, int(other.sum(axis=1).min()))
    if count < 1:
        return float("nan"), float("nan")
    nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    return float(np.take_along_axis(same, nearest, axis=1).mean()), float((same.sum(1) / other.sum(1)).mean())


class LabelMap(NamedTuple):
    """points (2 K, 2): names, then descriptions; K labels and label set names; the share of variance that the plane
    keeps; how many descriptions are nearest to their own name."""

    points: np.ndarray
    labels: list[str]
    kinds: list[str]
    variance: float
    own_name_nearest: int


def label_positions(model) -> LabelMap:
    """Classical scaling of the label texts' distances; a description stands for the mean of its templates."""
    sets = model.config.label_sets
    labels = [label for label_set in sets for label in label_set["labels"]]
    kinds = [label_set["name"] for label_set in sets for _ in label_set["labels"]]
    names = _text_embeddings(model, [tokens for s in sets for tokens in s["name_tokens"]])
    described = [tokens for s in sets if s["description_tokens"] for tokens in s["description_tokens"]]
    own, vectors = 0, names
    if len(described) == len(labels):
        flat = _text_embeddings(model, [tokens for templates in described for tokens in templates])
        sizes = np.cumsum([len(templates) for templates in described])[:-1]
        means = np.stack([part.mean(axis=0) for part in np.split(flat, sizes)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        own = int(((means @ names.T).argmax(axis=1) == np.arange(len(labels))).sum())
        vectors = np.concatenate([names, means])
    # Of unit vectors, classical scaling of their (cosine) distances is their principal components.
    centred = vectors - vectors.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    kept = float((singular[:2] ** 2).sum() / max((singular**2).sum(), 1e-12))
    return LabelMap(left[:, :2] * singular[:2], labels, kinds, kept, own)


def best_and_worst(
    test: Dataset, label_set: dict, probabilities: np.ndarray, truth: np.ndarray, scores: dict[str, dict]
) -> list[Examples]:
    """The action units of highest and lowest AUROC, with faces.

    Args:
        probabilities, truth: (N, K) of this label set; truth in {0, 1, NaN}.
        scores: figures a label ("auroc", "f1", "positives", "threshold") of the run's evaluation.
    """
    ranked = [label for label in label_set["labels"] if scores.get(label, {}).get("auroc") is not None]
    # The AUROC of a handful of frames is luck.
    ranked = [label for label in ranked if scores[label]["positives"] >= ENOUGH_POSITIVES] or ranked
    ranked.sort(key=lambda label: scores[label]["auroc"])
    chosen = list(dict.fromkeys([ranked[-1], ranked[0]])) if ranked else []
    clips = np.array(test["sequence_id"][:])
    found = []
    for label in chosen:
        column, score = label_set["labels"].index(label), scores[label]
        p, y, threshold = probabilities[:, column], truth[:, column], score["threshold"]
        pick = {
            "right: highest scores where it is there": _distinct_clips(
                np.argsort(-p), (y == 1) & (p >= threshold), clips
            ),
            "wrong: highest scores where it is not": _distinct_clips(
                np.argsort(-p), (y == 0) & (p >= threshold), clips
            ),
            "missed: lowest scores where it is there": _distinct_clips(
                np.argsort(p), (y == 1) & (p < threshold), clips
            ),
        }
        rows = {title: [_face(test[int(i)], label, float(p[i])) for i in ids] for title, ids in pick.items()}
        found.append(Examples(label, score["auroc"], score.get("f1"), score["positives"], threshold, rows))
    return found


class NoSkill(NamedTuple):
    """What one gets without looking at the face, fractions in [0, 1]."""

    f1_by_label: list[float]
    f1: float
    accuracy: float
    identity: float


def no_skill(truth: dict[str, np.ndarray], subjects: int) -> NoSkill:
    """F1 of calling every frame positive, accuracy of always naming the most frequent expression, 1 / subjects."""
    units, expression = truth.get("action_units"), truth.get("expression")
    rate = np.zeros(0) if units is None else np.nan_to_num(np.nanmean(units, axis=0))
    f1 = 2 * rate / (1 + rate)
    known = None if expression is None else expression[~np.isnan(expression).any(axis=1)]
    accuracy = float(known.mean(axis=0).max()) if known is not None and len(known) else float("nan")
    mean = float(f1[rate > 0].mean()) if (rate > 0).any() else float("nan")
    return NoSkill(f1.tolist(), mean, accuracy, 1 / max(subjects, 1))


def load_checkpoint(auto_class: Callable, folder: Path):
    """Model in eval mode and processor of a run folder."""
    return auto_class.from_pretrained(str(folder)).eval(), AutoProcessor.from_pretrained(str(folder))


def load_classifier(folder: Path):
    return load_checkpoint(AutoModelForImageClassification, folder)


def full_name(label: str) -> str:
    """ "AU12" as "AU12 lip corner puller"; other labels as they are."""
    return f"{label} {ACTION_UNITS[label].name}" if label in ACTION_UNITS else label


def _curve(arm: str, folder: Path, key: str, chance=None, floor=None) -> Curve | None:
    lines = [line for line in read_history(folder) if key in line]
    if not lines:
        return None
    return Curve(arm, [line["step"] for line in lines], [line[key] for line in lines], chance, floor)


def _pretraining_levels(recipe: dict, activities: int) -> dict[str, tuple[float, float]]:
    """Chance and floor of a batch that holds each activity equally often."""
    if "batch_size" not in recipe or not activities:
        return {}
    typical = torch.arange(recipe["batch_size"]) % activities
    groups = torch.arange(recipe["batch_size"]) if recipe.get("image_pairs") == "instance" else typical
    return {
        "image_image_loss": image_image_levels(groups),
        "image_activity_loss": image_activity_levels(typical, activities),
    }


def _text_embeddings(model, token_strings: list[str]) -> np.ndarray:
    """(T, D) unit vectors of texts given as strings of token ids."""
    ids, mask = token_tensors(token_strings, getattr(model.config.text_config, "pad_token_id", None) or 0)
    with torch.no_grad():
        return model.clef.text_embeds(ids, mask).float().numpy()


def _distinct_clips(order: np.ndarray, mask: np.ndarray, clips: np.ndarray, count: int = 7) -> list[int]:
    """The first rows in `order` that the mask allows, one a clip."""
    chosen: dict[str, int] = {}
    for row in order[mask[order]]:
        chosen.setdefault(clips[row], int(row))
        if len(chosen) == count:
            break
    return list(chosen.values())


def _face(row: dict, label: str, score: float) -> Face:
    buffer = io.BytesIO()
    row["image"].convert("RGB").save(buffer, format="PNG", optimize=True)
    intensity = (row.get("action_units") or {}).get(label)
    coded = "" if intensity is None else f" · {intensity:.1f}"
    alt = f"face of {row['subject_id']}, activity {row['activity']}, {label} score {score:.2f}"
    return Face(buffer.getvalue(), f"{score:.2f}{coded}", alt)
