"""Which way up a face lies in a picture.

YuNet was trained on upright faces. It finds tilted ones, too, upside down ones included, but gives them points as if
they stood upright: on 54 photographs turned about, the points were off by .03 eye distances upright, .26 at 45 degrees,
.76 at 90 and 1.28 at 180. Its scores tell: above .94 upright, at most .92 at 45 degrees and more. So faces below that
are cut out, turned by eighths of a circle and looked at again; a turn whose score is clearly better is right. Of faces
that lie on their side it misses many. Most of those leave a low score, and are turned, too; and without a sure one the
picture is also looked at lying on either side. Of 240 photographs pasted beside another one, lying on their side, 194
were found without the low scores and 238 with them; in 420 pictures of one upright face, as it was, enlarged, dark or
blurred, nothing changed, nor in 105 of parts of faces put together anew.

Then the points of those photographs are off by .03 to .1 whichever way they lie. Of 12 rendered people whom nothing was
set on, turned by up to 30 degrees to the side, sharp, small, blurred or dark, 1,344 pictures tilted by multiples of 45
degrees: 95 % found (82 % of the dark ones), 99.8 % of them the right way up, as are all of 192 that were upright; at 45
degrees to the side 98 % and 96 %; with all below the nose covered 96 % and 96 %. `checkpoints/clef-small` reads tilted
faces as well as upright ones then: on 640 frames of 40 rendered people, mean AUROC of the action units .94 at 0, 20,
40, 60, 90, 135, 180 and 270 degrees.
"""

import math
from collections.abc import Callable

import numpy as np

from .opencv_clef import opencv

DOUBTFUL = 0.92  # faces with a lower score are looked at again
CLEARLY = 0.01  # by which the score of the best turn exceeds the upright one's
TURNS = 8
PATCH, EXACT = 96, 160  # pixels of the square that is looked at for the turn, and then for the points
AROUND = 1.6  # its side, in longer sides of the face's box
MOST = 20  # faces of a picture that are looked at again, the largest: of crowds it would take seconds
FAINT, MOST_FAINT = 0.1, 4  # lowest score of places that may be tilted faces, and of how many the best are looked at
OVERLAP = 0.2  # of a faint one and a face: hair and ears beside a face may look like another one
SURE_OF_FAINT = 0.9  # score of such a one when turned: whole faces reached .905 to .943, parts of faces .89
LYING = 256  # pixels of the longer side of a picture without a face, in which lying ones are looked for
SURE = 0.85  # score of a face that is found there
SAME = 0.5  # mean distance of the points of two faces that are one, in eye distances

Look = Callable[[np.ndarray], np.ndarray]


def find_tilted(picture: np.ndarray, rows: np.ndarray, look: Look, faint: np.ndarray | None = None) -> np.ndarray:
    """YuNet's `rows`, with the points and the score of tilted faces as they are found when these are turned upright;
    besides, `faint` ones that are surely faces when turned, and, where no row is sure, faces that lie on their side.

    Args:
        picture: uint8 (H, W, 3).
        rows: float (M, 15), box (left, top, width, height), five points and score, in its pixels. Boxes stay as they
            are; of two that are one tilted face, the larger is kept.
        look: finds faces in a smaller picture, as rows of this kind.
        faint: more rows of this kind, whose scores are too low for faces.
    """
    rows = rows[np.argsort(-rows[:, 2] * rows[:, 3], kind="stable")]
    found: list[np.ndarray] = []
    for number, row in enumerate(rows):
        turned = _turned(picture, row, look) if row[14] < DOUBTFUL and number < MOST else None
        if turned is None or not any(_is_same(turned, other) for other in found):
            found.append(row if turned is None else turned)
    if not any(row[14] >= SURE for row in found):
        # Upright faces, too, are now and then found from the side.
        lying = [row for face in _find_lying(picture, look) if (row := _turned(picture, face, look)) is not None]
        found = [*lying, *(row for row in found if not any(_covers(other, row) for other in lying))]
    if faint is not None:
        found += _find_faint(picture, faint, found, look)
    return np.stack(found) if found else rows


def _find_faint(picture: np.ndarray, faint: np.ndarray, found: list[np.ndarray], look: Look) -> list[np.ndarray]:
    """Rows of tilted faces among the `faint` ones that lie beside those `found`."""
    beside = [row for row in faint if not any(_overlap(row, other) > OVERLAP for other in found)]
    more: list[np.ndarray] = []
    for row in sorted(beside, key=lambda row: -row[14])[:MOST_FAINT]:
        turned = _turned(picture, row, look)
        if (
            turned is not None
            and turned[14] >= SURE_OF_FAINT
            and not any(_is_same(turned, other) for other in [*found, *more])
        ):
            more.append(turned)
    return more


def _find_lying(picture: np.ndarray, look: Look) -> np.ndarray:
    """Rows, (M, 15), of faces that are found, and surely, when the picture lies on one side or on the other."""
    small, scale = _shrunk(picture, LYING / max(picture.shape[:2]))
    best = np.zeros((0, 15))
    for turns in (1, 3):  # quarters, counter-clockwise
        found = look(np.ascontiguousarray(np.rot90(small, turns)))
        found = found[np.isfinite(found).all(axis=1) & (found[:, 14] >= SURE)]
        if len(found) and found[:, 14].max() > best[:, 14].max(initial=0):
            corners = np.stack([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
            places = np.concatenate([corners, found[:, 4:14].reshape(-1, 5, 2)], axis=1)[..., ::-1]
            if turns == 1:
                places[..., 0] = small.shape[1] - places[..., 0]
            else:
                places[..., 1] = small.shape[0] - places[..., 1]
            places = places / scale
            corner = places[:, :2].min(axis=1)
            extent = places[:, :2].max(axis=1) - corner
            best = np.concatenate([corner, extent, places[:, 2:].reshape(-1, 10), found[:, 14:]], axis=1)
    return best


def _turned(picture: np.ndarray, row: np.ndarray, look: Look) -> np.ndarray | None:
    """The row of a face that is clearly tilted, None for others."""
    middle, side = row[:2] + row[2:4] / 2, AROUND * max(1.0, *row[2:4].tolist())
    seen = _squares(picture, side, PATCH, look)
    upright, *tilted = (seen(middle, 360 / TURNS * turn) for turn in range(TURNS))
    score, points = max(tilted, key=lambda found: found[0])
    if score <= upright[0] + CLEARLY:
        return None
    across = points[1] - points[0]
    exact = _squares(picture, side, EXACT, look)(points.mean(axis=0), math.degrees(math.atan2(across[1], across[0])))
    score, points = max(exact, (score, points), key=lambda found: found[0])
    return np.concatenate([row[:4], points.ravel(), [score]])


def _squares(picture: np.ndarray, side: float, size: int, look: Look):
    """A function of centre and degrees: score and points of the face that `look` finds in the middle of a square of
    this side, resized to `size` pixels, with the picture turned back by so much; score 0 without a face."""
    cv2 = opencv()
    picture, scale = _shrunk(picture, size / side)  # warping alone would skip pixels

    def seen(centre: np.ndarray, degrees: float) -> tuple[float, np.ndarray]:
        matrix = cv2.getRotationMatrix2D((centre * scale).tolist(), degrees, max(1.0, size / side))
        matrix[:, 2] += size / 2 - centre * scale
        by_index = matrix.copy()  # OpenCV warps the middles of pixels, which lie at .5
        by_index[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5
        found = look(cv2.warpAffine(picture, by_index, (size, size), borderMode=cv2.BORDER_REPLICATE))
        away = np.hypot(*(found[:, :2] + found[:, 2:4] / 2 - size / 2).T)
        found = found[np.isfinite(found).all(axis=1) & (away < size / 4)]  # not a neighbour
        if not len(found):
            return 0.0, np.zeros((5, 2))
        best = found[found[:, 14].argmax()]
        back = cv2.invertAffineTransform(matrix)
        return best[14], (best[4:14].reshape(5, 2) @ back[:, :2].T + back[:, 2]) / scale

    return seen


def _shrunk(picture: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture at about `scale`, as it is from 1 on, and (2,) what takes (x, y) there."""
    if scale >= 1:
        return picture, np.ones(2)
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    small = opencv().resize(picture, (width, height), interpolation=opencv().INTER_AREA)
    return small, np.array([width / picture.shape[1], height / picture.shape[0]])


def _covers(face: np.ndarray, other: np.ndarray) -> bool:
    """Whether the middle of the other's box lies in the face's."""
    middle = other[:2] + other[2:4] / 2 - face[:2]
    return bool((middle > 0).all() and (middle < face[2:4]).all())


def _overlap(face: np.ndarray, other: np.ndarray) -> float:
    """What two boxes share, of the smaller one."""
    low, high = np.maximum(face[:2], other[:2]), np.minimum(face[:2] + face[2:4], other[:2] + other[2:4])
    smaller = min(face[2] * face[3], other[2] * other[3])
    return float(np.prod(np.maximum(high - low, 0)) / max(smaller, 1e-9))


def _is_same(face: np.ndarray, other: np.ndarray) -> bool:
    points, others = face[4:14].reshape(5, 2), other[4:14].reshape(5, 2)
    return np.hypot(*(points - others).T).mean() < SAME * np.hypot(*(points[1] - points[0]))
