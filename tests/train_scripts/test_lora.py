"""LoRA: what trains, that merging changes nothing, and that the result is a CLEF checkpoint like any other."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    ConvNextV2Config,
    ConvNextV2Model,
    PreTrainedTokenizerFast,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTModel,
)

from modeling_clef import CLEFForImageClassification, CLEFForPreTraining, CLEFModel
from train_scripts import finetune, pretrain
from train_scripts.finetune import FinetuningOptions
from train_scripts.labels import PROBLEM_TYPES
from train_scripts.lora import ATTENTION_PROJECTIONS, add_adapters, merge_adapters
from train_scripts.options import parse_options
from train_scripts.pretrain import PretrainingOptions
from train_scripts.towers import make_model, make_processor, tiny_tokenizer

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def clip(tokenizer, tmp_path_factory):
    """Folder of a tiny CLIP that this project's tokenizer fits."""
    folder = tmp_path_factory.mktemp("clip")
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.sep_token_id, "bos_token_id": 2}
    text = {**TINY, "vocab_size": len(tokenizer), "max_position_embeddings": 128, **ids}
    config = CLIPConfig(vision_config={**TINY, "image_size": 32, "patch_size": 8}, text_config=text, projection_dim=8)
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def classifier(clip, **options):
    """A classifier as finetune.py makes it, and its processor."""
    options = FinetuningOptions(
        **{"init_from": str(clip), "lora_rank": 2, "image_size": 32, "head": "names", **options}
    )
    processor = make_processor(options)
    label_set = {
        "name": "action_units",
        "problem_type": PROBLEM_TYPES["action_units"],
        "labels": ["AU4", "AU12"],
        "names": ["brow lowerer", "lip corner puller"],
        "name_tokens": [" ".join(map(str, processor.tokenizer(t)["input_ids"])) for t in ("brow lowerer", "lip")],
        "description_tokens": None,
        "thresholds": [0.5, 0.5],
        "positive_weights": None,
    }
    torch.manual_seed(0)
    model = make_model(CLEFForImageClassification, options, processor, label_sets=[label_set], head=options.head)
    return model, processor


def disturb(model):
    """Weights as after a training: whatever trains has moved."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)


def run(main, options_class, *flags):
    return main(parse_options(options_class, [str(flag) for flag in flags]))


def lora_flags(small_corpus, start, output):
    corpus = ["--corpus_options", json.dumps(small_corpus), "--image_size", 32, "--batch_size", 8]
    return [*corpus, "--init_from", start, "--lora_rank", 2, "--learning_rate", 0.01, "--output", output]


def test_adapters_projections_and_heads_train_and_nothing_else(clip):
    model, _ = classifier(clip)
    training = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    adapters = {name for name in training if ".lora_A." in name or ".lora_B." in name}
    assert len(adapters) == 2 * 2 * 2 * 2  # towers, layers, query and value, A and B
    assert training - adapters == {
        "clef.visual_projection.weight",
        "clef.text_projection.weight",
        "label_head.biases",
        "label_head.scales",
    }


def test_a_linear_head_trains_beside_adapters_of_the_vision_tower_alone(clip):
    model, _ = classifier(clip, head="linear")
    training = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {"label_head.classifier.weight", "label_head.biases"} <= training
    assert not any("text_model" in name for name in training)


def test_the_scale_of_similarities_trains_in_stage_1(clip):
    options = PretrainingOptions(init_from=str(clip), lora_rank=2, learn_temperatures=True, image_size=32)
    model = make_model(CLEFForPreTraining, options, make_processor(options))
    assert model.clef.logit_scale.requires_grad and model.image_image_logit_scale.requires_grad


def test_adapters_change_nothing_before_the_first_step(clip):
    pixels = torch.randn(3, 3, 32, 32)
    plain, adapted = (classifier(clip, lora_rank=rank)[0].eval() for rank in (0, 2))
    with torch.no_grad():
        assert torch.equal(plain(pixels).logits, adapted(pixels).logits)


def test_alpha_scales_the_adapters(clip):
    models = [classifier(clip, lora_alpha=alpha)[0] for alpha in (None, 4, 8)]
    layers = [model.clef.vision_model.encoder.layers[0].self_attn.q_proj for model in models]
    assert [layer.scaling["default"] for layer in layers] == [2, 2, 4]


def test_merged_logits_are_the_adapters_and_names_are_clips(clip, tmp_path):
    model, processor = classifier(clip)
    disturb(model)
    model.eval()
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        before = model(pixels).logits
        merge_adapters(model)
        torch.testing.assert_close(model(pixels).logits, before, atol=1e-5, rtol=0)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with torch.no_grad():
        loaded = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
        torch.testing.assert_close(loaded(pixels).logits, before, atol=1e-5, rtol=0)
    base = AutoModel.from_pretrained(tmp_path)
    assert type(base) is CLEFModel and set(base.state_dict()) == set(CLIPModel.from_pretrained(clip).state_dict())
    assert {name.removeprefix("clef.") for name in load_file(tmp_path / "model.safetensors")} == {
        *base.state_dict(),
        "label_head.biases",
        "label_head.scales",
    }


def test_merging_a_model_without_adapters_does_nothing(clip):
    model, _ = classifier(clip, lora_rank=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    merge_adapters(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "tower",
    [
        ViTModel(ViTConfig(image_size=32, patch_size=8, **TINY)),
        SwinModel(SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4)),
    ],
    ids=["vit", "swin"],
)
def test_other_transformers_are_adapted(tower, tmp_path):
    tower.save_pretrained(tmp_path)
    options = PretrainingOptions(
        vision_tower=str(tmp_path), text_tower="tiny", freeze_text=True, lora_rank=2, image_size=32
    )
    model = make_model(CLEFForPreTraining, options, make_processor(options))
    adapted = {n.split(".lora_")[0].rsplit(".", 1)[-1] for n, p in model.named_parameters() if ".lora_" in n}
    assert len(adapted) == 2 and adapted <= set(ATTENTION_PROJECTIONS)
    tower_weights = [n for n, p in model.clef.vision_model.named_parameters() if p.requires_grad]
    assert tower_weights and all(".lora_" in name for name in tower_weights)


def test_a_sentence_encoder_is_adapted_when_it_is_not_frozen(tokenizer, tmp_path):
    BertModel(BertConfig(vocab_size=len(tokenizer), **TINY)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    options = PretrainingOptions(text_tower=str(tmp_path), freeze_vision=True, lora_rank=2, image_size=32)
    model = make_model(CLEFForPreTraining, options, make_processor(options))
    layer = model.clef.text_model.encoder.layer[0].attention
    assert hasattr(layer.self.query, "lora_A") and not hasattr(layer.self.key, "lora_A")
    assert not any("lora" in name for name, _ in model.clef.vision_model.named_parameters())


def test_a_tower_without_attention_is_adapted_at_its_dense_layers(tmp_path):
    folder = tmp_path / "convnext"
    ConvNextV2Model(ConvNextV2Config(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1])).save_pretrained(folder)
    options = PretrainingOptions(
        vision_tower=str(folder), text_tower="tiny", freeze_text=True, lora_rank=2, image_size=32
    )
    model = make_model(CLEFForPreTraining, options, make_processor(options))
    adapted = {n.split(".lora_")[0].rsplit(".", 1)[-1] for n, p in model.named_parameters() if ".lora_" in n}
    assert {"pwconv1", "pwconv2", "patch_embeddings"} <= adapted and "dwconv" not in adapted
    disturb(model)
    model.eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = model.clef.image_embeds(pixels)
        merge_adapters(model)
        torch.testing.assert_close(model.clef.image_embeds(pixels), before, atol=1e-5, rtol=0)


def test_the_small_towers_of_a_trained_checkpoint_are_adapted(small_corpus, flags, tmp_path):
    run(pretrain.main, PretrainingOptions, *flags, "--max_steps", 1, "--output", tmp_path / "one")
    common = lora_flags(small_corpus, tmp_path / "one", tmp_path / "two")
    run(finetune.main, FinetuningOptions, *common, "--max_steps", 2, "--test", "false")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert {name for name in after if name.startswith("clef.")} == {n for n in before if n.startswith("clef.")}
    changed = [name for name in after if name in before and not torch.equal(before[name], after[name])]
    assert any("vision_model" in name and "convolution.weight" in name for name in changed)
    assert not any("normalization.weight" in name for name in changed)
    assert any("running_mean" in name for name in changed)


def test_what_cannot_be_adapted_is_said(clip):
    for options, message in [
        ({"text_tower": "tiny"}, "'small-resnet' starts from random weights"),
        ({"init_from": str(clip), "freeze_vision": True, "freeze_text": True}, "both towers are frozen"),
    ]:
        options = PretrainingOptions(lora_rank=2, image_size=32, **options)
        with pytest.raises(ValueError, match=message):
            make_model(CLEFForPreTraining, options, make_processor(options))
    for unused in ({"lora_alpha": 4.0}, {"lora_dropout": 0.1}):
        with pytest.raises(ValueError, match="set lora_rank, too"):
            PretrainingOptions(**unused)


def test_both_stages_train_adapters_and_leave_ordinary_checkpoints(small_corpus, clip, tmp_path):
    flags = ["--max_steps", 2, "--ema_decay", 0.5, "--lora_dropout", 0.1]
    run(pretrain.main, PretrainingOptions, *lora_flags(small_corpus, clip, tmp_path / "one"), *flags)
    run(finetune.main, FinetuningOptions, *lora_flags(small_corpus, tmp_path / "one", tmp_path / "two"), *flags)
    start = CLIPModel.from_pretrained(clip).state_dict()
    last = start
    for stage in ("one", "two"):
        model = AutoModel.from_pretrained(tmp_path / stage)
        state = model.state_dict()
        assert set(state) == set(start)
        changed = [name for name in state if not torch.equal(state[name], last[name])]
        for name in changed:
            assert name.endswith(("q_proj.weight", "v_proj.weight", "_projection.weight", "logit_scale")), name
        assert len(changed) >= 2 * 2 * 2 + 2
        last = state
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert metrics["training"]["trained_weights"] < 3000 and "expression" in metrics["evaluation"]


def test_a_killed_run_goes_on_to_the_same_weights(small_corpus, clip, tmp_path):
    flags = ["--max_steps", 3, "--ema_decay", 0.5, "--checkpoint_steps", 2, "--lora_dropout", 0.1, "--test", "false"]
    run(finetune.main, FinetuningOptions, *lora_flags(small_corpus, clip, tmp_path), *flags)
    whole = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    run(finetune.main, FinetuningOptions, *lora_flags(small_corpus, clip, tmp_path), *flags, "--resume", "true")
    again = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert json.loads((tmp_path / "metrics.json").read_text())["training"]["resumed_from"] == 2


def test_gradients_reach_adapters_when_activations_are_recomputed(clip):
    model, _ = classifier(clip)
    (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
    model.train()(torch.randn(2, 3, 32, 32), torch.zeros(2, 2)).loss.backward()
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_adapters_are_as_many_as_asked(clip):
    model, _ = classifier(clip, lora_rank=0)
    names = add_adapters(model, rank=3)
    assert len(names) == 8 and all(name.startswith("clef.") for name in names)
    assert model.get_submodule(names[0]).lora_A["default"].weight.shape == (3, 16)
