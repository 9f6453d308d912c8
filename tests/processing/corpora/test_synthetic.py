import json
import multiprocessing
import shutil

import numpy as np
import pytest

from processing.corpora import action_unit_labels, corpus_metadata, load_corpus, synthetic
from processing.corpora.behaviour import ACTION_UNITS, ACTIVITIES, clip_action_units
from processing.corpora.synthetic import render_clip, split_subjects

SMALL = {"subjects": 4, "frames": 2, "image_size": 32}


def small(cache_dir, **options):
    return load_corpus("synthetic", cache_dir=str(cache_dir), **{"num_proc": 1, **SMALL, **options})


def pixels(data):
    return np.stack([np.asarray(image) for image in data["image"]])


def by_sequence(data):
    return {
        (row["sequence_id"], row["frame"]): (np.asarray(row["image"]).tobytes(), row["expression"], row["action_units"])
        for row in data
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture(scope="module")
def whole(cache):
    return small(cache)


def test_rows(whole):
    assert len(whole) == 4 * 8 * 2
    row = whole[0]
    assert row["image"].size == (32, 32) and row["image"].mode == "RGB"
    assert row["corpus"] == "synthetic" and row["activity"] == "joke" and row["frame"] == 0
    assert row["sequence_id"] == f"{row['subject_id']}_joke"
    assert list(row["action_units"]) == list(ACTION_UNITS)
    assert set(whole["subject_id"]) == {"S000", "S001", "S002", "S003"}
    assert set(whole["activity"]) == set(ACTIVITIES)
    number = int(row["subject_id"][1:])
    np.testing.assert_array_equal(list(row["action_units"].values()), clip_action_units(0, number, 0, 2)[0])


def test_activities_are_those_that_texts_exist_for():
    prompts = pytest.importorskip("processing.prompts_clef")
    assert set(ACTIVITIES) <= set(prompts.ACTIVITIES)
    assert set(ACTION_UNITS) <= set(prompts.ACTION_UNITS)


def test_splits_share_no_subject(cache, whole):
    splits = {name: small(cache, split=name) for name in ("train", "validation", "test")}
    subjects = {name: set(data["subject_id"]) for name, data in splits.items()}
    assert [len(subjects[name]) for name in ("train", "validation", "test")] == [2, 1, 1]
    assert len(set.union(*subjects.values())) == 4
    assert sum(map(len, splits.values())) == len(whole)
    assert str(splits["test"].split) == "test"
    recorded = corpus_metadata(whole)["splits"]
    assert {name: set(numbers) for name, numbers in recorded.items()} == subjects


@pytest.mark.parametrize(
    ("subjects", "sizes"), [(72, (48, 8, 16)), (3, (1, 1, 1)), (9, (6, 1, 2)), (100, (67, 11, 22))]
)
def test_split_sizes(subjects, sizes):
    parts = split_subjects(subjects, seed=0)
    assert tuple(len(part) for part in parts.values()) == sizes
    assert sorted(sum(parts.values(), [])) == list(range(subjects))
    assert split_subjects(subjects, seed=0) == parts
    if subjects > 3:
        assert split_subjects(subjects, seed=1) != parts


def test_processes_make_no_difference(whole, tmp_path):
    assert by_sequence(small(tmp_path, num_proc=2)) == by_sequence(whole)


def test_subjects_do_not_depend_on_how_many_there_are(whole, tmp_path):
    more = by_sequence(small(tmp_path, subjects=5))
    assert all(more[key] == value for key, value in by_sequence(whole).items())


def test_seed_decides(cache, whole, tmp_path):
    np.testing.assert_array_equal(pixels(small(tmp_path)), pixels(whole))
    assert small(tmp_path)["subject_id"] == whole["subject_id"]
    other = by_sequence(small(tmp_path, seed=1))
    assert all(other[key][0] != value[0] for key, value in by_sequence(whole).items())


def test_the_cache_is_used_and_options_are_told_apart(whole, cache, monkeypatch):
    monkeypatch.setattr(synthetic, "render_clip", None)
    np.testing.assert_array_equal(pixels(small(cache)), pixels(whole))
    for option in ({"purity": 0.5}, {"off_script": 0.2}, {"frames": 3}, {"image_size": 33}, {"seed": 2}):
        with pytest.raises(TypeError):  # has to render
            small(cache, **option)


def folders(cache_dir):
    return [path for path in (cache_dir / "clef-synthetic").iterdir() if path.is_dir()]


def test_a_render_that_dies_leaves_nothing_that_is_taken_for_a_corpus(tmp_path, whole, monkeypatch):
    calls = iter(range(1000))

    def dies_half_way(*arguments):
        if next(calls) == 20:
            raise KeyboardInterrupt
        return render_clip(*arguments)

    monkeypatch.setattr(synthetic, "render_clip", dies_half_way)
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path)
    assert folders(tmp_path) == []
    monkeypatch.undo()
    np.testing.assert_array_equal(pixels(small(tmp_path)), pixels(whole))


def test_a_killed_render_is_cleared_away(tmp_path, whole):
    small(tmp_path)
    (folder,) = folders(tmp_path)
    leftover = folder.rename(folder.with_name(f"{folder.name}.123-abc.tmp"))  # what a killed process leaves behind
    (leftover / "test.arrow").unlink()
    np.testing.assert_array_equal(pixels(small(tmp_path)), pixels(whole))
    assert folders(tmp_path) == [folder]


@pytest.mark.parametrize("damage", ["missing", "truncated", "no metadata", "too few rows"])
def test_a_damaged_cache_is_rendered_again(tmp_path, whole, damage):
    small(tmp_path)
    (folder,) = folders(tmp_path)
    if damage == "missing":
        (folder / "validation.arrow").unlink()
    elif damage == "truncated":
        file = folder / "validation.arrow"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "no metadata":
        (folder / "metadata.json").unlink()
    else:
        shutil.copy(folder / "test.arrow", folder / "train.arrow")
    np.testing.assert_array_equal(pixels(small(tmp_path)), pixels(whole))


def test_a_complete_corpus_is_read_where_nothing_may_be_written(tmp_path, whole, read_only):
    small(tmp_path)
    read_only(tmp_path)
    np.testing.assert_array_equal(pixels(small(tmp_path)), pixels(whole))
    with pytest.raises(PermissionError, match="nothing can be written in the cache folder.*cache_dir"):
        small(tmp_path, seed=1)


def test_a_cache_dir_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="the cache folder '.*file.*' cannot be made .*: name another folder"):
        small(tmp_path / "file")


def load_and_report(cache_dir, queue):
    queue.put(pixels(small(cache_dir)).sum())


def test_processes_that_load_at_once_agree(tmp_path, whole):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    loaders = [context.Process(target=load_and_report, args=(tmp_path, queue)) for _ in range(3)]
    for loader in loaders:
        loader.start()
    sums = [queue.get(timeout=60) for _ in loaders]
    for loader in loaders:
        loader.join()
    assert sums == [pixels(whole).sum()] * 3
    assert len(folders(tmp_path)) == 1


def test_metadata(whole, tmp_path):
    metadata = corpus_metadata(whole)
    assert metadata["corpus"] == "synthetic" and metadata["crop_recipe"] == "synthetic-1"
    assert metadata["action_unit_coding"] == "intensity"
    assert metadata["options"]["subjects"] == 4 and metadata["options"]["purity"] == 0.9
    smiles = whole.filter(lambda name: name == "happiness", input_columns="expression")
    assert corpus_metadata(smiles) == metadata == corpus_metadata(whole.select([5, 1]))
    assert json.loads(whole.info.description) == metadata


def test_labels_of_the_corpus(whole):
    labels = action_unit_labels(whole, ["AU12", "AU4"])
    expected = [[row["AU12"] >= 2, row["AU4"] >= 2] for row in whole["action_units"]]
    np.testing.assert_array_equal(labels, np.array(expected, dtype=np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subjects": 2}, "subjects is 2; expected a whole number from 3"),
        ({"subjects": 4.0}, "subjects is 4.0"),
        ({"frames": 0}, "frames is 0"),
        ({"image_size": 31}, "image_size is 31; expected a whole number from 32 to 256"),
        ({"image_size": 257}, "image_size is 257"),
        ({"seed": -1}, "seed is -1"),
        ({"purity": 1.5}, "purity is 1.5"),
        ({"off_script": -0.1}, "off_script is -0.1"),
        ({"num_proc": 0}, "num_proc is 0"),
        ({"split": "dev"}, "split is 'dev'; expected one of 'train', 'validation', 'test'"),
        ({"root": "/data"}, "no files"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        small(tmp_path, **options)


def test_unknown_options_and_corpora_are_refused():
    with pytest.raises(TypeError, match="subject"):
        load_corpus("synthetic", subject=3)
    with pytest.raises(ValueError, match="no corpus 'sythetic'.*'synthetic'"):
        load_corpus("sythetic")
