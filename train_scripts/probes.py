"""Linear probes on frozen features, and how much of the subject's identity features still hold."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from train_scripts.metrics import load_metric
from train_scripts.thresholds import fit_thresholds

KINDS = {"action_units": "multi_label", "expression": "single_label"}
L2_GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
DEFAULT_L2 = 1e-2
IDENTITY_L2 = 1e-3
IDENTITY_SPLITS = 3


def fit_linear(
    x: np.ndarray,
    y: np.ndarray,
    kind: str,
    l2: float | None = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    positive_weights: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression by full-batch L-BFGS on standardised features; deterministic.

    Minimises the mean loss over a label's known frames plus l2 / 2 times its squared weights.

    Args:
        x: (N, C) features.
        y: (N, K) in {0, 1, NaN}. NaN is unknown and takes no part in the fit.
        kind: "multi_label" (a sigmoid a label) or "single_label" (softmax; rows are one-hot, or NaN when unknown).
        l2: strength for standardised features. Default: DEFAULT_L2, or with `validation` the one of L2_GRID with
            the best mean AUROC (multi-label) or accuracy (single-label) there, the strongest of equals.
        validation: (x, y) of other subjects, to choose l2.
        positive_weights: K factors of the positives' terms, of a single-label set of the frames of each class. Default:
            all alike.

    Returns:
        weights (K, C) and bias (K,), float32, for the raw features: `x @ weights.T + bias` are logits. A label
        known as one class only keeps zero weights and a bias at its smoothed log-odds; a class of a single-label
        set that never occurs is never predicted.
    """
    x, y = _checked(x, y, kind)
    if l2 is not None and validation is not None:
        raise ValueError("got both l2 and validation frames to choose it on; give one of them.")
    labelled = ~y.isnan().all(dim=1)
    if not labelled.any():
        raise ValueError(f"got {len(y)} frames of which none has a known label; expected at least one.")
    x, y = x[labelled], y[labelled]
    mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
    # Constant features carry nothing; the floor is relative, as features come in any scale.
    std = torch.where(std > 1e-6 * x.abs().amax(dim=0).clamp(min=1e-12), std, torch.inf)
    strengths = [DEFAULT_L2 if l2 is None else l2] if validation is None else L2_GRID
    if validation is not None:
        x_val, y_val = _checked(*validation, kind)
        x_val = (x_val - mean) / std
    x = (x - mean) / std

    factors = torch.ones(y.shape[1]) if positive_weights is None else torch.as_tensor(positive_weights)
    best, best_score = None, -1.0
    weights, bias = torch.zeros(y.shape[1], x.shape[1], dtype=x.dtype), _initial_bias(y, kind)
    for strength in strengths:  # from strong to weak: each solution is near the next
        weights, bias = _minimise(x, y, factors.to(x.dtype), kind, strength, weights, bias)
        score = 0.0 if validation is None else _score(x_val @ weights.T + bias, y_val, kind)
        if score > best_score:
            best, best_score = (weights, bias), score
    weights = best[0] / std
    return weights.float().numpy(), (best[1] - weights @ mean).float().numpy()


def linear_probe(
    train: tuple[np.ndarray, dict[str, np.ndarray]],
    validation: tuple[np.ndarray, dict[str, np.ndarray]],
    test: tuple[np.ndarray, dict[str, np.ndarray]] | None = None,
) -> dict:
    """Fits a linear probe a label set and scores it on unseen subjects.

    Args:
        train, validation, test: (features (N, C), labels by set); sets are the keys of KINDS, labels (N, K) in
            {0, 1, NaN}, one-hot rows for "expression".

    Returns:
        {"action_units": {"mean_f1", "mean_f1_at_half", "mean_auroc"}, "expression": {"accuracy", "macro_f1", "uar"}},
        fractions in [0, 1], None where undefined, on the test frames; l2 and thresholds are chosen on the validation
        frames. Without test frames the validation frames are scored, nothing is chosen on them, and there is no
        "mean_f1".
    """
    scores = {}
    for name, y in train[1].items():
        if name not in KINDS:
            raise ValueError(f"got label set {name!r}; expected one of {list(KINDS)}.")
        kind = KINDS[name]
        tuned = (validation[0], validation[1][name]) if test is not None else None
        weights, bias = fit_linear(train[0], y, kind, validation=tuned)
        scored = validation if test is None else test
        probabilities = _probabilities(scored[0] @ weights.T + bias, kind)
        labels = scored[1][name]
        if kind == "single_label":
            scores[name] = {k: single_label_scores(probabilities, labels)[k] for k in ("accuracy", "macro_f1", "uar")}
            continue
        thresholds = None
        if test is not None:
            thresholds = fit_thresholds(_probabilities(tuned[0] @ weights.T + bias, kind), tuned[1])
        full = multi_label_scores(probabilities, labels, thresholds)
        scores[name] = {k: full[k] for k in ("mean_f1", "mean_f1_at_half", "mean_auroc") if k in full}
    return scores


def multi_label_scores(probabilities: np.ndarray, labels: np.ndarray, thresholds: np.ndarray | None) -> dict:
    """What the `action_units` metric returns at the thresholds, with its F1s at .5 as "f1_at_half" and
    "mean_f1_at_half"; without thresholds those alone, with no "f1" and "mean_f1"."""
    metric = load_metric("action_units")
    scores = metric.compute(probabilities=probabilities, references=labels)
    scores |= {"f1_at_half": scores.pop("f1"), "mean_f1_at_half": scores.pop("mean_f1")}
    if thresholds is not None:
        fitted = metric.compute(probabilities=probabilities, references=labels, thresholds=list(thresholds))
        scores = {"mean_f1": fitted["mean_f1"], "f1": fitted["f1"]} | scores
    return scores


def single_label_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict:
    """What the `expression` metric returns; labels are one-hot rows, NaN when unknown."""
    references = np.where(np.isnan(labels).any(axis=1), -1, np.nan_to_num(labels).argmax(axis=1))
    return load_metric("expression").compute(
        predictions=probabilities.argmax(axis=1), references=references, num_classes=labels.shape[1]
    )


def identity_probe(features, subject_ids: Sequence[str], activities: Sequence[str | None], seed: int = 0) -> dict:
    """How well a subject seen in one half of the activities is named in the other half.

    Gallery = all frames of one half of the activities, query = the other half; the mean over both directions and
    IDENTITY_SPLITS seeded halvings. Our own protocol: it asks for identity that is not tied to one recording.

    Args:
        features: `predict.Features` of N frames.
        subject_ids, activities: N values; frames whose activity is None are left out and counted.

    Returns:
        "projection_nearest_neighbour" (cosine), "projection_linear", "backbone_linear": accuracies in [0, 1];
        "chance"; "subjects", "frames", "frames_without_activity": counts.

    Raises:
        ValueError: no activities, fewer than two subjects or activities, or no subject in both halves.
    """
    known = np.array([activity is not None for activity in activities])
    if not known.any():
        raise ValueError("no frame names its activity, and people are looked for from one activity to another.")
    frames = np.flatnonzero(known)
    _, people = np.unique(np.asarray(subject_ids, dtype=str)[frames], return_inverse=True)
    names, done = np.unique(np.asarray(activities, dtype=str)[frames], return_inverse=True)
    subjects = int(people.max(initial=-1)) + 1
    if subjects < 2 or len(names) < 2:
        raise ValueError(
            f"The identity probe needs at least 2 subjects and 2 activities; got {subjects} and {len(names)}."
        )
    projection = features.projection[frames]
    projection = projection / np.maximum(np.linalg.norm(projection, axis=1, keepdims=True), 1e-12)
    scores = {"projection_nearest_neighbour": [], "projection_linear": [], "backbone_linear": [], "chance": []}
    for half in _activity_halves(len(names), seed):
        inside = np.isin(done, half)
        for gallery, query in ((inside, ~inside), (~inside, inside)):
            # Someone who is missing on one side can be neither found nor mistaken there.
            both = np.intersect1d(people[gallery], people[query])
            if len(both) < 2:
                raise ValueError(
                    f"Only {len(both)} subjects have frames in both halves of the activities; the identity probe "
                    "needs at least 2. Give it frames of several activities a subject."
                )
            rows = [np.flatnonzero(side & np.isin(people, both)) for side in (gallery, query)]
            who = [np.searchsorted(both, people[side]) for side in rows]
            nearest = _nearest(projection[rows[0]], projection[rows[1]])
            scores["projection_nearest_neighbour"].append((who[0][nearest] == who[1]).mean())
            for key, x in (("projection_linear", projection), ("backbone_linear", features.backbone[frames])):
                weights, bias = fit_linear(x[rows[0]], np.eye(len(both))[who[0]], "single_label", l2=IDENTITY_L2)
                scores[key].append(((x[rows[1]] @ weights.T + bias).argmax(axis=1) == who[1]).mean())
            scores["chance"].append(1 / len(both))
    counts = {"subjects": subjects, "frames": len(frames), "frames_without_activity": int((~known).sum())}
    return {key: float(np.mean(values)) for key, values in scores.items()} | counts


def _activity_halves(count: int, seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng([seed, 0x1D])
    return [generator.permutation(count)[: count // 2] for _ in range(IDENTITY_SPLITS)]


def _nearest(gallery: np.ndarray, query: np.ndarray, chunk: int = 1024) -> np.ndarray:
    """Gallery row of the highest cosine for each query row, in chunks to bound memory."""
    return np.concatenate([(query[i : i + chunk] @ gallery.T).argmax(axis=1) for i in range(0, len(query), chunk)])


def _checked(x: np.ndarray, y: np.ndarray, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    if kind not in KINDS.values():
        raise ValueError(f"got kind {kind!r}; expected one of {sorted(KINDS.values())}.")
    x, y = torch.as_tensor(np.asarray(x, dtype=np.float64)), torch.as_tensor(np.asarray(y, dtype=np.float64))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
        raise ValueError(f"expected features (N, C) and labels (N, K), N > 0; got {tuple(x.shape)}, {tuple(y.shape)}.")
    if not torch.isfinite(x).all():
        raise ValueError("Some features are not finite: the model has diverged or its weights are broken.")
    return x, y


def _minimise(x, y, factors, kind, l2, weights, bias):
    """One convex problem a label (multi-label) or one over all classes (single-label), from a starting point."""
    y, active = _active(y, kind)
    if not active.any():
        return weights, bias
    w, b = weights[active].clone().requires_grad_(), bias[active].clone().requires_grad_()
    optimizer = torch.optim.LBFGS([w, b], max_iter=200, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = _loss(x @ w.T + b, y, factors[active], kind) + l2 / 2 * w.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    weights, bias = weights.clone(), bias.clone()
    weights[active], bias[active] = w.detach(), b.detach()
    return weights, bias


def _active(y: torch.Tensor, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns that can be fitted, and which they are: otherwise a bias would run off to infinity."""
    positive, negative = (y == 1).any(dim=0), (y == 0).any(dim=0)
    active = positive if kind == "single_label" else positive & negative
    return y[:, active], active


def _initial_bias(y: torch.Tensor, kind: str) -> torch.Tensor:
    known = ~y.isnan()
    rate = ((y == 1).sum(dim=0) + 0.5) / (known.sum(dim=0) + 1)
    if kind == "multi_label":
        return rate.double().logit()
    return torch.where((y == 1).any(dim=0), rate.double().log(), -30.0)


def _loss(logits: torch.Tensor, y: torch.Tensor, factors: torch.Tensor, kind: str) -> torch.Tensor:
    """Multi-label: the sum over labels of the mean over their known frames, positives times `factors`. Single-label:
    the mean over frames, weighted by their classes' `factors`."""
    known = ~y.isnan()
    if kind == "single_label":
        known = known.all(dim=1)
        weighted = y[known] * factors
        return -(weighted * logits[known].log_softmax(dim=1)).sum() / weighted.sum()
    # Filled before the loss: a NaN times a mask of zero would stay NaN in the gradient.
    targets = torch.where(known, y, 0.0)
    loss = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=factors, reduction="none")
    return (torch.where(known, loss, 0.0).sum(dim=0) / known.sum(dim=0).clamp(min=1)).sum()


def _score(logits: torch.Tensor, y: torch.Tensor, kind: str) -> float:
    # By rank rather than by loss, which asks for calibration across people and so for far too much regularisation.
    if kind == "single_label":
        return single_label_scores(logits.numpy(), y.numpy())["accuracy"] or 0.0
    return multi_label_scores(logits.sigmoid().numpy(), y.numpy(), None)["mean_auroc"] or 0.0


def _probabilities(logits: np.ndarray, kind: str) -> np.ndarray:
    logits = torch.as_tensor(logits).double()
    return (logits.softmax(dim=1) if kind == "single_label" else logits.sigmoid()).numpy()
