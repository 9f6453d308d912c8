"""Nose and the middle of the cheeks: AU9 and part of AU10."""

import numpy as np

from processing.corpora.synthetic_canvas import FAINT, Canvas, bell, blob, clipped, decay, smoothstep
from processing.corpora.synthetic_expression import Strengths, nose_base
from processing.corpora.synthetic_identity import Identity


def draw_nose(canvas: Canvas, identity: Identity, au: Strengths) -> None:
    base, half_width = nose_base(identity, au)
    eye_y = identity.eye_y
    part = canvas.window(-0.26, 0.26, eye_y - 0.10, base + 0.12)
    ax, y, face = part.ax, part.y, part.face

    if au.au9 > FAINT:
        _draw_nose_wrinkles(canvas, identity, au)
    # Sides of the bridge, its light, and the ball of the tip.
    down = clipped((y - eye_y) / (base - eye_y), 0, 1)
    bridge = 0.045 + (half_width * 0.55 - 0.045) * down**2
    sides = smoothstep(0, 0.5, down) * smoothstep(1.0, 0.75, down)
    part.darken(part.stroke(ax - bridge - 0.03, 0.05) * sides * face * (0.06 + 0.05 * identity.nose_relief))
    part.lighten(blob(part.x, y - base + 0.10, 0.022, 0.10) * face * 0.10)
    part.lighten(blob(part.x, y - base + 0.035, 0.030, 0.026) * face * 0.10)
    # Wings, nostrils, and the shadow below.
    wing_x, wing_y = (ax - half_width * 0.66) / (half_width * 0.46), (y - base + 0.022) / 0.048
    wing = np.sqrt(wing_x**2 + wing_y**2) - 1
    part.darken(bell(wing / 0.28) * smoothstep(0.6, 1.0, ax / half_width) * face * (0.22 + 0.10 * au.au9))
    part.darken(blob(ax, y - base - 0.022, half_width * 0.85, 0.020) * face * 0.20)
    nostril = ((ax - half_width * 0.46) / (half_width * 0.27)) ** 2 + (
        (y - base - 0.004 + 0.2 * (ax - 0.05)) / 0.016
    ) ** 2
    part.darken(decay(nostril * np.sqrt(nostril)) * face * 0.58)


def _draw_nose_wrinkles(canvas: Canvas, identity: Identity, au: Strengths) -> None:
    depth = au.au9 * (0.55 + 0.45 * identity.wrinkling)
    part = canvas.window(-0.22, 0.22, identity.eye_y - 0.10, identity.eye_y + 0.30)
    across = smoothstep(0.11, 0.02, part.ax)
    for row in (0.02, 0.065, 0.11):
        line = part.y - (identity.eye_y + row - 0.5 * part.ax)
        part.fold(line, across, 0.30 * depth, sharp=0.010, soft=0.022)
    # From the inner corner of the eye down beside the nose.
    dy = part.y - identity.eye_y - 0.02
    line = part.ax - (0.078 + 0.25 * dy + 0.2 * dy * dy)
    extent = smoothstep(-0.02, 0.04, dy) * smoothstep(0.2, 0.12, dy)
    part.fold(-line, extent, 0.26 * depth, sharp=0.014, soft=0.034)


def draw_cheeks(canvas: Canvas, identity: Identity, au: Strengths) -> None:
    """Cheeks that are pushed up catch light (AU6, AU12)."""
    raised = min(au.au6 + 0.6 * au.au12, 1.3)
    if raised < FAINT:
        return
    part = canvas.window(-0.6, 0.6, -0.08, 0.4)
    part.lighten(blob(part.ax - 0.32, part.y - 0.13, 0.11, 0.07) * part.face * 0.10 * raised)
    part.darken(blob(part.ax - 0.34, part.y - 0.28, 0.13, 0.05) * part.face * 0.06 * raised)
