"""Summaries against a loop over rows that follows the documented rules one by one."""

import math
import random
import statistics

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from analysis.reading import read_about, read_frames_of_sources, read_sources
from analysis.summary import LONGEST_GAP, SHORTEST_EVENT, summarize, write_summary

THRESHOLDS = {"AU12": 0.4, "AU1": 0.3, "AU45": 0.5, "a grin": 0.5}


def made_up_rows(seed=0, frames=240):
    """Two people in a video of variable frame rate, one of them away at times, and a still picture."""
    draw = random.Random(seed)
    rows, time = [], 0.0
    levels = {(track, label): draw.random() for track in (0, 1) for label in THRESHOLDS}
    for frame in range(frames):
        here = [track for track in (0, 1) if not (track == 1 and 50 <= frame < 90) and not frame % 37 == 36]
        for track in here:
            row = {"source": "a/take.mp4", "frame": frame, "time_s": time, "track_id": track}
            if frame % 41 != 40:  # else there is no crop
                for label in THRESHOLDS:
                    if draw.random() < 0.15:
                        levels[track, label] = draw.random()
                    row[label] = levels[track, label]
                row["happiness"] = levels[track, "AU12"]
            row["out_of_scope"] = draw.random() < 0.1
            rows.append(row)
        if not here:
            rows.append({"source": "a/take.mp4", "frame": frame, "time_s": time})
        time += draw.choice((1, 2, 3)) / 60
    rows.append({"source": "a/photo.jpg", "frame": 0, "time_s": None, "track_id": 0, "AU12": 0.7, "happiness": 0.9})
    rows[-1] |= {"AU1": 0.1, "AU45": 0.1, "a grin": 0.6}
    return rows


def by_hand(rows, source, track, label):
    """The rules of `summarize` in plain Python."""
    of_source = [row for row in rows if row["source"] == source]
    times = {row["frame"]: row["time_s"] for row in of_source}
    numbers = sorted(times)
    until = {}
    for number, following in zip(numbers, numbers[1:], strict=False):
        until[number] = times[following] - times[number]
    until[numbers[-1]] = statistics.median(until.values())
    face = [row for row in of_source if row.get("track_id") == track]
    judged = [row for row in face if "AU12" in row]

    def value(row):
        return row["happiness"] if label == "happiness" else row[label]

    def present(row):
        return value(row) > 0.5 if label == "happiness" else value(row) >= THRESHOLDS[label]

    total = sum(until[row["frame"]] for row in judged)
    events, current = [], None
    for row in judged:
        begin = row["time_s"]
        if not present(row):
            continue
        if current is not None and begin - current[1] <= LONGEST_GAP + 1e-9:
            current[1] = begin + until[row["frame"]]
        else:
            current = [begin, begin + until[row["frame"]]]
            events.append(current)
    lengths = [end - begin for begin, end in events if end - begin >= SHORTEST_EVENT - 1e-9]
    return {
        "frames_with_face": len(face),
        "frames_without_face": len(numbers) - len(face),
        "frames_out_of_scope": sum(row["out_of_scope"] for row in face),
        "frames_without_result": len(face) - len(judged),
        "seconds_with_result": total,
        "rate": sum(until[row["frame"]] for row in judged if present(row)) / total,
        "mean_probability": sum(until[row["frame"]] * value(row) for row in judged) / total,
        "onset_count": len(lengths),
        "mean_duration_s": statistics.fmean(lengths) if lengths else None,
        "median_duration_s": statistics.median(lengths) if lengths else None,
        "max_duration_s": max(lengths) if lengths else None,
    }


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_every_figure_is_that_of_the_loop(tmp_path, make_table, suffix):
    rows = made_up_rows()
    summary = summarize(make_table(tmp_path / f"table{suffix}", rows)).to_pylist()
    found = {(row["source"], row["track_id"], row["label"]): row for row in summary}
    labels = [*THRESHOLDS, "neutral", "happiness"]
    assert len(found) == len(summary) == 3 * len(labels)
    events = 0
    for track in (0, 1):
        for label in (*THRESHOLDS, "happiness"):
            expected = by_hand(rows, "a/take.mp4", track, label)
            row = found["a/take.mp4", track, label]
            for name, value in expected.items():
                assert row[name] == (value if value is None else pytest.approx(value, rel=1e-5)), (track, label, name)
            events += expected["onset_count"]
    assert events > 20  # of which to compare durations there were enough
    assert found["a/take.mp4", 0, "AU12"]["text"] == "lip corner puller"
    assert found["a/take.mp4", 0, "AU12"]["label_group"] == "action_units"


def test_still_pictures_have_rates_and_no_events(tmp_path, make_table):
    summary = summarize(make_table(tmp_path / "table.parquet", made_up_rows())).to_pylist()
    row = next(row for row in summary if row["source"] == "a/photo.jpg" and row["label"] == "AU12")
    assert row["rate"] == 1 and row["mean_probability"] == pytest.approx(0.7)
    assert row["onset_count"] is None and row["mean_duration_s"] is None and row["seconds_with_result"] is None


def take(states, step=0.05):
    """Rows of one face: True where AU12 is present, False where not, None where the face is away."""
    rows = []
    for frame, state in enumerate(states):
        row = {"source": "take.mp4", "frame": frame, "time_s": frame * step}
        if state is not None:
            row |= {"track_id": 0, "AU12": 0.9 if state else 0.1, "AU1": 0, "AU45": 0, "a grin": 0, "happiness": 0}
        rows.append(row)
    return rows


@pytest.mark.parametrize(
    "states, count, durations",
    [
        ([0, 1, 0, 0, 0, 0, 0, 0], 0, []),  # .05 s: too short
        ([0, 1, 1, 0, 0, 0, 0, 0], 1, [0.1]),
        ([1, 1, 0, 0, 0, 0, 1, 1], 1, [0.4]),  # .2 s apart: one
        ([1, 1, 0, 0, 0, 0, 0, 1, 1], 2, [0.1, 0.1]),  # .25 s apart: two
        ([1, 1, None, None, 1, 1], 1, [0.3]),  # the face was away shortly
        ([1, 1, None, None, None, None, None, 1, 1], 2, [0.1, 0.1]),
        ([0, 1, 0, 1, 0, 1, 0], 1, [0.25]),  # flicker is one event, though its parts are short
        ([1] * 8, 1, [0.4]),
    ],
)
def test_what_an_event_is(tmp_path, make_table, states, count, durations):
    states = [None if state is None else bool(state) for state in states]
    summary = summarize(make_table(tmp_path / "table.parquet", take(states))).to_pylist()
    row = next(row for row in summary if row["label"] == "AU12")
    assert row["onset_count"] == count
    assert row["max_duration_s"] == (pytest.approx(max(durations)) if durations else None)
    assert row["mean_duration_s"] == (pytest.approx(statistics.fmean(durations)) if durations else None)


def test_a_long_frame_counts_by_how_long_it_is_shown(tmp_path, make_table):
    rows = take([True, False, False])
    for row, time in zip(rows, (0.0, 3.0, 4.0), strict=True):
        row["time_s"] = time
    summary = summarize(make_table(tmp_path / "table.parquet", rows)).to_pylist()
    row = next(row for row in summary if row["label"] == "AU12")
    assert row["rate"] == pytest.approx(3 / (3 + 1 + 2))  # the last lasts as long as the median of the others
    assert row["mean_probability"] == pytest.approx((3 * 0.9 + 1 * 0.1 + 2 * 0.1) / 6)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_the_file_holds_the_summary(tmp_path, make_table, suffix):
    table = make_table(tmp_path / "table.parquet", made_up_rows())
    output = tmp_path / "made" / f"summary{suffix}"
    assert write_summary(table, output) == 18
    expected = summarize(table)
    if suffix == ".parquet":
        assert pq.read_table(output).equals(expected)
    elif suffix == ".csv":
        assert pa_csv.read_csv(output)["onset_count"].to_pylist() == expected["onset_count"].to_pylist()
    else:
        assert len(output.read_text().splitlines()) == 18
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_tables_that_cannot_be_read_back(tmp_path, make_table):
    with pytest.raises(FileNotFoundError, match="there is no table"):
        summarize(tmp_path / "none.parquet")
    table = make_table(tmp_path / "table.csv", made_up_rows())
    sidecar = tmp_path / "table.csv.json"
    sidecar.write_text("{}")
    with pytest.raises(ValueError, match="clef analyze"):
        summarize(table)
    sidecar.unlink()
    with pytest.raises(ValueError, match="table.csv.json is missing"):
        summarize(table)
    rows = made_up_rows(frames=4)
    scattered = make_table(tmp_path / "scattered.parquet", [*rows, rows[0]])
    with pytest.raises(ValueError, match="do not stand together"):
        summarize(scattered)


def test_frames_come_in_order_with_their_faces_and_sources_can_be_passed_over(tmp_path, make_table):
    rows = made_up_rows(frames=100)
    path = make_table(tmp_path / "table.parquet", rows)
    about = read_about(path)
    found = {source: list(frames) for source, frames in read_frames_of_sources(path, about)}
    assert list(found) == ["a/take.mp4", "a/photo.jpg"]
    assert [frame for frame, _ in found["a/take.mp4"]] == list(range(100))
    for frame, faces in found["a/take.mp4"]:
        expected = [row["track_id"] for row in rows[:-1] if row["frame"] == frame and "track_id" in row]
        assert [face["track_id"] for face in faces] == expected
    assert [source for source, _ in read_frames_of_sources(path, about)] == list(found)
    assert math.isnan(next(read_sources(path, about)).probabilities["AU12"][-1]) == ("AU12" not in rows[-2])
