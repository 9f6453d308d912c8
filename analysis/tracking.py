"""Which faces of successive frames are the same face."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from processing.face_detection_clef import Face

# Ours, in sizes of a face: standard deviations of where a detector puts a box and of how fast an unknown face may move
# (a second), and the spectral density of its acceleration (sizes²/s³), with which a velocity changes by about one size
# a second within a second.
PLACE_SD, SPEED_SD, RESTLESSNESS = 0.03, 1.0, 1.0
# A face may appear this far from where it is expected: so many sizes and so many standard deviations.
REACH_SIZES, REACH_SDS = 0.5, 3.0
LARGEST_SIZE_RATIO = 2.0
IMPOSSIBLE = 1e6


@dataclass
class Track:
    """A face as a Kalman filter with constant velocity knows it.

    id: its number. middle, velocity: of its box, pixels and pixels a second, in x and y. extent: width and height of
    its last box. variance: of place, of place with velocity, and of velocity, in sizes of the face; the same in x and
    y. time_s: when it was last seen.
    """

    id: int
    middle: list[float]
    velocity: list[float]
    extent: list[float]
    variance: list[float]
    time_s: float

    @classmethod
    def begin(cls, number: int, box: np.ndarray, time_s: float) -> "Track":
        extent = (box[2:] - box[:2]).tolist()
        return cls(number, _middle(box).tolist(), [0.0, 0.0], extent, [PLACE_SD**2, 0.0, SPEED_SD**2], time_s)

    def expected(self, time_s: float) -> tuple[np.ndarray, float]:
        """(4,) the box at a later time, and the standard deviation of its place in sizes."""
        middle = np.array(self.middle) + np.array(self.velocity) * (time_s - self.time_s)
        half = np.array(self.extent) / 2
        return np.concatenate([middle - half, middle + half]), float(np.sqrt(self._later(time_s)[0]))

    def seen(self, box: np.ndarray, time_s: float) -> None:
        place, both, speed = self._later(time_s)
        share, push = (value / (place + PLACE_SD**2) for value in (place, both))
        expected = np.array(self.middle) + np.array(self.velocity) * (time_s - self.time_s)
        surprise = _middle(box) - expected
        self.middle = (expected + share * surprise).tolist()
        self.velocity = (np.array(self.velocity) + push * surprise).tolist()
        self.variance = [(1 - share) * place, (1 - share) * both, speed - push * both]
        self.extent, self.time_s = (box[2:] - box[:2]).tolist(), time_s

    def rest(self, time_s: float) -> None:
        """As if it were first seen at `time_s`, where it was last: of what it did meanwhile nothing is known."""
        self.velocity, self.variance, self.time_s = [0.0, 0.0], [PLACE_SD**2, 0.0, SPEED_SD**2], time_s

    def _later(self, time_s: float) -> list[float]:
        (place, both, speed), passed = self.variance, time_s - self.time_s
        return [
            place + 2 * both * passed + speed * passed**2 + RESTLESSNESS * passed**3 / 3,
            both + speed * passed + RESTLESSNESS * passed**2 / 2,
            speed + RESTLESSNESS * passed,
        ]


class FaceTracker:
    """Gives the faces of one source numbers that they keep.

    Every known face is expected where its velocity takes it (`Track`). Faces found and faces known are paired so that
    the sum of generalised intersections over unions (Rezatofighi et al. 2019) of found and expected boxes is largest
    (Hungarian method), among pairs that lie near enough to each other and do not differ too much in size. A face that
    is out of sight for longer than `max_gap` seconds and comes back gets a new number; numbers are not used again. One
    that the frame before shows is not out of sight, however long ago that was, as where a frame a minute is taken: it
    is looked for around its place, as far as a face may come within `max_gap`. Looks are not compared: two people who
    change places while both are hidden, or between two such frames, change numbers, and a cut between cameras is not
    seen.

    The same faces and times give the same numbers, after `load_state_dict` too.

    Args:
        max_gap: seconds.

    Raises:
        ValueError: a negative gap.
    """

    def __init__(self, max_gap: float = 1.0):
        if not max_gap >= 0:
            raise ValueError(f"max_gap is {max_gap!r}; expected seconds, at least 0")
        self.max_gap = float(max_gap)
        self._tracks: list[Track] = []
        self._next_id = 0
        self._time_s: float | None = None

    def update(self, faces: Sequence[Face], time_s: float) -> list[int]:
        """The track of each face of the next frame.

        Args:
            faces: of one frame, in any order; none is fine.
            time_s: of the frame, in seconds. Damaged containers give times that go back: they count as the last one.

        Returns:
            One number a face, from 0 in order of first appearance.

        Raises:
            ValueError: a time or a box that is not finite.
        """
        boxes = np.array([face.box for face in faces], dtype=np.float64).reshape(-1, 4)
        if not np.isfinite(time_s) or not np.isfinite(boxes).all():
            raise ValueError(f"got faces {boxes.tolist()} at {time_s} s; expected finite numbers")
        before = self._time_s
        time_s = float(time_s) if before is None else max(float(time_s), before)
        self._time_s = time_s
        # Times are multiples of a clock's ticks: a gap of just `max_gap` must not depend on their rounding.
        oldest = time_s - self.max_gap - 1e-6
        self._tracks = [track for track in self._tracks if track.time_s >= oldest or track.time_s == before]
        for track in self._tracks:
            if track.time_s < oldest:
                track.rest(time_s - self.max_gap)
        ids: list[int | None] = [None] * len(boxes)
        costs = self._costs(boxes, time_s)
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            if costs[row, column] < IMPOSSIBLE:
                self._tracks[row].seen(boxes[column], time_s)
                ids[column] = self._tracks[row].id
        for position, box in enumerate(boxes):
            if ids[position] is None:
                ids[position] = self._next_id
                self._tracks.append(Track.begin(self._next_id, box, time_s))
                self._next_id += 1
        return ids

    def state_dict(self) -> dict:
        """All that later numbers depend on, as plain JSON values."""
        return {
            "max_gap": self.max_gap,
            "next_id": self._next_id,
            "time_s": self._time_s,
            "tracks": [asdict(track) for track in self._tracks],
        }

    def load_state_dict(self, state: dict) -> None:
        """Goes on where `state_dict` was taken.

        Raises:
            ValueError: it was taken with another `max_gap`, or is no such state.
        """
        missing = sorted({"max_gap", "next_id", "time_s", "tracks"} - set(state))
        if missing:
            raise ValueError(f"the state of the tracker lacks {', '.join(missing)}; got {sorted(state)}")
        if state["max_gap"] != self.max_gap:
            raise ValueError(f"the state was taken with max_gap {state['max_gap']}; this tracker has {self.max_gap}")
        self._tracks = [Track(**track) for track in state["tracks"]]
        self._next_id, self._time_s = state["next_id"], state["time_s"]

    def _costs(self, boxes: np.ndarray, time_s: float) -> np.ndarray:
        """(tracks, faces): 1 minus the generalised intersection over union, in [0, 2]; `IMPOSSIBLE` for no pair."""
        costs = np.full((len(self._tracks), len(boxes)), IMPOSSIBLE)
        for row, track in enumerate(self._tracks):
            expected, deviation = track.expected(time_s)
            for column, box in enumerate(boxes):
                size, other = _size(expected), _size(box)
                if max(size, other) > LARGEST_SIZE_RATIO * min(size, other):
                    continue
                away = np.hypot(*(_middle(box) - _middle(expected)))
                if away <= (REACH_SIZES + REACH_SDS * deviation) * max(size, other):
                    costs[row, column] = 1 - generalised_iou(expected, box)
        return costs


def generalised_iou(one: np.ndarray, other: np.ndarray) -> float:
    """In [-1, 1]: intersection over union of two boxes (4,), less the share of the box around both that neither
    fills. Boxes that do not meet are below 0, the more the farther apart they are."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.maximum(high - low, 0))
    union = _area(one) + _area(other) - shared
    hull = np.prod(np.maximum(one[2:], other[2:]) - np.minimum(one[:2], other[:2]))
    if union <= 0 or hull <= 0:
        return -1.0
    return float(shared / union - (hull - union) / hull)


def _area(box: np.ndarray) -> float:
    return float(np.prod(np.maximum(box[2:] - box[:2], 0)))


def _size(box: np.ndarray) -> float:
    return float(np.sqrt(_area(box)))


def _middle(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


__all__ = ["FaceTracker", "Track", "generalised_iou"]
