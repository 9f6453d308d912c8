"""Overlays: which frames, when, how large, and what is drawn on them."""

import gc
import weakref

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

pytest.importorskip("cv2", reason="needs opencv-python-headless")
pytest.importorskip("av", reason="needs PyAV")

import av

from analysis import analyze, analyze_to_file, overlay
from analysis.frames import Frame
from analysis.overlay import draw_overlays
from analysis.overlay_drawing import GROUND, LEAST_HEIGHT, TRACK_COLOURS, FrameArtist
from analysis.reading import read_about, read_frames_of_sources
from analysis.sources import CAMERA, Source, find_sources
from analysis.timeline import plot_timelines


@pytest.fixture
def analysed(tmp_path, checkpoint, detector):
    """`analysed(*inputs, **options)`: their table, and their sources."""

    def run(*inputs, **options):
        analysis = analyze(list(inputs), model=checkpoint, detector=detector, **options)
        analyze_to_file(analysis, tmp_path / "table.parquet", overwrite=True)
        return tmp_path / "table.parquet", find_sources(list(inputs)).sources

    return run


def frames_of(path):
    with av.open(str(path)) as container:
        return [(float(f.time), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def test_a_video_that_is_rotated_by_metadata_is_drawn_upright(tmp_path, analysed, make_video, make_blocks):
    clip = make_video(tmp_path / "turned.mp4", [np.rot90(p, -1).copy() for p in make_blocks(6)], rotation=90)
    table, sources = analysed(clip)
    assert pq.read_table(table)["frame_width"][0].as_py() == 160
    draw_overlays(table, sources, tmp_path / "o.mp4")
    _, picture = frames_of(tmp_path / "o.mp4")[0]
    assert picture.shape[0] == LEAST_HEIGHT  # smaller pictures are enlarged
    shown = np.asarray(Image.fromarray(picture[:, :480]).resize((160, 120))).astype(int)
    upright = make_blocks(6)[0].astype(int)
    inner = (slice(25, 55), slice(12, 45))  # of the red block, away from the lines
    assert np.abs(shown[inner] - upright[inner]).mean() < 25


def test_frames_that_were_left_out_are_not_drawn_and_the_others_keep_their_times(
    tmp_path, analysed, make_video, make_blocks
):
    ticks = np.cumsum([45_000, 1501, 3003, 9000, 1501, 3003, 1501, 3003, 1501, 3003]).tolist()
    clip = make_video(tmp_path / "clip.mp4", make_blocks(10), ticks=ticks)
    table, sources = analysed(clip, every=3)
    draw_overlays(table, sources, tmp_path / "o.mp4")
    times = [time for time, _ in frames_of(tmp_path / "o.mp4")]
    assert times == pytest.approx([ticks[i] / 90_000 for i in (0, 3, 6, 9)], abs=1e-4)
    assert times[0] == pytest.approx(0.5)


def test_a_damaged_video_is_drawn_as_far_as_it_goes(tmp_path, analysed, make_video, make_blocks):
    clip = make_video(tmp_path / "whole.ts", make_blocks(50), codec="mpeg2video")
    cut = tmp_path / "cut.ts"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    table, sources = analysed(cut)
    made = draw_overlays(table, sources, tmp_path / "o.mp4")
    assert len(frames_of(made.files[0])) == len(set(pq.read_table(table)["frame"].to_pylist()))


def test_a_folder_for_several_inputs_with_names_that_stay_apart(
    tmp_path, analysed, make_video, make_blocks, make_block_picture
):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        make_video(tmp_path / name / "take one.mp4", make_blocks(3))
    Image.fromarray(make_block_picture((20, 20))).save(tmp_path / "photo.jpg", quality=95)
    pages = [Image.fromarray(make_block_picture((20 + 9 * i, 20))) for i in range(2)]
    pages[0].save(tmp_path / "moving.gif", save_all=True, append_images=pages[1:], duration=200)
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "broken.jpg").write_text("no picture")
    inputs = [tmp_path / name for name in ("a", "b", "photo.jpg", "moving.gif", "scan.tif", "broken.jpg")]
    table, sources = analysed(*inputs)
    made = draw_overlays(table, sources, tmp_path / "drawn")
    names = ["a-take one.mp4", "b-take one.mp4", "photo.png", "moving.mp4", "scan.png", "scan-page2.png"]
    assert [path.name for path in made.files] == names
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == sorted(names)
    assert made.without_rows == [str(tmp_path / "broken.jpg")]
    assert [time for time, _ in frames_of(tmp_path / "drawn" / "moving.mp4")] == pytest.approx([0, 0.2])
    with Image.open(tmp_path / "drawn" / "photo.png") as picture:
        assert picture.height == LEAST_HEIGHT


def test_a_source_has_one_name_in_every_folder(tmp_path, analysed, make_video, make_blocks, make_block_picture):
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    Image.fromarray(make_block_picture((20, 20))).save(tmp_path / "a" / "take.png")  # has no timeline
    make_video(tmp_path / "b" / "take.mp4", make_blocks(3, faces=1), fps=5)
    table, sources = analysed(tmp_path / "a", tmp_path / "b")
    drawn = draw_overlays(table, sources, tmp_path / "drawn").files
    assert [path.name for path in drawn] == ["a-take.png", "b-take.mp4"]
    assert [path.name for path in plot_timelines(table, tmp_path / "plots").files] == ["b-take-track0.png"]


def test_what_cannot_be_drawn_is_said_and_leaves_no_file(tmp_path, analysed, make_block_picture, monkeypatch):
    Image.fromarray(make_block_picture((20, 20))).save(tmp_path / "photo.png")
    table, sources = analysed(tmp_path / "photo.png")
    with pytest.raises(ValueError, match="is a picture; name a .png"):
        draw_overlays(table, sources, tmp_path / "o.mp4")
    with pytest.raises(ValueError, match="camera"):
        overlay.check_overlay_path(tmp_path / "o.mp4", [Source("camera 0", CAMERA, camera=0)])

    def fails(self, frame, faces):
        raise OSError("the disk is full")

    monkeypatch.setattr(FrameArtist, "draw", fails)
    with pytest.raises(OSError, match="full"):
        draw_overlays(table, sources, tmp_path / "out" / "o.png")
    assert not any((tmp_path / "out").iterdir())


def test_no_input_is_ever_replaced(tmp_path, analysed, make_video, make_blocks):
    clip = make_video(tmp_path / "clip.mp4", make_blocks(3))
    table, sources = analysed(clip)
    before = clip.read_bytes()
    for output in (clip, tmp_path, tmp_path / "a" / ".."):
        with pytest.raises(ValueError, match="would replace"):
            draw_overlays(table, sources, output)
    assert clip.read_bytes() == before


def test_without_x264_it_warns_and_writes_another_codec(tmp_path, analysed, make_video, make_blocks, monkeypatch):
    clip = make_video(tmp_path / "clip.mp4", make_blocks(5))
    table, sources = analysed(clip)
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    with pytest.warns(UserWarning, match="cannot write H.264"):
        draw_overlays(table, sources, tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
        times = [float(frame.time) for frame in container.decode(video=0)]
    assert times == pytest.approx([i / 25 for i in range(5)], abs=1e-4)


def test_few_frames_are_in_memory_at_a_time(tmp_path, analysed, make_video, make_blocks, monkeypatch):
    clip = make_video(tmp_path / "clip.mp4", make_blocks(60))
    table, sources = analysed(clip)
    alive, most, reading = weakref.WeakSet(), [], overlay.read_frames

    class Counted(Frame):
        __hash__ = object.__hash__

    def counting(*arguments):
        for frame in reading(*arguments):
            frame = Counted(frame.index, frame.time_s, frame.image)
            alive.add(frame)
            yield frame
            gc.collect(0)
            most.append(len(alive))

    monkeypatch.setattr(overlay, "read_frames", counting)
    draw_overlays(table, sources, tmp_path / "o.mp4")
    assert len(most) >= 59 and max(most) <= 3


def a_face(track, left, **values):
    """A row of a face of the tables of `make_table`."""
    row = {"source": "take.mp4", "frame": 0, "time_s": 0.0, "track_id": track, "happiness": 0.8}
    row |= {"AU12": 0.0, "AU1": 0.0, "AU45": 0.0, "a grin": 0.0} | values
    edges = {"left": left, "top": 60.0, "right": left + 80.0, "bottom": 180.0}
    row |= {f"box_{side}": edge for side, edge in edges.items()}
    return row


def drawn(path, make_table, rows, columns=2, size=(640, 360)):
    """The artist, and the first frame as it draws it."""
    table = make_table(path, rows)
    about = read_about(table)
    _, frames = next(read_frames_of_sources(table, about))
    artist = FrameArtist(about, size, columns)
    pictures = []
    for number, faces in frames:
        image = np.full((size[1], size[0], 3), 100, dtype=np.uint8)
        pictures.append(artist.draw(Frame(number, number / 25, image), faces).astype(int))
    return artist, pictures


def columns_of(picture, colour, tolerance=2):
    """How many pixels of each row of the panel have a colour."""
    return (np.abs(picture[:, 640:] - colour).max(axis=2) <= tolerance).sum(axis=1)


def test_bars_are_as_long_as_the_probability_and_bright_where_present(tmp_path, make_table):
    face = a_face(0, 100.0, AU12=0.8, AU1=0.1)
    artist, (picture,) = drawn(tmp_path / "t.parquet", make_table, [face], columns=1)
    wide, tall = artist._column_width - artist._gap, artist._row_height
    rows = {label: round(tall * (place + 2.9)) for place, label in enumerate(("AU1", "AU45", "AU12", "a grin"))}
    # The mark of the threshold stands within the bar.
    assert columns_of(picture, TRACK_COLOURS[0])[rows["AU12"]] == pytest.approx(0.8 * wide, abs=3)
    assert columns_of(picture, TRACK_COLOURS[0])[rows["AU1"]] == 0
    assert columns_of(picture, (118, 124, 132))[rows["AU1"]] == pytest.approx(0.1 * wide, abs=2)
    assert columns_of(picture, (50, 54, 61))[rows["AU45"]] == pytest.approx(wide, abs=3)


def test_boxes_lie_where_the_table_says_and_the_picture_is_not_covered(tmp_path, make_table):
    _, (picture,) = drawn(tmp_path / "t.parquet", make_table, [a_face(0, 100.0), a_face(1, 400.0)])
    for track, left in ((0, 100), (1, 400)):
        for y, x in ((120, left), (120, left + 80), (180, left + 40)):
            near = picture[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
            assert (np.abs(near - TRACK_COLOURS[track]).max(axis=1) <= 2).any()
    assert (picture[90:170, 110:170] == 100).all()  # within a box
    assert (picture[200:, :640] == 100).all()
    assert tuple(picture[355, 645]) == GROUND


def test_faces_keep_their_column_while_others_come_and_go(tmp_path, make_table):
    def at(frame, *tracks):
        return [a_face(track, 100.0 * track, AU12=0.9) | {"frame": frame, "time_s": frame / 25} for track in tracks]

    rows = [*at(0, 0, 1), *at(1, 1), *at(2, 1, 2), *at(3, 1, 2, 3)]
    artist, pictures = drawn(tmp_path / "t.parquet", make_table, rows)
    begin = 640 + artist._names_width
    line = round(artist._row_height * 4.9)  # of AU12

    def colours(picture):
        spots = [picture[line, begin + column * artist._column_width + 4] for column in (0, 1)]
        return [TRACK_COLOURS.index(tuple(spot)) if tuple(spot) in TRACK_COLOURS else None for spot in spots]

    assert [colours(picture) for picture in pictures] == [[0, 1], [None, 1], [2, 1], [2, 1]]


def test_frames_of_another_size_are_fitted_and_boxes_with_them(tmp_path, make_table):
    table = make_table(tmp_path / "t.parquet", [a_face(0, 100.0)])
    about = read_about(table)
    _, frames = next(read_frames_of_sources(table, about))
    artist = FrameArtist(about, (640, 360), 1)
    (_, faces) = next(frames)
    picture = artist.draw(Frame(0, None, np.full((360, 360, 3), 200, dtype=np.uint8)), faces).astype(int)
    assert picture.shape == (360, artist.size[0], 3)
    assert tuple(picture[300, 100]) == GROUND and tuple(picture[300, 320]) == (200, 200, 200)
    near = picture[118:123, 238:243].reshape(-1, 3)  # 100 px, and what is left free on that side: 140
    assert (np.abs(near - TRACK_COLOURS[0]).max(axis=1) <= 2).any()


@pytest.mark.parametrize("size", [(160, 120), (641, 361), (1080, 1920), (3840, 2160)])
def test_no_text_leaves_the_picture_or_runs_into_bars(tmp_path, make_table, size):
    faces = [a_face(track, 5.0, out_of_scope=True, out_of_scope_reason="too small") for track in range(3)]
    table = make_table(tmp_path / "t.parquet", faces)
    artist = FrameArtist(read_about(table), size, 3)
    assert artist.size[0] % 2 == artist.size[1] % 2 == 0
    names = max(artist._font.getlength(row.name) for row in artist._rows)
    assert min(names, 17 * artist._row_height) <= artist._names_width
    assert (len(artist._rows) + 2.9) * artist._row_height <= artist.size[1]
    assert artist._left_out == 0
    widest = artist._font.getlength("happiness")
    assert widest <= artist._column_width - artist._gap
