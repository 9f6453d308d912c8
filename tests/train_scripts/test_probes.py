import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from train_scripts.predict import Features
from train_scripts.probes import L2_GRID, fit_linear, identity_probe, linear_probe


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def planted():
    """Badly scaled features whose labels follow a linear rule."""
    random = np.random.default_rng(0)
    scale, offset = np.array([1, 100, 0.01, 1, 1, 1]), np.array([0, 500, 3, 0, -2, 0])
    x = random.normal(size=(600, 6))
    weights = random.normal(size=(6, 3))
    labels = (random.random((600, 3)) < sigmoid(2 * x @ weights - 1)).astype(float)
    classes = np.eye(4)[(x @ random.normal(size=(6, 4)) + random.gumbel(size=(600, 4))).argmax(axis=1)]
    return x * scale + offset, labels, classes


def test_multi_label_equals_sklearn_on_standardised_features(planted):
    x, labels, _ = planted
    l2 = 1e-2
    labels[np.random.default_rng(1).random(labels.shape) < 0.3] = np.nan
    labels[np.isnan(labels).all(axis=1), 0] = 0  # frames without any known label are another test's matter
    weights, bias = fit_linear(x, labels, "multi_label", l2=l2)
    assert weights.shape == (3, 6) and bias.shape == (3,)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    for k in range(3):
        known = ~np.isnan(labels[:, k])
        model = LogisticRegression(C=1 / (l2 * known.sum()), tol=1e-8).fit(standard[known], labels[known, k])
        expected = model.decision_function(standard)
        np.testing.assert_allclose(x @ weights[k].astype(float) + bias[k], expected, atol=2e-3)


def test_single_label_equals_sklearn_on_standardised_features(planted):
    x, _, classes = planted
    l2 = 1e-2
    weights, bias = fit_linear(x, classes, "single_label", l2=l2)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    model = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-8).fit(standard, classes.argmax(axis=1))
    logits = torch.tensor(x @ weights.T.astype(float) + bias)
    np.testing.assert_allclose(logits.softmax(dim=1), model.predict_proba(standard), atol=1e-3)


def test_weighted_labels_equal_sklearn_with_weighted_frames(planted):
    x, labels, classes = planted
    l2, standard = 1e-2, (x - x.mean(axis=0)) / x.std(axis=0)
    weights, bias = fit_linear(x, labels, "multi_label", l2=l2, positive_weights=[0.5, 3.0, 8.0])
    for k, factor in enumerate((0.5, 3.0, 8.0)):
        model = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-8)
        expected = model.fit(standard, labels[:, k], np.where(labels[:, k] == 1, factor, 1.0))
        np.testing.assert_allclose(
            x @ weights[k].astype(float) + bias[k], expected.decision_function(standard), atol=2e-3
        )
    factors = np.array([0.5, 1.0, 2.0, 4.0])
    weights, bias = fit_linear(x, classes, "single_label", l2=l2, positive_weights=factors)
    frames = factors[classes.argmax(axis=1)]
    model = LogisticRegression(C=1 / (l2 * frames.sum()), tol=1e-8).fit(standard, classes.argmax(axis=1), frames)
    logits = torch.tensor(x @ weights.T.astype(float) + bias)
    np.testing.assert_allclose(logits.softmax(dim=1), model.predict_proba(standard), atol=1e-3)


def test_unknown_labels_take_no_part(planted):
    x, labels, classes = planted
    labels[:200, 0] = np.nan
    weights, bias = fit_linear(x, labels, "multi_label", l2=1e-2)
    changed = labels.copy()
    changed[:300, 1:] = 1 - changed[:300, 1:]
    other_weights, other_bias = fit_linear(x, changed, "multi_label", l2=1e-2)
    np.testing.assert_allclose(other_weights[0], weights[0], rtol=1e-3, atol=1e-5)
    assert not np.allclose(other_weights[1], weights[1], rtol=1e-2)

    # A frame without any known label does not even move the standardisation.
    for y, kind in ((labels, "multi_label"), (classes, "single_label")):
        y, other = y.copy(), x.copy()
        y[:100], other[:100] = np.nan, 1e4
        for before, after in zip(fit_linear(x, y, kind, l2=1e-2), fit_linear(other, y, kind, l2=1e-2), strict=True):
            assert np.array_equal(before, after)


def test_a_label_known_as_one_class_only_stays_finite(planted):
    x, labels, classes = planted
    labels[:, 1] = 0
    weights, bias = fit_linear(x, labels, "multi_label", l2=1e-4)
    assert not weights[1].any() and bias[1] == pytest.approx(np.log(0.5 / 600.5), abs=1e-4)

    present = classes[:, 2] == 0
    weights, bias = fit_linear(x[present], classes[present], "single_label", l2=1e-4)
    assert np.isfinite(weights).all() and not ((x @ weights.T + bias).argmax(axis=1) == 2).any()


def test_constant_features_change_nothing(planted):
    x, labels, _ = planted
    weights, bias = fit_linear(x, labels, "multi_label", l2=1e-2)
    more = np.concatenate([x, np.full((len(x), 1), 7.3)], axis=1)
    wider, same = fit_linear(more, labels, "multi_label", l2=1e-2)
    assert not wider[:, -1].any()
    np.testing.assert_allclose(wider[:, :-1], weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(same, bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["multi_label", "single_label"])
def test_validation_chooses_the_strength(kind):
    """40 noise features and 60 frames: the least regularised fit is not the best one."""
    random = np.random.default_rng(0)
    x = random.normal(size=(560, 40))
    y = (random.random((560, 1)) < sigmoid(2 * x[:, :1])).astype(float)
    y = np.concatenate([y, 1 - y], axis=1) if kind == "single_label" else y
    held_out = (x[60:], y[60:])

    def score(weights, bias):
        logits = held_out[0] @ weights.T + bias
        if kind == "single_label":
            return (logits.argmax(axis=1) == held_out[1].argmax(axis=1)).mean()
        return roc_auc_score(held_out[1][:, 0], logits[:, 0])

    single = {l2: score(*fit_linear(x[:60], y[:60], kind, l2=l2)) for l2 in L2_GRID}
    assert score(*fit_linear(x[:60], y[:60], kind, validation=held_out)) == pytest.approx(
        max(single.values()), abs=5e-3
    )
    assert max(single.values()) > single[1e-4] + 0.01


def test_fit_linear_refuses(planted):
    x, labels, _ = planted
    with pytest.raises(ValueError, match="kind"):
        fit_linear(x, labels, "ordinal")
    with pytest.raises(ValueError, match="none has a known label"):
        fit_linear(x, np.full_like(labels, np.nan), "multi_label")
    with pytest.raises(ValueError, match="not finite"):
        fit_linear(np.where(x > 1e9, x, np.inf), labels, "multi_label")
    with pytest.raises(ValueError, match="one of them"):
        fit_linear(x, labels, "multi_label", l2=1.0, validation=(x, labels))


def test_linear_probe_scores(planted):
    x, labels, classes = planted
    parts = [
        (x[rows], {"action_units": labels[rows], "expression": classes[rows]})
        for rows in (slice(0, 300), slice(300, 400), slice(400, 600))
    ]
    scores = linear_probe(*parts)
    assert set(scores) == {"action_units", "expression"}
    assert set(scores["action_units"]) == {"mean_f1", "mean_f1_at_half", "mean_auroc"}
    assert set(scores["expression"]) == {"accuracy", "macro_f1", "uar"}
    assert scores["action_units"]["mean_auroc"] > 0.85 and scores["expression"]["accuracy"] > 0.5
    assert linear_probe(*parts) == scores

    # Without test frames nothing is chosen on the frames that are scored.
    monitored = linear_probe(*parts[:2])
    assert set(monitored["action_units"]) == {"mean_f1_at_half", "mean_auroc"}
    with pytest.raises(ValueError, match="label set 'poses'"):
        linear_probe(*[(part[0], {"poses": part[1]["action_units"]}) for part in parts])


def people(subjects=8, activities=6, frames=5):
    subject = np.repeat(np.arange(subjects), activities * frames)
    activity = np.tile(np.repeat(np.arange(activities), frames), subjects)
    return subject, activity, [f"S{i}" for i in subject], [f"task {i}" for i in activity]


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_features_that_are_the_identity_give_it_away():
    random = np.random.default_rng(0)
    subject, _, subject_ids, activities = people()
    x = random.normal(size=(8, 16))[subject] + 0.01 * random.normal(size=(len(subject), 16))
    scores = identity_probe(Features(x, unit(x)), subject_ids, activities)
    for key in ("projection_nearest_neighbour", "projection_linear", "backbone_linear"):
        assert scores[key] == 1.0
    assert scores["chance"] == pytest.approx(1 / 8)
    assert (scores["subjects"], scores["frames"], scores["frames_without_activity"]) == (8, len(subject), 0)


def test_features_of_behaviour_alone_stay_near_chance():
    random = np.random.default_rng(0)
    subject, activity, subject_ids, activities = people(frames=20)
    behaviour = random.normal(size=(6, 16))[activity] + 0.3 * random.normal(size=(len(subject), 16))
    identity = random.normal(size=(8, 16))[subject] + 0.01 * random.normal(size=(len(subject), 16))
    # Projection and backbone are probed each on its own.
    scores = identity_probe(Features(identity, unit(behaviour)), subject_ids, activities)
    assert scores["backbone_linear"] == 1.0
    assert abs(scores["projection_nearest_neighbour"] - 1 / 8) < 0.05
    assert abs(scores["projection_linear"] - 1 / 8) < 0.05


def test_gallery_and_query_share_no_activity():
    """Features that tell each recording apart, with nothing in common between a subject's recordings."""
    random = np.random.default_rng(0)
    subject, activity, subject_ids, activities = people()
    x = random.normal(size=(8, 6, 32))[subject, activity]
    scores = identity_probe(Features(x, unit(x)), subject_ids, activities)
    assert scores["projection_nearest_neighbour"] < 0.35


def test_frames_without_activity_are_left_out_and_counted():
    random = np.random.default_rng(0)
    subject, _, subject_ids, activities = people()
    x = random.normal(size=(8, 16))[subject] + random.normal(size=(len(subject), 16))
    activities[::7] = [None] * len(activities[::7])
    scores = identity_probe(Features(x, unit(x)), subject_ids, activities, seed=3)
    assert scores["frames_without_activity"] == len(activities[::7])
    moved = x.copy()
    moved[::7] = 1e3
    assert identity_probe(Features(moved, unit(moved)), subject_ids, activities, seed=3) == scores


def test_identity_probe_needs_two_of_each():
    x = np.random.default_rng(0).normal(size=(8, 4))
    features = Features(x, unit(x))
    two = ["a", "a", "a", "a", "b", "b", "b", "b"]
    with pytest.raises(ValueError, match="got 1 and 2"):
        identity_probe(features, ["S0"] * 8, two)
    with pytest.raises(ValueError, match="got 2 and 1"):
        identity_probe(features, two, ["joke"] * 8)
    with pytest.raises(ValueError, match="both halves"):
        identity_probe(features, two, two)
    with pytest.raises(ValueError, match="no frame names its activity"):
        identity_probe(features, two, [None] * 8)
