"""Draws faces from AUs: plain numpy, signed distances with analytic anti-aliasing, painter's order, 32..256 px."""

from collections.abc import Sequence

import numpy as np

from processing.corpora.behaviour import ACTION_UNITS
from processing.corpora.synthetic_canvas import Canvas, clipped
from processing.corpora.synthetic_expression import Strengths
from processing.corpora.synthetic_eyes import draw_brows, draw_eyes, draw_forehead, draw_glasses
from processing.corpora.synthetic_hair import draw_back_hair, draw_beard, draw_front_hair, shape_hair
from processing.corpora.synthetic_identity import Identity
from processing.corpora.synthetic_mouth import draw_mouth, draw_mouth_folds
from processing.corpora.synthetic_nose import draw_cheeks, draw_nose
from processing.corpora.synthetic_nuisance import Nuisance
from processing.corpora.synthetic_skin import draw_background, draw_body, draw_skin


def render_faces(
    identities: Sequence[Identity], nuisances: Sequence[Nuisance], action_units: np.ndarray, image_size: int
) -> np.ndarray:
    """Draw N faces: uint8 (N, image_size, image_size, 3).

    Args:
        identities, nuisances: N each.
        action_units: (N, 17) intensities 0..5, columns as `behaviour.ACTION_UNITS`.
        image_size: 32..256.

    A face depends on its own row alone, bit for bit. Raises ValueError for other shapes, values and sizes.
    """
    action_units = np.asarray(action_units, dtype=np.float32)
    if action_units.shape != (len(identities), len(ACTION_UNITS)) or len(nuisances) != len(identities):
        raise ValueError(
            f"got {len(identities)} identities, {len(nuisances)} nuisances and AUs of shape {action_units.shape}; "
            f"expected as many of each and AUs of shape (N, {len(ACTION_UNITS)})"
        )
    if not (np.isfinite(action_units).all() and (action_units >= 0).all() and (action_units <= 5).all()):
        raise ValueError("AU intensities must lie between 0 and 5")
    if not 32 <= image_size <= 256:
        raise ValueError(f"image_size is {image_size!r}; expected 32 to 256 pixels")
    images = np.empty((len(identities), image_size, image_size, 3), dtype=np.uint8)
    for index, row in enumerate((action_units / 5).tolist()):
        images[index] = _draw_face(identities[index], nuisances[index], Strengths(*row), image_size)
    return images


def _draw_face(identity: Identity, nuisance: Nuisance, au: Strengths, size: int) -> np.ndarray:
    canvas = Canvas.blank(size, nuisance)
    draw_background(canvas, nuisance)
    hair = shape_hair(canvas, identity)
    draw_back_hair(canvas, hair)
    draw_body(canvas, identity)
    draw_skin(canvas, identity, nuisance, au)
    draw_forehead(canvas, identity, au)
    draw_cheeks(canvas, identity, au)
    draw_nose(canvas, identity, au)
    draw_mouth_folds(canvas, identity, au)
    draw_beard(canvas, identity, au)
    draw_mouth(canvas, identity, au)
    draw_eyes(canvas, identity, nuisance, au)
    draw_brows(canvas, identity, au)
    draw_front_hair(canvas, identity, hair)
    draw_glasses(canvas, identity)
    return _expose(canvas, nuisance, size)


def _expose(canvas: Canvas, nuisance: Nuisance, size: int) -> np.ndarray:
    across = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    balance = np.array([1 + nuisance.warmth, 1.0, 1 - nuisance.warmth], dtype=np.float32).reshape(3, 1, 1)
    image = canvas.image * (balance * (nuisance.exposure * (1 + 0.06 * nuisance.light_x * across)))
    if nuisance.grain > 0:
        rng = np.random.Generator(np.random.SFC64(nuisance.grain_seed))
        image += rng.standard_normal((size, size), dtype=np.float32) * nuisance.grain
    return (clipped(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
