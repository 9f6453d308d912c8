"""The linear map that the text projection is compared with, and what the comparison reports."""

import numpy as np
import pytest
from scipy.optimize import minimize

from benchmarks import unseen_words
from benchmarks.unseen_words import RIDGE_STRENGTHS, linear_fit, measure
from modeling_clef import CLEFForImageClassification
from processing.corpora import load_corpus
from train_scripts.finetune import FinetuningOptions
from train_scripts.labels import make_label_sets
from train_scripts.text_projection import STRENGTHS
from train_scripts.towers import make_model, make_processor


def test_the_linear_map_is_what_a_general_optimiser_finds():
    rng = np.random.default_rng(0)
    features, owners = rng.normal(size=(30, 6)), rng.integers(0, 3, 30)
    names, targets = rng.normal(size=(3, 6)), rng.normal(size=(3, 2))
    embed = linear_fit(0.4)(features, owners, names, targets)
    penalty = 0.4 * (features**2).sum(axis=1).mean()

    def loss(flat):
        w = flat.reshape(2, 6)
        return ((features @ w.T - targets[owners]) ** 2).sum() + penalty * (w**2).sum()

    constraint = {"type": "eq", "fun": lambda flat: (names @ flat.reshape(2, 6).T - targets).ravel()}
    found = minimize(loss, np.zeros(12), constraints=[constraint], tol=1e-12).x.reshape(2, 6)
    np.testing.assert_allclose(embed(names), targets, atol=1e-10)
    np.testing.assert_allclose(embed(np.eye(6)), found.T, atol=1e-4)


def test_both_maps_are_measured_on_the_same_phrasings():
    options = FinetuningOptions(text_tower="tiny", image_size=32, projection_dim=16, freeze_text=True)
    processor = make_processor(options)
    corpus = load_corpus("synthetic", split="validation", subjects=9, frames=4, image_size=48)
    label_sets = make_label_sets(corpus, ["action_units"], processor, phrasings=True)
    model = make_model(CLEFForImageClassification, options, processor, label_sets=label_sets, head="names").eval()
    measured = measure(model, processor, corpus)
    assert measured["frames"] == len(corpus) and measured["phrasings"] > 100
    assert measured["linear"]["strength"] in RIDGE_STRENGTHS and measured["anchored"]["strength"] in STRENGTHS
    for auroc in (measured["names"], measured["linear"]["auroc"], measured["anchored"]["auroc"]):
        assert auroc == pytest.approx(0.5, abs=0.15)  # an untrained network knows nothing


def test_help_says_all_that_is_measured(capsys):
    with pytest.raises(SystemExit):
        unseen_words.main(["--help"])
    assert unseen_words.__doc__.strip() in capsys.readouterr().out
