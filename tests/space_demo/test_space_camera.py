"""The camera and the clipboard, in Chromium with a fake camera that sees the example's smiling face."""

from space_steps import a_new_result, go_to

from clef_space.pages import BUSY

RECORD = "#clef-camera button[aria-label='capture photo']"
NOTE = "#clef-live-note"
WATCH = """() => {
    window.changes = 0;
    new MutationObserver(() => window.changes++).observe(
        document.querySelector('#clef-live-result'), {childList: true, subtree: true});
}"""


def test_the_webcam_is_read_live_until_its_time_is_over(open_page):
    page = open_page()
    go_to(page, "Webcam")
    assert "ends by itself after 6 seconds" in page.locator(NOTE).inner_text()
    page.locator("#clef-camera").get_by_text("Click to Access Webcam").click()
    page.evaluate(WATCH)
    page.locator(RECORD).click()
    page.wait_for_selector("#clef-live-result .clef-live[data-seen='1']")
    assert "happiness" in page.locator("#clef-live-result .clef-summary").inner_text()
    assert "threshold" in page.locator("#clef-live-result .clef-legend").inner_text()
    page.wait_for_function("note => document.querySelector(note).innerText.includes('has ended')", arg=NOTE)
    assert page.evaluate("window.changes") >= 3
    # It stays ended, its last bars in sight: Gradio's camera by itself would begin anew.
    page.wait_for_selector(f"{RECORD} [title='start recording']")
    page.wait_for_timeout(1500)  # what was under way arrives
    page.evaluate("window.changes = 0")
    page.wait_for_timeout(1500)
    assert page.evaluate("window.changes") == 0 and page.locator(f"{RECORD} [title='start recording']").count() == 1
    assert page.locator("#clef-live-result .clef-live").count() == 1
    # It goes on, and stops, when somebody says so.
    page.locator(RECORD).click()
    page.wait_for_function("window.changes >= 2")
    page.locator(RECORD).click()
    page.wait_for_selector(f"{RECORD} [title='start recording']")


def test_whoever_waits_for_the_webcam_to_be_served_is_told_so(open_page):
    page, held = open_page(), []
    shown = """sentence => {
        const style = getComputedStyle(document.querySelector("#clef-live-result"), "::before");
        return style.content.includes(sentence) && style.display !== "none" && style.visibility === "visible";
    }"""
    go_to(page, "Webcam")
    page.locator("#clef-camera").get_by_text("Click to Access Webcam").click()
    assert not page.evaluate(shown, BUSY)
    page.route("**/queue/data*", lambda route: held.append(route))
    page.locator(RECORD).click()
    page.wait_for_function(shown, arg=BUSY)
    while not held:
        page.wait_for_timeout(50)
    for route in held:
        route.continue_()
    page.wait_for_selector("#clef-live-result .clef-live")
    page.wait_for_function(f"sentence => !({shown})(sentence)", arg=BUSY)


def test_the_snapshot_of_the_webcam(open_page):
    page = open_page()
    page.locator("#clef-picture").get_by_label("Capture from camera").click()
    page.locator("#clef-picture").get_by_text("Click to Access Webcam").click()
    page.locator("#clef-picture button[aria-label='capture photo']").click()
    a_new_result(page, "#clef-picture-result")
    assert "happiness" in page.locator("#clef-picture-result .clef-summary").inner_text()


def test_a_video_is_recorded(open_page):
    page = open_page()
    go_to(page, "Video")
    page.locator("#clef-video").get_by_label("Capture from camera").click()
    page.locator("#clef-video").get_by_text("Click to Access Webcam").click()
    button = page.locator("#clef-video button[aria-label='start recording']")
    button.click()
    page.wait_for_timeout(1500)
    button.click()
    track = page.locator("#clef-video-result .clef-track")
    track.wait_for()
    assert "happiness" in track.locator(".clef-band").inner_text()
    assert track.locator(".clef-lane .clef-code").count() == 21
    page.wait_for_function("document.querySelector('#clef-overlay video')?.readyState >= 2")


def test_a_picture_is_pasted(open_page):
    page = open_page()
    page.evaluate(
        """async () => {
            const shown = document.querySelector('#clef-picture-result .clef-stage img');
            const canvas = Object.assign(document.createElement('canvas'), {
                width: shown.naturalWidth, height: shown.naturalHeight});
            canvas.getContext('2d').drawImage(shown, 0, 0);
            const png = await new Promise(done => canvas.toBlob(done, 'image/png'));
            await navigator.clipboard.write([new ClipboardItem({'image/png': png})]);
        }"""
    )
    page.locator("#clef-picture").get_by_label("Paste from clipboard").click()
    a_new_result(page, "#clef-picture-result")
    said = page.locator("#clef-picture-result .clef-summary").inner_text()
    assert said.startswith("Most like happiness") and "lip corner puller (AU12)" in said
