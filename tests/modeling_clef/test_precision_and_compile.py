import pytest
import torch
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutputWithPooling

from modeling_clef import CLEFForImageClassification, CLEFForPreTraining, CLEFModel


@pytest.fixture
def pretraining_batch(texts):
    return {"pixel_values": torch.randn(4, 2, 3, 32, 32), "activity_ids": torch.tensor([0, 1, 2, 2]), **texts}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("towers", ["clip_config", "sentence_config"])
def test_autocast_trains_with_losses_in_float32(dtype, towers, request, pretraining_batch, action_units):
    config = request.getfixturevalue(towers)(label_sets=[action_units], head="names_and_descriptions")
    labels = torch.tensor([[1, 0], [0, 1.0]])
    stage_1, stage_2 = CLEFForPreTraining(config).train(), CLEFForImageClassification(config).train()
    with torch.autocast("cpu", dtype=dtype):
        outputs = stage_1(**pretraining_batch), stage_2(torch.randn(2, 3, 32, 32), labels)
    for model, output in zip((stage_1, stage_2), outputs, strict=True):
        floats = {name: value for name, value in output.items() if value is not None}
        assert {value.dtype for value in floats.values()} == {torch.float32}
        output.loss.backward()
        gradients = [p.grad for p in model.parameters() if p.requires_grad]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_autocast_in_eval_is_close_and_leaves_no_trace(clip_config, action_units):
    model = CLEFForImageClassification(clip_config(label_sets=[action_units])).eval()
    pixel_values = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(pixel_values).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(model(pixel_values).logits, expected, atol=0.3, rtol=0)
        assert torch.equal(model(pixel_values).logits, expected)


def test_autocast_leaves_similarities_exact(clip_config, action_units):
    model = CLEFForImageClassification(clip_config(label_sets=[action_units])).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(torch.randn(64, 3, 32, 32))
    cosines = output.image_embeds.double() @ output.label_embeds.double().T
    expected = cosines * model.label_head.scales.double().exp() + model.label_head.biases.double()
    torch.testing.assert_close(output.logits.double(), expected, atol=1e-5, rtol=0)


def test_embeddings_are_normalised_as_torch_does_it(clip_config):
    model = CLEFModel(clip_config()).eval()
    projected = torch.randn(40, 16) * 10.0 ** torch.arange(-20, 20)[:, None]
    projected[7] = 0
    model.get_image_features = lambda pixel_values: BaseModelOutputWithPooling(pooler_output=pixel_values)
    assert torch.equal(model.image_embeds(projected), F.normalize(projected, dim=-1))


def test_half_precision_weights(clip_config, action_units, texts):
    model = CLEFForImageClassification(clip_config(label_sets=[action_units])).eval().bfloat16()
    assert model(torch.randn(2, 3, 32, 32).bfloat16()).logits.dtype == torch.float32
    assert (
        model.clef(pixel_values=torch.randn(3, 3, 32, 32).bfloat16(), **texts).logits_per_image.dtype == torch.bfloat16
    )


@pytest.mark.parametrize("towers", ["clip_config", "sentence_config"])
def test_half_precision_takes_what_the_processor_gives(towers, request, action_units):
    model = CLEFForImageClassification(request.getfixturevalue(towers)(label_sets=[action_units])).eval()
    pixel_values = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(pixel_values).logits
        torch.testing.assert_close(model.bfloat16()(pixel_values).logits, expected, atol=0.3, rtol=0)


def test_a_model_with_frozen_labels_tells_its_shapes_on_the_meta_device(clip_config, action_units):
    model = CLEFForImageClassification(clip_config(label_sets=[action_units])).eval()
    model.freeze_labels()
    model.to("meta")
    with torch.no_grad():
        assert model(torch.empty(5, 3, 32, 32, device="meta")).logits.shape == (5, 2)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("towers", ["clip_config", "sentence_config"])
def test_a_model_with_a_text_tower_tells_its_shapes_on_the_meta_device(towers, frozen, request, action_units):
    config = request.getfixturevalue(towers)(label_sets=[action_units], freeze_text=frozen)
    model = CLEFForImageClassification(config).eval().to("meta")
    texts = {name: torch.ones(3, 4, dtype=torch.long, device="meta") for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert model(torch.empty(5, 3, 32, 32, device="meta")).logits.shape == (5, 2)
        assert model.clef.get_text_features(**texts).pooler_output.shape == (3, config.projection_dim)


def test_activation_checkpointing_changes_no_gradient(clip_config, pretraining_batch):
    model = CLEFForPreTraining(clip_config()).train()
    gradients = []
    for enable in (False, True):
        if enable:
            # The names since transformers 5.21, and those before.
            name = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
            getattr(model, f"{name}_checkpointing_enable")()
            assert getattr(model.clef.vision_model, f"is_{name}_checkpointing")
        model.zero_grad()
        model(**pretraining_batch).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


@pytest.mark.parametrize("call", ["get_image_features", "get_text_features", "forward"])
def test_clip_towers_compile_without_graph_breaks(call, clip_config, texts):
    torch.compiler.reset()
    model = CLEFModel(clip_config()).eval()
    images = {"pixel_values": torch.randn(3, 3, 32, 32)}
    inputs = {"get_image_features": images, "get_text_features": texts, "forward": images | texts}[call]
    expected = getattr(model, call)(**inputs)
    found = torch.compile(getattr(model, call), fullgraph=True, backend="eager")(**inputs)
    key = "logits_per_image" if call == "forward" else "pooler_output"
    torch.testing.assert_close(found[key], expected[key])


def test_a_frozen_text_tower_compiles_without_graph_breaks(clip_config, texts):
    torch.compiler.reset()
    model = CLEFModel(clip_config(freeze_text=True)).eval()
    found = torch.compile(model.get_text_features, fullgraph=True, backend="eager")(**texts).pooler_output
    torch.testing.assert_close(found, model.get_text_features(**texts).pooler_output)


def test_attention_can_be_chosen_per_tower(clip_config, tmp_path):
    CLEFModel(clip_config()).save_pretrained(tmp_path)
    chosen = {"vision_config": "eager", "text_config": "sdpa"}
    model = CLEFModel.from_pretrained(tmp_path, attn_implementation=chosen)
    assert model.vision_model.config._attn_implementation == "eager"
    assert model.text_model.config._attn_implementation == "sdpa"


def test_convolutional_towers_load_under_sdpa_and_eager(sentence_config, tmp_path):
    CLEFModel(sentence_config()).save_pretrained(tmp_path)
    for attention in ("sdpa", "eager"):
        model = CLEFModel.from_pretrained(tmp_path, attn_implementation=attention)
        assert model.text_model.config._attn_implementation == attention
