"""Relevance maps: of their form, against randomised weights, and against what hiding does to the score."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F
from transformers import CLIPVisionConfig, ResNetConfig, SiglipVisionConfig, SwinConfig

from modeling_clef import CLEFConfig, CLEFForImageClassification, CLEFModel
from modeling_clef.relevance_clef import relevance_map

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "clef-small"
LABELS = ("AU1", "AU9", "AU12", "AU25", "AU26", "AU45")


@pytest.fixture(scope="module")
def rendered(face_model_root):
    from processing.corpora import load_corpus

    pytest.importorskip("numba", reason="needs numba to render faces")
    return load_corpus("ict_facekit", root=str(face_model_root), split="test", subjects=9, frames=3, seed=7)


@pytest.fixture(scope="module")
def faces(rendered):
    from processing import CLEFImageProcessor

    return CLEFImageProcessor.from_pretrained(SHIPPED)(rendered["image"][:], return_tensors="pt")["pixel_values"]


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


def test_hiding_what_is_highlighted_lowers_the_score_more_than_hiding_as_much_elsewhere(model, rendered, faces):
    rng = np.random.default_rng(0)
    intensities, drops, elsewhere = rendered["action_units"][:], [], []
    for label in LABELS:
        column = model.config.label2id[label]
        # Where there is nothing to see, nothing can be hidden: a face without it may well look more like it then.
        shown = faces[[row[label] >= 1.5 for row in intensities]]
        assert len(shown), label
        maps = relevance_map(model, shown, column)
        plain = cosine(model, shown, column)
        highest = maps >= maps.flatten(1).quantile(0.85, dim=1)[:, None, None]
        shifts = [tuple(rng.integers(8, 56, 2)) for _ in shown]
        moved = torch.stack([mask.roll(shift, (0, 1)) for mask, shift in zip(highest, shifts, strict=True)])
        for mask, kept in ((highest, drops), (moved, elsewhere)):
            hidden = torch.where(mask[:, None], shown.mean(dim=(2, 3), keepdim=True), shown)
            kept.append(float((plain - cosine(model, hidden, column)).mean()))
    assert np.mean(drops) > 2 * max(np.mean(elsewhere), 0) and np.mean(drops) - np.mean(elsewhere) > 0.05


SIDE, PATCH, SQUARE = 32, 4, 8


def squares(count, seed):
    """Noise with a red or a blue square somewhere, and a green one that says nothing: images, colours, masks."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    colours = torch.randint(0, 2, (count,), generator=generator)
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for image, colour, mask in zip(images, colours, masks, strict=True):
        places = torch.randint(0, SIDE - SQUARE + 1, (2, 2), generator=generator).tolist()
        for (row, column), channel in zip(places, (1, 2 * int(colour)), strict=True):
            area = (slice(row, row + SQUARE), slice(column, column + SQUARE))
            image[(slice(None), *area)] = 0.3 * torch.randn(3, SQUARE, SQUARE, generator=generator)
            image[(channel, *area)] += 2
        mask[area] = True
    return images, colours, masks


def tower(kind):
    if kind == "resnet":
        return ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    if kind == "swin":
        return SwinConfig(image_size=SIDE, patch_size=2, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
    make = {"clip": CLIPVisionConfig, "siglip": SiglipVisionConfig}[kind]
    return make(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
    )


@pytest.fixture(scope="module", params=["clip", "siglip", "swin", "resnet"])
def trained(request, clip_text_config):
    """A tiny model that tells the colour of the square, and the embeddings (2, 16) of the colours."""
    torch.manual_seed(0)
    config = CLEFConfig(
        vision_config=tower(request.param).to_dict(), text_config=clip_text_config.to_dict(), projection_dim=16
    )
    model, embeds = CLEFModel(config), F.normalize(torch.randn(2, 16), dim=-1)
    optimizer = torch.optim.Adam(model.vision_model.parameters(), 3e-3)
    for step in range(80):
        images, colours, _ = squares(32, step)
        loss = F.cross_entropy(model.image_embeds(images) @ embeds.T * 10, colours)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    images, colours, _ = squares(64, 999)
    with torch.no_grad():
        assert ((model.image_embeds(images) @ embeds.T).argmax(1) == colours).float().mean() > 0.9
    return model, embeds


def test_a_tower_that_learned_a_square_shows_it(trained):
    model, embeds = trained
    images, colours, masks = squares(48, 1000)
    maps = relevance_map(model, images, embeds[colours])
    inside = (maps * masks).sum() / maps.sum()
    assert inside > 1.4 * masks.float().mean()  # what a map that knows nothing has there
    with torch.no_grad():
        plain = (model.image_embeds(images) * embeds[colours]).sum(dim=1)
        drops = []
        highest = maps >= maps.flatten(1).quantile(1 - SQUARE**2 / SIDE**2, dim=1)[:, None, None]
        rng = np.random.default_rng(0)
        for round_ in range(4):
            shifts = [tuple(rng.integers(8, 24, 2).tolist()) if round_ else (0, 0) for _ in images]
            moved = torch.stack([mask.roll(shift, (0, 1)) for mask, shift in zip(highest, shifts, strict=True)])
            hidden = torch.where(moved[:, None], 0, images)
            drops.append(float((plain - (model.image_embeds(hidden) * embeds[colours]).sum(dim=1)).mean()))
    assert drops[0] > 1.25 * max(np.mean(drops[1:]), 0) + 0.005


def test_attention_rollout_is_that_of_the_paper_where_the_class_token_is_pooled(clip_config):
    """Against a loop over layers, heads and images (Chefer et al. 2021, eqs. 5 and 6, row of the class token)."""
    model = CLEFModel(clip_config()).eval()
    images, embed = torch.randn(2, 3, 32, 32), torch.randn(16)
    found = relevance_map(model, images, embed)
    model.vision_model.set_attn_implementation("eager")
    for image, ours in zip(images, found, strict=True):
        outputs = model.encode_images(image[None], output_attentions=True)
        score = F.cosine_similarity(model.visual_projection(outputs.pooler_output), embed[None]).sum()
        slopes = torch.autograd.grad(score, outputs.attentions)
        relevance = torch.eye(5)
        for attention, slope in zip(outputs.attentions, slopes, strict=True):
            mean = torch.zeros(5, 5)
            for head in range(attention.shape[1]):
                mean += (attention[0, head] * slope[0, head]).clamp(min=0).detach() / attention.shape[1]
            relevance = relevance + mean @ relevance
        row = relevance[0, 1:].reshape(2, 2)
        expected = F.interpolate(row[None, None], size=(32, 32), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(ours, expected / expected.max(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_it_leaves_the_model_as_it_was(clip_config, action_units, implementation):
    model = CLEFForImageClassification(clip_config(label_sets=[action_units], freeze_vision=True)).train()
    model.clef.vision_model.set_attn_implementation(implementation)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():  # the caller's
        maps = relevance_map(model, torch.randn(2, 3, 32, 32), 1)
    assert maps.shape == (2, 32, 32) and not maps.requires_grad
    assert model.clef.vision_model.config._attn_implementation == implementation
    assert model.training and not model.clef.vision_model.training  # frozen towers stay in eval mode
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_column_is_its_name_s_embedding(sentence_config, action_units):
    model = CLEFForImageClassification(sentence_config(label_sets=[action_units])).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        embeds = model.label_head.embed_names(model.clef)
    by_column = relevance_map(model, images, 1)
    torch.testing.assert_close(by_column, relevance_map(model, images, embeds[1]))
    torch.testing.assert_close(by_column, relevance_map(model, images, 7 * embeds[1].expand(2, -1)))
    assert not torch.allclose(by_column, relevance_map(model, images, 0), atol=0.05)


def test_a_linear_head_is_explained_by_its_logit(sentence_config, action_units):
    model = CLEFForImageClassification(sentence_config(label_sets=[action_units], head="linear")).eval()
    images = torch.randn(1, 3, 32, 32)
    found = relevance_map(model, images, 1)
    pixels = images.clone().requires_grad_()
    outputs = model.clef.encode_images(pixels, output_hidden_states=True)
    logit = (model.label_head.classifier.weight[1] * outputs.pooler_output.flatten(1)).sum()
    (stage,) = [state for state in outputs.hidden_states[1:] if state.shape[-1] >= 8]
    (slope,) = torch.autograd.grad(logit, stage)
    cells = (stage * slope).sum(dim=1, keepdim=True).clamp(min=0).detach()
    expected = F.interpolate(cells, size=(32, 32), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(found, expected / expected.max(), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="linear head"):
        relevance_map(model, images, torch.randn(16))


def test_labels_that_are_none(sentence_config, action_units):
    model = CLEFForImageClassification(sentence_config(label_sets=[action_units])).eval()
    images = torch.randn(2, 3, 32, 32)
    for column in (-1, 2):
        with pytest.raises(ValueError, match=f"got column {column}, expected 0 to 1"):
            relevance_map(model, images, column)
    for shape in ((15,), (3, 16), (1, 1, 16)):
        with pytest.raises(ValueError, match="text embedding"):
            relevance_map(model, images, torch.randn(shape))
    with pytest.raises(ValueError, match="has no labels"):
        relevance_map(model.clef, images, 0)
