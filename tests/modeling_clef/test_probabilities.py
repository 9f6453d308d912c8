"""Calibrated probabilities: temperatures and biases of the label sets, applied to uncalibrated logits."""

import math

import pytest
import torch

from modeling_clef import CLEFForImageClassification
from modeling_clef.calibration_clef import calibrated_probabilities

LOGITS = torch.tensor([[1.0, -2, 3, 0, -1], [0.5, 4, -1, 1, 2]])


def by_hand(row, temperatures, biases):
    """Loops in float64 over one row of two multi-label and three single-label columns."""
    z = [x / t + b for x, t, b in zip(row, temperatures, biases, strict=True)]
    total = sum(math.exp(x) for x in z[2:])
    return [1 / (1 + math.exp(-x)) for x in z[:2]] + [math.exp(x) / total for x in z[2:]]


def test_uncalibrated_sets_give_sigmoids_and_softmaxes(action_units, expressions):
    found = calibrated_probabilities(LOGITS, [action_units, expressions])
    expected = torch.cat([LOGITS[:, :2].sigmoid(), LOGITS[:, 2:].softmax(1)], dim=1)
    assert torch.equal(found, expected) and found.dtype == torch.float32


def test_temperatures_divide_and_biases_are_added(action_units, expressions):
    units = action_units | {"temperatures": [2.0, 0.5], "calibration_biases": [1.0, -3.0]}
    single = expressions | {"temperatures": [0.7] * 3, "calibration_biases": [0.0, 1.0, -1.0]}
    found = calibrated_probabilities(LOGITS.bfloat16(), [units, single])
    expected = [by_hand(row, [2, 0.5, 0.7, 0.7, 0.7], [1, -3, 0, 1, -1]) for row in LOGITS.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected))
    only = calibrated_probabilities(LOGITS, [units | {"calibration_biases": None}, expressions])
    torch.testing.assert_close(only[:, :2], (LOGITS[:, :2] / torch.tensor([2.0, 0.5])).sigmoid())


def test_the_model_leaves_its_logits_uncalibrated(sentence_config, action_units, tmp_path):
    plain = CLEFForImageClassification(sentence_config(label_sets=[action_units])).eval()
    plain.save_pretrained(tmp_path)
    fitted = action_units | {"temperatures": [2.0, 3.0], "calibration_biases": [0.5, 0.0]}
    model = CLEFForImageClassification.from_pretrained(tmp_path, label_sets=[fitted])
    model.save_pretrained(tmp_path / "again")
    model = CLEFForImageClassification.from_pretrained(tmp_path / "again").eval()
    pixel_values = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits = model(pixel_values).logits
        assert torch.equal(logits, plain(pixel_values).logits)
    expected = (logits / torch.tensor([2.0, 3.0]) + torch.tensor([0.5, 0.0])).sigmoid()
    torch.testing.assert_close(model.probabilities(logits), expected)


def test_columns_that_are_not_one_a_label_are_refused(action_units):
    with pytest.raises(ValueError, match=r"got logits \(2, 5\), expected \(N, 2\)"):
        calibrated_probabilities(LOGITS, [action_units])


BAD = [
    ({"temperatures": [1.0]}, "1 temperatures for 2"),
    ({"temperatures": [1.0, 0.0]}, "expected numbers more than 0"),
    ({"temperatures": [1.0, math.nan]}, "expected numbers more than 0"),
    ({"calibration_biases": [1.0, math.inf]}, "expected finite"),
    ({"calibration_biases": [1.0, 2.0, 3.0]}, "3 calibration_biases for 2"),
    ({"neutral_logits": [None, math.inf]}, "expected finite numbers or None"),
    ({"neutral_logits": [-3.0]}, "1 neutral_logits for 2"),
]


@pytest.mark.parametrize("fields, message", BAD, ids=[message for _, message in BAD])
def test_malformed_calibration_is_refused(fields, message, sentence_config, action_units):
    with pytest.raises(ValueError, match=message):
        sentence_config(label_sets=[action_units | fields])


def test_a_softmax_has_one_temperature(sentence_config, expressions):
    with pytest.raises(ValueError, match="one value repeated"):
        sentence_config(label_sets=[expressions | {"temperatures": [1.0, 1.0, 2.0]}])
