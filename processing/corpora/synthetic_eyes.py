"""Forehead, brows, eyes and glasses: AU1, 2, 4, 5, 6, 7 and part of 9."""

import math

import numpy as np

from processing.corpora.synthetic_canvas import FAINT, Canvas, bell, blob, clipped, mixed, scaled, shaded, smoothstep
from processing.corpora.synthetic_expression import Strengths
from processing.corpora.synthetic_identity import Identity
from processing.corpora.synthetic_nuisance import Nuisance

LASHES = (0.13, 0.09, 0.08)
EYE_WHITE = (0.94, 0.93, 0.92)


def draw_forehead(canvas: Canvas, identity: Identity, au: Strengths) -> None:
    """Lines across it (AU1 in the middle, AU2 to the sides) and between the brows (AU4)."""
    lines = min(0.85 * au.au1 + 0.6 * au.au2, 1.2) * (0.45 + 0.55 * identity.wrinkling)
    if lines > FAINT:
        part = canvas.window(-0.5, 0.5, identity.eye_y - 0.56, identity.eye_y - 0.2)
        reach = 0.17 + 0.26 * au.au2
        across = smoothstep(reach, 0.6 * reach, part.ax)
        arch = 0.03 * max(au.au1 - au.au2, 0) * (part.ax / 0.2) ** 2 - 0.25 * au.au2 * part.ax**2
        for row, strength in ((-0.285, 0.8), (-0.365, 1.0), (-0.445, 0.7)):
            middle = identity.eye_y + row - 0.03 * lines + arch
            part.fold(part.y - middle, across, 0.24 * lines * strength, sharp=0.010, soft=0.030)
    if au.au4 > FAINT:
        part = canvas.window(-0.16, 0.16, identity.eye_y - 0.3, identity.eye_y + 0.06)
        dy = part.y - (identity.eye_y - 0.125)
        line = part.ax - (0.040 - 0.010 * au.au4 - 0.10 * dy)
        extent = smoothstep(0.11, 0.01, np.abs(dy))
        part.fold(-line, extent, 0.40 * au.au4 * (0.5 + 0.5 * identity.wrinkling), sharp=0.012, soft=0.026)


def draw_eyes(canvas: Canvas, identity: Identity, nuisance: Nuisance, au: Strengths) -> None:
    eye_x, eye_y, width = identity.eye_x, identity.eye_y, identity.eye_width
    part = canvas.window(-eye_x - 0.32, eye_x + 0.32, eye_y - 0.30, eye_y + 0.26)
    open_share = 1 - nuisance.blink
    upper = 1 + 0.62 * au.au5 - 0.18 * au.au6 - 0.34 * au.au7 - 0.14 * au.au9 - 0.10 * au.au12 - 0.12 * au.au4
    upper = max(identity.eye_opening * upper * open_share, 0.003)
    lower = min(max(1 - 0.50 * au.au6 - 0.72 * au.au7 - 0.25 * au.au9 + 0.10 * au.au5, 0.02), 2)
    lower = identity.eye_opening * 0.70 * lower * (1 - 0.5 * nuisance.blink)

    from_middle = part.ax - eye_x
    across = from_middle / width  # -1 at the inner corner .. 1 at the outer one
    roundness = clipped(1 - across * across, 0, 1)
    axis = eye_y + 0.35 * identity.eye_tilt * from_middle
    upper_lid = axis - upper * roundness**0.75 * (1 - 0.10 * across)
    lower_lid = axis + lower * roundness * (1 + 0.12 * across)

    _draw_lids(part, identity, au, from_middle, axis, upper, lower)
    opening = np.maximum(np.maximum(upper_lid - part.y, part.y - lower_lid), np.abs(from_middle) - width)
    eye = part.inside(opening) * part.face
    light = clipped(part.shade, 0.5, 1.02) - 0.12 * np.abs(across)
    part.over(eye, shaded(EYE_WHITE, light))
    _draw_iris(
        part, identity, eye, from_middle - part.side * 0.04 * nuisance.gaze_x, part.y - eye_y - 0.022 * nuisance.gaze_y
    )
    part.darken(eye * 0.38 * part.stroke(part.y - upper_lid, 0.024), 1.0)

    outer = smoothstep(-1.0, 1.0, across)
    within = smoothstep(1.16, 1.02, np.abs(across)) * part.face
    thickness = 0.009 + 0.006 * outer * identity.lashes
    rim = bell((part.y - upper_lid + 0.004) / np.hypot(thickness, 0.45 * part.pixel))
    part.over(rim * within * (0.62 + 0.28 * identity.lashes), LASHES)
    part.darken(part.stroke(part.y - lower_lid, 0.010) * within * 0.30)


def _draw_iris(part: Canvas, identity: Identity, eye: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> None:
    radius = identity.iris_radius
    dy = dy + 0.008
    distance = np.sqrt(dx * dx + dy * dy)
    glow = 0.72 + 0.45 * smoothstep(0.3 * radius, radius, distance) - 0.55 * smoothstep(0.82 * radius, radius, distance)
    part.over(eye * part.inside(distance - radius), shaded(identity.iris, glow))
    part.over(eye * part.inside(distance - 0.46 * radius), (0.05, 0.04, 0.04))
    # The highlight is on the same side in both eyes.
    glint = np.sqrt((dx * part.side + 0.020) ** 2 + (dy + 0.022) ** 2)
    part.over(eye * part.inside(glint - 0.013) * 0.92, (0.98, 0.98, 0.98))


def _draw_lids(part, identity, au, from_middle, axis, upper, lower) -> None:
    """Socket, lid crease, the bulge under a tightened lid (AU7), raised cheek and crow's feet (AU6)."""
    width = identity.eye_width
    part.darken(blob(from_middle + 0.03, part.y - axis + 0.045, 0.17, 0.065) * part.face * 0.12)
    along = from_middle / width
    crease = axis - upper - 0.030 + 0.012 * au.au5 + 0.034 * along**2 - 0.010 * along
    extent = smoothstep(1.15, 0.7, np.abs(along))
    part.fold(crease - part.y, extent, 0.26 * (1 - 0.7 * au.au5), sharp=0.008, soft=0.020)

    bulge = 0.6 * au.au7 + 0.4 * au.au6
    if bulge > FAINT:
        pouch = axis + lower + 0.014
        part.lighten(part.stroke(part.y - pouch, 0.014) * extent * part.face * 0.16 * bulge)
        line = axis + lower + 0.038 - 0.028 * along**2
        part.fold(part.y - line, extent, 0.48 * min(au.au7 + 0.3 * au.au6, 1), sharp=0.008, soft=0.020)
    if au.au6 > FAINT:
        line = axis + 0.112 - 0.018 * au.au6 - 0.035 * along**2 + 0.02 * along
        under = smoothstep(1.5, 0.9, np.abs(along + 0.05))
        part.fold(part.y - line, under, 0.36 * au.au6, sharp=0.010, soft=0.034)
        feet = 0.30 * au.au6 * (0.5 + 0.5 * identity.wrinkling)
        run = from_middle - width - 0.03
        window = smoothstep(-0.01, 0.03, run) * smoothstep(0.115, 0.02, run)
        for slope, start in ((-0.50, -0.028), (-0.05, 0.004), (0.42, 0.034)):
            part.fold(part.y - axis - start - slope * run, window, feet, sharp=0.008, soft=0.016)


def draw_brows(canvas: Canvas, identity: Identity, au: Strengths) -> None:
    eye_x, eye_y = identity.eye_x, identity.eye_y
    part = canvas.window(-eye_x - 0.28, eye_x + 0.28, eye_y - 0.44, eye_y + 0.04)
    stronger = 1 + identity.asymmetry * part.side
    inner = -0.115 * au.au1 - 0.025 * au.au2 + 0.075 * au.au4 + 0.03 * au.au9
    outer = -0.095 * au.au2 + 0.03 * au.au4
    middle = -0.035 * au.au1 - 0.110 * au.au2 + 0.055 * au.au4 + 0.012 * au.au6

    start = eye_x - identity.brow_width - 0.045 * au.au4 + 0.02
    along = (part.ax - start) / (2 * identity.brow_width)  # 0 inner end .. 1 outer end
    t = clipped(along, -0.2, 1.2)
    rest = eye_y + identity.brow_y - 0.3 * identity.brow_angle * (t - 0.5)
    rest = rest - identity.brow_arch * (1 - (2 * t - 1.2) ** 2)
    raised = inner * (1 - t) ** 2 + 2 * middle * t * (1 - t) + outer * t * t
    centre = rest + raised * stronger
    if au.au4 > FAINT:  # the shadow of a lowered brow
        part.darken(blob(part.ax - eye_x + 0.06, part.y - centre - 0.05, 0.13, 0.045) * part.face * 0.20 * au.au4)
    thickness = identity.brow_thickness * clipped(1.15 - 0.75 * t, 0.3, 1.2)
    ends = smoothstep(-0.06, 0.10, along) * smoothstep(1.05, 0.85, along)
    hairs = 0.88 + 0.12 * np.sin(along * 60 + part.y * 90)
    brow = part.inside(np.abs(part.y - centre) - thickness, softness=1.8) * ends * hairs
    # Grey or blond brows still have to stand out from dark skin.
    colour = mixed(scaled(identity.hair, 0.75), scaled(identity.skin, 0.3), 0.45)
    part.over(brow * part.face * identity.brow_darkness, colour)


def draw_glasses(canvas: Canvas, identity: Identity) -> None:
    if not identity.glasses:
        return
    eye_x, eye_y, radius = identity.eye_x, identity.eye_y, identity.glasses_radius
    part = canvas.window(-0.75, 0.75, eye_y - 0.25, eye_y + 0.27)
    height = radius * 0.84
    power = identity.glasses_squareness
    centre_y = eye_y + 0.03
    lens = np.abs((part.ax - eye_x) / radius) ** power + np.abs((part.y - centre_y) / height) ** power
    lens = (lens ** (1 / power) - 1) * radius * 0.92
    rim = np.abs(lens)
    bridge = np.maximum(np.abs(part.y - eye_y + 0.02 - 1.5 * part.ax**2), (np.abs(part.x) - (eye_x - radius)) * 3)
    temple = np.maximum(np.abs(part.y - eye_y + 0.03), (eye_x + radius - part.ax) * 3)
    temple = np.maximum(temple, np.abs(part.u) - identity.face_width * 1.01)
    frame = np.minimum(np.minimum(rim, bridge), temple) - 0.0085
    part.darken(part.inside(rim - 0.02, softness=2.5) * 0.10)
    drawn = part.inside(frame) * min(1.0, math.sqrt(0.6 * 0.017 / part.pixel) + 0.25)
    part.over(drawn * 0.88, identity.glasses_colour)
