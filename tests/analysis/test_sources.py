"""Inputs to sources."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from analysis.drawing_mark import is_drawing, png_info
from analysis.sources import Source, describe_ignored, find_sources


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/clip.mp4", "b/clip.mp4", "b/deep/photo.JPG", "b/notes.json", "b/.hidden.png", "b/data.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(found):
    return [source.name for source in found.sources]


def test_files_are_told_apart_by_suffix_and_keep_the_path_they_were_given(folder):
    found = find_sources(["a/clip.mp4", "b/clip.mp4", "b/deep/photo.JPG"])
    assert names(found) == ["a/clip.mp4", "b/clip.mp4", "b/deep/photo.JPG"]
    assert [source.kind for source in found.sources] == ["video", "video", "image"]
    assert names(find_sources(folder / "a" / "clip.mp4")) == [str(folder / "a/clip.mp4")]


def test_a_folder_is_searched_in_order_and_what_is_passed_over_is_counted(folder):
    found = find_sources("b")
    assert names(found) == ["b/clip.mp4", "b/deep/photo.JPG"]
    assert found.ignored == Counter({".json": 1, ".csv": 1}) and not found.problems
    assert describe_ignored(found.ignored) in ("1 .json, 1 .csv", "1 .csv, 1 .json")


def test_drawings_are_passed_over_where_there_is_anything_else(folder):
    for name, info in (("a/own.png", None), ("a/own-drawn.png", png_info()), ("a/own-drawn 2.PNG", png_info())):
        Image.new("RGB", (9, 9)).save(name, pnginfo=info)
    drawn = ["a/own-drawn 2.PNG", "a/own-drawn.png"]
    for inputs in ("a", "a/*", ["a/clip.mp4", *drawn, "a/own.png"]):
        found = find_sources(inputs)
        assert names(found) == ["a/clip.mp4", "a/own.png"] and found.drawings == drawn
    alone = find_sources(drawn)
    assert names(alone) == drawn and not alone.drawings


def test_only_the_mark_makes_a_drawing(tmp_path):
    path, info = tmp_path / "x.png", PngInfo()
    info.add_text("Title", "CLEF drawing")
    info.add_text("Software", "somebody's")
    Image.new("RGB", (9, 9)).save(path, pnginfo=info)
    assert not is_drawing(path) and not is_drawing(tmp_path / "nowhere.png")
    Image.new("RGB", (9, 9)).save(path, pnginfo=png_info())
    assert is_drawing(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        is_drawing(path)  # a file that was cut raises nothing


def test_links_to_folders_are_followed_and_no_file_is_taken_twice(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "take.mp4").write_bytes(b"x")
    (folder / "b" / "linked").symlink_to(folder / "elsewhere")
    (folder / "b" / "linked again").symlink_to(folder / "elsewhere")
    (folder / "b" / "a deep one").symlink_to(folder / "b" / "deep")
    (folder / "elsewhere" / "back").symlink_to(folder / "b")
    (folder / "b" / "itself").symlink_to(folder / "b")
    found = find_sources("b")
    assert names(found) == ["b/clip.mp4", "b/deep/photo.JPG", "b/linked/take.mp4"]
    (folder / "b" / "an early one").symlink_to(folder / "b" / "deep" / "within")
    (folder / "b" / "a latest.mp4").symlink_to(folder / "b" / "clip.mp4")
    (folder / "b" / "deep" / "within").mkdir()
    (folder / "b" / "deep" / "within" / "x.mp4").write_bytes(b"x")
    own = ["b/clip.mp4", "b/deep/photo.JPG", "b/deep/within/x.mp4", "b/linked/take.mp4"]
    assert names(find_sources("b")) == own and find_sources("b").repeated == 1
    for made in ("an early one", "a latest.mp4", "deep/within/x.mp4"):
        (folder / "b" / made).unlink()
    (folder / "b" / "deep" / "within").rmdir()
    assert not found.repeated and not found.problems and found.ignored == Counter({".json": 1, ".csv": 1})
    assert names(find_sources(["a", "a/clip.mp4", folder / "b" / "linked" / "take.mp4", "elsewhere"])) == [
        "a/clip.mp4",
        str(folder / "b/linked/take.mp4"),
        "elsewhere/back/clip.mp4",
        "elsewhere/back/deep/photo.JPG",
    ]


def test_places_within_searched_folders_are_known_wherever_links_lead(folder):
    (folder / "elsewhere").mkdir()
    (folder / "b" / "linked").symlink_to(folder / "elsewhere")
    found = find_sources(["b", "a/clip.mp4"])
    for place in ("b", "b/new/drawn", "b/deep/o.mp4", "a/../b/o.mp4", "elsewhere/new", "b/linked/o.mp4"):
        assert found.folder_above(Path(place)), place
    for place in ("a", "a/o.mp4", "bb", ".", "b/../o.mp4"):
        assert found.folder_above(Path(place)) is None, place


def test_globs(folder):
    assert names(find_sources("*/clip.mp4")) == ["a/clip.mp4", "b/clip.mp4"]
    assert names(find_sources("**/*.JPG")) == ["b/deep/photo.JPG"]
    (problem,) = find_sources("*.webm").problems
    assert problem.source == "*.webm" and "no file" in problem.message
    (folder / "take[1].mp4").write_bytes(b"x")  # a name that looks like a glob is a name first
    assert names(find_sources("take[1].mp4")) == ["take[1].mp4"]


def test_a_list_names_files_relative_to_itself(folder):
    listed = folder / "b" / "list.txt"
    listed.write_text("\ufeff# two of them\n\nclip.mp4\n  deep/photo.JPG  \nmissing.png\nlist.txt\n", encoding="utf-8")
    found = find_sources("b/list.txt")
    assert names(found) == ["b/clip.mp4", "b/deep/photo.JPG"]
    assert [problem.source for problem in found.problems] == ["b/missing.png", "b/list.txt"]
    listed.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in find_sources("b/list.txt").problems[0].message
    listed.write_text("\n")
    assert "names no file" in find_sources("b/list.txt").problems[0].message


def test_a_file_that_is_named_twice_is_taken_once(folder):
    found = find_sources(["a/clip.mp4", "./a/clip.mp4", "a", folder / "a" / "clip.mp4"])
    assert names(found) == ["a/clip.mp4"] and found.repeated == 3 and not found.problems


def test_what_is_missing_or_empty_is_a_problem_and_not_an_error(folder):
    (folder / "empty").mkdir()
    found = find_sources(["empty", "nowhere.mp4", "a/clip.mp4", "", "nul\0.mp4"])
    assert names(found) == ["a/clip.mp4"]
    messages = {problem.source: problem.message for problem in found.problems}
    assert "holds no image" in messages["empty"] and "no such" in messages["nowhere.mp4"] and len(messages) == 4


def test_of_a_folder_that_cannot_be_read_it_is_not_said_that_it_is_empty(folder, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refused)  # the superuser may read everything
    found = find_sources("b")
    assert [problem.message for problem in found.problems] == ["cannot be read: Permission denied"]


@pytest.mark.parametrize("inputs", [None, [None], 1.5, [["a.jpg"]], np.zeros((2, 2, 3), np.uint8)])
def test_what_names_no_source_is_refused(inputs):
    with pytest.raises(TypeError, match="as an input; expected the path"):
        find_sources(inputs)


def test_a_number_is_a_camera_unless_a_file_has_that_name(folder):
    assert find_sources(0).sources == find_sources("0").sources == [Source("camera 0", "camera", camera=0)]
    from PIL import Image

    Image.new("RGB", (4, 4)).save(folder / "0", format="PNG")
    assert find_sources("0").sources[0].kind == "image"  # told by its content, as its name says nothing


def test_names_with_spaces_other_scripts_and_bytes_that_are_no_text(folder):
    for name in (b"my clip.mp4", "Zoë 笑顔.mp4".encode(), b"b\xffd.mp4"):
        with open(os.path.join(os.fsencode(folder / "a"), name), "wb"):
            pass
    found = find_sources("a")
    assert set(names(found)) == {"a/clip.mp4", "a/my clip.mp4", "a/Zoë 笑顔.mp4", "a/b\\xffd.mp4"}
    assert all(name.encode() and source.path.exists() for name, source in zip(names(found), found.sources, strict=True))


def test_a_changed_file_has_another_fingerprint(folder):
    (source,) = find_sources("a/clip.mp4").sources
    before = source.fingerprint()
    assert before == source.fingerprint() and before[0] == 1
    source.path.write_bytes(b"longer")
    assert source.fingerprint() != before
    source.path.unlink()
    assert source.fingerprint() is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_refused_before_anybody_waits_for_them(folder):
    for name in ("pipe.jpg", "pipe.txt", "pipe"):
        os.mkfifo(folder / "a" / name)
    found = find_sources(["a", "a/pipe.txt", "a/pipe"])
    assert names(found) == ["a/clip.mp4"]
    assert {problem.source for problem in found.problems} == {"a/pipe.jpg", "a/pipe.txt", "a/pipe"}
    assert all("pipe, socket or device" in problem.message for problem in found.problems)
