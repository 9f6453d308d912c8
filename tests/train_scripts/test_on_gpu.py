"""What only a GPU shows of training: its generator in gradient caching, and both stages run there in bf16."""

import json
import shutil

import pytest
import torch
from torch.nn import functional as F
from transformers import ViTConfig, ViTModel

from train_scripts.gradient_cache import encode_in_chunks

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]


def test_cached_chunks_draw_the_same_dropout_again():
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = ViTConfig(image_size=16, patch_size=8, hidden_dropout_prob=0.3, **sizes)
    torch.manual_seed(0)
    tower, pixels = ViTModel(config).to(DEVICE).train(), torch.randn(11, 3, 16, 16, device=DEVICE)

    def encode(part):
        return F.normalize(tower(part).last_hidden_state[:, 0], dim=-1)

    def differentiate(embed):
        torch.manual_seed(3)
        embeds = embed()
        loss = (embeds @ embeds.T).exp().mean()
        gradients = torch.autograd.grad(loss, list(tower.parameters()), allow_unused=True)
        return [g for g in gradients if g is not None], torch.rand(1, device=DEVICE)

    whole, after = differentiate(lambda: torch.cat([encode(part) for part in pixels.split(4)]))
    cached, after_cached = differentiate(lambda: encode_in_chunks(encode, pixels, 4, tower))
    assert torch.equal(after, after_cached)
    for expected, found in zip(whole, cached, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_both_stages_run_there_in_bf16_and_go_on_from_a_checkpoint(flags, launch, tmp_path):
    flags = [*flags, "--mixed_precision", "bf16", "--log_steps", 1, "--checkpoint_steps", 2, "--workers", 1]
    flags += ["--augment_on", "device", "--augmentation_preset", "photographs"]
    stage1 = ["pretrain", *flags, "--output", tmp_path / "pretrained", "--cache_chunk", 4]
    done = launch(*stage1, "--max_steps", 4)
    assert "on cuda, precision bf16" in done.stdout
    shutil.rmtree(tmp_path / "pretrained" / "checkpoints" / "step_00000004")
    done = launch(*stage1, "--max_steps", 4, "--resume", "true")
    assert "resumed from" in done.stdout
    done = launch(
        "finetune", *flags, "--output", tmp_path / "tuned", "--init_from", tmp_path / "pretrained", "--max_steps", 3
    )
    assert "on cuda, precision bf16" in done.stdout
    probe = ["--linear_probe", "true", "--init_from", tmp_path / "pretrained", "--output", tmp_path / "probe"]
    assert "fitted a linear head" in launch("finetune", *flags, *probe).stdout
    for name, steps in (("pretrained", [1, 2, 3, 4]), ("tuned", [1, 2, 3])):
        lines = [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == steps
        assert all(line["loss"] > 0 and not line["skipped_steps"] for line in lines)
