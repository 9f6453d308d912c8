from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from processing.corpora.ict_geometry import texel_grid
from processing.corpora.ict_identity import DARKEST_SKIN, ICT_SKIN_TONES, linear, sample_identity
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
