"""`clef explain`, and what `clef analyze` makes of its table."""

import json

import pytest

pytest.importorskip("cv2", reason="needs opencv-python-headless")
pytest.importorskip("matplotlib", reason="needs matplotlib")

from analysis.drawing_mark import is_drawing
from clef.cli import FINE, NOTHING_FOUND, SOME_FAILED, WRONG_USAGE, main


@pytest.fixture
def face(test_data, monkeypatch):
    photos = sorted((test_data / "photos").glob("*.jpg"))
    yunet = test_data / "weights" / "face_detection_yunet.onnx"
    if not (photos and yunet.is_file()):
        pytest.skip("needs photos and YuNet's file in CLEF_TEST_DATA")
    monkeypatch.setenv("CLEF_YUNET", str(yunet))
    return photos[0]


def explain(*arguments):
    return main(["explain", *map(str, arguments)])


def test_it_draws_a_picture_and_writes_scores_by_id_and_by_name(face, tmp_path, capsys):
    picture, numbers = tmp_path / "e.png", tmp_path / "e.json"
    done = explain(face, "--label", "AU12", "--label", "Lips part", "-o", picture, "--json", numbers)
    assert done == FINE and picture.stat().st_size > 10_000 and is_drawing(picture)
    assert "face 0: AU12" in capsys.readouterr().out
    labels = json.loads(numbers.read_text())["faces"][0]["labels"]
    assert [label["label"] for label in labels] == ["AU12", "AU25"]
    assert all(0 <= label["score"] <= 1 for label in labels)
    assert explain(face, "--label", "AU12", "-o", picture) == WRONG_USAGE  # it exists


def test_it_says_what_is_wrong(tmp_path, capsys, face):
    from PIL import Image

    Image.new("RGB", (200, 200), (90, 90, 90)).save(tmp_path / "grey.png")
    assert explain(tmp_path / "grey.png", "--label", "AU12", "-o", tmp_path / "e.png") == NOTHING_FOUND
    assert explain(tmp_path / "none.png", "--label", "AU12", "-o", tmp_path / "e.png") == SOME_FAILED
    (tmp_path / "talk.mp4").write_bytes(b"a video")
    capsys.readouterr()
    assert explain(tmp_path / "talk.mp4", "--label", "AU12", "-o", tmp_path / "e.png") == SOME_FAILED
    assert "it is a video; save the frame" in capsys.readouterr().err
    assert explain(face, "--label", "AU99", "-o", tmp_path / "e.png") == WRONG_USAGE
    assert "AU99" in capsys.readouterr().err
    assert explain(face, "--label", "AU12", "-o", tmp_path / "e.gif") == WRONG_USAGE
    assert not (tmp_path / "e.png").exists()


def test_places_that_cannot_be_written_are_refused_before_the_work(tmp_path, capsys, monkeypatch):
    from PIL import Image

    from analysis import explain as work

    monkeypatch.setattr(work, "explain_image", lambda *_, **__: pytest.fail("it began"))
    image = tmp_path / "grey.png"
    Image.new("RGB", (200, 200), (90, 90, 90)).save(image)
    (tmp_path / "e.png").mkdir()
    for path, reason in ((tmp_path / "e.png", "is a folder"), (image / "e.png", "is no folder")):
        assert explain(image, "--label", "AU12", "--overwrite", "-o", path) == WRONG_USAGE
        assert reason in capsys.readouterr().err
    options = ["-o", tmp_path / "f.png", "--json", image / "e.json"]
    assert explain(image, "--label", "AU12", *options) == WRONG_USAGE
    assert "is no folder" in capsys.readouterr().err


def test_analyze_makes_summary_plots_and_overlay(face, tmp_path):
    done = main(
        ["analyze", str(face), "-o", str(tmp_path / "t.csv"), "--summary", str(tmp_path / "s.csv")]
        + ["--plot", str(tmp_path / "plots"), "--overlay", str(tmp_path / "o.png")]
    )
    assert done == FINE
    assert (tmp_path / "s.csv").read_text().count("AU12") == 1
    assert (tmp_path / "o.png").stat().st_size > 10_000


def test_drawings_of_an_earlier_run_are_passed_over(face, tmp_path, capsys):
    from PIL import Image

    with Image.open(face) as photo:
        photo.save(tmp_path / "a.png")
    drawn = [
        "analyze",
        str(tmp_path / "a.png"),
        "-o",
        str(tmp_path / "t.csv"),
        "--overlay",
        str(tmp_path / "a-drawn.png"),
    ]
    assert main(drawn) == FINE and is_drawing(tmp_path / "a-drawn.png")
    assert main(["analyze", *map(str, tmp_path.glob("*.png")), "-o", str(tmp_path / "again.csv")]) == FINE
    assert f"passed over: 1 drawing by clef ({tmp_path / 'a-drawn.png'})\n" in capsys.readouterr().err
    assert "a-drawn" not in (tmp_path / "again.csv").read_text()


def test_what_exists_is_refused_and_the_table_not_begun(face, tmp_path, capsys):
    common = ["analyze", str(face), "-o", str(tmp_path / "t.csv")]
    (tmp_path / "drawn").mkdir()
    taken = {
        "--summary": tmp_path / "s.csv",
        "--overlay": tmp_path / "o.png",
        "--plot": tmp_path / "drawn" / f"{face.stem}-track0.png",
    }
    for option, path in taken.items():
        path.write_text("kept")
        value = path.parent if option == "--plot" else path
        assert main([*common, option, str(value)]) == WRONG_USAGE
        assert "exists" in capsys.readouterr().err and path.read_text() == "kept"
    (tmp_path / "drawn" / f"{face.stem}.png").write_text("kept")
    assert main([*common, "--overlay", str(tmp_path / "drawn")]) == WRONG_USAGE
    assert main([*common, "--overlay", str(face.parent)]) == WRONG_USAGE
    assert "would replace" in capsys.readouterr().err
    assert main([*common, "--summary", str(tmp_path / "t.csv")]) == WRONG_USAGE
    assert not (tmp_path / "t.csv").exists()
    assert main([*common, "--summary", str(taken["--summary"]), "--overwrite"]) == FINE
    assert taken["--summary"].read_text() != "kept"
    copy = tmp_path / "copy.png"
    copy.write_bytes(face.read_bytes())
    assert explain(copy, "--label", "AU12", "-o", copy, "--overwrite") == WRONG_USAGE
    assert copy.read_bytes() == face.read_bytes()
