"""Background, body and skin: the shape of the head and the light on it."""

import math

import numpy as np

from processing.corpora.synthetic_canvas import Canvas, bell, blob, clipped, shaded, smoothstep
from processing.corpora.synthetic_expression import Strengths, jaw_drop
from processing.corpora.synthetic_identity import Identity
from processing.corpora.synthetic_nuisance import Nuisance

BLUSH_TINT = np.array([0.1, 1.3, 1.0], dtype=np.float32).reshape(3, 1, 1)
SHOULDER_TOP, SHOULDER_MIDDLE = 0.86, 1.50


def draw_background(canvas: Canvas, nuisance: Nuisance) -> None:
    blend = 0.5 + 0.5 * np.sin(canvas.v * 1.6 + canvas.u * 1.1 + nuisance.background_phase)
    vignette = 1 - 0.10 * (canvas.u**2 + canvas.v**2)
    first, second = nuisance.background
    for channel in range(3):
        canvas.image[channel] = (first[channel] + (second[channel] - first[channel]) * blend) * vignette


def draw_body(canvas: Canvas, identity: Identity) -> None:
    """Neck, with the head's shadow on it, shoulders and ears."""
    u, v = canvas.u, canvas.v
    neck_width = identity.face_width * (0.56 - 0.08 * smoothstep(0.5, 0.9, v) + 0.2 * smoothstep(0.85, 1.1, v))
    neck = canvas.inside(np.maximum(np.abs(u) - neck_width, 0.3 - v))
    shadow = 0.80 - 0.22 * bell((v - identity.face_height) / 0.12) - 0.25 * (u / identity.face_width) ** 2
    canvas.over(neck, shaded(identity.skin, shadow))
    collar = np.sqrt((u / 1.0) ** 2 + ((v - SHOULDER_MIDDLE) / (SHOULDER_MIDDLE - SHOULDER_TOP)) ** 2) - 1
    neckline = 0.30 - np.sqrt((u / 1.15) ** 2 + (v - SHOULDER_TOP + 0.12) ** 2)
    body = canvas.inside(np.maximum(collar * 0.6, neckline))
    canvas.over(body, shaded(identity.cloth, 0.95 - 0.35 * bell(neckline / 0.10) - 0.2 * u * u))

    ear = canvas.window(-0.8, 0.8, -0.25, 0.3)
    lobe = np.sqrt(((np.abs(ear.u) - identity.face_width * 0.985) / 0.075) ** 2 + ((ear.v - 0.02) / 0.16) ** 2) - 1
    ear.over(ear.inside(lobe * 0.08), shaded(identity.skin, 0.86 - 0.30 * bell((lobe + 0.45) / 0.25)))


def face_outline(canvas: Canvas, identity: Identity, au: Strengths) -> np.ndarray:
    """Signed distance, about 1 a head radius, of the face's outline: negative inside."""
    chin = identity.face_height + 0.8 * jaw_drop(au)
    height = np.where(canvas.v > 0, np.float32(chin), np.float32(identity.face_height))
    exponent = identity.squareness
    wide, high = np.abs(canvas.u) / face_half_width(canvas, identity, chin), np.abs(canvas.v) / height
    return (wide**exponent + high**exponent) ** (1 / exponent) - 1


def face_half_width(canvas: Canvas, identity: Identity, chin: float) -> np.ndarray:
    down = clipped(canvas.v / chin, 0, 1.3)
    return identity.face_width * (1 - identity.jaw_taper * down * down)


def draw_skin(canvas: Canvas, identity: Identity, nuisance: Nuisance, au: Strengths) -> None:
    """Paints the face and leaves `canvas.face` and `canvas.shade` for the parts drawn on it."""
    outline = face_outline(canvas, identity, au)
    canvas.outline = outline
    canvas.face = canvas.inside(outline * 0.62)
    canvas.shade = _shade(canvas, identity, nuisance, au)
    canvas.over(canvas.face, shaded(identity.skin, canvas.shade))
    canvas.darken(canvas.face * 0.22 * smoothstep(-0.14, 0.02, outline))
    _draw_blush(canvas, identity, au)
    if identity.freckles > 0 and canvas.pixel < 0.03:
        _draw_freckles(canvas, identity)


def _shade(canvas: Canvas, identity: Identity, nuisance: Nuisance, au: Strengths) -> np.ndarray:
    light_x, light_y = nuisance.light_x, nuisance.light_y
    norm = 1 / math.sqrt(light_x**2 + light_y**2 + 1)
    chin = identity.face_height + 0.8 * jaw_drop(au)
    normal_x, normal_y = canvas.u / (identity.face_width * 1.08), canvas.v / (chin * 1.05)
    normal_z = np.sqrt(clipped(1 - normal_x**2 - normal_y**2, 0.03, 1))
    lambert = (normal_x * light_x + normal_y * light_y + normal_z) * norm

    def bump(x: float, y: float, width: float, height: float, amount: float, paired: bool) -> None:
        """Relief: brighter on the slope towards the light. In pairs at -x and x, or one at x."""
        reach_x, reach_y = 2.3 * width, 2.3 * height
        part = canvas.window(-x - reach_x, x + reach_x, y - reach_y, y + reach_y)
        dx, dy = (part.ax if paired else part.x) - x, part.y - y
        height_map = blob(dx, dy, width, height) * (2 * amount * norm)
        slope_x = dx * (light_x / width**2)
        target = lambert[part.box]
        target += height_map * ((slope_x * part.side if paired else slope_x) + dy * (light_y / height**2))

    cheek = min(au.au6 + 0.7 * au.au12, 1.5)
    bump(0.33, 0.17 - 0.06 * cheek, 0.17, 0.13, 0.020 + 0.050 * cheek, paired=True)
    bump(0.0, 0.10, identity.nose_width * 0.7, identity.nose_y * 1.1, 0.030 * identity.nose_relief, paired=False)
    chin_y = 0.64 + 0.7 * jaw_drop(au) - 0.04 * au.au17
    bump(0.0, chin_y, 0.14, 0.09, 0.018 + 0.05 * au.au17, paired=False)
    bump(0.10, identity.eye_y + identity.brow_y * 0.6, 0.09, 0.05, 0.012 + 0.025 * au.au4, paired=True)
    return nuisance.ambient + (1.04 - nuisance.ambient) * clipped(lambert, 0, 1.15)


def _draw_blush(canvas: Canvas, identity: Identity, au: Strengths) -> None:
    part = canvas.window(-0.62, 0.62, -0.06, 0.45)
    cheek = min(au.au6 + 0.7 * au.au12, 1.5)
    blush = blob(part.ax - 0.33, part.y - 0.17, 0.15, 0.11) * part.face * (0.05 + 0.035 * cheek)
    part.darken(blush, BLUSH_TINT)


def _draw_freckles(canvas: Canvas, identity: Identity) -> None:
    part = canvas.window(-0.5, 0.5, -0.05, 0.35)
    spots = np.sin(part.x * 71 + 4 * np.sin(part.y * 33)) * np.sin(part.y * 77 + 4 * np.sin(part.x * 29 + 1))
    area = blob(part.ax - 0.2, part.y - 0.12, 0.2, 0.12) * part.face
    part.darken(smoothstep(0.66, 0.98, spots) * area * 0.22 * identity.freckles)
