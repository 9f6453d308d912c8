import base64
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin, features

from processing import CLEFImageProcessor
from processing.image_processing_clef import MINIMUM_STD, to_rgb_image

PLAIN = {"do_resize": False, "do_normalize": False, "return_tensors": "np"}


def pixels_of(image, **options):
    return CLEFImageProcessor()(image, **{**PLAIN, **options})["pixel_values"]


def test_every_kind_of_input_gives_the_same_pixels(faces, tmp_path):
    face = faces[0]
    path = tmp_path / "face.png"
    face.save(path)
    hwc = np.asarray(face)
    chw = np.moveaxis(hwc, -1, 0)
    processor = CLEFImageProcessor(size={"height": 16, "width": 12})
    expected = processor(face, return_tensors="pt")["pixel_values"]
    assert expected.shape == (1, 3, 16, 12) and expected.dtype == torch.float32
    inputs = {
        "path": path,
        "str": str(path),
        "hwc": hwc,
        "chw": chw,
        "float64": hwc / 255,
        "float32": (chw / 255).astype(np.float32),
        "int64": hwc.astype(np.int64),
        "uint16": hwc.astype(np.uint16) * 257,
        "tensor": torch.from_numpy(chw.copy()),
        "tensor hwc": torch.from_numpy(hwc.copy()),
        "float tensor": torch.from_numpy(chw / 255).float(),
        "rgba": face.convert("RGBA"),
        "rgba array": np.asarray(face.convert("RGBA")),
        "4-d": hwc[None],
        "list": [face],
        "tuple": (face,),
    }
    for kind, image in inputs.items():
        assert torch.equal(processor(image, return_tensors="pt")["pixel_values"], expected), kind


def test_data_urls_are_read_and_what_cannot_be_fetched_is_named(faces, monkeypatch):
    buffer = io.BytesIO()
    faces[0].save(buffer, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    assert np.array_equal(pixels_of(url), pixels_of(faces[0]))
    with pytest.raises(ValueError, match="data:image/png;base64,AAAA.*cannot be read as an image"):
        pixels_of("data:image/png;base64,AAAA")
    with pytest.raises(FileNotFoundError, match="no image file at 'AAAA"):
        pixels_of("A" * 10_000)

    def offline(url):
        raise RuntimeError("Name or service not known")

    monkeypatch.setattr("processing.image_reading_clef.load_image", offline)
    with pytest.raises(ValueError, match="https://example.org/a.jpg' cannot be read as an image: Name or"):
        pixels_of("https://example.org/a.jpg")


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_pil_modes(mode, faces):
    face = faces[0].convert("RGB" if mode in ("LAB", "HSV", "PA") else mode)
    if mode == "LAB":
        face = Image.merge("LAB", face.split())
    elif mode == "HSV":
        face = face.convert("HSV")
    elif mode == "PA":
        face = face.convert("P").convert("PA")
    assert face.mode == mode
    assert pixels_of(face).shape == (1, 3, 20, 24)


def test_sixteen_bit_and_float_pil_images_keep_their_range(faces):
    grey = np.asarray(faces[0].convert("L"))
    expected = np.repeat(grey[None], 3, axis=0) / 255
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    assert wide.mode.startswith("I")
    for image in (wide, Image.fromarray(grey.astype(np.int32)), Image.fromarray((grey / 255).astype(np.float32))):
        np.testing.assert_allclose(pixels_of(image)[0], expected, atol=1e-6)
    np.testing.assert_allclose(pixels_of(grey)[0], expected, atol=1e-6)
    np.testing.assert_allclose(pixels_of(grey[..., None])[0], expected, atol=1e-6)
    np.testing.assert_allclose(pixels_of(grey > 127)[0, 0], grey > 127, atol=1e-6)


def test_transparency_becomes_white_and_files_are_turned_upright(tmp_path):
    clear = Image.new("RGBA", (4, 3), (10, 20, 30, 0))
    assert pixels_of(clear).min() == 1
    picture = Image.new("RGB", (8, 4), "black")
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    upright = pixels_of(tmp_path / "turned.png")[0]
    assert upright.shape == (3, 8, 4)
    assert upright[0, 0, 3] == 1 and upright.sum() == 3
    assert np.array_equal(pixels_of(Image.open(tmp_path / "turned.png"))[0], upright)


def test_layout_of_ambiguous_shapes():
    array = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    first, last = array / 255, np.moveaxis(array, -1, 0) / 255
    np.testing.assert_allclose(pixels_of(array)[0], last, atol=1e-6)
    np.testing.assert_allclose(pixels_of(torch.from_numpy(array))[0], first, atol=1e-6)
    np.testing.assert_allclose(pixels_of(array, input_data_format="channels_first")[0], first, atol=1e-6)
    np.testing.assert_allclose(
        pixels_of(torch.from_numpy(array), input_data_format="channels_last")[0], last, atol=1e-6
    )
    with pytest.raises(ValueError, match="channels_first"):
        pixels_of(array, input_data_format="sideways")


@pytest.mark.parametrize("size", [(7, 9), (16, 16), (40, 50)])
def test_resizing_is_pillows_antialiased_bicubic(size, faces):
    height, width = size
    processor = CLEFImageProcessor(size={"height": height, "width": width}, do_normalize=False)
    got = processor(faces, return_tensors="np")["pixel_values"]
    for image, pixels in zip(faces, got, strict=True):
        expected = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64) / 255
        np.testing.assert_allclose(pixels, np.moveaxis(expected, -1, 0), atol=1e-6)


def test_normalization_against_numpy(faces):
    processor = CLEFImageProcessor(size=20, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    got = processor(faces, return_tensors="np")["pixel_values"]
    raw = processor(faces, do_normalize=False, return_tensors="np")["pixel_values"].astype(np.float64)
    for channel, (mean, std) in enumerate([(0.1, 0.4), (0.2, 0.5), (0.3, 0.6)]):
        np.testing.assert_allclose(got[:, channel], (raw[:, channel] - mean) / std, atol=1e-5)


def test_per_image_normalization_against_numpy(faces):
    processor = CLEFImageProcessor(size=20, per_image_normalization=True)
    images = [*faces, Image.new("RGB", (20, 20), (90, 100, 110)), Image.new("L", (20, 20), 0)]
    nearly_flat = np.full((20, 20, 3), 100, dtype=np.uint8)
    nearly_flat[:10] = 101
    images.append(nearly_flat)
    got = processor(images, return_tensors="np")["pixel_values"]
    raw = processor(images, do_normalize=False, return_tensors="np")["pixel_values"].astype(np.float64)
    for pixels, image in zip(got, raw, strict=True):
        expected = np.empty_like(image)
        total = 0.0
        for channel in range(3):
            expected[channel] = image[channel] - image[channel].sum() / 400
            total += (expected[channel] ** 2).sum()
        expected /= max(MINIMUM_STD, (total / 1200) ** 0.5)
        np.testing.assert_allclose(pixels, expected, atol=1e-5)
    assert np.abs(got[3:5]).max() < 1e-4
    assert got[5].std() < 0.2  # the floor keeps a difference of one grey level small


@pytest.mark.parametrize("options", [{}, {"per_image_normalization": True}, {"do_normalize": False}])
def test_normalize_pixels_is_what_a_call_does(options, faces):
    processor = CLEFImageProcessor(size=16, **options)
    expected = processor(faces, return_tensors="pt")["pixel_values"]
    raw = processor(faces, do_normalize=False, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(processor.normalize_pixels(raw), expected, atol=1e-6, rtol=0)
    views = torch.stack([raw, raw.flip(-1)], dim=1)
    got = processor.normalize_pixels(views)
    torch.testing.assert_close(got[:, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(got[:, 1], expected.flip(-1), atol=1e-6, rtol=0)


def test_options_of_one_call_and_return_types(faces):
    processor = CLEFImageProcessor(size=16)
    per_image = CLEFImageProcessor(size=8, per_image_normalization=True)(faces, return_tensors="pt")
    got = processor(faces, size={"height": 8, "width": 8}, per_image_normalization=True, return_tensors="pt")
    assert torch.equal(got["pixel_values"], per_image["pixel_values"])
    assert dict(processor.size) == {"height": 16, "width": 16}
    raw = processor(faces[0], do_rescale=False, do_normalize=False, do_resize=False)["pixel_values"]
    assert isinstance(raw, list) and np.array_equal(np.moveaxis(raw[0], 0, -1), np.asarray(faces[0]))
    with pytest.raises(ValueError, match="20x24, 8x8"):
        processor([faces[0], faces[0].resize((8, 8))], do_resize=False, return_tensors="pt")


BAD_IMAGES = {
    "none": (None, TypeError, "NoneType"),
    "number": (3, TypeError, "got int"),
    "dict": ({"bytes": b""}, TypeError, "got dict"),
    "none in list": ([Image.new("RGB", (4, 4)), None], TypeError, "image 1 of 2 is None"),
    "nested list": ([[Image.new("RGB", (4, 4))]], TypeError, "itself a list"),
    "text in list": ([Image.new("RGB", (4, 4)), 1.5], TypeError, "got float"),
    "empty list": ([], ValueError, "empty list of images"),
    "zero height": (np.zeros((0, 4, 3), np.uint8), ValueError, r"zero size: shape \(0, 4, 3\)"),
    "zero tensor": (torch.zeros(3, 4, 0), ValueError, "zero size"),
    "zero pil": (Image.new("RGB", (0, 4)), ValueError, "zero size: 0 x 4"),
    "zero in list": ([Image.new("RGB", (4, 4)), Image.new("RGB", (4, 0))], ValueError, "zero size"),
    "two channels": (np.zeros((8, 8, 2), np.uint8), ValueError, r"shape \(8, 8, 2\)"),
    "five channels": (np.zeros((5, 8, 8), np.uint8), ValueError, r"shape \(5, 8, 8\)"),
    "one dimension": (np.zeros(8, np.uint8), ValueError, r"shape \(8,\)"),
    "five dimensions": (torch.zeros(1, 2, 3, 4, 4), ValueError, r"\(1, 2, 3, 4, 4\)"),
    "float to 255": (np.full((8, 8, 3), 200.0), ValueError, "200.0.*floats from 0 to 1"),
    "normalised": (torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)), ValueError, "already normalised"),
    "nan": (np.full((8, 8, 3), np.nan), ValueError, "nan"),
    "negative": (np.full((8, 8, 3), -1), ValueError, "from -1"),
    "strings": (np.array([["a", "b"]]), TypeError, "expected numbers"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_images_are_refused(kind):
    image, error, message = BAD_IMAGES[kind]
    with pytest.raises(error, match=message):
        CLEFImageProcessor(size=8)(image)


def test_bad_paths_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.png"):
        to_rgb_image(tmp_path / "nowhere.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(ValueError, match="notes.txt.*cannot be read as an image"):
        to_rgb_image(str(tmp_path / "notes.txt"))
    with pytest.raises(ValueError, match="cannot be read as an image"):
        to_rgb_image(tmp_path)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:400])
    with pytest.raises(ValueError, match="cut.jpg.*cannot be read as an image"):
        to_rgb_image(tmp_path / "cut.jpg")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif", "gif", "tiff"])
def test_a_damaged_picture_is_named_whatever_its_decoder_raises(tmp_path, suffix):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path, random, refused = tmp_path / f"damaged.{suffix}", np.random.default_rng(0), 0
    Image.fromarray(random.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for _ in range(60):
        content = np.frombuffer(whole, dtype=np.uint8).copy()
        content[random.integers(0, len(content), 12)] = random.integers(0, 256, 12)
        path.write_bytes(content.tobytes())
        try:
            to_rgb_image(path)
        except ValueError as error:
            assert f"damaged.{suffix}' cannot be read as an image" in str(error)
            refused += 1
    assert refused


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"per_image_normalisation": True}, TypeError, "per_image_normalisation"),
        ({"size": {"shortest_edge": 20}}, ValueError, "'height' and 'width'"),
        ({"size": {"height": 0, "width": 8}}, ValueError, "'height' and 'width'"),
        ({"image_mean": [0.5]}, ValueError, "image_mean"),
        ({"image_std": [0.5, 0.0, 0.5]}, ValueError, "image_std"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        CLEFImageProcessor(**options)


def test_unknown_option_of_a_call_is_refused(faces):
    with pytest.raises(TypeError, match="colour_jitter"):
        CLEFImageProcessor()(faces, colour_jitter=1)


def test_crop_recipe_is_recorded_and_compared(faces):
    processor = CLEFImageProcessor(size=8, crop_recipe="synthetic-1")
    assert processor.to_dict()["crop_recipe"] == "synthetic-1"
    assert CLEFImageProcessor().crop_recipe == "aligned-1"
    processor(faces, crop_recipe="synthetic-1")
    with pytest.raises(ValueError, match="'aligned-1'.*'synthetic-1'"):
        processor(faces, crop_recipe="aligned-1")


def test_save_and_load(tmp_path, faces):
    options = {"per_image_normalization": True, "crop_recipe": "synthetic-1", "resample": 2}
    processor = CLEFImageProcessor(size={"height": 10, "width": 12}, image_mean=0.5, **options)
    processor.save_pretrained(tmp_path)
    loaded = CLEFImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert torch.equal(
        loaded(faces, return_tensors="pt")["pixel_values"], processor(faces, return_tensors="pt")["pixel_values"]
    )
    changed = CLEFImageProcessor.from_pretrained(tmp_path, size={"height": 6, "width": 6}, crop_recipe="other")
    assert changed(faces, return_tensors="np")["pixel_values"].shape == (3, 3, 6, 6) and changed.crop_recipe == "other"


def test_large_jpeg_files_are_decoded_at_a_fraction_of_their_size(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    picture = small.resize((512, 512), Image.Resampling.BICUBIC)
    path, turned = tmp_path / "picture.jpg", tmp_path / "turned.jpg"
    picture.save(path, quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    picture.save(turned, quality=95, exif=exif)
    decoded = []
    load = JpegImagePlugin.JpegImageFile.load
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", lambda self: decoded.append(self.size) or load(self))
    for size, side in ((32, 64), (33, 128), (128, 256), (200, 512)):
        decoded.clear()
        processor = CLEFImageProcessor(size=size, do_normalize=False)
        got = processor(path, return_tensors="np")["pixel_values"][0]
        assert decoded[0] == (side, side)
        whole = processor(Image.open(path), return_tensors="np")["pixel_values"][0]
        assert np.abs(got - whole).mean() < 0.01
        upright = processor(turned, return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(upright, np.rot90(got, -1, (1, 2)), atol=0.05)
    # Pixels that landmarks refer to, and pixels that nobody asked to resize, are all there.
    assert processor.read_image(path).size == (512, 512)
    assert processor(path, do_resize=False, return_tensors="np")["pixel_values"].shape == (1, 3, 512, 512)


@pytest.mark.parametrize("module", ["processing", "modeling_clef"])
def test_without_pillow_it_says_what_is_missing(module):
    program = f"import sys; sys.modules['PIL'] = None; import {module}"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1] == "ImportError: reading pictures needs Pillow: pip install pillow."
