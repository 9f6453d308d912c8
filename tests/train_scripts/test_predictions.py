"""Predictions as a file, and scores that count frames in which no face was found."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from train_scripts.labels import corpus_label_names, with_known_labels
from train_scripts.predictions import gather_predictions, read_predictions, write_predictions
from train_scripts.split_scores import fitted_predictions, full_scores, headlines


def label_sets():
    common = {"temperatures": None, "calibration_biases": None}
    return [
        {
            "name": "action_units",
            "problem_type": "multi_label_classification",
            "labels": ["AU4", "AU12"],
            "thresholds": [0.5, 0.25],
            "name_tokens": ["1 2"],
            **common,
        },
        {
            "name": "expression",
            "problem_type": "single_label_classification",
            "labels": ["neutral", "happiness", "anger"],
            "thresholds": [0.5] * 3,
            **common,
        },
    ]


def corpus(count=40, seed=0, found=None, groups=True):
    random = np.random.default_rng(seed)
    aus = random.integers(0, 2, (count, 2)).astype(float)
    columns = {
        "image": ["never read"] * count,
        "corpus": ["made"] * count,
        "subject_id": [f"s{seed}_{i % 5}" for i in range(count)],
        "sequence_id": [f"clip{i % 3}" for i in range(count)],
        "frame": list(range(100, 100 + count)),
        "activity": [None] * count,
        "expression": [("neutral", "happiness", "anger", None)[i] for i in random.integers(0, 4, count)],
        "action_units": [{"AU4": None if i % 4 == 0 else a, "AU12": b} for i, (a, b) in enumerate(aus)],
        "face_found": [True] * count if found is None else found,
    }
    if groups:
        columns["groups"] = [{"gender": ("woman", "man", None)[i % 3]} for i in range(count)]
    data = Dataset.from_dict(columns)
    data.info.description = json.dumps({"corpus": "made", "crop_recipe": None, "action_unit_coding": "occurrence"})
    return data


def logits_of(data, seed=7):
    return np.random.default_rng(seed).normal(0, 2, (len(data), 5)).astype(np.float32)


def test_what_is_written_is_read_again(tmp_path):
    validation, test = corpus(30, 1), corpus(40, 2, found=[i % 5 > 0 for i in range(40)])
    parts = {"validation": (validation, logits_of(validation)), "test": (test, logits_of(test))}
    made = fitted_predictions(label_sets(), parts, fold=2)
    write_predictions(tmp_path, made)
    read = read_predictions(tmp_path)
    for name in ("subject_ids", "logits", "labels", "splits", "face_found", "sequence_ids", "frames", "rows"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name), err_msg=name)
    assert read.fold == 2 and read.label_sets == made.label_sets
    np.testing.assert_array_equal(read.groups["gender"], made.groups["gender"])
    assert set(read.groups["gender"]) == {"woman", "man", ""}
    assert read.label_sets[0]["temperatures"] is not None and "name_tokens" not in read.label_sets[0]
    part = read.split("test")
    assert len(part.subject_ids) == 40 and part.frames[0] == 100 and part.rows.tolist() == list(range(40))
    assert np.isnan(part.labels[0, 0]) and part.labels[1, 1] == test[1]["action_units"]["AU12"]
    assert part.face_found.sum() == 32


def test_the_file_says_label_and_calibrated_probability_of_each_frame(tmp_path):
    data = corpus()
    sets = label_sets()
    sets[0] |= {"temperatures": [2.0, 1.0], "calibration_biases": [0.5, 0.0]}
    logits = logits_of(data)
    path = write_predictions(tmp_path, gather_predictions(sets, {"test": (data, logits)}))
    table = pq.read_table(path)
    expected = 1 / (1 + np.exp(-(logits[:, 0].astype(float) / 2 + 0.5)))
    np.testing.assert_allclose(table["action_units.AU4.probability"].to_numpy(), expected, rtol=1e-5)
    assert table["action_units.AU4.label"].null_count == 10
    softmax = [table[f"expression.{name}.probability"].to_numpy() for name in ("neutral", "happiness", "anger")]
    np.testing.assert_allclose(np.sum(softmax, axis=0), 1, rtol=1e-5)
    assert {"split", "row", "subject_id", "sequence_id", "frame", "face_found", "groups.gender"} < set(
        table.column_names
    )


def test_other_files_and_none_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="evaluate.py .* --predictions true"):
        read_predictions(tmp_path)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "predictions.parquet")
    with pytest.raises(ValueError, match="not written by this project"):
        read_predictions(tmp_path)


def by_hand(predictions, thresholds):
    """F1 of each AU and accuracy, frame by frame: without a face every AU is absent and every expression wrong."""
    f1 = []
    for k, threshold in enumerate(thresholds):
        hits = errors = 0
        columns = predictions.logits[:, k], predictions.labels[:, k], predictions.face_found
        for logit, label, found in zip(*columns, strict=True):
            if np.isnan(label):
                continue
            decided = bool(found) and 1 / (1 + np.exp(-float(logit))) >= threshold
            hits += decided and label == 1
            errors += decided != bool(label)
        f1.append(2 * hits / (2 * hits + errors))
    right = known = 0
    columns = predictions.logits[:, 2:], predictions.labels[:, 2:], predictions.face_found
    for row, label, found in zip(*columns, strict=True):
        if np.isnan(label).any():
            continue
        known += 1
        right += bool(found) and row.argmax() == label.argmax()
    return f1, right / known


@pytest.mark.parametrize("found", [None, [i % 3 > 0 for i in range(40)]])
def test_frames_without_a_face_count(found):
    data = corpus(found=found)
    predictions = gather_predictions(label_sets(), {"test": (data, logits_of(data))})
    f1, accuracy = by_hand(predictions, [0.5, 0.5])
    fitted, _ = by_hand(predictions, [0.5, 0.25])
    for scores in (headlines(predictions), full_scores(predictions, fitted=True)):
        aus = scores["action_units"]
        assert [aus["labels"][name]["f1_at_half"] for name in ("AU4", "AU12")] == pytest.approx(f1)
        assert [aus["labels"][name]["f1"] for name in ("AU4", "AU12")] == pytest.approx(fitted)
        assert aus["mean_f1_at_half"] == pytest.approx(np.mean(f1))
        assert scores["expression"]["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("found", [None, [i % 3 > 0 for i in range(40)]])
def test_calibrated_answers_are_counted_as_the_others_are(found):
    data = corpus(found=found)
    sets, biases = label_sets(), np.array([0.0, 1.5, -1.5])
    sets[1] |= {"temperatures": [1.0] * 3, "calibration_biases": biases.tolist()}
    predictions = gather_predictions(sets, {"test": (data, logits_of(data))})
    scores = full_scores(predictions, fitted=True)["expression"]
    predictions.logits[:, 2:] += biases
    assert scores["accuracy_calibrated"] == pytest.approx(by_hand(predictions, [0.5, 0.5])[1])
    assert scores["accuracy_calibrated"] != pytest.approx(scores["accuracy"])
    assert "accuracy_calibrated" not in full_scores(predictions, fitted=False)["expression"]


def test_nothing_is_fitted_on_frames_without_a_face():
    found = [i % 2 == 0 for i in range(40)]
    data = corpus(found=found)
    logits = logits_of(data)
    whole, half = label_sets(), label_sets()
    fitted_predictions(whole, {"validation": (data, logits)})
    rows = np.flatnonzero(found)
    fitted_predictions(half, {"validation": (data.select(rows), logits[rows])})
    assert whole == half
    with pytest.raises(ValueError, match="in none of the 40 validation frames was a face found"):
        fitted_predictions(label_sets(), {"validation": (corpus(found=[False] * 40), logits)})


def test_frames_without_any_label_are_left_out_and_a_selection_knows_its_own_labels():
    data = corpus(8)
    columns = data.to_dict()
    columns["action_units"] = [{"AU4": None, "AU12": None}] * 5 + [{"AU4": None, "AU12": 1.0}] * 3
    columns["expression"] = [None] * 5 + ["neutral"] * 3
    sparse = Dataset.from_dict(columns, features=data.features)
    sparse.info.description = data.info.description
    sets = [label_sets()[0]]
    assert with_known_labels(sparse, sets)["frame"][:] == [105, 106, 107]
    # More nulls in the whole table than rows in the selection.
    assert corpus_label_names(sparse.select([4, 5]), "action_units") == ["AU12"]
    with pytest.raises(ValueError, match="none of 5 frames has a label of action_units"):
        with_known_labels(sparse.select(range(5)), sets)
