"""Who is rendered: everything about a 3-D face that stays with the subject.

The ICT-FaceKit model gives shape alone; skin, hair, brows, beard, eyes, glasses and resting wrinkles are ours. Colours
are linear RGB in 0..1, lengths centimetres.
"""

from dataclasses import dataclass

import numpy as np

from processing.corpora.ict_expression import RESTING_SHAPES, STYLE_COUNT
from processing.corpora.synthetic_identity import (
    HAIR_COLOURS,
    HAIR_SHARES_DARK,
    HAIR_SHARES_LIGHT,
    IRIS_COLOURS,
    IRIS_SHARES_DARK,
    IRIS_SHARES_LIGHT,
    SKIN_TONES,
)

# Darker than the darkest that all corpora share: a sixth of people lie between that one and this.
DARKEST_SKIN = (0.27, 0.18, 0.14)
ICT_SKIN_TONES = np.vstack([SKIN_TONES, DARKEST_SKIN])
IDENTITY_MODES = 100
SHAPE_LIMIT = 2.2  # standard deviations of a mode
RESTING_WRINKLES = ("forehead", "glabella", "crows_feet", "nasolabial", "marionette", "under_eye")
LINE_SHARES = (0.3, 0.3, 0.3, 0.5, 0.3, 0.3)  # of people who have them at rest whatever their age


@dataclass(frozen=True, eq=False)
class Identity:
    coefficients: np.ndarray  # (100,) of the model's modes, standard deviations
    texture_seed: int
    rest: np.ndarray  # draws for `ict_expression.RESTING_SHAPES`: what the face carries without any AU
    style: np.ndarray  # for `ict_expression.STYLES`: how AUs pull this face, 0..1
    # Skin
    skin: np.ndarray  # (3,) linear
    blotches: float
    redness: float
    freckles: float
    moles: int
    under_eye: float  # darkness
    gloss: float
    pores: float
    wrinkling: float  # how deep folds get when they are made, 0..1
    mouth_folds: float  # how much of that the fold from nose to mouth has, 0..1
    resting: dict[str, float]  # wrinkles of the resting face by `RESTING_WRINKLES`, 0..1
    # Lips, eyes, brows
    lips: np.ndarray  # (3,) linear
    lipstick: np.ndarray  # (3,) linear, the lips' colour with make-up
    lip_strength: float
    lip_gap: float  # centimetres between the lips at rest
    lip_fullness: float  # by how much of their height the lips are higher than the model's modes make them
    lip_line: float  # darkness of the line between the lips
    upper_lip: float  # brightness against the lower one
    sclera: float  # brightness
    iris: np.ndarray  # (3,) linear
    iris_radius: float  # sine of its angle on the eyeball
    pupil_radius: float
    lashes: float  # darkness, 1 is black
    eye_shadow: float
    brow_colour: np.ndarray
    brow_density: float
    brow_thickness: float
    brow_offset: float
    brow_arch: float
    brow_gap: float  # from the midline
    brow_taper: float
    # Hair
    hair: np.ndarray  # (3,) linear
    bald: bool
    hairline: float  # y at the middle of the forehead
    recession: float  # how much higher it is beside the middle
    fringe: float  # how far hair falls over the forehead
    parting: float
    hair_volume: float
    hair_length: float  # y to which it hangs; above 4: short
    curl: float
    # Beard
    beard: float  # density, 0 none
    beard_length: float
    moustache: float
    cheek_line: float  # where the beard ends on the cheek
    cheek_beard: float  # density on cheeks and jaws, of the beard's
    goatee: float  # density around the corners of the mouth and on the chin, of the beard's
    beard_patches: float  # how uneven it grows, 0..1
    # What lies on a resting face and says nothing about how it moves
    lines: np.ndarray  # (6,) depth of `RESTING_WRINKLES` beyond what age gives, 0..1
    fold_shift: np.ndarray  # (2,) centimetres outwards and up that the folds around the mouth lie off their mean place
    creases: int  # lines in cheeks and jaws that no AU makes
    relief: float  # height of soft bulges and hollows, 0..1
    mouth_shade: float  # how much darker the skin around the mouth is, 0..1
    # Glasses
    glasses: bool
    frame_width: float
    frame_height: float
    frame_power: float  # exponent of the outline: 2 is an ellipse
    frame_thickness: float
    frame_colour: np.ndarray


def linear(colour) -> np.ndarray:
    """Display RGB (sRGB, 0..1) as linear RGB."""
    colour = np.clip(np.asarray(colour, dtype=np.float64), 0, 1)
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4).astype(np.float32)


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draws a person. Every trait is drawn whether used or not, so that none shifts the others."""
    uniform = rng.uniform
    tone = uniform(0, len(ICT_SKIN_TONES) - 1)
    darkness = tone / (len(ICT_SKIN_TONES) - 1)
    lower = min(int(tone), len(ICT_SKIN_TONES) - 2)
    skin = ICT_SKIN_TONES[lower] + (ICT_SKIN_TONES[lower + 1] - ICT_SKIN_TONES[lower]) * (tone - lower)
    skin = skin * uniform(0.92, 1.06) + rng.normal(0, 0.015, 3)
    skin = skin.mean() + (skin - skin.mean()) * uniform(0.6, 1.05)
    hair_shares = HAIR_SHARES_LIGHT + (HAIR_SHARES_DARK - HAIR_SHARES_LIGHT) * min(1.0, 1.3 * darkness)
    names = list(HAIR_COLOURS)
    hair = np.array(HAIR_COLOURS[names[rng.choice(len(names), p=hair_shares / hair_shares.sum())]])
    hair = hair * uniform(0.75, 1.25) + rng.normal(0, 0.012, 3)
    iris_shares = IRIS_SHARES_LIGHT + (IRIS_SHARES_DARK - IRIS_SHARES_LIGHT) * min(1.0, 1.3 * darkness)
    iris = np.array(IRIS_COLOURS[rng.choice(len(IRIS_COLOURS), p=iris_shares / iris_shares.sum())])
    age = rng.beta(1.3, 1.6)
    resting = {name: max(0.0, 0.75 * age**1.3 * uniform(0.2, 1.2) - 0.08) for name in RESTING_WRINKLES}

    style = rng.choice(["short", "tied", "fringe", "long", "curly", "receding", "bald"], p=_STYLE_SHARES)
    length = {"long": uniform(-14, -1), "curly": uniform(-9, 4), "fringe": uniform(-12, 6)}.get(style, 6.0)
    bearded, stubbled = rng.random() < 0.30, rng.random() < 0.35
    could_have_beard = style not in ("long", "fringe")
    full, faint = uniform(0.55, 1.0), uniform(0.08, 0.45)
    beard = (full if bearded else faint if stubbled else 0.0) if could_have_beard else 0.0
    moustache_only, grooming = rng.random() < 0.15, uniform(0.5, 1.0)
    made_up = rng.random() < (0.45 if not could_have_beard or beard == 0 else 0.0)
    lipstick, shadow = uniform(0, 1), uniform(0, 0.8)
    # Dark lips differ less from the skin around them than light ones do.
    fading = darkness * np.array([0.0, 0.22, 0.22]) * uniform(0.3, 1.2)
    lips = skin * (np.array([0.92, uniform(0.56, 0.7), uniform(0.58, 0.9)]) + fading)
    lips = lips + np.array([0.06, 0.01, 0.02]) * (1 - 0.6 * darkness) + rng.normal(0, 0.02, 3)
    painted = lips * (1 - lipstick) + np.array([uniform(0.45, 0.8), uniform(0.08, 0.3), uniform(0.12, 0.35)]) * lipstick
    grey = age > 0.75 and rng.random() < 0.5
    brow_colour = hair * uniform(0.35, 0.9) if not grey else hair
    return Identity(
        coefficients=np.clip(rng.normal(0, 1, IDENTITY_MODES), -SHAPE_LIMIT, SHAPE_LIMIT).astype(np.float32),
        texture_seed=int(rng.integers(0, 2**31)),
        rest=np.clip(rng.normal(0, 1, len(RESTING_SHAPES)), -2.5, 2.5),
        style=rng.uniform(0, 1, STYLE_COUNT) * (rng.random(STYLE_COUNT) < 0.6),
        skin=linear(skin),
        blotches=uniform(0.2, 1.0),
        redness=uniform(0, 1) * (1 - 0.6 * darkness),
        freckles=uniform(0.2, 1.0) if rng.random() < 0.2 * (1 - darkness) else 0.0,
        moles=int(rng.poisson(1.2)),
        under_eye=uniform(0, 1),
        gloss=uniform(0.02, 0.22),
        pores=uniform(0.2, 1.0),
        wrinkling=float(np.clip(0.3 + 0.6 * age + rng.normal(0, 0.12), 0.2, 1)),
        resting=resting,
        lips=linear(lips),
        lipstick=linear(painted if made_up else lips),
        lip_strength=uniform(0.4, 1.0),
        lip_gap=uniform(0.06, 0.14) if rng.random() < 0.08 else uniform(0.0, 0.03),
        sclera=uniform(0.38, 0.68) * (1 - 0.4 * darkness),
        iris=linear(iris * uniform(0.7, 1.2)),
        iris_radius=uniform(0.37, 0.43),
        pupil_radius=uniform(0.12, 0.22),
        lashes=min(uniform(0.3, 0.9) + (0.35 if made_up else 0.0), 1.0),
        eye_shadow=shadow if made_up else 0.0,
        brow_colour=linear(brow_colour),
        brow_density=uniform(0.5, 1.0),
        brow_thickness=uniform(0.18, 0.55),
        brow_offset=uniform(-1.2, -0.1),
        brow_arch=uniform(-0.12, 0.3),
        brow_gap=uniform(0.7, 1.5),
        brow_taper=uniform(0.2, 0.8),
        hair=linear(hair),
        bald=style == "bald",
        hairline=uniform(9.2, 11.4) + (1.3 if style == "receding" else 0.0),
        recession=uniform(1.0, 2.6) if style == "receding" else uniform(-0.6, 0.8),
        fringe=uniform(1.5, 4.2) if style == "fringe" else 0.0,
        parting=uniform(-2.5, 2.5),
        hair_volume=uniform(1.0, 3.0) if style in ("curly", "long") else uniform(0.15, 1.6),
        hair_length=length,
        curl=uniform(0.5, 1.0) if style == "curly" else uniform(0, 0.3),
        beard=0.0 if moustache_only else beard,
        beard_length=uniform(0.0, 0.8) if bearded else 0.0,
        moustache=beard * grooming if beard else 0.0,
        cheek_line=uniform(-1.5, 0.8),
        glasses=bool(rng.random() < 0.2),
        frame_width=uniform(2.3, 2.9),
        frame_height=uniform(1.6, 2.5),
        frame_power=float(rng.choice([2.0, 2.5, 3.5])),
        frame_thickness=uniform(0.09, 0.22),
        frame_colour=linear(np.array(((0.1, 0.1, 0.1), (0.35, 0.22, 0.14), (0.6, 0.56, 0.5)))[rng.integers(3)]),
        lip_fullness=uniform(-0.45, 0.6),
        lip_line=uniform(0.35, 0.9),
        upper_lip=uniform(0.65, 1.0),
        cheek_beard=uniform(0.0, 1.0) if bearded else uniform(0.0, 0.8),
        goatee=uniform(0.3, 1.0),
        beard_patches=uniform(0.2, 1.0),
        # Many smile without a fold beside it: what lies around a mouth must not stand for how it moves.
        mouth_folds=max(0.0, uniform(-0.5, 1.0)),
        lines=uniform(0, 0.9, len(RESTING_WRINKLES)) * (rng.random(len(RESTING_WRINKLES)) < LINE_SHARES),
        fold_shift=np.clip(rng.normal(0, 0.25, 2), -0.5, 0.5),
        creases=int(min(rng.poisson(1.3), 5)),
        relief=uniform(0.0, 1.0),
        mouth_shade=max(0.0, uniform(-0.6, 0.3 + 0.7 * darkness)),
    )


_STYLE_SHARES = (0.30, 0.20, 0.12, 0.16, 0.08, 0.08, 0.06)
