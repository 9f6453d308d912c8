"""What is not done, as the page says it: one sentence, nothing beside it, and the server lives."""

import importlib
import shutil

import av
import numpy as np
import pytest
from PIL import Image
from space_steps import a_new_result, choose, go_to, numbers, problem


def of_size(path, start, megabytes):
    """A file of which nothing but its first bytes is written to the disk."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(int(megabytes * 1_000_000))
    return path


def grey_video(path, frames, rate):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8))))
        container.mux(stream.encode())
    return path


def test_pictures(open_page, space, hostile, tmp_path, smile):
    page, where = open_page(), "#clef-picture-result"
    title = page.title()
    Image.new("RGB", (300, 300), "white").save(tmp_path / "white.png")
    for path, sentence in (
        (hostile["text.png"], "not a picture that can be read"),
        (hostile["bomb.png"], "more than 40 million pixels"),
        (hostile["empty.jpg"], "This file is empty"),
        (hostile["drawing.svg"], "not a picture that can be read"),
        (hostile["cut off.jpg"], "not a picture that can be read"),
        (of_size(tmp_path / "large.jpg", b"\xff\xd8\xff", 21.5), "21.5 MB; at most 20 MB are taken for a picture"),
        (tmp_path / "white.png", "No face was found in this picture"),
    ):
        choose(page, "#clef-picture", path)
        problem(page, where, sentence)
    assert page.title() == title and space.alive()
    choose(page, "#clef-picture", smile)
    a_new_result(page, where)


def test_videos(open_page, tmp_path, hostile):
    page, where = open_page(), "#clef-video-result"
    go_to(page, "Video")
    for path, sentence in (
        (grey_video(tmp_path / "grey.mp4", 4, 4), "No face was found in any frame of this video"),
        (grey_video(tmp_path / "long.mp4", 33, 1), "longer than 30 seconds"),
        (of_size(tmp_path / "large.mp4", b"\0\0\0\x18ftypmp42", 61), "61 MB; at most 60 MB are taken for a video"),
        (shutil.copy(hostile["text.png"], tmp_path / "text.mp4"), "not a video that can be read"),
    ):
        choose(page, "#clef-video", path)
        problem(page, where, sentence)
        assert page.locator("#clef-overlay, #clef-csv, #clef-parquet").count() == 0
        # The status above it, which shows for a moment, has a button of the same name.
        page.locator("#clef-video").get_by_test_id("video").get_by_label("Clear").click()
        page.wait_for_selector(f"{where} [role=status]")


def test_words(open_page, smile):
    page, where = open_page(), "#clef-words-result"
    go_to(page, "Your words")
    button, typed = page.locator("#clef-words-button"), page.locator("#clef-words-typed textarea")
    button.click()
    problem(page, where, "Choose a picture first")
    choose(page, "#clef-words-picture", smile)
    page.wait_for_selector(f"{where} .clef-box")
    for text, sentence in (
        ("\n".join(f"label {number}" for number in range(13)), "These are 13 labels; at most 12"),
        ("x" * 81, f"“{20 * 'x'}…” has 81 characters; a label may have 80"),
        ("  ", "Type at least one label"),
        ("AU99", "AU99 is no action unit that this model knows"),
    ):
        typed.fill(text)
        button.click()
        problem(page, where, sentence)
    # Long, written from right to left, and pictorial ones are taken.
    words = ["x" * 80, "ابتسامة عريضة", "😀 grinning"]
    typed.fill("\n".join(words))
    button.click()
    page.wait_for_selector(f"{where} .clef-own")
    assert [row["label"] for row in numbers(page, where)["words"]] == words
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture(scope="module")
def small_space(space_model, free_port, tmp_path_factory):
    """A second demonstration, without the face finder's file, that lets one request work and none wait.

    `url`, `service`."""
    import app

    from clef_space import pictures
    from clef_space.limits import Gate
    from clef_space.recogniser import Recogniser
    from clef_space.service import Service

    def missing(path=None):
        raise FileNotFoundError("no such file")

    with pytest.MonkeyPatch.context() as patch:
        temporary = tmp_path_factory.mktemp("small")
        patch.setenv("GRADIO_TEMP_DIR", str(temporary))
        patch.setattr(pictures, "TEMPORARY", temporary)
        patch.delenv("CLEF_YUNET", raising=False)
        recogniser = Recogniser(str(space_model))
        code = type(recogniser.processor).__module__.rpartition(".")[0]
        patch.setattr(importlib.import_module(f"{code}.face_detection_clef"), "_yunet_file", missing)
        service = Service(recogniser, Gate(at_once=1, waiting=0))
        page = app.build(service, {})
        app.launch(page, server_name="127.0.0.1", server_port=free_port, prevent_thread_lock=True)
        yield f"http://127.0.0.1:{free_port}", service
        page.close(verbose=False)


def test_too_many_visitors(open_page, small_space, smile):
    url, service = small_space
    page, where = open_page(url=url), "#clef-picture-result"
    with service.gate.pass_through():
        choose(page, "#clef-picture", smile)
        problem(page, where, "Many people are using this right now. Please try again in a minute.")
    page.locator("button:visible", has_text="Example: two people").click()
    a_new_result(page, where)


@pytest.mark.parametrize("width", [360, 1280])
def test_without_the_face_finder_s_file_the_page_says_so(open_page, small_space, smile, width):
    page = open_page(width, url=small_space[0])
    notice = page.locator("#clef-coarse")
    assert notice.is_visible() and "YuNet" in notice.inner_text() and "less reliable" in notice.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    choose(page, "#clef-picture", smile)
    a_new_result(page, "#clef-picture-result")
    found = numbers(page, "#clef-picture-result")
    assert found["quality"]["roll"] == 0 and found["action_units"]  # a Haar cascade knows of no tilt


def test_with_it_there_is_no_such_notice(open_page):
    page = open_page()
    assert page.locator("#clef-picture-result .clef-result").count() == 1
    assert page.locator("#clef-coarse").count() == 0
