"""Whole batches by matrices against Pillow's resize and libjpeg, on a CPU; tests marked gpu run it all on a GPU."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from processing import FaceAugmentation
from processing import augmentation_pixels_clef as pixel_module
from processing.augmentation_batched_clef import bicubic, reduce_and_enlarge, resampling, through_jpeg, triangle

SIDES = [(64, 64), (48, 80), (40, 53)]


def pictures(height, width, count=4):
    """Smooth colours with an edge and some noise, float (count, 3, height, width) in [0, 1]."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / height
    images = []
    for _ in range(count):
        waves = [np.sin(random.uniform(1, 9) * x + random.uniform(1, 9) * y + i) for i in range(3)]
        image = 0.5 + 0.3 * np.stack(waves) + 0.02 * random.normal(size=(3, height, width))
        image[:, y > 0.5 + 0.3 * x] *= 0.6
        images.append(image)
    return torch.from_numpy(np.stack(images)).float().clamp(0, 1)


def as_pillow(picture):
    return Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())


def as_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


@pytest.mark.parametrize("new_size", [1, 17, 40, 63, 64, 100])
@pytest.mark.parametrize("kernel, name", [(triangle, "BILINEAR"), (bicubic, "BICUBIC")])
def test_weights_are_those_of_pillow(new_size, kernel, name):
    row = np.random.default_rng(0).random(64).astype(np.float32)
    expected = Image.fromarray(row[None]).resize((new_size, 1), Image.Resampling[name])
    np.testing.assert_allclose(resampling(64, new_size, kernel) @ row, np.array(expected)[0], atol=1e-5)


@pytest.mark.parametrize("height, width", SIDES)
def test_resolution_against_pillow(height, width):
    views = pictures(height, width)
    factors = np.array([1.0, 1.3, 1.9, 2.5])
    found = reduce_and_enlarge(views, factors, 2.5)
    for view, picture, factor in zip(found, views, factors, strict=True):
        small = as_pillow(picture).resize((round(width / factor), round(height / factor)), Image.Resampling.BILINEAR)
        expected = as_tensor(small.resize((width, height), Image.Resampling.BICUBIC))
        assert (view - expected).abs().max() < 3 / 255  # Pillow rounds to 8 bits four times on the way


@pytest.mark.parametrize("height, width", SIDES)
@pytest.mark.parametrize("quality", [30, 49, 50, 75, 95])
@pytest.mark.parametrize("colour", [True, False])
def test_jpeg_against_libjpeg(height, width, quality, colour):
    views = pictures(height, width)
    views = views if colour else views.mean(1, keepdim=True).expand_as(views)
    found = through_jpeg(views, np.full(len(views), quality))
    for view, picture in zip(found, views, strict=True):
        file = io.BytesIO()
        as_pillow(picture).save(file, "JPEG", quality=quality)
        expected = as_tensor(Image.open(file))
        difference, lost = 255 * (view - expected), 255 * (expected - picture).abs().mean()
        # libjpeg computes in integers, of chroma with a few bits; near the middle of two steps a coefficient may take
        # either. That is little beside what the file loses, and on one side as often as on the other.
        assert difference.abs().mean() < (0.3 * lost if colour else 0.5 + 0.05 * lost)
        assert difference.mean().abs() < 0.25


def test_each_view_has_its_own_quality():
    views = pictures(32, 32)
    together = through_jpeg(views, np.array([30, 60, 75, 95]))
    for i, quality in enumerate((30, 60, 75, 95)):
        torch.testing.assert_close(together[i : i + 1], through_jpeg(views[i : i + 1], np.array([quality])))


@pytest.mark.parametrize("preset", ["mild", "photographs"])
def test_views_are_those_of_a_loop_over_images(preset, monkeypatch):
    """`one_by_one` is what a GPU answers no to."""
    images, ids = (pictures(48, 48, 60) * 255).byte(), range(60)
    augmentation = FaceAugmentation.preset(preset, seed=3)
    expected = augmentation(images, ids, epoch=2)
    monkeypatch.setattr(pixel_module, "one_by_one", lambda pixels: False)
    found = augmentation(images, ids, epoch=2)
    difference = 255 * (found - expected).abs()
    assert difference.mean() < 0.2 and difference.flatten(2).mean(-1).max() < 1.5
    assert preset == "mild" or difference.max() > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("preset", ["mild", "photographs"])
def test_views_on_a_gpu_are_those_on_the_cpu(preset):
    images, ids = (pictures(48, 48, 60) * 255).byte(), range(60)
    augmentation = FaceAugmentation.preset(preset, seed=3)
    expected, found = augmentation(images, ids, epoch=2), augmentation(images.cuda(), ids, epoch=2)
    assert found.is_cuda
    difference = 255 * (found.cpu() - expected).abs()
    assert difference.mean() < 0.2 and difference.flatten(2).mean(-1).max() < 1.5
    assert torch.equal(found, augmentation(images.cuda(), ids, epoch=2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_nobody_waits_for_the_gpu():
    images, augmentation = (pictures(48, 48, 60) * 255).byte().cuda(), FaceAugmentation.preset("photographs", seed=3)
    augmentation(images, range(60), epoch=2)  # loads kernels and tables
    torch.cuda.set_sync_debug_mode("error")
    try:
        augmentation(images, range(60), epoch=2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
