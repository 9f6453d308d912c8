"""Lips, teeth, the folds around the mouth and the chin: AU10, 12, 14, 15, 17, 20, 23, 24, 25 and 26."""

from dataclasses import dataclass

import numpy as np

from processing.corpora.synthetic_canvas import FAINT, Canvas, bell, blob, clipped, mixed, scaled, shaded, smoothstep
from processing.corpora.synthetic_expression import Strengths, jaw_drop, mouth_shape, nose_base
from processing.corpora.synthetic_identity import Identity

LIP_RED = (0.66, 0.27, 0.28)
MOUTH_INSIDE = (0.22, 0.08, 0.08)
TEETH = (0.95, 0.93, 0.88)
TONGUE = (0.68, 0.34, 0.34)


def draw_mouth_folds(canvas: Canvas, identity: Identity, au: Strengths) -> None:
    mouth = mouth_shape(identity, au)
    part = canvas.window(-0.58, 0.58, 0.05, 0.95)
    stronger = 1 + identity.asymmetry * part.side
    wrinkling = 0.55 + 0.45 * identity.wrinkling
    corner_x, corner_y = mouth.half_width, mouth.y + mouth.corner_y
    _draw_nasolabial_fold(part, identity, au, corner_x, mouth.y, wrinkling)

    if au.au14 > FAINT:  # the corner drawn in: a pit with a bulge beside it
        pit = blob(part.ax - corner_x - 0.030, part.y - corner_y, 0.028, 0.042)
        bulge = blob(part.ax - corner_x - 0.095, part.y - corner_y + 0.01, 0.035, 0.075)
        part.darken(pit * part.face * stronger * 0.52 * au.au14)
        part.lighten(bulge * part.face * stronger * 0.13 * au.au14)
        rim = part.ax - corner_x - 0.055 + 2.2 * (part.y - corner_y) ** 2
        extent = smoothstep(0.10, 0.04, np.abs(part.y - corner_y))
        part.fold(-rim, extent, 0.18 * au.au14, sharp=0.014, soft=0.034)
    if au.au15 > FAINT:  # a furrow down from the corner
        dy = part.y - corner_y
        line = part.ax - (corner_x + 0.018 + 0.30 * dy)
        extent = smoothstep(-0.01, 0.04, dy) * smoothstep(0.13, 0.03, dy)
        part.fold(-line, extent, 0.26 * au.au15 * wrinkling, sharp=0.012, soft=0.036)
    if au.au20 > FAINT:  # bracket beside the stretched corner
        dy = part.y - mouth.y
        line = part.ax - (corner_x + 0.075 - 1.6 * dy * dy)
        extent = smoothstep(0.13, 0.03, np.abs(dy))
        part.fold(-line, extent, 0.28 * au.au20, sharp=0.014, soft=0.050)
    _draw_chin(part, identity, au, mouth.y, wrinkling)


def _draw_nasolabial_fold(part: Canvas, identity: Identity, au: Strengths, corner_x, mouth_y, wrinkling) -> None:
    """From beside the nose around the corner of the mouth, bowed outwards."""
    depth = 0.16 + 0.62 * au.au12 + 0.75 * au.au10 + 0.5 * au.au9 + 0.2 * au.au6 + 0.15 * au.au20
    depth = min(depth, 1.1) * wrinkling
    base, half_width = nose_base(identity, au)
    top_x, top_y = half_width * 1.08 + 0.012, base - 0.045 - 0.02 * au.au10
    end_x, end_y = corner_x + 0.070 + 0.035 * au.au12, mouth_y + 0.01 - 0.045 * au.au12 + 0.03 * au.au10
    down = (part.y - top_y) / (end_y - top_y)
    bow = 0.20 + 0.55 * au.au12 + 0.45 * au.au10 + 0.2 * au.au9
    t = clipped(down, -0.2, 1.2)
    line = part.ax - (top_x + (end_x - top_x) * (t + bow * t * (1 - t)))
    steepness = (end_y - top_y) / (abs(end_x - top_x) + end_y - top_y)  # turns a horizontal into a true distance
    extent = smoothstep(-0.05, 0.25, down) * smoothstep(1.02, 0.45, down)
    part.fold(-line * steepness, extent, 0.34 * depth, sharp=0.012, soft=0.045)


def _draw_chin(part: Canvas, identity: Identity, au: Strengths, mouth_y: float, wrinkling: float) -> None:
    drop = jaw_drop(au)
    hollow = mouth_y + identity.lower_lip + 0.062 + 0.55 * drop - 0.022 * au.au17
    curve = hollow + (0.9 * au.au17 - 0.5) * part.x**2
    extent = smoothstep(0.12 + 0.05 * au.au17, 0.03, part.ax)
    part.fold(part.y - curve, extent, 0.16 + 0.36 * au.au17, sharp=0.016, soft=0.030)
    if au.au17 > FAINT:
        chin_y = 0.605 + 0.75 * drop
        area = blob(part.x, part.y - chin_y, 0.115, 0.065) * part.face
        dents = 0.5 + 0.5 * np.sin(part.x * 58 + 2.5 * np.sin(part.y * 31)) * np.sin(
            part.y * 53 + 2.0 * np.sin(part.x * 29)
        )
        part.lighten(blob(part.x, part.y - chin_y, 0.10, 0.045) * part.face * 0.14 * au.au17)
        part.darken(area * dents * 0.38 * au.au17 * wrinkling)


@dataclass(frozen=True)
class LipCurves:
    """y of the lips' edges, each (H, W), and how far a pixel lies between the corners."""

    across: np.ndarray  # -1..1 from corner to corner
    within: np.ndarray  # 1 between the corners
    line: np.ndarray  # where closed lips meet
    upper_outer: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray
    opening: float  # 0 closed .. about 1


def _lip_curves(part: Canvas, identity: Identity, au: Strengths) -> LipCurves:
    mouth = mouth_shape(identity, au)
    across = clipped(part.x / mouth.half_width, -1, 1)
    squared = across * across
    arch = 1 - squared
    stronger = 1 + identity.asymmetry * part.side

    # The line between the lips: a smile bends all of it, AU15 its ends, AU17 pushes up its middle.
    drop_share = 0.085 * au.au15
    bend = (mouth.corner_y - drop_share) * (squared - 0.25) * 1.2 + drop_share * (np.abs(across) ** 3 - 0.15) * 1.15
    line = mouth.y + bend * stronger - 0.048 * au.au17 * arch + 0.02 * au.au26

    opening = min(au.au25 + 0.6 * au.au26, 1.2)
    square = 1 - squared * squared
    upper_gap = (0.014 * au.au25 + 0.030 * au.au10) * square + 0.012 * au.au26 * arch
    upper_gap = upper_gap * min(0.25 + 3 * opening, 1)
    lower_gap = opening * (0.070 * square + 0.155 * au.au26 * arch)
    thin = max(1 - 0.74 * au.au24 - 0.58 * au.au23, 0.14)
    upper_lip = identity.upper_lip * thin * (1 - 0.18 * au.au12) * (1 - 0.18 * au.au20)
    lower_lip = identity.lower_lip * thin * (1 - 0.10 * au.au12) * (1 - 0.18 * au.au20) * (1 + 0.15 * au.au17)
    bow = 1 - 0.28 * bell(across / 0.15)
    upper_inner, lower_inner = line - upper_gap, line + lower_gap
    return LipCurves(
        across=across,
        within=smoothstep(0, 0.035, mouth.half_width - part.ax) * part.face,
        line=line,
        upper_outer=upper_inner
        - upper_lip * (1 - np.abs(across) ** 1.8) * bow
        - (0.026 * au.au10 + 0.012 * au.au9) * square,
        upper_inner=upper_inner,
        lower_inner=lower_inner,
        lower_outer=lower_inner + lower_lip * arch**0.7,
        opening=opening,
    )


def draw_mouth(canvas: Canvas, identity: Identity, au: Strengths) -> None:
    mouth = mouth_shape(identity, au)
    part = canvas.window(-0.42, 0.42, mouth.y - 0.20, mouth.y + 0.38)
    lips = _lip_curves(part, identity, au)
    y, within, arch = part.y, lips.within, 1 - lips.across**2

    part.darken(part.stroke(y - lips.lower_outer - 0.022, 0.024) * arch * within * 0.20)
    _draw_tight_skin(part, au, lips)
    _draw_lips(part, identity, au, lips)
    if lips.opening > 0.01 or au.au10 > 0.05:
        _draw_inside(part, identity, au, lips, mouth.half_width)
    closed = min(max(1 - 2.5 * lips.opening, 0), 1)
    if closed > 0:
        taper = 0.55 + 0.45 * arch
        width = 0.009 + 0.008 * au.au24
        part.darken(part.stroke(y - lips.line, width) * within * taper * (0.55 + 0.25 * au.au24) * closed)
    corner = blob(part.ax - mouth.half_width + 0.004, y - mouth.y - 0.9 * mouth.corner_y, 0.020, 0.018)
    part.darken(corner * part.face * 0.40)


def _draw_lips(part: Canvas, identity: Identity, au: Strengths, lips: LipCurves) -> None:
    natural = scaled(identity.skin, 0.86, 0.64, 0.63)
    colour = mixed(natural, LIP_RED, 0.12 + 0.30 * identity.lip_redness)
    colour = mixed(colour, identity.skin, 0.20 * au.au24 + 0.15 * au.au23)  # pressed lips turn pale
    y = part.y
    below = y > lips.line
    light = part.shade * np.where(below, np.float32(1.02), np.float32(0.88))
    shape = part.inside(np.maximum(lips.upper_outer - y, y - lips.lower_outer), softness=1.8) * lips.within
    part.over(shape, shaded(colour, light))
    middle = 0.45 * lips.lower_inner + 0.55 * lips.lower_outer
    shine = part.stroke(y - middle, 0.010) * bell(lips.across / 0.45) * shape * below
    part.lighten(shine * (0.16 - 0.10 * au.au24))


def _draw_inside(part: Canvas, identity: Identity, au: Strengths, lips: LipCurves, half_width: float) -> None:
    y = part.y
    height = lips.lower_inner - lips.upper_inner
    gap = part.inside(np.maximum(lips.upper_inner - y, y - lips.lower_inner)) * lips.within
    gap = gap * clipped(height / (1.6 * part.pixel), 0, 1)
    part.over(gap, MOUTH_INSIDE)
    if au.au26 > FAINT:
        hump = np.sqrt((part.x / (half_width * 0.62)) ** 2 + ((y - lips.lower_inner - 0.005) / 0.06) ** 2) - 1
        part.over(gap * part.inside(hump * 0.06, 2.5) * min(1.4 * au.au26, 1), TONGUE)

    light = clipped(part.shade, 0.55, 1.03) - 0.22 * lips.across**2
    inset = smoothstep(0.97, 0.80, np.abs(lips.across))
    shown = min(0.30 + au.au12 + au.au10 + 1.1 * au.au20, 1)
    edge = lips.upper_inner + np.minimum(0.015 + shown * (0.034 + 0.02 * (au.au10 + au.au12)), height)
    part.over(gap * part.inside(y - edge) * inset * min(0.4 + shown, 1), shaded(TEETH, light))
    lower_shown = min(max(1.4 * au.au20 - 0.2, 0), 1)
    if lower_shown > 0:
        row = part.inside(lips.lower_inner - 0.038 - y)
        part.over(gap * row * inset * lower_shown, shaded(TEETH, light * 0.93))
    # The upper lip's shadow keeps the teeth inside the mouth.
    part.darken(gap * part.stroke(y - lips.upper_inner, 0.014) * 0.30)


def _draw_tight_skin(part: Canvas, au: Strengths, lips: LipCurves) -> None:
    """Lips rolled in push out the skin above and below (AU24); tightened ones pucker it (AU23)."""
    tight = 1.3 * au.au24 + 0.8 * au.au23
    if tight < FAINT:
        return
    y, arch = part.y, 1 - lips.across**2
    above, below = lips.upper_outer - 0.026 - y, y - lips.lower_outer - 0.028
    part.lighten((part.stroke(above, 0.017) + part.stroke(below, 0.018)) * lips.within * arch * 0.15 * tight)
    part.darken(
        (part.stroke(above - 0.034, 0.018) + part.stroke(below - 0.036, 0.018)) * lips.within * arch * 0.26 * tight
    )
    if au.au23 > FAINT:
        lines = 0.5 + 0.5 * np.cos(lips.across * 26)
        rows = part.stroke(lips.upper_outer - 0.02 - y, 0.024) + part.stroke(y - lips.lower_outer - 0.02, 0.020)
        part.darken(lines * rows * lips.within * arch * 0.08 * au.au23)
