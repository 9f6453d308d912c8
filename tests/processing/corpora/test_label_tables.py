import errno
from pathlib import Path

import pytest

from processing.corpora.label_tables import coded_value, count_unmatched, int_value, read_table, rows_by_key
from processing.corpora.official import ReadingReport


@pytest.fixture
def report():
    return ReadingReport()


def write(folder, text, encoding="utf-8"):
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "frame,12\n1,0\n2,1\n",
        "frame,12\n1,0\n2,1",
        "\ufeffframe,12\r\n1,0\r\n2,1\r\n",
        "frame, 12 \n\n 1 ,0\n2,1\n\n",
        "frame,12,\n1,0,\n2,1,,\n",
        '"frame","12"\n"1","0"\n2,"1"\n',
        "frame,12\r1,0\r2,1\r",
    ],
    ids=["plain", "no last line end", "BOM and CRLF", "blanks", "trailing commas", "quoted", "CR"],
)
def test_the_same_table_in_many_dresses(tmp_path, report, text):
    assert read_table(write(tmp_path, text), report) == [{"frame": "1", "12": "0"}, {"frame": "2", "12": "1"}]
    assert report.reasons == []


def test_a_cut_last_line_is_counted(tmp_path, report):
    rows = read_table(write(tmp_path, "frame,1,2\n1,0,1\n2,0"), report, "F001/T1")
    assert rows == [{"frame": "1", "1": "0", "2": "1"}]
    assert report.reasons == ["truncated last line"]
    assert report.as_dict()["truncated last line"]["by_sequence"] == {"F001/T1": 1}
    assert "'2,0'" in report.as_dict()["truncated last line"]["examples"][0]


def test_lines_of_another_width_are_counted_and_others_kept(tmp_path, report):
    rows = read_table(write(tmp_path, 'frame,1\n1\n2,0,1\n"3,0\n4,1\n'), report)
    assert rows == [{"frame": "4", "1": "1"}]  # a lost quotation mark costs its own line alone
    assert report.count("line with another number of columns than the header") == 3


def test_headers_can_be_given_and_blanks_separate(tmp_path, report):
    path = write(tmp_path, "a.jpg  5\nb.jpg\t3\n")
    rows = read_table(path, report, header=("file", "label"), delimiter=" ")
    assert rows == [{"file": "a.jpg", "label": "5"}, {"file": "b.jpg", "label": "3"}]


def test_a_header_that_is_given_gives_way_to_that_of_the_file(tmp_path, report):
    rows = read_table(write(tmp_path, "label,file\n5,a.jpg\n"), report, header=("file", "label"))
    assert rows == [{"file": "a.jpg", "label": "5"}] and report.reasons == []


def test_errors_do_not_repeat_a_whole_line(tmp_path, report):
    numbers = [f"{n}.25" for n in range(300)]
    for line, required in ((numbers, ["label"]), (numbers * 2, [])):
        with pytest.raises(ValueError) as caught:
            read_table(write(tmp_path, ",".join(line) + "\n"), report, required=required)
        assert len(str(caught.value)) < len(str(tmp_path)) + 300


def test_missing_and_repeated_columns_are_refused(tmp_path, report):
    with pytest.raises(ValueError, match=r"labels.csv' has no column 12, 14; its columns are frame, 1$"):
        read_table(write(tmp_path, "frame,1\n1,0\n"), report, required=("1", "12", "14"))
    with pytest.raises(ValueError, match="column '1' more than once"):
        read_table(write(tmp_path, "frame,1,1\n1,0,0\n"), report)


@pytest.mark.parametrize("text", ["", "\n\n", "frame,1\n", "\ufeff"])
def test_empty_files_are_counted(tmp_path, report, text):
    assert read_table(write(tmp_path, text), report) == []
    assert report.count("label file without rows") == 1


def test_files_that_cannot_be_read_are_counted(tmp_path, report, monkeypatch):
    assert read_table(tmp_path / "none.csv", report, "F001/T1") == []

    def forbidden(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", forbidden)  # a test run by root may read everything
    assert read_table(tmp_path / "locked.csv", report, "F001/T2") == []
    entry = report.as_dict()["label file that cannot be read"]
    assert entry["by_sequence"] == {"F001/T1": 1, "F001/T2": 1}
    assert "Permission denied" in entry["examples"][1]


def test_other_encodings_do_not_stop_the_reading(tmp_path, report):
    assert read_table(write(tmp_path, "frame,was\n1,müde\n", "latin-1"), report)[0]["frame"] == "1"


def test_damaged_lines_are_counted_and_others_kept(tmp_path, report):
    text = "frame,1\n1,0\n2,\0\0\n3," + "0" * 200_000 + "\n4,1\n"
    assert [row["frame"] for row in read_table(write(tmp_path, text), report, "F001/T1")] == ["1", "4"]
    entry = report.as_dict()["damaged line of a label file"]
    assert entry["by_sequence"] == {"F001/T1": 2}
    assert "labels.csv: line contains NUL: '2," in entry["examples"][0] and len(entry["examples"][1]) < 400


def test_a_table_whose_first_line_is_damaged_is_refused_by_name(tmp_path, report):
    for text, encoding in (("frame,1\n1,0\n", "utf-16"), ("fra\0me,1\n1,0\n", "utf-8"), ("a" * 200_000, "utf-8")):
        with pytest.raises(ValueError, match=r"labels.csv': its first line cannot be read \(.*expected .* UTF-8. Save"):
            read_table(write(tmp_path, text, encoding), report)


def test_whole_numbers():
    texts = ["12", " 0012 ", "12.0", "1e1", "-3", "12.5", "", "x", "nan", "inf", "１２"]
    assert [int_value(text) for text in texts] == [12, 12, 12, 10, -3, None, None, None, None, None, 12]


def test_codes(report):
    texts = ["0", "1", "1.0", "9", "999", "", " ", "NaN", "2", "-1", "0.5", "yes"]
    values = [coded_value(text, 0, 1, report, "F001/T1", what="F001_T1.csv, frame 7, AU4") for text in texts]
    assert values == [0, 1, 1] + [None] * 9
    entry = report.as_dict()["label outside its range"]
    assert entry["by_sequence"] == {"F001/T1": 4}
    assert entry["examples"][0] == "F001_T1.csv, frame 7, AU4: '2', expected 0 to 1"


def test_a_number_in_the_range_counts_even_if_it_can_mean_not_coded(report):
    assert coded_value("9", 0, 10, report) == 9
    assert coded_value("9", 0, 5, report, not_coded=()) is None
    assert report.count("label outside its range") == 1


def test_rows_of_one_frame(report):
    rows = [{"frame": frame, "1": value} for frame, value in ("10", "20", "11", "20", "30", "31", "30", "x4", "50")]
    kept = rows_by_key(rows, lambda row: int_value(row["frame"]), report, "F001/T1")
    assert kept == {1: None, 2: {"frame": "2", "1": "0"}, 3: None, 5: {"frame": "5", "1": "0"}}
    assert report.count("identical rows for one frame") == 1
    assert report.count("contradictory rows for one frame") == 2
    assert report.count("row without a frame") == 1


def test_unmatched_frames(report):
    count_unmatched({1, 2, 3, 9}, [2, 3, 4], report, "F001/T1")
    assert report.as_dict()["label without a frame"] == {
        "count": 2,
        "by_sequence": {"F001/T1": 2},
        "examples": ["F001/T1 frame 1 to 9"],
    }
    assert report.as_dict()["frame without labels"]["examples"] == ["F001/T1 frame 4"]
    other = ReadingReport()
    count_unmatched([1], [1], other, "F001/T1")
    assert other.reasons == []
