"""Renders ICT-FaceKit faces from AUs: aligned crops, as photographs are aligned by eyes and nose."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from processing.corpora.bilateral_behaviour import ACTION_UNITS, COLUMN, resolve_conflicts
from processing.corpora.ict_accessories import hang_hair, place_frame, raise_hair, scalp_weights
from processing.corpora.ict_contact import UPPER_LIDS, dim, light_into_mouth, light_under_lid
from processing.corpora.ict_expression import lips_part, resting_weights, shape_weights
from processing.corpora.ict_geometry import TEXEL, FaceGeometry
from processing.corpora.ict_identity import Identity
from processing.corpora.ict_model import FaceModel
from processing.corpora.ict_nuisance import Nuisance, Variation
from processing.corpora.ict_photography import develop, make_background
from processing.corpora.ict_raster import (
    CAMERA_TO_PIVOT,
    PLAIN,
    add_shapes,
    project,
    rasterize,
    shade,
    vertex_normals,
)
from processing.corpora.ict_skin import Skin, make_skin
from processing.corpora.ict_wrinkles import add_wrinkles, make_wrinkles, wrinkle_depths

SAMPLES = 2  # a side: four samples a pixel
CROP_RECIPE = "eyes-nose-1"
# Where an alignment puts eyes and nose tip, in crop widths: `face_alignment_clef`'s recipe of that name.
EYE_X, EYE_Y, NOSE_Y = 0.1725, 0.365, 0.575
TARGET = np.array([[-EYE_X, 0.5 - EYE_Y], [EYE_X, 0.5 - EYE_Y], [0, 0.5 - NOSE_Y]])  # from the middle, y up
# Where a detector (YuNet) finds the eyes, from the middle of each eyeball, left first, and the nose tip, as shares of
# landmarks 30 and 33: mean offsets over 120 renders, so that renders and photographs are aligned by the same points.
FOUND_EYES = np.array([[-0.1, -0.2, 1.5], [0.1, -0.2, 1.5]], dtype=np.float32)
FOUND_NOSE = (0.64, 0.36)
PIVOT = np.array([0, 1.5, 4.0], dtype=np.float32)  # what a head turns about
SKIN_WRAP = (0.28, 0.14, 0.08)  # light that wanders under the skin, by colour
INNER_LIPS = ((61, 67), (62, 66), (63, 65))  # of the 68 landmarks, upper and lower
CLOSING = 3.7  # centimetres by which the shape mouthClose brings the lips together
MOUTH_SHUT = 0.05  # below this gap in centimetres, what lies behind the lips is not drawn


@dataclass(frozen=True, eq=False)
class Person:
    identity: Identity
    variation: Variation
    neutral: np.ndarray  # (V, 3)
    eyes: np.ndarray  # (2, 3) before the eyeballs, left and right: they stay when lids move
    triangles: np.ndarray
    triangles_shut: np.ndarray  # without the inside of the mouth
    kinds: np.ndarray
    kinds_shut: np.ndarray
    skin: Skin


@dataclass(frozen=True, eq=False)
class RenderedFaces:
    """images: uint8 (N, S, S, 3). alpha: uint8 (N, S, S), coverage by the head. action_units: float32 (N, 21) in 0..5,
    the stronger side, conflicts resolved, AU25 as the lips' gap tells. landmarks: float32 (N, 5, 2) pixels: the
    subject's right eye, left eye, nose tip, right and left corner of the mouth. boxes: float32 (N, 4): left, top,
    width, height of the face."""

    images: np.ndarray
    alpha: np.ndarray
    action_units: np.ndarray
    landmarks: np.ndarray
    boxes: np.ndarray


class FaceRenderer:
    """Renders people of one face model. Buffers are kept between calls: one renderer a thread."""

    def __init__(self, model: FaceModel):
        self.geometry = FaceGeometry(model)
        self.wrinkles = make_wrinkles(self.geometry)
        self._size = 0

    def person(self, identity: Identity, variation: Variation | None = None) -> Person:
        """What all frames of a subject share: shape, skin, hair."""
        variation = variation or Variation()
        geometry = self.geometry
        own = geometry.modes.shape[1]
        neutral = geometry.neutral.copy()
        modes = geometry.modes.reshape(len(geometry.modes), -1)
        neutral[:own] += (identity.coefficients[: len(modes)] @ modes).reshape(-1, 3)
        neutral += np.float32(identity.lip_fullness) * geometry.lip_fullness
        if variation.rest:
            rest = resting_weights(identity.rest, geometry.shape_names)
            add_shapes(neutral, rest, geometry.starts, geometry.indices, geometry.deltas)
        self._close_lips(identity, neutral)
        scalp = np.zeros(len(neutral), dtype=np.float32)
        hanging = variation.hair and not identity.bald and identity.hair_length < 4
        if variation.hair:
            covered = scalp_weights(identity, geometry.neutral[geometry.parts.skin])
            scalp[geometry.parts.skin] = covered
            neutral[geometry.parts.skin] += raise_hair(identity, neutral[geometry.parts.skin], covered)
        neutral[geometry.parts.curtain] = hang_hair(identity)
        eyes = np.stack([neutral[v].mean(axis=0) for v in geometry.parts.eyes])
        neutral[geometry.parts.frame] = place_frame(identity, eyes, neutral[geometry.landmarks[28]])
        skin = make_skin(
            geometry, identity, scalp, variation.texture, variation.brows, variation.beard, variation.makeup
        )
        keep = np.ones(len(geometry.triangles), dtype=bool)
        if not hanging:
            keep &= ~geometry.curtain_triangles
        if not (variation.glasses and identity.glasses):
            keep &= ~geometry.frame_triangles
        shut = keep & ~geometry.inner
        kinds = np.where((scalp[geometry.triangles] > 0.5).all(axis=1), PLAIN, geometry.kinds).astype(np.uint8)
        return Person(
            identity,
            variation,
            neutral,
            (eyes + FOUND_EYES).astype(np.float32),
            np.ascontiguousarray(geometry.triangles[keep]),
            np.ascontiguousarray(geometry.triangles[shut]),
            kinds[keep],
            kinds[shut],
            skin,
        )

    def _close_lips(self, identity: Identity, neutral: np.ndarray) -> None:
        """Most people's lips touch at rest; those of the model's modes are often apart."""
        rows = slice(*self.geometry.closing_rows)
        for _ in range(2):
            gap = _lip_gap(neutral[self.geometry.landmarks]) - identity.lip_gap
            weight = np.float32(np.clip(gap / CLOSING, -0.05, 0.15))
            neutral[self.geometry.indices[rows]] += weight * self.geometry.deltas[rows]

    def render(
        self, person: Person, nuisances: Sequence[Nuisance], sides: np.ndarray, image_size: int
    ) -> RenderedFaces:
        """Render N pictures of one person.

        Args:
            nuisances: N.
            sides: (N, 21, 2) intensities 0..5, the subject's left and right, columns as `ACTION_UNITS`.
            image_size: 32..512 pixels.

        A picture depends on its own row alone, bit for bit. Raises ValueError for other shapes, values and sizes.
        """
        sides = np.asarray(sides, dtype=np.float32)
        if sides.shape != (len(nuisances), len(ACTION_UNITS), 2):
            raise ValueError(
                f"got {len(nuisances)} nuisances and AUs of shape {sides.shape}; expected (N, {len(ACTION_UNITS)}, 2)"
            )
        if not (np.isfinite(sides).all() and (sides >= 0).all() and (sides <= 5).all()):
            raise ValueError("AU intensities must lie between 0 and 5")
        if not 32 <= image_size <= 512:
            raise ValueError(f"image_size is {image_size!r}; expected 32 to 512 pixels")
        self._make_buffers(image_size)
        sides = resolve_conflicts(sides)
        style = person.identity.style if person.variation.style else None
        weights = shape_weights(sides, self.geometry.shape_names, style)
        depths = wrinkle_depths(self.wrinkles, person.identity, sides, person.variation.wrinkles)
        count = len(sides)
        faces = RenderedFaces(
            np.empty((count, image_size, image_size, 3), np.uint8),
            np.empty((count, image_size, image_size), np.uint8),
            np.ascontiguousarray(sides.max(axis=-1)),
            np.empty((count, 5, 2), np.float32),
            np.empty((count, 4), np.float32),
        )
        self._buffers["attributes"][:, :3] = person.skin.colours
        self._buffers["attributes"][:, 7] = person.skin.gloss
        for index, nuisance in enumerate(nuisances):
            self._render_one(person, nuisance, weights[index], depths[index], faces, index)
        return faces

    def _render_one(self, person, nuisance, weights, depths, faces: RenderedFaces, index: int) -> None:
        geometry, buffers = self.geometry, self._buffers
        vertices = buffers["vertices"]
        vertices[:] = person.neutral
        add_shapes(vertices, weights, geometry.starts, geometry.indices, geometry.deltas)
        points = vertices[geometry.landmarks]
        gap = _lip_gap(points)
        faces.action_units[index, COLUMN["AU25"]] = lips_part(gap)
        shut = gap < MOUTH_SHUT
        triangles, kinds = (person.triangles_shut, person.kinds_shut) if shut else (person.triangles, person.kinds)
        normals = buffers["normals"]
        vertex_normals(vertices, triangles, normals)
        rotation = _rotation(nuisance.yaw, nuisance.pitch, nuisance.roll)
        size = faces.images.shape[1]
        faces.landmarks[index], faces.boxes[index] = self._project(person, points, nuisance, rotation, size)
        rasterize(
            buffers["screen"], buffers["depth"], triangles, buffers["nearest"], buffers["owner"], buffers["barycentric"]
        )

        lights = np.array(nuisance.light_directions, dtype=np.float32)
        attributes = buffers["attributes"]
        for eye, unit in zip(geometry.parts.eyes, geometry.eye_units, strict=True):
            attributes[eye, 3:5] = _gaze_direction(unit, nuisance.gaze)
        attributes[:, 5] = geometry.ambient
        attributes[:, 6] = geometry.light_visibility(rotation.T @ lights[0])
        self._shade_contacts(vertices, points, gap)
        identity = person.identity
        picture, alpha = np.empty((size, size, 3), np.float32), np.empty((size, size), np.float32)
        shade(
            buffers["owner"],
            buffers["barycentric"],
            buffers["nearest"],
            triangles,
            kinds,
            normals @ rotation.T,
            attributes,
            person.skin.albedo,
            add_wrinkles(self.wrinkles, depths, person.skin.heights, identity.fold_shift),
            np.float32(1 / TEXEL),
            np.ascontiguousarray(rotation[:, 1]),
            lights,
            np.array(nuisance.light_colours, dtype=np.float32),
            np.array(nuisance.sky, dtype=np.float32),
            np.array(nuisance.ground, dtype=np.float32),
            np.array(SKIN_WRAP, dtype=np.float32),
            np.array([*identity.iris, identity.iris_radius, identity.pupil_radius], dtype=np.float32),
            make_background(nuisance.background_seed, size),
            SAMPLES,
            picture,
            alpha,
        )
        # Cameras expose dark skin longer, though not to the same brightness, and some hardly.
        brightness = float(identity.skin @ np.array([0.3, 0.6, 0.1], dtype=np.float32))
        exposure = nuisance.exposure * (0.30 / brightness) ** nuisance.metering * 0.95
        faces.images[index] = develop(picture, nuisance, exposure)
        faces.alpha[index] = (alpha * 255 + 0.5).astype(np.uint8)

    def _shade_contacts(self, vertices, points, gap: float) -> None:
        parts, light = self.geometry.parts, self._buffers["attributes"][:, 5:7]
        for eye, lid in zip(parts.eyes, UPPER_LIDS, strict=True):
            dim(light, eye, light_under_lid(vertices[eye], points[list(lid)]))
        share = light_into_mouth(gap)
        if share < 1:
            # Teeth and gums of a mouth that is shut are not drawn.
            for inside in (parts.socket,) if gap < MOUTH_SHUT else (parts.socket, parts.teeth, parts.gums):
                dim(light, inside, np.full(len(inside), share, dtype=np.float32))

    def _project(self, person, points, nuisance, rotation, size):
        """Fills screen positions and depths; returns (landmarks, box) in pixels of the aligned crop."""
        buffers = self._buffers

        def seen(point):
            turned = (point - PIVOT) @ rotation.T
            return turned[..., :2] * nuisance.distance / (nuisance.distance + CAMERA_TO_PIVOT - turned[..., 2:])

        nose = FOUND_NOSE[0] * points[30] + FOUND_NOSE[1] * points[33]
        marks = seen(np.stack([person.eyes[1], person.eyes[0], nose, points[48], points[54]]))
        jitter = nuisance.zoom * np.exp(1j * nuisance.turn)
        factor, offset = (jitter * number for number in _similarity(marks[:3], TARGET))
        turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
        move = np.array([offset.real, offset.imag]) + nuisance.shift
        project(
            buffers["vertices"],
            PIVOT,
            rotation,
            np.float32(nuisance.distance),
            turn.astype(np.float32),
            move.astype(np.float32),
            np.float32(size * SAMPLES),
            buffers["screen"],
            buffers["depth"],
        )
        landmarks = (marks @ turn.T + move + [0.5, -0.5]) * [size, -size]
        outline = buffers["screen"][self.geometry.landmarks] / SAMPLES
        low, high = outline.min(axis=0), outline.max(axis=0)
        low[1] -= 0.28 * (high[1] - low[1])  # the landmarks end at the brows, a face at the forehead
        return landmarks, np.concatenate([low, high - low])

    def _make_buffers(self, image_size: int) -> None:
        if image_size == self._size:
            return
        side = image_size * SAMPLES
        self._size = image_size
        count = len(self.geometry.neutral)
        self._buffers = {
            "vertices": np.empty((count, 3), np.float32),
            "normals": np.empty((count, 3), np.float32),
            "screen": np.empty((count, 2), np.float32),
            "depth": np.empty(count, np.float32),
            "nearest": np.empty((side, side), np.float32),
            "owner": np.empty((side, side), np.int32),
            "barycentric": np.empty((side, side, 2), np.float32),
            "attributes": np.empty((count, 8), np.float32),
        }
        self._buffers["attributes"][:, 3:5] = self.geometry.texels


def renderer_sources() -> list[Path]:
    """The files that decide how a rendered face looks and what it does: a cached corpus goes by them."""
    folder = Path(__file__).parent
    names = ("behaviour.py", "bilateral_behaviour.py", "random_streams.py", "synthetic_identity.py")
    parts = [path for path in folder.glob("ict_*.py") if path.name != "ict_sheets.py"]
    return sorted([*parts, *(folder / name for name in names)])


def _lip_gap(points: np.ndarray) -> float:
    """Centimetres from the lower to the upper inner lip, from the (68, 3) landmarks; negative when they overlap."""
    return float(np.mean([points[above, 1] - points[below, 1] for above, below in INNER_LIPS]))


def _gaze_direction(unit: np.ndarray, gaze: tuple[float, float]) -> np.ndarray:
    """(M, 2) sines of the angles between the gaze and the unit directions (M, 3) of an eyeball's vertices."""
    left, up = np.sin(gaze[0]), np.sin(gaze[1])
    direction = np.array([left, up, np.sqrt(max(1 - left**2 - up**2, 0.1))])
    right = np.array([direction[2], 0, -direction[0]]) / np.hypot(direction[2], direction[0])
    (x, y, z), (ahead, _, aside) = direction, right
    upward = np.array([y * aside, z * ahead - x * aside, -y * ahead])  # direction x right, whose y is 0
    axes = np.stack([right, upward, direction], axis=1).astype(np.float32)
    turned = unit @ axes
    turned[turned[:, 2] < 0, :2] += 2
    return turned[:, :2]


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    around_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (around_z @ around_x @ around_y).astype(np.float32)


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[complex, complex]:
    """Factor and offset of the least-squares similarity without reflection (Umeyama 1991) that maps source to target,
    both (N, 2), whose points are x + iy."""
    source, target = source @ [1, 1j], target @ [1, 1j]
    middle, aim = source.mean(), target.mean()
    off = source - middle
    factor = np.vdot(off, target - aim) / np.vdot(off, off).real
    return factor, aim - factor * middle


__all__ = ["FaceRenderer", "Person", "RenderedFaces", "renderer_sources"]
