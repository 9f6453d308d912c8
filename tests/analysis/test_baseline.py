"""Tables judged against neutral faces, against a loop over their rows that follows the documented formula."""

import json
import math
from collections import defaultdict

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from analysis.baseline import NoNeutralFrame, judge_against_neutral
from analysis.journal import sidecar_path
from analysis.people import NeutralStretch, read_people
from analysis.reading import read_about, read_batches, read_sources
from analysis.summary import summarize
from analysis.timeline import _key, timelines_of

LEVELS = {"AU12": -4.0, "AU1": -3.0, "AU45": -5.0}
THRESHOLDS = {"AU12": 0.4, "AU1": 0.3, "AU45": 0.5}


def made_up_rows(frames=120):
    """Two videos: in the first two people, of whom the second comes at 3 s; and a picture."""
    draw = np.random.default_rng(0)
    rows = []
    for source, tracks in (("a/talk.mp4", (0, 1)), ("b.mp4", (0,))):
        for frame in range(frames):
            here = [track for track in tracks if track == 0 or frame >= 60]
            common = {"source": source, "frame": frame, "time_s": frame / 20}
            here = [] if frame % 31 == 30 else here
            for track in here:
                row = common | {"track_id": track, "out_of_scope": frame % 17 == 3}
                if frame % 13 != 12:  # else there is no crop
                    row |= {label: float(draw.random()) for label in (*LEVELS, "a grin", "happiness")}
                rows.append(row)
            if not here:
                rows.append(common)
    rows.append({"source": "photo.jpg", "frame": 0, "time_s": None, "track_id": 0} | dict.fromkeys(LEVELS, 0.3))
    rows[-1] |= {"a grin": 0.2, "happiness": 0.5}
    return rows


def by_hand(rows, subject_of, is_neutral):
    """The probabilities that the rows should have, and how many neutral frames there are, row by row."""
    logits = defaultdict(list)
    for row in rows:
        if "AU12" in row and not row.get("out_of_scope") and is_neutral(row):
            logits[subject_of(row)].append({label: math.log(row[label] / (1 - row[label])) for label in LEVELS})
    for row in rows:
        if "AU12" not in row:
            yield None, None
            continue
        own = logits.get(subject_of(row), [])
        expected = {}
        for label, level in LEVELS.items():
            expected[label] = row[label]
            if own:
                taken = len(own) / (len(own) + 1) * (np.mean([frame[label] for frame in own]) - level)
                expected[label] = 1 / (1 + math.exp(taken - math.log(row[label] / (1 - row[label]))))
        yield expected, len(own)


def read(path):
    return [row for part in read_batches(path, read_about(path)) for row in part.to_pylist()]


def check(found, rows, expected):
    for row, made_up, (probabilities, frames) in zip(found, rows, expected, strict=True):
        assert row["baseline_frames"] == frames
        if probabilities is None:
            assert all(row[label] is None and row[f"{label}_probability"] is None for label in LEVELS)
            continue
        for label, probability in probabilities.items():
            assert row[f"{label}_probability"] == pytest.approx(probability, rel=1e-4), (label, made_up)
            if abs(probability - THRESHOLDS[label]) > 1e-4:
                assert row[label] == (probability >= THRESHOLDS[label])
        assert row["a grin_probability"] == pytest.approx(made_up["a grin"])
        assert row["happiness_probability"] == pytest.approx(made_up["happiness"])


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_stretch_of_time_is_everybody_s_neutral_face(tmp_path, make_table, suffix):
    rows, judged = made_up_rows(), tmp_path / f"judged{suffix}"
    table = make_table(tmp_path / f"table{suffix}", rows)
    before = table.read_bytes()
    outcome = judge_against_neutral(table, judged, NeutralStretch(1, 2.5))
    expected = list(
        by_hand(
            rows,
            lambda row: (row["source"], row["track_id"]),
            lambda row: row["time_s"] is not None and 1 <= row["time_s"] < 2.5,
        )
    )
    check(read(judged), rows, expected)
    counts = [frames for _, frames in expected]
    assert outcome.people == 2 and outcome.rows == len(rows) and outcome.unknown == ()
    assert outcome.faces == sum(bool(n) for n in counts) and outcome.others == counts.count(0) > 20
    assert table.read_bytes() == before
    about = json.loads(sidecar_path(judged).read_text())
    assert about["baseline"] == {"neutral_from_s": 1, "neutral_to_s": 2.5, "frames_at_half": 1}
    assert about["columns"][-1]["name"] == "baseline_frames"
    assert {row["label"] for row in summarize(judged).to_pylist()} >= set(LEVELS)
    assert read_about(judged).against_neutral and not read_about(table).against_neutral
    drawn = [line for line in map(_key, _timelines(judged)) if "own neutral face" in line]
    assert len(drawn) == 3 and not any("own neutral face" in line for line in map(_key, _timelines(table)))


def _timelines(table):
    about = read_about(table)
    parts = [rows for rows in read_sources(table, about) if not np.isnan(rows.time_s).any()]
    return [timeline for rows in parts for timeline in timelines_of(rows, about)]


def people_file(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_list_says_who_is_who_and_when_neutral(tmp_path, make_table):
    rows = made_up_rows()
    table = make_table(tmp_path / "table.parquet", rows)
    people = people_file(
        tmp_path / "people.csv",
        "source,subject,neutral,track_id,from_s,to_s\n"
        "a/talk.mp4,anna,,0,,\na/talk.mp4,ben,1,1,4,5\na/talk.mp4,ben,1,1,5.5,\n"
        "b.mp4,ben,0,,,\nphoto.jpg,anna,1,,,\nelsewhere.mp4,carl,1,,,\n",
    )
    outcome = judge_against_neutral(table, tmp_path / "judged.csv", read_people(people))
    names = {("a/talk.mp4", 0): "anna", ("a/talk.mp4", 1): "ben", ("b.mp4", 0): "ben", ("photo.jpg", 0): "anna"}

    def is_neutral(row):
        ben = row["source"] == "a/talk.mp4" and row["track_id"] == 1
        return row["source"] == "photo.jpg" or (ben and (4 <= row["time_s"] < 5 or row["time_s"] >= 5.5))

    expected = by_hand(rows, lambda row: names[row["source"], row["track_id"]], is_neutral)
    check(read(tmp_path / "judged.csv"), rows, list(expected))
    assert outcome.people == 2 and outcome.others == 0 and outcome.unknown == ("elsewhere.mp4",)
    assert pa_csv.read_csv(tmp_path / "judged.csv")["baseline_frames"].to_pylist().count(1) > 50  # anna's one picture


def test_what_cannot_be_judged_is_refused_and_leaves_nothing(tmp_path, make_table):
    table, judged = make_table(tmp_path / "table.parquet", made_up_rows()), tmp_path / "judged.parquet"
    with pytest.raises(NoNeutralFrame, match="no frame of"):
        judge_against_neutral(table, judged, NeutralStretch(50, 60))
    everybody = people_file(tmp_path / "people.csv", "source,subject,neutral\na/talk.mp4,anna,1\n")
    with pytest.raises(ValueError, match="shows several faces.*people.csv.*track_id"):
        judge_against_neutral(table, judged, read_people(everybody))
    elsewhere = people_file(tmp_path / "elsewhere.csv", "source,subject,neutral\ntalk.mp4,anna,1\n")
    with pytest.raises(NoNeutralFrame, match="none of the listed sources: it has 'a/talk.mp4', the list 'talk.mp4'"):
        judge_against_neutral(table, judged, read_people(elsewhere))
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(table.read_bytes()[:200])
    sidecar_path(cut).write_bytes(sidecar_path(table).read_bytes())
    with pytest.raises(ValueError, match="table '.*cut.parquet' is damaged"):
        judge_against_neutral(cut, judged, NeutralStretch(0, 2))
    sidecar_path(cut).write_text("{")
    with pytest.raises(ValueError, match="cut.parquet.json beside it, is damaged"):
        judge_against_neutral(cut, judged, NeutralStretch(0, 2))
    with pytest.raises(ValueError, match="another name"):
        judge_against_neutral(table, table, NeutralStretch(0, 2), overwrite=True)
    assert not judged.exists() and not sidecar_path(judged).exists() and table.exists()
    judge_against_neutral(table, judged, NeutralStretch(0, 2))
    with pytest.raises(FileExistsError, match="exists"):
        judge_against_neutral(table, judged, NeutralStretch(0, 2))
    with pytest.raises(ValueError, match="before"):
        judge_against_neutral(judged, tmp_path / "twice.parquet", NeutralStretch(0, 2))
    about = json.loads(sidecar_path(table).read_text())
    sidecar_path(table).write_text(json.dumps(about | {"model": about["model"] | {"neutral_logits": {}}}))
    with pytest.raises(ValueError, match=r"no label whose level.*evaluate\.py"):
        judge_against_neutral(table, tmp_path / "none.parquet", NeutralStretch(0, 2))


def test_a_face_of_the_checkpoint_s_own_level_keeps_its_numbers(tmp_path, make_table):
    still = {label: 1 / (1 + math.exp(-level)) for label, level in LEVELS.items()} | {"a grin": 0.1, "happiness": 0.1}
    rows = [{"source": "a.mp4", "frame": n, "time_s": n / 10, "track_id": 0} | still for n in range(20)]
    rows += [{"source": "a.mp4", "frame": 20, "time_s": 2.0, "track_id": 0} | still | {"AU12": 0.7}]
    judge_against_neutral(make_table(tmp_path / "t.parquet", rows), tmp_path / "judged.parquet", NeutralStretch(0, 2))
    table = pq.read_table(tmp_path / "judged.parquet")
    np.testing.assert_allclose(table["AU12_probability"].to_numpy()[-1], 0.7, rtol=1e-5)
    assert table["AU12"].to_pylist() == [0] * 20 + [1]
