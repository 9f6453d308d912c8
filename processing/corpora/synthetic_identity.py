"""Who is drawn: everything about a face that stays with the subject.

Lengths are in head units: the face is about 1.2 wide and 1.6 high, x runs to the right of the image and y down, the
origin lies between the nose's bridge and its tip. Colours are RGB in 0..1, as displayed.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

SKIN_TONES = np.array(
    [
        [0.96, 0.82, 0.74],
        [0.92, 0.76, 0.67],
        [0.84, 0.66, 0.54],
        [0.73, 0.53, 0.40],
        [0.56, 0.38, 0.28],
        [0.40, 0.27, 0.20],
    ]
)
HAIR_COLOURS = {
    "black": (0.12, 0.10, 0.10),
    "dark brown": (0.23, 0.15, 0.11),
    "brown": (0.38, 0.25, 0.16),
    "light brown": (0.54, 0.38, 0.24),
    "blond": (0.82, 0.67, 0.43),
    "red": (0.58, 0.27, 0.14),
    "grey": (0.62, 0.61, 0.61),
}
# Shares of the hair colours, in the order above, for the lightest and for the darkest skin; between them, a mix.
HAIR_SHARES_LIGHT = np.array([0.14, 0.20, 0.20, 0.14, 0.15, 0.09, 0.08])
HAIR_SHARES_DARK = np.array([0.66, 0.22, 0.04, 0.00, 0.00, 0.00, 0.08])
IRIS_COLOURS = ((0.24, 0.15, 0.09), (0.36, 0.24, 0.14), (0.34, 0.42, 0.30), (0.32, 0.46, 0.58), (0.44, 0.50, 0.53))
IRIS_SHARES_LIGHT = np.array([0.20, 0.25, 0.15, 0.25, 0.15])
IRIS_SHARES_DARK = np.array([0.80, 0.20, 0.0, 0.0, 0.0])
CLOTH_COLOURS = (
    (0.25, 0.35, 0.52),
    (0.55, 0.25, 0.26),
    (0.24, 0.42, 0.35),
    (0.30, 0.30, 0.34),
    (0.75, 0.72, 0.67),
    (0.47, 0.37, 0.54),
)


@dataclass(frozen=True)
class Identity:
    skin: Colour
    hair: Colour
    iris: Colour
    cloth: Colour
    # Head
    face_width: float  # half of it, at the cheekbones
    face_height: float  # from the origin to the chin
    jaw_taper: float  # how much narrower the jaw is, as a share of the width
    squareness: float  # exponent of the outline: 2 is an ellipse
    wrinkling: float  # how deep skin folds, 0.35..1
    freckles: float
    # Eyes and brows
    eye_x: float
    eye_y: float
    eye_width: float  # half of it
    eye_opening: float  # from the middle to the upper lid
    eye_tilt: float
    iris_radius: float
    lashes: float
    brow_y: float  # above the eye, negative
    brow_thickness: float
    brow_arch: float
    brow_width: float
    brow_angle: float
    brow_darkness: float
    # Nose and mouth
    nose_y: float  # its base
    nose_width: float
    nose_relief: float
    mouth_y: float
    mouth_width: float  # half of it
    upper_lip: float  # height
    lower_lip: float
    lip_redness: float
    asymmetry: float  # share by which expressions are stronger on the image's right
    # Hair
    bald: bool
    hairline: float  # its height at the parting
    parting: float  # x
    sweep: float  # slope of the hairline, hair combed to one side
    hairline_curve: float  # how fast the hairline falls towards the temples
    fringe: float  # 0 none .. 1 down to the brows
    recession: float  # temples laid bare
    hair_top: float  # volume above the skull
    hair_side: float
    hair_length: float  # y to which it hangs beside the face
    curl: float
    strand_phase: float
    beard: float  # opacity, 0 none
    moustache: float
    # Glasses
    glasses: bool
    glasses_radius: float
    glasses_squareness: float
    glasses_colour: Colour


def sample_identity(rng: np.random.Generator) -> Identity:
    uniform = rng.uniform
    tone = uniform(0, len(SKIN_TONES) - 1)
    darkness = tone / (len(SKIN_TONES) - 1)
    lower = int(tone)
    skin = SKIN_TONES[lower] + (SKIN_TONES[lower + 1] - SKIN_TONES[lower]) * (tone - lower) + rng.normal(0, 0.012, 3)
    hair_shares = HAIR_SHARES_LIGHT + (HAIR_SHARES_DARK - HAIR_SHARES_LIGHT) * min(1.0, 1.3 * darkness)
    hair_name = rng.choice(list(HAIR_COLOURS), p=hair_shares / hair_shares.sum())
    hair = np.array(HAIR_COLOURS[hair_name]) * uniform(0.85, 1.15) + rng.normal(0, 0.008, 3)
    iris_shares = IRIS_SHARES_LIGHT + (IRIS_SHARES_DARK - IRIS_SHARES_LIGHT) * min(1.0, 1.3 * darkness)
    iris = IRIS_COLOURS[rng.choice(len(IRIS_COLOURS), p=iris_shares / iris_shares.sum())]

    style = rng.choice(["short", "fringe", "parted", "curly", "long", "receding", "bald"], p=_HAIR_STYLE_SHARES)
    bearded = style not in ("long", "fringe") and rng.random() < 0.38
    length = {"long": uniform(0.35, 1.1), "parted": uniform(-0.05, 0.6), "curly": uniform(0.0, 0.5)}.get(style, -0.05)
    if bearded:
        length = min(length, 0.0)
    beard = uniform(0.3, 0.85) if bearded else 0.0
    return Identity(
        skin=_colour(skin),
        hair=_colour(hair),
        iris=iris,
        cloth=CLOTH_COLOURS[rng.integers(len(CLOTH_COLOURS))],
        face_width=uniform(0.55, 0.65),
        face_height=uniform(0.75, 0.84),
        jaw_taper=uniform(0.14, 0.34),
        squareness=uniform(2.0, 2.5),
        wrinkling=uniform(0.35, 1.0),
        freckles=uniform(0.3, 1.0) if rng.random() < 0.18 * (1 - darkness) else 0.0,
        eye_x=uniform(0.235, 0.280),
        eye_y=uniform(-0.13, -0.08),
        eye_width=uniform(0.122, 0.148),
        eye_opening=uniform(0.054, 0.074),
        eye_tilt=uniform(-0.18, 0.10),
        iris_radius=uniform(0.056, 0.065),
        lashes=uniform(0.3, 1.0),
        brow_y=uniform(-0.20, -0.16),
        brow_thickness=uniform(0.016, 0.034),
        brow_arch=uniform(0.010, 0.045),
        brow_width=uniform(0.145, 0.180),
        brow_angle=uniform(-0.12, 0.07),
        brow_darkness=uniform(0.6, 0.95),
        nose_y=uniform(0.17, 0.24),
        nose_width=uniform(0.080, 0.115),
        nose_relief=uniform(0.5, 1.0),
        mouth_y=uniform(0.42, 0.47),
        mouth_width=uniform(0.19, 0.24),
        upper_lip=uniform(0.030, 0.048),
        lower_lip=uniform(0.042, 0.064),
        lip_redness=uniform(0.2, 1.0),
        asymmetry=rng.normal(0, 0.05),
        bald=style == "bald",
        hairline=uniform(-0.68, -0.54) - (0.05 if style == "receding" else 0.0),
        parting=uniform(-0.3, 0.3),
        sweep=uniform(-0.35, 0.35) if style in ("short", "parted") else uniform(-0.08, 0.08),
        hairline_curve=uniform(0.5, 1.1) if style in ("parted", "long") else uniform(0.25, 0.7),
        fringe=uniform(0.6, 1.0) if style == "fringe" or (style == "long" and rng.random() < 0.3) else 0.0,
        recession=uniform(0.5, 1.0) if style == "receding" else 0.0,
        hair_top=uniform(0.10, 0.2) if style == "curly" else uniform(0.03, 0.13),
        hair_side=uniform(0.10, 0.2) if style == "curly" else uniform(0.02, 0.07) + 0.06 * (length > 0.1),
        hair_length=length if style != "fringe" else uniform(0.0, 0.5),
        curl=uniform(0.6, 1.0) if style == "curly" else uniform(0.0, 0.15),
        strand_phase=uniform(0, 2 * np.pi),
        beard=beard,
        moustache=uniform(0.2, 1.0) if bearded else 0.0,
        glasses=bool(rng.random() < 0.2),
        glasses_radius=uniform(0.165, 0.185),
        glasses_squareness=float(rng.choice([2.0, 2.6, 4.0])),
        glasses_colour=((0.12, 0.11, 0.12), (0.32, 0.22, 0.15), (0.5, 0.46, 0.42))[rng.integers(3)],
    )


_HAIR_STYLE_SHARES = (0.25, 0.12, 0.20, 0.13, 0.16, 0.07, 0.07)


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = np.clip(values, 0.03, 0.98).tolist()
    return red, green, blue
