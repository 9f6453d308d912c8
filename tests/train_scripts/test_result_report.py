"""The results page, from planted predictions."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from train_scripts import result_figures as figures
from train_scripts.cross_validate import fold_table
from train_scripts.report_figures import as_png
from train_scripts.result_report import write_report
from train_scripts.results import SELECTED_ON_TEST, summarise_predictions
from train_scripts.results_text import results_table

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Notes tags, ids, links and text; fails on tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.text, self.tags = [], [], [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        self.sources += [attributes["src"]] if "src" in attributes else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def results(plant_predictions):
    folds = plant_predictions(no_face=0.05)
    units = {"mean_f1_at_half": 0.654321, "labels": {label: {"f1_at_half": 0.6} for label in ("AU4", "AU6", "AU12")}}
    epochs = [[{"epoch": 4, "test": {"action_units": units}}]] * 3
    paper = {"f1": 65.9, "source": "Table <1> & 2", "labels": {"AU12": 87.8}}
    return summarise_predictions(folds, epochs, resamples=50, paper=paper, epoch_selection="by <validation>")


def test_the_page_is_whole_and_loads_nothing(results, tmp_path):
    text = write_report(json.loads(json.dumps(results)), tmp_path, title="Folds & <faces>").read_text()
    page = Page(text)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert set(page.links) == {f"#{name}" for name in page.ids} and "$" not in page.text
    assert "Folds & <faces>" in page.text and "Table <1> & 2" in page.text and "by <validation>" in page.text
    for source in page.sources:
        image = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
        assert np.asarray(image.convert("L")).std() > 5
    # Bars and reliability for both sets, confusion for one, folds and groups for both.
    assert len(page.sources) == 2 * 2 + 1 + 2 * 2


def test_honest_and_paper_style_stand_side_by_side(results, tmp_path):
    text = write_report(results, tmp_path).read_text()
    row = re.search(r"<tr><td>AU F1</td>.*?</tr>", text).group()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", row)
    pooled = results["scores"]["action_units"]["pooled"]
    score = pooled["scores"]["mean_f1"]
    low, high = score["interval"]
    assert cells[1] == f"{100 * score['value']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    assert cells[3] == f"{100 * pooled['faces_only']['mean_f1']:.1f}" != cells[1].split()[0]
    assert cells[4:] == ["65.4 ± 0.0", "65.9"]
    page = Page(text)
    assert SELECTED_ON_TEST in page.text and "no face was detected" in page.text and "18 test subjects" in page.text
    assert "gender: woman" in page.text


def test_intervals_stand_below_the_scores_of_each_label(results, tmp_path):
    text = write_report(results, tmp_path).read_text()
    score = results["scores"]["action_units"]["pooled"]["labels"]["AU12"]["f1"]
    low, high = score["interval"]
    assert f"<td>{100 * score['value']:.1f}<small>[{100 * low:.1f}, {100 * high:.1f}]</small></td>" in text


def test_one_run_without_folds_groups_or_faceless_frames(plant_predictions, tmp_path):
    folds = plant_predictions(folds=1, groups=False)
    folds[0].fold = None
    folds[0].labels[:, 1] = np.nan
    page = Page(write_report(summarise_predictions(folds, resamples=20), tmp_path).read_text())
    assert "one run" in page.text and "not available" in page.text
    assert len(page.sources) == 2 * 2 + 1


def test_sets_of_one_s_own_have_their_names_on_the_page_and_in_the_tables(plant_predictions, tmp_path):
    folds = plant_predictions(folds=2)
    for fold in folds:
        # The action units once more, as other labels with other answers.
        fold.label_sets += [fold.label_sets[0] | {"name": "<gaze> & more", "labels": ["up", "down", "away"]}]
        fold.labels = np.concatenate([fold.labels, fold.labels[:, :3]], axis=1)
        fold.logits = np.concatenate([fold.logits, -fold.logits[:, :3]], axis=1)
    results = summarise_predictions(folds, resamples=10, paper={"f1": 65.9})
    page = Page(write_report(results, tmp_path).read_text())
    assert "<gaze> & more" in page.ids and set(page.links) == {f"#{name}" for name in page.ids}
    assert "<gaze> & more: AUROC" in page.text and "AU AUROC" in page.text
    rows = {row[0]: row[1:] for row in fold_table(results)}
    own, units = rows["<gaze> & more: AUROC (honest)"][0], rows["AU AUROC (honest)"][0]
    assert float(own) == pytest.approx(100 - float(units), abs=0.11)
    (line,) = [line for line in results_table(results).splitlines() if line.startswith("<gaze> & more: F1  ")]
    assert line.endswith("–")


def test_the_faceless_column_is_there_only_when_needed():
    full, bare = (
        figures.confusion_matrix(["a", "b"], [[3, 1, lost], [0, 4, 0]]).axes[0].get_xticklabels() for lost in (2, 0)
    )
    assert [label.get_text() for label in full] == ["a", "b", "no face"]
    assert [label.get_text() for label in bare] == ["a", "b"]


def test_bars_show_values_and_intervals():
    scores = [{"value": 0.5, "interval": [0.4, 0.7]}, {"value": None, "interval": None}]
    figure = figures.label_bars(["first", "second"], scores, {"paper": [None, 0.3]})
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [50, 0]
    (whisker,) = axes.lines
    assert list(whisker.get_xdata()) == pytest.approx([40, 70])
    assert as_png(figure).startswith(b"\x89PNG")
