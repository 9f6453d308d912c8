"""transformers' own Trainer takes a classifier as it is."""

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from modeling_clef import CLEFForImageClassification

LABELS = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]] * 2, dtype=torch.float32)


@pytest.fixture
def model(clip_config, action_units):
    return CLEFForImageClassification(clip_config(label_sets=[action_units]))


@pytest.fixture
def pixel_values():
    return torch.randn(8, 3, 32, 32)


@pytest.fixture
def make_trainer(model, pixel_values, tmp_path):
    def make(**options):
        rows = [{"pixel_values": pixels, "labels": row} for pixels, row in zip(pixel_values, LABELS, strict=True)]
        quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
        arguments = TrainingArguments(tmp_path, max_steps=1, max_grad_norm=0.0, **quiet, **options)
        return Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)

    return make


class KeepGradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.gradients = gradients_of(model)


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("size", "parts"), [(8, 1), (2, 4)])
def test_a_batch_in_parts_has_the_loss_and_the_gradients_of_the_whole(size, parts, model, make_trainer, pixel_values):
    loss = model.train()(pixel_values, LABELS).loss
    loss.backward()
    expected = gradients_of(model)
    model.zero_grad()
    trainer, kept = make_trainer(per_device_train_batch_size=size, gradient_accumulation_steps=parts), KeepGradients()
    trainer.add_callback(kept)
    assert trainer.train().training_loss == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(kept.gradients, expected, atol=1e-6, rtol=1e-4)


def test_predictions_are_the_logits(model, make_trainer, pixel_values):
    trainer = make_trainer()
    found = trainer.predict(trainer.eval_dataset)
    with torch.no_grad():
        expected = model.eval()(pixel_values).logits
    torch.testing.assert_close(torch.from_numpy(found.predictions), expected)
    assert (found.label_ids == LABELS.numpy()).all()
    assert "keys_to_ignore_at_inference" not in model.config.to_dict()
