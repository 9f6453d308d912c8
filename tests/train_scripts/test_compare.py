import copy
import json

import numpy as np
import pytest

from train_scripts.compare import (
    CompareOptions,
    compare,
    comparison_table,
    load_folds,
    main,
    with_folder_flags,
)
from train_scripts.predictions import write_predictions
from train_scripts.results import summarise_predictions


def rows_of(result):
    return {(row["score"], row["label"]): row for row in result["comparisons"]}


def test_identical_runs_differ_by_nothing(plant_predictions):
    folds = plant_predictions()
    result = compare(folds, copy.deepcopy(folds), resamples=100)
    for row in result["comparisons"]:
        assert row["difference"] == 0 and row["interval"] == [0, 0] and row["p_adjusted"] == 1
        assert not row["more_than_noise"] and row["verdict"] == "no difference at all"
    assert result["subjects"] == 18 and result["frames"] == 720


def test_a_clearly_better_run_is_said_to_be_so_and_its_scores_are_those_of_the_results(plant_predictions):
    a, b = plant_predictions(skill=1.0), plant_predictions(skill=3.0)
    result = compare(a, b, resamples=1000)
    rows = rows_of(result)
    for key in ("mean_f1", "mean_auroc", "accuracy", "uar"):
        row = rows[key, None]
        assert row["more_than_noise"] and row["interval"][0] > 0
        assert row["verdict"].startswith("B is better by ") and row["verdict"].endswith("points: more than noise")
        for run, folds in (("a", a), ("b", b)):
            name = "expression" if key in ("accuracy", "uar") else "action_units"
            scores = summarise_predictions(folds, resamples=2)["scores"][name]["pooled"]["scores"]
            assert row[run] == pytest.approx(scores[key]["value"])
    assert rows["f1", "AU12"]["more_than_noise"] and rows["recall", "sadness"]["more_than_noise"]
    back = rows_of(compare(b, a, resamples=1000))["mean_f1", None]
    assert back["verdict"].startswith("A is better") and back["difference"] == -rows["mean_f1", None]["difference"]
    assert "B is better" in comparison_table(result)


def test_scores_of_label_sets_of_ones_own_are_called_after_them(plant_predictions):
    folds = plant_predictions()
    for fold in folds:
        fold.label_sets[0]["name"] = "posture"
    table = comparison_table(compare(folds, copy.deepcopy(folds), resamples=10))
    assert "\nposture: F1 " in table and "\nexpression accuracy " in table and "AU AUROC" not in table


def test_two_runs_of_one_recipe_differ_by_no_more_than_noise(plant_predictions):
    """Both runs' noise is drawn alike: differences beyond it are false alarms, of which Holm leaves about 1 in 20."""
    alarms = 0
    for run in range(10):
        a, b = plant_predictions(run=2 * run, seed=run), plant_predictions(run=2 * run + 1, seed=run)
        result = compare(a, b, resamples=300)
        alarms += any(row["more_than_noise"] for row in result["comparisons"] if row["label"] is None)
        low, high = rows_of(result)["mean_f1", None]["interval"]
        assert low < high
    assert alarms <= 3


def test_pairing_sees_what_separate_intervals_do_not(plant_predictions):
    """The same answers but for a few: people's own difficulty cancels out."""
    a = plant_predictions()
    b = copy.deepcopy(a)
    for fold in b:
        wrong = np.flatnonzero((fold.labels[:, 2] == 1) & (fold.logits[:, 2] < -0.3))[::2]
        fold.logits[wrong, 2] = 3
    row = rows_of(compare(a, b, resamples=500))["f1", "AU12"]
    pooled = [summarise_predictions(run, resamples=500)["scores"]["action_units"]["pooled"] for run in (a, b)]
    separate = [scores["labels"]["AU12"]["f1"]["interval"] for scores in pooled]
    assert row["interval"][1] - row["interval"][0] < 0.6 * min(high - low for low, high in separate)
    assert row["more_than_noise"]


def test_order_of_frames_and_of_folds_does_not_matter(plant_predictions):
    a, b = plant_predictions(skill=1.5), plant_predictions(skill=2.0, run=1)
    moved = [fold.select(np.random.default_rng(0).permutation(len(fold.labels))) for fold in b[::-1]]
    before, after = (compare(a, other, resamples=50)["comparisons"] for other in (b, moved))
    for one, two in zip(before, after, strict=True):
        assert (one["score"], one["label"]) == (two["score"], two["label"])
        assert one["difference"] == pytest.approx(two["difference"])
        assert one["interval"] == pytest.approx(two["interval"])


def test_other_subjects_frames_and_labels_are_refused(plant_predictions):
    a = plant_predictions()
    swapped = copy.deepcopy(a)
    test = swapped[0].splits == "test"
    swapped[0].subject_ids[test & (swapped[0].subject_ids == "M000")] = "X999"
    with pytest.raises(ValueError, match=r"other subjects: 1 only in A \(M000\) and 1 only in B \(X999\), 17 in both"):
        compare(a, swapped)
    with pytest.raises(ValueError, match="6 only in A"):
        compare(a, a[:2])
    fewer = [fold.select(np.arange(len(fold.labels)) != 3) for fold in a]
    with pytest.raises(ValueError, match="other frames: 3 only in A .*M000/M000/T1/3"):
        compare(a, fewer)
    relabelled = copy.deepcopy(a)
    relabelled[0].labels[0, 0] = np.nan if a[0].labels[0, 0] == 1 else 1
    with pytest.raises(ValueError, match="true labels of action_units differ .*AU4 in 1 frames.*other annotations"):
        compare(a, relabelled)


def test_only_labels_that_both_have(plant_predictions):
    a, b = plant_predictions(), plant_predictions(run=1)
    for fold in b:
        fold.label_sets[0] |= {
            key: fold.label_sets[0][key][1:] for key in ("labels", "thresholds", "temperatures", "calibration_biases")
        }
        fold.logits, fold.labels = fold.logits[:, 1:], fold.labels[:, 1:]
    result = compare(a, b, resamples=20)
    assert {row["label"] for row in result["comparisons"]} >= {"AU6", "AU12"}
    assert "AU4" not in {row["label"] for row in result["comparisons"]}
    assert any("AU4" in note for note in result["notes"])


def test_several_comparisons_are_adjusted_for(plant_predictions):
    result = compare(plant_predictions(skill=2.0), plant_predictions(skill=2.1, run=1), resamples=400)
    assert any("Several comparisons" in note and "Holm" in note for note in result["notes"])
    assert any("seed" in note for note in result["notes"])
    assert all(row["p_adjusted"] >= row["p"] for row in result["comparisons"])
    assert len({row["family"] for row in result["comparisons"]}) == 5
    assert not any("draws" in note for note in result["notes"])
    few = compare(plant_predictions(skill=1.0), plant_predictions(skill=3.0), resamples=50)
    assert any("With 50 draws no difference can count among 7" in note for note in few["notes"])


def test_command(plant_predictions, tmp_path, capsys):
    a, b = plant_predictions(skill=1.0), plant_predictions(skill=2.0)
    for fold_a, fold_b in zip(a, b, strict=True):
        write_predictions(tmp_path / "a" / f"fold_{fold_a.fold}", fold_a)
        write_predictions(tmp_path / "b" / f"fold_{fold_b.fold}" / "finetuned", fold_b)
    assert with_folder_flags(["A", "B", "--seed", "1"]) == ["--a", "A", "--b", "B", "--seed", "1"]
    result = main(CompareOptions(a=str(tmp_path / "a"), b=str(tmp_path / "b"), resamples=50))
    assert json.loads((tmp_path / "b" / "compare.json").read_text()) == result
    assert "B is better" in capsys.readouterr().out
    assert len(load_folds(tmp_path / "a" / "fold_1")) == 1
    with pytest.raises(SystemExit, match="holds no predictions"):
        main(CompareOptions(a=str(tmp_path / "none"), b=str(tmp_path / "b")))
    with pytest.raises(ValueError, match="two folders"):
        CompareOptions(a="x")
