import math

import pytest
import torch

from modeling_clef.losses_clef import image_text_contrastive_loss, supervised_contrastive_loss
from train_scripts.chance import ChanceWatch, image_activity_levels, image_image_levels

ACTIVITIES = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
VIEWS = ACTIVITIES.repeat(2)


def test_levels_are_what_the_losses_give_at_chance_and_at_the_floor():
    chance, floor = image_image_levels(ACTIVITIES.numpy())
    same = torch.ones(16, 4) / 2
    apart = torch.eye(3)[VIEWS]
    assert supervised_contrastive_loss(same, VIEWS, 0.1).item() == pytest.approx(chance, rel=1e-5)
    assert supervised_contrastive_loss(apart, VIEWS, 1e-3).item() == pytest.approx(floor, rel=1e-4)

    chance, floor = image_activity_levels(ACTIVITIES.numpy(), 3)
    scale = torch.tensor(1000.0)
    assert image_text_contrastive_loss(same, same[:3], VIEWS, scale).item() == pytest.approx(chance, rel=1e-5)
    assert image_text_contrastive_loss(apart, torch.eye(3), VIEWS, scale).item() == pytest.approx(floor, rel=1e-4)


def test_a_loss_at_chance_is_reported_once_with_advice():
    watch = ChanceWatch(after_steps=10)
    levels = {"image_image_loss": (math.log(15), math.log(5))}
    stuck = {"image_image_loss": math.log(15) - 0.01}
    assert watch.verdict(9, stuck, levels) is None
    assert "image_image_loss is 2.698 after 10 steps; chance is 2.708" in watch.verdict(10, stuck, levels)
    assert watch.verdict(11, stuck, levels) is None


def test_a_loss_that_learns_is_not_reported():
    levels = {"image_image_loss": (math.log(15), math.log(5))}
    assert ChanceWatch(10).verdict(10, {"image_image_loss": 2.3}, levels) is None
