import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from processing.corpora.ict_nuisance import frontal_nuisance
from processing.corpora.ict_photography import develop, make_background
from processing.corpora.ict_raster import blur, expose

PLAIN = frontal_nuisance()
SIZE = 48


@pytest.fixture
def linear():
    """A smooth coloured picture in linear light, 0 to about 1.5, as highlights go beyond 1."""
    across = np.linspace(0, 1, SIZE, dtype=np.float32)
    return np.stack(
        np.broadcast_arrays(1.5 * across[None], across[:, None], across[None] * across[:, None]), axis=-1
    ).copy()


def pictures(linear, **changes):
    return develop(linear.copy(), replace(PLAIN, **changes), 1.0).astype(np.int16)


def test_a_plain_background_is_one_grey():
    plain = make_background(-1, 40)
    assert plain.shape == (40, 40, 3) and plain.dtype == np.float32
    assert np.unique(plain).size == 1 and 0.2 < plain[0, 0, 0] < 0.5


def test_backgrounds():
    made = [make_background(seed, 40) for seed in range(60)]
    assert all(one.shape == (40, 40, 3) and one.dtype == np.float32 for one in made)
    assert all(0 <= one.min() and one.max() <= 1 for one in made)
    np.testing.assert_array_equal(make_background(7, 40), made[7])
    brightness = np.array([one.mean() for one in made])
    assert brightness.min() < 0.1 and brightness.max() > 0.5
    assert len({round(float(value), 6) for value in brightness}) == 60
    assert sum(one.std(axis=(0, 1)).max() > 0.02 for one in made) > 30


def test_a_background_of_another_size_is_the_same_scene():
    for seed in range(10):
        large, small = make_background(seed, 96), make_background(seed, 48)
        assert np.abs(large.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3)) - small).mean() < 0.02


def test_tones_are_those_of_a_display():
    """sRGB (IEC 61966-2-1) of what the shoulder leaves, in float64: one level is what a table may lose."""
    levels = np.linspace(0, 3, 4 * SIZE)
    linear = np.broadcast_to(levels.astype(np.float32).reshape(4, SIZE, 1), (4, SIZE, 3))
    for exposure in (0.5, 1.0, 2.0):
        value = levels * exposure
        value = value * (1 + 0.35 * value) / (1 + 0.45 * value + 0.25 * value**2)
        value = np.clip(value, 0, 1)
        display = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
        made = develop(linear.copy(), PLAIN, exposure)
        assert made.dtype == np.uint8
        # Near black the table's 4096 steps are coarser than the display's levels.
        difference = np.abs(made[..., 0].reshape(-1) - 255 * display)
        assert difference[value > 0.01].max() < 1.1 and difference.max() < 2


def test_brighter_light_never_gives_a_darker_pixel(linear):
    faces = [develop(linear.copy(), PLAIN, exposure).astype(int) for exposure in (0.25, 0.5, 1, 2, 3)]
    assert all((brighter >= darker).all() for darker, brighter in zip(faces, faces[1:], strict=False))
    assert all(brighter.mean() > darker.mean() + 5 for darker, brighter in zip(faces, faces[1:], strict=False))


def test_greyscale_is_the_luma(linear):
    colour, grey = pictures(linear), pictures(linear, greyscale=True)
    assert (grey == grey[..., :1]).all()
    luma = np.asarray(Image.fromarray(colour.astype(np.uint8)).convert("L")).astype(int)  # ITU-R 601, as JPEG has it
    assert np.abs(grey[..., 0] - luma).max() <= 1


@pytest.mark.parametrize("blur", [0.004, 0.012, 0.03])
def test_blur_is_a_gaussian(linear, blur):
    linear[10:20, 10:20] = 0  # edges to blur
    sharp, sigma = pictures(linear) / 255, blur * SIZE
    radius = max(1, int(np.ceil(2.5 * sigma)))
    for axis in (0, 1):
        sharp = gaussian_filter1d(sharp, sigma, axis=axis, mode="nearest", radius=radius)
    assert np.abs(pictures(linear, blur=blur) - 255 * sharp).max() < 1.5


def test_noise_has_its_spread_and_its_seed():
    linear = np.full((SIZE, SIZE, 3), 0.2, dtype=np.float32)
    clean = pictures(linear)
    for noise in (0.01, 0.03, 0.06):
        added = pictures(linear, noise=noise) - clean
        assert abs(added.std() / (255 * noise) - 1) < 0.05 and abs(added.mean()) < 1
    noisy = [pictures(linear, noise=0.03, defect_seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(noisy[0], noisy[1]) and not np.array_equal(noisy[0], noisy[2])


@pytest.mark.parametrize("quality", [30, 95])
def test_jpeg_is_what_pillow_makes_of_the_picture(linear, quality):
    buffer = io.BytesIO()
    Image.fromarray(pictures(linear).astype(np.uint8)).save(buffer, format="JPEG", quality=quality)
    np.testing.assert_array_equal(pictures(linear, jpeg=quality), np.asarray(Image.open(buffer)))


def test_occluders_cover_a_part(linear):
    clean, shares = pictures(linear), []
    for seed in range(40):
        one, two = (pictures(linear, occluders=number, defect_seed=seed) for number in (1, 2))
        shares.append([(np.abs(made - clean).max(axis=-1) > 3).mean() for made in (one, two)])
    one, two = np.mean(shares, axis=0)
    assert 0.01 < one < two < 0.3 and np.max(shares) < 0.6


def test_seeds_of_defects_that_are_off_change_nothing(linear):
    np.testing.assert_array_equal(pictures(linear, defect_seed=1), pictures(linear, defect_seed=2))


@pytest.mark.parametrize("reach", [1, 3, 20])
def test_blur_is_a_convolution_along_both_axes_of_a_picture_whose_edges_go_on(reach):
    rng = np.random.default_rng(reach)
    picture, weights = rng.random((12, 12, 3), dtype=np.float32), rng.random(2 * reach + 1, dtype=np.float32)
    expected = np.pad(picture.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    for axis in (0, 1):
        expected = np.apply_along_axis(np.convolve, axis, expected, weights[::-1], "valid")
    np.testing.assert_allclose(blur(picture, weights), expected, rtol=1e-5)


def test_exposure_bends_highlights_before_the_display_curve():
    linear = np.random.default_rng(0).random((8, 8, 3), dtype=np.float32) * 3
    light = linear.astype(np.float64) * 1.7
    bent = np.clip(light * (1 + 0.35 * light) / (1 + light * (0.45 + 0.25 * light)), 0, 1)
    curve = np.linspace(0, 1, 4096, dtype=np.float32) ** np.float32(0.5)
    np.testing.assert_allclose(expose(linear, np.float32(1.7), curve), bent**0.5, atol=2e-3)
