import numpy as np
import pytest

from processing.corpora.behaviour import ACTION_UNITS, COLUMN
from processing.corpora.random_streams import CLIP_NUISANCE, IDENTITY, SESSION, random_generator
from processing.corpora.synthetic_faces import render_faces
from processing.corpora.synthetic_identity import sample_identity
from processing.corpora.synthetic_nuisance import frontal_nuisance, sample_clip_nuisances, sample_session


def identity(number):
    return sample_identity(random_generator(0, IDENTITY, number))


def nuisances(number, frames=4):
    session = sample_session(random_generator(0, SESSION, number))
    return sample_clip_nuisances(random_generator(0, CLIP_NUISANCE, number, 0), session, frames)


def rows(**strengths):
    row = np.zeros((1, len(ACTION_UNITS)), dtype=np.float32)
    for name, value in strengths.items():
        row[0, COLUMN[name]] = value
    return row


def frontal(number, size=96, **strengths):
    return render_faces([identity(number)], [frontal_nuisance()], rows(**strengths), size)[0].astype(np.int16)


def change(number, size=96, **strengths):
    """How much each pixel differs from the neutral face, (size, size)."""
    return np.abs(frontal(number, size, **strengths) - frontal(number, size)).mean(axis=-1)


# Where an AU acts, in image heights: worked out from where brows, eyes, nose and mouth are, not from the drawing code.
BANDS = {"forehead": (0.10, 0.42), "eyes": (0.36, 0.58), "nose": (0.36, 0.66), "mouth": (0.60, 0.98)}
REGIONS = {
    "AU1": "forehead",
    "AU2": "forehead",
    "AU4": "forehead",
    "AU5": "eyes",
    "AU6": "eyes",
    "AU7": "eyes",
    "AU9": "nose",
    **dict.fromkeys(("AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26"), "mouth"),
}


@pytest.fixture(scope="module")
def bare():
    """Subjects without glasses, beard or fringe, of both light and dark skin."""
    numbers = [n for n in range(40) if not (identity(n).glasses or identity(n).beard or identity(n).fringe)]
    by_skin = sorted(numbers, key=lambda n: sum(identity(n).skin))
    return [by_skin[0], by_skin[len(by_skin) // 2], by_skin[-1]]


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_each_unit_changes_its_own_region(name, bare):
    first, last = BANDS[REGIONS[name]]
    for number in bare:
        difference = change(number, **{name: 4.5})
        inside = difference[int(first * 96) : int(last * 96)].sum()
        assert inside > 0.6 * difference.sum(), (number, inside / difference.sum())


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_each_unit_is_visible_at_48_pixels(name, bare):
    for number in bare:
        difference = change(number, size=48, **{name: 4.5})
        visible = difference > 0.05 * frontal(number, 48).mean()  # in proportion: skin is dark or light
        assert visible.sum() >= 20, (number, visible.sum())


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_change_grows_with_intensity(name, bare):
    totals = [change(bare[1], **{name: level}).sum() for level in range(6)]
    assert totals[0] == 0
    assert np.all(np.diff(totals) > 0), totals


def test_units_look_different_from_each_other(bare):
    faces = {name: frontal(bare[1], size=64, **{name: 4.5}) for name in ACTION_UNITS}
    for one in ACTION_UNITS:
        for other in ACTION_UNITS:
            if one < other:
                assert (np.abs(faces[one] - faces[other]).mean(axis=-1) > 8).sum() >= 20, (one, other)


def test_a_face_does_not_depend_on_its_batch():
    rng = np.random.default_rng(0)
    people, places = [], []
    for number in range(5):
        people += [identity(number)] * 4
        places += nuisances(number)
    strengths = rng.uniform(0, 5, (20, 17)).astype(np.float32) * (rng.random((20, 17)) < 0.4)
    together = render_faces(people, places, strengths, 48)
    for chunk in (1, 3, 7):
        parts = [
            render_faces(people[i : i + chunk], places[i : i + chunk], strengths[i : i + chunk], 48)
            for i in range(0, 20, chunk)
        ]
        assert np.array_equal(np.concatenate(parts), together)
    backwards = render_faces(people[::-1], places[::-1], strengths[::-1], 48)
    assert np.array_equal(backwards[::-1], together)


@pytest.mark.parametrize("size", [32, 33, 48, 100, 256])
def test_sizes(size):
    face = render_faces([identity(0)], nuisances(0, 1), rows(AU12=3), size)
    assert face.shape == (1, size, size, 3) and face.dtype == np.uint8
    assert face.std() > 20


def test_a_small_face_is_the_large_one_seen_from_afar():
    for number in range(6):
        large = frontal(number, 256, AU12=4, AU25=3).reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
        small = frontal(number, 64, AU12=4, AU25=3)
        assert np.abs(large - small).mean() < 4


def test_identities_and_sessions_differ():
    faces = [frontal(number, 48) for number in range(8)]
    assert all(np.abs(faces[i] - faces[j]).mean() > 2 for i in range(8) for j in range(i))


def test_extreme_poses_are_drawn():
    from dataclasses import replace

    far = replace(frontal_nuisance(), roll=1.0, yaw=1.5, pitch=-1.5, shift_x=0.9, shift_y=-0.9, scale=1.6, blink=1.0)
    assert render_faces([identity(0)], [far], rows(**dict.fromkeys(ACTION_UNITS, 5.0)), 64).shape == (1, 64, 64, 3)


@pytest.mark.parametrize("size", [31, 257])
def test_sizes_outside_are_refused(size):
    with pytest.raises(ValueError, match="32 to 256"):
        render_faces([identity(0)], nuisances(0, 1), rows(), size)


@pytest.mark.parametrize("value", [-0.1, 5.1, np.nan])
def test_intensities_outside_are_refused(value):
    with pytest.raises(ValueError, match="between 0 and 5"):
        render_faces([identity(0)], nuisances(0, 1), rows(AU1=value), 48)


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="as many of each"):
        render_faces([identity(0)], nuisances(0, 2), rows(), 48)
    with pytest.raises(ValueError, match="as many of each"):
        render_faces([identity(0)], nuisances(0, 1), np.zeros((1, 12)), 48)
