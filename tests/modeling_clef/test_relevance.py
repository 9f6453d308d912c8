"""Relevance maps: of their form, against randomised weights, and against what hiding does to the score."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from modeling_clef import CLEFForImageClassification
from modeling_clef.relevance_clef import relevance_map

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "clef-small"
LABELS = ("AU1", "AU9", "AU12", "AU25", "AU26", "AU45")


@pytest.fixture(scope="module")
def faces(face_model_root):
    from processing import CLEFImageProcessor
    from processing.corpora import load_corpus

    pytest.importorskip("numba", reason="needs numba to render faces")
    corpus = load_corpus("ict_facekit", root=str(face_model_root), split="test", subjects=9, frames=3, seed=7)
    rows = list(range(0, len(corpus), 2))
    images = corpus.select(rows)["image"][:]
    return CLEFImageProcessor.from_pretrained(SHIPPED)(images, return_tensors="pt")["pixel_values"]


@pytest.fixture
def model():
    return CLEFForImageClassification.from_pretrained(SHIPPED).eval()


def cosine(model, pixels, column):
    with torch.no_grad():
        output = model(pixels)
        return (output.image_embeds @ model.label_head.embed_names(model.clef).T)[:, column]


def test_a_map_has_the_size_of_the_image_and_its_highest_place_is_one(model):
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    maps = relevance_map(model, pixels, 8)
    assert maps.shape == (3, 64, 64) and maps.dtype == torch.float32
    assert maps.min() >= 0
    assert all(peak in (0, 1) for peak in maps.amax(dim=(1, 2)).tolist())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ValueError, match="pixel_values"):
        relevance_map(model, pixels[0], 8)


def test_each_image_has_a_map_of_its_own(model):
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    together = relevance_map(model, pixels, 8)
    for image, alone in zip(pixels, together, strict=True):
        torch.testing.assert_close(relevance_map(model, image[None], 8)[0], alone, atol=1e-4, rtol=1e-3)


def test_randomised_weights_give_other_maps(model, faces):
    """Adebayo et al. 2018, "Sanity Checks for Saliency Maps"."""
    column = model.config.label2id["AU12"]
    maps = relevance_map(model, faces[:8], column)
    torch.manual_seed(0)
    for module in model.clef.vision_model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    others = relevance_map(model, faces[:8], column)
    same = [spearmanr(a.flatten(), b.flatten())[0] for a, b in zip(maps, others, strict=True)]
    assert np.nanmean(same) < 0.5


def test_hiding_what_is_highlighted_lowers_the_score_more_than_hiding_as_much_elsewhere(model, faces):
    rng = np.random.default_rng(0)
    drops, elsewhere = [], []
    for label in LABELS:
        column = model.config.label2id[label]
        maps = relevance_map(model, faces, column)
        plain = cosine(model, faces, column)
        highest = maps >= maps.flatten(1).quantile(0.85, dim=1)[:, None, None]
        shifts = [tuple(rng.integers(8, 56, 2)) for _ in faces]
        moved = torch.stack([mask.roll(shift, (0, 1)) for mask, shift in zip(highest, shifts, strict=True)])
        for mask, kept in ((highest, drops), (moved, elsewhere)):
            hidden = torch.where(mask[:, None], faces.mean(dim=(2, 3), keepdim=True), faces)
            kept.append(float((plain - cosine(model, hidden, column)).mean()))
    assert np.mean(drops) > 2 * max(np.mean(elsewhere), 0) and np.mean(drops) > 0.05
