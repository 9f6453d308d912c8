"""The demonstration's API through `gradio_client`, in a process that lacks the project's packages."""

import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

NOT_A_PICTURE = "This file is not a picture that can be read"


@pytest.fixture(scope="module")
def client(space):
    return Client(space.url, verbose=False)


def refusal(client, *arguments, api_name):
    with pytest.raises(AppError) as caught:
        client.predict(*arguments, api_name=api_name)
    return str(caught.value)


def unit(face, label):
    (found,) = [row for row in face["action_units"] if row["label"] == label]
    return found


def test_the_endpoints_are_the_documented_ones(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/picture", "/words", "/video", "/labels"}
    assert all(endpoint.get("description") for endpoint in named.values())
    names = {name: [one["parameter_name"] for one in endpoint["parameters"]] for name, endpoint in named.items()}
    assert names == {"/picture": ["picture"], "/words": ["picture", "words"], "/video": ["video"], "/labels": []}


def test_a_picture(client, smile, two_people):
    found = client.predict(handle_file(str(smile)), api_name="/picture")
    (face,) = found["faces"]
    assert unit(face, "AU12")["present"] and not unit(face, "AU4")["present"]
    assert max(face["expression"], key=lambda row: row["probability"])["label"] == "happiness"
    assert sum(row["probability"] for row in face["expression"]) == pytest.approx(1, abs=1e-3)
    box = face["box"]
    assert 0 < box["left"] < box["right"] < 400 and 0 < box["top"] < box["bottom"] < 420
    assert face["quality"]["out_of_scope"] is False
    order = [row["label"] for row in face["action_units"]]
    assert order[:3] == ["AU1", "AU2", "AU4"] and order[-3:] == ["AU17", "AU26", "AU27"]  # upper face to lower
    assert len(client.predict(handle_file(str(two_people)), api_name="/picture")["faces"]) == 2


def test_what_a_page_says_agrees_with_the_packages(client, space_model, smile, yunet_file):
    """The same picture through the project's own pipeline."""
    from transformers import pipeline

    import modeling_clef  # noqa: F401

    find = pipeline("facial-behavior", model=str(space_model), device="cpu", detector_path=str(yunet_file))
    (expected,) = find(str(smile))
    (face,) = client.predict(handle_file(str(smile)), api_name="/picture")["faces"]
    expected = {row["label"]: row["score"] for row in expected["action_units"]}
    assert {row["label"]: row["probability"] for row in face["action_units"]} == pytest.approx(expected, abs=2e-3)


def test_words(client, smile):
    words = ["a big smile", "AU012", "<img src=x onerror=alert(1)>"]
    (face,) = client.predict(handle_file(str(smile)), words, api_name="/words")["faces"]
    assert [row["label"] for row in face["words"]] == words
    scores = {row["label"]: row["score"] for row in face["words"]}
    assert scores["AU012"] > 0.3 and scores["a big smile"] > scores["<img src=x onerror=alert(1)>"]
    assert unit(face, "AU12")["present"]
    for given, sentence in (
        ([], "Type at least one label"),
        ([f"label {i}" for i in range(13)], "These are 13 labels; at most 12"),
        (["x" * 81], f"“{20 * 'x'}…” has 81 characters"),
        (["AU99"], "AU99 is no action unit"),
        ({"a": 1}, "Labels are a list of texts"),
        ([1], "Labels are a list of texts"),
    ):
        assert sentence in refusal(client, handle_file(str(smile)), given, api_name="/words")


def test_a_video(client, clip):
    rows = client.predict(handle_file(str(clip)), api_name="/video")["rows"]
    assert len(rows) == 20 and [row["frame"] for row in rows] == list(range(20))
    assert [row["time_s"] for row in rows] == pytest.approx([i / 10 for i in range(20)], abs=1e-3)
    assert {row["track_id"] for row in rows} == {0} and all(row["AU12"] == 1 for row in rows)
    lefts = [row["box_left"] for row in rows]
    assert lefts[-1] - lefts[0] == pytest.approx(76, abs=12)  # it moves 4 pixels a frame


def test_labels(client):
    labels = {row["label"]: row for row in client.predict(api_name="/labels")["labels"]}
    assert labels["AU12"]["name"] == "lip corner puller" and 0 < labels["AU12"]["threshold"] < 1
    assert labels["happiness"]["threshold"] is None


def test_hostile_uploads_are_refused_and_the_server_lives(client, space, hostile, smile):
    expected = {
        "bomb.png": ("more than 40 million pixels",),
        # Gradio itself refuses such a name.
        "..%2F..%2Fetc%2Fpasswd.png": (NOT_A_PICTURE, "raised an exception"),
        "empty.jpg": ("This file is empty",),
    }
    for name, path in hostile.items():
        message = refusal(client, handle_file(str(path)), api_name="/picture")
        assert any(part in message for part in expected.get(name, (NOT_A_PICTURE,))), (name, message)
    for name in ("text.png", "polyglot.gif", "empty.jpg", "drawing.svg"):
        message = refusal(client, handle_file(str(hostile[name])), api_name="/video")
        assert "not a video" in message or "empty" in message, (name, message)
    assert space.alive() and client.predict(handle_file(str(smile)), api_name="/picture")["faces"]


def test_pictures_without_a_face_and_nothing_at_all(client, tmp_path):
    from PIL import Image

    Image.new("RGB", (300, 300), "white").save(tmp_path / "white.png")
    assert "No face was found in this picture" in refusal(
        client, handle_file(str(tmp_path / "white.png")), api_name="/picture"
    )
    assert "Choose a picture first" in refusal(client, None, api_name="/picture")
    assert "Choose or record a video first" in refusal(client, None, api_name="/video")


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../etc/passwd", "app.py", "..%2f..%2fetc%2fpasswd"])
def test_files_of_the_machine_are_not_served(space, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{space.url}/gradio_api/file={path}", timeout=30)
    assert caught.value.code in (403, 404)


def test_nobody_is_told_of_visits(space):
    config = json.load(urllib.request.urlopen(f"{space.url}/config", timeout=30))
    assert config["analytics_enabled"] is False


def test_a_path_instead_of_an_upload_is_refused(space):
    """A client that names a file of the machine as its upload."""
    config = json.load(urllib.request.urlopen(f"{space.url}/config", timeout=30))
    number = next(one["id"] for one in config["dependencies"] if one["api_name"] == "picture")
    body = {
        "data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}],
        "fn_index": number,
        "session_hash": "trying",
    }
    request = urllib.request.Request(
        f"{space.url}/gradio_api/queue/join", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=30)
    with urllib.request.urlopen(f"{space.url}/gradio_api/queue/data?session_hash=trying", timeout=60) as stream:
        answer = next(line for line in stream if b"process_completed" in line)
    assert json.loads(answer.partition(b":")[2])["success"] is False and b"root:" not in answer
    assert space.alive()


def test_ten_users_at_once_get_their_own_results(space, smile, two_people, portraits):
    pictures = [smile, two_people, *portraits][:5]
    first = Client(space.url, verbose=False)
    expected = [first.predict(handle_file(str(path)), api_name="/picture") for path in pictures]
    clients = [Client(space.url, verbose=False) for _ in range(10)]

    told = {}

    def ask(number):
        path = pictures[number % len(pictures)]
        if number % 2:
            words = [f"word {number}", "smiling"]
            found = clients[number].predict(handle_file(str(path)), words, api_name="/words")
            told[number] = [face.pop("words") for face in found["faces"]]
            assert all([row["label"] for row in rows] == words for rows in told[number])
            return found
        return clients[number].predict(handle_file(str(path)), api_name="/picture")

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(ask, range(10)))
    for number, rows in dict(told).items():  # the same words again, with nobody else about
        ask(number)
        for one, other in zip(rows, told[number], strict=True):
            assert [row["score"] for row in one] == pytest.approx([row["score"] for row in other], abs=2e-3)
    for number, one in enumerate(found):
        faces = expected[number % len(pictures)]["faces"]
        assert [face["box"] for face in one["faces"]] == [face["box"] for face in faces]
        for face, other in zip(one["faces"], faces, strict=True):
            scores, others = ({row["label"]: row["probability"] for row in x["action_units"]} for x in (face, other))
            assert scores == pytest.approx(others, abs=2e-3)


def test_uploads_are_removed(client, space, smile, clip, kept_seconds):
    client.predict(handle_file(str(smile)), api_name="/picture")
    client.predict(handle_file(str(clip)), api_name="/video")

    def uploads():
        names = [path for path in space.temporary.rglob("*") if path.is_file()]
        return [path for path in names if path.name.startswith(("clip", "1_smile")) and path.suffix != ".pyi"]

    assert uploads()
    end = time.monotonic() + kept_seconds + 60
    while uploads() and time.monotonic() < end:
        time.sleep(0.5)
    assert not uploads()
