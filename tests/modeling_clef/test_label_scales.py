"""The multipliers of the logits, which are kept where no gradient may be wanted."""

import pytest
import torch

from modeling_clef import CLEFForImageClassification


@pytest.fixture
def model(sentence_config, action_units, expressions):
    return CLEFForImageClassification(sentence_config(label_sets=[action_units, expressions])).eval()


def expected(model, output):
    """Each label's cosine times its set's scale, plus its own bias, label by label."""
    head, rows = model.label_head, []
    for image in output.image_embeds:
        row = []
        for scale, columns in zip(head.scales, head.slices.values(), strict=True):
            for label in range(columns.start, columns.stop):
                row.append(scale.exp() * (image * output.label_embeds[label]).sum() + head.biases[label])
        rows.append(torch.stack(row))
    return torch.stack(rows)


def change_in_place(model):
    model.label_head.scales.data.add_(1.0)
    model.label_head.scales.mul_(1.5)


def change_by_loading(model):
    model.load_state_dict({name: value + 0.25 for name, value in model.state_dict().items()})


def change_parameter(model):
    model.label_head.scales = torch.nn.Parameter(torch.tensor([0.3, 0.9]))


@pytest.mark.parametrize("change", [change_in_place, change_by_loading, change_parameter])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_logits_follow_the_scales(model, change, mode):
    pixels = torch.randn(2, 3, 32, 32)
    with mode():
        before = model(pixels)
        torch.testing.assert_close(before.logits, expected(model, before))
    with torch.no_grad():
        change(model)
    with mode():
        after = model(pixels)
        torch.testing.assert_close(after.logits, expected(model, after))
    assert not torch.allclose(before.logits, after.logits)


def test_scales_kept_in_inference_can_be_learned_from_later(model):
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        model(pixels)
    model(pixels).logits.square().sum().backward()
    assert (model.label_head.scales.grad != 0).all()
