from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from processing.corpora import action_unit_labels, adapters, corpus_metadata, expression_labels, load_corpus
from processing.corpora.official import FaceRecord, OfficialCorpus, ReadingReport

SMALL = {"subjects": 6, "frames": 2, "image_size": 32, "num_proc": 1}


def read_toy(root, aligned=False, videos=False):
    """Six faces of three people: S1 and S2 to train with, S3 to test; the last comes as a table's pixels."""
    report = ReadingReport()
    report.add("picture without a label", "S1", 3)
    records = [
        FaceRecord(
            subject_id=f"S{n // 2 + 1}",
            image=root / f"{n}.png" if n < 5 else None,
            pixels=np.full((9, 9), 77, np.uint8) if n == 5 else None,
            frame=n,
            expression="fear",
            action_units={"AU4": float(n), "AU12": None},
            split="train" if n < 4 else "test",
            aligned=aligned,
            groups={"gender": "woman"} if n < 2 else {},
        )
        for n in range(6)
    ]
    if videos:
        records = [FaceRecord("S1", video=root / "a.avi", video_frame=0)]
    return OfficialCorpus("toy", records, report, ("AU4", "AU12"), "intensity", "free")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setitem(adapters.READERS, "toy", read_toy)
    for n in range(5):
        Image.new("RGB", (12, 10), (n,) * 3).save(tmp_path / f"{n}.png")
    return str(tmp_path)


def test_official_files_are_rows_that_point_to_the_pictures(root, caplog):
    data = load_corpus("toy", root=root)
    assert data["subject_id"][:] == ["S1", "S1", "S2", "S2", "S3", "S3"] and data["frame"][:] == [*range(6)]
    assert [image.size for image in data["image"]] == [(12, 10)] * 5 + [(9, 9)]
    assert [image.getpixel((0, 0))[0] for image in data["image"]] == [0, 1, 2, 3, 4, 77]
    assert np.nan_to_num(action_unit_labels(data, ["AU4", "AU12"]), nan=-1).tolist() == [
        [float(n >= 2), -1] for n in range(6)
    ]
    assert expression_labels(data, ["fear"]).all() and data["groups"][1:3] == [{"gender": "woman"}, {"gender": None}]
    about = corpus_metadata(data)
    assert about["crop_recipe"] == "toy-uncropped" and about["options"] == {"aligned": False, "videos": False}
    assert about["reading_report"]["picture without a label"]["count"] == 3
    assert "toy: 3 × picture without a label" in caplog.text
    assert corpus_metadata(load_corpus("toy", root=root, aligned=True))["crop_recipe"] == "toy-aligned"


def test_official_splits(root):
    assert load_corpus("toy", root=root, split="train")["frame"][:] == [0, 1, 2, 3]
    assert load_corpus("toy", root=root, split="test")["frame"][:] == [4, 5]
    with pytest.raises(
        ValueError, match="no official split 'validation', only 'test', 'train'; .*'official' or 'kfold_5'"
    ):
        load_corpus("toy", root=root, split="validation")
    people = [set(load_corpus("toy", root=root, split=s, protocol="official", fold=1)["subject_id"]) for s in SPLITS]
    assert people[2] == {"S3"} and people[0] | people[1] == {"S1", "S2"} and not people[0] & people[1]


SPLITS = ("train", "validation", "test")


def test_no_person_is_in_two_official_splits(root, monkeypatch):
    def read_as(subjects, splits):
        def read(root):
            toy = read_toy(root)
            given = zip(toy.records, subjects, splits, strict=True)
            toy.records = [replace(record, subject_id=name, split=split) for record, name, split in given]
            return toy

        monkeypatch.setitem(adapters.READERS, "toy", read)

    read_as("AABCAB", ["train"] * 4 + ["test"] * 2)
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=r"2 people \(A, B\) are in both test and train: scores would be inflated"):
            load_corpus("toy", root=root, split=split)
    assert len(load_corpus("toy", root=root)) == 6
    read_as("ABCDEF", ["train"] * 4 + ["test"] * 2)  # every picture counts as a person of its own
    assert load_corpus("toy", root=root, split="test")["subject_id"][:] == ["E", "F"]
    read_as("AABBAC", ["train"] * 4 + [None, "test"])  # a picture in no split is in no other one
    assert load_corpus("toy", root=root, split="train")["subject_id"][:] == ["A", "A", "B", "B"]


def test_videos_are_refused_with_what_to_run(root):
    command = r"python train_scripts/prepare.py toy --root .* --output FOLDER --corpus_options '{\"videos\": true}'"
    with pytest.raises(ValueError, match=f"holds videos.*`{command}`, then give FOLDER as root"):
        load_corpus("toy", root=root, videos=True)


def test_a_protocol_parts_the_people_of_any_corpus(tmp_path):
    def load(**choice):
        return load_corpus("synthetic", cache_dir=str(tmp_path), **SMALL, **choice)

    everyone = set(load()["subject_id"])
    tested = []
    for fold in (1, 2, 3):
        parts = [load(split=split, protocol="kfold_3", fold=fold) for split in SPLITS]
        people = [set(part["subject_id"]) for part in parts]
        assert set.union(*people) == everyone and sum(map(len, people)) == len(everyone)
        assert sum(map(len, parts)) == len(load()) and corpus_metadata(parts[0])["corpus"] == "synthetic"
        tested.append(people[2])
    assert set.union(*tested) == everyone and sum(map(len, tested)) == len(everyone)
    half = load(split="validation", protocol="kfold_3", fold=1, validation_share=0.5)
    assert len(set(half["subject_id"])) == 2
    seeds = [set(load(split="test", protocol="kfold_3", fold=1, fold_seed=seed)["subject_id"]) for seed in range(5)]
    assert any(people != seeds[0] for people in seeds)


def test_what_cannot_be_meant_is_refused(root, tmp_path):
    with pytest.raises(ValueError, match="fold=1 of which protocol"):
        load_corpus("toy", root=root, fold=1)
    with pytest.raises(
        ValueError, match="there is no corpus 'disfaa'; there are: 'synthetic', 'ict_facekit', 'bp4d', "
    ):
        load_corpus("disfaa", root=root)
    with pytest.raises(ValueError, match="'toy' has files of its own: give root, a folder .* or the official files"):
        load_corpus("toy")
    with pytest.raises(ValueError, match="'prepared' has files of its own"):
        load_corpus("prepared")
    with pytest.raises(ValueError, match="split is 'dev'"):
        load_corpus("toy", root=root, split="dev")
    with pytest.raises(TypeError, match="toy has no option 'align'; it has: aligned, videos"):
        load_corpus("toy", root=root, align=True)


@pytest.mark.parametrize("name", ["bp4d", "bp4d_plus", "disfa", "raf_db", "affectnet", "ferplus", "image_folder"])
def test_every_data_set_says_what_it_misses_in_a_wrong_root(name, tmp_path):
    (tmp_path / "holiday.txt").write_text("")
    with pytest.raises(FileNotFoundError, match="looked for .*holiday.txt.* docs/data_sets.md"):
        load_corpus(name, root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="it is a file, not a folder"):
        load_corpus(name, root=str(tmp_path / "holiday.txt"))
    with pytest.raises(FileNotFoundError, match="it does not exist"):
        load_corpus(name, root=str(tmp_path / "nowhere"))


def test_a_set_without_a_face_is_refused(tmp_path, monkeypatch):
    report = ReadingReport()
    report.add("label without a frame", count=4)
    monkeypatch.setitem(adapters.READERS, "toy", lambda root: OfficialCorpus("toy", [], report))
    with pytest.raises(ValueError, match="no face of toy could be read from .*: 4 × label without a frame"):
        load_corpus("toy", root=str(tmp_path))
