import numpy as np
import pytest

from train_scripts.thresholds import fit_thresholds


def f1(scores, labels, threshold):
    predicted = scores >= threshold
    hits = (predicted & (labels == 1)).sum()
    return 2 * hits / (predicted.sum() + (labels == 1).sum())


def brute_force(scores, labels):
    distinct = sorted(set(scores))
    candidates = [(low + high) / 2 for low, high in zip([0.0, *distinct], distinct, strict=False)]
    best = max(f1(scores, labels, candidate) for candidate in candidates)
    tied = [candidate for candidate in candidates if f1(scores, labels, candidate) > best - 1e-12]
    return min(tied, key=lambda candidate: abs(candidate - 0.5))


@pytest.mark.parametrize("seed", range(20))
def test_equals_a_brute_force_sweep(seed):
    random = np.random.default_rng(seed)
    labels = (random.random((60, 4)) < 0.3).astype(float)
    labels[0] = 1
    # Rounding makes ties between frames, and between thresholds.
    scores = random.random((60, 4)).round(2 if seed % 2 else 1)
    unknown = random.random((60, 4)) < 0.2
    labels[unknown & (np.arange(60) > 0)[:, None]] = np.nan
    found = fit_thresholds(scores, labels)
    for k in range(4):
        known = ~np.isnan(labels[:, k])
        assert found[k] == pytest.approx(brute_force(scores[known, k], labels[known, k]))


def test_unknown_entries_take_no_part():
    random = np.random.default_rng(0)
    scores, labels = random.random((50, 3)), (random.random((50, 3)) < 0.5).astype(float)
    unknown = random.random((50, 3)) < 0.3
    labels[unknown] = np.nan
    moved = np.where(unknown, random.random((50, 3)), scores)
    assert np.array_equal(fit_thresholds(scores, labels), fit_thresholds(moved, labels))


def test_a_label_without_positive_frame_keeps_one_half():
    scores = np.array([[0.2, 0.3], [0.4, 0.7]])
    labels = np.array([[0, np.nan], [0, np.nan]])
    assert fit_thresholds(scores, labels).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("low", [0.3, np.nextafter(0.3, 1)])  # of two such midpoints, one is rounded down
def test_neighbouring_floats_are_told_apart(low):
    high = np.nextafter(low, 1)
    (threshold,) = fit_thresholds(np.array([[low], [high]]), np.array([[0.0], [1.0]]))
    assert low < threshold <= high


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        fit_thresholds(np.zeros((3, 2)), np.zeros((3, 1)))
