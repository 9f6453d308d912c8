import os

import numpy as np
import pytest
from PIL import Image

from processing.corpora.image_folder import own_columns, read_image_folder
from processing.processing_clef import _unique


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, format="PNG" if path.suffix.lower() == ".png" else "JPEG")


def table(root, *lines, end="\n", mark=""):
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_bytes((mark + end.join(lines) + end).encode())


@pytest.fixture
def root(tmp_path):
    for name in ("anna/001.jpg", "anna/002.JPG", "ben/deep/1.png", "c.jpeg"):
        picture(tmp_path / name)
    return tmp_path


def counts(corpus):
    return {reason: corpus.report.count(reason) for reason in corpus.report.reasons}


def test_all_columns(root):
    table(
        root,
        "file,subject,split,sequence,frame,activity,expression,AU6,AU12,left,top,right,bottom",
        "anna/001.jpg,anna,train,smile,1,joke,happiness,1,1,1,2,7.5,8",
        "anna/002.JPG,anna,Train,smile,2,joke,Happiness,0,1,,,,",
        r"ben\deep\1.png,ben,test,walk,7,a walk in the park,boredom,9,,,,,",
        "C.jpeg,cleo,,,,,,999,0,,,,",
    )
    corpus = read_image_folder(root)
    first, second, third, fourth = corpus.records
    assert (first.subject_id, first.sequence_id, first.frame, first.split) == ("anna", "smile", 1, "train")
    assert (first.activity, first.expression) == ("joke", "happiness")
    np.testing.assert_array_equal(first.box, [1, 2, 7.5, 8])
    assert (second.split, second.expression, second.box) == ("train", "happiness", None)
    assert second.image == root / "anna/002.JPG" and third.image == root / "ben/deep/1.png"
    assert (third.activity, third.expression, third.split) == ("a walk in the park", "boredom", "test")
    assert (fourth.subject_id, fourth.split, fourth.expression, fourth.frame) == ("cleo", None, None, 0)
    units = [record.action_units for record in corpus.records]
    assert units == [
        {"AU6": 1, "AU12": 1},
        {"AU6": 0, "AU12": 1},
        {"AU6": None, "AU12": None},
        {"AU6": None, "AU12": 0},
    ]
    assert corpus.action_units == ("AU6", "AU12") and corpus.action_unit_coding == "occurrence"
    assert counts(corpus) == {
        "activity in words of one's own": 1,
        "expression in words of one's own": 1,
        "rows whose action units are read as occurrence (coding='auto')": 4,
    }
    assert "4 × rows whose action units are read as occurrence (coding='auto')" in corpus.report.lines()


def test_file_and_one_label_are_enough(root):
    table(root, "file,expression", "anna/001.jpg,fear", "c.jpeg,")
    corpus = read_image_folder(root)
    assert [(r.subject_id, r.expression, r.sequence_id) for r in corpus.records] == [
        ("anna/001", "fear", ""),
        ("c", None, ""),
    ]
    assert (corpus.action_units, corpus.action_unit_coding) == ((), None)
    assert corpus.report.count("no column subject: every picture counts as a person of its own") == 2
    assert corpus.report.as_dict()["picture without a label"]["by_sequence"] == {"anna": 1, "ben/deep": 1}


def test_codings(root):
    lines = "file,subject,au04", "anna/001.jpg,a,0", "anna/002.JPG,a,2.5", "c.jpeg,c,6", "ben/deep/1.png,b,1"
    table(root, *lines)
    expected = {"auto": [0, 2.5, None, 1], "intensity": [0, 2.5, None, 1], "occurrence": [0, None, None, 1]}
    for coding, values in expected.items():
        corpus = read_image_folder(root, coding=coding)
        assert [record.action_units["AU4"] for record in corpus.records] == values
        assert corpus.action_unit_coding == ("intensity" if coding == "auto" else coding)
        assert corpus.report.count("label outside its range") == values.count(None)
    with pytest.raises(ValueError, match="coding='percent'; expected one of 'auto', 'occurrence', 'intensity'"):
        read_image_folder(root, coding="percent")
    table(root, *lines[:2], "c.jpeg,c,6")  # 6 is no intensity, so it does not make these intensities
    assert read_image_folder(root).action_unit_coding == "occurrence"


def test_probabilities_are_not_taken_for_intensities(root):
    """Of which none would be strong enough to count. Codes of what was not coded, and slips, are no intensities."""
    table(root, "file,subject,AU4,AU6", "anna/001.jpg,a,0.93,9", "anna/002.JPG,a,0.07,1", "c.jpeg,c,6,999")
    with pytest.raises(ValueError, match="action units such as 0.07 .*round them to 0 and 1, or say coding='intensity"):
        read_image_folder(root)
    found = read_image_folder(root, coding="intensity")
    assert [record.action_units["AU4"] for record in found.records] == [0.93, 0.07, None]
    table(root, "file,subject,AU4,AU6", "anna/001.jpg,a,0.93,9", "anna/002.JPG,a,0.07,1.5")
    assert read_image_folder(root).action_unit_coding == "intensity"


def test_rows_that_cannot_be_used_are_counted(root):
    (root / "notes.txt").write_text("")
    (root / ".hidden").write_text("")
    outside = root.parent / "outside.jpg"
    picture(outside)
    table(
        root,
        "file,subject,expression,frame,left,top,right,bottom",
        "anna/001.jpg,anna,fear,-1,1,1,5,5",
        "anna/001.jpg,anna,fear,-1,1,1,5,5",
        "anna/001.jpg,ben,anger,2,6,1,8,5",
        "anna/002.JPG,anna,fear,3,,,,",
        "anna/002.JPG,anna,anger,3,,,,",
        "c.jpeg,,disgust,x,5,1,1,5",
        "../outside.jpg,dan,fear,1,,,,",
        f"{outside},dan,fear,1,,,,",
        ",dan,fear,1,,,,",
        "gone.jpg,dan,fear,1,,,,",
        "c.jpeg,cleo,fe",
        end="\r\n",
        mark="\ufeff",
    )
    corpus = read_image_folder(root)
    # One picture of two faces, one with a single row; the picture with contradictory rows is left out.
    assert [(record.image.name, record.expression) for record in corpus.records] == [
        ("001.jpg", "fear"),
        ("001.jpg", "anger"),
        ("c.jpeg", "disgust"),
    ]
    assert corpus.records[2].subject_id == "c" and corpus.records[2].box is None
    assert counts(corpus) == {
        "identical rows for one picture": 1,
        "contradictory rows for one picture": 1,
        "label without a picture": 4,
        "label outside its range": 2,
        "row without a subject, counted as a person of its own": 1,
        "box that cannot be used": 1,
        "truncated last line": 1,
        "picture without a label": 1,
        "file that is no picture": 1,
    }


def test_columns_without_a_use_are_named(root):
    table(root, "file,subject,smirk,note,AU46,left,AU12", "c.jpeg,c,1,x,1,3,0", "anna/001.jpg,a,,y,0,4,1")
    report = read_image_folder(root).report.as_dict()
    assert report["column of 0 and 1 that is not used"]["by_sequence"] == {"smirk": 1}
    assert report["column that is not used"]["by_sequence"] == {"note": 1, "left": 1}
    assert report["action units without a text here"]["by_sequence"] == {"AU46": 1}


def test_labels_of_ones_own_are_read_where_they_are_asked_for(root):
    table(
        root,
        "file,subject,smirk,mood,note,empty",
        "anna/001.jpg,a,1,bored stiff,x,",
        "anna/002.JPG,a,0.0,,,",
        "c.jpeg,c,,keen,1,",
    )
    assert own_columns(root) == {"smirk": "occurrence", "mood": "word", "note": "word"}
    corpus = read_image_folder(root, labels=["mood", "smirk"])
    assert corpus.own_labels == {"mood": "word", "smirk": "occurrence"}
    assert [record.own_labels for record in corpus.records] == [
        {"mood": "bored stiff", "smirk": 1},
        {"mood": None, "smirk": 0},
        {"mood": "keen", "smirk": None},
    ]
    assert corpus.report.as_dict()["column that is not used"]["by_sequence"] == {"note": 1, "empty": 1}
    with pytest.raises(ValueError, match="no labels in a column 'empty'; its further columns are smirk, mood, note"):
        read_image_folder(root, labels=["empty"])
    assert read_image_folder(root).own_labels == {}


def test_sequences_stand_for_people_where_nobody_is_named(root):
    table(root, "file,sequence,AU4", "anna/001.jpg,s1,0", "anna/002.JPG,s1,1", "c.jpeg,,1")
    corpus = read_image_folder(root)
    assert [record.subject_id for record in corpus.records] == ["s1", "s1", "c"]
    assert corpus.report.count("no column subject: every sequence counts as a person of its own") == 3


def test_a_sequence_stands_for_a_person_where_a_row_names_nobody(root):
    table(
        root,
        "file,subject,sequence",
        "anna/001.jpg,,s1",
        "anna/002.JPG,,s1",
        "c.jpeg,cleo,s2",
        "ben/deep/1.png,,",
    )
    corpus = read_image_folder(root)
    assert [record.subject_id for record in corpus.records] == ["s1", "s1", "cleo", "ben/deep/1"]
    assert counts(corpus) == {
        "row without a subject, whose sequence counts as a person of its own": 2,
        "row without a subject, counted as a person of its own": 1,
    }


def test_a_slip_in_a_split_is_refused(root):
    table(root, "file,split", "c.jpeg,tset", "anna/001.jpg,train")
    with pytest.raises(ValueError, match="1 rows of .*split 'tset'; expected train, validation, test or nothing"):
        read_image_folder(root)


def test_only_activities_that_a_model_can_be_shown_are_read(root):
    table(root, "file,activity", "c.jpeg,Joke", "anna/001.jpg,funny_joke", "anna/002.JPG,a walk", "ben/deep/1.png,")
    activities = [record.activity for record in read_image_folder(root).records]
    assert activities == ["joke", "funny_joke", "a walk", None]
    assert len(_unique(activities[:3])[0]) == 3
    table(root, "file,activity", "c.jpeg,interview", "anna/001.jpg,joke")
    with pytest.raises(ValueError, match="unknown activity 'interview'"):
        _unique(["interview"])
    corpus = read_image_folder(root)
    assert [record.activity for record in corpus.records] == [None, "joke"]
    assert any("activity of a single word that is no key, not read" in line for line in corpus.report.lines())


def test_action_units_are_known_in_every_usual_spelling(root):
    table(root, "file,AU 6,au04,Au 12,AU 99,AU6 L", "c.jpeg,1,0,1,1,1")
    corpus = read_image_folder(root)
    assert corpus.records[0].action_units == {"AU4": 0, "AU6": 1, "AU12": 1}
    assert counts(corpus)["action units without a text here"] == 1
    assert counts(corpus)["column of 0 and 1 that is not used"] == 1  # of one side of the face
    assert own_columns(root) == {"AU6 L": "occurrence"}


def test_tables_without_the_columns_are_refused(root, tmp_path):
    table(root, "image;expression", "c.jpeg;fear")
    with pytest.raises(ValueError, match=r"no column file, with commas between columns; its columns are image;expres"):
        read_image_folder(root)
    table(root, *[",".join(map(str, range(500)))] * 2)
    with pytest.raises(ValueError, match="no column file, .* 1, 2, 3, .{,200}…$"):
        read_image_folder(root)
    table(root, "file,AU4,au04", "c.jpeg,1,0")
    with pytest.raises(ValueError, match="two columns for AU4: 'AU4', 'au04'"):
        read_image_folder(root)
    for other in ("AU6", "AU06"):
        table(root, f"file,{other},AU 6", "c.jpeg,1,0")
        with pytest.raises(ValueError, match=f"two columns for AU6: '{other}', 'AU 6'"):
            read_image_folder(root)
    (root / "labels.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"looked for labels.csv, but it holds anna/, ben/, c.jpeg"):
        read_image_folder(root)
    with pytest.raises(FileNotFoundError, match="it is a file, not a folder"):
        read_image_folder(root / "c.jpeg")


def test_folders_may_be_links_even_in_a_circle(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    picture(elsewhere / "1.jpg")
    (root / "linked").symlink_to(elsewhere)
    (root / "anna/again").symlink_to(root)
    table(root, "file", "linked/1.jpg", "c.jpeg")
    corpus = read_image_folder(root)
    assert [record.image.name for record in corpus.records] == ["1.jpg", "c.jpeg"]
    assert corpus.report.count("picture without a label") == 3


def test_a_link_beside_its_folder_hides_neither(root):
    (root / "aaa").symlink_to(root / "anna")
    (root / "zzz").symlink_to(root / "anna")
    (root / "anna/ben").symlink_to(root / "ben")
    (root / "ben/anna").symlink_to(root / "anna")
    names = [f"{folder}/{name}" for folder in ("aaa", "anna", "ben/anna", "zzz") for name in ("001.jpg", "002.JPG")]
    names += ["aaa/ben/deep/1.png", "anna/ben/deep/1.png", "ben/deep/1.png", "zzz/ben/deep/1.png", "c.jpeg"]
    table(root, "file", *names)
    corpus = read_image_folder(root)
    assert [record.image.relative_to(root).as_posix() for record in corpus.records] == names
    assert counts(corpus) == {"no column subject: every picture counts as a person of its own": len(names)}


def test_names_that_differ_in_case_only(root):
    picture(root / "C.jpeg")
    table(root, "file,expression", "C.jpeg,fear", "c.jpeg,anger", "C.JPEG,disgust")
    corpus = read_image_folder(root)
    assert [(record.image.name, record.expression) for record in corpus.records] == [
        ("C.jpeg", "fear"),
        ("c.jpeg", "anger"),
    ]
    assert corpus.report.count("label without a picture") == 1


def test_a_folder_that_cannot_be_read_is_counted(root, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("anna"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    table(root, "file", "anna/001.jpg", "c.jpeg")
    corpus = read_image_folder(root)
    assert len(corpus.records) == 1
    assert corpus.report.as_dict()["folder that cannot be read"]["by_sequence"] == {"anna": 1}
