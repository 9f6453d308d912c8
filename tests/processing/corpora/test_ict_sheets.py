import functools
from dataclasses import fields

import numpy as np
import pytest

pytest.importorskip("numba")

from processing.corpora import ict_sheets
from processing.corpora.behaviour import ACTIVITIES
from processing.corpora.bilateral_behaviour import ACTION_UNITS, MIDLINE
from processing.corpora.ict_nuisance import Variation
from processing.corpora.ict_sheets import SHEETS, diverse_subjects, drawn_differently, main

SMALL = {
    "identities": {"subjects": 3},
    "action_units": {"subjects": 1},
    "one_sided": {"subjects": 1},
    "activities": {"subjects": 1},
    "randomisation": {"draws": 1},
    "clip": {},
}
# Faces that each of these small sheets has to show.
FACES = {
    "identities": 3,
    "action_units": len(ACTION_UNITS) * 4,
    "one_sided": (len(ACTION_UNITS) - len(MIDLINE)) * 2,
    "activities": len(ACTIVITIES),
    "randomisation": len(fields(Variation)) + 1,
    "clip": 24,
}


@pytest.fixture(scope="module")
def drawn(renderer):
    """Sheet, faces and captions by name; the sheets themselves are drawn."""
    taken, grid = {}, ict_sheets.grid
    with pytest.MonkeyPatch.context() as patch:
        for name, options in SMALL.items():

            def keep(faces, captions, columns, name=name):
                taken[name] = (grid(faces, captions, columns), np.stack(list(faces)), captions, columns)
                return taken[name][0]

            patch.setattr(ict_sheets, "grid", keep)
            SHEETS[name](renderer, image_size=32, **options)
    return taken


def test_every_sheet_is_tested_here():
    assert set(SHEETS) == set(SMALL) == set(FACES)


@pytest.mark.parametrize("name", SHEETS)
def test_sheets_show_what_they_promise(drawn, name):
    sheet, faces, captions, columns = drawn[name]
    assert faces.shape == (FACES[name], 32, 32, 3) and len(captions) == FACES[name]
    assert sheet.mode == "RGB" and sheet.width > 32 * columns and all(captions)
    assert faces.std(axis=(1, 2, 3)).min() > 3


def test_sheets_are_the_same_every_time(drawn, renderer):
    assert SHEETS["identities"](renderer, image_size=32, subjects=3).tobytes() == drawn["identities"][0].tobytes()


def test_captions_of_units_name_what_differs(drawn):
    _, faces, captions, _ = drawn["action_units"]
    rest = faces[0].astype(int)
    for first in range(0, len(faces), 4):
        name = ACTION_UNITS[first // 4]
        assert captions[first : first + 4] == ["neutral", f"{name} 1.5", f"{name} 3", f"{name} 4.5"]
        change = [np.abs(face - rest).sum() for face in faces[first : first + 4].astype(int)]
        assert change[0] == 0 < change[1] < change[3]


def test_one_sided_units_come_in_pairs(drawn):
    captions = drawn["one_sided"][2]
    assert captions[:2] == ["AU1 left", "AU1 right"] and captions[-1] == "AU45 right"


def test_the_switches_have_a_row_each(drawn):
    _, faces, captions, _ = drawn["randomisation"]
    assert captions == [*(field.name for field in fields(Variation)), "everything"]
    grey = faces[captions.index("greyscale")]
    assert (grey == grey[..., :1]).all() and len({face.tobytes() for face in faces}) == len(faces)


def test_only_draws_that_show_something():
    plain = np.zeros((4, 4, 3), np.uint8)
    rounding, clear = plain + 8, plain + 9
    pairs = [(plain, plain), (rounding, plain), (clear, plain)]
    assert [shown is clear for shown in drawn_differently(pairs)] == [True]


def test_a_switch_that_does_nothing_is_an_error(renderer, monkeypatch):
    monkeypatch.setattr(ict_sheets, "_smiling", lambda *_: (np.zeros((32, 32, 3), np.uint8),) * 2)
    with pytest.raises(RuntimeError, match="changes 0 of 100 faces; 1 are to be shown"):
        SHEETS["randomisation"](renderer, image_size=32, draws=1)


def test_subjects_are_unlike():
    chosen = diverse_subjects(0, 4)
    assert len(set(chosen)) == 4
    skins = [ict_sheets._identity(0, number).skin.mean() for number in chosen[:2]]
    assert max(skins) > 2 * min(skins)


def test_the_command_writes_the_files(tmp_path, monkeypatch, face_model, face_model_root):
    one_face = functools.partial(ict_sheets.identities, subjects=1)
    monkeypatch.setattr(ict_sheets, "SHEETS", dict.fromkeys(SHEETS, one_face))
    arguments = ["--root", str(face_model_root), "--output", str(tmp_path / "new"), "--image_size", "32"]
    monkeypatch.setattr("sys.argv", ["ict_sheets", *arguments])
    main()
    # Beside the other corpus' sheets of the same names.
    assert {path.name for path in (tmp_path / "new").iterdir()} == {f"ict_{name}.png" for name in SHEETS}
