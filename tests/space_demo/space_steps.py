"""What a visitor does on the page, for Playwright."""

import json


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


def problem(page, where, sentence):
    """Waits until the sentence is shown as a refusal, and nothing else beside it."""
    page.wait_for_function(
        "([where, sentence]) => document.querySelector(`${where} [role=alert]`)?.innerText.includes(sentence)",
        arg=[where, sentence],
    )
    assert page.locator(f"{where} .clef-result").count() == 0


def a_new_result(page, where):
    """Waits for a result that is not the example of the arrival."""
    page.wait_for_function(
        "where => !document.querySelector(where).innerText.includes('An example') && "
        "document.querySelector(`${where} .clef-result`)",
        arg=where,
    )
