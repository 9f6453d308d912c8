"""Image files of every kind."""

import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, features

from analysis.decode import SourceError, Span, count_frames, read_frames
from analysis.frames import LARGEST_PICTURE
from analysis.sources import IMAGE, Source, describe_ignored, find_sources
from processing import image_reading_clef


def source(path):
    return Source(str(path), IMAGE, path=path)


def read(path, **span):
    return list(read_frames(source(path), Span(**span)))


@pytest.fixture
def corner():
    """12 x 8 (width x height), its top left corner white."""
    pixels = np.full((8, 12, 3), 40, dtype=np.uint8)
    pixels[:3, :3] = 255
    return pixels


def test_a_photograph_is_one_frame_without_a_time(tmp_path, corner):
    Image.fromarray(corner).save(tmp_path / "a.png")
    (frame,) = read(tmp_path / "a.png", start=5, every=7)  # still images are not in time
    assert (frame.index, frame.time_s) == (0, None) and np.array_equal(frame.image, corner)
    assert count_frames(source(tmp_path / "a.png"), Span()) == 1


@pytest.mark.parametrize(("orientation", "place"), [(1, (0, 0)), (3, (7, 11)), (6, (0, 7)), (8, (11, 0))])
def test_exif_orientation_is_applied(tmp_path, corner, orientation, place):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(corner).save(tmp_path / "a.png", exif=exif)
    (frame,) = read(tmp_path / "a.png")
    assert frame.image.shape == ((8, 12, 3) if orientation in (1, 3) else (12, 8, 3))
    assert frame.image[place].tolist() == [255] * 3 and (frame.image == 255).all(axis=2).sum() == 9


def test_grey_cmyk_sixteen_bits_palette_and_alpha(tmp_path, corner):
    grey = corner[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    Image.fromarray(corner).quantize(4).save(tmp_path / "palette.png")
    for name in ("grey.png", "sixteen.png", "palette.png"):
        assert np.array_equal(read(tmp_path / name)[0].image, corner), name
    Image.fromarray(corner).convert("CMYK").save(tmp_path / "cmyk.tif")
    np.testing.assert_allclose(read(tmp_path / "cmyk.tif")[0].image.astype(int), corner, atol=2)
    alpha = np.dstack([corner, np.where(grey == 255, 0, 255)]).astype(np.uint8)
    alpha[:3, :3, :3] = 0  # black below what is transparent
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    assert np.array_equal(read(tmp_path / "alpha.png")[0].image, corner)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_animated_images_are_short_videos(tmp_path, suffix):
    pages = [Image.fromarray(np.full((8, 12, 3), value, dtype=np.uint8)) for value in (0, 80, 160, 240)]
    path = tmp_path / f"a{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=[100, 50, 200, 100], lossless=True)
    frames = read(path)
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.15, 0.35])
    assert [int(frame.image.mean().round()) for frame in frames] == pytest.approx([0, 80, 160, 240], abs=6)
    assert [frame.index for frame in read(path, start=0.1, stop=0.35)] == [1, 2]
    assert [frame.index for frame in read(path, every=2)] == [0, 2]
    assert [frame.index for frame in read_frames(source(path), first=3)] == [3]


def test_pages_of_a_tiff_have_no_times_and_previews_are_no_pages(tmp_path):
    pages = [Image.new("RGB", (12, 8), (value, 0, 0)) for value in (10, 200)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert [(frame.time_s, frame.image[0, 0, 0]) for frame in read(tmp_path / "a.tif")] == [(None, 10), (None, 200)]
    pages[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=pages[1:])
    assert len(read(tmp_path / "a.jpg")) == 1


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    side = 30_000
    assert side * side > LARGEST_PICTURE
    header = b"P5 30000 30000 255\n"  # nothing follows: decoding would say that it is cut short
    (tmp_path / "huge.pgm").write_bytes(header)
    with pytest.raises(SourceError, match="cannot be read as an image: it has more than 80 million pixels"):
        read(tmp_path / "huge.pgm")
    (tmp_path / "large.pgm").write_bytes(b"P5 30000 2700 255\n")
    with pytest.raises(SourceError, match="30000 x 2700 pixels; at most 80 million"):
        read(tmp_path / "large.pgm")


def test_of_sixteen_bits_that_are_hardly_used_it_is_said_that_they_are_dark(tmp_path, corner, monkeypatch):
    said = []
    monkeypatch.setattr(image_reading_clef.logger, "warning_once", said.append)
    grey = np.asarray(Image.fromarray(corner).convert("L")).astype(np.uint16)
    Image.fromarray(grey * 257).save(tmp_path / "sixteen.png")
    Image.fromarray(grey * 0).save(tmp_path / "black.png")
    read(tmp_path / "sixteen.png"), read(tmp_path / "black.png")
    assert grey.max() > 200 and not said
    Image.fromarray(grey * 16).save(tmp_path / "twelve.png")
    (frame,) = read(tmp_path / "twelve.png")
    np.testing.assert_allclose(frame.image[..., 0], grey * 16 / 257, atol=0.5)  # the range is not guessed
    assert len(said) == 1 and "lower 12" in said[0] and "by 16 and" in said[0]


def test_floats_beyond_one_are_refused_with_what_to_do(tmp_path, corner):
    Image.fromarray(corner[..., 0].astype(np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(SourceError, match="from 40.0 to 255.0; expected .* Save a file with 8 bits"):
        read(tmp_path / "float.tiff")


def test_what_is_no_image_is_refused_in_words(tmp_path, corner):
    (tmp_path / "text.jpg").write_text("I am no image")
    with pytest.raises(SourceError, match="cannot be read as an image: it is in none of the formats"):
        read(tmp_path / "text.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match="the file is empty"):
        read(tmp_path / "empty.jpg")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:1500])
    with pytest.raises(SourceError, match="truncated"):
        read(tmp_path / "cut.jpg")
    with pytest.raises(SourceError, match="No such file"):
        read(tmp_path / "gone.jpg")


@pytest.fixture
def heic(tmp_path, corner):
    """A folder with two files that say they are HEIC, one with no suffix; within they are AVIF, which Pillow can write
    and FFmpeg takes for a video, too."""
    if not features.check("avif"):
        pytest.skip("needs a Pillow with AVIF")
    folder = tmp_path / "phone"
    folder.mkdir()
    Image.fromarray(corner).save(tmp_path / "a.avif", quality=100)
    content = (tmp_path / "a.avif").read_bytes().replace(b"ftypavif", b"ftypheic", 1)
    for name in ("IMG_0001.HEIC", "IMG_0001"):
        (folder / name).write_bytes(content)
    return folder


def test_heic_is_no_video_and_is_refused_without_what_reads_it(heic, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name in ("IMG_0001.HEIC", "IMG_0001"):
        (found,) = find_sources(heic / name).sources
        assert found.kind == IMAGE
        with pytest.raises(SourceError, match="HEIC picture needs pillow-heif: pip install pillow-heif"):
            next(read_frames(found))
    found = find_sources(heic)
    assert not found.sources and "1 .heic (needs pillow-heif: pip install" in describe_ignored(found.ignored)


def test_heic_is_read_with_pillow_heif(heic, corner, monkeypatch):
    from PIL.AvifImagePlugin import AvifImageFile

    stand_in = ModuleType("pillow_heif")
    of_heic = lambda head: head[4:12] == b"ftypheic"  # noqa: E731
    stand_in.register_heif_opener = lambda: Image.register_open("HEIF", AvifImageFile, of_heic)
    monkeypatch.setitem(sys.modules, "pillow_heif", stand_in)
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    (found,) = find_sources(heic).sources
    assert found.name.endswith("IMG_0001.HEIC")
    for one in (found, *find_sources(heic / "IMG_0001").sources):
        (frame,) = read_frames(one)
        assert frame.time_s is None and frame.image.shape == corner.shape
        np.testing.assert_allclose(frame.image[[0, 7], [0, 11]].mean(axis=1), [255, 40], atol=12)
