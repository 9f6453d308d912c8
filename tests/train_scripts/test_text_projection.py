"""The text projection fitted anew: what it solves, what it keeps, and that it is chosen by phrasings left out."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.metrics import roc_auc_score

from modeling_clef.text_projection_clef import SHARPNESS, SOFTNESS
from train_scripts.text_projection import (
    NAME_STRENGTH,
    PARTS,
    LabelTexts,
    _other_texts,
    anchored_fit,
    fit_projection,
    text_rankings,
)


def some_texts(rng):
    others, names = rng.normal(size=(30, 6)), rng.normal(size=(4, 6))
    targets = rng.normal(size=(4, 3))
    owners, parts = rng.integers(0, 4, 30), np.arange(30) % (PARTS + 1) - 1
    return LabelTexts(names, targets / np.linalg.norm(targets, axis=1, keepdims=True), others, owners, parts)


def test_the_evidence_is_the_mean_of_a_gaussian_process_and_the_names_are_met():
    """exp(s (cosine - 1)) of unit vectors is a Gaussian of their distance, of length 1 / sqrt(s)."""
    texts = some_texts(np.random.default_rng(0))
    unit = [f / np.linalg.norm(f, axis=1, keepdims=True) for f in (texts.others, texts.names)]
    process = GaussianProcessRegressor(
        ConstantKernel(1.0, "fixed") * RBF(SHARPNESS**-0.5, "fixed"), alpha=np.repeat([0.2, NAME_STRENGTH], [30, 4])
    )
    process.fit(np.concatenate(unit), np.concatenate([np.eye(4)[texts.owners], np.eye(4)]))
    new = np.random.default_rng(1).normal(size=(5, 6))
    evidence = process.predict(new / np.linalg.norm(new, axis=1, keepdims=True))
    parts = ((evidence + np.sqrt(evidence**2 + SOFTNESS**2)) / 2) ** 2
    fit = anchored_fit(0.2)(texts.others, texts.owners, texts.names, texts.targets)
    expected = (parts / parts.sum(axis=1, keepdims=True)) @ texts.targets
    np.testing.assert_allclose(fit(new), expected, atol=2e-2)  # anchors are rounded, labels bent for the names
    np.testing.assert_allclose(fit(texts.names), texts.targets, atol=1e-9)  # which are exact


def test_the_module_computes_what_was_fitted():
    texts = some_texts(np.random.default_rng(2))
    given = texts.others, texts.owners, texts.names, texts.targets
    projection = fit_projection(*given, 0.05)
    fit = anchored_fit(0.05)(*given)
    anchors = projection.anchors.numpy()
    found = projection.float()(torch.from_numpy(texts.others).float()).numpy()
    np.testing.assert_allclose(found, fit(texts.others), atol=1e-5)
    np.testing.assert_array_equal(anchors, anchors.astype(np.float16))


def test_what_is_ranked_was_left_out_of_the_fit():
    texts = some_texts(np.random.default_rng(3))
    images, truth = np.random.default_rng(4).normal(size=(40, 3)), np.eye(4)[np.arange(40) % 4]
    seen = []

    def fit(features, owners, names, targets):
        np.testing.assert_array_equal(names, texts.names)
        assert len(features) == len(owners)
        np.testing.assert_array_equal(targets, texts.targets)

        def embed(others):
            shared = (others[:, None] == features[None]).all(axis=-1)
            seen.append((shared.any(), len(features) + len(others)))
            return others[:, :3]

        return embed

    rankings = texts.held_out_rankings(fit, images, truth)
    assert seen == [(False, 30)] * PARTS
    assert len(rankings) == (texts.parts >= 0).sum()


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
    assert text_rankings(embeds, owners, images, truth) == pytest.approx(expected)


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
    # Features of a tiny untrained tower hardly differ from text to text: large weights, hence much rounding.
    torch.testing.assert_close(after[0], before[0], atol=2e-3, rtol=1e-3)
    assert (after[1] - before[1]).abs().max() > 1e-2
    assert str(report["strength"]) == max(report["held_out_auroc"], key=report["held_out_auroc"].get)
    assert 0 < report["names_auroc"] < 1
    assert model.config.text_anchors == len(model.clef.text_projection.anchors) > 100
    assert model.config.text_anchor_labels == len(model.config.label_sets[0]["labels"])
    again = module.refit_text_projection(model, processor, corpus)  # of a model that has anchors already
    assert again["held_out_auroc"] == pytest.approx(report["held_out_auroc"], abs=1e-3)
    model.freeze_labels()
    with pytest.raises(ValueError, match="text-free"):
        module.refit_text_projection(model, processor, corpus)
