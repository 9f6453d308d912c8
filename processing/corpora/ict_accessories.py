"""What a face wears: hair raised from the scalp, hair that hangs beside the face, and glasses. All of it is ours."""

import numpy as np

from processing.corpora.ict_identity import Identity

_AROUND, _DOWN = 44, 14  # vertices of the hanging hair
_RING, _TUBE = 28, 4  # of a frame's outline
_ARM = 8


def _grid_triangles(rows: int, columns: int, closed_columns: bool = False) -> np.ndarray:
    """Triangles of a grid of vertices, row by row, seen from both sides."""
    triangles = []
    for row in range(rows - 1):
        for column in range(columns if closed_columns else columns - 1):
            a, b = row * columns + column, row * columns + (column + 1) % columns
            c, d = a + columns, b + columns
            triangles += [(a, b, c), (b, d, c), (a, c, b), (b, c, d)]
    return np.array(triangles, dtype=np.int32)


def _frame_triangles() -> np.ndarray:
    ring = _grid_triangles(_RING + 1, _TUBE, closed_columns=True)
    arm = _grid_triangles(2, 4, closed_columns=True)
    parts, start = [], 0
    for block, count in (
        (ring, (_RING + 1) * _TUBE),
        (ring, (_RING + 1) * _TUBE),
        (arm, _ARM),
        (arm, _ARM),
        (arm, _ARM),
    ):
        parts.append(block + start)
        start += count
    return np.concatenate(parts)


CURTAIN_VERTICES = _AROUND * _DOWN
CURTAIN_TRIANGLES = _grid_triangles(_DOWN, _AROUND)
FRAME_VERTICES = 2 * (_RING + 1) * _TUBE + 3 * _ARM
FRAME_TRIANGLES = _frame_triangles()


def scalp_weights(identity: Identity, vertices: np.ndarray) -> np.ndarray:
    """(V,) how much a vertex of the mean head is covered with hair, 0..1."""
    if identity.bald:
        return np.zeros(len(vertices), dtype=np.float32)
    angle = np.degrees(np.arctan2(vertices[:, 0], vertices[:, 2] - 2.0))
    turned = np.abs(angle)
    beside = np.exp(-(((turned - 32) / 14) ** 2))
    # Height of the hairline by angle from the front: forehead, temple, sideburn, behind the ear, nape.
    line = np.interp(turned, [0, 25, 48, 66, 80, 100, 180], [0, -0.3, -2.0, -5.6, -7.6, -12.5, -15.0])
    line = line + identity.hairline + identity.recession * beside
    uneven = 0.25 * np.sin(angle * 0.55 + identity.texture_seed % 7) + 0.15 * np.sin(angle * 1.7)
    if identity.fringe:
        drop = np.exp(-(((angle - 6 * identity.parting) / 42) ** 4))
        line = line - identity.fringe * drop + 0.5 * uneven
    weights = np.clip((vertices[:, 1] - line - 0.4 * uneven) / 0.7 + 0.5, 0, 1)
    # Ears stick out of the hair.
    ear = (np.abs(vertices[:, 0]) > 7.0) & (vertices[:, 1] < 6.5) & (vertices[:, 2] < 5.5) & (vertices[:, 2] > -1.5)
    weights[ear & (turned < 115)] *= 0.15
    return weights.astype(np.float32)


def raise_hair(identity: Identity, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(V, 3) displacement of the scalp by the hair upon it."""
    outward = vertices - np.array([0, 4.0, 1.0], dtype=np.float32)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-6
    phase = identity.texture_seed % 17
    angle = np.arctan2(vertices[:, 0], vertices[:, 1] - 4.0)
    waves = np.sin(7 * angle + phase + 0.8 * vertices[:, 2]) * np.sin(0.9 * vertices[:, 2] + 3 * angle)
    parting = np.exp(-(((vertices[:, 0] - identity.parting) / 0.7) ** 2)) * (vertices[:, 1] > 9)
    thickness = identity.hair_volume * (1 + (0.15 + 0.35 * identity.curl) * waves) * (1 - 0.5 * parting)
    standing = np.clip(2 * weights - 1, 0, 1)
    return (outward * (thickness * standing * standing)[:, None]).astype(np.float32)


def hang_hair(identity: Identity) -> np.ndarray:
    """(CURTAIN_VERTICES, 3): hair from the crown around the back and the sides of the head down to its length."""
    turn = np.radians(np.linspace(72, 288, _AROUND))[None]
    down = np.linspace(0, 1, _DOWN)[:, None]
    top, bottom = 12.0, min(identity.hair_length, 9.0)
    y = top + (bottom - top) * down
    # The skull is widest at the ears; below them hair falls straight, a little outward.
    dome = np.sqrt(np.clip(1 - ((y - 4) / 10.5) ** 2, 0.05, 1))
    profile = np.where(y > 4, dome, 1.0 + 0.012 * (4 - y))
    phase = identity.texture_seed % 11
    waves = 1 + 0.02 * np.sin(9 * turn + phase) + (0.01 + 0.05 * identity.curl) * np.sin(1.4 * y + 5 * turn + phase)
    radius = (8.4 + 0.8 * identity.hair_volume) * profile * waves
    x = radius * np.sin(turn)
    z = 0.5 + 1.08 * radius * np.cos(turn)
    y = np.broadcast_to(y, x.shape)
    return np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float32)


def place_frame(identity: Identity, eyes: np.ndarray, nose_bridge: np.ndarray) -> np.ndarray:
    """(FRAME_VERTICES, 3) glasses before the eyes at (2, 3), the subject's left first."""
    turn = np.linspace(0, 2 * np.pi, _RING + 1)
    power, thickness = 2 / identity.frame_power, identity.frame_thickness
    outline_x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
    outline_y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power
    front = max(nose_bridge[2] + 0.25, eyes[:, 2].max() + 1.5)
    around = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)]) * thickness
    pieces, inner_ends, outer_ends = [], [], []
    for side, eye in zip((1, -1), eyes, strict=True):
        centre_x = side * max(abs(eye[0]) + 0.05, identity.frame_width + 0.75)
        x, y = centre_x + outline_x * identity.frame_width, eye[1] - 0.25 + outline_y * identity.frame_height
        z = front - 0.02 * (np.abs(x) - abs(centre_x)) ** 2 - 0.10 * np.maximum(np.abs(x) - 3, 0)
        grow = 1 + around[:, :1].T / identity.frame_width
        ring_x = centre_x + (x - centre_x)[:, None] * grow
        ring_y = eye[1] - 0.25 + (y - eye[1] + 0.25)[:, None] * grow
        ring_z = z[:, None] + around[:, 1]
        pieces.append(np.stack([ring_x, ring_y, ring_z], axis=-1).reshape(-1, 3))
        inner_ends.append([centre_x - side * identity.frame_width, eye[1] + 0.3, front])
        outer_ends.append([centre_x + side * identity.frame_width, eye[1] + 0.3, front - 0.6])
    ears = [[side * 7.9, 3.2, 2.0] for side in (1, -1)]
    for start, end in ((inner_ends[0], inner_ends[1]), (outer_ends[0], ears[0]), (outer_ends[1], ears[1])):
        start, end = np.array(start), np.array(end)
        across = np.cross(end - start, [0, 1, 0])
        across = across / (np.linalg.norm(across) + 1e-6)
        section = [across, np.array([0, 1.0, 0]), -across, np.array([0, -1.0, 0])]
        pieces.append(np.array([point + thickness * s for point in (start, end) for s in section]))
    return np.concatenate(pieces).astype(np.float32)
