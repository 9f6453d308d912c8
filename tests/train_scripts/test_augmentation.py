import pytest
import torch

from processing import FaceAugmentation
from train_scripts.augmentation import RampedAugmentation, make_augmentation, strength_at
from train_scripts.options import TrainingOptions

CROPS = torch.randint(0, 256, (5, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_strength_rises_in_a_straight_line_and_stays():
    strengths = [strength_at(step, 100, 0.2, 1.0, 0.4) for step in range(100)]
    assert strengths[0] == 0.2 and strengths[20] == pytest.approx(0.6)
    assert strengths[40:] == [1.0] * 60
    steps = [b - a for a, b in zip(strengths[:40], strengths[1:41], strict=True)]
    assert steps == pytest.approx([0.02] * 40)


def test_without_a_ramp_the_first_step_is_full():
    assert [strength_at(step, 3, 0.2, 0.7, 0.0) for step in range(3)] == [0.7] * 3


def test_views_have_the_strength_of_their_step():
    augmentation = FaceAugmentation(seed=1)
    ramped = RampedAugmentation(augmentation, total_steps=10, start=0.1, ramp=0.5)
    for step, strength in [(0, 0.1), (2, 0.46), (7, 1.0)]:
        expected = augmentation(CROPS, range(5), 3, views=2, strength=strength)
        torch.testing.assert_close(ramped(CROPS, range(5), 3, step, 2), expected, rtol=0, atol=1e-6)


def test_the_options_are_what_is_made_of_them():
    plain = make_augmentation(TrainingOptions(seed=4), 10)
    assert torch.equal(plain(CROPS, range(5), 0, 0, 1), FaceAugmentation(seed=4)(CROPS, range(5), 0, views=1))
    options = TrainingOptions(
        seed=4, augmentation_preset="photographs", augmentation_ramp=0.5, augmentation=0.9, gradient_accumulation=3
    )
    made = make_augmentation(options, 10)
    assert made == RampedAugmentation(FaceAugmentation.preset("photographs", seed=4), 30, 0.2, 0.9, 0.5)
