"""The mesh as the renderer uses it: the parts that can be seen, where they lie on the texture plane, who shades whom.

Lengths are centimetres in the model's axes: x to the subject's left, y up, z out of the face.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from processing.corpora.ict_accessories import CURTAIN_TRIANGLES, CURTAIN_VERTICES, FRAME_TRIANGLES, FRAME_VERTICES
from processing.corpora.ict_contact import LOWER_LIDS, UPPER_LIDS, lash_line, lid_curve, lip_seam
from processing.corpora.ict_expression import shape_names
from processing.corpora.ict_lips import fullness_shape
from processing.corpora.ict_model import FaceModel
from processing.corpora.ict_raster import EYE, PLAIN, SKIN, rasterize, seen_from, vertex_normals

HEAD_AXIS_Z = 2.0  # the vertical axis that the texture plane is wrapped around
HEAD_RADIUS = 8.5
TEXEL = 0.1
TEXTURE_LEFT, TEXTURE_RIGHT, TEXTURE_BOTTOM, TEXTURE_TOP = -14.5, 14.5, -9.5, 13.5
TEXTURE_SHAPE = (
    round((TEXTURE_TOP - TEXTURE_BOTTOM) / TEXEL),
    round((TEXTURE_RIGHT - TEXTURE_LEFT) / TEXEL),
)

_HIDDEN = ("M_LacrimalFluid", "M_EyeBlend", "M_EyeOcclusion", "M_IrisLeft", "M_IrisRight")
_MOUTH_INSIDE = ("M_GumsTongue", "M_Teeth")
_SOCKET = slice(11248, 13294)  # of the official mesh: the bag behind the lips
CLOSING_SHAPE = "mouthClose"  # no AU moves it; it shuts the lips of a resting face
EYEBALL_SIZE = 0.96
LASH_LENGTH, LOWER_LASH_LENGTH = 0.45, 0.12  # shares of the model's
_LIGHT_DIRECTIONS = 40
_SHADOW_SOFTNESS = 14.0


@dataclass(frozen=True, eq=False)
class Parts:
    """Vertex numbers by part."""

    skin: np.ndarray
    socket: np.ndarray
    gums: np.ndarray
    teeth: np.ndarray
    eyes: tuple[np.ndarray, np.ndarray]  # the subject's left, right
    lashes: np.ndarray
    curtain: np.ndarray
    frame: np.ndarray


def texture_plane(points: np.ndarray) -> np.ndarray:
    """(…, 3) points as (…, 2) positions on the texture plane: centimetres around the head and up."""
    around = np.arctan2(points[..., 0], points[..., 2] - HEAD_AXIS_Z) * HEAD_RADIUS
    return np.stack([around, points[..., 1]], axis=-1)


def texel_grid() -> tuple[np.ndarray, np.ndarray]:
    """s (1, columns) and y (rows, 1) of the texels, in centimetres."""
    rows, columns = TEXTURE_SHAPE
    s = TEXTURE_LEFT + TEXEL * np.arange(columns, dtype=np.float32)[None]
    return s, TEXTURE_BOTTOM + TEXEL * np.arange(rows, dtype=np.float32)[:, None]


class FaceGeometry:
    """What is the same for every person. V vertices: the model's visible ones, then hair curtain and glasses.

    Attributes:
        neutral: (V, 3) mean shape. modes: (I, V0, 3) float32 of the V0 vertices that are the model's own.
        triangles: (T, 3) int32, kinds: (T,) uint8 (`ict_raster.SKIN`, `PLAIN`, `EYE`); `inner`: (T,) bool, only to be
            seen through the mouth; `hair_triangles`, `frame_triangles`: (T,) bool.
        shape_names, starts, indices, deltas: sparse blend shapes as `ict_raster.add_shapes` takes them.
        eye_units: for each eyeball (M, 3) directions of its vertices from its centre.
        lip_fullness: (V, 3), see `ict_lips`; lip_seam, lash_line: (V,), see `ict_contact`.
        texels: (V, 2) texture coordinates. landmarks: (68,) vertex numbers.
        parts: `Parts`. lash_roots: the skin vertex that each vertex of the lashes moves with.
    """

    def __init__(self, model: FaceModel):
        self._select(model)
        for ball in self.parts.eyes:
            # A little smaller, so that lids close over them whoever's they are.
            middle = self.neutral[ball].mean(axis=0)
            self.neutral[ball] = middle + EYEBALL_SIZE * (self.neutral[ball] - middle) - [0, 0, 0.04]
        self._trim_lashes()
        self._shapes(model)
        plane = texture_plane(self.neutral)
        self.texels = ((plane - [TEXTURE_LEFT, TEXTURE_BOTTOM]) / TEXEL).astype(np.float32)
        self.plane = plane
        self.lip_weights = self._lip_weights()
        self.lip_fullness = fullness_shape(self.neutral, self.parts.skin, self.landmarks)
        self.lip_seam = lip_seam(self.neutral, self.parts.skin, self.landmarks)
        self.lash_line = lash_line(self.neutral, self.parts.skin, self.landmarks)
        self.eye_units = [self._eye_units(vertices) for vertices in self.parts.eyes]
        self._look_around()

    def _select(self, model: FaceModel) -> None:
        names = np.array(model.material_names)[model.materials]
        centre = model.neutral[model.triangles].mean(axis=1)
        keep = ~np.isin(names, _HIDDEN) & (centre[:, 2] > -6) & (centre[:, 1] > -13.5)
        keep &= ~(np.isin(names, _MOUTH_INSIDE) & (centre[:, 2] < 5.5))
        triangles, names = model.triangles[keep], names[keep]
        used = np.unique(np.concatenate([triangles.ravel(), model.landmarks68]))
        number = np.full(len(model.neutral), -1)
        number[used] = np.arange(len(used))
        self.model_vertices, count = used, len(used)
        curtain = count + np.arange(CURTAIN_VERTICES)
        frame = count + CURTAIN_VERTICES + np.arange(FRAME_VERTICES)
        own = number[triangles]
        self.triangles = np.concatenate(
            [own, CURTAIN_TRIANGLES + curtain[0], FRAME_TRIANGLES + frame[0]], dtype=np.int32, casting="same_kind"
        )
        self.neutral = np.zeros((count + CURTAIN_VERTICES + FRAME_VERTICES, 3), dtype=np.float32)
        self.neutral[:count] = model.neutral[used]
        self.modes = np.ascontiguousarray(model.identity_modes[:, used], dtype=np.float32)
        self.landmarks = number[model.landmarks68]

        in_socket = np.zeros(len(model.neutral), dtype=bool)
        in_socket[_SOCKET] = True
        in_socket = in_socket[used]
        of_name = {name: np.unique(own[names == name]) for name in model.material_names}
        skin = np.union1d(of_name["M_Face"], of_name["M_BackHead"])
        self.parts = Parts(
            skin=skin[~in_socket[skin]],
            socket=np.flatnonzero(in_socket),
            gums=of_name["M_GumsTongue"],
            teeth=of_name["M_Teeth"],
            eyes=(of_name["M_ScleraLeft"], of_name["M_ScleraRight"]),
            lashes=of_name["M_EyeLashes"],
            curtain=curtain,
            frame=frame,
        )
        is_skin = np.isin(names, ("M_Face", "M_BackHead")) & ~in_socket[own].all(axis=1)
        is_eye = np.isin(names, ("M_ScleraLeft", "M_ScleraRight"))
        extra = [len(CURTAIN_TRIANGLES), len(FRAME_TRIANGLES)]
        kinds = np.where(is_skin, SKIN, np.where(is_eye, EYE, PLAIN))
        self.kinds = np.concatenate([kinds, np.full(sum(extra), PLAIN)]).astype(np.uint8)

        def mask(chosen, curtain_too=False, frame_too=False):
            return np.concatenate([chosen, np.full(extra[0], curtain_too), np.full(extra[1], frame_too)])

        nothing = np.zeros(len(own), dtype=bool)
        self.inner = mask(np.isin(names, _MOUTH_INSIDE))
        self.curtain_triangles = mask(nothing, curtain_too=True)
        self.frame_triangles = mask(nothing, frame_too=True)

    def _trim_lashes(self) -> None:
        """Lashes of the model are solid sheets; drawn at full length they look like paint. Being shorter they cannot
        move as the model's do: they go where the lid goes that they stand on (`lash_roots`)."""
        lashes, marks = self.neutral[self.parts.lashes], self.neutral[self.landmarks]
        curves = [np.concatenate([lid_curve(marks, lid) for lid in lids]) for lids in (UPPER_LIDS, LOWER_LIDS)]
        distances = [np.linalg.norm(lashes[:, None] - curve, axis=-1) for curve in curves]
        upper, lower = (curve[away.argmin(axis=1)] for curve, away in zip(curves, distances, strict=True))
        hang = (distances[1].min(axis=1) < distances[0].min(axis=1))[:, None]
        roots, length = np.where(hang, lower, upper), np.where(hang, LOWER_LASH_LENGTH, LASH_LENGTH)
        self.neutral[self.parts.lashes] = roots + length * (lashes - roots)
        lids = self.parts.skin[self.neutral[self.parts.skin, 2] > 7]
        self.lash_roots = lids[cKDTree(self.neutral[lids]).query(roots)[1]]
        self.modes[:, self.parts.lashes] = self.modes[:, self.lash_roots]

    def _shapes(self, model: FaceModel) -> None:
        number = np.full(len(model.neutral), -1)
        number[self.model_vertices] = np.arange(len(self.model_vertices))
        self.shape_names = [*shape_names(), CLOSING_SHAPE]
        lacking = [name for name in self.shape_names if name not in model.expression_names]
        if lacking:
            raise ValueError(f"the face model lacks the blend shapes {lacking}; it has {list(model.expression_names)}")
        starts, indices, deltas = [0], [], []
        for name in self.shape_names:
            shape = model.sparse_expressions[name]
            rows, moved = number[shape.indices], np.zeros((len(self.model_vertices), 3), dtype=np.float32)
            moved[rows[rows >= 0]] = shape.values[rows >= 0]
            moved[self.parts.lashes] = moved[self.lash_roots]
            large = np.flatnonzero(np.linalg.norm(moved, axis=1) > 0.004)
            indices.append(large)
            deltas.append(moved[large])
            starts.append(starts[-1] + len(large))
        self.closing_rows = (starts[-2], starts[-1])
        self.starts = np.array(starts, dtype=np.int64)
        self.indices = np.concatenate(indices).astype(np.int32)
        self.deltas = np.concatenate(deltas).astype(np.float32)

    def _lip_weights(self) -> np.ndarray:
        """(V,) how much a vertex is lip: 1 inside the outline of the lips, falling over two millimetres."""
        outline = self.neutral[self.landmarks[48:60], :2]
        points = self.neutral[:, :2]
        distance = distance_to_polyline(points, np.concatenate([outline, outline[:1]]))
        signed = np.where(inside_polygon(points, outline), distance, -distance)
        weights = np.clip(signed / 0.2 + 0.5, 0, 1)
        weights[self.neutral[:, 2] < 8.5] = 0
        outer = np.zeros(len(weights), dtype=bool)
        outer[self.parts.skin] = True
        return np.where(outer, weights, 0).astype(np.float32)

    def _eye_units(self, vertices: np.ndarray) -> np.ndarray:
        """(M, 3) unit directions from an eyeball's centre to its vertices."""
        ball = self.neutral[vertices]
        ball = ball - (ball.min(axis=0) + ball.max(axis=0)) / 2
        return (ball / np.linalg.norm(ball, axis=1, keepdims=True)).astype(np.float32)

    def _look_around(self) -> None:
        """From many sides, which vertices of the mean face can be seen: for soft shadows and ambient light."""
        golden = np.pi * (3 - np.sqrt(5))
        height = 1 - 1.25 * (np.arange(_LIGHT_DIRECTIONS) + 0.5) / _LIGHT_DIRECTIONS  # z from 1 to -.25
        turn = golden * np.arange(_LIGHT_DIRECTIONS)
        flat = np.sqrt(1 - height**2)
        self.directions = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1).astype(np.float32)
        own = ~(self.curtain_triangles | self.frame_triangles | self.inner)
        triangles = np.ascontiguousarray(self.triangles[own])
        side = 256
        nearest, owner = np.empty((side, side), np.float32), np.empty((side, side), np.int32)
        barycentric, seen = np.empty((side, side, 2), np.float32), np.empty(len(self.neutral), np.float32)
        normals = np.empty_like(self.neutral)
        vertex_normals(self.neutral, triangles, normals)
        self.visible = np.empty((_LIGHT_DIRECTIONS, len(self.neutral)), np.float32)
        for row, direction in enumerate(self.directions):
            right = np.cross([0, 1, 0.01], direction)
            right /= np.linalg.norm(right)
            up = np.cross(direction, right)
            screen = np.stack([self.neutral @ right, -(self.neutral @ up)], axis=1) * (side / 44) + side / 2
            depth = self.neutral @ direction
            rasterize(screen.astype(np.float32), depth.astype(np.float32), triangles, nearest, owner, barycentric)
            seen_from(screen.astype(np.float32), depth.astype(np.float32), nearest, np.float32(0.45), seen)
            self.visible[row] = seen
        facing = np.maximum(normals @ self.directions.T, 0.05).T
        self.ambient = ((self.visible * facing).sum(axis=0) / facing.sum(axis=0)).astype(np.float32)
        # What lies behind the lips is judged with the mouth open, and added parts are outside.
        self.ambient[self.parts.socket] = 0.25
        self.ambient[self.parts.gums] = np.clip((self.neutral[self.parts.gums, 2] - 5) / 8, 0.08, 0.5)
        self.ambient[self.parts.teeth] = np.clip((self.neutral[self.parts.teeth, 2] - 5) / 5, 0.1, 0.9)
        outside = np.concatenate([self.parts.curtain, self.parts.frame])
        self.ambient[outside] = 0.9
        inside = np.concatenate([self.parts.socket, self.parts.gums, self.parts.teeth])
        self.visible[:, inside] = self.ambient[inside]
        self.visible[:, outside] = 1

    def light_visibility(self, direction: np.ndarray) -> np.ndarray:
        """(V,) share of a light from `direction` (head space) that reaches each vertex, soft at the shadow's edge."""
        weights = np.exp(_SHADOW_SOFTNESS * (self.directions @ direction - 1)).astype(np.float32)
        return (weights / weights.sum()) @ self.visible


def distance_to_polyline(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(N,) distance of (N, 2) points to the polyline (M, 2)."""
    distance = np.full(len(points), np.inf)
    for start, end in zip(line[:-1], line[1:], strict=True):
        along = end - start
        share = np.clip(((points - start) @ along) / (along @ along + 1e-12), 0, 1)
        distance = np.minimum(distance, np.linalg.norm(points - (start + share[:, None] * along), axis=1))
    return distance


def inside_polygon(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(N,) bool, by counting crossings."""
    inside = np.zeros(len(points), dtype=bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, 1, axis=0), strict=True):
        crosses = (ay > points[:, 1]) != (by > points[:, 1])
        inside ^= crosses & (points[:, 0] < (bx - ax) * (points[:, 1] - ay) / (by - ay + 1e-12) + ax)
    return inside
