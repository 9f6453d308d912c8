"""The projection by anchors: what it computes, that it is saved, loaded, trained and joined like the linear one."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

from modeling_clef import CLEFForImageClassification, CLEFModel
from modeling_clef.text_projection_clef import SHARPNESS, SOFTNESS, AnchoredProjection

ANCHORS, LABELS = 7, 4
OPTIONS = {"text_anchors": ANCHORS, "text_anchor_labels": LABELS}


@pytest.fixture
def projection():
    made = AnchoredProjection(6, 3, ANCHORS, LABELS)
    made.anchors /= made.anchors.norm(dim=1, keepdim=True)
    return made


def test_it_mixes_the_labels_that_speak_for_a_text(projection):
    features = torch.randn(5, 6)
    expected = np.zeros((5, 3))
    for row in range(5):
        evidence = np.zeros(LABELS)
        for anchor in range(ANCHORS):
            known, weight = projection.anchors[anchor].numpy(), projection.weight[:, anchor].detach().numpy()
            cosine = features[row].numpy() @ known / np.linalg.norm(features[row])
            evidence += np.exp(SHARPNESS * (cosine - 1)) * weight
        parts = ((evidence + np.sqrt(evidence**2 + SOFTNESS**2)) / 2) ** 2
        np.testing.assert_allclose(projection.shares(features)[row].detach(), parts / parts.sum(), rtol=1e-3, atol=1e-5)
        for label in range(LABELS):
            expected[row] += parts[label] / parts.sum() * projection.labels[label].detach().numpy()
    np.testing.assert_allclose(projection(features).detach(), expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(projection(5 * features), projection(features))  # directions count, not lengths


def test_no_text_leaves_the_labels_and_one_that_is_like_none_lies_in_their_middle():
    """A linear map would send the opposite of a label's text as far out as the label."""
    projection = AnchoredProjection(6, 3, 1, LABELS)
    projection.anchors /= projection.anchors.norm(dim=1, keepdim=True)
    with torch.no_grad():
        projection.weight.copy_(torch.eye(LABELS)[:, :1])
        assert projection.shares(projection.anchors).argmax() == 0 and projection.shares(projection.anchors).max() > 0.9
        shares = projection.shares(torch.cat([-projection.anchors, torch.zeros(1, 6)]))
        torch.testing.assert_close(shares, torch.full((2, LABELS), 1 / LABELS), atol=0.05, rtol=0)
        everywhere = projection.shares(torch.randn(50, 6))
    assert everywhere.min() >= 0
    torch.testing.assert_close(everywhere.sum(dim=1), torch.ones(50))


def test_labels_that_nothing_speaks_for_still_learn(projection):
    with torch.no_grad():
        projection.weight.fill_(-1.0)
    projection(torch.randn(2, 6)).square().sum().backward()
    assert (projection.weight.grad.abs().sum(dim=1) > 0).all()


def test_weights_and_labels_train_and_anchors_do_not(projection):
    assert [name for name, _ in projection.named_parameters()] == ["weight", "labels"]
    projection(torch.randn(2, 6)).square().sum().backward()
    assert projection.weight.grad.abs().sum() > 0 and projection.labels.grad.abs().sum() > 0
    assert "anchors" in projection.state_dict()


def test_anchors_of_no_label_are_refused(sentence_config):
    with pytest.raises(ValueError, match="7 text_anchors speak for 0 labels: set text_anchor_labels"):
        CLEFModel(sentence_config(text_anchors=ANCHORS))


def anchored(config) -> CLEFForImageClassification:
    model = CLEFForImageClassification(config).eval()
    assert isinstance(model.clef.text_projection, AnchoredProjection)
    return model


def test_a_model_with_anchors_is_saved_and_loaded(sentence_config, action_units, tmp_path):
    model = anchored(sentence_config(label_sets=[action_units], **OPTIONS))
    model.save_pretrained(tmp_path)
    tokens = torch.tensor([[2, 9, 3], [2, 8, 3]])
    for loaded in (CLEFForImageClassification.from_pretrained(tmp_path).clef, AutoModel.from_pretrained(tmp_path)):
        assert loaded.config.text_anchors == ANCHORS
        assert torch.equal(loaded.text_projection.anchors, model.clef.text_projection.anchors)
        torch.testing.assert_close(loaded.eval().text_embeds(tokens), model.clef.text_embeds(tokens))


def test_labels_are_frozen_and_the_tower_joined_as_ever(sentence_config, action_units, tmp_path):
    model = anchored(sentence_config(label_sets=[action_units], **OPTIONS))
    pixels = torch.randn(2, 3, 32, 32)
    model.clef.text_model.save_pretrained(tmp_path / "tower")
    with torch.no_grad():
        before = model(pixels).logits
        model.freeze_labels()
        model.save_pretrained(tmp_path / "frozen")
        again = CLEFForImageClassification.from_pretrained(tmp_path / "frozen")
        torch.testing.assert_close(again(pixels).logits, before)
        again.join_text_tower(tmp_path / "tower")
        torch.testing.assert_close(again(pixels).logits, before)


def test_training_reaches_the_weights_and_leaves_the_anchors(sentence_config, action_units):
    model = anchored(sentence_config(label_sets=[action_units], **OPTIONS, freeze_text=True)).train()
    anchors = model.clef.text_projection.anchors.clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.randn(2, 3, 32, 32), labels=torch.tensor([[1.0, 0.0], [0.0, 1.0]])).loss.backward()
    assert model.clef.text_projection.weight.grad.abs().sum() > 0
    optimizer.step()
    assert torch.equal(model.clef.text_projection.anchors, anchors)


def test_without_anchors_it_is_clips(sentence_config):
    assert isinstance(CLEFModel(sentence_config()).text_projection, torch.nn.Linear)
