"""From a rendered crop to a photograph of it: background, occluders, exposure, grey, blur, noise, JPEG."""

import io

import numpy as np
from PIL import Image

from processing.corpora.ict_nuisance import Nuisance
from processing.corpora.ict_raster import blur, expose, stretch

PLAIN_BACKGROUND = 0.32  # linear grey

_CURVE_STEPS = 4096
_LEVELS = np.linspace(0, 1, _CURVE_STEPS, dtype=np.float32)
_DISPLAY = np.where(_LEVELS <= 0.0031308, 12.92 * _LEVELS, 1.055 * _LEVELS ** (1 / 2.4) - 0.055).astype(np.float32)


def make_background(seed: int, size: int) -> np.ndarray:
    """(size, size, 3) linear float32: a gradient with soft shapes, as out of focus; plain grey for a negative seed."""
    if seed < 0:
        return np.full((size, size, 3), PLAIN_BACKGROUND, dtype=np.float32)
    rng = np.random.Generator(np.random.SFC64(seed))
    base, spread = rng.uniform(0.02, 0.85, 1) ** 1.5, rng.choice([0.02, 0.06, 0.18])
    cells = int(rng.choice([2, 3, 5, 9]))
    colours = np.clip(
        base + rng.normal(0, spread, (cells, cells, 1)) + rng.normal(0, 0.25 * spread, (cells, cells, 3)), 0, 1
    )
    place = np.linspace(0, cells - 1 - 1e-3, size)
    low, share = place.astype(int), (place % 1).astype(np.float32)
    if rng.random() < 0.3:
        share = np.clip((share - 0.5) * 6 + 0.5, 0, 1)  # edges instead of a gradient
    colours = colours.astype(np.float32)
    picture = np.empty((size, size, 3), dtype=np.float32)
    stretch(colours, low, share, picture)
    return picture


def develop(linear: np.ndarray, nuisance: Nuisance, exposure: float) -> np.ndarray:
    """Linear RGB (S, S, 3) to a picture, uint8 (S, S, 3)."""
    rng = np.random.Generator(np.random.SFC64(nuisance.defect_seed))
    for _ in range(nuisance.occluders):
        _occlude(linear, rng)
    image = expose(linear, np.float32(exposure), _DISPLAY)
    if nuisance.greyscale:
        image = np.repeat((image @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None], 3, axis=2)
    if nuisance.blur:
        image = blur(image, _bell(nuisance.blur * len(image)))
    if nuisance.noise:
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(nuisance.noise)
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    if nuisance.jpeg:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=nuisance.jpeg)
        pixels = np.asarray(Image.open(buffer).convert("RGB"))
    return pixels


def _occlude(linear: np.ndarray, rng: np.random.Generator) -> None:
    """Something before the face: a soft-edged bar or blob, like a hand, a microphone, a strand of hair."""
    size = len(linear)
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    centre, angle = rng.uniform(0, 1, 2), rng.uniform(0, np.pi)
    radii = rng.uniform(0.03, 0.22, 2)
    x, y = grid[None] - centre[0], grid[:, None] - centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    power = rng.choice([2.0, 6.0])
    level = np.abs(along / radii[0]) ** power + np.abs(across / radii[1]) ** power
    mask = np.clip((1.1 - level) * 5, 0, 1)[..., None]
    colour = np.clip(rng.uniform(0.02, 0.7) + rng.normal(0, 0.08, 3), 0, 1) * (
        1 + rng.normal(0, 0.3) * along[..., None]
    )
    linear[:] = linear * (1 - mask) + np.maximum(colour, 0) * mask


def _bell(sigma: float) -> np.ndarray:
    """(2 R + 1,) float32 weights of a Gaussian, `sigma` in pixels."""
    reach = max(1, int(np.ceil(2.5 * sigma)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2).astype(np.float32)
    return weights / weights.sum()
