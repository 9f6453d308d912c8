"""Hair behind and before the face, and beards."""

from dataclasses import dataclass

import numpy as np

from processing.corpora.synthetic_canvas import Canvas, bell, blob, clipped, decay, scaled, shaded, smoothstep
from processing.corpora.synthetic_expression import Strengths, jaw_drop, mouth_shape, nose_base
from processing.corpora.synthetic_identity import Identity

SCALP_MIDDLE = -0.08  # y of the widest part of the hair


@dataclass(frozen=True)
class Hair:
    cover: np.ndarray  # (H, W) how much of each pixel is hair if nothing lies before it
    colour: np.ndarray  # (3, H, W)


def shape_hair(canvas: Canvas, identity: Identity) -> Hair | None:
    if identity.bald:
        return None
    return Hair(_silhouette(canvas, identity), _coloured(canvas, identity))


def draw_back_hair(canvas: Canvas, hair: Hair | None) -> None:
    if hair is not None:
        canvas.over(hair.cover, hair.colour * 0.66)


def draw_front_hair(canvas: Canvas, identity: Identity, hair: Hair | None) -> None:
    if hair is None:
        return
    above = _hairline(canvas, identity) - canvas.y
    wisps = 0.012 * np.sin(canvas.v * 31 + identity.strand_phase)
    edge = -0.07 if identity.hair_length <= 0.1 else -0.12
    beside = np.minimum(canvas.outline - edge + wisps, np.abs(canvas.u) - 0.74 * identity.face_width)
    sides = np.minimum(beside, (max(identity.hair_length, 0.02) - canvas.v) * 0.5)
    cover = canvas.inside(-np.maximum(above, sides * identity.face_width), softness=2.6) * hair.cover
    canvas.darken(canvas.face * (1 - cover) * decay(np.maximum(-20 * above, 0)) * 0.20)
    canvas.over(cover, hair.colour)


def _hairline(part: Canvas, identity: Identity) -> np.ndarray:
    """y above which the forehead is covered."""
    x = part.x - identity.parting
    line = identity.hairline + identity.hairline_curve * 0.9 * x * x + identity.sweep * 0.45 * x
    temples = bell((part.ax - 0.30) / 0.13)
    line = line - 0.22 * identity.recession * temples
    if identity.fringe > 0:
        strands = 0.018 * np.sin(part.x * 37 + identity.strand_phase) + 0.012 * np.sin(part.x * 83)
        bangs = identity.eye_y - 0.29 + 0.4 * part.x * part.x + strands
        line = np.maximum(line, line + (bangs - line) * identity.fringe)
    else:
        line = line + 0.014 * np.sin(part.x * 29 + identity.strand_phase) + 0.008 * np.sin(part.x * 67)
    if identity.curl > 0.3:
        line = line + 0.03 * identity.curl * np.sin(part.x * 23 + identity.strand_phase)
    return np.minimum(line, 0.05)


def _silhouette(canvas: Canvas, identity: Identity) -> np.ndarray:
    """The crown, and what hangs down beside the face."""
    u, v = canvas.u, canvas.v
    wide, high = identity.face_width + identity.hair_side, identity.face_height * 0.93 + identity.hair_top
    crown = np.sqrt((np.abs(u) / wide) ** 2.2 + (np.abs(v - SCALP_MIDDLE) / high) ** 2.2) - 1
    length = identity.hair_length
    hanging = np.abs(u) - wide * (0.98 + 0.05 * np.sin(v * 5 + identity.strand_phase) * smoothstep(0, 0.5, v))
    if length > 0.1:  # ends taper and are uneven
        ends = length - 0.05 * np.sin(u * 17 + identity.strand_phase) - 0.25 * (np.abs(u) - identity.face_width)
        hanging = np.maximum(hanging, v - ends)
        shape = np.where(v > SCALP_MIDDLE, hanging, crown * 0.6)
    else:
        shape = np.maximum(crown * 0.6, (v - 0.10 + 0.2 * identity.hair_side) * 0.8)
    if identity.curl > 0.3:
        phase = identity.strand_phase
        curls = np.sin(u * 19 + 2 * np.sin(v * 11 + phase)) * np.sin(v * 17 + 2 * np.sin(u * 13 + phase))
        shape = shape - 0.045 * identity.curl * curls
    return canvas.inside(shape, softness=2.0)


def _coloured(canvas: Canvas, identity: Identity) -> np.ndarray:
    """Hair colour with strands that run from the parting, and a sheen across them."""
    u, v, phase = canvas.u, canvas.v, identity.strand_phase
    strand = (u - 0.6 * identity.parting) / (v + 1.55)
    strands = 0.055 * np.sin(strand * 62 + phase) + 0.045 * np.sin(strand * 131 + 3 * np.sin(v * 3 + phase))
    if identity.curl > 0.3:
        curls = np.sin(u * 27 + 2.5 * np.sin(v * 19 + phase)) * np.sin(v * 25 + 2.5 * np.sin(u * 17 + phase))
        strands = strands * (1 - identity.curl) + 0.16 * identity.curl * curls
    radius = np.sqrt((u / 0.75) ** 2 + ((v - SCALP_MIDDLE) / 0.95) ** 2)
    sheen = 0.22 * bell((radius - 0.72) / 0.10) * (1 - 0.6 * identity.curl)
    tone = 0.92 + strands + sheen - 0.25 * smoothstep(0.80, 1.15, radius)
    return np.array(identity.hair, dtype=np.float32).reshape(3, 1, 1) * tone + 0.05 * sheen


def draw_beard(canvas: Canvas, identity: Identity, au: Strengths) -> None:
    if identity.beard == 0:
        return
    mouth, (nose_y, _) = mouth_shape(identity, au), nose_base(identity, au)
    part = canvas.window(-0.75, 0.75, -0.05, 1.05)
    ax, y = part.ax, part.y
    y = y - 0.7 * jaw_drop(au) * smoothstep(0.2, 0.5, y)
    cheek = 0.36 + 0.30 * (1 - clipped(ax / identity.face_width, 0, 1)) ** 2 - 0.34 * smoothstep(0.34, 0.60, ax)
    jaw = smoothstep(-0.02, 0.13, y - cheek)
    upper_middle = (nose_y + mouth.y - identity.upper_lip) / 2 + 0.015
    upper = bell((y - upper_middle - 1.1 * ax * ax) / 0.042) * smoothstep(0.30, 0.20, ax)
    beside = blob(ax - mouth.half_width - 0.055, y - mouth.y - 0.06, 0.045, 0.10)
    upper = np.maximum(upper, beside)
    hairs = 0.86 + 0.14 * np.sin(part.x * 61 + 3 * np.sin(y * 23)) * np.sin(y * 47 + 3 * np.sin(part.x * 29))
    cover = np.maximum(jaw, upper * identity.moustache) * hairs * identity.beard * part.face
    part.over(cover, shaded(scaled(identity.hair, 0.92), part.shade))
