"""How existing crops differ from those that a recipe makes: scale, rotation and shift, measured with a detector."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from processing.corpora.prepared import load_prepared, read_prepared_metadata
from processing.face_alignment_clef import EYES_NOSE_1, CropRecipe, FaceDetector, crop_matrix
from processing.image_reading_clef import DECODING_ERRORS, to_rgb_image
from processing.wording import counted
from train_scripts.face_crops import GREY
from train_scripts.photo_set import PICTURES

# Ours. On crops that the recipe made of portraits, 48 to 224 px, YuNet measures means within 3 %, .7 degrees and 1 %,
# with standard deviations of 2 %, 1.5 degrees and .6 %.
SCALE_TOLERANCE, ROTATION_TOLERANCE, SHIFT_TOLERANCE = 0.04, 2.0, 0.02
SPREAD_TOLERANCE = 1.5  # times those, of a standard deviation

BORDER = 0.15  # of the side, around a crop while its face is looked for; YuNet is steadiest with it


@dataclass(frozen=True)
class CropDifference:
    """What was measured on crops, one entry a crop in which a face was found.

    Attributes:
        scale: (N,) size of the face, 1 = as the recipe makes it; 1.12: eyes 12 % further apart.
        rotation: (N,) degrees, positive = clockwise in the picture.
        shift: (N, 2) of the face to the right and down, in sides of the crop.
        without_face: names of the crops in which the detector found no face.
        unreadable: names of those that are no picture.
        not_square: how many are not; a network's resizing would stretch them.
    """

    scale: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray
    without_face: list[str]
    unreadable: list[str]
    not_square: int

    def as_dict(self) -> dict:
        """JSON: counts, and mean and standard deviation over the crops; None where no face was found."""
        result = {
            "crops": len(self.scale) + len(self.without_face) + len(self.unreadable),
            "measured": len(self.scale),
            "without_face": len(self.without_face),
            "unreadable": len(self.unreadable),
            "not_square": self.not_square,
        }
        series = {"scale": self.scale, "rotation_degrees": self.rotation}
        series |= {"shift_right": self.shift[:, 0], "shift_down": self.shift[:, 1]}
        for name, values in series.items():
            found = len(values) > 0
            result[name] = {"mean": float(values.mean()), "sd": float(values.std())} if found else None
        return result

    def differences(self) -> list[str]:
        """What differs from the recipe on average, or varies more than it should; empty if the crops agree."""
        if not len(self.scale):
            return ["no face was found in any crop"]
        scale, rotation = self.scale.mean() - 1, self.rotation.mean()
        right, down = self.shift.mean(axis=0)
        said = []
        if abs(scale) > SCALE_TOLERANCE:
            said.append(f"eyes {abs(scale):.0%} {'further apart' if scale > 0 else 'closer together'} than the recipe")
        if abs(rotation) > ROTATION_TOLERANCE:
            said.append(f"faces turned {abs(rotation):.1f}° {'clockwise' if rotation > 0 else 'anticlockwise'}")
        for value, plus, minus in ((right, "to the right", "to the left"), (down, "down", "up")):
            if abs(value) > SHIFT_TOLERANCE:
                said.append(f"faces {abs(value):.0%} of the crop's side {plus if value > 0 else minus}")
        place = self.shift.std(axis=0).max()
        spreads = [
            ("sizes", self.scale.std(), SCALE_TOLERANCE, f"{self.scale.std():.0%}"),
            ("rotations", self.rotation.std(), ROTATION_TOLERANCE, f"{self.rotation.std():.1f}°"),
            ("places", place, SHIFT_TOLERANCE, f"{place:.0%} of the side"),
        ]
        said += [
            f"{what} of the faces vary (standard deviation {shown}): not aligned face by face"
            for what, spread, tolerance, shown in spreads
            if spread > SPREAD_TOLERANCE * tolerance
        ]
        return said

    def lines(self, recipe: CropRecipe = EYES_NOSE_1) -> list[str]:
        """For the terminal."""
        numbers = self.as_dict()
        lines = [
            f"{counted(numbers['crops'], 'crop')}: {numbers['measured']} measured, {numbers['without_face']} without a "
            f"face that the detector finds, {numbers['unreadable']} unreadable, {numbers['not_square']} not square"
        ]
        if numbers["measured"]:
            lines += [
                f"scale {_mean_sd(numbers['scale'], 100)} % of the recipe's",
                f"rotation {_mean_sd(numbers['rotation_degrees'])}° clockwise",
                f"shift {_mean_sd(numbers['shift_right'], 100)} % of the side to the right, "
                f"{_mean_sd(numbers['shift_down'], 100)} % down",
            ]
        said = self.differences()
        verdict = "; ".join(said) if said else "they agree within what the detector can tell"
        return [*lines, f"against the recipe {recipe.name!r}: {verdict}"]


def check_crops(
    crops: Iterable[tuple[str, Image.Image | None]], detector: FaceDetector, recipe: CropRecipe = EYES_NOSE_1
) -> CropDifference:
    """Measure crops, (name, picture or None for an unreadable one), against a recipe.

    Eyes and nose tip are found in each crop and fitted to the recipe's targets as the recipe itself does, so that a
    crop that it made differs by nothing but the detector's noise, whatever the face's proportions. Crops that are not
    square are measured as a network sees them, stretched to a square.
    """
    scale, rotation, shift, without_face, unreadable, not_square = [], [], [], [], [], 0
    middle = recipe.targets(1).mean(axis=0)
    for name, crop in crops:
        if crop is None:
            unreadable.append(name)
            continue
        points = _points_in(crop, detector)
        not_square += crop.width != crop.height
        try:
            if points is None:
                raise ValueError
            matrix = crop_matrix(points, 1, recipe)
        except ValueError:
            without_face.append(name)
            continue
        turn = complex(matrix[0, 0], matrix[1, 0])  # from the crop to the recipe; what we say is the way back
        scale.append(1 / abs(turn))
        rotation.append(-np.degrees(np.angle(turn)))
        shift.append(np.linalg.solve(matrix[:, :2], middle - matrix[:, 2]) - middle)
    return CropDifference(
        np.array(scale), np.array(rotation), np.array(shift).reshape(-1, 2), without_face, unreadable, not_square
    )


def read_crops(folder: str | Path, most: int = 0) -> tuple[Iterator[tuple[str, Image.Image | None]], int, int]:
    """Crops of a prepared folder (rows whose face was found) or of a folder of pictures, read as they are gone through.

    Args:
        most: take this many, evenly spread; 0: all.

    Returns:
        (name, picture or None if unreadable) of each, how many these are, and how many there are in the folder.

    Raises FileNotFoundError when there is none.
    """
    folder = Path(folder)
    if read_prepared_metadata(folder) is not None:
        corpus = load_prepared(folder)
        there = np.flatnonzero(corpus["face_found"][:]).tolist()
    else:
        there = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
        corpus = None
    if not there:
        raise FileNotFoundError(f"no crops in {str(folder)!r}: expected picture files, or what prepare.py wrote")
    chosen = there
    if most and most < len(there):
        chosen = [there[position] for position in np.linspace(0, len(there) - 1, most).round().astype(int)]
    if corpus is not None:
        crops = ((f"row {row}", corpus[row]["image"]) for row in chosen)
    else:
        crops = ((path.relative_to(folder).as_posix(), _open(path)) for path in chosen)
    return crops, len(chosen), len(there)


def _open(path: Path) -> Image.Image | None:
    try:
        return to_rgb_image(path)
    except DECODING_ERRORS:
        return None


def _points_in(crop: Image.Image, detector: FaceDetector) -> np.ndarray | None:
    """(5, 2) points of the largest face, as fractions of the crop's sides; None without a face."""
    side = max(crop.size)
    border = round(BORDER * side)
    # A detector expects something around a face.
    padded = Image.new("RGB", (side + 2 * border,) * 2, (GREY,) * 3)
    padded.paste(to_rgb_image(crop).resize((side, side), Image.Resampling.BICUBIC), (border, border))
    faces = detector.detect(padded)
    if not faces:
        return None
    largest = max(faces, key=lambda face: np.prod(face.box[2:] - face.box[:2]))
    return (np.asarray(largest.points) - border) / side


def _mean_sd(numbers: dict, factor: float = 1.0) -> str:
    return f"{factor * numbers['mean']:.1f} ± {factor * numbers['sd']:.1f}"
