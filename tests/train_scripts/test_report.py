"""The quickstart's report, from small planted runs with real checkpoints."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import yaml

from modeling_clef import CLEFForImageClassification, CLEFForPreTraining
from processing.corpora import load_corpus
from train_scripts import report, report_data
from train_scripts.evaluate import evaluate_checkpoint
from train_scripts.labels import make_label_sets
from train_scripts.options import TrainingOptions
from train_scripts.report import write_report
from train_scripts.report_figures import as_png, embedding_maps, f1_bars, label_map, loss_curves
from train_scripts.towers import make_model, make_processor

FRACTIONS = ["0.05", "0.2"]
SECTIONS = ["results", "corpus", "losses", "embeddings", "labels", "action-units", "meaning"]


@pytest.fixture(scope="module")
def corpus_options(tmp_path_factory):
    return {
        "subjects": 9,
        "frames": 3,
        "image_size": 32,
        "seed": 0,
        "purity": 0.9,
        "cache_dir": str(tmp_path_factory.mktemp("corpus")),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus_options):
    """A run folder as the quickstart leaves it, with untrained networks and invented losses."""
    folder = tmp_path_factory.mktemp("quickstart") / "seed0"
    options = TrainingOptions(text_tower="tiny", image_size=32, projection_dim=16)
    torch.manual_seed(0)
    processor = make_processor(options)
    validation, test = (load_corpus("synthetic", split=s, **corpus_options) for s in ("validation", "test"))
    for arm, pairs in (("clef", "activity"), ("instance", "instance")):
        model = make_model(CLEFForPreTraining, options, processor, image_pairs=pairs, activity_text=pairs == "activity")
        _save(folder / arm / "pretrained", model, processor)
        _write_history(folder / arm / "pretrained", ["image_image_loss", "image_activity_loss"])
        recipe = {"batch_size": 16, "epochs": 1.0, "image_pairs": pairs}
        (folder / arm / "pretrained" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    label_sets = make_label_sets(test, ["action_units", "expression"], processor)
    model = make_model(
        CLEFForImageClassification, options, processor, label_sets=label_sets, head="names_and_descriptions"
    )
    evaluation = evaluate_checkpoint(model, processor, validation, test, progress=False)
    for arm in ("clef", "instance", "scratch"):
        for fraction in FRACTIONS:
            target = folder / arm / f"finetuned_{fraction}"
            _write_history(target, ["image_name_loss", "description_name_loss"])
            (target / "metrics.json").write_text(json.dumps({"evaluation": evaluation}))
    # Of the fine-tuned models only CLEF's with most labels is looked at.
    _save(folder / "clef" / f"finetuned_{FRACTIONS[-1]}", model, processor)
    return folder


def _save(folder, model, processor):
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _write_history(folder, losses):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"step": s, "total_steps": 40, "loss": 3.0} | {name: 3 - s / 40 for name in losses} for s in (20, 40)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def metrics():
    def figures(value):
        probe = {"action_units": {"mean_f1": value, "mean_auroc": 0.777}, "expression": {"accuracy": 0.456}}
        tuned = {"action_units": {"mean_f1": value, "mean_f1_at_half": 0.222}, "expression": {"accuracy": 0.5}}
        names = ("projection_nearest_neighbour", "projection_linear", "backbone_linear")
        return {
            "linear_probe": {f: probe for f in FRACTIONS},
            "fine_tuned": {f: tuned for f in FRACTIONS},
            "identity": {name: 1 - value for name in names},
        }

    arms = {"clef": figures(0.4321), "instance": figures(0.2344), "scratch": {}}
    arms["scratch"]["fine_tuned"] = figures(0.3)["fine_tuned"]
    return {"seed": 0, "seconds": {"clef pre-training <b>": 12.3, "total": 99.0}, "arms": arms}


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.tags, self.links, self.cells = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids.append(attributes.get("id"))
        self.links += [attributes[name] for name in ("src", "href", "srcset", "data", "action") if name in attributes]
        self.open = (tag, attributes.get("class") or "")

    def handle_data(self, data):
        if data.strip():
            self.cells.append((*getattr(self, "open", ("", "")), data.strip()))


def test_the_report_is_one_file_with_everything_in_it(run, corpus_options, metrics, tmp_path):
    path = write_report(tmp_path, run, corpus_options, metrics, FRACTIONS)
    assert path == tmp_path / "report.html" and list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size < 4e6
    text = path.read_text(encoding="utf-8")
    page = _Page(text)

    assert [i for i in page.ids if i in SECTIONS] == SECTIONS
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "url(" not in text and "@import" not in text and "$" not in text
    assert text.count("<img") >= 8  # four sheets, four plots; faces where there are any

    for value in ("43.2", "23.4", "30.0", "77.7", "45.6", "22.2", "56.8", "76.6"):
        assert value in text
    words = " ".join(text.split())
    for sentence in ("no evidence about BP4D", "not what a person feels", "partly true by construction"):
        assert sentence in words
    assert "python train_scripts/quickstart.py --subjects 9 --frames 3 --image_size 32" in words
    # Namespaces, styles and texts name no other host either.
    assert not re.search(r"https?:|//[a-z]", re.sub(r"data:image/[^\"]+", "", text))
    assert "clef pre-training &lt;b&gt;" in text and "pre-training <b>" not in text
    # Of two arms the higher F1 is marked, and the lower identity.
    best = {data for tag, _, data in page.cells if tag == "span"}
    assert {"43.2", "56.8"} <= best and not {"23.4", "76.6"} & best
    assert corpus_options["cache_dir"] not in text


def test_labels_are_escaped_and_several_seeds_show_their_spread(run, corpus_options, metrics, tmp_path, monkeypatch):
    """A checkpoint's label that would be markup, and a formula for the plots, is shown as it is written."""
    odd, position = '<img src="http://x">$x', 3
    load, read, matrix = report.load_classifier, report.read_metrics, report.label_matrix

    def load_with_odd_label(folder):
        model, processor = load(folder)
        model.config.label_sets[0]["labels"][position] = odd
        return model, processor

    def read_with_odd_label(folder):
        values = read(folder)
        labels = values["evaluation"]["action_units"]["labels"]
        labels[odd] = labels.pop(list(labels)[position]) | {"auroc": 0.999, "positives": 99}
        return values

    def matrix_of_known_label(corpus, label_sets):
        name = list(corpus.features["action_units"])[position]
        first = label_sets[0] | {"labels": [name if label == odd else label for label in label_sets[0]["labels"]]}
        return matrix(corpus, [first, *label_sets[1:]])

    def constant(part):
        return {k: constant(v) for k, v in part.items()} if isinstance(part, dict) else 0.0111

    monkeypatch.setattr(report, "load_classifier", load_with_odd_label)
    monkeypatch.setattr(report, "read_metrics", read_with_odd_label)
    monkeypatch.setattr(report, "label_matrix", matrix_of_known_label)
    metrics |= {"seeds": [0, 1, 2], "spread": constant(metrics["arms"])}
    text = write_report(tmp_path, run, corpus_options, metrics, FRACTIONS).read_text(encoding="utf-8")
    assert '<img src="http' not in text
    assert "Best: &lt;img src=&quot;http://x&quot;&gt;$x" in text
    assert "43.2 ± 1.1" in text and "over 3 seeds" in text and "--seeds 3" in text


def test_neighbour_share_against_a_loop():
    random = np.random.default_rng(0)
    embeds = random.normal(size=(60, 5))
    embeds /= np.linalg.norm(embeds, axis=1, keepdims=True)
    groups, clips = random.integers(0, 3, 60), random.integers(0, 12, 60)
    shares, chances = [], []
    for i in range(60):
        others = [j for j in range(60) if clips[j] != clips[i]]
        nearest = sorted(others, key=lambda j: -embeds[i] @ embeds[j])[: report_data.NEIGHBOURS]
        shares.append(np.mean([groups[j] == groups[i] for j in nearest]))
        chances.append(np.mean([groups[j] == groups[i] for j in others]))
    assert report_data.neighbour_share(embeds, groups, clips) == pytest.approx((np.mean(shares), np.mean(chances)))


def test_no_skill_by_hand():
    units = np.array([[1, 0], [0, 0], [0, np.nan], [0, 1.0]])
    expression = np.array([[1, 0], [1, 0], [0, 1], [np.nan, np.nan]])
    base = report_data.no_skill({"action_units": units, "expression": expression}, subjects=4)
    # Calling every frame positive: precision = rate (1/4, 1/3), recall 1.
    assert base.f1_by_label == pytest.approx([2 * 0.25 / 1.25, 2 * (1 / 3) / (4 / 3)])
    assert (base.accuracy, base.identity) == pytest.approx((2 / 3, 1 / 4))


def test_loss_of_rates_is_that_of_the_best_constant_logits():
    units = np.array([[1, 0], [0, 0], [0, 0], [0, 1.0]], dtype=np.float32)
    expression = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]], dtype=np.float32)
    truth = {"action_units": units, "expression": expression}
    logits = torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        binary = torch.nn.functional.binary_cross_entropy_with_logits(logits[:2].expand(4, 2), torch.tensor(units))
        return binary + torch.nn.functional.cross_entropy(logits[2:].expand(4, 3), torch.tensor(expression))

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    assert report_data.loss_of_rates(truth) == pytest.approx(float(loss().detach()), abs=1e-3)


def test_examples_are_what_their_headings_say(run, corpus_options):
    test = load_corpus("synthetic", split="test", **corpus_options)
    labels = ["AU4", "AU12"]
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, (len(test), 2)).astype(float)
    truth[:5, 0] = np.nan
    probabilities = random.random((len(test), 2))
    scores = {
        label: {"auroc": auroc, "f1": 0.5, "positives": 30, "threshold": 0.4}
        for label, auroc in zip(labels, (0.6, 0.9), strict=True)
    }
    best, worst = report_data.best_and_worst(test, {"labels": labels}, probabilities, truth, scores)
    assert (best.label, worst.label) == ("AU12", "AU4")
    for example, column in ((best, 1), (worst, 0)):
        p, y = probabilities[:, column], truth[:, column]
        right, wrong, missed = ([float(face.caption.split()[0]) for face in faces] for faces in example.rows.values())
        assert right[0] == pytest.approx(p[(y == 1)].max(), abs=0.006)
        assert wrong[0] == pytest.approx(p[(y == 0)].max(), abs=0.006)
        assert missed[0] == pytest.approx(p[(y == 1)].min(), abs=0.006)
        assert right == sorted(right, reverse=True) and missed == sorted(missed)
        assert min(right + wrong) >= 0.4 > max(missed)


def test_figures_draw_odd_input():
    """Dollar signs are no formulas, many groups repeat colours with other marks, single points are enough."""
    panel = report_data.MapPanel(r"a $\bad$ _c", np.random.rand(40, 2), np.array([f"S{i:03d}" for i in range(40)]), "$")
    curve = report_data.Curve("clef", [1], [1.0], 5.0, 0.0)
    drawn = [
        loss_curves({"a $": [curve], "b": [curve], "c": [curve]}),
        embedding_maps({"subject": [panel, panel]}),
        label_map(np.zeros((4, 2)), [r"a $\bad$", "b"], ["x", "y_z"]),
        label_map(np.random.rand(3, 2), ["a", "b", "c"], ["x"] * 3),
        f1_bars({"clef": [None, 0.5], "scratch": [0.1, 0.0]}, ["$", "b"], [0.1, 0.2]),
    ]
    assert all(as_png(figure).startswith(b"\x89PNG") for figure in drawn)
