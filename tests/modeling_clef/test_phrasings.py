"""Labels learned in several phrasings: which texts training shows, in which loss, and that logits are of the names."""

import pytest
import torch

from modeling_clef import CLEFConfig, CLEFForImageClassification, build_label_set
from modeling_clef.label_sets_clef import token_tensors

NAMES = ["a photo of a person with inner brow raiser", "a photo of a person with lip corner puller"]
PHRASINGS = [["the inner brow are up", "brow raised"], ["smile", "the lip pulled up", "face with smile"]]


@pytest.fixture
def phrased(tokenizer):
    return build_label_set(
        "action_units", ["AU1", "AU12"], "multi_label_classification", NAMES, tokenizer, phrasings=PHRASINGS
    )


@pytest.fixture(params=["clip_config", "sentence_config"])
def model(request, phrased, expressions):
    config = request.getfixturevalue(request.param)
    return CLEFForImageClassification(config(label_sets=[phrased, expressions]))


@pytest.fixture
def pixel_values():
    return torch.randn(2, 3, 32, 32)


def alone(model, string):
    """The embedding of one text of the label sets."""
    return model.clef.text_embeds(*token_tensors([string], 0))[0]


def test_phrasings_are_tokenized_as_names_are(phrased, tokenizer):
    expected = [[" ".join(map(str, tokenizer(text)["input_ids"])) for text in texts] for texts in PHRASINGS]
    assert phrased["phrasing_tokens"] == expected


def test_training_draws_every_phrasing_of_every_label_equally_often(model, phrased, expressions):
    texts = phrased["phrasing_tokens"] + [[name] for name in expressions["name_tokens"]]  # no phrasings: the name
    model.eval()  # no dropout while the texts are embedded one by one
    embeds = [torch.stack([alone(model, string) for string in strings]) for strings in texts]
    model.label_head.train()
    counts = [torch.zeros(len(strings)) for strings in texts]
    steps = 400
    with torch.no_grad():
        for _ in range(steps):
            drawn = model.label_head.embed_phrasings(model.clef)
            for label, known in enumerate(embeds):
                similarity = known @ drawn[label]
                assert similarity.max() > 1 - 1e-5
                counts[label][similarity.argmax()] += 1
    for label, count in enumerate(counts):
        expected = steps / len(count)
        assert ((count - expected).abs() < 5 * expected**0.5).all(), (label, count)


def test_draws_follow_torchs_generator(model):
    model.train()
    embeds = []
    for seed in (3, 3, 4, 5, 6):
        torch.manual_seed(seed)
        embeds.append(model.label_head.embed_phrasings(model.clef))
    assert torch.equal(embeds[0], embeds[1])
    assert not all(torch.allclose(embeds[0], other) for other in embeds[2:])


def test_logits_are_of_the_names_and_evaluation_draws_nothing(model, phrased, expressions, pixel_values):
    model.eval()
    state = torch.get_rng_state()
    expected = torch.stack([alone(model, name) for name in phrased["name_tokens"] + expressions["name_tokens"]])
    output = model(pixel_values, torch.zeros(2, 5))
    torch.testing.assert_close(output.label_embeds, expected)
    assert output.image_phrasing_loss is None
    with torch.no_grad():
        torch.testing.assert_close(model(pixel_values).label_embeds, expected)
    assert torch.equal(state, torch.get_rng_state())
    model.label_head.train()
    torch.testing.assert_close(model(pixel_values).label_embeds, expected)


@pytest.mark.parametrize("both", [False, True])
def test_sets_with_phrasings_have_a_part_of_the_loss_for_these_and_names_each_alone(
    both, phrased, expressions, sentence_config, pixel_values
):
    classes = expressions | {"phrasing_tokens": [["2 9 3"], ["2 8 3"], ["2 7 3"]]} if both else expressions
    model = CLEFForImageClassification(sentence_config(label_sets=[phrased, classes]))
    model.eval()  # no dropout in the text tower
    model.label_head.train()
    model.training = True  # of the classifier alone
    labels = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 1, 0, 0.0]])
    torch.manual_seed(7)
    output = model(pixel_values, labels)
    torch.manual_seed(7)
    expected = 0
    for embeds in (model.label_head.embed_phrasings(model.clef), output.label_embeds):
        logits = output.image_embeds @ embeds.T
        scales = model.label_head.scales.exp()
        logits = torch.cat([logits[:, :2] * scales[0], logits[:, 2:] * scales[1]], dim=1) + model.label_head.biases
        terms = -torch.where(labels == 1, logits.sigmoid(), 1 - logits.sigmoid()).log()
        expected += terms[:, :2].mean()
        if both:
            expected += terms[:, 2:].mean()  # of expressions, too, each by itself
    torch.testing.assert_close(output.image_phrasing_loss, expected)
    torch.testing.assert_close(output.loss, output.image_name_loss + model.config.phrasing_weight * expected)


def test_classes_as_numbers_are_judged_alone_as_one_hot_ones_are(sentence_config, tokenizer):
    names = ["a photo of a person with sad face", "a photo of a person with smile", "a photo of a person with joy"]
    options = {"phrasings": [["sad"], ["smile"], ["joy"]]}
    classes = build_label_set("expression", ["a", "b", "c"], "single_label_classification", names, tokenizer, **options)
    head = CLEFForImageClassification(sentence_config(label_sets=[classes])).label_head
    logits = torch.randn(4, 3)
    one_hot = torch.tensor([[0, 1, 0], [1, 0, 0], [torch.nan] * 3, [0, 0, 1]])
    numbers = torch.tensor([1, 0, -1, 2])
    known, targets = logits[[0, 1, 3]].sigmoid(), one_hot[[0, 1, 3]]
    expected = -torch.where(targets == 1, known, 1 - known).log().mean()
    torch.testing.assert_close(head.loss(logits, one_hot, alone=True), expected)
    torch.testing.assert_close(head.loss(logits, numbers, alone=True), expected)
    assert not torch.isclose(head.loss(logits, numbers), expected)


def test_a_linear_head_shows_no_phrasings(clip_config, phrased, pixel_values):
    model = CLEFForImageClassification(clip_config(label_sets=[phrased], head="linear")).train()
    assert model(pixel_values, torch.tensor([[1.0, 0], [0, 1]])).image_phrasing_loss is None


def test_gradients_reach_the_text_side_through_drawn_phrasings(model, pixel_values):
    model.train()
    labels = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 1, 0, 0.0]])
    model(pixel_values, labels).loss.backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []
    assert model.clef.text_projection.weight.grad.abs().sum() > 0
    assert model.clef.visual_projection.weight.grad.abs().sum() > 0


def test_a_frozen_tower_runs_once_a_text(sentence_config, phrased, pixel_values):
    model, calls = CLEFForImageClassification(sentence_config(label_sets=[phrased])).train(), []
    model.clef.text_model.register_forward_pre_hook(lambda *_: calls.append(1))
    labels = torch.tensor([[1.0, 0], [0, 1]])
    for _ in range(100):
        model(pixel_values, labels)
    assert len(calls) == 7  # two names and five phrasings


def test_a_frozen_tower_has_no_dropout_even_before_training_begins(sentence_config, phrased):
    model = CLEFForImageClassification(sentence_config(label_sets=[phrased]))
    before = alone(model, phrased["name_tokens"][0])
    model.clef._frozen_text.rows.clear()
    assert torch.equal(alone(model.eval(), phrased["name_tokens"][0]), before)


def test_phrasings_come_back_from_a_saved_folder(model, phrased, tmp_path):
    model.save_pretrained(tmp_path)
    again = CLEFForImageClassification.from_pretrained(tmp_path)
    assert again.config.label_sets[0]["phrasing_tokens"] == phrased["phrasing_tokens"]
    assert again.label_head.others == model.label_head.others


def test_label_sets_from_before_there_were_phrasings_still_load(sentence_config, phrased):
    new = ("phrasing_tokens", "temperatures", "calibration_biases")
    config = sentence_config(label_sets=[phrased]).to_dict()
    config["label_sets"] = [{key: value for key, value in phrased.items() if key not in new}]
    loaded = CLEFConfig.from_dict(config)
    assert [loaded.label_sets[0][key] for key in new] == [None] * 3
    assert CLEFForImageClassification(loaded).train()(torch.randn(2, 3, 32, 32)).logits.shape == (2, 2)


def test_phrasings_of_other_labels_are_refused(tokenizer):
    with pytest.raises(ValueError, match="1 phrasing_tokens for 2 labels"):
        build_label_set("x", ["a", "b"], "multi_label_classification", NAMES, tokenizer, phrasings=[["smile"]])
