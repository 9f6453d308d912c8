"""Fold lists and fold rows: everybody in one place, the same draw every time, and nobody left out without a word."""

import warnings

import numpy as np
import pytest
from datasets import Dataset

from processing.corpora import folds
from processing.corpora.folds import assign_splits, fold_numbers, fold_report, fold_rows, people_by_fold, report_lines


def people(prefix, count, start=1):
    return [f"{prefix}{i:03d}" for i in range(start, start + count)]


def corpus(names, frames=3, split=None):
    columns = {"subject_id": [name for name in names for _ in range(frames)]}
    if split is not None:
        columns["split"] = [value for value in split for _ in range(frames)]
    return Dataset.from_dict(columns)


BP4D = people("F", 23) + people("M", 18)


@pytest.mark.parametrize(
    ("protocol", "everyone", "sizes"),
    [
        ("bp4d_3fold", BP4D, [13, 14, 14]),
        # 27 people; these numbers do not exist.
        (
            "disfa_3fold",
            [f"SN{i:03d}" for i in range(1, 33) if i not in (14, 15, 19, 20, 22)],
            [9, 9, 9],
        ),
        ("bp4d_plus_4fold", people("F", 82) + people("M", 58), [35, 35, 35, 35]),
    ],
)
def test_a_list_holds_everyone_of_the_data_set_once(protocol, everyone, sizes):
    lists = people_by_fold(protocol, np.array(everyone))
    assert [len(names) for names in lists] == sizes
    assert sorted(name for names in lists for name in names) == sorted(everyone)
    assert fold_report(corpus(everyone), protocol) == {
        "people": len(everyone),
        "without_fold": [],
        "frames_without_fold": 0,
        "missing": [],
    }


def test_folds_are_numbered_as_the_literature_does():
    # ME-GraphAU: "fold1: train: part1+part2 test: part3", and part 3 begins with F007 (BP4D) and SN003 (DISFA).
    assert people_by_fold("bp4d_3fold", np.array(BP4D))[0][:2] == ["F007", "F015"]
    assert people_by_fold("bp4d_3fold", np.array(BP4D))[2][:2] == ["F001", "M007"]
    assert people_by_fold("disfa_3fold", np.array(["SN001"]))[0][0] == "SN003"
    assert fold_numbers("bp4d_3fold") == [1, 2, 3] and fold_numbers("official") == [1]
    assert fold_numbers("kfold_4") == [1, 2, 3, 4]


@pytest.mark.parametrize("protocol", ["bp4d_3fold", "kfold_4"])
def test_splits_share_nobody_and_folds_test_everyone_once(protocol):
    data = corpus(np.random.default_rng(0).permutation(BP4D).tolist())
    subjects = np.array(data["subject_id"][:])
    tested = []
    for fold in fold_numbers(protocol):
        rows = {split: fold_rows(data, protocol, fold, split) for split in ("train", "validation", "test")}
        who = {split: set(subjects[part]) for split, part in rows.items()}
        assert not who["train"] & who["validation"] and not (who["train"] | who["validation"]) & who["test"]
        assert sorted(np.concatenate(list(rows.values()))) == list(range(len(data)))
        assert all((np.diff(part) > 0).all() for part in rows.values())
        assert len(who["validation"]) == round(0.15 * (len(BP4D) - len(who["test"])))
        np.testing.assert_array_equal(fold_rows(data, protocol, fold), np.arange(len(data)))
        tested += who["test"]
    assert sorted(tested) == sorted(BP4D)


def test_the_seed_decides_and_the_order_of_rows_does_not():
    data, shuffled = corpus(BP4D, 1), corpus(np.random.default_rng(1).permutation(BP4D).tolist(), 1)

    def who(rows_of, protocol, split, seed):
        return {rows_of[int(row)]["subject_id"] for row in fold_rows(rows_of, protocol, 2, split, seed=seed)}

    for protocol in ("kfold_3", "bp4d_3fold"):
        assert who(data, protocol, "validation", 0) == who(shuffled, protocol, "validation", 0)
        assert who(data, protocol, "validation", 0) != who(data, protocol, "validation", 1)
    assert who(data, "kfold_3", "test", 0) != who(data, "kfold_3", "test", 1)
    assert who(data, "bp4d_3fold", "test", 0) == who(data, "bp4d_3fold", "test", 1)
    assert len(fold_rows(data, "kfold_3", 1, "validation", validation_share=0.4)) == round(0.4 * (41 - 14))


def test_people_in_no_fold_and_people_who_are_missing_are_counted_and_said():
    data = corpus([name for name in BP4D if name not in ("F001", "M002")] + ["F099"])
    with pytest.warns(UserWarning) as said:
        rows = fold_rows(data, "bp4d_3fold", 1)
    assert [str(line.message) for line in said] == report_lines(fold_report(data, "bp4d_3fold"))
    assert len(rows) == len(data) - 3
    report = fold_report(data, "bp4d_3fold")
    assert report["without_fold"] == ["F099"] and report["frames_without_fold"] == 3
    assert report["missing"] == ["F001", "M002"]
    first, second = report_lines(report)
    assert "in no fold and left out: 3 frames of 1 person (F099)" in first and "2 people (F001, M002)" in second
    assert report_lines(report, names=False) == [
        "in no fold and left out: 3 frames of 1 person",
        "of the fold list's people, the corpus lacks 2 people",
    ]


def test_official_splits_are_kept_and_lend_validation_people_only_where_they_have_none():
    split = ["train"] * 8 + ["test"] * 3 + [None]
    data = corpus(people("p", 12), frames=2, split=split)
    assert len(fold_rows(data, "official", 1, "test")) == 6
    assert len(fold_rows(data, "official", 1, "validation", validation_share=0.25)) == 4
    assert len(fold_rows(data, "official", 1, "train", validation_share=0.25)) == 12
    assert fold_report(data, "official")["frames_without_fold"] == 2
    theirs = corpus(people("p", 5), split=["train", "train", "validation", "test", "test"])
    for seed in (0, 1):
        assert fold_rows(theirs, "official", 1, "validation", seed=seed).tolist() == [6, 7, 8]
    assert len(fold_rows(theirs, "official", 1, "train")) == 6


def test_what_would_leak_or_mislead_is_refused(monkeypatch):
    leaking = Dataset.from_dict({"subject_id": ["a", "b", "c", "a"], "split": ["train", "train", "train", "test"]})
    for seed in range(5):  # Also when "a" is drawn to validate, which would take the tested row along.
        with pytest.raises(ValueError, match=r"\(a\) are in both test and train: scores would be inflated"):
            fold_rows(leaking, "official", 1, "train", seed=seed)
    data = corpus(BP4D)
    with pytest.raises(ValueError, match="no person of the corpus .* is in the fold list disfa_3fold"):
        fold_rows(data, "disfa_3fold", 1)
    monkeypatch.setitem(folds.LISTS, "bp4d_3fold", (["F001", "F002"], ["F002"], BP4D[2:]))
    with pytest.raises(ValueError, match="F002 stand in two folds"):
        fold_rows(data, "bp4d_3fold", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bp4d_5fold", 1), "there is no protocol 'bp4d_5fold'.*kfold_K"),
        (("kfold_1", 1), "K at least 2"),
        (("kfold_3", 0), "fold: got 0, but kfold_3 has the folds 1, 2, 3"),
        (("kfold_3", None), "fold: got None"),
        (("kfold_3", 1, "dev"), "split: got 'dev'"),
        (("kfold_3", 1, "train", 0.0), "validation_share"),
        (("kfold_3", 1, "train", 0.99), "nobody is left to train on"),
        (("kfold_50", 1), "got 41 people, expected at least as many as folds"),
        (("official", 1), "no official splits"),
    ],
)
def test_refusals_say_what_was_got(arguments, message):
    with pytest.raises(ValueError, match=message):
        fold_rows(corpus(BP4D), *arguments)


def test_rows_without_a_person_and_unknown_splits_are_refused():
    with pytest.raises(ValueError, match="1 of 2 rows have no subject_id"):
        fold_rows(Dataset.from_dict({"subject_id": ["a", None]}), "kfold_2", 1)
    with pytest.raises(ValueError, match="got dev, expected train"):
        fold_rows(corpus(["a", "b"], split=["dev", "test"]), "official", 1)
    with pytest.raises(ValueError, match="no row in the test split"):
        fold_rows(corpus(["a", "b", "c"], split=["train", "train", "train"]), "official", 1)


def test_a_selection_of_rows_is_split_like_any_corpus():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = corpus(BP4D).select(range(3, 3 * len(BP4D), 2))
        assigned = assign_splits(data.filter(lambda row: True), "kfold_3", 1)
    np.testing.assert_array_equal(assign_splits(data, "kfold_3", 1), assigned)
