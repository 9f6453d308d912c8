"""Adapters of peft beside the text tower: what is remembered of texts never outlives a switch."""

import pytest
import torch
from peft import LoraConfig
from torch.nn import functional as F

from modeling_clef import CLEFForImageClassification
from modeling_clef.towers_clef import pool_text


@pytest.fixture(params=["clip_config", "sentence_config"])  # a text tower that learns, and one that is frozen
def model(request, action_units):
    config = request.getfixturevalue(request.param)
    return CLEFForImageClassification(config(label_sets=[action_units])).eval().requires_grad_(False)


def add_adapter(model, name):
    targets = ["q_proj"] if model.config.text_config.model_type == "clip_text_model" else ["query"]
    model.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=targets), name)


def made_anew(model):
    ids, mask = model.label_head.name_tokens(model.device)
    outputs = model.clef.text_model(input_ids=ids, attention_mask=mask)
    pooled = pool_text(outputs, mask, model.config.text_pooling)
    return F.normalize(model.clef.text_projection(pooled), dim=-1)


@torch.no_grad()
def test_label_embeddings_follow_the_adapters_that_are_on(model):
    switches = [
        lambda: None,
        lambda: add_adapter(model, "one"),
        lambda: add_adapter(model, "two"),
        lambda: model.set_adapter("one"),
        model.disable_adapters,
        model.enable_adapters,
        lambda: model.delete_adapter("one"),
    ]
    pixel_values, seen = torch.randn(1, 3, 32, 32), []
    for switch in switches:
        switch()
        model.requires_grad_(False)  # as adapters are that are loaded for use
        found = model(pixel_values).label_embeds
        torch.testing.assert_close(found, made_anew(model))
        seen.append(found)
    assert not any(torch.allclose(one, other) for one, other in zip(seen[:5], seen[1:], strict=False))
