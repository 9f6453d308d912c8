import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForImageClassification

from modeling_clef import CLEFConfig, CLEFForImageClassification, build_label_set
from modeling_clef.losses_clef import masked_binary_loss, masked_cross_entropy

NAN = float("nan")
LABELS = torch.tensor([[1, 0, 0, 1, 0], [NAN, 1, NAN, NAN, NAN], [NAN, NAN, 0, 0, 1]])
HEADS = ["linear", "names", "names_and_descriptions"]


@pytest.fixture
def pixel_values():
    return torch.randn(3, 3, 32, 32)


@pytest.fixture
def make(clip_config, action_units, expressions):
    def make(**fields):
        fields = {"label_sets": [action_units, expressions], **fields}
        return CLEFForImageClassification(clip_config(**fields)).eval()

    return make


@pytest.fixture
def counting(make):
    """A model, and how many texts its text tower was run on in each call."""
    model, calls = make(), []
    model.clef.text_model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return model, calls


def test_a_label_set_holds_what_the_tokenizer_made(action_units, tokenizer):
    assert action_units["name_tokens"] == [
        " ".join(map(str, tokenizer(name)["input_ids"])) for name in action_units["names"]
    ]
    assert [len(texts) for texts in action_units["description_tokens"]] == [2, 2]
    assert action_units["thresholds"] == [0.5, 0.5] and action_units["positive_weights"] is None


def test_logits_are_scaled_similarities_with_a_bias(make, pixel_values, texts, tokenizer):
    model = make()
    with torch.no_grad():
        model.label_head.scales.copy_(torch.tensor([2.0, 3.0]).log())
        model.label_head.biases.copy_(torch.arange(5.0))
    names = [name for label_set in model.config.label_sets for name in label_set["names"]]
    encoded = tokenizer(names, padding=True, return_tensors="pt", return_token_type_ids=False)
    label_embeds, image_embeds = model.clef.text_embeds(**encoded), model.clef.image_embeds(pixel_values)
    output = model(pixel_values)
    torch.testing.assert_close(output.label_embeds, label_embeds)
    expected = image_embeds @ label_embeds.T * torch.tensor([2.0, 2, 3, 3, 3]) + torch.arange(5.0)
    torch.testing.assert_close(output.logits, expected)
    assert model.label_slices == {"action_units": slice(0, 2), "expression": slice(2, 5)}


@pytest.mark.parametrize("head", HEADS)
def test_scales_and_biases_start_as_configured(head, make):
    model = make(head=head, label_scale_init=5.0, label_bias_init=-1.0)
    assert model.label_head.biases.tolist() == [-1, -1, 0, 0, 0]
    if head != "linear":
        torch.testing.assert_close(model.label_head.scales.exp(), torch.tensor([5.0, 5.0]))


@pytest.mark.parametrize("head", HEADS)
def test_the_loss_sums_over_label_sets_and_leaves_unknown_labels_out(head, make, pixel_values):
    model = make(head=head)
    output = model(pixel_values, LABELS)
    expected = masked_binary_loss(output.logits[:, :2], LABELS[:, :2])
    expected = expected + masked_cross_entropy(output.logits[:, 2:], LABELS[:, 2:])
    torch.testing.assert_close(output.image_name_loss, expected)
    if head == "names_and_descriptions":
        torch.testing.assert_close(output.loss, expected + output.description_name_loss)
    else:
        assert output.description_name_loss is None and torch.equal(output.loss, output.image_name_loss)
    gradient = torch.autograd.grad(output.image_name_loss, model.label_head.biases)[0]
    assert gradient.abs().min() > 0
    unknown = model(pixel_values, torch.full((3, 5), NAN))
    assert unknown.image_name_loss.item() == 0 and unknown.image_name_loss.requires_grad


def test_positive_weights_reach_the_loss(make, pixel_values, action_units, expressions):
    weighted = [action_units | {"positive_weights": [2.0, 3.0]}, expressions | {"positive_weights": [1.0, 2.0, 4.0]}]
    output = make(label_sets=weighted)(pixel_values, LABELS)
    expected = masked_binary_loss(output.logits[:, :2], LABELS[:, :2], torch.tensor([2.0, 3.0]))
    expected = expected + masked_cross_entropy(output.logits[:, 2:], LABELS[:, 2:], torch.tensor([1.0, 2.0, 4.0]))
    torch.testing.assert_close(output.loss, expected)


def test_a_single_label_set_also_takes_class_numbers(make, expressions, action_units, pixel_values):
    model = make(label_sets=[expressions])
    one_hot = torch.tensor([[0, 1, 0], [NAN, NAN, NAN], [1, 0, 0]])
    assert torch.equal(model(pixel_values, torch.tensor([1, -1, 0])).loss, model(pixel_values, one_hot).loss)
    with pytest.raises(ValueError, match=r"got labels \(3,\), expected \(3, 5\)"):
        make()(pixel_values, torch.tensor([1, -1, 0]))
    with pytest.raises(ValueError, match=r"got labels \(3, 4\), expected \(3, 5\)"):
        make()(pixel_values, LABELS[:, :4])


def test_descriptions_are_drawn_in_training_and_the_first_in_eval(make, pixel_values):
    model = make(head="names_and_descriptions")
    first = model(pixel_values, LABELS, torch.zeros(5, dtype=torch.long)).description_name_loss
    second = model(pixel_values, LABELS, torch.ones(5, dtype=torch.long)).description_name_loss
    assert first != second and model(pixel_values, LABELS).description_name_loss == first
    model.train()
    drawn = {round(model(pixel_values, LABELS).description_name_loss.item(), 5) for _ in range(20)}
    assert len(drawn) == 4  # two descriptions for each of two labels
    torch.manual_seed(7)
    once = model(pixel_values, LABELS).description_name_loss
    torch.manual_seed(7)
    assert torch.equal(once, model(pixel_values, LABELS).description_name_loss)


def test_description_loss_is_text_to_text_within_the_set(make, pixel_values):
    model = make(head="names_and_descriptions")
    loss = model(pixel_values, LABELS).description_name_loss
    (columns, descriptions), *others = model.label_head.embed_descriptions(model.clef, None)
    assert columns == slice(0, 2) and not others  # the expressions have no descriptions
    logits = model.clef.logit_scale.exp() * descriptions @ model(pixel_values).label_embeds[:2].T
    expected = (F.cross_entropy(logits, torch.arange(2)) + F.cross_entropy(logits.T, torch.arange(2))) / 2
    torch.testing.assert_close(loss, expected)
    vision = list(model.clef.vision_model.parameters())
    assert all(g is None for g in torch.autograd.grad(loss, vision, allow_unused=True))


def test_names_are_encoded_once_a_training_step_and_once_in_eval(counting, pixel_values):
    model, calls = counting
    model.train()
    model(pixel_values)
    model(pixel_values)
    assert calls == [5, 5]
    model.eval()
    with torch.no_grad():
        for _ in range(3):
            model(pixel_values)
    assert calls == [5, 5, 5]
    model(pixel_values).logits.sum().backward()  # where a gradient is wanted, nothing is remembered
    assert model.clef.text_projection.weight.grad.abs().sum() > 0


def change_by_step(model, texts):
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with torch.enable_grad():
        model(torch.randn(3, 3, 32, 32), LABELS).loss.backward()
    optimizer.step()


def change_by_loading(model, texts):
    model.load_state_dict({name: 2 * value for name, value in model.state_dict().items()})


def change_labels(model, texts):
    model.set_labels(["a", "b", "c"], texts["input_ids"], texts["attention_mask"])


def change_precision(model, texts):
    model.double()


@pytest.mark.parametrize("change", [change_by_step, change_by_loading, change_labels, change_precision])
def test_remembered_label_embeddings_follow_weights_and_labels(change, make, texts):
    model = make()
    pixel_values = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        model(pixel_values)
        before = model(pixel_values).label_embeds
        change(model, texts)
        after = model(pixel_values.to(model.dtype)).label_embeds
    fresh = model(pixel_values.to(model.dtype)).label_embeds  # with gradients: computed anew
    torch.testing.assert_close(after, fresh)
    assert change is change_precision or not torch.equal(before, after[: len(before)])


def test_labels_first_used_in_inference_mode_can_be_learned_from(make, pixel_values):
    model = make()
    with torch.inference_mode():
        model(pixel_values)
    with torch.no_grad():
        embeds = model(pixel_values).label_embeds
    (embeds @ torch.ones(16, requires_grad=True)).sum().backward()


def test_set_labels_names_new_labels_without_training(make, pixel_values, texts, tmp_path):
    model = make(head="names_and_descriptions")
    with torch.no_grad():
        model.label_head.biases.copy_(torch.tensor([-1.0, -2.0, 7, 8, 9]))
        model.label_head.scales.copy_(torch.tensor([2.0, 3.0]))
    model.set_labels(["smile", "joke", "smell"], texts["input_ids"], texts["attention_mask"])
    expected = model.clef.text_embeds(**texts)
    output = model(pixel_values)
    torch.testing.assert_close(output.label_embeds, expected)
    assert model.label_head.biases.tolist() == [-1.5] * 3 and model.label_head.scales.tolist() == [2.0]
    assert model.config.head == "names" and model.label_slices == {"custom": slice(0, 3)}
    assert model.config.id2label == {0: "smile", 1: "joke", 2: "smell"}
    assert model.config.problem_type == "multi_label_classification"
    model.save_pretrained(tmp_path)
    again = CLEFForImageClassification.from_pretrained(tmp_path)
    assert torch.equal(again(pixel_values).logits, output.logits)
    model.set_labels(["yes", "no", "so"], **texts, problem_type="single_label_classification", name="answers")
    assert model.label_head.biases.tolist() == [0.0] * 3  # no set of this type was trained
    assert model.config.problem_type == "single_label_classification"


def test_set_labels_refuses_what_does_not_fit(make, texts):
    with pytest.raises(ValueError, match="linear head"):
        make(head="linear").set_labels(["a", "b", "c"], **texts)
    model = make()
    with pytest.raises(ValueError, match="got 2 labels and 3 rows"):
        model.set_labels(["a", "b"], **texts)
    with pytest.raises(ValueError, match="each label once"):
        model.set_labels(["a", "b", "a"], **texts)
    assert list(model.label_slices) == ["action_units", "expression"]
    assert [label_set["name"] for label_set in model.config.label_sets] == ["action_units", "expression"]


def test_a_model_without_labels_can_be_given_some(clip_config, pixel_values, texts, tmp_path):
    CLEFForImageClassification(clip_config()).save_pretrained(tmp_path)
    model = CLEFForImageClassification.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no labels"):
        model(pixel_values)
    model.set_labels(["a", "b", "c"], **texts)
    assert model(pixel_values).logits.shape == (3, 3)
    assert model.label_head.biases.tolist() == [-2.0] * 3


def test_labels_in_the_configuration_follow_the_label_sets(clip_config, action_units, expressions, tmp_path):
    one, both = clip_config(label_sets=[expressions]), clip_config(label_sets=[action_units, expressions])
    assert one.problem_type == "single_label_classification" and one.num_labels == 3
    assert one.label2id == {"happiness": 0, "sadness": 1, "neutral": 2}
    assert both.problem_type == "multi_label_classification" and both.id2label[4] == "neutral"
    both.save_pretrained(tmp_path)
    again = CLEFConfig.from_pretrained(tmp_path, label_sets=[action_units], head="linear")
    assert again.id2label == {0: "AU1", 1: "AU12"} and again.problem_type == "multi_label_classification"
    twice = clip_config(label_sets=[action_units, action_units | {"name": "more"}])
    assert list(twice.label2id) == ["action_units/AU1", "action_units/AU12", "more/AU1", "more/AU12"]


@pytest.fixture
def folder(make, tmp_path):
    make().save_pretrained(tmp_path)
    return tmp_path


OTHER_LABELS = {
    "num_labels": 3,
    "id2label": {0: "yes", 1: "no"},
    "label2id": {"yes": 0, "no": 1},
    "problem_type": "single_label_classification",
}


@pytest.mark.parametrize("name", OTHER_LABELS)
@pytest.mark.parametrize("auto_class", [AutoConfig, AutoModelForImageClassification])
def test_labels_that_contradict_the_label_sets_are_refused(name, auto_class, folder):
    with pytest.raises(ValueError, match=rf"got {name}=.*Load with label_sets=.*model.set_labels\("):
        auto_class.from_pretrained(folder, **{name: OTHER_LABELS[name]})


def test_a_model_without_labels_is_given_none_by_their_number(clip_config, tmp_path):
    CLEFForImageClassification(clip_config()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="got num_labels=2, expected None"):
        CLEFForImageClassification.from_pretrained(tmp_path, num_labels=2)


def test_labels_that_repeat_the_label_sets_change_nothing(folder):
    plain = AutoConfig.from_pretrained(folder)
    in_texts = {str(index): label for index, label in plain.id2label.items()}
    labels = {"id2label": in_texts, "label2id": {label: index for index, label in in_texts.items()}}
    config, unused = AutoConfig.from_pretrained(
        folder, **labels, num_labels=5, problem_type=None, made_up=1, return_unused_kwargs=True
    )
    assert config.to_dict() == plain.to_dict() and unused == {"made_up": 1}


BAD_SETS = {
    "expected each label once": {"labels": ["AU1", "AU1"]},
    "problem type 'regression'": {"problem_type": "regression"},
    "1 thresholds for 2": {"thresholds": [0.5]},
    "expected numbers in": {"thresholds": [0.5, 3]},
    "descriptions a label": {"description_tokens": [["1"], ["1", "2"]]},
    "is empty": {"labels": []},
}


@pytest.mark.parametrize("message", BAD_SETS)
def test_malformed_label_sets_are_refused(message, clip_config, action_units):
    with pytest.raises(ValueError, match=message):
        clip_config(label_sets=[action_units | BAD_SETS[message]])


def test_other_malformed_configurations_are_refused(clip_config, action_units, expressions, tokenizer):
    with pytest.raises(ValueError, match="each name once"):
        clip_config(label_sets=[action_units, action_units])
    with pytest.raises(ValueError, match="has descriptions"):
        clip_config(label_sets=[expressions], head="names_and_descriptions")
    with pytest.raises(ValueError, match="lacks .*thresholds"):
        clip_config(label_sets=[{"name": "x"}])
    with pytest.raises(ValueError, match="at least two"):
        build_label_set("x", ["a"], "single_label_classification", ["a"], tokenizer)
    with pytest.raises(ValueError, match="1 names for 2 labels"):
        build_label_set("x", ["a", "b"], "multi_label_classification", ["a"], tokenizer)
