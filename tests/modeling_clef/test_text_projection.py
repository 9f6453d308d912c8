"""The projection by anchors: what it computes, that it is saved, loaded, trained and joined like the linear one."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

from modeling_clef import CLEFForImageClassification, CLEFModel
from modeling_clef.text_projection_clef import SHARPNESS, AnchoredProjection

ANCHORS = 7


@pytest.fixture
def projection():
    made = AnchoredProjection(6, 3, ANCHORS)
    made.anchors /= made.anchors.norm(dim=1, keepdim=True)
    return made


def test_it_is_kernel_regression(projection):
    features = torch.randn(4, 6)
    expected = np.zeros((4, 3))
    for row in range(4):
        for anchor in range(ANCHORS):
            known, weight = projection.anchors[anchor].numpy(), projection.weight[:, anchor].detach().numpy()
            cosine = features[row].numpy() @ known / np.linalg.norm(features[row])
            expected[row] += np.exp(SHARPNESS * (cosine - 1)) * weight
    np.testing.assert_allclose(projection(features).detach(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(projection(5 * features), projection(features))  # directions count, not lengths


def test_far_from_an_anchor_nothing_of_it_is_left(projection):
    """A text that is like none lands near the origin instead of far out, as a linear map has it."""
    nearest = projection(projection.anchors).norm(dim=1)
    opposite = AnchoredProjection(6, 3, 1)
    opposite.anchors.copy_(projection.anchors[:1])
    with torch.no_grad():
        opposite.weight.fill_(1.0)
    assert opposite(-projection.anchors[:1]).norm() < 1e-3 * opposite(projection.anchors[:1]).norm()
    assert nearest.isfinite().all()


def test_only_the_weights_train(projection):
    assert [name for name, _ in projection.named_parameters()] == ["weight"]
    projection(torch.randn(2, 6)).sum().backward()
    assert projection.weight.grad.abs().sum() > 0 and "anchors" in projection.state_dict()


def anchored(config) -> CLEFForImageClassification:
    model = CLEFForImageClassification(config).eval()
    assert isinstance(model.clef.text_projection, AnchoredProjection)
    return model


def test_a_model_with_anchors_is_saved_and_loaded(sentence_config, action_units, tmp_path):
    model = anchored(sentence_config(label_sets=[action_units], text_anchors=ANCHORS))
    model.save_pretrained(tmp_path)
    tokens = torch.tensor([[2, 9, 3], [2, 8, 3]])
    for loaded in (CLEFForImageClassification.from_pretrained(tmp_path).clef, AutoModel.from_pretrained(tmp_path)):
        assert loaded.config.text_anchors == ANCHORS
        assert torch.equal(loaded.text_projection.anchors, model.clef.text_projection.anchors)
        torch.testing.assert_close(loaded.eval().text_embeds(tokens), model.clef.text_embeds(tokens))


def test_labels_are_frozen_and_the_tower_joined_as_ever(sentence_config, action_units, tmp_path):
    model = anchored(sentence_config(label_sets=[action_units], text_anchors=ANCHORS))
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
    model = anchored(sentence_config(label_sets=[action_units], text_anchors=ANCHORS, freeze_text=True)).train()
    anchors = model.clef.text_projection.anchors.clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.randn(2, 3, 32, 32), labels=torch.tensor([[1.0, 0.0], [0.0, 1.0]])).loss.backward()
    assert model.clef.text_projection.weight.grad.abs().sum() > 0
    optimizer.step()
    assert torch.equal(model.clef.text_projection.anchors, anchors)


def test_without_anchors_it_is_clips(sentence_config):
    assert isinstance(CLEFModel(sentence_config()).text_projection, torch.nn.Linear)
