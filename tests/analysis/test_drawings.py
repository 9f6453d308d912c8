"""What is made of a table: summary, timelines, and drawings over the video."""

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("cv2", reason="needs opencv-python-headless")
pytest.importorskip("av", reason="needs PyAV")
pytest.importorskip("matplotlib", reason="needs matplotlib")

import av

from analysis import analyze, analyze_to_file
from analysis.overlay import check_overlay_path, draw_overlays
from analysis.sources import find_sources
from analysis.summary import LONGEST_GAP, SHORTEST_EVENT, summarize, write_summary
from analysis.timeline import plot_timelines

# Frames of a variable rate, in 1/90,000 s.
TICKS = np.cumsum([0] + [3600, 1800, 7200, 3600] * 12).tolist()[:48]


@pytest.fixture
def clip(tmp_path, make_video, make_blocks):
    return make_video(tmp_path / "clip.mp4", make_blocks(48), ticks=TICKS)


@pytest.fixture
def table(tmp_path, clip, checkpoint, detector):
    path = tmp_path / "t.parquet"
    analyze_to_file(analyze([clip], model=checkpoint, detector=detector), path)
    return path


def test_rates_and_events_are_those_of_a_plain_loop_over_frames(table):
    rows = pq.read_table(table).to_pylist()
    times = dict(sorted({row["frame"]: row["time_s"] for row in rows}.items()))
    frames = list(times)
    lasting = {a: times[b] - times[a] for a, b in zip(frames, frames[1:], strict=False)}
    lasting[frames[-1]] = float(np.median(list(lasting.values())))
    checked = 0
    for row in summarize(table).to_pylist():
        if row["label_group"] != "action_units":
            continue
        mine = [r for r in rows if r["track_id"] == row["track_id"] and r[f"{row['label']}_probability"] is not None]
        seconds = sum(lasting[r["frame"]] for r in mine)
        present = sum(lasting[r["frame"]] for r in mine if r[row["label"]])
        assert row["frames_with_face"] == sum(r["track_id"] == row["track_id"] for r in rows)
        assert row["frames_with_face"] + row["frames_without_face"] == len(frames)
        assert row["rate"] == pytest.approx(present / seconds, abs=0.01)
        events = []
        for r in mine:
            if r[row["label"]]:
                begin, end = times[r["frame"]], times[r["frame"]] + lasting[r["frame"]]
                if events and begin - events[-1][1] <= LONGEST_GAP + 1e-6:
                    events[-1][1] = end
                else:
                    events.append([begin, end])
        events = [e for e in events if e[1] - e[0] >= SHORTEST_EVENT - 1e-6]
        assert row["onset_count"] == len(events)
        if events:
            assert row["max_duration_s"] == pytest.approx(max(b - a for a, b in events), abs=0.05)
        checked += 1
    assert checked == 4  # two faces, two action units


def test_a_summary_is_written_as_a_table(table, tmp_path):
    assert write_summary(table, tmp_path / "s.parquet") == len(pq.read_table(tmp_path / "s.parquet")) == 8


def test_every_face_has_a_timeline(table, tmp_path):
    from PIL import Image

    made = plot_timelines(table, tmp_path / "plots")
    assert sorted(path.name for path in made.files) == ["clip-track0.png", "clip-track1.png"]
    for path in made.files:
        assert min(Image.open(path).size) > 200


def test_a_drawn_video_keeps_frames_and_times_and_shows_the_boxes(table, clip, tmp_path):
    sources = find_sources([str(clip)]).sources
    made = draw_overlays(table, sources, tmp_path / "o.mp4")
    assert made.files == [tmp_path / "o.mp4"] and not made.without_rows
    with av.open(str(clip)) as before, av.open(str(tmp_path / "o.mp4")) as after:
        plain, drawn = list(before.decode(video=0)), list(after.decode(video=0))
    assert [float(f.time) for f in drawn] == pytest.approx([float(f.time) for f in plain], abs=2e-3)
    height, width = plain[0].to_ndarray(format="rgb24").shape[:2]
    picture = drawn[0].to_ndarray(format="rgb24")
    assert picture.shape[1] > width  # bars stand beside the picture, not over it
    row = next(r for r in pq.read_table(table).to_pylist() if r["frame"] == 0 and r["face_found"])
    scale = picture.shape[0] / height if picture.shape[0] != height else 1
    left, top = int(row["box_left"] * scale), int((row["box_top"] + row["box_bottom"]) / 2 * scale)
    edge = picture[top, max(left - 3, 0) : left + 4].astype(int)
    inside = picture[top, left + 12].astype(int)
    assert np.abs(edge - inside).sum(axis=1).max() > 60


def test_an_overlay_that_cannot_be_is_refused_before_the_work(clip, tmp_path):
    sources = find_sources([str(clip)]).sources
    with pytest.raises(ValueError, match="one file for 2 inputs"):
        check_overlay_path(tmp_path / "o.mp4", sources * 2)
    with pytest.raises(ValueError, match="expected .mp4"):
        check_overlay_path(tmp_path / "o.avi", sources)
