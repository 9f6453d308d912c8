import numpy as np
import pytest
from PIL import Image

from processing.corpora.raf_db import read_raf_db

POINTS = [(30, 40), (70, 41), (50, 60), (35, 80), (66, 81)]


def picture(path, size=(100, 100)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(path, format="JPEG")


def attributes(path, codes=(0, 1, 2), points=POINTS):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{x}\t{y}" for x, y in points] + [str(code) for code in codes]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def basic(tmp_path):
    """The seven labels, three to train with and four to test with."""
    basic = tmp_path / "basic"
    lines = []
    for label in range(1, 8):
        stem = f"train_{label:05d}" if label <= 3 else f"test_{label:04d}"
        picture(basic / "Image/aligned" / f"{stem}_aligned.jpg")
        picture(basic / "Image/original" / f"{stem}.jpg", (160, 120))
        attributes(basic / "Annotation/manual" / f"{stem}_manu_attri.txt", (label % 2, label % 3, label % 5))
        (basic / "Annotation/boundingbox").mkdir(exist_ok=True)
        (basic / "Annotation/boundingbox" / f"{stem}_boundingbox.txt").write_text("20.0 30.0 80.5 95.0 \n")
        lines.append(f"{stem}.jpg {label}")
    (basic / "EmoLabel").mkdir()
    (basic / "EmoLabel/list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return basic


def add_lines(basic, *lines):
    file = basic / "EmoLabel/list_patition_label.txt"
    file.write_text(file.read_text() + "\n".join(lines) + "\n")


def test_the_seven_labels_and_the_official_split(basic):
    corpus = read_raf_db(basic.parent)
    faces = {record.subject_id: record for record in corpus.records}
    # The manual's table, written out.
    assert {name: record.expression for name, record in faces.items()} == {
        "train_00001": "surprise",
        "train_00002": "fear",
        "train_00003": "disgust",
        "test_0004": "happiness",
        "test_0005": "sadness",
        "test_0006": "anger",
        "test_0007": "neutral",
    }
    assert [record.split for record in corpus.records] == ["train"] * 3 + ["test"] * 4
    assert all(record.aligned and record.points is None and record.box is None for record in corpus.records)
    assert faces["test_0004"].image == basic / "Image/aligned/test_0004_aligned.jpg"
    assert corpus.report.reasons == []
    assert (corpus.name, corpus.action_units, corpus.action_unit_coding) == ("raf_db", (), None)


def test_original_pictures_come_with_points_and_boxes(basic):
    record = read_raf_db(basic, aligned=False).records[0]
    assert record.image == basic / "Image/original/train_00001.jpg" and not record.aligned
    np.testing.assert_array_equal(record.points, POINTS)
    np.testing.assert_array_equal(record.box, [20, 30, 80.5, 95])


def test_groups_are_the_manual_s(basic):
    attributes(basic / "Annotation/manual/test_0007_manu_attri.txt", (2, 2, 4))
    corpus = read_raf_db(basic)
    groups = {record.subject_id: record.groups for record in corpus.records}
    assert groups["train_00001"] == {"gender": "woman", "race": "African-American", "age": "4-19"}
    assert groups["train_00003"] == {"gender": "woman", "race": "Caucasian", "age": "40-69"}
    assert groups["test_0004"] == {"gender": "man", "race": "African-American", "age": "70+"}
    assert groups["test_0005"] == {"gender": "woman", "race": "Asian", "age": "0-3"}
    assert groups["test_0007"] == {"race": "Asian", "age": "70+"}
    assert corpus.report.count("gender that the annotators were unsure of") == 1


def test_files_as_windows_leaves_them(basic):
    file = basic / "EmoLabel/list_patition_label.txt"
    text = file.read_text().replace("train_00001.jpg", "Train_00001.JPG")
    file.write_bytes(("\ufeff" + text.replace("\n", "\r\n") + "test_00").encode())
    (basic / "Image/aligned/test_0004_aligned.jpg").rename(basic / "Image/aligned/test_0004_aligned.JPG")
    corpus = read_raf_db(basic)
    assert [record.subject_id for record in corpus.records][:2] == ["train_00001", "train_00002"]
    assert len(corpus.records) == 7 and all(record.groups for record in corpus.records)
    assert corpus.report.count("truncated last line") == 1 and corpus.report.reasons == ["truncated last line"]


def test_labels_that_cannot_be_used_are_counted(basic):
    picture(basic / "Image/aligned/train_00010_aligned.jpg")
    picture(basic / "Image/aligned/train_00011_aligned.jpg")
    (basic / "Image/aligned/Thumbs.db").write_bytes(b"")
    add_lines(
        basic,
        "train_00010.jpg 8",
        "train_00001.jpg 1",
        "test_0007.jpg 7",
        "test_0007.jpg 6",
        "train_09999.jpg 2",
        "happy.jpg 4",
    )
    corpus = read_raf_db(basic)
    report = corpus.report
    assert sorted(record.subject_id for record in corpus.records) == [
        *(f"test_000{number}" for number in (4, 5, 6)),
        *(f"train_0000{number}" for number in (1, 2, 3)),
    ]
    counts = {reason: report.count(reason) for reason in report.reasons}
    assert counts == {
        "label outside its range": 1,
        "identical rows for one picture": 2,
        "contradictory rows for one picture": 1,
        "label without a picture": 1,
        "name that begins with neither train_ nor test_": 1,
        "picture without a label": 1,
        "file that is no picture": 1,
    }
    assert report.as_dict()["label outside its range"]["by_sequence"] == {"train": 1}
    assert "'8', expected 1 to 7" in report.as_dict()["label outside its range"]["examples"][0]
    assert report.as_dict()["picture without a label"]["examples"] == ["train_00011_aligned.jpg"]


def test_landmarks_and_attributes_that_do_not_fit_are_counted(basic):
    manual = basic / "Annotation/manual"
    mirrored = [POINTS[1], POINTS[0], *POINTS[2:]]
    attributes(manual / "train_00001_manu_attri.txt", points=mirrored)
    attributes(manual / "train_00002_manu_attri.txt", points=[(x + 300, y) for x, y in POINTS])  # beside the box
    attributes(manual / "train_00003_manu_attri.txt", codes=(0, 3, 1))
    (manual / "test_0004_manu_attri.txt").write_text("30 40\n70 41\n")
    (manual / "test_0005_manu_attri.txt").unlink()
    (basic / "Annotation/boundingbox/test_0006_boundingbox.txt").write_text("80 30 20 95\n")
    (basic / "Annotation/boundingbox/test_0007_boundingbox.txt").unlink()
    corpus = read_raf_db(basic, aligned=False)
    assert len(corpus.records) == 7
    assert [record.points is not None for record in corpus.records] == [False, False, True, False, False, True, True]
    assert [record.box is not None for record in corpus.records] == [True] * 5 + [False] * 2
    assert corpus.records[2].groups == {"gender": "man", "age": "4-19"}
    assert {reason: corpus.report.count(reason) for reason in corpus.report.reasons} == {
        "landmarks that cannot be used": 3,
        "attribute outside its range": 1,
        "attributes that cannot be read": 1,
        "picture without attributes": 1,
        "box that cannot be used": 1,
        "picture without a box": 1,
    }


def test_annotation_folders_may_be_missing(basic):
    (basic / "Annotation").rename(basic / "elsewhere")
    corpus = read_raf_db(basic, aligned=False)
    assert len(corpus.records) == 7 and corpus.records[0].groups == {} and corpus.records[0].points is None
    assert corpus.report.count("annotation folder that is missing") == 2


def test_a_wrong_root_says_what_it_looked_for(basic, tmp_path):
    file = tmp_path / "raf.zip"
    file.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="basic/EmoLabel/list_patition_label.txt.*it is a file"):
        read_raf_db(file)
    with pytest.raises(FileNotFoundError, match=r"basic/Image/aligned/, but it holds EmoLabel/"):
        (tmp_path / "half/EmoLabel").mkdir(parents=True)
        (tmp_path / "half/EmoLabel/list_patition_label.txt").write_text("train_00001.jpg 1\n")
        read_raf_db(tmp_path / "half")
