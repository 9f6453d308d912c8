"""`clef export`: what it writes, and what it refuses."""

import errno
import json
import sys

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs opencv-python-headless")

from clef.cli import FINE, NOT_WRITTEN, WRONG_USAGE, main
from clef.export import make_parser


@pytest.fixture
def onnxruntime():
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    return pytest.importorskip("onnxruntime", reason="needs the extra onnx")


@pytest.fixture
def shipped():
    from analysis.model import SHIPPED_CHECKPOINT

    return SHIPPED_CHECKPOINT


def export(*arguments):
    return main(["export", *map(str, arguments)])


def test_help_names_every_option_and_exit_code(capsys):
    assert export("--help") == FINE
    text = capsys.readouterr().out
    for option in make_parser()._actions:
        assert option.help and all(name in text for name in option.option_strings)
    assert all(f"  {code} " in text for code in (FINE, WRONG_USAGE, NOT_WRITTEN))


def test_the_shipped_checkpoint_runs_without_torch(onnxruntime, shipped, tmp_path, capsys):
    path = tmp_path / "new" / "clef-small.onnx"
    assert export(shipped, "-o", path) == FINE
    assert "28 labels" in capsys.readouterr().out and [file.name for file in path.parent.iterdir()] == [path.name]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert about["model"] == "clef-small" and about["license"] == "apache-2.0"
    given, labels = json.loads(about["input"]), json.loads(about["labels"])
    pixels = np.zeros((3, 3, given["height"], given["width"]), np.float32)
    _, probabilities, _ = session.run(None, {"pixel_values": pixels})
    assert probabilities.shape == (3, len(labels))


def test_what_exists_is_kept_without_overwrite(onnxruntime, shipped, tmp_path, capsys, monkeypatch):
    from analysis import onnx_export

    path = tmp_path / "e.onnx"
    path.write_text("mine")
    assert export(shipped, "-o", path) == WRONG_USAGE
    assert "--overwrite" in capsys.readouterr().err and path.read_text() == "mine"
    monkeypatch.setattr(onnx_export, "export_classifier", lambda classifier, path: path.write_text("new"))
    assert export(shipped, "-o", path, "--overwrite") == FINE and path.read_text() == "new"


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (RuntimeError("it differs"), NOT_WRITTEN, "is not written: it differs"),
        (OSError(errno.ENOSPC, "No space left on device"), NOT_WRITTEN, "could not be written: the disk is full"),
        (ValueError("torch cannot"), WRONG_USAGE, "clef export: torch cannot"),
    ],
)
def test_why_nothing_is_written_is_told(onnxruntime, shipped, tmp_path, capsys, monkeypatch, error, code, told):
    from analysis import onnx_export

    def fails(classifier, path):
        raise error

    monkeypatch.setattr(onnx_export, "export_classifier", fails)
    assert export(shipped, "-o", tmp_path / "e.onnx") == code
    assert told in capsys.readouterr().err and not (tmp_path / "e.onnx").exists()


def test_wrong_usage(onnxruntime, shipped, tmp_path, capsys):
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "empty").mkdir()
    output = tmp_path / "e.onnx"
    for arguments, told in (
        ([shipped], "--output"),
        ([shipped, "-o", tmp_path / "e.pt"], "does not end with .onnx"),
        ([shipped, "-o", tmp_path / "folder.onnx"], "is a folder"),
        ([tmp_path / "none", "-o", output], "no checkpoint can be loaded from"),
        ([tmp_path / "empty", "-o", output], "no checkpoint can be loaded from"),
        ([shipped, "-o", output, "--labels", "AU99"], "is none of the action units that are known by number"),
    ):
        assert export(*arguments) == WRONG_USAGE, arguments
        assert told in capsys.readouterr().err and not output.exists()


def test_missing_packages_are_named_before_anything_is_loaded(shipped, tmp_path, capsys, monkeypatch):
    from analysis import model

    monkeypatch.setattr(model, "load_classifier", lambda *_, **__: pytest.fail("it was loaded"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export(shipped, "-o", tmp_path / "e.onnx") == WRONG_USAGE
    assert "pip install 'clef-faces[onnx]'" in capsys.readouterr().err
