"""Any tower; frozen towers; what has no gradient does not ask for one."""

import pytest
import torch
from transformers import ConvNextV2Config, Dinov2Config, ResNetModel, SiglipVisionConfig, ViTConfig

from modeling_clef import CLEFForImageClassification, CLEFForPreTraining, CLEFModel, frozen_text_clef
from modeling_clef.towers_clef import pool_text

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
VISION = {
    "vit": ViTConfig(**SMALL, image_size=32, patch_size=16),
    "siglip": SiglipVisionConfig(**SMALL, image_size=32, patch_size=16),
    "dinov2": Dinov2Config(**SMALL, image_size=32, patch_size=16),
    "convnextv2": ConvNextV2Config(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
}


def pretraining_batch(texts):
    return {
        "pixel_values": torch.randn(4, 2, 3, 32, 32),
        "input_ids": texts["input_ids"],
        "attention_mask": texts["attention_mask"],
        "activity_ids": torch.tensor([0, 1, 2, 2]),
    }


def idle_parameters(model):
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("pooling", ["pooler", "mean", "cls", "last"])
@pytest.mark.parametrize("tower", [*VISION, "resnet", "clip"])
def test_any_vision_tower_with_any_pooling_learns_in_all_its_parameters(
    tower, pooling, resnet_config, clip_vision_config, sentence_config, texts, tmp_path
):
    vision_config = {**VISION, "resnet": resnet_config, "clip": clip_vision_config}[tower].to_dict()
    config = sentence_config(vision_config=vision_config, text_pooling=pooling, freeze_text=False)
    model = CLEFForPreTraining(config).train()
    output = model(**pretraining_batch(texts))
    output.loss.backward()
    assert output.image_embeds.shape == (4, 2, 16)
    assert idle_parameters(model) == []
    model.save_pretrained(tmp_path)
    again, info = CLEFModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    frozen = {name for name, p in model.clef.named_parameters() if not p.requires_grad}
    assert {name for name, p in again.named_parameters() if not p.requires_grad} == frozen
    pixel_values = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.eval().image_embeds(pixel_values), model.eval().clef.image_embeds(pixel_values))


STAGE_1 = {
    "all": {},
    "instance": {"image_pairs": "instance"},
    "text only": {"image_pairs": "off"},
    "images only": {"activity_text": False},
    "fixed temperatures": {"learn_temperature": False},
    "frozen text": {"freeze_text": True},
    "frozen vision": {"freeze_vision": True},
}


@pytest.mark.parametrize("case", STAGE_1)
def test_every_parameter_of_stage_1_that_asks_for_a_gradient_gets_one(case, clip_config, texts):
    model = CLEFForPreTraining(clip_config(**STAGE_1[case])).train()
    model(**pretraining_batch(texts)).loss.backward()
    assert idle_parameters(model) == []
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert ("clef.logit_scale" in trained) == (case not in ("images only", "fixed temperatures"))
    assert ("image_image_logit_scale" in trained) == (case not in ("text only", "fixed temperatures"))
    assert ("clef.text_projection.weight" in trained) == (case != "images only")
    assert any("text_model" in name for name in trained) == (case not in ("images only", "frozen text"))
    assert any("vision_model" in name for name in trained) == (case != "frozen vision")


@pytest.mark.parametrize("head", ["linear", "names", "names_and_descriptions"])
@pytest.mark.parametrize("freeze", [True, False])
def test_every_parameter_of_stage_2_that_asks_for_a_gradient_gets_one(head, freeze, clip_config, action_units):
    config = clip_config(label_sets=[action_units], head=head, freeze_text=freeze, freeze_vision=freeze)
    model = CLEFForImageClassification(config).train()
    model(torch.randn(2, 3, 32, 32), torch.eye(2)).loss.backward()
    assert idle_parameters(model) == []


def test_convolutional_features_are_the_towers_own(sentence_config, action_units, texts):
    model = CLEFForImageClassification(sentence_config(label_sets=[action_units])).eval()
    pixel_values = torch.randn(2, 3, 40, 40)
    tower = ResNetModel(model.config.vision_config).eval()
    tower.load_state_dict(model.clef.vision_model.state_dict())
    expected = tower(pixel_values).pooler_output[:, :, 0, 0]
    assert torch.equal(model.features(pixel_values), expected)
    # A tower that does not know `interpolate_pos_encoding` is not given it.
    assert torch.equal(model.features(pixel_values, interpolate_pos_encoding=True), expected)


@pytest.mark.parametrize("layer_type", ["basic", "bottleneck"])
def test_folded_batch_norms_change_nothing_but_rounding(sentence_config, action_units, layer_type, tmp_path):
    config = sentence_config(label_sets=[action_units])
    config.vision_config.layer_type = layer_type
    model = CLEFForImageClassification(config).eval()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    generator = torch.Generator().manual_seed(0)
    for norm in norms:
        for tensor, low in ((norm.running_mean, -1.0), (norm.running_var, 0.5), (norm.weight.data, 0.5)):
            tensor.uniform_(low, 2.0, generator=generator)
        norm.bias.data.uniform_(-1, 1, generator=generator)
    pixel_values = torch.randn(2, 3, 40, 40, generator=generator)
    with torch.no_grad():
        expected = model(pixel_values).logits
        assert len(norms) > 3 and model.fold_batch_norms() == len(norms)
        torch.testing.assert_close(model(pixel_values).logits, expected, atol=1e-5, rtol=1e-5)
    assert model.fold_batch_norms() == 0
    for spoil in (model.train, model.clef.train, lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(ValueError, match="folded for inference: load it again"):
            spoil()
    assert not model.training and not list(tmp_path.iterdir())


def test_without_batch_norms_or_in_training_nothing_is_folded(clip_config, action_units, sentence_config):
    model = CLEFForImageClassification(clip_config(label_sets=[action_units])).eval()
    assert model.fold_batch_norms() == 0 and model.train().training
    with pytest.raises(ValueError, match="call eval"):
        CLEFForImageClassification(sentence_config(label_sets=[action_units])).train().fold_batch_norms()


class TowerOutputs(dict):
    def __getattr__(self, name):
        return self[name]


def test_pooling_leaves_padding_out():
    states = torch.randn(2, 4, 3)
    outputs = TowerOutputs(last_hidden_state=states)
    mask = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1]])  # padded on the right, on the left
    torch.testing.assert_close(
        pool_text(outputs, mask, "mean"), torch.stack([states[0, :2].mean(0), states[1, 1:].mean(0)])
    )
    assert torch.equal(pool_text(outputs, mask, "last"), torch.stack([states[0, 1], states[1, 3]]))
    assert torch.equal(pool_text(outputs, mask, "cls"), states[:, 0])
    assert torch.equal(pool_text(outputs, None, "last"), states[:, 3])
    with pytest.raises(ValueError, match="no pooler"):
        pool_text(outputs, mask, "pooler")


def test_a_frozen_tower_stays_in_eval_mode(sentence_config):
    model = CLEFForPreTraining(sentence_config(freeze_vision=True)).train()
    assert model.training and model.clef.training
    assert not model.clef.vision_model.training and not model.clef.text_model.training
    before = {name: value.clone() for name, value in model.clef.vision_model.named_buffers()}
    model.clef.get_image_features(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(before[name], value) for name, value in model.clef.vision_model.named_buffers())
    model = CLEFForPreTraining(sentence_config(freeze_text=False)).train()
    assert model.clef.vision_model.training and model.clef.text_model.training


@pytest.fixture
def counted(sentence_config):
    """A model with a frozen text tower, and the shapes that the tower was run with."""
    model = CLEFModel(sentence_config()).eval()
    shapes = []
    model.text_model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return model, shapes


def test_a_frozen_text_tower_runs_once_a_text_and_alone(counted, texts):
    model, shapes = counted
    first = model.train().text_embeds(**texts)
    assert shapes == [(1, int(length)) for length in texts["attention_mask"].sum(1)]
    assert first.requires_grad  # by the projection
    rows = torch.tensor([2, 1, 2])
    longest = {name: torch.nn.functional.pad(value[rows], (0, 3)) for name, value in texts.items()}
    assert torch.equal(model.text_embeds(**longest), first[rows])  # whatever the padding and the company
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.get_text_features(**texts)
    assert len(shapes) == 3
    # What is remembered is what the tower gives.
    outputs = model.text_model(input_ids=texts["input_ids"], attention_mask=texts["attention_mask"])
    expected = model.text_projection(pool_text(outputs, texts["attention_mask"], "mean"))
    torch.testing.assert_close(model.get_text_features(**texts).pooler_output, expected)


def test_a_frozen_tower_runs_in_its_own_precision(counted, texts):
    model, shapes = counted
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.get_text_features(**texts)
    remembered = model.get_text_features(**texts).pooler_output
    assert len(shapes) == 3
    model._frozen_text.rows.clear()
    assert torch.equal(model.get_text_features(**texts).pooler_output, remembered)


def test_remembered_texts_are_forgotten_with_the_weights(counted, texts):
    model, shapes = counted
    before = model.get_text_features(**texts).pooler_output
    with torch.no_grad():
        model.text_model.embeddings.word_embeddings.weight.mul_(2)
    assert not torch.equal(model.get_text_features(**texts).pooler_output, before)
    state = {name: value / 2 for name, value in model.text_model.state_dict().items()}
    del shapes[:]
    model.text_model.load_state_dict(state)
    model.get_text_features(**texts)
    model.double().get_text_features(**texts)
    assert len(shapes) == 6


def test_weights_written_past_autograd_are_forgotten_when_it_is_told(counted, texts):
    model, shapes = counted
    before = model.get_text_features(**texts).pooler_output
    model.text_model.embeddings.word_embeddings.weight.data.mul_(2)
    assert torch.equal(model.get_text_features(**texts).pooler_output, before)  # the limit that is documented
    torch.autograd.graph.increment_version(list(model.parameters()))
    assert not torch.equal(model.get_text_features(**texts).pooler_output, before)


def test_texts_first_seen_in_inference_mode_can_be_learned_from(counted, texts):
    model, _ = counted
    with torch.inference_mode():
        model.get_text_features(**texts)
    model.text_embeds(**texts).sum().backward()
    assert model.text_projection.weight.grad is not None


def test_the_number_of_remembered_texts_is_bounded(counted, texts, monkeypatch):
    monkeypatch.setattr(frozen_text_clef, "ROWS_KEPT", 2)
    model, shapes = counted
    model.get_text_features(**texts)
    assert len(model._frozen_text.rows) == 2
    model.get_text_features(texts["input_ids"][1:], texts["attention_mask"][1:])
    assert len(shapes) == 3


def test_an_adapter_in_a_frozen_tower_learns(counted, texts):
    model, _ = counted
    weight = model.text_model.encoder.layer[0].attention.self.query.weight.requires_grad_()
    model.text_embeds(**texts).sum().backward()
    assert weight.grad.abs().sum() > 0
