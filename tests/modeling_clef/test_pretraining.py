import math

import pytest
import torch

from modeling_clef import CLEFConfig, CLEFForPreTraining
from modeling_clef.losses_clef import (
    image_text_contrastive_loss,
    instance_discrimination_loss,
    supervised_contrastive_loss,
)

ACTIVITIES = torch.tensor([0, 1, 0, -1, 2])


@pytest.fixture
def batch(texts):
    return {
        "pixel_values": torch.randn(5, 2, 3, 32, 32),
        "input_ids": texts["input_ids"],
        "attention_mask": texts["attention_mask"],
        "activity_ids": ACTIVITIES,
    }


def test_the_loss_is_the_weighted_sum_of_both_over_both_views(clip_config, batch):
    config = clip_config(image_image_weight=2.0, image_activity_weight=0.5, image_image_temperature=0.2)
    model = CLEFForPreTraining(config).eval()
    output = model(**batch)
    images, texts = output.image_embeds, output.text_embeds
    assert images.shape == (5, 2, 16) and texts.shape == (3, 16)
    for view in range(2):
        alone = model.clef.image_embeds(batch["pixel_values"][:, view])
        torch.testing.assert_close(images[:, view], alone)
    rows, ids = images.flatten(0, 1), ACTIVITIES.repeat_interleave(2)
    torch.testing.assert_close(output.image_image_loss, supervised_contrastive_loss(rows, ids, 0.2))
    scale = math.exp(config.logit_scale_init_value)
    torch.testing.assert_close(output.image_activity_loss, image_text_contrastive_loss(rows, texts, ids, scale))
    torch.testing.assert_close(output.loss, 2 * output.image_image_loss + 0.5 * output.image_activity_loss)


def test_activity_pairs_look_across_subjects_and_instance_pairs_do_not(clip_config, batch):
    model = CLEFForPreTraining(clip_config(image_pairs="instance", activity_text=False)).eval()
    output = model(pixel_values=batch["pixel_values"])
    torch.testing.assert_close(output.loss, instance_discrimination_loss(output.image_embeds, 0.1))
    assert output.image_activity_loss is None and output.text_embeds is None


def test_texts_may_come_in_any_order_with_their_ids(clip_config, batch):
    model = CLEFForPreTraining(clip_config()).eval()
    expected = model(**batch).image_activity_loss
    order = torch.tensor([2, 0, 1])
    moved = batch | {"input_ids": batch["input_ids"][order], "attention_mask": batch["attention_mask"][order]}
    assert not torch.allclose(model(**moved).image_activity_loss, expected)
    torch.testing.assert_close(model(**moved, text_activity_ids=order).image_activity_loss, expected)


def test_images_of_unknown_activity_give_and_take_nothing(clip_config, batch):
    model = CLEFForPreTraining(clip_config())
    known = ACTIVITIES >= 0
    part = batch | {"pixel_values": batch["pixel_values"][known], "activity_ids": ACTIVITIES[known]}
    torch.testing.assert_close(model(**batch).loss, model(**part).loss)


def test_single_views_are_taken_without_image_pairs(clip_config, batch):
    model = CLEFForPreTraining(clip_config(image_pairs="off")).eval()
    single = batch | {"pixel_values": batch["pixel_values"][:, 0]}
    output = model(**single)
    assert output.image_embeds.shape == (5, 1, 16) and output.image_image_loss is None
    with pytest.raises(ValueError, match=r"\(5, 3, 32, 32\), expected \(N, 2, 3, H, W\)"):
        CLEFForPreTraining(clip_config())(**single)


def test_what_is_missing_is_named(clip_config, batch):
    model = CLEFForPreTraining(clip_config())
    with pytest.raises(ValueError, match="no activity_ids"):
        model(batch["pixel_values"], batch["input_ids"])
    with pytest.raises(ValueError, match="no input_ids"):
        model(batch["pixel_values"], activity_ids=ACTIVITIES)


def test_a_configuration_with_nothing_to_learn_is_refused(clip_config):
    with pytest.raises(ValueError, match="nothing is left to learn"):
        clip_config(image_pairs="off", activity_text=False)


@pytest.mark.parametrize("temperature", [0, 0.005, 0.0099])
def test_temperatures_that_no_loss_would_have_are_refused(temperature, clip_config):
    with pytest.raises(ValueError, match=f"image_image_temperature: got {temperature}, expected at least 0.01"):
        clip_config(image_image_temperature=temperature)


@pytest.mark.parametrize("learned", [True, False])
def test_the_lowest_temperature_is_the_loss_s_own(learned, clip_config, batch):
    config = clip_config(image_image_temperature=0.01, learn_temperature=learned, activity_text=False)
    output = CLEFForPreTraining(config).train()(**batch)
    expected = supervised_contrastive_loss(output.image_embeds.flatten(0, 1), ACTIVITIES.repeat_interleave(2), 0.01)
    torch.testing.assert_close(output.loss, expected)


def test_the_logit_scale_is_clamped_and_can_come_back(clip_config, batch):
    model = CLEFForPreTraining(clip_config(logit_scale_init_value=6.0)).train()
    output = model(**batch)
    assert model.clef.logit_scale.item() == pytest.approx(math.log(100))
    output.loss.backward()
    assert model.clef.logit_scale.grad.abs() > 0


def test_two_forward_passes_before_a_backward_pass_add_their_gradients(clip_config, batch):
    model = CLEFForPreTraining(clip_config()).train()
    other = batch | {"pixel_values": torch.randn(5, 2, 3, 32, 32)}
    for one in (batch, other):
        model(**one).loss.backward()
    expected = [p.grad.clone() for p in model.parameters() if p.requires_grad]
    model.zero_grad()
    (model(**batch).loss + model(**other).loss).backward()
    found = [p.grad for p in model.parameters() if p.requires_grad]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_fixed_temperatures_do_not_move(clip_config, batch):
    model = CLEFForPreTraining(clip_config(learn_temperature=False)).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = model.clef.logit_scale.item(), model.image_image_logit_scale.item()
    model(**batch).loss.backward()
    optimizer.step()
    assert (model.clef.logit_scale.item(), model.image_image_logit_scale.item()) == before


def test_a_few_steps_bring_the_loss_down(sentence_config, batch):
    model = CLEFForPreTraining(sentence_config()).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(20):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_configuration_round_trip(sentence_config, action_units, tmp_path):
    config = sentence_config(label_sets=[action_units], image_pairs="instance", learn_temperature=False)
    config.save_pretrained(tmp_path)
    assert CLEFConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
