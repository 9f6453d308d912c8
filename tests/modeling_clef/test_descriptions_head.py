"""Images compared with descriptions alone (I+D): names are never shown, everything else is as with names."""

import pytest
import torch

from modeling_clef import CLEFForImageClassification
from modeling_clef.label_sets_clef import token_tensors


@pytest.fixture
def pixel_values():
    return torch.randn(3, 3, 32, 32)


@pytest.fixture
def make(clip_config, action_units):
    def make(**fields):
        fields = {"label_sets": [action_units], "head": "descriptions", **fields}
        return CLEFForImageClassification(clip_config(**fields)).eval()

    return make


def embedded(model, strings):
    return model.clef.text_embeds(*token_tensors(strings, 0))


def chosen(action_units, numbers):
    return [texts[i] for texts, i in zip(action_units["description_tokens"], numbers, strict=True)]


def test_images_are_compared_with_descriptions(make, action_units, pixel_values):
    model = make()
    output = model(pixel_values)
    torch.testing.assert_close(output.label_embeds, embedded(model, chosen(action_units, [0, 0])))
    similarities = model.clef.image_embeds(pixel_values) @ output.label_embeds.T
    expected = similarities * model.label_head.scales.exp() + model.label_head.biases
    torch.testing.assert_close(output.logits, expected)
    other = model(pixel_values, description_ids=torch.tensor([1, 0])).label_embeds
    torch.testing.assert_close(other, embedded(model, chosen(action_units, [1, 0])))
    torch.testing.assert_close(model(pixel_values).label_embeds, output.label_embeds)


def test_names_are_never_shown(make, action_units, pixel_values):
    shown = []
    renamed = {**action_units, "name_tokens": ["2 3", "2 3"]}
    for label_set in (action_units, renamed):
        torch.manual_seed(0)
        model = make(label_sets=[label_set]).train()
        shown.append(model(pixel_values, torch.tensor([[1.0, 0], [0, 1], [1, 1]])).loss)
    assert torch.equal(*shown)


def test_training_draws_descriptions_and_has_one_loss(make, action_units, pixel_values):
    model = make()
    embeds = [embedded(model, texts) for texts in action_units["description_tokens"]]
    model.label_head.train()
    labels = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    drawn = set()
    for _ in range(40):
        output = model(pixel_values, labels)
        similar = [(known @ row).argmax().item() for known, row in zip(embeds, output.label_embeds, strict=True)]
        drawn.add(tuple(similar))
        assert output.description_name_loss is None and output.loss is output.image_name_loss
    assert len(drawn) == 4
    fixed = model(pixel_values, labels, torch.tensor([0, 1])).label_embeds
    torch.testing.assert_close(fixed, embedded(model, chosen(action_units, [0, 1])))


def test_everything_that_trains_gets_a_gradient(make, pixel_values):
    model = make().train()
    model(pixel_values, torch.tensor([[1.0, 0], [0, 1], [1, 1]])).loss.backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert model.clef.text_projection.weight.grad.abs().sum() > 0


def test_a_saved_and_a_text_free_model_give_the_same_logits(make, pixel_values, tmp_path):
    model = make()
    with torch.no_grad():
        expected = model(pixel_values).logits
        model.save_pretrained(tmp_path / "whole")
        again = CLEFForImageClassification.from_pretrained(tmp_path / "whole").eval()
        assert again.config.head == "descriptions" and torch.equal(again(pixel_values).logits, expected)
        model.freeze_labels()
        model.save_pretrained(tmp_path / "free")
        free = CLEFForImageClassification.from_pretrained(tmp_path / "free").eval()
        torch.testing.assert_close(free(pixel_values).logits, expected)


def test_other_labels_are_named(make, texts, pixel_values):
    model = make()
    model.set_labels(["a", "b", "c"], **texts)
    assert model.config.head == "names"
    torch.testing.assert_close(model(pixel_values).label_embeds, model.clef.text_embeds(**texts))


def test_label_sets_without_descriptions_are_refused(make, action_units, expressions):
    with pytest.raises(ValueError, match=r"head='descriptions', but the label sets \['expression'\] have no"):
        make(label_sets=[action_units, expressions])
