import numpy as np
import pytest
from PIL import Image

from processing.corpora.affectnet import read_affectnet

NAMES = ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"]
HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal".split(
    ","
)


def landmarks(shift=0.0):
    """(68, 2): right eye around (40, 50), left eye around (80, 50), nose tip (60, 70), mouth corners (45|75, 90)."""
    points = np.full((68, 2), (60.0, 100.0))
    circle = np.array([(np.cos(turn), np.sin(turn)) for turn in np.arange(6) * np.pi / 3])
    points[36:42], points[42:48] = (40, 50) + 4 * circle, (80, 50) + 4 * circle
    points[30], points[48], points[54] = (60, 70), (45, 90), (75, 90)
    return points + shift


FIVE = [(40, 50), (80, 50), (60, 70), (45, 90), (75, 90)]


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, format="JPEG")


def counts(corpus):
    return {reason: corpus.report.count(reason) for reason in corpus.report.reasons}


@pytest.fixture
def arrays(tmp_path):
    """The release with NumPy files: ids 0 to 7, once in each part, whose numbering begins anew."""
    root = tmp_path / "arrays"
    for part in ("train_set", "val_set"):
        (root / part / "annotations").mkdir(parents=True)
        for number in range(8):
            picture(root / part / "images" / f"{number}.jpg")
            np.save(root / part / "annotations" / f"{number}_exp.npy", np.array(str(number)))
            np.save(root / part / "annotations" / f"{number}_lnd.npy", landmarks().ravel())
    return root


def test_arrays_give_eight_expressions(arrays):
    corpus = read_affectnet(arrays)
    assert [record.expression for record in corpus.records] == NAMES * 2
    assert [record.split for record in corpus.records] == ["train"] * 8 + ["test"] * 8
    assert len({record.subject_id for record in corpus.records}) == 16
    np.testing.assert_allclose(corpus.records[9].points, FIVE, atol=1e-9)
    assert corpus.records[9].image == arrays / "val_set/images/1.jpg"
    assert counts(corpus) == {} and corpus.action_units == ()


def test_seven_classes_leave_contempt_out(arrays):
    corpus = read_affectnet(arrays, classes=7)
    assert [record.expression for record in corpus.records] == NAMES[:7] * 2
    assert counts(corpus) == {"labelled 'contempt', which is none of the 7 classes": 2}
    with pytest.raises(ValueError, match="classes=6; expected 8, or 7"):
        read_affectnet(arrays, classes=6)


@pytest.mark.parametrize(
    "value", [np.array("3"), np.array(3), np.array([3]), np.array(b"3"), np.array(3.0), np.array(["3"])]
)
def test_however_a_label_is_stored(arrays, value):
    np.save(arrays / "train_set/annotations/0_exp.npy", value)
    assert read_affectnet(arrays).records[0].expression == "surprise"


def test_arrays_that_cannot_be_used_are_counted(arrays):
    notes = arrays / "train_set/annotations"
    np.save(notes / "0_exp.npy", np.array([{"label": 0}]), allow_pickle=True)  # never unpickled
    (notes / "1_exp.npy").write_bytes((notes / "1_exp.npy").read_bytes()[:20])
    np.save(notes / "2_exp.npy", np.array([1, 2]))
    np.save(notes / "3_exp.npy", np.array("11"))
    np.save(notes / "4_lnd.npy", landmarks().ravel()[:100])
    np.save(notes / "5_lnd.npy", np.full(136, np.nan))
    (notes / "6_lnd.npy").unlink()
    (notes / "7_exp.npy").unlink()
    np.save(notes / "8_exp.npy", np.array("1"))
    corpus = read_affectnet(arrays)
    train = [record for record in corpus.records if record.split == "train"]
    assert [record.expression for record in train] == ["fear", "disgust", "anger"]
    assert all(record.points is None for record in train)
    assert counts(corpus) == {
        "annotation that cannot be read": 3,
        "label outside its range": 1,
        "landmarks that cannot be used": 2,
        "picture without landmarks": 1,
        "picture without a label": 1,
        "label without a picture": 1,
    }


@pytest.mark.parametrize("damage", ["no bracket", "quotation mark", "zip", "archive", "empty", "huge", "pickle"])
def test_a_damaged_array_costs_its_own_face_alone(arrays, damage):
    path = arrays / "train_set/annotations/0_exp.npy"
    whole = path.read_bytes()
    if damage == "archive":
        np.savez(path.with_name("x.npz"), np.array("0"))
        path.with_name("x.npz").rename(path)
    else:
        damaged = {
            "no bracket": whole.replace(b"}", b" "),  # tokenize.TokenError
            "quotation mark": whole.replace(b"'shape'", b"'shape "),
            "zip": b"PK\x03\x04junk",
            "empty": b"",
            "huge": whole.replace(b"(), }" + b" " * 15, b"(9999999999999,), }  "),
            "pickle": b"\x80\x04junk",
        }
        assert damaged[damage] != whole
        path.write_bytes(damaged[damage])
    corpus = read_affectnet(arrays)
    assert [record.expression for record in corpus.records] == NAMES[1:] + NAMES
    (example,) = corpus.report.as_dict()["annotation that cannot be read"]["examples"]
    assert example.startswith("0_exp.npy: ")


def test_one_part_alone(arrays):
    (arrays / "train_set").rename(arrays.parent / "elsewhere")
    corpus = read_affectnet(arrays)
    assert {record.split for record in corpus.records} == {"test"}
    assert counts(corpus) == {"part of the set that is missing": 1}


def row(name, expression, points=None, box=(20, 20, 80, 90)):
    points = landmarks() if points is None else points
    return [name, *box, ";".join(f"{value:.2f}" for value in points.ravel()), expression, "-2", "0.5"]


def write_table(path, rows, header=HEADER, end="\n", mark=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = end.join(",".join(map(str, cells)) for cells in [*([header] if header else []), *rows])
    path.write_bytes((mark + text + end).encode())


@pytest.fixture
def tables(tmp_path):
    """The release with tables: ids 0 to 10 in each part."""
    root = tmp_path / "tables"
    for table, folder in (("training.csv", "1"), ("validation.csv", "2")):
        rows = [row(f"{folder}/{number:x}.jpg", number) for number in range(11)]
        for cells in rows:
            picture(root / "Manually_Annotated_Images" / cells[0])
        write_table(root / table, rows)
    return root


def test_tables_give_points_and_boxes(tables):
    corpus = read_affectnet(tables)
    assert [record.expression for record in corpus.records] == NAMES * 2
    assert [record.split for record in corpus.records] == ["train"] * 8 + ["test"] * 8
    np.testing.assert_allclose(corpus.records[0].points, FIVE, atol=0.01)
    np.testing.assert_array_equal(corpus.records[0].box, [20, 20, 100, 110])
    assert corpus.records[8].subject_id == "2/0"
    assert counts(corpus) == {
        "labelled 'none', which is no expression": 2,
        "labelled 'uncertain', which is no expression": 2,
        "labelled 'no face', which is no expression": 2,
    }


def test_a_table_without_a_header_line_is_read_as_if_it_had_one(tables):
    def faces():
        found = read_affectnet(tables)
        return [(r.subject_id, r.expression, r.split, r.box.tolist(), r.points.tolist()) for r in found.records]

    named = faces()
    for mark in ("", "\ufeff"):
        write_table(tables / "validation.csv", [row(f"2/{n:x}.jpg", n) for n in range(11)], header=None, mark=mark)
        assert faces() == named


@pytest.mark.parametrize("archive", ["Manually_Annotated", "Manually_Annotated_compressed"])
def test_tables_where_the_archives_unpack_to(tables, tmp_path, archive):
    lists = tmp_path / "tables/Manually_Annotated_file_lists"
    lists.mkdir()
    for name in ("training.csv", "validation.csv"):
        (tables / name).rename(lists / name)
    (tables / archive).mkdir()
    (tables / "Manually_Annotated_Images").rename(tables / archive / "Manually_Annotated_Images")
    assert len(read_affectnet(tables).records) == 16


def test_tables_that_cannot_be_used_are_counted(tables):
    folder = tables / "Manually_Annotated_Images"
    for name in ("1/x.jpg", "1/y.JPG", "1/z.jpg", "1/far.jpg", "1/left.jpg"):
        picture(folder / name)
    rows = [
        row("1/0.jpg", 0),
        row("1/0.jpg", 0),
        row("1/1.jpg", 1),
        row("1/1.jpg", 2),
        row("1/x.jpg", "happy"),
        row("1/Y.jpg", 3, box=("NULL", "NULL", "NULL", "NULL")),
        row("1/z.jpg", 4, points=landmarks()[:60]),
        row("1/far.jpg", 5, points=landmarks(300)),
        row("9/gone.jpg", 6),
        ["1/cut.jpg", 20, 20, 80],
    ]
    write_table(tables / "training.csv", rows, end="\r\n", mark="\ufeff")
    write_table(tables / "validation.csv", [row("1/0.jpg", 0)])
    corpus = read_affectnet(tables)
    assert [(record.image.name, record.expression) for record in corpus.records] == [
        ("0.jpg", "neutral"),
        ("y.JPG", "surprise"),
        ("z.jpg", "fear"),
        ("far.jpg", "disgust"),
    ]
    assert [record.points is not None for record in corpus.records] == [True, True, False, False]
    assert [record.box is not None for record in corpus.records] == [True, False, True, True]
    assert counts(corpus) == {
        "identical rows for one picture": 1,
        "contradictory rows for one picture": 1,
        "label outside its range": 1,
        "box that cannot be used": 1,
        "landmarks that cannot be used": 2,
        "label without a picture": 1,
        "truncated last line": 1,
        "picture that is in the training part as well": 1,
        "picture without a label": 9 + 11 + 1,
    }
    outside = corpus.report.as_dict()["landmarks that cannot be used"]["examples"][1]
    assert "far.jpg" in outside and "outside of the face's box" in outside


def test_wrong_roots_and_tables_are_refused(tables, arrays, tmp_path):
    with pytest.raises(FileNotFoundError, match="train_set/images/ with train_set/annotations/, or training.csv with"):
        read_affectnet(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="it holds val_set/"):
        (tmp_path / "empty/val_set").mkdir(parents=True)
        read_affectnet(tmp_path / "empty")
    write_table(tables / "validation.csv", [["1/0.jpg", 0]], header=["subDirectory_filePath", "emotion"])
    with pytest.raises(ValueError, match=r"validation.csv' has no column face_x.*its columns are"):
        read_affectnet(tables)
    (arrays / "train_set").rename(tables / "train_set")
    with pytest.raises(ValueError, match="two releases of AffectNet"):
        read_affectnet(tables)
