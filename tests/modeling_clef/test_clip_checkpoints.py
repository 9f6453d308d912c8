"""A CLIP checkpoint is a CLEF checkpoint; base and heads load each other's."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from modeling_clef import CLEFConfig, CLEFForImageClassification, CLEFForPreTraining, CLEFModel

HEAD_ONLY = {
    CLEFModel: set(),
    CLEFForPreTraining: {"image_image_logit_scale"},
    CLEFForImageClassification: {"label_head.biases", "label_head.scales"},
}


def keys(info):
    return set(info["missing_keys"]), set(info["unexpected_keys"])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_clip_checkpoint_gives_the_same_bits(clip_folder, texts, attention, masked):
    clip = CLIPModel.from_pretrained(clip_folder, attn_implementation=attention)
    clef, info = CLEFModel.from_pretrained(clip_folder, attn_implementation=attention, output_loading_info=True)
    assert keys(info) == (set(), set())
    assert clef.vision_model.config._attn_implementation == clef.text_model.config._attn_implementation == attention
    assert list(clip.state_dict()) == list(clef.state_dict())
    # Many rows: another order of the same operations differs in the last bit of a few.
    texts = {name: value.repeat(32, 1) for name, value in texts.items()}
    inputs = {"pixel_values": torch.randn(96, 3, 32, 32), "input_ids": texts["input_ids"], "return_loss": True}
    if masked:
        inputs["attention_mask"] = texts["attention_mask"]
    expected, found = clip(**inputs), clef(**inputs)
    for name in ("image_embeds", "text_embeds", "logits_per_image", "logits_per_text", "loss"):
        assert torch.equal(expected[name], found[name]), name
    for method, arguments in {
        "get_image_features": {"pixel_values": inputs["pixel_values"], "output_hidden_states": True},
        "get_text_features": {"input_ids": texts["input_ids"]},
    }.items():
        expected, found = getattr(clip, method)(**arguments), getattr(clef, method)(**arguments)
        assert list(expected) == list(found)
        assert torch.equal(expected.pooler_output, found.pooler_output)
        assert torch.equal(expected.last_hidden_state, found.last_hidden_state)
    assert all(
        a is None or b is not None for a, b in zip(clip(**inputs).to_tuple(), clef(**inputs).to_tuple(), strict=True)
    )


def test_other_image_sizes_as_clip(clip_folder):
    clip, clef = CLIPModel.from_pretrained(clip_folder), CLEFModel.from_pretrained(clip_folder)
    larger = torch.randn(2, 3, 48, 48)
    expected = clip.get_image_features(larger, interpolate_pos_encoding=True).pooler_output
    assert torch.equal(clef.get_image_features(larger, interpolate_pos_encoding=True).pooler_output, expected)


def test_a_clip_configuration_becomes_a_clef_configuration_silently(clip_folder, caplog):
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    config = CLEFConfig.from_pretrained(clip_folder, head="linear", text_pooling="last")
    logger.removeHandler(caplog.handler)
    assert not caplog.records
    assert config.model_type == "clef" and config.to_dict()["model_type"] == "clef"
    assert (config.projection_dim, config.logit_scale_init_value) == (16, 3.0)
    assert (config.vision_config.patch_size, config.text_config.hidden_size) == (16, 24)
    assert (config.head, config.text_pooling) == ("linear", "last")
    assert config.architectures is None


def test_an_old_clip_configuration_with_separate_dicts_is_read(clip_folder):
    stored = json.loads((clip_folder / "config.json").read_text())
    stored["text_config_dict"], stored["vision_config_dict"] = stored.pop("text_config"), stored.pop("vision_config")
    (clip_folder / "config.json").write_text(json.dumps(stored))
    _, info = CLEFModel.from_pretrained(clip_folder, output_loading_info=True)
    assert keys(info) == (set(), set())


@pytest.mark.parametrize("source", HEAD_ONLY)
@pytest.mark.parametrize("target", HEAD_ONLY)
def test_base_and_heads_load_each_other(source, target, clip_config, action_units, tmp_path):
    saved = source(clip_config(label_sets=[action_units]))
    saved.save_pretrained(tmp_path)
    loaded, info = target.from_pretrained(tmp_path, output_loading_info=True)
    assert keys(info) == (HEAD_ONLY[target] - HEAD_ONLY[source], set())
    base, expected = getattr(loaded, "clef", loaded), getattr(saved, "clef", saved)
    for name, value in expected.state_dict().items():
        assert torch.equal(base.state_dict()[name], value), name
    assert loaded.config.label_sets == [action_units]


def test_there_and_back_again(clip_folder, tmp_path):
    head = CLEFForPreTraining.from_pretrained(clip_folder)
    head.save_pretrained(tmp_path / "head")
    CLEFModel.from_pretrained(tmp_path / "head").save_pretrained(tmp_path / "base")
    before, after = load_file(clip_folder / "model.safetensors"), load_file(tmp_path / "base" / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def without(folder, *names):
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not any(name in key for name in names)}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return set(weights) - set(kept)


@pytest.mark.parametrize("model_class", [CLEFModel, CLEFForPreTraining])
def test_missing_projections_are_initialised_as_clip_does(clip_folder, model_class):
    without(clip_folder, "projection", "logit_scale")
    spread = []
    for _ in range(20):
        model = model_class.from_pretrained(clip_folder)
        base = getattr(model, "clef", model)
        spread.append([w.detach().std() for w in (base.visual_projection.weight, base.text_projection.weight)])
        assert base.logit_scale.item() == 3.0
    vision, text = torch.tensor(spread).mean(0).tolist()
    assert vision == pytest.approx(32**-0.5, rel=0.03) and text == pytest.approx(24**-0.5, rel=0.03)
    if model_class is CLEFForPreTraining:
        assert model.image_image_logit_scale.exp().item() == pytest.approx(10)


def test_missing_tower_weights_have_clips_scale(clip_folder):
    names = [f"vision_model.encoder.layers.{i}" for i in range(2)]
    missing = without(clip_folder, *names)
    clef, info = CLEFModel.from_pretrained(clip_folder, output_loading_info=True)
    assert keys(info)[0] == missing
    weight = clef.vision_model.encoder.layers[0].mlp.fc1.weight
    assert weight.std().item() == pytest.approx((2 * 32) ** -0.5, rel=0.1)  # transformers' fallback would be 0.02


def test_a_fresh_model_is_initialised_as_clip(clip_config, tmp_path):
    config = clip_config(initializer_factor=2.0)
    clef = CLEFModel(config)
    assert clef.visual_projection.weight.std().item() == pytest.approx(2 * 32**-0.5, rel=0.15)
    assert clef.vision_model.encoder.layers[0].mlp.fc1.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)


def test_the_default_is_clip_vit_b_16():
    config = CLEFConfig()
    vision, text = config.vision_config, config.text_config
    assert (vision.patch_size, vision.image_size, vision.hidden_size, vision.num_hidden_layers) == (16, 224, 768, 12)
    assert (text.hidden_size, text.num_hidden_layers, text.vocab_size, config.projection_dim) == (512, 12, 49408, 512)
