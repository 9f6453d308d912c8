"""`clef baseline`: what it says, and with which exit code."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("cv2", reason="needs opencv-python-headless")
pytest.importorskip("matplotlib", reason="needs matplotlib")

from analysis.baseline import against_neutral, logit
from analysis.model import SHIPPED_CHECKPOINT, LabelGroup
from analysis.rows import table_columns, table_schema
from clef.cli import FINE, NOTHING_FOUND, WRONG_USAGE, main


@pytest.fixture
def table(tmp_path):
    """30 frames of a video, which show two people in turn."""
    group = LabelGroup("action_units", False, ("AU12",), ("lip corner puller",), (0.4,))
    columns = table_columns((group,))
    about = {
        "columns": [column.described() for column in columns],
        "model": {"label_groups": [vars(group)], "neutral_logits": {"AU12": -4.0}},
    }
    common = {"source": "talk.mp4", "face_found": True, "out_of_scope": False, "AU12_probability": 0.3, "AU12": 0}
    rows = [common | {"frame": n, "time_s": n / 10, "track_id": n % 2} for n in range(30)]
    schema = table_schema(columns, {b"clef": json.dumps(about).encode()})
    filled = [{name: row.get(name) for name in schema.names} for row in rows]
    pq.write_table(pa.Table.from_pylist(filled, schema=schema), tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def baseline(*arguments):
    return main(["baseline", *map(str, arguments)])


def test_it_says_how_many_were_judged(table, tmp_path, capsys):
    judged, summary, plots = tmp_path / "new" / "judged.parquet", tmp_path / "summary.csv", tmp_path / "plots"
    made = ("--summary", summary, "--plot", plots)
    assert baseline(table, "--neutral", "0-0:01", "--output", judged, *made) == FINE
    assert "30 faces of 2 people judged anew; 30 rows in" in capsys.readouterr().err
    assert summary.is_file() and len(list(plots.glob("talk-track*.png"))) == 2
    for option in (("--summary", summary), ("--plot", plots), ("--summary", tmp_path / "b.csv")):
        assert baseline(table, "--neutral", "0-1", "--output", tmp_path / "b.csv", *option) == WRONG_USAGE
    assert pq.read_table(judged)["baseline_frames"].to_pylist() == [5] * 30
    assert baseline(table, "--neutral", "0-1", "--output", judged) == WRONG_USAGE
    assert "--overwrite" in capsys.readouterr().err
    assert baseline(table, "--neutral", "0-0.1", "--output", judged, "--overwrite") == FINE
    assert "15 faces of 1 person judged anew, 15 without a neutral frame" in capsys.readouterr().err


def test_a_list_names_sources_that_are_not_there(table, tmp_path, capsys):
    people, judged = tmp_path / "people.csv", tmp_path / "judged.csv"
    people.write_text("source,subject,neutral,track_id\ntalk.mp4,a,1,0\ntalk.mp4,b,0,1\nother.mp4,b,1,\n")
    assert baseline(table, "--people", people, "--output", judged) == FINE
    assert "not in the table: 1 source: 'other.mp4'" in capsys.readouterr().err
    people.write_text("source,subject,neutral\nother.mp4,b,1\n")
    assert baseline(table, "--people", people, "--output", tmp_path / "none.csv") == NOTHING_FOUND
    people.write_text("source,subject\ntalk.mp4,b\n")
    assert baseline(table, "--people", people, "--output", tmp_path / "none.csv") == WRONG_USAGE
    assert not (tmp_path / "none.csv").exists()


@pytest.mark.parametrize("stretch", ["5", "5-2", "a-b", "-3"])
def test_what_is_no_stretch_of_time_is_refused(table, tmp_path, capsys, stretch):
    assert baseline(table, f"--neutral={stretch}", "--output", tmp_path / "j.csv") == WRONG_USAGE
    said = capsys.readouterr().err
    assert "FROM-TO" in said or "is not a time" in said
    assert baseline(tmp_path / "none.csv", "--neutral", "0-5", "--output", tmp_path / "j.csv") == WRONG_USAGE


@pytest.mark.parametrize("name", ["clef-small", "clef-base"])
def test_the_checkpoints_that_ship_know_their_neutral_level(name):
    config = json.loads((SHIPPED_CHECKPOINT.parent / name / "config.json").read_text())
    units, expressions = config["label_sets"]
    levels, thresholds = np.array(units["neutral_logits"]), np.array(units["thresholds"])
    assert (levels < logit(thresholds)).all() and expressions.get("neutral_logits") is None


def test_one_neutral_frame_takes_off_half():
    judged = against_neutral(np.array([[0.5, 0.5]]), np.array([[-1.0, -4.0]]), np.array([1]), np.array([-3.0, -3.0]))
    np.testing.assert_allclose(logit(judged), [[-1.0, 0.5]])
