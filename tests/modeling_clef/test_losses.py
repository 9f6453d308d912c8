"""Against loops in float64 numpy that follow the definitions word by word."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from modeling_clef import tiled_losses_clef
from modeling_clef.losses_clef import (
    description_name_contrastive_loss,
    image_text_contrastive_loss,
    instance_discrimination_loss,
    masked_binary_loss,
    masked_cross_entropy,
    supervised_contrastive_loss,
)

GROUPS = torch.tensor([0, 0, 5, -1, 5, 5, 7, -1])  # 7 is alone, -1 unknown
NAN = float("nan")


def embeddings(*shape, dtype=torch.float64):
    return F.normalize(torch.randn(*shape, dtype=dtype), dim=-1).requires_grad_()


def log_of_mean_share(logits, positives):
    """Mean over `positives` of -log softmax of `logits` (a dict from column to value)."""
    total = sum(math.exp(value) for value in logits.values())
    return float(np.mean([-math.log(math.exp(logits[p]) / total) for p in positives]))


def supervised_contrastive_loop(embeds, groups, temperature):
    losses = []
    for i in range(len(embeds)):
        others = [j for j in range(len(embeds)) if j != i and groups[j] >= 0]
        positives = [j for j in others if groups[j] == groups[i]]
        if groups[i] < 0 or not positives:
            continue
        logits = {j: float(embeds[i] @ embeds[j]) / temperature for j in others}
        losses.append(log_of_mean_share(logits, positives))
    return np.mean(losses)


def image_text_loop(images, texts, ids, scale):
    to_text, to_image = [], []
    for i in range(len(images)):
        if 0 <= ids[i] < len(texts):
            logits = {t: scale * float(images[i] @ texts[t]) for t in range(len(texts))}
            to_text.append(log_of_mean_share(logits, [ids[i]]))
    for t in range(len(texts)):
        logits = {i: scale * float(images[i] @ texts[t]) for i in range(len(images)) if ids[i] >= 0}
        positives = [i for i in range(len(images)) if ids[i] == t]
        if positives:
            to_image.append(log_of_mean_share(logits, positives))
    return (np.mean(to_text) + np.mean(to_image)) / 2


@pytest.mark.parametrize("tile", [tiled_losses_clef.TILE_ELEMENTS, 16])
def test_supervised_contrastive_loss_follows_its_definition(tile, monkeypatch):
    monkeypatch.setattr(tiled_losses_clef, "TILE_ELEMENTS", tile)
    embeds = embeddings(8, 5)
    expected = supervised_contrastive_loop(embeds.detach().numpy(), GROUPS.tolist(), 0.2)
    assert supervised_contrastive_loss(embeds, GROUPS, 0.2).item() == pytest.approx(expected, abs=1e-12)
    assert torch.autograd.gradcheck(lambda e, t: supervised_contrastive_loss(e, GROUPS, t), (embeds, temperature(0.2)))


def temperature(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def test_tiles_give_the_gradients_of_the_whole(monkeypatch):
    embeds = embeddings(40, 5)
    groups = torch.arange(40) % 4
    gradients = []
    for tile in (2**24, 100):
        monkeypatch.setattr(tiled_losses_clef, "TILE_ELEMENTS", tile)
        gradients += torch.autograd.grad(supervised_contrastive_loss(embeds, groups, 0.1), embeds)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-14)


def test_rows_without_a_known_group_change_nothing():
    embeds = embeddings(8, 5)
    known = GROUPS >= 0
    whole = supervised_contrastive_loss(embeds, GROUPS, 0.2)
    torch.testing.assert_close(whole, supervised_contrastive_loss(embeds[known], GROUPS[known], 0.2))
    gradient = torch.autograd.grad(whole, embeds)[0]
    assert not gradient[~known].any() and gradient[known].any()


def test_instance_discrimination_is_ntxent():
    embeds = embeddings(4, 2, 5)
    ids = torch.arange(4).repeat_interleave(2)
    expected = supervised_contrastive_loop(embeds.detach().flatten(0, 1).numpy(), ids.tolist(), 0.5)
    assert instance_discrimination_loss(embeds, 0.5).item() == pytest.approx(expected, abs=1e-12)


IMAGE_TEXTS = torch.tensor([0, 1, 1, -1, 0, 9, 1])  # text 2 has no image, 9 no text


def test_image_text_loss_follows_its_definition():
    images, texts = embeddings(7, 5), embeddings(3, 5)
    expected = image_text_loop(images.detach().numpy(), texts.detach().numpy(), IMAGE_TEXTS.tolist(), 6.0)
    loss = image_text_contrastive_loss(images, texts, IMAGE_TEXTS, 6.0)
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    assert torch.autograd.gradcheck(
        lambda i, t, s: image_text_contrastive_loss(i, t, IMAGE_TEXTS, s), (images, texts, temperature(6.0))
    )


def test_one_image_a_text_is_clips_loss():
    images, texts = embeddings(4, 5), embeddings(4, 5)
    logits = 7 * images @ texts.T
    expected = (F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(logits.T, torch.arange(4))) / 2
    torch.testing.assert_close(image_text_contrastive_loss(images, texts, torch.arange(4), 7.0), expected)


def test_text_rows_of_one_id_count_once():
    images, texts = embeddings(7, 5), embeddings(3, 5)
    ids = torch.tensor([4, 2, 2, -1, 4, 9, 2])
    once = image_text_contrastive_loss(images, texts, ids, 6.0, torch.tensor([4, 2, 6]))
    torch.testing.assert_close(once, image_text_contrastive_loss(images, texts, IMAGE_TEXTS, 6.0))
    rows = torch.tensor([0, 1, 0, 2, 1])
    twice = image_text_contrastive_loss(images, texts[rows], ids, 6.0, torch.tensor([4, 2, 6])[rows])
    torch.testing.assert_close(twice, once)
    # The mean of duplicates: logits of different rows of one id are averaged.
    mixed = torch.stack([texts[0], (texts[1] + texts[2]) / 2])
    pair = image_text_contrastive_loss(images, texts, ids, 6.0, torch.tensor([4, 2, 2]))
    torch.testing.assert_close(pair, image_text_contrastive_loss(images, mixed, ids, 6.0, torch.tensor([4, 2])))


def test_description_name_loss_follows_its_definition():
    descriptions, names = embeddings(3, 5), embeddings(3, 5)
    d, n = descriptions.detach().numpy(), names.detach().numpy()
    both = [
        log_of_mean_share({j: 9 * float(a[i] @ b[j]) for j in range(3)}, [i])
        for a, b in ((d, n), (n, d))
        for i in range(3)
    ]
    assert description_name_contrastive_loss(descriptions, names, 9.0).item() == pytest.approx(np.mean(both), abs=1e-12)
    assert torch.autograd.gradcheck(lambda a, b: description_name_contrastive_loss(a, b, 9.0), (descriptions, names))


def test_masked_binary_loss_follows_its_definition():
    logits = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1, 0], [NAN, 1], [NAN, NAN]])
    sigmoid = 1 / (1 + np.exp(-logits.detach().numpy()))
    terms = [-np.log(sigmoid[0, 0]), -np.log(1 - sigmoid[0, 1]), -np.log(sigmoid[1, 1])]
    assert masked_binary_loss(logits, labels).item() == pytest.approx(np.mean(terms), abs=1e-12)
    weights = torch.tensor([3.0, 5.0], dtype=torch.float64)
    weighted = np.mean([3 * terms[0], terms[1], 5 * terms[2]])
    assert masked_binary_loss(logits, labels, weights).item() == pytest.approx(weighted, abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: masked_binary_loss(x, labels, weights), (logits,))
    gradient = torch.autograd.grad(masked_binary_loss(logits, labels), logits)[0]
    assert torch.equal(gradient == 0, labels.isnan())


def test_masked_cross_entropy_follows_its_definition():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[0, 1, 0], [1, 0, 0], [NAN, NAN, NAN], [0, 0, 1]])
    classes = torch.tensor([1, 0, -1, 2])
    log_p = np.log(np.exp(logits.detach().numpy()) / np.exp(logits.detach().numpy()).sum(1, keepdims=True))
    terms = [-log_p[0, 1], -log_p[1, 0], -log_p[3, 2]]
    weights = torch.tensor([2.0, 1.0, 4.0], dtype=torch.float64)
    weighted = (terms[0] + 2 * terms[1] + 4 * terms[2]) / 7
    for given in (labels, classes):
        assert masked_cross_entropy(logits, given).item() == pytest.approx(np.mean(terms), abs=1e-12)
        assert masked_cross_entropy(logits, given, weights).item() == pytest.approx(weighted, abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: masked_cross_entropy(x, labels, weights), (logits,))


@pytest.mark.parametrize("loss", [masked_binary_loss, masked_cross_entropy])
@pytest.mark.parametrize("dtype", [torch.float32, torch.long])
def test_negative_labels_are_unknown(loss, dtype):
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[0, 1, 0], [1, 0, 0], [-1, -1, -1], [0, 0, 1]])
    expected = loss(logits[[0, 1, 3]], labels[[0, 1, 3]])
    torch.testing.assert_close(loss(logits, labels.to(dtype)), expected)
    assert not torch.autograd.grad(loss(logits, labels.to(dtype)), logits)[0][2].any()


def test_one_negative_label_is_unknown_alone_or_with_its_row():
    logits = torch.randn(2, 2, dtype=torch.float64)
    labels = torch.tensor([[1, -1], [0, 1]])
    with_nan = torch.tensor([[1, NAN], [0, 1]])
    for loss in (masked_binary_loss, masked_cross_entropy):
        assert torch.equal(loss(logits, labels), loss(logits, with_nan))


NOTHING_TO_LEARN = {
    "no positives": lambda x: supervised_contrastive_loss(x, torch.arange(4), 0.1),
    "no known group": lambda x: supervised_contrastive_loss(x, torch.full((4,), -1), 0.1),
    "no image of a text": lambda x: image_text_contrastive_loss(x, x[:2], torch.full((4,), -1), 10.0),
    "no known label": lambda x: masked_binary_loss(x, torch.full((4, 5), NAN)),
    "no known row": lambda x: masked_cross_entropy(x, torch.full((4, 5), NAN)),
}


@pytest.mark.parametrize("case", NOTHING_TO_LEARN)
def test_nothing_to_learn_is_zero_with_a_graph(case):
    rows = embeddings(4, 5)
    loss = NOTHING_TO_LEARN[case](rows)
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, rows)[0].any()  # zeros, not NaN


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_finite_at_logit_scale_100_in_half_precision(dtype):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images, texts = embeddings(8, 16, dtype=dtype), embeddings(3, 16, dtype=dtype)
        scale = torch.tensor(100.0, requires_grad=True)
        loss = supervised_contrastive_loss(images, torch.arange(8) % 3, 1 / scale)
        loss = loss + image_text_contrastive_loss(images, texts, torch.arange(8) % 3, scale)
        loss = loss + description_name_contrastive_loss(texts, -texts, scale)
        loss = (
            loss
            + masked_binary_loss(100 * images, torch.ones(8, 16))
            + masked_cross_entropy(100 * images, torch.zeros(8).long())
        )
    assert loss.dtype == torch.float32  # also under autocast
    gradients = torch.autograd.grad(loss, (images, texts, scale))
    assert all(torch.isfinite(value).all() for value in (loss, *gradients))


def test_autocast_changes_nothing():
    images, texts = embeddings(8, 16, dtype=torch.float32), embeddings(3, 16, dtype=torch.float32)
    plain = image_text_contrastive_loss(images, texts, torch.arange(8) % 3, 20.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(image_text_contrastive_loss(images, texts, torch.arange(8) % 3, 20.0), plain)


def test_shapes_that_do_not_fit_are_refused():
    rows = embeddings(4, 5)
    with pytest.raises(ValueError, match=r"group_ids \(3,\) for embeddings \(4, 5\)"):
        supervised_contrastive_loss(rows, torch.arange(3), 0.1)
    with pytest.raises(ValueError, match=r"text_row_ids \(3,\)"):
        image_text_contrastive_loss(rows, rows, torch.arange(4), 1.0, torch.arange(3))
    with pytest.raises(ValueError, match=r"labels \(4, 3\) for logits \(4, 5\)"):
        masked_binary_loss(rows, torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"labels \(3,\)"):
        masked_cross_entropy(rows, torch.zeros(3).long())
    with pytest.raises(ValueError, match="one description a name"):
        description_name_contrastive_loss(rows[:3], rows, 1.0)
