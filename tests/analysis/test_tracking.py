import itertools
import json

import numpy as np
import pytest

from analysis.tracking import FaceTracker, generalised_iou
from processing.face_detection_clef import Face

FPS = 25


def face(x, y, size=100.0):
    return Face(np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2], dtype=float), np.zeros((5, 2)), 1.0)


def follow(paths, times, tracker=None, noise=0.0, seed=0):
    """Track numbers of every path at every time, None where it is out of sight. A path takes a time and gives (x, y) or
    (x, y, size), or None. Faces come in another order in every frame."""
    tracker, rng = tracker or FaceTracker(), np.random.default_rng(seed)
    ids = [[None] * len(times) for _ in paths]
    for frame, time_s in enumerate(times):
        seen = [(position, path(time_s)) for position, path in enumerate(paths)]
        seen = [seen[i] for i in rng.permutation(len(seen)) if seen[i][1] is not None]
        faces = [face(*(np.array(place) + rng.normal(0, noise, len(place)))) for _, place in seen]
        for (position, _), track in zip(seen, tracker.update(faces, time_s), strict=True):
            ids[position][frame] = track
    return ids


def numbers(ids):
    """The different numbers of a path in order, out of sight left out."""
    return [track for track, _ in itertools.groupby(i for i in ids if i is not None)]


def clock(seconds, fps=FPS):
    return np.arange(round(seconds * fps)) / fps


def test_faces_at_rest_keep_their_numbers_in_any_order():
    paths = [lambda t, x=x: (x, 200) for x in (100, 250, 400)]
    ids = follow(paths, clock(2), noise=2)
    assert sorted(numbers(path)[0] for path in ids) == [0, 1, 2] and all(len(numbers(path)) == 1 for path in ids)


@pytest.mark.parametrize("apart", [20, 6])
def test_faces_that_cross_keep_their_numbers(apart):
    # They meet after 2 s, one box over the other but for a few pixels. Where these are few, noise may take one for the
    # other for a moment.
    paths = [lambda t: (100 + 100 * t, 200), lambda t: (500 - 100 * t, 200 + apart)]
    for seed in range(8):
        ids = follow(paths, clock(4), noise=2, seed=seed)
        assert [path[-1] for path in ids] == [path[0] for path in ids]
        assert apart < 20 or [len(numbers(path)) for path in ids] == [1, 1]


def test_a_face_that_passes_behind_another_keeps_its_number():
    def behind(t):
        place = (100 + 150 * t, 200, 90)
        return None if abs(place[0] - 400) < 66 else place  # out of sight for .88 s

    ids = follow([lambda t: (400, 200, 110), behind], clock(4), noise=1)
    assert [len(numbers(path)) for path in ids] == [1, 1] and ids[1].count(None) == pytest.approx(22, abs=1)


@pytest.mark.parametrize(("gap", "tracks"), [(0.5, 1), (0.96, 1), (1.2, 2)])
def test_a_gap_ends_a_track_when_it_is_longer_than_max_gap(gap, tracks):
    ids = follow([lambda t: None if 1 <= t < 1 + gap else (200, 200)], clock(4))
    assert len(numbers(ids[0])) == tracks


def test_max_gap_is_in_seconds_whatever_the_frame_rate():
    path = lambda t: None if 1 <= t < 1.8 else (200 + 20 * t, 200)  # noqa: E731
    for fps in (5, 12.5, 60):
        assert len(numbers(follow([path], clock(3, fps))[0])) == 1
        assert len(numbers(follow([path], clock(3, fps), FaceTracker(max_gap=0.5))[0])) == 2
    uneven = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.1, 60))
    assert len(numbers(follow([path], uneven)[0])) == 1


@pytest.mark.parametrize("step", [30 * 1001 / 30_000, 10.0, 3600.0])
def test_however_seldom_a_frame_is_taken_faces_near_their_place_keep_their_numbers(step):
    times = np.arange(12) * step
    shifted = lambda t: (300 + 40 * (round(t / step) % 2), 200)  # noqa: E731
    ids = follow([lambda t: (100, 200), shifted], times, noise=2)
    assert [len(numbers(path)) for path in ids] == [1, 1]
    # A frame without the face, and it is out of sight for longer than `max_gap`.
    ids = follow([lambda t: None if t == times[4] else (100, 200)], times)
    assert len(numbers(ids[0])) == 2
    # However long ago, a face comes no farther than it may within `max_gap`.
    ids = follow([lambda t: (100 + 600 * (t == times[4]), 200)], times)
    assert numbers(ids[0]) == [0, 1, 2]


def test_who_comes_gets_a_new_number_and_who_left_never_gives_theirs_away():
    def until(t):
        return (100, 200) if t < 1 else None

    def later(t):
        return (300, 200) if t >= 2.5 else None

    def same_place(t):
        return (100, 200) if t >= 3 else None

    ids = follow([until, later, same_place, lambda t: (500, 200)], clock(4))
    first = sorted(numbers(path)[0] for path in ids)
    assert first == [0, 1, 2, 3] and all(len(numbers(path)) == 1 for path in ids)
    assert numbers(ids[1]) == [2] and numbers(ids[2]) == [3]


def test_a_far_or_much_larger_face_is_another_one():
    tracker = FaceTracker()
    assert tracker.update([face(100, 100)], 0.0) == [0]
    assert tracker.update([face(300, 100)], 0.04) == [1]
    assert tracker.update([face(100, 100, 250)], 0.08) == [2]
    assert tracker.update([face(100, 100)], 0.12) == [0]


def test_a_fast_face_is_followed_by_its_motion():
    # .9 of its size a frame, between two that rest: boxes of neighbouring frames hardly meet.
    fast = lambda t: (450 * t, 200)  # noqa: E731
    ids = follow([fast, lambda t: (450, 260), lambda t: (720, 140)], clock(2, 5))
    assert [len(numbers(path)) for path in ids] == [1, 1, 1]
    # Once its velocity is known it is expected far from where it was.
    tracker = FaceTracker()
    follow([lambda t: (200 * t, 200)], clock(1), tracker)
    assert tracker.update([face(200, 200), face(340, 200)], 1.7) == [1, 0]


def test_no_faces_and_no_frames_are_fine():
    tracker = FaceTracker()
    assert tracker.update([], 0.0) == [] and tracker.update([face(1, 1)], 0.1) == [0] and tracker.update([], 0.2) == []
    assert tracker.update([face(1, 1)], 0.3) == [0]


def test_times_that_go_back_count_as_the_last():
    tracker = FaceTracker()
    ids = [tracker.update([face(100 + 2 * i, 100)], t) for i, t in enumerate((0.0, 0.04, 0.02, 0.02, 0.08))]
    assert ids == [[0], [0], [0], [0], [0]]
    assert tracker.update([], 0.1) == [] and tracker.update([face(108, 100)], 1.09) == [1]


def test_it_goes_on_from_its_state_as_if_never_stopped():
    paths = [
        lambda t: (100 + 100 * t, 200),
        lambda t: (500 - 100 * t, 206),
        lambda t: None if 1.2 < t < 1.9 else (300, 400),
    ]
    times = clock(4)
    rng = np.random.default_rng(3)
    frames = []
    for t in times:
        places = [path(t) for path in paths]
        frames.append([face(*(np.array(place) + rng.normal(0, 3, 2))) for place in places if place is not None])
    whole = FaceTracker()
    expected = [whole.update(faces, t) for faces, t in zip(frames, times, strict=True)]
    for stop in (1, 33, 50, 70):
        first = FaceTracker()
        found = [first.update(faces, t) for faces, t in zip(frames[:stop], times, strict=False)]
        second = FaceTracker()
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        found += [second.update(faces, t) for faces, t in zip(frames[stop:], times[stop:], strict=True)]
        assert found == expected and second.state_dict() == whole.state_dict()


def test_a_state_belongs_to_its_settings():
    state = FaceTracker(max_gap=2).state_dict()
    with pytest.raises(ValueError, match="taken with max_gap 2.0; this tracker has 1.0"):
        FaceTracker().load_state_dict(state)
    with pytest.raises(ValueError, match="lacks next_id, tracks"):
        FaceTracker().load_state_dict({"max_gap": 1.0, "time_s": None})


def test_what_is_no_time_or_box_is_refused():
    with pytest.raises(ValueError, match="finite"):
        FaceTracker().update([face(1, 1)], float("nan"))
    with pytest.raises(ValueError, match="finite"):
        FaceTracker().update([face(np.inf, 1)], 0.0)
    with pytest.raises(ValueError, match="max_gap is -1"):
        FaceTracker(max_gap=-1)


def test_generalised_iou_against_counted_pixels():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    for _ in range(50):
        one, other = (np.concatenate([low := rng.integers(0, 25, 2), low + rng.integers(1, 15, 2)]) for _ in range(2))
        inside = [(x >= b[0]) & (x < b[2]) & (y >= b[1]) & (y < b[3]) for b in (one, other)]
        hull = np.concatenate([np.minimum(one, other)[:2], np.maximum(one, other)[2:]])
        around = ((x >= hull[0]) & (x < hull[2]) & (y >= hull[1]) & (y < hull[3])).sum()
        union = (inside[0] | inside[1]).sum()
        expected = (inside[0] & inside[1]).sum() / union - (around - union) / around
        assert generalised_iou(one.astype(float), other.astype(float)) == pytest.approx(expected)
    assert generalised_iou(np.zeros(4), np.zeros(4)) == -1
