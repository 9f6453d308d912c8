import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from train_scripts import bootstrap
from train_scripts.bootstrap import draw_subjects, drawn_sums, holm, nan_mean, p_value, ranking_draws
from train_scripts.photo_metrics import interval


@pytest.fixture
def frames():
    """Scores with many ties and some -inf, labels and subjects of 300 frames; subject 6 has no frame."""
    random = np.random.default_rng(0)
    subjects = random.integers(0, 6, 300)
    positive = random.random(300) < 0.3
    scores = np.round(random.normal(size=300) + positive, 1)
    scores[random.random(300) < 0.1] = -np.inf
    return scores, positive, subjects, draw_subjects(np.array([0, 0, 0, 1, 1, 1, 1]), 50)


def test_draws_keep_each_stratum_and_row_0_is_everyone():
    strata = np.array(["a", "b", "a", "b", "b"])
    drawn = draw_subjects(strata, 200, seed=3)
    assert drawn.shape == (201, 5) and (drawn[0] == 1).all()
    assert (drawn[:, strata == "a"].sum(axis=1) == 2).all() and (drawn[:, strata == "b"].sum(axis=1) == 3).all()
    assert drawn[1:].mean(axis=0) == pytest.approx(np.ones(5), abs=0.2)
    np.testing.assert_array_equal(drawn, draw_subjects(strata, 200, seed=3))
    assert (drawn != draw_subjects(strata, 200, seed=4)).any()
    with pytest.raises(ValueError, match="0 subjects"):
        draw_subjects(np.array([]), 10)


def test_sums_equal_frames_that_really_are_repeated(frames):
    _, _, subjects, drawn = frames
    values = np.random.default_rng(1).integers(0, 5, (300, 3))
    sums = drawn_sums(values, subjects, drawn)
    for row in range(len(drawn)):
        repeated = np.concatenate([np.flatnonzero(subjects == s) for s in range(7) for _ in range(drawn[row, s])])
        np.testing.assert_allclose(sums[row], values[repeated].sum(axis=0))


@pytest.mark.parametrize("at_a_time", [1, 1000, 10**6])
def test_ranking_equals_sklearn_on_repeated_frames(frames, at_a_time, monkeypatch):
    monkeypatch.setattr(bootstrap, "WEIGHTS_AT_A_TIME", at_a_time)
    scores, positive, subjects, drawn = frames
    auroc, precision = ranking_draws(scores, positive, subjects, drawn)
    finite = np.where(np.isinf(scores), -99, scores)
    for row in range(len(drawn)):
        repeated = np.concatenate([np.flatnonzero(subjects == s) for s in range(7) for _ in range(drawn[row, s])])
        assert auroc[row] == pytest.approx(roc_auc_score(positive[repeated], finite[repeated]))
        assert precision[row] == pytest.approx(average_precision_score(positive[repeated], finite[repeated]))


def test_draws_of_one_class_have_no_auroc():
    scores, positive = np.array([3.0, 2.0, 1.0]), np.array([True, False, False])
    drawn = np.array([[1, 1], [2, 0], [0, 2]])
    auroc, precision = ranking_draws(scores, positive, np.array([0, 1, 1]), drawn)
    np.testing.assert_array_equal(auroc, [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(precision, [1.0, 1.0, np.nan])
    assert np.isnan(ranking_draws(scores, np.zeros(3, dtype=bool), np.array([0, 1, 1]), drawn)).all()


def test_intervals_over_subjects_cover_what_intervals_over_frames_miss():
    """People differ and their frames hardly do: 30 people of 50 frames are 30 draws, not 1500."""
    random, covered, by_frames = np.random.default_rng(0), 0, 0
    for seed in range(200):
        people = random.normal(0.5, 0.1, 30)
        frames = (people[:, None] + random.normal(0, 0.05, (30, 50))).ravel()
        subjects = np.repeat(np.arange(30), 50)
        drawn = draw_subjects(np.zeros(30), 200, seed)
        sums = drawn_sums(np.stack([frames, np.ones(1500)], axis=1), subjects, drawn)
        low, high = interval((sums[:, 0] / sums[:, 1])[1:])
        covered += low <= 0.5 <= high
        spread = 1.96 * frames.std() / np.sqrt(1500)
        by_frames += abs(frames.mean() - 0.5) <= spread
    assert 0.88 <= covered / 200 <= 0.99
    assert by_frames / 200 < 0.6


def test_p_values():
    assert p_value(np.full(99, 0.1)) == pytest.approx(0.02)
    assert p_value(np.zeros(99)) == 1 and p_value(np.full(5, np.nan)) == 1
    assert p_value(np.r_[np.full(90, -1.0), np.full(9, 1.0), np.nan]) == pytest.approx(2 * 10 / 100)
    # By hand: .01 × 3, .02 × 2, .04 × 1, never falling.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_mean_without_nan():
    np.testing.assert_array_equal(nan_mean(np.array([[1.0, np.nan], [np.nan, np.nan]]), axis=1), [1.0, np.nan])
