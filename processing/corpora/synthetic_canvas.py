"""What the parts of a face are drawn with: coordinates that follow the head, and a few kinds of brush.

Everything is float32 and elementwise. One image is drawn at a time and each part only touches the rectangle it needs:
that is faster than a batch of whole images and makes an image a function of its own parameters alone.
"""

import math

import numpy as np

from processing.corpora.synthetic_nuisance import Nuisance

HEAD_SCALE = 1.18  # half image widths a head unit
YAW_PARALLAX, PITCH_PARALLAX = 0.30, 0.26  # how far a full turn moves the middle of the face, in head units
# Shadow on skin is not grey: red light scatters, so red darkens least.
SHADOW_TINT = np.array([0.80, 1.0, 1.06], dtype=np.float32).reshape(3, 1, 1)
LIGHT_TINT = np.array([1.0, 0.94, 0.86], dtype=np.float32).reshape(3, 1, 1)
FAINT = 0.05  # AU strengths (0..1) below this leave no crease

Ink = np.ndarray | tuple[float, float, float]


class Canvas:
    """A rectangle of an image, with head coordinates.

    `u`, `v` belong to the outline of the head; `x`, `y` to its features, which shift against the outline when the head
    turns. `ax` is the distance from the midline and `side` is -1..1 across it. `image` is (3, H, W); windows are views.
    """

    def __init__(self, image, u, v, x, y, pixel, placement):
        self.image, self.u, self.v, self.x, self.y = image, u, v, x, y
        self.pixel = pixel  # width of a pixel in head units
        self.ax = np.sqrt(x * x + 1e-4)
        self.side = clipped(x * 12, -1, 1)
        self.outline = None  # signed distance to the edge of the face, about 1 a head radius, (H, W)
        self.face = None  # how much of each pixel is skin, (H, W)
        self.shade = None  # brightness of that skin, (H, W)
        self.box = (slice(None), slice(None))  # rows and columns of the whole canvas
        self._placement = placement

    @classmethod
    def blank(cls, size: int, nuisance: Nuisance) -> "Canvas":
        grid = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
        scale = HEAD_SCALE * nuisance.scale
        cos, sin = math.cos(nuisance.roll), math.sin(nuisance.roll)
        right, down = grid[None, :] - nuisance.shift_x, grid[:, None] - nuisance.shift_y
        u, v = (cos * right + sin * down) / scale, (cos * down - sin * right) / scale
        bulge = np.maximum(0, 1 - (u / 0.75) ** 2 - (v / 0.95) ** 2)
        x, y = u - nuisance.yaw * YAW_PARALLAX * bulge, v - nuisance.pitch * PITCH_PARALLAX * bulge
        image = np.empty((3, size, size), dtype=np.float32)
        return cls(image, u, v, x, y, 2 / (size * scale), (size, nuisance, scale, cos, sin))

    def window(self, left: float, right: float, top: float, bottom: float) -> "Canvas":
        """The part of a whole canvas in which features with x in left..right and y in top..bottom lie."""
        size, nuisance, scale, cos, sin = self._placement
        turn_x, turn_y = nuisance.yaw * YAW_PARALLAX, nuisance.pitch * PITCH_PARALLAX
        left, right = left + min(turn_x, 0), right + max(turn_x, 0)
        top, bottom = top + min(turn_y, 0), bottom + max(turn_y, 0)
        u, v, half_width, half_height = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
        columns = _covered(
            scale * (cos * u - sin * v) + nuisance.shift_x, scale * (cos * half_width + abs(sin) * half_height), size
        )
        rows = _covered(
            scale * (sin * u + cos * v) + nuisance.shift_y, scale * (abs(sin) * half_width + cos * half_height), size
        )
        box = (rows, columns)
        part = object.__new__(Canvas)
        part.box = box
        part.face = part.shade = part.outline = None
        part.image, part.pixel, part._placement = self.image[(slice(None), *box)], self.pixel, self._placement
        part.u, part.v, part.x, part.y = self.u[box], self.v[box], self.x[box], self.y[box]
        part.ax, part.side = self.ax[box], self.side[box]
        if self.shade is not None:
            part.shade = self.shade[box]
        if self.face is not None:
            part.face, part.outline = self.face[box], self.outline[box]
        return part

    def inside(self, distance: np.ndarray, softness: float = 1.3) -> np.ndarray:
        """1 where the signed distance (head units) is negative, with an edge of `softness` pixels."""
        return clip01(0.5 - distance * (1 / (softness * self.pixel)))

    def stroke(self, distance: np.ndarray, width: float) -> np.ndarray:
        """Profile of a soft line, 1 at its middle; a line finer than a pixel becomes fainter rather than ragged."""
        drawn = math.hypot(width, 0.5 * self.pixel)
        return bell(distance * (1 / drawn)) * math.sqrt(width / drawn)

    def over(self, mask: np.ndarray, ink: Ink) -> None:
        if isinstance(ink, tuple):
            ink = np.array(ink, dtype=np.float32).reshape(3, 1, 1)
        self.image += mask * (ink - self.image)

    def darken(self, amount: np.ndarray, tint: np.ndarray = SHADOW_TINT) -> None:
        self.image *= 1 - tint * amount

    def lighten(self, amount: np.ndarray) -> None:
        self.image += LIGHT_TINT * amount * (0.18 + 0.68 * self.image)

    def fold(self, distance: np.ndarray, extent: np.ndarray, amount: float, sharp: float, soft: float) -> None:
        """A crease in skin: shadow that starts at distance 0, spreads `soft` to the positive side and `sharp` to the
        negative one, where the bulging skin catches light."""
        soft, sharp = math.hypot(soft, 0.5 * self.pixel), math.hypot(sharp, 0.5 * self.pixel)
        reach = np.where(distance > 0, np.float32(1 / soft), np.float32(1 / sharp))
        shadow = bell(distance * reach)
        light = bell(distance * (1 / (1.6 * sharp)) + 1.4)
        self.darken((shadow - 0.18 * light) * extent * self.face * amount)


def clip01(values: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(values, 0), 1)


def clipped(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.minimum(np.maximum(values, low), high)


def decay(values: np.ndarray) -> np.ndarray:
    """exp(-values), without the denormal numbers that make everything after it slow."""
    return np.exp(-np.minimum(values, 30))


def bell(values: np.ndarray) -> np.ndarray:
    return decay(np.square(values))


def smoothstep(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """0 at `low`, 1 at `high` (also when high < low), smooth between."""
    t = clip01((values - low) * (1 / (high - low)))
    return t * t * (3 - 2 * t)


def blob(dx: np.ndarray, dy: np.ndarray, width: float, height: float) -> np.ndarray:
    return decay(np.square(dx * (1 / width)) + np.square(dy * (1 / height)))


def mixed(a: tuple, b: tuple, share: float) -> tuple[float, float, float]:
    red, green, blue = (p + (q - p) * share for p, q in zip(a, b, strict=True))
    return red, green, blue


def scaled(colour: tuple, *factors: float) -> tuple[float, float, float]:
    if len(factors) == 1:
        factors = factors * 3
    red, green, blue = (value * factor for value, factor in zip(colour, factors, strict=True))
    return red, green, blue


def shaded(colour: tuple, shade: np.ndarray) -> np.ndarray:
    """(3, H, W): `colour` under `shade`, where 1 is full light; shadow keeps the warmth of skin."""
    return np.array(colour, dtype=np.float32).reshape(3, 1, 1) * (1 - SHADOW_TINT * (1 - shade))


def _covered(middle: float, half: float, size: int) -> slice:
    """Pixels that middle - half .. middle + half covers, in an image that spans -1..1."""
    start = min(max(math.floor((middle - half + 1) / 2 * size), 0), size)
    return slice(start, min(max(math.ceil((middle + half + 1) / 2 * size), start), size))
