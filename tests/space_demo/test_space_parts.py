"""The demonstration's parts that need neither a server nor a browser."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clef_space import limits, pictures, temporary
from clef_space.about import NOT_FOR, read_metrics
from clef_space.labels import Label, anatomical
from clef_space.limits import Deadline, Gate, Refused, read_words
from clef_space.parts import bar, bars, percent, spotlight
from clef_space.pictures import decode_data_url, forget, held, read_picture
from clef_space.recogniser import model_of_card
from clef_space.videos import Tracks, overlap

SPACE = Path(pictures.__file__).resolve().parents[1]


def test_words_are_read_from_lines_commas_and_semicolons():
    assert read_words(" raised  eyebrows\npolite smile, gritted teeth;\n\npolite smile") == [
        "raised eyebrows",
        "polite smile",
        "gritted teeth",
    ]


@pytest.mark.parametrize(
    "path",
    ["README.md", "space_demo/README.md", "hub_cards/templates/model_card.md", "hub_cards/templates/dataset_card.md"],
)
def test_what_is_not_allowed_is_the_same_everywhere(path):
    text = " ".join((Path(__file__).resolve().parents[2] / path).read_text(encoding="utf-8").split())
    assert "must not be used for " + " ".join(f"* {line}" for line in NOT_FOR) in text


def test_the_gate_lets_some_work_some_wait_and_turns_others_away():
    gate = Gate(at_once=1, waiting=1, patience=60)
    entered, leave, order = threading.Event(), threading.Event(), []

    def work(name):
        with gate.pass_through():
            order.append(name)
            entered.set()
            leave.wait(60)

    first = threading.Thread(target=work, args=["first"])
    first.start()
    assert entered.wait(60)
    second = threading.Thread(target=work, args=["second"])
    second.start()
    end = time.monotonic() + 60
    while gate._places._value and time.monotonic() < end:  # until the second waits
        time.sleep(0.01)
    with pytest.raises(Refused, match="Many people"), gate.pass_through():
        pytest.fail("let in although one works and one waits")
    leave.set()
    first.join(60), second.join(60)
    assert order == ["first", "second"]
    with gate.pass_through():
        pass
    with gate.pass_through(), pytest.raises(Refused, match="waited too long"):
        impatient = Gate(at_once=1, waiting=1, patience=0.01)
        with impatient.pass_through(), impatient.pass_through():
            pass


def test_the_webcam_says_that_the_demonstration_is_busy_and_goes_on_when_it_is_not(smile, monkeypatch):
    import gradio as gr

    from clef_space import pages
    from clef_space.service import Service

    monkeypatch.setattr(limits, "FRAME_SECONDS", 0.01)
    service = Service(None, Gate(at_once=1, waiting=1))
    monkeypatch.setattr(pages, "live_bars", lambda *_: f"{service.gate._places._value} places for requests")
    with gr.Blocks() as page:
        pages.webcam_tab(service)
    (live,) = [function.fn for function in page.fns.values() if function.name == "live"]
    with service.gate.pass_through():
        shown, _ = live(smile.read_bytes())
    assert "Many people are using this right now" in shown and "goes on by itself" in shown
    assert live(smile.read_bytes())[0] == "2 places for requests"


def test_a_request_that_takes_too_long_is_stopped():
    Deadline(60).check()
    with pytest.raises(Refused, match="longer than -1 seconds"):
        Deadline(-1).check()


def test_limits_of_a_picture(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    Image.new("RGB", (60, 50), "red").save(path)
    keep = lambda picture: picture.convert("RGB")  # noqa: E731
    assert read_picture(str(path), keep).size == (60, 50)
    assert read_picture(path.read_bytes(), keep).size == (60, 50)
    monkeypatch.setattr(pictures, "PICTURE_PIXELS", 2999)
    with pytest.raises(Refused, match="million pixels"):
        read_picture(str(path), keep)
    monkeypatch.setattr(pictures, "PICTURE_BYTES", 10)
    with pytest.raises(Refused, match="MB are taken"):
        read_picture(str(path), keep)
    with pytest.raises(Refused, match="no longer here"):
        read_picture(str(tmp_path / "gone.png"), keep)
    with pytest.raises(Refused, match="not a picture"):
        decode_data_url("data:text/html;base64,AAAA")
    with pytest.raises(Refused, match="not a picture"):
        decode_data_url("data:image/png;base64,%%%")


def test_files_are_removed_unless_somebody_uses_them_or_they_are_no_uploads(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "TEMPORARY", tmp_path / "uploads")
    (tmp_path / "uploads" / "a").mkdir(parents=True)
    upload, other = tmp_path / "uploads" / "a" / "face.png", tmp_path / "other.png"
    upload.write_bytes(b"x"), other.write_bytes(b"x")
    forget(str(other))
    assert other.exists()
    later = []
    monkeypatch.setattr(pictures, "forget_later", lambda path, seconds=0: later.append(path))
    with held(str(upload)):
        pictures._forget_if_old(str(upload), -1)
        assert upload.exists() and later == [str(upload)]
    pictures._forget_if_old(str(upload), 3600)  # sent again meanwhile
    assert upload.exists()
    pictures._forget_if_old(str(upload), -1)
    assert not upload.exists() and not upload.parent.exists() and os.path.isdir(tmp_path / "uploads")


def test_results_are_removed_after_a_while(monkeypatch):
    monkeypatch.setattr(temporary, "RESULT_SECONDS", 0.2)
    with temporary.result_folder() as folder:
        (folder / "faces.mp4").write_bytes(b"x")
    assert folder.is_relative_to(temporary.TEMPORARY) and (folder / "faces.mp4").exists()
    end = time.monotonic() + 60
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not folder.exists()


def test_a_video_that_fails_in_any_way_leaves_no_picture_of_it(tmp_path):
    import gradio as gr

    from clef_space.pages import video_tab

    begun = []

    class Service:
        def video(self, path, overlay, progress):
            overlay.write_bytes(b"half of it")
            begun.append(overlay)
            raise ZeroDivisionError

    with gr.Blocks() as page:
        video_tab(Service())
    (show,) = [function.fn for function in page.fns.values() if function.name == "show"]
    with pytest.raises(ZeroDivisionError):
        show("clip.mp4", lambda *_, **__: None)
    assert begun and not begun[0].parent.exists()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_nothing_that_was_sent_outlives_a_process_that_is_stopped(tmp_path, name):
    if not hasattr(signal, name) or signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        pytest.skip("there is no such signal, or it is ignored here")
    code = """
import time
from clef_space.temporary import TEMPORARY, remove_when_stopped
remove_when_stopped()
(TEMPORARY / "faces.mp4").write_bytes(b"x")
print(TEMPORARY, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path / "there"), "PYTHONPATH": str(SPACE)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        folder = Path(process.stdout.readline().strip())
        assert (folder / "faces.mp4").exists() and folder.parent == tmp_path / "there"
        process.send_signal(getattr(signal, name))
        process.wait(60)
    assert not list((tmp_path / "there").iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_process_forked_off_leaves_the_folder_to_the_one_it_belongs_to(tmp_path):
    code = """
import os, signal, time
from clef_space.temporary import TEMPORARY, remove_when_stopped
remove_when_stopped()
(TEMPORARY / "faces.mp4").write_bytes(b"x")
child = os.fork()
if not child:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        os._exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), (TEMPORARY / "faces.mp4").exists())
"""
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path / "there"), "PYTHONPATH": str(SPACE)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["3", "True"], done.stderr
    assert not list((tmp_path / "there").iterdir())


def test_labels_come_from_upper_face_to_lower():
    labels = [Label(i, "x", name, name, "", 0.5) for i, name in enumerate(["AU26", "smirk", "AU12", "AU9", "AU1"])]
    assert [label.label for label in anatomical(labels)] == ["AU1", "AU9", "AU12", "AU26", "smirk"]


@pytest.mark.parametrize("probability", [0.00502, 0.00498, 0.12504, 0.5, 1.0])
def test_percentages_are_those_of_the_numbers_offered_for_download(probability):
    assert percent(np.float32(probability)) == f"{100 * round(probability, 4):.0f} %"


def test_a_bar_escapes_what_it_shows():
    shown = bar(Label(0, "words", '<b a="1">', "<script>", "", 0.5), 0.7, None, True)
    assert "<script>" not in shown and '<b a="1">' not in shown and "&lt;script&gt;" in shown
    assert "AU12</span>" in bar(Label(0, "a", "AU12", "lip corner puller", "", 0.5), 0.7, None, True)
    assert "clef-code" not in bar(Label(0, "words", "AU12", "AU12", "", 0.5), 0.7, None, True)  # a visitor's own word
    assert shown.replace('<span class="clef-score" aria-hidden="true"><b>✓</b> 70 %</span>', "").count("70 %") == 1
    assert "✓" in shown and "✓" not in bar(Label(0, "words", "a", "a", "", 0.71), 0.7, None, True)


def test_the_most_probable_of_labels_that_exclude_each_other_stands_out():
    joy, calm = Label(0, "e", "joy", "joy", "", None), Label(1, "e", "calm", "calm", "", None)
    shown = bars("Expression", [joy, calm], [0.4, 0.6], {}).split("<button")[1:]
    assert ["clef-present" in row for row in shown] == [False, True]
    assert "most probable" in shown[1] and "✓" not in shown[1]
    assert "clef-present" not in bars("Expression", [joy, calm], np.zeros(2), {})  # nobody is there


def test_figures_come_from_the_checkpoint_with_the_corpus_of_its_recipe(tmp_path):
    assert read_metrics(str(tmp_path)) == {}
    (tmp_path / "metrics.json").write_text('{"evaluation": {}}')
    assert read_metrics(str(tmp_path)) == {"evaluation": {}, "corpus": None, "groups": {}}
    (tmp_path / "recipe.yaml").write_text("corpus: bp4d\n")
    assert read_metrics(str(tmp_path)) == {"evaluation": {}, "corpus": "bp4d", "groups": {}}
    (tmp_path / "metrics.json").write_text("not JSON")
    assert read_metrics(str(tmp_path)) == {}


def test_the_spotlight_is_clear_where_the_model_looked():
    import base64
    import io

    relevance = np.zeros((80, 80), np.float32)
    relevance[:20, :20] = 1
    veil = Image.open(io.BytesIO(base64.b64decode(spotlight(relevance).partition(",")[2])))
    alpha = np.asarray(veil.convert("RGBA"))[..., 3]
    assert alpha[2, 2] == 0 and alpha[-2, -2] > 150


def test_faces_keep_their_numbers():
    assert overlap([0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(50 / 150)
    assert overlap([0, 0, 10, 10], [20, 0, 30, 10]) == 0
    tracks = Tracks()
    left, right = [0, 0, 10, 10], [50, 0, 60, 10]
    assert tracks.follow([left, right], 0.0) == [0, 1]
    assert tracks.follow([[51, 0, 61, 10], [1, 0, 11, 10]], 0.1) == [1, 0]
    assert tracks.follow([[1, 0, 11, 10], [200, 0, 220, 20]], 0.2) == [0, 2]
    assert tracks.follow([[51, 0, 61, 10]], 0.9) == [1]
    assert tracks.follow([[51, 0, 61, 10]], 2.5) == [3]  # out of sight for longer than a second


def test_the_card_names_the_model():
    assert model_of_card("---\nmodels:\n  - org/clef\n---\n# x\n") == "org/clef"
    with pytest.raises(ValueError, match="names no model"):
        model_of_card("---\nsdk: gradio\n---\n")


def test_a_video_beyond_the_limits_is_refused(clip, monkeypatch, tmp_path):
    from clef_space import videos

    monkeypatch.setattr(videos, "VIDEO_SECONDS", 1.0)
    with pytest.raises(Refused, match="longer than 1 seconds"):
        list(videos._frames(str(clip), Deadline()))
    monkeypatch.setattr(videos, "VIDEO_SECONDS", 30.0)
    assert [frame.index for frame in videos._frames(str(clip), Deadline())] == list(range(20))
    monkeypatch.setattr(videos, "VIDEO_RATE", 5.0)
    assert [frame.index for frame in videos._frames(str(clip), Deadline())] == list(range(0, 20, 2))
    monkeypatch.setattr(videos, "VIDEO_PIXELS", 100_000)
    with pytest.raises(Refused, match="480 x 400 pixels"):
        list(videos._frames(str(clip), Deadline()))
    monkeypatch.setattr(videos, "VIDEO_BYTES", 100)
    with pytest.raises(Refused, match="MB are taken for a video"):
        videos._check_file(str(clip))
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(Refused, match="empty"):
        videos._check_file(str(tmp_path / "empty.mp4"))


def test_frames_that_are_not_looked_at_count_for_the_time_limit(clip, monkeypatch):
    from clef_space import videos

    checked = []

    class Counted:
        def check(self):
            checked.append(True)

    monkeypatch.setattr(videos, "VIDEO_RATE", 1.0)
    assert [frame.index for frame in videos._frames(str(clip), Counted())] == [0, 10]
    assert len(checked) == 20
    source = videos._frames(str(clip), Deadline(-1))
    with pytest.raises(Refused, match="longer than -1 seconds"):
        next(source)


class Crowd:
    """A recogniser that sees 1,326 faces; `scored` is how many it was asked to score."""

    scored = 0

    def read_image(self, picture):
        return picture.convert("RGB")

    def analyse(self, picture, most=None):
        from clef_space.recogniser import FoundFace

        crop = np.zeros((80, 80, 3), np.uint8)
        faces = [FoundFace([i, 0, i + 1, 1], [], 1.0, {}, crop, np.zeros(0)) for i in range(1326)][:most]
        self.scored += len(faces)
        return faces

    def words(self, faces, words):
        return np.zeros((len(faces), len(words))), [None] * len(faces)


def test_of_a_crowd_no_more_faces_are_scored_than_shown_and_one(tmp_path, monkeypatch):
    from clef_space import faces_view, service
    from clef_space.limits import SHOWN_FACES

    Image.new("RGB", (60, 50)).save(tmp_path / "crowd.png")
    monkeypatch.setattr(service, "numbers", lambda recogniser, face, words=None: face.box[0])
    monkeypatch.setattr(faces_view, "_article", lambda *_: "<article></article>")
    crowd, path = Crowd(), str(tmp_path / "crowd.png")
    served = service.Service(crowd)
    picture, faces = served.faces(path)
    assert crowd.scored == SHOWN_FACES + 1
    page = faces_view.faces_page(crowd, picture, faces)
    assert page.count("<article>") == SHOWN_FACES and "Only the 6 largest faces are shown." in page
    assert 'alt="The picture, with the 6 largest of more faces found"' in page
    page = faces_view.faces_page(crowd, picture, faces[:SHOWN_FACES])
    assert "largest" not in page and 'alt="The picture, with 6 faces found"' in page
    assert 'alt="The picture, with one face found"' in faces_view.faces_page(crowd, picture, faces[:1])
    assert served.picture_json(path) == served.words_json(path, ["smile"]) == {"faces": list(range(SHOWN_FACES))}


def test_the_folder_is_what_a_space_needs():
    from pathlib import Path

    import yaml

    space = Path(pictures.__file__).resolve().parents[1]
    card = yaml.safe_load((space / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert card["sdk"] == "gradio" and (space / card["app_file"]).is_file() and card["models"]
    import gradio

    assert card["sdk_version"] == gradio.__version__
    assert card["python_version"] in ("3.10", "3.12")
    for line in (space / "requirements.txt").read_text().splitlines():
        assert "==" in line, f"{line} is not pinned"
    page = (space / "app.py").read_text() + (space / "style.css").read_text() + (space / "demo.js").read_text()
    assert "http://" not in page and "https://" not in page and "share=False" in page


def test_pushing_points_the_card_at_another_model_and_keeps_what_else_is_loaded_before(tmp_path):
    import shutil
    from pathlib import Path

    import yaml

    from hub_cards.push_space import check_space, point_to

    space = Path(pictures.__file__).resolve().parents[1]
    shutil.copy(space / "README.md", tmp_path)
    assert check_space(space) == "gradio"
    point_to(tmp_path, "org/another")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    card = yaml.safe_load(text.split("---")[1])
    assert model_of_card(text) == "org/another" and card["preload_from_hub"][0] == "org/another"
    assert [entry.split()[0] for entry in card["preload_from_hub"][1:]] == [
        "opencv/face_detection_yunet",
        "sentence-transformers/all-MiniLM-L6-v2",
    ]


def test_words_of_somebody_else_in_between_change_nothing(space_model, monkeypatch):
    from clef_space.recogniser import FoundFace, Recogniser

    recogniser = Recogniser(str(space_model))
    crop = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    face, mine, theirs = FoundFace([0, 0, 1, 1], [], 1.0, {}, crop), ["a big smile", "a frown"], ["anger", "AU1", "x"]
    (alone, maps), pixels, between = recogniser.words([face], mine), recogniser.pixels, []

    def interrupted(crops):
        if not between:
            between.append(True)
            between.append(recogniser.words([face], theirs)[0].shape)
        return pixels(crops)

    monkeypatch.setattr(recogniser, "pixels", interrupted)
    scores, maps_again = recogniser.words([face], mine)
    assert between[1] == (1, 3)
    np.testing.assert_allclose(scores, alone, atol=1e-6)
    np.testing.assert_allclose(maps_again[0], maps[0], atol=1e-6)
