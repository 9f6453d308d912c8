"""The benchmark's arithmetic, on a CPU with tiny towers; its speeds mean something on a GPU only."""

import pytest
import torch

from benchmarks import gpu_step
from benchmarks.pretrain_step import Case

SIZE = 32


@pytest.fixture
def small(tiny_towers, monkeypatch):
    def make_case(batch):
        return Case("ViT-B/16", batch, SIZE, *tiny_towers["ViT-B/16"], 77, False, 2)

    monkeypatch.setattr(gpu_step, "make_case", make_case)
    monkeypatch.setattr(gpu_step, "open_clip_step", lambda case, device: None)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: None)  # takes a minute, and speeds up nothing here
    return make_case


def test_the_result_names_what_was_measured(small, written, check_ratio):
    result = written(gpu_step.main, "--device", "cpu", "--batch", 3, "--batches", 3, 6, "--chunk", 4)
    assert [row["batch"] for row in result["cached"]] == [row["batch"] for row in result["losses"]] == [3, 6]
    assert all(row["images_per_second"] > 0 and row["gigabytes"] is None for row in result["cached"])
    assert all(row[name]["milliseconds"] > 0 for row in result["losses"] for name in ("plain", "tiled"))
    variants = result["step"]["variants"]
    assert {"bound", "step", "with optimizer", "step, compiled"} <= variants.keys()
    for name, row in variants.items():
        assert row["images_per_second"] == pytest.approx(6 / row["milliseconds"] * 1e3), name
    for ratio in result["step"]["ratios"].values():
        check_ratio(ratio)
    assert 0.2 < sum(row["share"] for row in result["step"]["profile"]) <= 1


def test_variants_do_what_they_say(small):
    """The bound runs both towers and no projection, the step all, and only the optimizer's variant changes weights."""
    case, device = small(3), torch.device("cpu")
    encoders, batch = gpu_step.Encoders(case, device), gpu_step.make_device_batch(case, device)
    assert batch["pixel_values"].shape == (3, 2, 3, SIZE, SIZE) and batch["pixel_values"].std() > 0.5
    seen = {}

    def watch():
        seen.clear()
        for name, p in encoders.model.named_parameters():
            if p.grad is not None and p.grad.abs().sum() > 0:
                seen[name.removeprefix("clef.").split(".")[0]] = True

    encoders.model.zero_grad = watch
    encoders.bound(batch)
    assert seen.keys() == {"vision_model", "text_model"}
    encoders.step(batch)
    assert {"vision_model", "text_model", "visual_projection", "text_projection"} <= seen.keys()
    before = {name: p.clone() for name, p in encoders.model.named_parameters()}
    encoders.step(batch)
    assert all(torch.equal(before[name], p) for name, p in encoders.model.named_parameters())
    encoders.with_optimizer(batch)
    assert any(not torch.equal(before[name], p) for name, p in encoders.model.named_parameters())


def test_operations_are_those_of_the_vit():
    """Multiply-adds written out: 12 layers of 197 tokens of width 768, and the patches."""
    image, text = gpu_step.forward_flops(gpu_step.make_case(2))
    tokens, width = 197, 768
    layer = tokens * 12 * width**2 + 2 * tokens**2 * width
    assert image == pytest.approx(2 * (12 * layer + 196 * 3 * 16 * 16 * width), rel=0.01)
    assert 0 < text < image


def test_without_a_gpu_it_says_so(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        gpu_step.main([])
    assert "no CUDA GPU" in capsys.readouterr().err
