"""The text-free form: label embeddings kept, the text tower left out, and joined again."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForPreTraining,
    BertConfig,
    BertModel,
)

from modeling_clef import CLEFForImageClassification, CLEFForPreTraining, CLEFModel
from modeling_clef.sentence_encoder_clef import weights_sha256

CONFIGS = ["clip_config", "sentence_config"]
OTHER_TEXTS = "other labels or texts for a text-free checkpoint, whose label embeddings belong to its own"
LABELS = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 1, 0, 0.0]])


@pytest.fixture
def pixel_values():
    return torch.randn(2, 3, 32, 32)


@pytest.fixture(params=CONFIGS)
def model(request, action_units, expressions):
    config = request.getfixturevalue(request.param)(label_sets=[action_units, expressions])
    model = CLEFForImageClassification(config).eval()
    with torch.no_grad():
        model.label_head.biases.normal_()
    return model


@pytest.fixture
def tower_folder(model, tmp_path):
    """The model's text tower, saved before its labels are frozen."""
    model.clef.text_model.save_pretrained(tmp_path / "tower")
    return tmp_path / "tower"


def logits_of(model, pixel_values):
    with torch.no_grad():
        return model(pixel_values).logits


def close(found, expected, atol=2e-6):
    """Weights read from a file lie elsewhere in memory, by which products differ in the last bit."""
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def test_logits_stay_the_same_frozen_saved_and_loaded(model, pixel_values, tmp_path):
    before = logits_of(model, pixel_values)
    model.freeze_labels()
    assert torch.equal(logits_of(model, pixel_values), before)
    assert torch.equal(model(pixel_values).logits, before)  # with gradients of the image side
    model.save_pretrained(tmp_path)
    again, info = CLEFForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and again.config.text_free
    close(logits_of(again, pixel_values), before)
    assert again.clef.text_model is None


def test_what_is_saved_holds_no_text_tower(model, tmp_path):
    model.freeze_labels()
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert not [name for name in saved if "text_model" in name]
    assert saved["label_head.label_embeds"].shape == (5, 16)
    assert saved["label_head.label_embeds"].dtype == torch.float32
    assert "clef.text_projection.weight" in saved  # small, and needed once the tower joins


def test_half_precision_keeps_label_embeddings_in_float32(model, pixel_values, tmp_path):
    model.bfloat16()
    before = logits_of(model, pixel_values.bfloat16())
    model.freeze_labels()
    model.save_pretrained(tmp_path)
    again = CLEFForImageClassification.from_pretrained(tmp_path)
    assert again.dtype == torch.bfloat16 and again.label_head.label_embeds.dtype == torch.float32
    close(logits_of(again, pixel_values.bfloat16()), before, 1e-2)
    assert torch.equal(again.label_head.label_embeds, model.label_head.label_embeds)
    again.bfloat16()  # cast by hand, the embeddings follow and the logits come close
    torch.testing.assert_close(logits_of(again, pixel_values.bfloat16()), before, atol=0.1, rtol=0)


def test_freezing_in_training_mode_embeds_as_evaluation_does(action_units, clip_config, tokenizer, pixel_values):
    phrased = action_units | {"phrasing_tokens": [["2 9 3"], ["2 8 3"]]}
    config = clip_config(label_sets=[phrased])
    config.text_config.attention_dropout = 0.5
    model = CLEFForImageClassification(config)
    before = logits_of(model.eval(), pixel_values)
    model.train().freeze_labels()
    assert model.training
    assert torch.equal(logits_of(model.eval(), pixel_values), before)


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForPreTraining, AutoModelForImageClassification])
def test_auto_classes_load_the_frozen_form(auto_class, model, pixel_values, tmp_path):
    expected = model.clef.image_embeds(pixel_values)
    model.freeze_labels()
    model.save_pretrained(tmp_path)
    loaded, info = auto_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not {name for name in info["missing_keys"] if name != "image_image_logit_scale"}
    close(getattr(loaded, "clef", loaded).image_embeds(pixel_values), expected)
    assert AutoConfig.from_pretrained(tmp_path).sentence_encoder["weights_sha256"]


def use_text_features(model, texts, pixel_values):
    model.clef.get_text_features(**texts)


def use_zero_shot(model, texts, pixel_values):
    model.clef(pixel_values=pixel_values, **texts)


def use_other_labels(model, texts, pixel_values):
    model.set_labels(["a", "b", "c"], **texts)


def use_training(model, texts, pixel_values):
    model.train()(pixel_values, LABELS)


def use_activities(model, texts, pixel_values):
    stage_1 = CLEFForPreTraining(model.config)
    stage_1(torch.randn(3, 2, 3, 32, 32), activity_ids=torch.arange(3), **texts)


@pytest.mark.parametrize("use", [use_text_features, use_zero_shot, use_other_labels, use_training, use_activities])
def test_what_needs_texts_names_the_call_to_make(use, model, texts, pixel_values):
    model.freeze_labels()
    with pytest.raises(ValueError, match=r"text-free.*Call model.join_text_tower\(\) first"):
        use(model, texts, pixel_values)


def test_descriptions_need_the_tower_and_are_left_out_of_the_loss(clip_config, action_units, pixel_values):
    model = CLEFForImageClassification(clip_config(label_sets=[action_units], head="names_and_descriptions")).eval()
    expected = model(pixel_values, LABELS[:, :2]).image_name_loss
    model.freeze_labels()
    output = model(pixel_values, LABELS[:, :2])
    close(output.loss, expected)
    assert output.description_name_loss is None and model(pixel_values).loss is None
    with pytest.raises(ValueError, match="join_text_tower"):
        model.train()(pixel_values, LABELS[:, :2])


def test_joined_it_is_what_it_was(model, tower_folder, texts, pixel_values, tmp_path):
    logits, features = logits_of(model, pixel_values), model.clef.get_text_features(**texts).pooler_output
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    model.freeze_labels()
    model.save_pretrained(tmp_path / "frozen")
    model = CLEFForImageClassification.from_pretrained(tmp_path / "frozen")
    model.join_text_tower(tower_folder)
    close(model.clef.get_text_features(**texts).pooler_output, features)
    close(logits_of(model, pixel_values), logits)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trainable
    assert not model.training and not model.clef.text_model.training
    assert not model.config.text_free and not model.clef.config.text_free
    model.set_labels(["smile", "joke", "smell"], **texts)
    torch.testing.assert_close(model(pixel_values).label_embeds, model.clef.text_embeds(**texts))
    model.train()(pixel_values, torch.zeros(2, 3)).loss.backward()
    assert model.clef.text_projection.weight.grad.abs().sum() > 0


def test_joined_it_can_be_saved_whole_or_frozen_again(model, tower_folder, pixel_values, tmp_path):
    logits = logits_of(model, pixel_values)
    model.freeze_labels()
    model.join_text_tower(tower_folder)
    assert "label_head.label_embeds" not in model.state_dict()
    model.save_pretrained(tmp_path / "whole")
    whole, info = CLEFForImageClassification.from_pretrained(tmp_path / "whole", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    close(logits_of(whole, pixel_values), logits)
    whole.freeze_labels()
    close(logits_of(whole, pixel_values), logits)
    assert whole.config.text_free
    whole.join_text_tower(tmp_path / "whole")  # a CLEF checkpoint holds the tower as well
    close(logits_of(whole, pixel_values), logits)


def test_a_tower_joins_in_the_mode_of_the_model(model, tower_folder):
    model.freeze_labels()
    model.train().join_text_tower(tower_folder)
    assert model.training and model.clef.text_model.training == (not model.config.freeze_text)


@pytest.mark.parametrize("model_class", [CLEFModel, CLEFForPreTraining])
def test_base_and_pretraining_are_joined_alike(model_class, model, tower_folder, texts, tmp_path):
    features = model.clef.get_text_features(**texts).pooler_output
    model.freeze_labels()
    model.save_pretrained(tmp_path / "frozen")
    loaded = model_class.from_pretrained(tmp_path / "frozen")
    loaded.join_text_tower(tower_folder)
    base = getattr(loaded, "clef", loaded)
    close(base.get_text_features(**texts).pooler_output, features)
    assert all(not p.requires_grad for p in base.text_model.parameters()) == loaded.config.freeze_text


def test_freezing_and_joining_twice_changes_nothing(model, tower_folder, pixel_values):
    logits = logits_of(model, pixel_values)
    model.freeze_labels()
    model.freeze_labels()
    assert torch.equal(logits_of(model, pixel_values), logits)
    model.join_text_tower(tower_folder)
    tower = model.clef.text_model
    model.join_text_tower("nowhere")
    assert model.clef.text_model is tower


def test_a_tower_from_a_clip_checkpoint_joins(clip_folder, action_units, pixel_values):
    model = CLEFForImageClassification.from_pretrained(clip_folder, label_sets=[action_units])
    logits = logits_of(model, pixel_values)
    model.freeze_labels()
    model.join_text_tower(clip_folder)
    close(logits_of(model, pixel_values), logits)
    assert any(p.requires_grad for p in model.clef.text_model.parameters())  # it was not frozen before either


def test_other_weights_are_refused(model, tower_folder, tmp_path):
    expected = weights_sha256(model.clef.text_model, model.config.text_pooling)
    with torch.no_grad():
        list(model.clef.text_model.parameters())[-3][0] += 1e-3
        found = weights_sha256(model.clef.text_model, model.config.text_pooling)
    model.freeze_labels()
    with pytest.raises(ValueError, match=f"SHA-256 {expected}, expected {found}"):
        model.join_text_tower(tower_folder)
    assert model.clef.text_model is None and model.config.text_free


def test_a_tower_of_another_shape_is_refused(sentence_config, action_units, tmp_path):
    model = CLEFForImageClassification(sentence_config(label_sets=[action_units]))
    model.freeze_labels()
    small = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=64, **small)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not hold the text tower"):
        model.join_text_tower(tmp_path)


def test_without_a_published_encoder_a_folder_is_asked_for(model, tmp_path):
    model.freeze_labels()
    with pytest.raises(FileNotFoundError, match=r"Give the folder.*model.join_text_tower\(folder\)"):
        model.join_text_tower()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model.join_text_tower(tmp_path / "nowhere")


def test_an_unused_pooler_does_not_count(sentence_config, action_units):
    model = CLEFForImageClassification(sentence_config(label_sets=[action_units]))
    before = weights_sha256(model.clef.text_model, "mean")
    with torch.no_grad():
        model.clef.text_model.pooler.dense.weight += 1
    assert weights_sha256(model.clef.text_model, "mean") == before
    assert weights_sha256(model.clef.text_model, "pooler") != before


def test_a_linear_head_only_loses_the_tower(clip_config, action_units, pixel_values, tmp_path):
    model = CLEFForImageClassification(clip_config(label_sets=[action_units], head="linear")).eval()
    before = logits_of(model, pixel_values)
    model.freeze_labels()
    model.save_pretrained(tmp_path)
    again = CLEFForImageClassification.from_pretrained(tmp_path)
    assert again.clef.text_model is None
    close(logits_of(again, pixel_values), before)
    again.train()(pixel_values, LABELS[:, :2]).loss.backward()


def test_a_model_without_labels_has_none_to_freeze(clip_config):
    with pytest.raises(ValueError, match="no labels to freeze"):
        CLEFForImageClassification(clip_config()).freeze_labels()


def test_labels_of_a_frozen_checkpoint_are_not_replaced_while_loading(model, action_units, tmp_path):
    model.save_pretrained(tmp_path / "whole")
    with pytest.raises(ValueError, match=r"call model.freeze_labels\(\)"):
        CLEFForImageClassification.from_pretrained(tmp_path / "whole", text_free=True)
    model.freeze_labels()
    model.save_pretrained(tmp_path / "frozen")
    others = [action_units | {"labels": ["AU4", "AU9"]}, model.config.label_sets[1]]
    with pytest.raises(ValueError, match=OTHER_TEXTS):
        CLEFForImageClassification.from_pretrained(tmp_path / "frozen", label_sets=others)
    fitted = [label_set | {"temperatures": [2.0] * len(label_set["labels"])} for label_set in model.config.label_sets]
    again = CLEFForImageClassification.from_pretrained(tmp_path / "frozen", label_sets=fitted)
    assert again.config.label_sets[0]["temperatures"] == [2.0, 2.0]


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForPreTraining, AutoModelForImageClassification])
def test_a_text_tower_of_random_weights_is_never_loaded(auto_class, model, tmp_path):
    model.freeze_labels()
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no text tower.*then call model.join_text_tower\(\)"):
        auto_class.from_pretrained(tmp_path, text_free=False)


def test_texts_of_a_frozen_checkpoint_are_not_replaced_while_loading(model, tmp_path):
    model.freeze_labels()
    model.save_pretrained(tmp_path)
    action_units, expressions = model.config.label_sets
    others = [action_units | {"name_tokens": ["2 9 3", "2 8 3"]}, expressions]
    for fields in ({"label_sets": others}, {"label_sets": [action_units], "head": "descriptions"}):
        with pytest.raises(ValueError, match=OTHER_TEXTS):
            CLEFForImageClassification.from_pretrained(tmp_path, **fields)


def test_descriptions_of_a_frozen_checkpoint_are_replaced_only_where_none_is_shown(clip_config, action_units, tmp_path):
    others = [action_units | {"description_tokens": [["2 9 3"], ["2 8 3"]]}]
    for head in ("names_and_descriptions", "descriptions"):
        model = CLEFForImageClassification(clip_config(label_sets=[action_units], head=head))
        model.freeze_labels()
        model.save_pretrained(tmp_path / head)
    again = CLEFForImageClassification.from_pretrained(tmp_path / "names_and_descriptions", label_sets=others)
    assert again.config.label_sets[0]["description_tokens"] == [["2 9 3"], ["2 8 3"]]
    with pytest.raises(ValueError, match=OTHER_TEXTS):
        CLEFForImageClassification.from_pretrained(tmp_path / "descriptions", label_sets=others)


def test_label_embeddings_that_no_checkpoint_brings_are_no_numbers(model, pixel_values):
    model.freeze_labels()
    fresh = CLEFForImageClassification(model.config).eval()
    assert logits_of(fresh, pixel_values).isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_does_not_make_a_frozen_tower_another(
    dtype, sentence_config, action_units, texts, pixel_values, tmp_path
):
    model = CLEFForImageClassification(sentence_config(label_sets=[action_units])).eval()
    model.clef.text_model.save_pretrained(tmp_path / "tower")
    model.freeze_labels()
    recorded = dict(model.config.sentence_encoder)
    model.join_text_tower(tmp_path / "tower")
    model.save_pretrained(tmp_path / "whole")
    model = CLEFForImageClassification.from_pretrained(tmp_path / "whole", dtype=dtype)
    features = model.clef.get_text_features(**texts).pooler_output
    model.freeze_labels()
    assert model.config.sentence_encoder == recorded
    model.join_text_tower(tmp_path / "tower")
    assert torch.equal(model.clef.get_text_features(**texts).pooler_output, features)


def test_a_tower_that_has_learned_is_not_on_record(sentence_config, action_units, pixel_values, tmp_path):
    model = CLEFForImageClassification(sentence_config(label_sets=[action_units]))
    model.freeze_labels()
    recorded = model.config.sentence_encoder
    learning = sentence_config(label_sets=[action_units], sentence_encoder=recorded, freeze_text=False)
    model = CLEFForImageClassification(learning).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(pixel_values, torch.eye(2)).loss.backward()
    optimizer.step()
    model.save_pretrained(tmp_path / "learned")
    model = CLEFForImageClassification.from_pretrained(tmp_path / "learned", dtype=torch.bfloat16, freeze_text=True)
    expected = weights_sha256(model.clef.text_model, "mean")
    model.freeze_labels()
    assert model.config.sentence_encoder["weights_sha256"] == expected != recorded["weights_sha256"]


def test_the_configuration_records_what_was_left_out(model, tmp_path):
    digest = weights_sha256(model.clef.text_model, model.config.text_pooling)
    model.freeze_labels()
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["text_free"] is True
    assert saved["sentence_encoder"] == {"repo_id": None, "package": None, "sha256": None, "weights_sha256": digest}
