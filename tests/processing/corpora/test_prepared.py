import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from processing.corpora import action_unit_labels, corpus_metadata, load_corpus
from processing.corpora.official import FaceRecord, OfficialCorpus, ReadingReport
from processing.corpora.prepared import load_prepared, prepared_features, read_prepared_metadata, rows_with_faces

RECORDS = [FaceRecord("S1", groups={"gender": "man"}), FaceRecord("S2", groups={"age": "4-19"})]


def corpus(action_units=("AU12",), records=RECORDS):
    return OfficialCorpus("disfa", list(records), ReadingReport(), action_units, "intensity" if action_units else None)


def picture(shade):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade,) * 3).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": f"S1/{shade}.png"}


def rows(features, names, found, split=None):
    count = len(names)
    columns = {
        "image": [picture(10 * i) for i in range(count)],
        "corpus": ["disfa"] * count,
        "subject_id": names,
        "sequence_id": names,
        "frame": list(range(count)),
        "activity": [None] * count,
        "expression": [None] * count,
        "action_units": [{"AU12": float(i)} for i in range(count)],
        "groups": [{"age": None, "gender": "man"}] * count,
        "split": [split] * count,
        "face_found": found,
        "crop_origin": ["detected" if yes else "no face" for yes in found],
        "faces_seen": [int(yes) for yes in found],
        "trouble": [None if yes else "no face found" for yes in found],
    }
    return pa.table({name: columns[name] for name in features}, schema=features.arrow_schema)


@pytest.fixture
def folder(tmp_path):
    """What prepare.py writes, written by hand."""
    features = prepared_features(corpus())
    pq.write_table(rows(features, ["S1", "S1", "S2"], [True, False, True]), tmp_path / "all-00000-of-00002.parquet")
    pq.write_table(rows(features, ["S3"], [True]), tmp_path / "all-00001-of-00002.parquet")
    write_metadata(tmp_path)
    return tmp_path


def write_metadata(folder, **changes):
    metadata = {
        "prepared_format": 1,
        "complete": True,
        "corpus": "disfa",
        "action_unit_coding": "intensity",
        "crop_recipe": "eyes-nose-1",
        "options": {"camera": "left"},
        "settings": {"size": 8, "detector": "auto", "limit": 0},
        "shards": {"all-00000-of-00002.parquet": 3, "all-00001-of-00002.parquet": 1},
        **changes,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))


def test_rows_come_back_in_order_with_what_the_corpus_says_of_itself(folder):
    data = load_corpus("disfa", root=str(folder))
    assert data.features == prepared_features(corpus())
    assert data["subject_id"][:] == ["S1", "S1", "S2", "S3"] and data[2]["image"].getpixel((0, 0)) == (20, 20, 20)
    assert action_unit_labels(data, ["AU12"])[:, 0].tolist() == [0, 0, 1, 0]
    assert data["face_found"][:] == [True, False, True, True]
    about = corpus_metadata(data)
    assert about["corpus"] == "disfa" and about["crop_recipe"] == "eyes-nose-1" and "shards" not in about
    assert data.cache_files  # memory-mapped
    assert load_corpus("prepared", root=str(folder))["subject_id"][:] == data["subject_id"][:]


def test_rows_to_learn_from_have_a_face(folder):
    data = load_prepared(folder)
    assert rows_with_faces(data)["subject_id"][:] == ["S1", "S2", "S3"]
    assert corpus_metadata(rows_with_faces(data))["corpus"] == "disfa"
    plain = data.remove_columns(["face_found"])
    assert rows_with_faces(plain) is plain
    whole = rows_with_faces(data)
    assert rows_with_faces(whole) is whole


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"complete": False}, ValueError, r"is not finished: run `python train_scripts/prepare.py disfa .*\"left\""),
        ({"shards": {"all-00000-of-00002.parquet": 4}}, ValueError, "is damaged: run"),
        ({"shards": {"all-00002-of-00003.parquet": 4}}, ValueError, "is damaged: run"),
        ({"corpus": "bp4d"}, ValueError, "holds crops of 'bp4d', not of 'disfa'"),
        ({"prepared_format": 2}, ValueError, "has format 2, expected 1"),
    ],
)
def test_folders_that_cannot_serve_are_refused(folder, change, error, said):
    write_metadata(folder, **change)
    with pytest.raises(error, match=said):
        load_corpus("disfa", root=str(folder))


def test_other_folders_are_no_prepared_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no prepared folder"):
        load_corpus("prepared", root=str(tmp_path))
    for text in ("{", "[]", '{"corpus": "disfa"}'):
        (tmp_path / "metadata.json").write_text(text)
        assert read_prepared_metadata(tmp_path) is None


def test_options_must_be_those_it_was_prepared_with(folder):
    assert len(load_corpus("disfa", root=str(folder), camera="left")) == 4
    with pytest.raises(ValueError, match="was prepared with the options .*left.*, but .*right.* was asked for"):
        load_corpus("disfa", root=str(folder), camera="right")


def test_an_option_means_what_it_means_in_json(folder):
    write_metadata(folder, options={"labels": ["smirk", "nod"], "segments": "DISFA/segments.csv"})
    assert len(load_corpus("disfa", root=str(folder), labels=("smirk", "nod"))) == 4
    assert len(load_corpus("disfa", root=str(folder), segments=Path("DISFA", "segments.csv"))) == 4
    with pytest.raises(ValueError, match="but .*nod.* was asked for"):
        load_corpus("disfa", root=str(folder), labels=("nod",))
    with pytest.raises(TypeError, match="object"):
        load_corpus("disfa", root=str(folder), labels=object())


def test_shards_that_are_written_anew_are_read_anew(folder):
    assert load_prepared(folder)["subject_id"][3] == "S3"
    file = folder / "all-00001-of-00002.parquet"
    pq.write_table(rows(prepared_features(corpus()), ["S9"], [True]), file)
    os.utime(file, (1, 1))
    assert load_prepared(folder)["subject_id"][3] == "S9"


def test_a_damaged_copy_is_made_anew(folder):
    (file,) = load_prepared(folder).cache_files
    with open(file["filename"], "r+b") as copy:
        copy.truncate(500)
    assert load_prepared(folder)["subject_id"][3] == "S3"


def test_a_shard_that_is_damaged_within_is_named(folder, damage_within):
    damage_within(folder / "all-00000-of-00002.parquet")
    with pytest.raises(ValueError, match="all-00000-of-00002.parquet cannot be read .1 of 2 files.*prepare.py disfa"):
        load_prepared(folder)


def test_a_folder_that_may_not_be_written_is_read_all_the_same(folder, tmp_path_factory, monkeypatch):
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("processing.corpora.cache_folders.datasets.config.HF_DATASETS_CACHE", cache)
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: path != folder and access(path, mode))
    data = load_prepared(folder)
    assert len(data) == 4 and data.cache_files[0]["filename"].startswith(str(cache)) and not (folder / "arrow").exists()


def test_sets_without_action_units_or_groups_have_no_such_column():
    features = prepared_features(corpus(action_units=(), records=[FaceRecord("S1")]))
    assert "groups" not in features and "action_units" not in features
    assert list(prepared_features(corpus())["groups"]) == ["age", "gender"]
