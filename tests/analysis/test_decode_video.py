"""Videos as they come: times, sizes, rotations, damage. OpenCV's own reader and the encoder's input are the truth."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from analysis.decode import SourceError, Span, count_frames, read_camera, read_frames
from analysis.sources import CAMERA, VIDEO, Source

av = pytest.importorskip("av", reason="needs PyAV")


def source(path):
    return Source(str(path), VIDEO, path=path)


def read(path, first=0, **span):
    return list(read_frames(source(path), Span(**span), first))


def read_broken(path):
    """The frames that come before the error, and the error."""
    frames, reading = [], read_frames(source(path))
    with pytest.raises(SourceError) as error:
        for frame in reading:
            frames.append(frame)
    return frames, str(error.value)


def greys(count, size=(64, 48)):
    """Pictures whose grey says which they are, with a white block at the top left."""
    pictures = []
    for number in range(count):
        picture = np.full((size[1], size[0], 3), 5 + number * 200 // count, dtype=np.uint8)
        picture[:10, :20] = 255
        pictures.append(picture)
    return pictures


def noise(count, size=(160, 120)):
    """Pictures that do not compress, so that a cut hits most frames."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8) for _ in range(count)]


def centre(image):
    return int(image[image.shape[0] // 2, image.shape[1] // 2].mean().round())


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.avi", "libx264"), ("b.avi", "mpeg4")],
)
def test_frames_come_in_the_order_they_are_shown_a_tick_apart(tmp_path, make_video, name, codec):
    """Whatever order they are stored in; AVI does not even say which is shown when."""
    pictures = greys(30)
    frames = read(make_video(tmp_path / name, pictures, codec=codec))
    assert [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose(
        [centre(frame.image) for frame in frames], [centre(picture) for picture in pictures], atol=6
    )
    np.testing.assert_allclose(np.diff([frame.time_s for frame in frames]), 0.04, atol=1e-9)
    assert count_frames(source(tmp_path / name), Span()) == 30


def test_times_of_a_variable_frame_rate_are_the_containers(tmp_path, make_video):
    ticks = [0, 3000, 40_000, 41_000, 200_000, 200_090]
    path = make_video(tmp_path / "a.mp4", greys(6), ticks=ticks)
    times = [frame.time_s for frame in read(path)]
    np.testing.assert_allclose(times, np.array(ticks) / 90_000, atol=1e-9)
    with av.open(str(path)) as container:
        packets = sorted(float(p.pts * p.time_base) for p in container.demux(video=0) if p.pts is not None)
    np.testing.assert_allclose(times, packets, atol=1e-12)
    assert [frame.index for frame in read(path, start=0.4, stop=2.2222)] == [2, 3]


def test_a_part_and_every_nth_frame_keep_their_numbers(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", greys(30))
    whole = read(path)
    part = read(path, every=3, start=0.2, stop=0.8)  # frames 5 to 19
    assert [frame.index for frame in part] == [6, 9, 12, 15, 18]
    assert all(np.array_equal(frame.image, whole[frame.index].image) for frame in part)
    assert [frame.index for frame in read(path, first=10, every=4)] == [12, 16, 20, 24, 28]
    assert count_frames(source(path), Span(every=3, start=0.2, stop=0.8)) == 5
    with pytest.raises(SourceError, match="no frame from 9 s to its end"):
        read(path, start=9.0)
    assert read(path, first=30) == []  # a resumed run that has them all


def test_a_part_is_by_the_recordings_own_clock_wherever_it_begins(tmp_path, make_video):
    ticks = [9_009_000 + 3600 * number for number in range(30)]  # from 100.1 s, as where one file follows another
    path = make_video(tmp_path / "a.mkv", greys(30), ticks=ticks)
    for span, first, count in (
        ({"start": 100.5}, 10, 20),
        ({"stop": 100.5}, 0, 10),
        ({"start": 5.0, "stop": 100.9}, 0, 20),
    ):
        frames = read(path, **span)
        assert [frame.index for frame in frames] == list(range(first, first + count))
        assert frames[0].time_s == pytest.approx(100.1 + first / 25)
        assert count_frames(source(path), Span(**span)) == count
    for span, said in (({"start": 10.0, "stop": 20.0}, "10 s to 20 s"), ({"start": 105.0}, "105 s to its end")):
        with pytest.raises(SourceError, match=f"no frame from {said}; its clock runs from 100.10 s to 101.30 s"):
            read(path, **span)
        assert count_frames(source(path), Span(**span)) == 0


@pytest.mark.parametrize("options", [{"every": 0}, {"start": 2.0, "stop": 2.0}, {"stop": 0.0}])
def test_a_span_that_holds_nothing_is_refused(options):
    with pytest.raises(ValueError, match="expected"):
        Span(**options)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotation_by_metadata_is_applied(tmp_path, make_video, rotation):
    path = make_video(tmp_path / "a.mp4", greys(3), rotation=rotation)
    (frame, *_) = read(path)
    cv2 = pytest.importorskip("cv2")
    reader = cv2.VideoCapture(str(path))  # which turns pictures by itself
    expected = reader.read()[1][..., ::-1]
    assert frame.image.shape == expected.shape == ((48, 64, 3) if rotation == 180 else (64, 48, 3))
    np.testing.assert_allclose(frame.image.astype(int), expected.astype(int), atol=12)
    assert frame.image.flags.c_contiguous


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [
        (1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1),
        (0, 1, -1, 0), (0, -1, 1, 0), (0, 1, 1, 0), (0, -1, -1, 0),
    ],
)  # fmt: skip
def test_pictures_are_turned_and_mirrored_as_the_files_matrix_says(tmp_path, make_video, a, b, c, d):
    """ISO 14496-12, 6.2.2: what is stored at (x, y) is shown at (ax + cy, bx + dy)."""
    path = make_video(tmp_path / "a.mp4", greys(3))
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", *(n << 16 for n in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    stored = read(path)[0].image
    path.write_bytes(data)
    y, x = np.mgrid[: stored.shape[0], : stored.shape[1]]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    expected = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    expected[down, across] = stored
    np.testing.assert_array_equal(read(path)[0].image, expected)


def test_pixels_that_are_not_square_are_made_so(tmp_path, make_video):
    frames = read(make_video(tmp_path / "a.mp4", greys(3), aspect=Fraction(2, 1)))
    assert {frame.image.shape for frame in frames} == {(48, 128, 3)}
    assert frames[0].image[5, 30].min() > 230 and frames[0].image[5, 50].max() < 60  # the block is 40 wide


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"), [("a.mkv", "libx264", "yuv420p10le"), ("a.avi", "ffv1", "gray16le")]
)
def test_ten_bits_and_sixteen_bits(tmp_path, make_video, name, codec, pix_fmt):
    pictures = greys(5)
    frames = read(make_video(tmp_path / name, pictures, codec=codec, pix_fmt=pix_fmt))
    assert {(frame.image.dtype.name, frame.image.shape) for frame in frames} == {("uint8", (48, 64, 3))}
    np.testing.assert_allclose([centre(f.image) for f in frames], [centre(p) for p in pictures], atol=6)


def test_transparent_parts_are_white(tmp_path):
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "argb"
        pixels = np.zeros((48, 64, 4), dtype=np.uint8)
        pixels[:, :32, 3], pixels[:, 32:, 3] = 255, 128  # opaque black, half transparent black
        pixels[:10, :10, 3] = 0
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        container.mux(stream.encode(None))
    (frame,) = read(tmp_path / "a.mov")
    assert [frame.image[place].tolist() for place in ((5, 5), (30, 5), (30, 50))] == [[255] * 3, [0] * 3, [127] * 3]


def test_a_size_that_changes_on_the_way(tmp_path, make_video):
    parts = [make_video(tmp_path / f"{n}.ts", greys(5, size)) for n, size in enumerate([(64, 48), (96, 64)])]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert [frame.image.shape for frame in read(joined)] == [(48, 64, 3)] * 5 + [(64, 96, 3)] * 5


def test_a_video_that_was_cut_off_gives_what_it_has_and_says_so(tmp_path, make_video):
    whole = make_video(tmp_path / "a.mp4", noise(60), options={"movflags": "faststart"})
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames, message = read_broken(tmp_path / "cut.mp4")
    assert 15 < len(frames) < 45 and f"{len(frames)} frames could be read" in message
    assert "are missing" in message
    whole = make_video(tmp_path / "a.mkv", noise(60))
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames, message = read_broken(tmp_path / "cut.mkv")
    assert 15 < len(frames) < 45 and "are missing" in message


def test_a_video_that_begins_late_is_whole(tmp_path, make_video):
    ticks = [270_000 + 3600 * number for number in range(30)]
    for name in ("a.mkv", "a.mp4"):
        path = make_video(tmp_path / name, greys(30), ticks=ticks)
        frames = read(path)
        assert (len(frames), frames[0].time_s) == (30, 3.0)
        assert count_frames(source(path), Span()) == 30


def test_a_hole_in_a_video_is_reported_and_the_rest_is_read(tmp_path, make_video):
    whole = bytearray(make_video(tmp_path / "a.mp4", noise(60), options={"movflags": "faststart"}).read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 3000] = bytes(3000)
    (tmp_path / "hole.mp4").write_bytes(whole)
    frames, message = read_broken(tmp_path / "hole.mp4")
    assert "damaged" in message or "could not be decoded" in message
    assert frames[-1].time_s > 2  # of 2.4 s: it goes on behind the hole


def test_what_holds_no_video(tmp_path, make_video):
    (tmp_path / "text.mp4").write_text("I am no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    whole = make_video(tmp_path / "a.mp4", greys(5)).read_bytes()
    (tmp_path / "headless.mp4").write_bytes(whole[: len(whole) // 2])  # its table of contents stands at the end
    expected = {
        "text.mp4": "cannot be opened",
        "empty.mp4": "is empty",
        "headless.mp4": "cut off",
        "gone.mp4": "No such",
    }
    for name, words in expected.items():
        frames, message = read_broken(tmp_path / name)
        assert not frames and (words in message or "no video stream" in message), name
        assert count_frames(source(tmp_path / name), Span()) is None
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    assert read_broken(tmp_path / "sound.wav") == ([], "the file holds no video stream")


def test_a_video_without_frames(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", greys(5), options={"movflags": "frag_keyframe+empty_moov"})
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"moof") - 4])  # the header alone
    assert read_broken(path) == ([], "the video holds no frame")


def test_a_stream_without_times_has_none(tmp_path, make_video):
    path = make_video(tmp_path / "a.h264", greys(5), format="h264")
    assert [(frame.index, frame.time_s) for frame in read(path)] == [(n, None) for n in range(5)]
    with pytest.raises(SourceError, match="holds no times"):
        read(path, start=0.1)


def test_a_camera_counts_from_its_first_frame(monkeypatch):
    cv2 = pytest.importorskip("cv2")
    blue_first = [np.full((4, 6, 3), (200, 100, number), dtype=np.uint8) for number in range(3)]

    class Camera:
        def __init__(self, index):
            self.pictures = list(blue_first) if index == 2 else []
            self.released = False

        def read(self):
            return (True, self.pictures.pop(0)) if self.pictures else (False, None)

        def release(self):
            self.released = True

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    frames = list(read_frames(Source("camera 2", CAMERA, camera=2)))
    assert [frame.index for frame in frames] == [0, 1, 2] and frames[0].time_s == 0
    assert frames[2].image[0, 0].tolist() == [2, 100, 200]
    with pytest.raises(SourceError, match="camera 7 gives no picture"):
        list(read_camera(7))
