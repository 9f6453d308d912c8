"""The demonstration as a person uses it, in Chromium. No page may log an error or ask anything of another machine."""

import csv
import json

import pyarrow.parquet as pq
import pytest
from space_steps import a_new_result, choose, go_to, numbers, problem

WIDTHS = (360, 768, 1280)
TABS = ("Picture", "Your words", "Video", "Webcam", "About")


def test_arriving_shows_an_example_and_says_what_it_is(page):
    assert page.get_by_role("heading", level=1).inner_text() == "What is this face doing?"
    result = page.locator("#clef-picture-result")
    assert "An example" in result.inner_text()
    said = result.locator(".clef-summary").inner_text()
    assert said.startswith("Most like happiness") and "lip corner puller (AU12)" in said
    assert page.evaluate("document.documentElement.lang") == "en"


def settled_box(page, selector):
    """Where it lies once the page has been laid out: on a busy machine what stands above may still be coming."""
    boxes = [None, page.locator(selector).bounding_box()]
    while boxes[-1] != boxes[-2]:
        page.wait_for_timeout(500)
        boxes.append(page.locator(selector).bounding_box())
    return boxes[-1]


def test_while_it_works_the_page_says_so_and_stays_as_it_is(page, two_people):
    where, held = "#clef-picture-result", []
    says = f"getComputedStyle(document.querySelector('{where}'), '::before').content"
    assert page.evaluate(says) == "none"
    before = settled_box(page, f"{where} .clef-stage")
    page.route("**/queue/data*", lambda route: held.append(route))
    choose(page, "#clef-picture", two_people)
    page.wait_for_function(f"{says}.includes('Looking at it')")
    assert settled_box(page, f"{where} .clef-stage") == before
    while not held:
        page.wait_for_timeout(50)
    for route in held:
        route.continue_()
    a_new_result(page, where)
    page.wait_for_function(f"{says} === 'none'")


def test_a_picture_from_upload_to_download(page, portraits, tmp_path):
    where = "#clef-picture-result"
    choose(page, "#clef-picture", portraits[0])
    a_new_result(page, "#clef-picture-result")
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
    assert {one["label"]: one["probability"] for one in data["action_units"]} == {
        one["label"]: float(table[one["label"]]["probability"]) for one in data["action_units"]
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


def test_label_sets_of_somebody_s_own_are_copied_too(page):
    face = page.locator("#clef-picture-result .clef-face").first
    page.evaluate(
        """() => {
            document.querySelector("#clef-picture-result .clef-face").dataset.numbers = JSON.stringify({
                gestures: [{label: "smirk", name: "smirk", probability: 0.7, threshold: 0.5, present: true}],
                mood: [{label: "calm", probability: 0.4}],
                box: {left: 1},
                words: [{label: "a big smile", score: 0.9}],
            });
        }"""
    )
    face.get_by_role("button", name="Copy numbers").click()
    page.wait_for_selector("text=Copied")
    copied = [line.split("\t") for line in page.evaluate("navigator.clipboard.readText()").splitlines()]
    assert copied[1:] == [
        ["smirk", "smirk", "0.7", "0.5", "1"],
        ["calm", "calm", "0.4", "", ""],
        ["a big smile", "a big smile", "0.9", "", ""],
    ]


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
    problem(page, where, "Choose a picture first")
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


def test_about_shows_the_checkpoint_s_own_figures(page, space_model):
    go_to(page, "About")
    metrics = json.loads((space_model / "metrics.json").read_text(encoding="utf-8"))
    about = page.locator(".clef-about")
    on_photographs, on_test_set = about.locator("tr", has_text="lip corner puller").all_inner_texts()
    assert f"{100 * metrics['evaluation']['action_units']['labels']['AU12']['auroc']:.1f}" in on_test_set
    photographs = metrics["photographs"]["labels"]["AU12"]
    low, high = (f"{100 * one:.1f}" for one in photographs["auroc_interval"])
    assert on_photographs.split("\t")[1:] == [f"{100 * photographs['auroc']:.1f}", f"{low} to {high}"]
    text = about.inner_text()
    people = metrics["evaluation"]["data"]["scored"]["subjects"]
    assert "trained on rendered faces, and on no photograph" in text and f"{people:,} rendered people" in text
    for words in (
        "must not be used for",
        "removed",
        "up to 30 seconds",
        "api_name",
        "serves people unequally",
        "by gender",
    ):
        assert words in text


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows_overlaps_or_jumps(open_page, width):
    page = open_page(width, "dark" if width == 768 else "light")
    assert page.get_by_role("tab").all_inner_texts() == list(TABS)  # none is hidden in a menu
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
