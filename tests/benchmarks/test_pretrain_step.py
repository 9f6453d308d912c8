import pytest
import torch
from torch.nn import functional as F

from benchmarks import pretrain_step
from benchmarks.pretrain_step import Case, make_batch, make_model, make_variants

SIZE = 32


@pytest.fixture
def cases(tiny_towers, monkeypatch):
    found = [
        Case("small tower", 4, SIZE, *tiny_towers["small tower"], 40, True, 2),
        Case("ViT-B/16", 3, SIZE, *tiny_towers["ViT-B/16"], 77, False, 2),
    ]
    monkeypatch.setattr(pretrain_step, "cases", lambda: found)
    return {case.name: case for case in found}


def test_the_result_names_every_ratio(cases, written, check_ratio):
    result = written(pretrain_step.main)
    assert [case["name"] for case in result["cases"]] == list(cases)
    for case in result["cases"]:
        frozen = cases[case["name"]].frozen_text
        assert case["milliseconds"].keys() - {"image encoder"} == {"bound", "step", "with optimizer", "stock"}
        assert ("image encoder" in case["milliseconds"]) is frozen
        assert min(case["milliseconds"].values()) > 0
        names = ("step_over_bound", "with_optimizer_over_bound", "stock_over_step")
        for name in (*names, "step_over_image_encoder") if frozen else names:
            check_ratio(case[name])
    only = written(pretrain_step.main, "--towers", "small tower", "--rounds", 1)
    assert [(case["name"], case["rounds"]) for case in only["cases"]] == [("small tower", 1)]


@pytest.mark.parametrize("name", ["small tower", "ViT-B/16"])
def test_variants_run_the_encoders_on_what_they_say(cases, name):
    """The bound and the step run the vision tower on all views, and the text tower on each text once; the step, where
    it is frozen, no longer after the first time; the stock step runs it on a text an image, padded."""
    case = cases[name]
    seen = []
    forwards = {}

    def watch(model):
        for part in ("vision_model", "text_model"):
            tower = getattr(model.clef, part)
            tower.register_forward_pre_hook(
                lambda module, args, kwargs, part=part: seen.append(
                    (part, tuple(kwargs.get("pixel_values", kwargs.get("input_ids")).shape))
                ),
                with_kwargs=True,
            )

    original = pretrain_step.make_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain_step, "make_model", lambda case: forwards.setdefault("model", original(case)))
        variants = make_variants(case)
    watch(forwards["model"])
    texts = make_batch(case)["input_ids"].shape
    views = ("vision_model", (2 * case.batch, 3, SIZE, SIZE))
    variants["step"]()
    expected = {
        "step": [views] if case.frozen_text else [views, ("text_model", tuple(texts))],
        "bound": [views, ("text_model", tuple(texts))],
        "with optimizer": [views] if case.frozen_text else [views, ("text_model", tuple(texts))],
        "stock": [views, ("text_model", (2 * case.batch, case.longest_text))],
    }
    if case.frozen_text:
        expected["image encoder"] = [views]
    for variant, calls in expected.items():
        seen.clear()
        variants[variant]()
        assert sorted(seen) == sorted(calls), variant


def test_the_optimizer_step_changes_the_weights_and_the_others_do_not(cases):
    case = cases["small tower"]
    made = []
    original = pretrain_step.make_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain_step, "make_model", lambda case: made.append(original(case)) or made[-1])
        variants = make_variants(case)
    weight = made[0].clef.visual_projection.weight
    expected = {"image encoder": False, "bound": False, "step": False, "stock": False, "with optimizer": True}
    for name, changes in expected.items():
        before = weight.detach().clone()
        variants[name]()
        assert torch.equal(before, weight) is not changes, name
        assert weight.grad is None


@pytest.mark.parametrize("name", ["small tower", "ViT-B/16"])
def test_the_stock_step_is_clips_loss(cases, name, monkeypatch):
    """Against the formula, on the very inputs; CLIPModel's own and the plain one."""
    case = cases[name]
    model, batch = make_model(case), make_batch(case)
    images = batch["pixel_values"].flatten(0, 1)
    model.eval()
    with torch.no_grad():
        image = model.clef.image_embeds(images)
        text = model.clef.text_embeds(batch["input_ids"], batch["attention_mask"])
    text = text[batch["activity_ids"].repeat_interleave(2)]
    logits = image @ text.T * model.clef.logit_scale.exp()
    targets = torch.arange(len(images))
    expected = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
    losses = []
    step = pretrain_step.stock_step(case, model.clef, batch)
    model.eval()
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: losses.append(loss.item()) or backward(loss))
    step()
    assert losses == [pytest.approx(expected.item(), rel=1e-4)]
