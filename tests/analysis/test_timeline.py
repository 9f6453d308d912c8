"""Timelines: what goes into each lane, and that pictures say it."""

import numpy as np
import pytest
from PIL import Image

from analysis.drawing_mark import is_drawing
from analysis.reading import ANATOMICAL_ORDER, TableAbout, read_about, read_sources
from analysis.timeline import MOST_BINS, draw_timeline, plot_timelines, timelines_of

pytest.importorskip("matplotlib")


def face(source, frame, time, track=0, au12=0.1, happiness=0.2, **values):
    row = {"source": source, "frame": frame, "time_s": time, "track_id": track, "AU12": au12, "happiness": happiness}
    return row | {"AU1": 0.0, "AU45": 0.0, "a grin": 0.0} | values


def take(frames=50, step=0.04, source="take.mp4"):
    """AU12 from frame 10 to 19; a single blink in frame 30; nobody from frame 40 to 44."""
    rows = []
    for frame in range(frames):
        if 40 <= frame < 45:
            rows.append({"source": source, "frame": frame, "time_s": frame * step})
            continue
        smiles = 10 <= frame < 20
        blink = 0.9 if frame == 30 else 0.0
        rows.append(face(source, frame, frame * step, 0, 0.8 if smiles else 0.1, 0.9 if smiles else 0.1, AU45=blink))
    return rows


def timelines(path):
    about = read_about(path)
    return [timeline for rows in read_sources(path, about) for timeline in timelines_of(rows, about)]


def test_lanes_hold_every_frame(tmp_path, make_table):
    (timeline,) = timelines(make_table(tmp_path / "table.parquet", take()))
    np.testing.assert_allclose(timeline.edges, np.arange(51) * 0.04)
    assert timeline.frames_a_bin == 1
    lanes = {lane.label: lane for lane in timeline.lanes}
    assert np.flatnonzero(lanes["AU12"].present).tolist() == list(range(10, 20))
    assert np.flatnonzero(lanes["AU45"].present).tolist() == [30]
    np.testing.assert_allclose(lanes["AU12"].highest[[0, 15]], [0.1, 0.8], rtol=1e-6)
    assert np.flatnonzero(~timeline.seen).tolist() == np.flatnonzero(np.isnan(lanes["AU12"].highest)).tolist()
    assert np.flatnonzero(~timeline.seen).tolist() == list(range(40, 45))
    (band,) = timeline.bands
    assert [band.labels[i] if i >= 0 else None for i in band.chosen[[0, 15, 42]]] == ["neutral", "happiness", None]


def test_lanes_go_from_the_upper_face_to_the_lower(tmp_path, make_table):
    (timeline,) = timelines(make_table(tmp_path / "table.parquet", take()))
    assert [lane.label for lane in timeline.lanes] == ["AU1", "AU45", "AU12", "a grin"]
    place = {number: position for position, number in enumerate(ANATOMICAL_ORDER)}
    assert len(place) == len(ANATOMICAL_ORDER)
    for upper, lower in ((1, 45), (4, 9), (6, 10), (9, 12), (12, 25), (15, 17), (24, 26)):
        assert place[upper] < place[lower]
    about = TableAbout((), {})
    group = read_about(tmp_path / "table.parquet").groups[0]
    assert about.anatomical(group) == ["AU1", "AU45", "AU12", "a grin"]


def test_a_long_take_shares_columns_and_loses_no_blink(tmp_path, make_table):
    frames = 4 * MOST_BINS + 7
    rows = take(frames)
    (timeline,) = timelines(make_table(tmp_path / "table.parquet", rows))
    assert len(timeline.seen) == MOST_BINS and timeline.frames_a_bin == 5
    lane = next(lane for lane in timeline.lanes if lane.label == "AU45")
    (column,) = np.flatnonzero(lane.present)
    assert timeline.edges[column] <= 30 * 0.04 < timeline.edges[column + 1]
    assert lane.highest[column] == pytest.approx(0.9)
    assert timeline.edges[-1] == pytest.approx(frames * 0.04)
    unseen = np.flatnonzero(~timeline.seen)  # of 5 frames, some columns are shared with frames before and after
    assert len(unseen) and all(40 * 0.04 < timeline.edges[i + 1] and timeline.edges[i] < 45 * 0.04 for i in unseen)


def test_a_frame_that_is_shown_long_fills_its_columns(tmp_path, make_table):
    rows = take(2 * MOST_BINS)
    for row in rows[1000:]:
        row["time_s"] += 20.0  # frame 999 stands still for 20 s
    rows[999] |= {"AU12": 0.77}
    (timeline,) = timelines(make_table(tmp_path / "table.parquet", rows))
    lane = next(lane for lane in timeline.lanes if lane.label == "AU12")
    during = (timeline.edges[:-1] > 999 * 0.04) & (timeline.edges[1:] < 1000 * 0.04 + 20)
    assert during.sum() > 100 and timeline.seen[during].all()
    np.testing.assert_allclose(lane.highest[during], 0.77, rtol=1e-6)


def test_pictures_of_all_faces_with_names_that_stay_apart(tmp_path, make_table):
    rows = take(source="a/take.mp4")
    rows += [face("a/take.mp4", 60 + i, 2.4 + i * 0.04, track) for i in range(20) for track in (0, 3)]
    rows += [face("a/take.mp4", 90, 3.6, 4)]  # seen for a moment
    rows += take(source="b/TAKE.mov")
    rows += [face("photo.jpg", 0, None)]
    rows += [{"source": "empty.mp4", "frame": i, "time_s": i * 0.04} for i in range(30)]
    made = plot_timelines(make_table(tmp_path / "table.parquet", rows), tmp_path / "plots")
    names = ["a-take-track0.png", "a-take-track3.png", "b-TAKE-track0.png"]
    assert [path.name for path in made.files] == names
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(names)
    assert (made.short, made.untimed, made.faceless) == (1, 1, 1)
    for path in made.files:
        with Image.open(path) as picture:
            assert picture.width == 1320 and picture.height > 200
        assert is_drawing(path)


def test_dollars_in_names_are_no_formulas(tmp_path, make_table):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    (timeline,) = timelines(make_table(tmp_path / "table.parquet", take(source="a$b_{$.mp4")))
    figure = draw_timeline(timeline)
    FigureCanvasAgg(figure).draw()  # which raises for a formula without an end
    (title,) = [text for text in figure.findobj(Text) if "face 0" in text.get_text()]
    assert title.get_text().startswith("a$b_{$.mp4") and not title.get_parse_math()
    assert not any(label.get_parse_math() for label in figure.axes[0].get_yticklabels() if label.get_text())


def test_the_picture_shows_what_is_there(tmp_path, make_table):
    (timeline,) = timelines(make_table(tmp_path / "table.parquet", take()))
    figure = draw_timeline(timeline)
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["AU1  inner brow raiser", "AU45  blink", "AU12  lip corner puller", "a grin", "expression"]
    assert axes.get_xlim() == (0, 2) and axes.get_xlabel() == "time in s"
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    height = pixels.shape[0]

    def colour(time, lane, share):
        """At a time, in a lane, so high up in it."""
        tops = axes.transData.transform((time, (lane + 0.93 - 0.84 * share) * 0.3))
        return tuple(pixels[height - 1 - round(tops[1]), round(tops[0])])

    strong, pale = (47, 95, 158), (185, 205, 229)
    assert colour(0.6, 2, 0.6) == strong and colour(0.3, 2, 0.6) == (255, 255, 255)
    assert colour(0.3, 2, 0.06) == pale
    assert colour(1.22, 1, 0.8) == strong  # the blink of a single frame
    assert colour(1.6, 2, 0.6) == (236, 236, 236)  # nobody is there; the words for it are in the middle
    # No text runs into another.
    drawn = [text for text in [*figure.texts, *axes.get_yticklabels()] if text.get_text()]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in drawn]
    boxes += [legend.get_window_extent(canvas.get_renderer()) for legend in figure.legends]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.x0 >= 0 and box.x1 <= pixels.shape[1] for box in boxes)
