"""A person's skin on the texture plane: tone, blotches, freckles, brows, beard; and the colour of every other part."""

from dataclasses import dataclass

import numpy as np

from processing.corpora.ict_geometry import TEXEL, TEXTURE_BOTTOM, TEXTURE_LEFT, TEXTURE_SHAPE, FaceGeometry, texel_grid
from processing.corpora.ict_identity import Identity


@dataclass(frozen=True, eq=False)
class Skin:
    """albedo: (rows, columns, 3) factors of the vertices' colour. heights: (rows, columns) cm.
    colours: (V, 3) linear. gloss: (V,)."""

    albedo: np.ndarray
    heights: np.ndarray
    colours: np.ndarray
    gloss: np.ndarray


def make_skin(
    geometry: FaceGeometry, identity: Identity, scalp: np.ndarray, texture: bool, brows: bool, beard: bool, makeup: bool
) -> Skin:
    """Args: scalp (V,), how much a vertex is covered with hair; the switches leave a part out."""
    rng = np.random.Generator(np.random.PCG64(identity.texture_seed))
    s, y = texel_grid()
    pores = identity.pores if texture else 0.0
    fine = rng.standard_normal(TEXTURE_SHAPE, dtype=np.float32)
    coarse = [_smooth_noise(rng, cells) for cells in ((9, 12), (24, 30), (70, 88))]
    albedo = np.ones((*TEXTURE_SHAPE, 3), dtype=np.float32)
    heights = np.zeros(TEXTURE_SHAPE, dtype=np.float32)
    points = geometry.plane[geometry.landmarks]
    eyes = np.stack([points[42:48].mean(axis=0), points[36:42].mean(axis=0)])
    if texture:
        mottled = 0.05 * coarse[0] + 0.05 * coarse[1] + 0.05 * coarse[2]
        albedo *= (1 + identity.blotches * mottled)[..., None] + pores * 0.03 * fine[..., None]
        heights += pores * (0.003 * fine + 0.006 * coarse[2])
        below_eyes = np.clip((eyes[:, 1].mean() - 1.2 - y) / 1.5, 0, 1)
        heights += identity.relief * below_eyes * (0.10 * coarse[0] + 0.03 * coarse[1])
        _add_creases(heights, identity)
        mouth = points[48:60].mean(axis=0)
        around = np.exp(-(((s / 3.4) ** 2 + ((y - mouth[1] + 0.3) / 2.2) ** 2) ** 2)) * (1 + 0.3 * coarse[1])
        _tint(albedo, around, identity.mouth_shade * np.array([-0.26, -0.30, -0.30]))
        _tint(
            albedo, _redness(s, y, points) * (0.6 + 0.4 * coarse[1]), identity.redness * np.array([0.06, -0.2, -0.16])
        )
        _tint(albedo, _freckles(rng, identity, points), np.array([-0.3, -0.45, -0.5]))
        for eye in eyes:
            hollow = np.exp(-(((s - eye[0]) / 1.5) ** 2) - (((y - eye[1] + 1.1) / 0.55) ** 2))
            _tint(albedo, hollow, identity.under_eye * np.array([-0.18, -0.24, -0.16]))
    if makeup and identity.eye_shadow:
        for eye in eyes:
            lid = np.exp(-(((s - eye[0]) / 1.5) ** 2) - (((y - eye[1] - 0.8) / 0.45) ** 2))
            _tint(albedo, lid, identity.eye_shadow * np.array([-0.5, -0.6, -0.45]))
    if brows:
        mask = np.clip(_brows(identity, s, y, points) * (0.8 + 0.35 * fine * pores), 0, 1)
        _paint(albedo, mask * identity.brow_density, identity.brow_colour / identity.skin)
        heights += 0.02 * mask * fine * identity.brow_density
    if beard and (identity.beard or identity.moustache):
        mask = _beard(identity, s, y, points, coarse[1])
        stubble = np.clip(mask * (1.0 + 0.3 * fine), 0, 1)
        _paint(albedo, stubble * 0.9, np.minimum(0.6 * identity.hair, identity.skin) / identity.skin)
        heights += stubble * (0.004 + 0.025 * identity.beard_length) * fine
    return Skin(np.maximum(albedo, 0.02), heights, *_part_colours(geometry, identity, scalp, coarse, makeup))


def _part_colours(geometry, identity, scalp, coarse, makeup) -> tuple[np.ndarray, np.ndarray]:
    parts, count = geometry.parts, len(geometry.neutral)
    rng = np.random.Generator(np.random.PCG64([identity.texture_seed, 1]))
    colours = np.tile(identity.skin, (count, 1))
    gloss = np.full(count, identity.gloss, dtype=np.float32)
    lips = (geometry.lip_weights * identity.lip_strength)[:, None]
    colours = colours * (1 - lips) + (identity.lipstick if makeup else identity.lips) * lips
    upper = geometry.neutral[:, 1] > geometry.neutral[geometry.landmarks[62], 1]
    colours = colours * (1 - (1 - identity.upper_lip) * lips * upper[:, None])
    colours = colours * (1 - identity.lip_line * geometry.lip_seam[:, None] * np.array([0.75, 0.9, 0.9]))
    gloss += 0.25 * geometry.lip_weights * identity.gloss
    strands = 1 + 0.22 * rng.standard_normal(count, dtype=np.float32)
    hair = identity.hair * np.clip(strands, 0.4, 1.6)[:, None]
    scalp = np.clip(2 * scalp, 0, 1)  # hair is there before it stands up
    colours = colours * (1 - scalp[:, None]) + hair * scalp[:, None]
    gloss = np.where(scalp > 0.5, 0.12, gloss)
    colours[parts.curtain], gloss[parts.curtain] = hair[parts.curtain], 0.1
    colours[parts.socket], gloss[parts.socket] = (0.16, 0.035, 0.03), 0.05
    colours[parts.gums], gloss[parts.gums] = (0.45, 0.14, 0.13), 0.3
    shade = rng.uniform(0.5, 0.9)
    colours[parts.teeth], gloss[parts.teeth] = np.array([1.0, 0.95, rng.uniform(0.72, 0.92)]) * shade, 0.25
    for vertices in parts.eyes:
        colours[vertices] = np.array([1.0, 0.95, 0.92]) * identity.sclera
        gloss[vertices] = 0.9
    strength = identity.lashes if makeup else min(identity.lashes, 0.75)
    colours = colours * (1 - (0.35 + 0.6 * strength) * geometry.lash_line[:, None])
    colours[parts.lashes] = identity.skin * (1 - strength) + np.array([0.012, 0.01, 0.01]) * strength
    gloss[parts.lashes] = 0
    colours[parts.frame], gloss[parts.frame] = identity.frame_colour, 0.5
    return colours.astype(np.float32), gloss.astype(np.float32)


def _brows(identity: Identity, s, y, points) -> np.ndarray:
    total = np.zeros(TEXTURE_SHAPE, dtype=np.float32)
    for numbers, sign in (((22, 23, 24, 25, 26), 1), ((21, 20, 19, 18, 17), -1)):
        path = points[list(numbers)]
        along = np.clip((sign * s - identity.brow_gap) / (sign * path[-1, 0] - identity.brow_gap), -0.2, 1.2)
        middle = np.interp(sign * s, sign * path[:, 0], path[:, 1])
        middle = middle + identity.brow_offset + identity.brow_arch * np.sin(np.pi * np.clip(along, 0, 1) ** 1.3)
        half = identity.brow_thickness * np.clip(1.15 - identity.brow_taper * along**2, 0.15, 1)
        inside = np.clip((half - np.abs(y - middle)) / 0.16 + 0.5, 0, 1)
        ends = np.clip(along / 0.08 + 0.3, 0, 1) * np.clip((1.02 - along) / 0.12, 0, 1)
        total = np.maximum(total, inside * ends)
    return total


def _beard(identity: Identity, s, y, points, noise) -> np.ndarray:
    """Density of hair on cheeks and jaws, around the mouth and on the chin, and above the lip, each by itself."""
    corner, nose, lip, chin = points[54], points[33], points[57], points[8]
    across = np.abs(s)
    upper = np.interp(
        across,
        [0, corner[0], corner[0] + 1.2, 8.5, 11.5],
        [lip[1] - 0.5, lip[1] + 0.2, corner[1] + 0.6, identity.cheek_line, identity.cheek_line + 3.5],
    )
    lower_face = np.clip((upper - y + 0.5 * noise) / 1.3 + 0.5, 0, 1) * np.clip((13 - across) / 1.5, 0, 1)
    middle = np.exp(-((across / (corner[0] + 0.7)) ** 4))
    lower_face *= identity.cheek_beard * (1 - middle) + identity.goatee * middle
    soul = np.exp(-((s / 0.7) ** 2)) * np.clip((lip[1] - 0.2 - y) / 0.2, 0, 1)
    moustache = np.clip((nose[1] - 0.3 - y + 0.2 * noise) / 0.7, 0, 1)
    moustache *= np.clip((corner[0] + 0.9 - across + 0.3 * noise) / 1.2, 0, 1)
    moustache *= np.clip((y - corner[1] - 0.15 + 0.1 * across) / 0.5 + 0.5, 0, 1)
    lips = (across / (corner[0] + 0.05)) ** 2 + (
        (y - (points[51][1] + lip[1]) / 2) / (0.54 * (points[51][1] - lip[1]))
    ) ** 2
    free = np.clip((lips - 0.85) / 0.4, 0, 1)
    mask = np.maximum(
        identity.beard * np.maximum(lower_face, 0.8 * identity.goatee * soul), identity.moustache * moustache
    )
    mask *= np.clip(1 + 0.5 * identity.beard_patches * noise, 0, 1.3)
    return (mask * free * np.clip((y - chin[1] + 2.6) / 1.0, 0, 1)).astype(np.float32)


def _redness(s, y, points) -> np.ndarray:
    cheeks = np.exp(-(((np.abs(s) - 4.6) / 1.7) ** 2) - (((y - 0.2) / 1.5) ** 2))
    nose = np.exp(-((s / 1.1) ** 2) - (((y - points[30][1] + 0.2) / 1.2) ** 2))
    chin = 0.5 * np.exp(-((s / 1.5) ** 2) - (((y - points[8][1] - 1.5) / 1.0) ** 2))
    return cheeks + 0.8 * nose + chin


def _add_creases(heights: np.ndarray, identity: Identity) -> None:
    """Adds lines in cheeks, jaws and chin, most on both sides: what lies on a face is not what the face does."""
    rng = np.random.Generator(np.random.PCG64([identity.texture_seed, 2]))
    for _ in range(identity.creases):
        place, angle = rng.uniform((1.6, -7.0), (7.5, 1.0)), rng.uniform(0, np.pi)
        length, bend, width, depth = rng.uniform((1.2, -0.12, 0.18, 0.02), (4.5, 0.12, 0.42, 0.09))
        chosen = rng.choice([-1, 1]) if rng.random() < 0.3 else 0
        for sign in (-1, 1) if chosen == 0 else (chosen,):
            reach = 0.5 * length + 1.0
            low = np.array([sign * place[0] - reach - TEXTURE_LEFT, place[1] - reach - TEXTURE_BOTTOM]) / TEXEL
            columns, rows = (
                np.arange(max(0, round(start)), min(count, round(start + 2 * reach / TEXEL)))
                for start, count in zip(low, TEXTURE_SHAPE[::-1], strict=True)
            )
            s = sign * (TEXTURE_LEFT + TEXEL * columns)[None] - place[0]
            y = (TEXTURE_BOTTOM + TEXEL * rows)[:, None] - place[1]
            along, across = s * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - s * np.sin(angle)
            across = across - bend * along**2
            line = 0.6 * np.exp(-(((across - 2.2 * width) / (1.7 * width)) ** 2)) - np.exp(-((across / width) ** 2))
            fading = np.clip(2.5 * (1 - np.abs(along) / (0.5 * length)), 0, 1)
            heights[rows[:, None], columns[None]] += depth * line * fading


def _freckles(rng: np.random.Generator, identity: Identity, points) -> np.ndarray:
    """Small dark spots: freckles over nose and cheeks, moles anywhere."""
    marks = np.zeros(TEXTURE_SHAPE, dtype=np.float32)
    count = 90
    spots = np.stack([rng.normal(0, 4.0, count), rng.normal(0.3, 1.5, count)], axis=1)
    moles = np.stack([rng.uniform(-8, 8, 8), rng.uniform(-7, 9, 8)], axis=1)
    sizes, depths = rng.uniform(0.07, 0.16, count + 8), rng.uniform(0.4, 1.0, count + 8)
    chosen = [(spot, sizes[i], depths[i] * identity.freckles) for i, spot in enumerate(spots) if identity.freckles]
    chosen += [
        (spot, 1.3 * sizes[count + i], 1.4 * depths[count + i]) for i, spot in enumerate(moles[: identity.moles])
    ]
    for (s, y), size, depth in chosen:
        column, row = int((s - TEXTURE_LEFT) / TEXEL), int((y - TEXTURE_BOTTOM) / TEXEL)
        reach = 4
        columns = np.arange(max(0, column - reach), min(TEXTURE_SHAPE[1], column + reach + 1))
        rows = np.arange(max(0, row - reach), min(TEXTURE_SHAPE[0], row + reach + 1))
        across, up = TEXTURE_LEFT + TEXEL * columns - s, TEXTURE_BOTTOM + TEXEL * rows - y
        spot = depth * np.exp(-(across[None] ** 2 + up[:, None] ** 2) / (2 * size**2))
        marks[rows[:, None], columns[None]] = np.maximum(marks[rows[:, None], columns[None]], spot)
    return np.clip(marks, 0, 1.4)


def _smooth_noise(rng: np.random.Generator, cells: tuple[int, int]) -> np.ndarray:
    """Noise of unit spread on the texture plane, with about `cells` bumps along its sides."""
    values = rng.standard_normal((cells[0] + 1, cells[1] + 1), dtype=np.float32)
    rows, columns = (_interpolation(size, count) for size, count in zip(TEXTURE_SHAPE, cells, strict=True))
    return 1.4 * (rows @ values @ columns.T)


def _interpolation(size: int, cells: int) -> np.ndarray:
    """(size, cells + 1) float32 weights of linear interpolation."""
    place = np.linspace(0, cells - 1e-3, size)
    low = place.astype(int)
    weights = np.zeros((size, cells + 1), dtype=np.float32)
    weights[np.arange(size), low] = 1 - (place - low)
    weights[np.arange(size), low + 1] = place - low
    return weights


def _tint(albedo: np.ndarray, mask: np.ndarray, change: np.ndarray) -> None:
    for channel in range(3):
        albedo[..., channel] *= 1 + mask * np.float32(change[channel])


def _paint(albedo: np.ndarray, mask: np.ndarray, factor: np.ndarray) -> None:
    for channel in range(3):
        albedo[..., channel] *= 1 + mask * (np.float32(factor[channel]) - 1)
