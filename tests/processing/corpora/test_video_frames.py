import numpy as np
import pytest

from processing.corpora import video_frames
from processing.corpora.official import ReadingReport
from processing.corpora.video_frames import VideoError, count_frames, index_video, iterate_frames

av = pytest.importorskip("av")

FRAMES = 40
CODECS = [
    ("mpeg4", "avi", {}),
    ("mpeg4", "avi", {"bf": "2"}),
    ("mjpeg", "avi", {}),
    ("libx264", "mp4", {"bf": "3", "g": "8", "x264-params": "b-adapt=0"}),
    ("libx264", "avi", {"bf": "3", "g": "8", "x264-params": "b-adapt=0"}),
    ("libx264", "mkv", {"g": "8", "x264-params": "open-gop=1:bframes=3:b-adapt=0"}),
]


def write_video(path, codec="libx264", options=None, frames=FRAMES):
    """The brightness of each frame's left half tells its number."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 32, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 8
        stream.bit_rate = 4_000_000
        if options and "bf" in options:
            stream.codec_context.max_b_frames = int(options["bf"])
        for number in range(frames):
            picture = np.full((64, 64, 3), 10 + 6 * number, dtype=np.uint8)
            picture[:, 32:] = noise
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def numbers_shown(pairs):
    return [(index, round((float(picture[:, :24].mean()) - 10) / 6)) for index, picture in pairs]


@pytest.mark.parametrize(("codec", "suffix", "options"), CODECS, ids=lambda value: str(value))
def test_frames_keep_their_index_wherever_reading_begins(tmp_path, codec, suffix, options):
    path = write_video(tmp_path / f"clip.{suffix}", codec, options)
    assert index_video(path).frames == FRAMES
    for start, stop in ((0, None), (0, 5), (7, 9), (13, 22), (16, 17), (33, None), (39, 40)):
        expected = [(number, number) for number in range(start, FRAMES if stop is None else stop)]
        assert numbers_shown(iterate_frames(path, start, stop)) == expected


def test_pictures_are_rgb(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=2)
    ((_, picture),) = iterate_frames(path, 1)
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8


def test_reading_begins_at_a_keyframe(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4")
    decoded = []
    original = video_frames._whole_frames

    def counted(*args, **kwargs):
        for frame in original(*args, **kwargs):
            decoded.append(frame)
            yield frame

    monkeypatch.setattr(video_frames, "_whole_frames", counted)
    assert [index for index, _ in iterate_frames(path, 34, 36)] == [34, 35]
    assert len(decoded) < 20


def test_a_container_that_seeks_too_far_is_read_from_its_beginning(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4")
    keyframes = index_video(path).keyframes
    sought = []

    class Overshooting:
        def __init__(self, container):
            self.container = container

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.container.close()

        def __getattr__(self, name):
            return getattr(self.container, name)

        def seek(self, offset, stream):
            sought.append(offset)
            self.container.seek(keyframes[-1], stream=stream)

    original = video_frames._open
    monkeypatch.setattr(video_frames, "_open", lambda path: Overshooting(original(path)))
    assert numbers_shown(iterate_frames(path, 17, 20)) == [(17, 17), (18, 18), (19, 19)]
    assert sought


def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path):
    source, path = write_video(tmp_path / "clip.mp4"), tmp_path / "cut.mp4"
    with av.open(str(source)) as whole, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.size:
                packet.pts, packet.dts = packet.pts - 6 * 512, packet.dts - 6 * 512  # six frames before time 0
                packet.stream = stream
                cut.mux(packet)
    assert index_video(path).frames == FRAMES - 6
    assert numbers_shown(iterate_frames(path, 20, 22)) == [(20, 26), (21, 27)]
    assert numbers_shown(iterate_frames(path))[0] == (0, 6)


def test_ranges_beyond_the_end_are_empty(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=5)
    report = ReadingReport()
    assert [index for index, _ in iterate_frames(path, 3, 99, report)] == [3, 4]
    assert list(iterate_frames(path, 5, None, report)) == []
    assert report.reasons == []
    with pytest.raises(ValueError, match="start is -1"):
        list(iterate_frames(path, -1))


@pytest.mark.parametrize("content", [b"", b"RIFF\x00", b"not a video at all" * 50])
def test_files_that_are_no_videos(tmp_path, content):
    path = tmp_path / "clip.avi"
    path.write_bytes(content)
    report = ReadingReport()
    assert count_frames(path, report, "SN001") == 0
    assert report.as_dict()["video that cannot be read"]["by_sequence"] == {"SN001": 1}
    assert "clip.avi" in report.as_dict()["video that cannot be read"]["examples"][0]
    with pytest.raises(VideoError, match="clip.avi"):
        next(iterate_frames(path))
    assert count_frames(tmp_path / "none.avi", report, "SN002") == 0


def test_a_cut_video_gives_what_is_left(tmp_path):
    path = write_video(tmp_path / "clip.avi", "mpeg4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = ReadingReport()
    left = count_frames(path, report)
    assert 2 < left < FRAMES
    shown = numbers_shown(iterate_frames(path, report=report))
    assert shown == [(number, number) for number in range(len(shown))]
    assert left - len(shown) == report.count("video frame that cannot be decoded") == 1  # the one that was cut


def test_a_cut_mp4_without_its_index_is_refused(tmp_path):
    path = write_video(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[:-400])
    report = ReadingReport()
    assert count_frames(path, report) == 0
    assert report.count("video that cannot be read") == 1


def test_damage_in_the_middle_does_not_shift_the_rest(tmp_path):
    path = write_video(tmp_path / "clip.mp4")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pts, packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    _, where, size = sorted(packets)[16]  # a keyframe
    data[where : where + size] = bytes(size)
    path.write_bytes(data)
    report = ReadingReport()
    shown = dict(numbers_shown(iterate_frames(path, report=report)))
    assert 16 not in shown
    assert all(shown[number] == number for number in (*range(12), *range(25, FRAMES)))
    assert report.count("video frame that cannot be decoded") == FRAMES - len(shown) > 0
