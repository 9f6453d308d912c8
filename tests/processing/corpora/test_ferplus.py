import csv
import random

import numpy as np
import pytest
from PIL import Image

from processing.corpora.ferplus import VOTES, argmax_expression, majority_expression, read_ferplus

SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}


def by_the_text(votes):
    """The rule of the FER+ paper and its code, told step by step."""
    counted = {}
    for name, count in zip(VOTES, votes, strict=True):
        if count >= 2:  # a single vote is an outlier
            counted[name] = count
    everyone = sum(counted.values())
    for name, count in counted.items():
        if count / everyone > 0.5:
            return None if name in ("unknown", "NF") else name
    return None


def test_majority_is_the_rule_s_text():
    generator = random.Random(0)
    decided = 0
    for _ in range(3000):
        favourites = generator.sample(range(10), 3)
        votes = [0] * 10
        for _ in range(generator.choice([1, 10, 10, 10])):
            votes[generator.choice(favourites)] += 1
        assert majority_expression(votes) == by_the_text(votes), votes
        decided += majority_expression(votes) is not None
    assert 300 < decided < 2700


def test_rules_on_single_votes_halves_and_ties():
    # A row of the published table: 7 of 9 for contempt.
    assert majority_expression([0, 0, 0, 0, 2, 1, 0, 7, 0, 0]) == "contempt"
    assert majority_expression([5, 5, 0, 0, 0, 0, 0, 0, 0, 0]) is None
    assert majority_expression([5, 1, 1, 1, 1, 1, 0, 0, 0, 0]) == "neutral"
    assert majority_expression([1, 1, 1, 1, 1, 1, 1, 1, 1, 1]) is None
    assert majority_expression([1, 0, 0, 0, 0, 0, 0, 0, 0, 9]) is None
    assert argmax_expression([1, 0, 0, 0, 0, 0, 0, 0, 0, 9]) == "neutral"
    assert argmax_expression([0, 3, 3, 0, 0, 0, 0, 0, 4, 0]) == "happiness"
    assert argmax_expression([0, 0, 0, 0, 0, 0, 0, 0, 5, 5]) is None


# usage, name, votes
ROWS = [
    ("Training", "fer0000000.png", [8, 2, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("Training", "", [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]),
    ("Training", "fer0000002.png", [4, 0, 0, 6, 0, 0, 0, 0, 0, 0]),
    ("Training", "fer0000003.png", [3, 3, 3, 1, 0, 0, 0, 0, 0, 0]),
    ("PublicTest", "fer0000004.png", [0, 0, 0, 0, 0, 0, 0, 0, 7, 3]),
    ("PublicTest", "fer0000005.png", [0, 0, 9, 0, 0, 0, 1, 0, 0, 0]),
    ("PrivateTest", "fer0000006.png", [0, 0, 0, 0, 0, 4, 4, 0, 2, 0]),
    ("PrivateTest", "fer0000007.png", [0, 0, 0, 0, 9, 0, 1, 0, 0, 0]),
]


def pixels(number):
    return (np.arange(48 * 48).reshape(48, 48) * (number + 1) % 256).astype(np.uint8)


def write(path, header, rows, end="\n", mark=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(mark)
        csv.writer(file, lineterminator=end).writerows([*header, *rows])


def new_table(root, rows=ROWS, **how):
    write(root / "fer2013new.csv", [["Usage", "Image name", *VOTES]], [[u, n, *v] for u, n, v in rows], **how)


def old_table(root, rows=ROWS, name="fer2013/fer2013.csv", **how):
    body = [[0, " ".join(map(str, pixels(i).ravel())), usage] for i, (usage, _, _) in enumerate(rows)]
    write(root / name, [["emotion", "pixels", "Usage"]], body, **how)


def folders(root, rows=ROWS):
    for usage, folder in FOLDERS.items():
        (root / folder).mkdir(parents=True)
        labels = [[name, "(0, 0, 48, 48)", *votes] for u, name, votes in rows if u == usage and name]
        write(root / folder / "label.csv", [], labels)
    for number, (usage, name, _) in enumerate(rows):
        if name:
            Image.fromarray(pixels(number)).save(root / FOLDERS[usage] / name)


def make(root, layout):
    if "new" in layout:
        new_table(root)
    if "old" in layout:
        old_table(root)
    if "folders" in layout:
        folders(root / "data" if "data" in layout else root)
    return root


def counts(corpus):
    return {reason: corpus.report.count(reason) for reason in corpus.report.reasons}


@pytest.mark.parametrize("layout", ["new old", "folders", "new folders", "new folders data", "new old folders"])
def test_every_layout_gives_the_same_faces(tmp_path, layout):
    corpus = read_ferplus(make(tmp_path, layout))
    assert [(record.subject_id, record.expression, record.split) for record in corpus.records] == [
        ("fer0000000", "neutral", "train"),
        ("fer0000002", "sadness", "train"),
        ("fer0000005", "surprise", "validation"),
        ("fer0000007", "anger", "test"),
    ]
    for record in corpus.records:
        number = int(record.subject_id[3:])
        shown = record.pixels if "folders" not in layout else np.asarray(Image.open(record.image))
        assert shown.dtype == np.uint8 and (record.pixels is None) == (record.image is not None)
        np.testing.assert_array_equal(shown, pixels(number))
    expected = {
        "(for comparison) kept by the rule 'majority'": 4,
        "(for comparison) kept by the rule 'argmax'": 6,
        "no expression by the rule 'majority'": 3,
    }
    if "new" in layout:
        expected["row without a name, taken out by the authors"] = 1
    assert counts(corpus) == expected


def test_the_loose_rule_keeps_more_and_counts_ties(tmp_path):
    new_table(tmp_path)
    old_table(tmp_path, name="fer2013.csv")
    corpus = read_ferplus(tmp_path, rule="argmax")
    assert [record.expression for record in corpus.records] == [
        "neutral",
        "sadness",
        "neutral",
        "surprise",
        "disgust",
        "anger",
    ]
    assert corpus.report.count("tie between expressions, the first one taken") == 2
    kept = corpus.report.as_dict()["(for comparison) kept by the rule 'majority'"]["by_sequence"]
    assert kept == {"train": 2, "validation": 1, "test": 1}
    with pytest.raises(ValueError, match="rule='loose'; expected one of 'majority', 'argmax'"):
        read_ferplus(tmp_path, rule="loose")


def test_tables_as_they_really_are(tmp_path):
    """A byte order mark, CRLF, blank lines, a table cut short, votes and pixels outside their range."""
    rows = [list(row) for row in ROWS]
    rows[2][2] = [4, 0, 0, 16, 0, 0, 0, 0, 0, 0]
    new_table(tmp_path, rows, end="\r\n", mark="\ufeff")
    old_table(tmp_path, end="\r\n", mark="\ufeff")
    old = tmp_path / "fer2013/fer2013.csv"
    lines = old.read_text(encoding="utf-8").split("\n")
    lines[1] = "0,1 2 3,Training"
    lines[6] = lines[6].replace("0,0 6 ", "0,0 256 ")
    old.write_text("\n\n".join(lines[:-2]) + "\n0,0 8 16", encoding="utf-8")
    corpus = read_ferplus(tmp_path, rule="argmax")
    assert [record.subject_id for record in corpus.records] == ["fer0000003", "fer0000006"]
    np.testing.assert_array_equal(corpus.records[1].pixels, pixels(6))
    assert corpus.report.count("pixels that cannot be read") == 2
    assert corpus.report.count("label outside its range") == 1
    assert corpus.report.count("row with missing columns, or damaged") == 1
    old.write_text("\n".join(lines[:5]), encoding="utf-8")
    report = read_ferplus(tmp_path, rule="argmax").report
    assert report.count("row of fer2013new.csv that fer2013.csv lacks") == 4


def test_damaged_rows_cost_their_own_face_alone(tmp_path):
    new_table(tmp_path)
    old_table(tmp_path)
    old = tmp_path / "fer2013/fer2013.csv"
    lines = old.read_bytes().splitlines()
    lines[1] = lines[1].replace(b"0,", "é,".encode("latin-1"), 1)  # in a column that is not used
    lines[3] = lines[3].replace(b" ", "é".encode("latin-1"), 1)
    lines[6] = lines[6].replace(b",", b",\0", 1)
    lines[7] = lines[7].replace(b" ", b"9" * 200_000, 1)
    old.write_bytes(b"\n".join(lines))
    corpus = read_ferplus(tmp_path, rule="argmax")
    assert [record.subject_id for record in corpus.records] == ["fer0000000", "fer0000003", "fer0000007"]
    assert corpus.report.count("pixels that cannot be read") == 1
    entry = corpus.report.as_dict()["row with missing columns, or damaged"]
    assert entry["examples"] == ["fer2013.csv, line 7", "fer2013.csv, line 8"]
    np.testing.assert_array_equal(corpus.records[-1].pixels, pixels(7))
    old.write_bytes(b"\n".join(lines).decode("latin-1").encode("utf-16"))
    with pytest.raises(ValueError, match=r"fer2013.csv': its first line cannot be read .*UTF-8"):
        read_ferplus(tmp_path)


def test_tables_that_do_not_belong_together_are_refused(tmp_path):
    new_table(tmp_path)
    old_table(tmp_path, ROWS[:3] + ROWS[4:])
    with pytest.raises(ValueError, match="line 5 has the usage 'Training' in .*'PublicTest' in .*one by one"):
        read_ferplus(tmp_path)
    write(tmp_path / "fer2013/fer2013.csv", [["emotion", "Usage"]], [])
    with pytest.raises(ValueError, match="no column pixels; its columns are emotion, Usage"):
        read_ferplus(tmp_path)
    write(tmp_path / "fer2013/fer2013.csv", [], [[0, " ".join(map(str, pixels(0).ravel())), "Training"]])
    with pytest.raises(ValueError, match="no column pixels, Usage; its columns are 0, 0 1 2 .*…$"):
        read_ferplus(tmp_path)


def test_folders_that_do_not_fit_are_counted(tmp_path):
    folders(tmp_path)
    train = tmp_path / "FER2013Train"
    (train / "fer0000000.png").rename(train / "fer0000000.PNG")
    (train / "fer0000002.png").unlink()
    Image.fromarray(pixels(9)).save(train / "fer0000009.png")
    with open(train / "label.csv", "a") as file:
        file.write('fer0000003.png,"(0, 0, 48, 48)",3,3,3,1,0,0,0,0,0,0\n')
        file.write('fer0000000.png,"(0, 0, 48, 48)",0,0,9,1,0,0,0,0,0,0\n')
    for file in (tmp_path / "FER2013Valid").iterdir():
        file.unlink()
    corpus = read_ferplus(tmp_path, rule="argmax")
    assert [record.subject_id for record in corpus.records] == ["fer0000003", "fer0000006", "fer0000007"]
    found = counts(corpus)
    assert found["contradictory rows for one picture"] == found["identical rows for one picture"] == 1
    assert found["label without a picture"] == found["picture without a label"] == 1
    assert found["part of the set that is missing"] == 1


def test_wrong_roots_are_refused(tmp_path):
    new_table(tmp_path)
    expected = "fer2013new.csv with fer2013.csv, or FER2013Train/ with pictures and label.csv, but it holds fer2013new"
    with pytest.raises(FileNotFoundError, match=expected):
        read_ferplus(tmp_path)
    (tmp_path / "FER2013Train").mkdir()  # the repository holds label.csv alone
    write(tmp_path / "FER2013Train/label.csv", [], [])
    with pytest.raises(FileNotFoundError, match="FERPlus"):
        read_ferplus(tmp_path)
    with pytest.raises(FileNotFoundError, match="it is a file, not a folder"):
        read_ferplus(tmp_path / "fer2013new.csv")
