"""OpenFace 2's CSV files against a miniature of them and a loop over its lines."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis.openface import read_openface
from analysis.reading import read_about
from analysis.rows import table_columns
from analysis.summary import summarize

UNITS = ("AU01", "AU12", "AU45")
PLAIN = ["frame", "face_id", "timestamp", "confidence", "success", "gaze_angle_x", "pose_Rx"]


def line(frame, face=0, success=1, seed=0, shift=0.0):
    """A row as OpenFace writes it: names with a space before them, numbers of fixed width."""
    rng = np.random.default_rng(seed)
    points = 100 + shift + 50 * rng.random((68, 2))
    row = {
        "frame": frame,
        "face_id": face,
        "timestamp": f"{(frame - 1) / 30:.3f}",
        "confidence": "0.98" if success else "0.02",
        "success": success,
        "gaze_angle_x": "-nan(ind)",
        "pose_Rx": "0.1",
    }
    row |= {f"x_{i}": f"{points[i, 0]:.1f}" for i in range(68)} | {f"y_{i}": f"{points[i, 1]:.1f}" for i in range(68)}
    row |= {f"{unit}_r": f"{5 * rng.random():.2f}" for unit in UNITS}
    row |= {f"{unit}_c": f"{rng.integers(2):.2f}" for unit in (*UNITS, "AU28")}
    return row


def write(path, rows):
    with path.open("w") as file:
        file.write(", ".join(rows[0]) + "\n")
        for row in rows:
            file.write(", ".join(str(value) for value in row.values()) + "\n")
    return path


@pytest.fixture
def video(tmp_path):
    rows = [line(1, seed=1), line(2, success=0, seed=2), line(3, seed=3), line(4, seed=4)]
    return write(tmp_path / "interview.csv", rows), rows


def test_columns_are_those_of_our_tables_and_the_intensities(video):
    path, _ = video
    table = read_openface(path)
    pq.write_table(table, path.with_suffix(".parquet"))
    about = read_about(path.with_suffix(".parquet"))
    ours = [column.name for column in table_columns(about.groups)]
    assert [name for name in table.column_names if not name.endswith("_intensity")] == ours
    assert {field.name: field.type for field in table.schema if field.name in ours} == {
        column.name: column.type for column in table_columns(about.groups)
    }
    extra = [name for name in table.column_names if name.endswith("_intensity")]
    assert extra == ["AU1_intensity", "AU12_intensity", "AU28_intensity", "AU45_intensity"]
    assert about.groups[0].labels == ("AU1", "AU12", "AU28", "AU45")
    assert about.groups[0].texts[:2] == ("inner brow raiser", "lip corner puller")


def test_every_value_is_the_one_of_the_csv(video):
    path, _ = video
    rows = read_openface(path, source="interview.mp4").to_pylist()
    with path.open() as file:
        lines = list(csv.DictReader(file, skipinitialspace=True))
    assert len(rows) == len(lines) == 4
    for row, said in zip(rows, lines, strict=True):
        assert row["source"] == "interview.mp4"
        assert row["frame"] == int(said["frame"]) - 1
        assert row["time_s"] == float(said["timestamp"])
        assert row["face_found"] == (said["success"] == "1")
        if not row["face_found"]:
            assert row["track_id"] is None and row["AU12"] is None and row["AU12_intensity"] is None
            assert row["box_left"] is None and row["detector_score"] is None
            continue
        assert row["track_id"] == 0 and row["detector_score"] == np.float32(said["confidence"])
        for ours, theirs in (("AU1", "AU01"), ("AU12", "AU12"), ("AU45", "AU45")):
            assert row[ours] == float(said[f"{theirs}_c"])
            assert row[f"{ours}_intensity"] == np.float32(said[f"{theirs}_r"])
            assert row[f"{ours}_probability"] is None
        assert row["AU28"] == float(said["AU28_c"]) and row["AU28_intensity"] is None
        # The subject's right eye is on the left in the picture, and has the lower numbers.
        eye = sum(float(said[f"x_{i}"]) + 0.5 for i in (36, 37, 38, 39, 40, 41)) / 6
        assert row["right_eye_x"] == pytest.approx(eye, abs=1e-4)
        assert row["left_mouth_corner_y"] == pytest.approx(float(said["y_54"]) + 0.5, abs=1e-4)
        assert row["nose_tip_x"] == pytest.approx(float(said["x_30"]) + 0.5, abs=1e-4)
        assert row["box_right"] == pytest.approx(max(float(said[f"x_{i}"]) for i in range(68)) + 0.5, abs=1e-4)
        assert row["yaw"] is None and row["blur"] is None and row["out_of_scope"] is None


def test_faces_of_a_frame(tmp_path):
    rows = [line(1, 0, seed=1), line(1, 1, seed=2, shift=300), line(2, 0, 0, seed=3), line(2, 1, seed=4)]
    rows += [line(3, 0, 0, seed=5), line(3, 1, 0, seed=6)]
    table = read_openface(write(tmp_path / "two.csv", rows))
    found = [(row["frame"], row["track_id"], row["face_found"]) for row in table.to_pylist()]
    assert found == [(0, 0, True), (0, 1, True), (1, 1, True), (2, None, False)]
    assert json.loads(table.schema.metadata[b"clef"])["rows_left_out"] == 2


def test_single_images_and_files_without_points(tmp_path):
    row = {"face": 0, "confidence": "0.9", "AU12_r": "1.50", "AU12_c": "1.00"}
    table = read_openface(write(tmp_path / "photo.csv", [row, row | {"face": 1}])).to_pylist()
    assert [row["track_id"] for row in table] == [0, 1]
    assert all(row["face_found"] and row["time_s"] is None and row["frame"] == 0 for row in table)
    assert all(row["AU12"] == 1 and row["box_left"] is None for row in table)
    assert table[0]["source"] == str(tmp_path / "photo.csv")


def test_such_a_table_can_be_summarized_and_compared(video):
    path, rows = video
    table = read_openface(path)
    pq.write_table(table, path.with_suffix(".parquet"))
    summary = {row["label"]: row for row in summarize(path.with_suffix(".parquet")).to_pylist()}
    present = [float(row["AU12_c"]) for row in rows if row["success"]]
    assert summary["AU12"]["rate"] == pytest.approx(np.mean(present), abs=0.02)
    assert summary["AU12"]["mean_probability"] is None
    # The docstring's comparison, of a table with itself.
    theirs = table.to_pandas()
    faces = [rows.loc[rows.face_found & (rows.track_id == 0), ["frame", "AU12"]] for rows in (theirs, theirs)]
    both = faces[0].merge(faces[1], on="frame", suffixes=("", "_openface")).dropna()
    assert len(both) == 3 and (both.AU12 == both.AU12_openface).mean() == 1


def test_what_is_no_openface(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        read_openface(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="is no CSV of OpenFace 2"):
        read_openface(write(tmp_path / "other.csv", [{"time": 1, "AU12": 0.5}]))
    plain = {name: 0 for name in PLAIN}
    with pytest.raises(ValueError, match="-aus"):
        read_openface(write(tmp_path / "without.csv", [plain]))
    (tmp_path / "empty.csv").write_text(", ".join([*PLAIN, "AU12_r", "AU12_c"]) + "\n")
    with pytest.raises(ValueError, match="no rows"):
        read_openface(tmp_path / "empty.csv")
    (tmp_path / "torn.csv").write_text("frame, confidence, success, AU12_c\n1, 0.9, 1, 0\n2, 0.9\n")
    with pytest.raises(ValueError, match="cannot be read as a CSV"):
        read_openface(tmp_path / "torn.csv")
