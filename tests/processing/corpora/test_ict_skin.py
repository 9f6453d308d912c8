from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from processing.corpora.ict_geometry import texel_grid
from processing.corpora.ict_identity import DARKEST_SKIN, ICT_SKIN_TONES, RESTING_WRINKLES, linear, sample_identity
from processing.corpora.ict_skin import make_skin
from processing.corpora.random_streams import IDENTITY, random_generator
from processing.corpora.synthetic_identity import SKIN_TONES


def identity(number, **traits):
    return replace(sample_identity(random_generator(0, IDENTITY, number)), **traits)


def darkening(renderer, **traits):
    """(rows, columns): by how much a beard darkens the texture plane, 0 where it is not."""
    person = identity(0, **{"beard": 0.9, "moustache": 0.0, "beard_patches": 0.0, "cheek_line": -0.5, **traits})
    nothing = np.zeros(len(renderer.geometry.neutral), np.float32)
    bare, hairy = (
        make_skin(renderer.geometry, person, nothing, False, False, beard, False).albedo.mean(axis=-1)
        for beard in (False, True)
    )
    return 1 - hairy / bare


@pytest.fixture(scope="module")
def places(renderer):
    """Masks of the texture plane: cheeks beside the mouth, chin, the skin above the upper lip."""
    s, y = texel_grid()
    points = renderer.geometry.plane[renderer.geometry.landmarks]
    corner, lip, chin, upper, nose = (points[i] for i in (54, 57, 8, 51, 33))
    across = np.abs(s)
    return {
        "cheeks": (across > corner[0] + 2.5) & (across < corner[0] + 4) & (np.abs(y - lip[1]) < 0.5),
        "chin": (across < 1) & (y < lip[1] - 0.8) & (y > chin[1]),
        "moustache": (across < 1.5) & (y > upper[1] + 0.3) & (y < nose[1] - 0.6),
    }


@pytest.mark.parametrize("trait, place", [("cheek_beard", "cheeks"), ("goatee", "chin"), ("moustache", "moustache")])
def test_hair_grows_by_itself_on_cheeks_chin_and_lip(renderer, places, trait, place):
    none = {"cheek_beard": 0.0, "goatee": 0.0, "moustache": 0.0}
    grown = darkening(renderer, **(none | {trait: 1.0}))
    assert grown[places[place]].mean() > 0.2
    for other in set(places) - {place}:
        assert grown[places[other]].mean() < 0.1 * grown[places[place]].mean(), other


def test_hair_grows_in_patches(renderer):
    even, patched = (darkening(renderer, beard_patches=patches, cheek_beard=0.5) for patches in (0.0, 1.0))
    thickness = patched[even > 0.1] / even[even > 0.1]
    assert thickness.std() > 0.15 and thickness.max() > 1.2 and thickness.min() < 0.7


def test_people_differ_in_it():
    drawn = [identity(number) for number in range(300)]
    for name, low, high in (("cheek_beard", 0, 1), ("goatee", 0.3, 1), ("beard_patches", 0.2, 1)):
        values = np.array([getattr(person, name) for person in drawn])
        assert low <= values.min() < low + 0.05 and high - 0.05 < values.max() <= high, name


def test_many_people_smile_without_a_fold_beside_it():
    """Else a network reads the fold, and finds no smile on smooth skin and one beside every shadow."""
    folds = np.array([identity(number).mouth_folds for number in range(300)])
    assert (folds >= 0).all() and (folds <= 1).all()
    assert 0.25 < (folds == 0).mean() < 0.42 and (folds > 0.8).mean() > 0.08


def test_skin_is_as_dark_as_the_darkest():
    assert (ICT_SKIN_TONES[:-1] == SKIN_TONES).all() and (ICT_SKIN_TONES[-1] == DARKEST_SKIN).all()
    skins = np.array([identity(number).skin.mean() for number in range(300)])
    darkest, before = linear(DARKEST_SKIN).mean(), linear(SKIN_TONES[-1]).mean()
    assert darkest < 0.6 * before
    assert 0.08 < (skins < before).mean() < 0.25 and skins.min() < darkest + 0.3 * (before - darkest)


SMOOTH = {"creases": 0, "relief": 0.0, "mouth_shade": 0.0, "beard": 0.0, "moustache": 0.0}


def skin(renderer, texture=True, **traits):
    nothing = np.zeros(len(renderer.geometry.neutral), np.float32)
    return make_skin(renderer.geometry, identity(0, **(SMOOTH | traits)), nothing, texture, False, False, False)


def test_creases_lie_below_the_brows_and_each_is_one_more(renderer):
    _, y = texel_grid()
    smooth = skin(renderer).heights
    changed = [np.abs(skin(renderer, creases=count).heights - smooth) > 1e-6 for count in range(1, 6)]
    areas = [mask.sum() for mask in changed]
    assert areas[0] > 50 and (np.diff(areas) > 0).all()
    brows = renderer.geometry.plane[renderer.geometry.landmarks][17:27, 1].mean()
    assert not (changed[-1] & (y > brows)).any()
    assert 0.01 < np.abs(skin(renderer, creases=5).heights - smooth).max() < 0.3  # centimetres


def test_relief_is_as_high_as_it_says_and_below_the_eyes(renderer):
    smooth = skin(renderer).heights
    half, full = (skin(renderer, relief=share).heights - smooth for share in (0.5, 1.0))
    np.testing.assert_allclose(full, 2 * half, atol=1e-6)
    eyes = renderer.geometry.plane[renderer.geometry.landmarks][36:48, 1].mean()
    _, y = texel_grid()
    assert 0.05 < full[y[:, 0] < eyes - 2].std() < 0.3 and not full[y[:, 0] > eyes].any()


def test_skin_around_the_mouth_may_be_darker(renderer):
    s, y = texel_grid()
    mouth = renderer.geometry.plane[renderer.geometry.landmarks][48:60, 1].mean()
    darker = 1 - skin(renderer, mouth_shade=1.0).albedo.mean(axis=-1) / skin(renderer).albedo.mean(axis=-1)
    beside = (np.abs(s) > 2.5) & (np.abs(s) < 3.0) & (np.abs(y - mouth) < 0.5)
    assert 0.1 < darker[beside].mean() < 0.4 and np.abs(darker[(y > 2) & (np.abs(s) < 8)]).max() < 0.01


def test_texture_switches_creases_relief_and_shade_off(renderer):
    marked = {"creases": 5, "relief": 1.0, "mouth_shade": 1.0}
    plain, other = skin(renderer, texture=False), skin(renderer, texture=False, **marked)
    np.testing.assert_array_equal(plain.heights, other.heights)
    np.testing.assert_array_equal(plain.albedo, other.albedo)


def test_faces_at_rest_carry_lines_whatever_their_age():
    """Else a line stands for a movement."""
    drawn = [identity(number) for number in range(400)]
    lines = np.array([person.lines for person in drawn])
    assert lines.shape == (400, len(RESTING_WRINKLES)) and (lines >= 0).all() and lines.max() <= 0.9
    shares = dict(zip(RESTING_WRINKLES, (lines > 0).mean(axis=0), strict=True))
    assert 0.42 < shares.pop("nasolabial") < 0.58 and all(0.22 < share < 0.38 for share in shares.values())
    assert abs(np.corrcoef(lines.max(axis=1), [person.wrinkling for person in drawn])[0, 1]) < 0.15
    assert {person.creases for person in drawn} == set(range(6))
    shift = np.array([person.fold_shift for person in drawn])
    assert shift.shape == (400, 2) and 0.2 < shift.std() < 0.3 and np.abs(shift).max() <= 0.5
