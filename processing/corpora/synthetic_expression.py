"""AUs as the renderer's parts need them: strengths 0..1 by name, and where they move the mouth and the chin."""

from dataclasses import dataclass
from typing import NamedTuple

from processing.corpora.synthetic_identity import Identity


class Strengths(NamedTuple):
    """AU intensities divided by 5, fields in the order of `behaviour.ACTION_UNITS`."""

    au1: float
    au2: float
    au4: float
    au5: float
    au6: float
    au7: float
    au9: float
    au10: float
    au12: float
    au14: float
    au15: float
    au17: float
    au20: float
    au23: float
    au24: float
    au25: float
    au26: float


def jaw_drop(au: Strengths) -> float:
    """How far the chin moves down."""
    return 0.12 * au.au26


def nose_base(identity: Identity, au: Strengths) -> tuple[float, float]:
    """y of the nose's base and its half width."""
    widening = 1 + 0.16 * au.au9 + 0.10 * au.au12 + 0.08 * au.au10
    return identity.nose_y - 0.035 * au.au9 - 0.015 * au.au10, identity.nose_width * widening


@dataclass(frozen=True)
class MouthShape:
    y: float  # of the line between the lips, at rest of the corners
    half_width: float
    corner_y: float  # of the corners, relative to y; negative is up


def mouth_shape(identity: Identity, au: Strengths) -> MouthShape:
    widening = (
        1
        + 0.32 * au.au12
        + 0.32 * au.au20
        + 0.12 * au.au14
        + 0.05 * au.au15
        - 0.36 * au.au23
        - 0.10 * au.au24
        - 0.10 * au.au17
        - 0.16 * au.au26 * (1 - au.au12)
    )
    return MouthShape(
        y=identity.mouth_y + 0.25 * jaw_drop(au),
        half_width=identity.mouth_width * widening,
        corner_y=-0.012 - 0.095 * au.au12 + 0.085 * au.au15 + 0.022 * au.au20 - 0.02 * au.au14,
    )
