import numpy as np
import pytest
from sklearn import metrics as reference

from train_scripts.metrics import load_metric


@pytest.fixture(scope="module")
def action_units():
    return load_metric("action_units")


@pytest.fixture(scope="module")
def expression():
    return load_metric("expression")


def frames(seed=0, n=300, k=5):
    random = np.random.default_rng(seed)
    references = (random.random((n, k)) < 0.3).astype(float)
    # Rounded, so that ties occur.
    probabilities = np.clip(random.normal(0.4 + 0.2 * references, 0.2), 0, 1).round(2)
    references[random.random((n, k)) < 0.2] = np.nan
    return probabilities, references


@pytest.mark.parametrize("thresholds", [None, 0.3, [0.1, 0.3, 0.5, 0.7, 0.52]])
def test_action_units_match_sklearn(action_units, thresholds):
    probabilities, references = frames()
    scores = action_units.compute(probabilities=probabilities, references=references, thresholds=thresholds)
    cut = np.broadcast_to(0.5 if thresholds is None else thresholds, 5)
    for k in range(5):
        known = ~np.isnan(references[:, k])
        truth, probability = references[known, k].astype(int), probabilities[known, k]
        assert scores["f1"][k] == pytest.approx(reference.f1_score(truth, probability >= cut[k]))
        assert scores["auroc"][k] == pytest.approx(reference.roc_auc_score(truth, probability))
        assert scores["positives"][k] == truth.sum()
        assert scores["known"][k] == known.sum()
    assert scores["mean_f1"] == pytest.approx(np.mean(scores["f1"]))
    assert scores["mean_auroc"] == pytest.approx(np.mean(scores["auroc"]))
    assert scores["unknown"] == np.isnan(references).sum()


def test_unknown_entries_take_no_part(action_units):
    probabilities, references = frames()
    unknown = np.isnan(references)
    scores = action_units.compute(probabilities=probabilities, references=references)
    other = np.where(unknown, 1 - probabilities, probabilities)
    assert action_units.compute(probabilities=other, references=references) == scores
    coded = np.where(unknown, -1, references)
    assert action_units.compute(probabilities=probabilities, references=coded) == scores


def test_undefined_labels_are_left_out_of_the_means_and_counted(action_units):
    references = np.array([[1, 0, np.nan, 1], [0, 0, np.nan, 1]])
    probabilities = np.array([[0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.1, 0.1]])
    scores = action_units.compute(probabilities=probabilities, references=references)
    assert scores["f1"] == [1.0, None, None, pytest.approx(2 / 3)]
    assert scores["auroc"] == [1.0, None, None, None]
    assert (scores["mean_f1"], scores["f1_left_out"]) == (pytest.approx(5 / 6), 2)
    assert (scores["mean_auroc"], scores["auroc_left_out"]) == (1.0, 3)

    nothing = action_units.compute(probabilities=probabilities, references=np.full((2, 4), np.nan))
    assert nothing["mean_f1"] is None and nothing["mean_auroc"] is None


@pytest.mark.parametrize(
    ("probabilities", "references", "options", "message"),
    [
        ([[0.5, 0.5]], [[1]], {}, "one shape"),
        ([[0.5, 0.5]], [[1, 3]], {}, r"got also \[3"),
        ([[0.5, 0.5]], [[1, 0]], {"thresholds": [0.5]}, "one threshold or 2"),
        ([[float("nan"), 0.5]], [[1, 0]], {}, "not finite"),
    ],
)
def test_action_units_refuse_bad_input(action_units, probabilities, references, options, message):
    with pytest.raises(ValueError, match=message):
        action_units.compute(probabilities=probabilities, references=references, **options)


def test_expression_matches_sklearn(expression):
    random = np.random.default_rng(1)
    references = random.choice([0, 1, 2, 4], size=400)  # class 3 never occurs, yet is predicted
    predictions = np.where(random.random(400) < 0.6, references, random.integers(0, 5, 400))
    hidden = random.random(400) < 0.2
    scores = expression.compute(predictions=predictions, references=np.where(hidden, -1, references), num_classes=5)
    truth, predicted = references[~hidden], predictions[~hidden]
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert scores["uar"] == pytest.approx(
        reference.recall_score(truth, predicted, labels=[0, 1, 2, 4], average="macro")
    )
    assert scores["macro_f1"] == pytest.approx(
        reference.f1_score(truth, predicted, labels=[0, 1, 2, 4], average="macro")
    )
    assert scores["confusion"] == reference.confusion_matrix(truth, predicted, labels=range(5)).tolist()
    assert (scores["known"], scores["unknown"], scores["classes_left_out"]) == ((~hidden).sum(), hidden.sum(), 1)
    assert scores["f1"][3] is None and scores["recall"][3] is None

    predictions[hidden] = (predictions[hidden] + 1) % 5
    assert (
        expression.compute(predictions=predictions, references=np.where(hidden, -1, references), num_classes=5)
        == scores
    )


def test_expression_without_any_known_reference(expression):
    scores = expression.compute(predictions=[0, 1], references=[-1, -1], num_classes=2)
    assert scores["accuracy"] is None and scores["uar"] is None and scores["unknown"] == 2


@pytest.mark.parametrize(("predictions", "references"), [([2], [0]), ([-1], [0]), ([0], [2]), ([0], [-2])])
def test_expression_refuses_ids_out_of_range(expression, predictions, references):
    with pytest.raises(ValueError, match="must lie in"):
        expression.compute(predictions=predictions, references=references, num_classes=2)


def test_an_unknown_metric_names_the_known_ones():
    with pytest.raises(ValueError, match="action_units.*expression"):
        load_metric("accuracy")
