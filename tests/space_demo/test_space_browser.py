"""The demonstration as a person uses it, in Chromium. No page may log an error or ask anything of another machine."""

import csv
import io
import json
import shutil
from urllib.parse import urlsplit

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
).split()
PATIENCE = 60_000  # milliseconds; a limit, not an expectation
WIDTHS = (360, 768, 1280)
TABS = ("Picture", "Your words", "Video", "Webcam", "About")


@pytest.fixture(scope="module")
def browser(smile, tmp_path_factory):
    """Its camera sees the smiling face of the example."""
    camera = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    face = Image.open(smile).convert("RGB").resize((460, 480))
    with camera.open("wb") as file:
        for shift in (60, 64, 68, 72, 76, 80, 76, 72, 68, 64) * 3:
            frame = Image.fromarray(np.full((480, 640, 3), 190, np.uint8))
            frame.paste(face, (shift, 0))
            buffer = io.BytesIO()
            frame.save(buffer, "JPEG", quality=90)
            file.write(buffer.getvalue())
    with playwright.sync_playwright() as started:
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={camera}"]
        browser = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, space):
    """`open_page(width, mode)`: a page of its own, watched until the end of the test."""
    contexts, errors, elsewhere = [], [], []

    def note(message):
        if message.type == "error":
            errors.append(f"{message.text} ({message.location.get('url')})")

    def request(request):
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
            elsewhere.append(request.url)

    def make(width=1280, mode="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=mode,
            permissions=["camera", "microphone", "clipboard-read", "clipboard-write"],
            accept_downloads=True,
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", request)
        page.goto(space.url)
        page.wait_for_selector("#clef-picture-result .clef-box")
        return page

    yield make
    for context in contexts:
        context.close()
    assert errors == []
    assert elsewhere == []


@pytest.fixture
def page(open_page):
    return open_page()


def go_to(page, name):
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.count():  # on narrow pages
        page.get_by_label("More tabs").click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.first.click()


def choose(page, where, path):
    page.locator(f"{where} input[type=file]").first.set_input_files(str(path))


def numbers(page, where, face=0):
    article = page.locator(f"{where} .clef-face[data-face='{face}']")
    return json.loads(article.get_attribute("data-numbers"))


def problem(page, where):
    page.wait_for_selector(f"{where} [role=alert]")
    return page.locator(f"{where} [role=alert]").inner_text()


def test_arriving_shows_an_example_and_says_what_it_is(page):
    assert page.get_by_role("heading", level=1).inner_text() == "What is this face doing?"
    result = page.locator("#clef-picture-result")
    assert "An example" in result.inner_text()
    said = result.locator(".clef-summary").inner_text()
    assert said.startswith("Most like happiness") and "lip corner puller (AU12)" in said
    assert page.evaluate("document.documentElement.lang") == "en"


def test_a_picture_from_upload_to_download(page, portraits, tmp_path):
    where = "#clef-picture-result"
    choose(page, "#clef-picture", portraits[0])
    page.wait_for_function("!document.querySelector('#clef-picture-result').innerText.includes('An example')")
    face = page.locator(f"{where} .clef-face").first
    data = numbers(page, where)
    rows = face.locator(".clef-row")
    assert rows.count() == len(data["action_units"]) + len(data["expression"])
    # Bars, numbers, threshold marks and ticks say the same.
    for unit in data["action_units"]:
        row = face.locator(f".clef-row[data-label='{unit['label']}']")
        assert f"{100 * unit['probability']:.0f} %" in row.inner_text()
        assert ("✓" in row.inner_text()) is unit["present"]
        assert row.locator(".clef-description").inner_text()
        mark = row.locator(".clef-threshold").evaluate("e => parseFloat(e.style.left)")
        assert mark == pytest.approx(100 * unit["threshold"], abs=0.1)
    # Hovering lights up where the model looked; choosing keeps it; another label looks elsewhere.
    veil = face.locator(".clef-veil")
    assert veil.is_hidden()
    face.locator("[data-label=AU12]").hover()
    assert veil.is_visible() and "lip corner puller" in face.locator(".clef-caption").inner_text()
    mouth = veil.get_attribute("src")
    face.locator("[data-label=AU1]").click()
    page.mouse.move(5, 5)
    assert veil.is_visible() and veil.get_attribute("src") != mouth
    assert face.locator("[data-label=AU1]").get_attribute("aria-pressed") == "true"

    with page.expect_download() as download:
        face.get_by_role("button", name="Download CSV").click()
    download.value.save_as(tmp_path / "face.csv")
    table = {row["label"]: row for row in csv.DictReader((tmp_path / "face.csv").open(encoding="utf-8"))}
    assert {one["label"]: str(one["probability"]) for one in data["action_units"]} == {
        one["label"]: table[one["label"]]["probability"] for one in data["action_units"]
    }
    with page.expect_download() as download:
        face.get_by_role("button", name="Download JSON").click()
    download.value.save_as(tmp_path / "face.json")
    assert json.loads((tmp_path / "face.json").read_text(encoding="utf-8")) == data
    face.get_by_role("button", name="Copy numbers").click()
    page.wait_for_selector("text=Copied")
    copied = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert copied[0].split("\t") == ["label", "name", "probability", "threshold", "present"]
    assert len(copied) == 1 + rows.count()


def test_choosing_among_faces_by_mouse_and_keyboard(page):
    page.locator("button:visible", has_text="Example: two people").click()
    page.wait_for_selector("#clef-picture-result .clef-result[data-faces='2']")
    first, second = (page.locator(f"#clef-picture-result .clef-face[data-face='{i}']") for i in (0, 1))
    assert first.is_visible() and second.is_hidden()
    page.get_by_label("Face 2").click()
    assert second.is_visible() and first.is_hidden()
    assert page.get_by_label("Face 2").get_attribute("aria-pressed") == "true"
    page.get_by_label("Face 1").focus()
    page.keyboard.press("Enter")
    assert first.is_visible()
    first.locator("[data-label=AU1]").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.label") == "AU2"
    assert first.locator(".clef-veil").is_visible()
    page.keyboard.press("Space")
    assert first.locator("[data-label=AU2]").get_attribute("aria-pressed") == "true"


def test_ones_own_words(page, smile):
    go_to(page, "Your words")
    where = "#clef-words-result"
    page.locator("#clef-words-button").click()
    assert "Choose a picture first" in problem(page, where)
    choose(page, "#clef-words-picture", smile)
    page.wait_for_selector(f"{where} .clef-box")
    typed = page.locator("#clef-words-typed textarea")
    script = '<img src=x onerror="document.title=1">'
    typed.fill(f"a big smile\nAU12\n{script}")
    page.locator("#clef-words-button").click()
    page.wait_for_selector(f"{where} .clef-own")
    own = page.locator(f"{where} .clef-own")
    assert [row.get_attribute("data-label") for row in own.locator(".clef-row").all()] == [
        "a big smile",
        "AU12",
        script,
    ]
    assert script in own.inner_text() and own.locator("img").count() == 0 and page.title() != "1"
    assert "Nobody has checked" in own.inner_text()
    assert page.locator(f"{where} .clef-group").count() > 4  # the built-in ones are beside
    scores = {row["label"]: row["score"] for row in numbers(page, where)["words"]}
    assert scores["AU12"] > 0.3
    own.locator(".clef-row").first.hover()
    assert page.locator(f"{where} .clef-veil").is_visible()
    for text, sentence in (
        ("\n".join(f"label {i}" for i in range(13)), "13 labels; at most 12"),
        ("x" * 81, "81 characters; at most 80"),
        ("  ", "Type at least one label"),
    ):
        typed.fill(text)
        page.locator("#clef-words-button").click()
        page.wait_for_function("s => document.querySelector('#clef-words-result').innerText.includes(s)", arg=sentence)


def test_a_video_with_its_timeline_and_tables(page, clip, tmp_path):
    go_to(page, "Video")
    choose(page, "#clef-video", clip)
    track = page.locator("#clef-video-result .clef-track").first
    track.wait_for()
    lanes = [name.inner_text() for name in track.locator(".clef-lane .clef-code").all()]
    assert lanes[:3] == ["AU1", "AU2", "AU4"] and lanes[-1] == "AU27" and len(lanes) == 21
    assert "happiness" in track.locator(".clef-band").inner_text()
    page.wait_for_function("document.querySelector('#clef-overlay video')?.readyState >= 2")
    seen = "parseFloat(getComputedStyle(document.querySelector('.clef-track')).getPropertyValue('--clef-at'))"
    page.evaluate("document.querySelector('#clef-overlay video').currentTime = 1.0")
    page.wait_for_function(f"Math.abs({seen} - 0.5) < 0.06")
    assert track.locator(".clef-reading").inner_text().startswith("1.0 s: happiness")
    assert "AU12 lip corner puller" in track.locator(".clef-reading").inner_text()
    lane = track.locator(".clef-lane svg").first
    width = lane.bounding_box()["width"]
    lane.click(position={"x": 0.75 * width, "y": 8})
    page.wait_for_function("Math.abs(document.querySelector('#clef-overlay video').currentTime - 1.5) < 0.06")

    for button, name in (("#clef-csv", "table.csv"), ("#clef-parquet", "table.parquet")):
        with page.expect_download() as download:
            page.locator(button).click()
        download.value.save_as(tmp_path / name)
    table = pq.read_table(tmp_path / "table.parquet").to_pylist()
    rows = list(csv.DictReader((tmp_path / "table.csv").open(encoding="utf-8")))
    assert len(table) == len(rows) == 20
    assert [float(row["AU12_probability"]) for row in rows] == [row["AU12_probability"] for row in table]
    assert table[0].keys() == rows[0].keys() and {row["track_id"] for row in table} == {0}


def test_the_webcam_is_read_live_and_stops(page):
    go_to(page, "Webcam")
    page.get_by_text("Click to Access Webcam").click()
    record = page.locator("#clef-camera button[aria-label='capture photo']")
    record.click()
    page.wait_for_selector("#clef-live-result .clef-live[data-seen='1']")
    assert "happiness" in page.locator("#clef-live-result .clef-summary").inner_text()
    changes = page.evaluate(
        """() => new Promise(done => {
            let changes = 0;
            const watch = new MutationObserver(() => { if (++changes === 4) { watch.disconnect(); done(changes); } });
            watch.observe(document.querySelector('#clef-live-result'), {childList: true, subtree: true});
            setTimeout(() => done(changes), 30000);
        })"""
    )
    assert changes == 4
    record.click()


def test_the_snapshot_of_the_webcam(page):
    page.locator("#clef-picture").get_by_label("Capture from camera").or_(
        page.locator("#clef-picture .source-selection button").nth(1)
    ).first.click()
    page.locator("#clef-picture").get_by_text("Click to Access Webcam").click()
    page.locator("#clef-picture button[aria-label='capture photo']").click()
    page.wait_for_function("!document.querySelector('#clef-picture-result').innerText.includes('An example')")
    page.wait_for_selector("#clef-picture-result .clef-box")
    assert "happiness" in page.locator("#clef-picture-result .clef-summary").inner_text()


def test_about_shows_the_checkpoint_s_own_figures(page, space_model):
    go_to(page, "About")
    metrics = json.loads((space_model / "metrics.json").read_text(encoding="utf-8"))
    about = page.locator(".clef-about")
    row = about.locator("tr", has_text="lip corner puller").first.inner_text()
    assert f"{100 * metrics['evaluation']['action_units']['labels']['AU12']['auroc']:.1f}" in row
    text = about.inner_text()
    assert f"{100 * metrics['photographs']['labels']['AU12']['auroc']:.1f}" in text
    for words in ("must not be used for", "removed", "up to 30 seconds", "api_name", "by group"):
        assert words in text


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("text.png", "not a picture"),
        ("bomb.png", "more than 40 million pixels"),
        ("empty.jpg", "This file is empty"),
    ],
)
def test_what_is_no_picture_gets_a_sentence(page, hostile, name, sentence):
    title = page.title()
    choose(page, "#clef-picture", hostile[name])
    assert sentence in problem(page, "#clef-picture-result")
    assert page.title() == title


def test_a_picture_without_a_face(page, tmp_path):
    Image.new("RGB", (300, 300), "white").save(tmp_path / "white.png")
    choose(page, "#clef-picture", tmp_path / "white.png")
    assert "No face was found" in problem(page, "#clef-picture-result")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows_overlaps_or_jumps(open_page, width):
    page = open_page(width, "dark" if width == 768 else "light")
    for tab in TABS:
        go_to(page, tab)
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    go_to(page, "Picture")
    before = page.locator("#clef-picture-result").bounding_box()["y"]
    page.locator("button:visible", has_text="Example: two people").click()
    page.wait_for_selector("#clef-picture-result .clef-result[data-faces='2']")
    assert page.locator("#clef-picture-result").bounding_box()["y"] == pytest.approx(before, abs=2)
    overlapping = page.evaluate(
        """() => {
            const shown = document.querySelector('#clef-picture-result');
            const boxes = [...shown.querySelectorAll('.clef-name, .clef-score')]
                .map(e => e.getBoundingClientRect()).filter(r => r.width);
            const along = (a, b) => a.left < b.right - 1 && b.left < a.right - 1;
            const meet = (a, b) => along(a, b) && a.top < b.bottom - 1 && b.top < a.bottom - 1;
            return boxes.filter((a, i) => boxes.slice(i + 1).some(b => meet(a, b))).length;
        }"""
    )
    assert overlapping == 0
    # The face that lights up stays in sight beside the labels further down.
    page.locator("#clef-picture-result .clef-row[data-label=AU25]:visible").hover()
    page.wait_for_timeout(200)
    look = page.locator("#clef-picture-result .clef-look:visible").bounding_box()
    assert -1 <= look["y"] < 900 - look["height"]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_accessibility(open_page, mode):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page = open_page(768, mode)
    for tab in TABS:
        go_to(page, tab)
        page.wait_for_timeout(400)
        found = axe.run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:300]) for one in found] == [], tab
