"""The text projection fitted anew: what it solves, what it keeps, and that it is chosen by phrasings left out."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from train_scripts.text_projection import PARTS, _other_texts, _rankings, constrained_ridge


def test_the_constrained_ridge_is_what_a_general_optimiser_finds():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(30, 6)), rng.normal(size=(30, 2))
    fixed, fixed_targets = rng.normal(size=(3, 6)), rng.normal(size=(3, 2))
    weight = constrained_ridge(features, targets, fixed, fixed_targets, 2.5)

    def loss(flat):
        w = flat.reshape(2, 6)
        return ((features @ w.T - targets) ** 2).sum() + 2.5 * (w**2).sum()

    constraint = {"type": "eq", "fun": lambda flat: (fixed @ flat.reshape(2, 6).T - fixed_targets).ravel()}
    found = minimize(loss, np.zeros(12), constraints=[constraint], tol=1e-12).x.reshape(2, 6)
    np.testing.assert_allclose(fixed @ weight.T, fixed_targets, atol=1e-10)
    np.testing.assert_allclose(weight, found, atol=1e-4)


def test_rankings_are_aurocs_of_each_text_over_the_frames_whose_label_is_known():
    rng = np.random.default_rng(1)
    images, embeds = rng.normal(size=(50, 4)), rng.normal(size=(3, 4))
    truth = (rng.random((50, 3)) < 0.4).astype(float)
    truth[:10, 0] = np.nan
    truth[:, 2] = 0  # never present: no ranking
    owners = np.array([1, 0, 2])
    similarities = images @ (embeds / np.linalg.norm(embeds, axis=1, keepdims=True)).T
    expected = [
        roc_auc_score(truth[10:, 0], similarities[10:, 1]),
        roc_auc_score(truth[:, 1], similarities[:, 0]),
    ]
    assert _rankings(embeds, owners, images, truth) == pytest.approx(expected)


def test_a_phrasing_is_left_out_in_all_its_templates_at_once():
    from processing.phrasings_clef import PHRASINGS

    class Prompts:  # what a CLEFProcessor gives, without a tokenizer
        def description_prompts(self, labels):
            return [[f"description of {label}"] for label in labels]

        def phrasing_prompts(self, labels):
            return [[f"{t} {phrase}" for phrase in PHRASINGS[label] for t in ("a", "b")] for label in labels]

    texts, owners, parts = _other_texts(Prompts(), ["AU12", "AU45"])
    assert set(parts) == {-1, *range(PARTS)}
    for phrase_number, phrase in enumerate(PHRASINGS["AU45"]):
        rows = [i for i, text in enumerate(texts) if owners[i] == 1 and text[2:] == phrase]
        assert [parts[i] for i in rows] == [phrase_number % PARTS] * 2
    assert [parts[i] for i, text in enumerate(texts) if text.startswith("description")] == [-1, -1]


def test_names_keep_their_logits_and_other_words_move(monkeypatch):
    from datasets import Dataset

    import train_scripts.text_projection as module
    from modeling_clef import CLEFForImageClassification
    from processing.corpora import load_corpus
    from train_scripts.finetune import FinetuningOptions
    from train_scripts.labels import make_label_sets
    from train_scripts.towers import make_model, make_processor

    options = FinetuningOptions(text_tower="tiny", image_size=32, projection_dim=16, freeze_text=True)
    processor = make_processor(options)
    corpus: Dataset = load_corpus("synthetic", split="validation", subjects=9, frames=4, image_size=48)
    label_sets = make_label_sets(corpus, ["action_units"], processor, phrasings=True)
    model = make_model(CLEFForImageClassification, options, processor, label_sets=label_sets, head="names").eval()
    pixels = processor(images=corpus[0]["image"])["pixel_values"]
    smile = processor(labels={"smile": "a big smile"})
    with torch.no_grad():
        before = model(pixels).logits, model.clef.text_embeds(smile["input_ids"], smile["attention_mask"])
        report = module.refit_text_projection(model, processor, corpus)
        after = model(pixels).logits, model.clef.text_embeds(smile["input_ids"], smile["attention_mask"])
    torch.testing.assert_close(after[0], before[0], atol=1e-4, rtol=1e-4)
    assert (after[1] - before[1]).abs().max() > 1e-2
    assert report["strength"] >= float(max(report["held_out_auroc"], key=report["held_out_auroc"].get))
    model.freeze_labels()
    with pytest.raises(ValueError, match="text-free"):
        module.refit_text_projection(model, processor, corpus)


def test_the_strongest_of_those_as_good_is_chosen():
    from train_scripts.text_projection import choose_strength

    spread = [-0.1, 0.1] * 50  # standard error .01
    means = {0.1: 0.79, 0.3: 0.8, 1.0: 0.795, 3.0: 0.785}
    assert choose_strength({key: [mean + x for x in spread] for key, mean in means.items()}) == 1.0
    assert choose_strength({key: [mean] * 100 for key, mean in means.items()}) == 0.3
