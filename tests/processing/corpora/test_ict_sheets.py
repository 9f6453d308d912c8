import numpy as np
import pytest
from PIL import Image

ict_sheets = pytest.importorskip("processing.corpora.ict_sheets", reason="needs numba")


def test_the_command_draws_every_sheet(face_model_root, tmp_path, monkeypatch):
    command = ["ict_sheets", "--root", str(face_model_root), "--output", str(tmp_path), "--image_size", "32"]
    monkeypatch.setattr("sys.argv", command)
    ict_sheets.main()
    names = {"identities", "action_units", "one_sided", "activities", "randomisation", "clip"}
    assert {path.stem for path in tmp_path.glob("*.png")} == {f"ict_{name}" for name in names}
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as sheet:
            assert min(sheet.size) > 32 and len(np.unique(np.asarray(sheet.convert("L")))) > 50
