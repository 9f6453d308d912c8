import errno
import os
import re

from PIL import Image

from processing.corpora.numbered_pictures import folder_entries, has_pictures, pictures_by_number, walk
from processing.corpora.official import ReadingReport


def picture(path, grey=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path, format="JPEG")
    return path


def test_pictures_are_found_by_number(tmp_path):
    names = ["0732.jpg", "733.JPG", "0000734.jpeg", "frame_9.png", "LeftVideo_00010.bmp", ".11.jpg"]
    for name in names:
        picture(tmp_path / name)
    report = ReadingReport()
    found = pictures_by_number(tmp_path, report)
    assert {number: path.name for number, path in found.items()} == {
        9: "frame_9.png",
        10: "LeftVideo_00010.bmp",
        732: "0732.jpg",
        733: "733.JPG",
        734: "0000734.jpeg",
    }
    assert list(found) == sorted(found) and report.reasons == []


def test_what_is_not_used_is_counted(tmp_path):
    for name in ("1.jpg", "01.jpg", "2.jpg", "cover.jpg"):
        picture(tmp_path / name)
    picture(tmp_path / "002.png", grey=200)
    for name in ("3.obj", "3.mtl", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "4").mkdir()
    report = ReadingReport()
    assert {number: path.name for number, path in pictures_by_number(tmp_path, report, "F001/T1").items()} == {
        1: "01.jpg"
    }
    counts = {reason: report.count(reason) for reason in report.reasons}
    assert counts == {
        "identical pictures of one frame": 1,
        "different pictures of one frame": 2,
        "picture without a frame number in its name": 1,
        "file that is no picture": 1,
    }
    assert set(report.as_dict()["file that is no picture"]["by_sequence"]) == {"F001/T1"}


def test_folders_that_cannot_be_read_are_counted(tmp_path, monkeypatch):
    def forbidden(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", forbidden)
    report = ReadingReport()
    assert folder_entries(tmp_path, report, "F001") == [] and pictures_by_number(tmp_path, report, "F001") == {}
    assert report.as_dict()["folder that cannot be read"]["by_sequence"] == {"F001": 2}
    assert has_pictures(tmp_path)


def test_walking_stops_at_its_depth_and_at_folders_that_belong_together(tmp_path):
    for name in ("a/F001/T1/1.jpg", "a/b/c/2.jpg", "3.jpg"):
        picture(tmp_path / name)
    found = [os.path.relpath(entry.path, tmp_path) for entry in walk(tmp_path, ReadingReport(), 3, re.compile("F001"))]
    assert found == ["3.jpg", "a", "a/F001", "a/b", "a/b/c"]
    assert has_pictures(tmp_path) and not has_pictures(tmp_path / "a")
