"""One's own data before training: label sets, words, people, crops."""

import csv
import json
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
from PIL import Image

from processing.corpora import load_corpus
from processing.corpora.schema import own_label_columns, own_label_matrix
from processing.prompts_clef import ACTION_UNITS, LabelText
from train_scripts.label_texts import known_text, read_label_texts, write_label_texts
from train_scripts.own_data import count_lines, prepare_own_data
from train_scripts.own_labels import choose_labels, columns_to_learn
from train_scripts.unpack_dataset import unpack_dataset

pytest.importorskip("cv2", reason="needs opencv-python-headless")


def write_folder(folder, rows):
    """A folder with a picture of its own for each row, and its labels.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", *rows[0]])
        writer.writeheader()
        for number, row in enumerate(rows):
            Image.new("RGB", (24, 24), (number % 256, 90, 120)).save(folder / f"{number}.png")
            writer.writerow({"file": f"{number}.png", **row})
    return folder


def people(count, frames=4, **columns):
    """Rows of `frames` pictures a person; columns: name → function of (person, frame)."""
    return [
        {"subject": f"p{p}", **{name: value(p, f) for name, value in columns.items()}}
        for p in range(count)
        for f in range(frames)
    ]


def prepared(tmp_path, rows, **options):
    folder = write_folder(tmp_path / "own", rows)
    return prepare_own_data(str(folder), tmp_path / "work", 16, "none", num_proc=1, **options)


def splits_of(data):
    return {
        split: load_corpus(data.corpus, root=data.root, split=split, **data.corpus_options) for split in data.splits
    }


def every(step):
    return lambda p, f: int((p + f) % step == 0)


def test_everything_that_is_surely_a_label_is_learned(tmp_path):
    rows = people(
        6,
        AU12=every(2),
        expression=lambda p, f: ["happiness", "bored_stiff"][f % 2],
        smirk=every(2),
        gaze_away=every(3),
        note=lambda p, f: "text",
    )
    data = prepared(tmp_path, rows)
    assert {name: list(labels) for name, labels in data.texts.items()} == {
        "action_units": ["AU12"],
        "expression": ["happiness", "bored_stiff"],
        "behaviours": ["smirk", "gaze_away"],
    }
    assert data.texts["action_units"]["AU12"] == ACTION_UNITS["AU12"]
    assert data.texts["expression"]["bored_stiff"] == LabelText("bored stiff", "")
    assert any("note" in note and "not learned" in note for note in data.notes)
    assert any("expression: learned from names alone, as bored_stiff" in note for note in data.notes)
    assert data.has_descriptions


def test_a_file_of_labels_says_what_is_learned_and_how_it_is_called(tmp_path):
    (tmp_path / "labels.yaml").write_text(
        "signals:\n  smirk: a crooked smile\n"
        "mood:\n  bored: {name: a bored face, description: the lids droop}\n"
        "  keen: {name: a keen face, description: the eyes are wide}\n  asleep:\n"
        "action_units:\n"
    )
    rows = people(6, smirk=every(2), other=every(3), AU4=every(2), mood=lambda p, f: ["bored", "keen", "cross"][f % 3])
    data = prepared(tmp_path, rows, texts=read_label_texts(tmp_path / "labels.yaml"))
    assert list(data.texts) == ["signals", "mood", "action_units"]
    assert data.texts["signals"] == {"smirk": LabelText("a crooked smile", "")}
    assert data.texts["mood"]["keen"] == LabelText("a keen face", "the eyes are wide")
    assert list(data.texts["action_units"]) == ["AU4"]
    assert any("mood: no picture is asleep" in note for note in data.notes)
    assert any("mood: cross not learned" in note for note in data.notes)
    everyone = load_corpus(data.corpus, root=data.root)
    assert own_label_columns(everyone) == {"smirk": "occurrence", "other": "occurrence", "mood": "word"}
    truth = np.array([[row["mood"] == word for word in ("bored", "keen")] for row in rows], dtype=np.float32)
    found = own_label_matrix(everyone, ["bored", "keen"], "mood")
    known = [row["mood"] != "cross" for row in rows]
    np.testing.assert_array_equal(found[known], truth[known])
    assert np.isnan(found[~np.array(known)]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got nothing, expected label sets"),
        ("signals: smirk", "got the label set 'signals' with a str"),
        ("identity:\n  smirk:", "cannot be called 'identity'"),
        ("signals:\n  yes: agreement", "got the label True, expected a name; put it in quotation marks"),
        ("signals:\n  smirk: {text: x}", "expected its name, or name and description below it"),
        ("signals:\n  smirk: ''", "expected texts that are not empty"),
        ("signals: [", "is no YAML"),
    ],
)
def test_files_of_labels_that_cannot_be_understood(tmp_path, text, message):
    (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_label_texts(tmp_path / "labels.yaml")


def test_written_labels_are_read_again(tmp_path):
    texts = {
        "expression": {"fear": known_text("fear"), "ennui": LabelText("ein gelangweiltes Gesicht: äh", "")},
        "action_units": {},
    }
    write_label_texts(tmp_path / "labels.yaml", texts)
    assert read_label_texts(tmp_path / "labels.yaml") == texts


def test_labels_without_a_column_are_refused():
    known = {"smirk": "occurrence", "mood": "word"}
    with pytest.raises(ValueError, match="the labels smrik of 'signals' have no columns .*; did you mean smirk"):
        columns_to_learn(known, {"signals": {"smrik": known_text("smrik")}}, [], [])
    with pytest.raises(ValueError, match="'signals' names no labels"):
        columns_to_learn(known, {"signals": {}}, [], [])
    assert columns_to_learn(known, {"mood": {}, "s": {"smirk": known_text("smirk")}}, [], []) == ["mood", "smirk"]


def test_nothing_to_learn_and_two_spellings(tmp_path):
    with pytest.raises(ValueError, match="nothing to learn"):
        prepared(tmp_path, people(4, mood=lambda p, f: "calm"))
    with pytest.raises(ValueError, match="expression: got both .*oredom' and '.oredom', expected one spelling"):
        prepared(tmp_path / "b", people(4, expression=lambda p, f: ["boredom", "Boredom"][f % 2]))


def test_each_person_is_in_one_split(tmp_path):
    data = prepared(tmp_path, people(10, smirk=every(2)), seed=3)
    parts = splits_of(data)
    names = {split: set(part["subject_id"][:]) for split, part in parts.items()}
    assert {split: len(found) for split, found in names.items()} == {"train": 6, "validation": 2, "test": 2}
    assert not (names["train"] & names["validation"] or names["train"] & names["test"])
    assert data.told_apart_by == "subject" and not any("WARNING" in note for note in data.notes if "subject" in note)
    others = splits_of(prepared(tmp_path / "again", people(10, smirk=every(2)), seed=4))
    assert set(others["test"]["subject_id"][:]) != names["test"]


@pytest.mark.parametrize("column", ["missing", "blank", "blank for some"])
@pytest.mark.parametrize(
    ("columns", "unit"), [({}, "picture"), ({"sequence": lambda p, f: f"s{(4 * p + f) // 2}"}, "sequence")]
)
def test_without_subjects_pictures_or_sequences_are_told_apart_and_that_is_said(tmp_path, columns, unit, column):
    rows = people(6, smirk=every(2), **columns)
    for row in rows:
        if column == "missing":
            del row["subject"]
        elif column == "blank" or row["subject"] != "p0":
            row["subject"] = ""
    data = prepared(tmp_path, rows)
    assert data.told_apart_by == unit
    said = f"WARNING: the column subject does not say who everybody is, so each {unit} without it counts as a person"
    assert any(said in note for note in data.notes)
    if unit == "sequence":
        names = [set(part["sequence_id"][:]) for part in splits_of(data).values()]
        assert not names[0] & names[1] and not names[0] & names[2]


def test_the_column_split_decides_where_it_says_enough(tmp_path):
    told = {0: "test", 1: "validation", 2: "train", 3: "train", 4: ""}
    data = prepared(tmp_path, people(5, smirk=every(2), split=lambda p, f: told[p]))
    names = {split: set(part["subject_id"][:]) for split, part in splits_of(data).items()}
    assert names == {"train": {"p2", "p3"}, "validation": {"p1"}, "test": {"p0"}}
    assert "4 pictures have no split and are not used" in data.notes

    told = {0: "validation", 1: "train", 2: "train"}
    data = prepared(tmp_path / "no_test", people(3, smirk=every(2), split=lambda p, f: told[p]))
    assert not data.test and any("no picture has split test" in note for note in data.notes)
    assert {split: len(part) for split, part in splits_of(data).items()} == {"train": 8, "validation": 4}

    data = prepared(tmp_path / "all_train", people(5, smirk=every(2), split=lambda p, f: "train"))
    assert data.test and any("says train alone, so people are drawn" in note for note in data.notes)


def test_too_few_people(tmp_path):
    with pytest.raises(ValueError, match="got 2 people, expected at least 3"):
        prepared(tmp_path, people(2, smirk=every(2)))


def test_labels_are_counted_split_by_split_and_rare_ones_are_named(tmp_path):
    told = {0: "test", 1: "validation"}
    rows = people(
        4,
        split=lambda p, f: told.get(p, "train"),
        smirk=lambda p, f: int(f < 2),
        wink=lambda p, f: int(p > 1 and f == 0),
        nod=lambda p, f: int(p == 0),
        blank=lambda p, f: "" if f else 1,
    )
    data = prepared(tmp_path, rows)
    assert data.counts["behaviours"]["smirk"] == {"train": (4, 8), "validation": (2, 4), "test": (2, 4)}
    assert data.counts["behaviours"]["blank"]["train"] == (2, 2) and data.training_frames == 8
    table = "\n".join(count_lines(data))
    assert "4 of 8" in table and "2 of 2" in table
    assert any("no training picture shows nod" in note for note in data.notes)
    assert any("no validation picture shows wink, so its threshold stays" in note for note in data.notes)
    with pytest.raises(ValueError, match="of 4 validation pictures none shows a label of behaviours"):
        prepared(tmp_path / "b", people(4, split=lambda p, f: told.get(p, "train"), nod=lambda p, f: int(p != 1)))


def test_pictures_without_a_face_are_said_and_all_without_are_refused(tmp_path):
    folder = write_folder(tmp_path / "own", people(4, smirk=every(2)))
    with pytest.raises(ValueError, match="in none of 16 pictures was a face found"):
        prepare_own_data(str(folder), tmp_path / "work", 16, "haar", num_proc=1)
    with pytest.raises(FileNotFoundError, match="no YuNet model at"):
        prepare_own_data(str(folder), tmp_path / "work", 16, str(tmp_path / "gone.onnx"))


def table_of(folder):
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def make_dataset(count=6):
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "subject_id": datasets.Value("string"),
            "mood": datasets.ClassLabel(names=["calm", "cross"]),
            "smirk": datasets.Value("bool"),
            "action_units": {"AU12": datasets.Value("float32")},
            "boxes": datasets.Sequence(datasets.Value("float32")),
        }
    )
    rows = {
        "image": [Image.new("RGB", (20, 20), (i, 0, 0)) for i in range(count)],
        "subject_id": [f"p{i // 2}" for i in range(count)],
        "mood": [i % 2 for i in range(count)],
        "smirk": [i % 3 == 0 for i in range(count)],
        "action_units": [{"AU12": None if i == 1 else float(i % 2)} for i in range(count)],
        "boxes": [[1.0]] * count,
    }
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_data_set_becomes_a_folder(tmp_path):
    source = tmp_path / "parquet"
    (source / "data").mkdir(parents=True)
    for split, count in (("train", 8), ("test", 4)):
        make_dataset(count).to_parquet(source / "data" / f"{split}-00000-of-00001.parquet")
    result = unpack_dataset(str(source), tmp_path / "pictures")
    assert (result["rows"], result["classes"], result["splits_left_out"]) == (12, ["mood"], [])
    assert result["left_out"] == {"boxes": "not one value a row"}
    rows = table_of(tmp_path / "pictures")
    assert [row["split"] for row in rows] == ["train"] * 8 + ["test"] * 4
    assert [row["mood"] for row in rows[:3]] == ["calm", "cross", "calm"]
    assert [row["smirk"] for row in rows[:4]] == ["1", "0", "0", "1"]
    assert [row["AU12"] for row in rows[:3]] == ["0.0", "", "0.0"] and rows[2]["subject"] == "p1"
    for number, row in enumerate(rows[:8]):
        assert Image.open(tmp_path / "pictures" / row["file"]).getpixel((0, 0)) == (number, 0, 0)
    before = (tmp_path / "pictures" / "labels.csv").stat().st_mtime_ns
    assert unpack_dataset(str(source), tmp_path / "pictures") == result
    assert (tmp_path / "pictures" / "labels.csv").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="holds the pictures of"):
        unpack_dataset("org/other", tmp_path / "pictures")
    with pytest.raises(ValueError, match="was not written by this command"):
        unpack_dataset(str(source), source)


def test_declared_classes_of_a_data_set_are_learned(tmp_path):
    make_dataset(12).save_to_disk(tmp_path / "saved")
    data = prepare_own_data(str(tmp_path / "saved"), tmp_path / "work", 16, "none", num_proc=1)
    assert {name: list(labels) for name, labels in data.texts.items()} == {
        "action_units": ["AU12"],
        "behaviours": ["smirk"],
        "mood": ["calm", "cross"],
    }
    assert any("column boxes is not read" in note for note in data.notes)


def test_what_is_no_data_set_is_said_to_be_none(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="is no folder with a labels.csv"):
        prepare_own_data(str(tmp_path / "empty"), tmp_path / "work", 16, "none")
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match="is a file, expected a folder"):
        prepare_own_data(str(tmp_path / "file.txt"), tmp_path / "work", 16, "none")


def test_a_prepared_folder_is_taken_as_it_is(tmp_path):
    rows = people(6, smirk=every(2), AU6=every(2))
    first = prepared(tmp_path, rows)
    again = prepare_own_data(first.root, tmp_path / "elsewhere", 99)
    assert (again.texts, again.counts, again.corpus) == (first.texts, first.counts, "image_folder")
    assert not (tmp_path / "elsewhere").exists()
    metadata = json.loads((tmp_path / "work" / "crops" / "metadata.json").read_text())
    assert metadata["image_size"] == 16


def test_a_corrected_table_and_another_size_make_the_crops_anew(tmp_path, capsys):
    rows = people(6, smirk=every(2))
    first = prepared(tmp_path, rows)
    rows[0]["smirk"] = 1 - rows[0]["smirk"]
    second = prepared(tmp_path, rows)
    assert "they are made anew" in capsys.readouterr().out
    total = [sum(d.counts["behaviours"]["smirk"][s][0] for s in d.splits) for d in (first, second)]
    assert abs(total[1] - total[0]) == 1
    prepared(tmp_path, rows)
    assert "they are made anew" not in capsys.readouterr().out


def test_crops_of_known_labels_alone_are_kept(tmp_path, capsys):
    rows = people(6, AU12=every(2))
    prepared(tmp_path, rows)
    crops = sorted((tmp_path / "work" / "crops").glob("*.parquet"))
    written = [file.stat().st_mtime_ns for file in crops]
    prepared(tmp_path, rows)
    assert "they are made anew" not in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in crops] == written


def test_choosing_labels_needs_them_in_the_data(tmp_path):
    data = prepared(tmp_path, people(4, smirk=every(2), AU6=every(2)))
    everyone = load_corpus(data.corpus, root=data.root)
    with pytest.raises(ValueError, match="no picture codes AU12; there are: AU6"):
        choose_labels(everyone, {"action_units": {"AU12": known_text("AU12")}}, [])
    with pytest.raises(ValueError, match="no picture has a label of 'expression'"):
        choose_labels(everyone, {"expression": {}}, [])


def test_a_label_too_long_for_the_table_is_seen_to_be_cut():
    texts = {"signals": {"smirk": SimpleNamespace(name="a smirk on one side of the mouth")}}
    data = SimpleNamespace(counts={"signals": {"smirk": {"train": (4, 8)}}}, splits=("train",), texts=texts)
    line = count_lines(data)[1]
    assert line.startswith("  smirk (a smirk on one side of the… ") and line.endswith(" 4 of 8") and len(line) == 52
