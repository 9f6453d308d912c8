"""The command line: help, exit codes, and what is said on the way."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clef.analyze import make_parser
from clef.cli import FINE, INTERRUPTED, NOT_WRITTEN, NOTHING_FOUND, SOME_FAILED, WRONG_USAGE, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def face(test_data):
    """A photograph of a face, and YuNet's file."""
    photos = sorted((test_data / "photos").glob("**/*.jpg")) or sorted((test_data / "photos").glob("**/*.png"))
    yunet = test_data / "weights" / "face_detection_yunet.onnx"
    if not (photos and yunet.is_file()):
        pytest.skip("needs photos and YuNet's file in CLEF_TEST_DATA")
    return photos[0], yunet


@pytest.fixture
def grey(tmp_path):
    pytest.importorskip("cv2", reason="needs opencv-python-headless")
    Image.new("RGB", (64, 48), (90, 90, 90)).save(tmp_path / "grey.png")
    return tmp_path / "grey.png"


def analyze(*arguments):
    return main(["analyze", *map(str, arguments)])


def test_help_names_every_command_and_every_exit_code(capsys):
    assert main(["--help"]) == FINE
    text = capsys.readouterr().out
    assert "analyze" in text and "as a table" in text
    assert analyze("--help") == FINE
    text = capsys.readouterr().out
    for option in make_parser()._actions:
        assert option.help and all(name in text for name in option.option_strings)
    assert all(
        f"  {code} " in text for code in (FINE, WRONG_USAGE, NOTHING_FOUND, SOME_FAILED, NOT_WRITTEN, INTERRUPTED)
    )
    assert main([]) == WRONG_USAGE


def test_the_version_is_told(capsys):
    assert main(["--version"]) == FINE
    assert "clef-faces" in capsys.readouterr().out


def test_help_is_quick_to_come_as_it_imports_nothing_heavy():
    code = (
        "from clef.cli import main; main(['analyze', '--help']); import sys; print(list(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "usage: clef analyze" in result.stdout
    assert not any(f"'{name}'" in result.stderr for name in ("torch", "numpy", "transformers", "pyarrow", "analysis"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["analyze"],
        ["analyze", "a.png"],
        ["analyze", "a.png", "-o", "t.xlsx"],
        ["analyze", "a.png", "-o", "t.csv", "--every", "0"],
        ["analyze", "a.png", "-o", "t.csv", "--from", "soon"],
        ["analyze", "a.png", "-o", "t.csv", "--resume", "--overwrite"],
        ["analyze", "a.png", "-o", "t.csv", "--magic"],
        ["analyze", "a.png", "-o", "t.csv", "--threshold", "AU12"],
    ],
)
def test_wrong_usage(arguments, capsys):
    assert main(arguments) == WRONG_USAGE
    assert "usage: clef" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("12.5", 12.5), ("1:30", 90.0), ("1:02:30.5", 3750.5)])
def test_times_are_read_as_people_write_them(text, seconds):
    assert make_parser().parse_args(["a", "-o", "t.csv", "--from", text]).start == seconds


def test_options_that_do_not_fit(grey, tmp_path, capsys):
    for options in (
        ["--model", tmp_path / "nowhere"],
        ["--detector", "magic"],
        ["--detector", tmp_path / "gone.onnx"],
        ["--from", "5", "--to", "5"],
        ["--labels", "smile", "smile"],
        ["--device", "nowhere"],
        ["--threshold", "AU99=0.3"],
    ):
        assert analyze(grey, "-o", tmp_path / "t.csv", *options) == WRONG_USAGE
        assert capsys.readouterr().err.startswith("clef analyze: ") and not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize("option", ["--overlay", "--plot"])
def test_drawings_do_not_become_inputs_of_the_next_run(grey, tmp_path, capsys, option):
    folder = tmp_path / "in"
    (folder / "takes").mkdir(parents=True)
    shutil.copy(grey, folder / "takes")
    place = folder / "takes" / "drawn.png"
    assert analyze(folder, "-o", tmp_path / "t.csv", "--detector", "haar", option, place) == WRONG_USAGE
    told = capsys.readouterr().err
    assert f"{option} {str(place)!r} lies in the input folder {str(place.parent)!r}" in told and "outside" in told
    assert not (tmp_path / "t.csv").exists()


def test_outputs_that_cannot_be_are_refused_before_the_analysis(grey, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for name in ("o.png", "s.csv", "t2.csv"):
        (tmp_path / name).mkdir()
    clip = tmp_path / "clip.mp4"
    clip.write_text("no video")  # told by its suffix
    frames = [Image.new("RGB", (64, 48), (shade, 90, 90)) for shade in (10, 90)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=200)
    for source, option, path, reason in (
        (grey, "--overlay", "o.wmv", "expected .mp4, .png for a picture, or a folder"),
        (grey, "--overlay", "o.mp4", "is a picture; name a .png file"),
        (clip, "--overlay", "v.png", "is a video; name an .mp4 file"),
        (tmp_path / "moving.gif", "--overlay", "v.png", "is a video; name an .mp4 file"),
        (grey, "--overlay", "o.png", "is a folder"),
        (grey, "--overlay", "file", "is no folder"),
        (grey, "--overlay", "file/o.png", "is no folder"),
        (grey, "--plot", "file/plots", "is no folder"),
        (grey, "--summary", "s.csv", "is a folder"),
        (grey, "--summary", "file/s.csv", "is no folder"),
    ):
        options = ["-o", tmp_path / "t.csv", "--detector", "haar", option, tmp_path / path]
        assert analyze(source, *options, "--overwrite") == WRONG_USAGE, (option, path)
        assert reason in capsys.readouterr().err and not (tmp_path / "t.csv").exists()
    for path in ("t2.csv", "file/t.csv"):
        assert analyze(grey, "-o", tmp_path / path, "--detector", "haar", "--overwrite") == WRONG_USAGE
        assert "folder" in capsys.readouterr().err
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write everywhere
    options = ["-o", tmp_path / "t.csv", "--detector", "haar", "--plot", tmp_path / "plots"]
    assert analyze(grey, *options) == WRONG_USAGE
    assert "nothing can be written in the folder" in capsys.readouterr().err and not (tmp_path / "t.csv").exists()
    assert (tmp_path / "file").read_text() == "mine"


def test_nothing_found(grey, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.doc").write_text("x")
    assert analyze(tmp_path / "empty", "-o", tmp_path / "t.csv", "--detector", "haar") == NOTHING_FOUND
    told = capsys.readouterr().err
    assert "no image and no video" in told and "1 .doc" in told and not (tmp_path / "t.csv").exists()
    assert analyze(grey, grey, "-o", tmp_path / "t.csv", "--detector", "haar") == NOTHING_FOUND
    told = capsys.readouterr().err
    assert "no face in any frame" in told and "analysed once: 1 file\n" in told
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 2  # the frame has its row all the same


@pytest.mark.parametrize("command", [["analyze", "-o", "t.csv"], ["explain", "--label", "AU12", "-o", "e.png"]])
def test_a_picture_that_is_too_large_is_refused_in_one_line(tmp_path, capsys, recwarn, monkeypatch, command):
    pytest.importorskip("cv2", reason="needs opencv-python-headless")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "large.pgm").write_bytes(b"P5 10000 10000 255\n")
    assert main([*command, "--detector", "haar", "large.pgm"]) == SOME_FAILED
    assert "at most 80 million" in capsys.readouterr().err
    assert not [warning for warning in recwarn if "bomb" in str(warning.message)]


def test_where_every_input_failed_nothing_is_left(grey, tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("no image")
    made = {"--summary": tmp_path / "s.csv", "--overlay": tmp_path / "drawn.png"}
    options = ["-o", tmp_path / "t.csv", "--detector", "haar", *(part for pair in made.items() for part in pair)]
    assert analyze(tmp_path / "text.jpg", *options) == SOME_FAILED
    assert "no row, so" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"grey.png", "text.jpg"}
    shutil.copy(grey, tmp_path / "text.jpg")
    assert analyze(tmp_path / "text.jpg", *options) == NOTHING_FOUND
    assert (tmp_path / "t.csv").exists() and (tmp_path / "s.csv").exists() and (tmp_path / "drawn.png").exists()


def test_a_checkpoint_that_is_not_there_is_looked_for_as_a_folder_and_on_the_hub(grey, tmp_path, capsys, monkeypatch):
    import transformers

    def offline(*_, **__):
        raise OSError("We couldn't connect")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    options = ["-o", tmp_path / "t.csv", "--detector", "haar", "--model", "checkpoints/clef-smal"]
    assert analyze(grey, *options) == WRONG_USAGE
    assert "'checkpoints/clef-smal', which is no folder here" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["no weights", "half of the weights", "no processor"])
def test_a_checkpoint_folder_that_is_not_whole_is_said(grey, tmp_path, capsys, damage):
    folder = tmp_path / "checkpoint"
    shutil.copytree(ROOT / "checkpoints" / "clef-small", folder)
    if damage == "no processor":
        for name in ("processor_config.json", "preprocessor_config.json"):
            (folder / name).unlink(missing_ok=True)
    else:
        weights = folder / "model.safetensors"
        content = weights.read_bytes()
        weights.unlink()
        if damage == "half of the weights":
            weights.write_bytes(content[: len(content) // 2])
    options = ["-o", tmp_path / "t.csv", "--detector", "haar", "--model", folder]
    assert analyze(grey, *options) == WRONG_USAGE
    assert f"clef analyze: no checkpoint can be loaded from '{folder}': " in capsys.readouterr().err


def test_an_onnx_network_that_differs_is_said(grey, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from analysis.onnx_network import OnnxNetwork

    run = OnnxNetwork.__call__
    monkeypatch.setattr(OnnxNetwork, "__call__", lambda self, pixels: run(self, pixels) + 2e-3)
    assert analyze(grey, "-o", tmp_path / "t.csv", "--detector", "haar", "--backend", "onnx") == WRONG_USAGE
    assert "differ by 0.002 from torch's, expected at most 0.001; leave out the ONNX" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("chekpoints/clef-small", "is 'checkpoints/clef-small' meant?"),
        ("checkpoints/base", "'checkpoints' holds none of that name."),
        ("someone/clef-large", None),
    ],
)
def test_a_name_that_seems_to_be_a_folders_is_told_before_the_hub_is_asked(tmp_path, monkeypatch, name, told):
    import transformers

    from analysis import model

    said = []

    def hub(*_, **__):
        said.append("asked")
        raise OSError("We couldn't connect")

    (tmp_path / "checkpoints" / "clef-small").mkdir(parents=True)
    (tmp_path / "checkpoints" / "clef-small" / "config.json").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", hub)
    monkeypatch.setattr(model.logger, "warning", said.append)
    with pytest.raises(FileNotFoundError):
        model.load_classifier(name)
    assert said[-1] == "asked" and len(said) == (1 if told is None else 2)
    assert told is None or said[0] == f"{name!r} is no folder here: {told} Looking for it on the Hub."


def test_it_says_which_inputs_have_no_timeline(grey, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    frames = [Image.new("RGB", (64, 48), (shade, 90, 90)) for shade in (10, 90)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=200)
    options = ["-o", tmp_path / "t.csv", "--detector", "haar", "--plot", tmp_path / "plots"]
    assert analyze(grey, tmp_path / "moving.gif", *options) == NOTHING_FOUND
    told = capsys.readouterr().err
    assert "0 timelines in" in told and "none of 1 still image, none of 1 video without any face" in told


def test_a_face_and_inputs_that_fail(face, tmp_path, capsys):
    photo, yunet = face
    (tmp_path / "text.jpg").write_text("no image")
    table = tmp_path / "t.jsonl"
    options = ["-o", table, "--detector", yunet, "--max-faces", "1"]
    assert analyze(photo, tmp_path / "text.jpg", tmp_path / "gone.mp4", *options) == SOME_FAILED
    told = capsys.readouterr().err
    assert "text.jpg: cannot be read as an image" in told and "gone.mp4: there is no such" in told
    assert "1 frame, 1 with a face, 1 face," in told and "1 faces" not in told
    (row,) = (json.loads(line) for line in table.read_text().splitlines())
    assert row["source"] == str(photo) and row["face_found"] and 0 <= row["AU12_probability"] <= 1
    assert analyze(photo, *options) == WRONG_USAGE
    assert "--resume" in capsys.readouterr().err
    assert analyze(photo, *options, "--resume") == FINE
    assert "1 finished before" in capsys.readouterr().err
    assert analyze(photo, *options, "--overwrite") == FINE


def test_an_output_that_cannot_be_written(grey, tmp_path, capsys, monkeypatch):
    import errno

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert analyze(grey, "-o", tmp_path / "t.csv", "--detector", "haar") == NOT_WRITTEN
    assert "the disk is full" in capsys.readouterr().err
    monkeypatch.undo()
    (tmp_path / "file").write_text("x")
    assert analyze(grey, "-o", tmp_path / "file" / "t.csv", "--detector", "haar") in (NOT_WRITTEN, WRONG_USAGE)


def test_a_place_without_permission_is_told_before_anything_is_done(grey, tmp_path, capsys, monkeypatch):
    (tmp_path / "locked").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)  # the superuser may write everywhere
        assert analyze(grey, "-o", tmp_path / "locked" / "t.csv", "--model", "no/such") == WRONG_USAGE
    assert "nothing can be written in the folder" in capsys.readouterr().err

    def refused(self, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    assert analyze(grey, "-o", tmp_path / "locked" / "t.csv", "--detector", "haar") == NOT_WRITTEN
    assert "--resume" not in capsys.readouterr().err  # there is nothing to go on with


def test_the_users_interruption(grey, tmp_path, capsys, monkeypatch):
    from analysis.pipeline import Pipeline

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "next_batch", interrupted)
    assert analyze(grey, "-o", tmp_path / "t.csv", "--detector", "haar") == INTERRUPTED
    assert "--resume" in capsys.readouterr().err


def test_the_command_in_a_process_of_its_own(tmp_path, face):
    """`python -m clef`, from another folder, on names with spaces and other scripts."""
    photo, yunet = face
    folder = tmp_path / "my photos é 笑"
    folder.mkdir()
    shutil.copy(photo, folder / f"eine Person{photo.suffix}")
    environment = {**os.environ, "CLEF_YUNET": str(yunet), "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "clef", "analyze", folder.name, "-o", "out/tables/t.csv", "--threads", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == FINE, result.stderr
    assert "frames a second" in result.stderr and not result.stdout
    lines = (tmp_path / "out" / "tables" / "t.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith('"source","frame","time_s"') and f"{folder.name}/eine Person" in lines[1]
    assert np.all([len(line.split(",")) >= len(lines[0].split(",")) for line in lines])
