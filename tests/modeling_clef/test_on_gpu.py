"""What only a GPU shows: its kernels, autocast and compiled graphs against the processor's float32."""

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from modeling_clef import CLEFForImageClassification, CLEFForPreTraining
from modeling_clef.losses_clef import image_text_contrastive_loss, supervised_contrastive_loss
from modeling_clef.tiled_losses_clef import tiled_contrast

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]


@pytest.fixture
def classifier(clip_config, action_units):
    return CLEFForImageClassification(clip_config(label_sets=[action_units])).eval()


@pytest.fixture
def pixel_values():
    return torch.randn(3, 3, 32, 32)


def test_the_contrastive_loss_and_its_gradients():
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(300, 32, generator=generator, dtype=torch.float64), dim=-1)
    ids = torch.randint(0, 9, (300,), generator=generator)

    def differentiate(embeds):
        embeds = embeds.clone().requires_grad_()
        group = ids.to(embeds.device)
        loss, anchors = tiled_contrast(embeds, group, embeds, group, 1 / 0.07, own=0)
        return loss.item(), anchors.item(), *torch.autograd.grad(loss, embeds)

    expected, found = differentiate(rows), differentiate(rows.float().to(DEVICE))
    assert found[:2] == (pytest.approx(expected[0], rel=1e-5), expected[1])
    assert (found[2].cpu().double() - expected[2]).norm() < 1e-4 * expected[2].norm()


def test_nobody_waits_for_the_gpu_in_the_losses():
    """A processor that waits cannot hand over the backward pass while the forward pass runs."""
    images = F.normalize(torch.randn(64, 16, device=DEVICE), dim=-1).requires_grad_()
    texts = F.normalize(torch.randn(8, 16, device=DEVICE), dim=-1).requires_grad_()
    ids, scale = torch.arange(64, device=DEVICE) % 8, torch.tensor(3.0, device=DEVICE, requires_grad=True)

    def step():
        loss = supervised_contrastive_loss(images, ids, 1 / scale) + image_text_contrastive_loss(
            images, texts, ids, scale
        )
        loss.backward()

    step()  # loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_kernels(classifier, attention, pixel_values):
    with torch.no_grad():
        expected = classifier(pixel_values).logits
        classifier.set_attn_implementation(attention)
        found = classifier.to(DEVICE)(pixel_values.to(DEVICE)).logits
    torch.testing.assert_close(found.cpu(), expected, atol=2e-3, rtol=0)  # TF32 where it is on


def test_flash_attention(classifier, pixel_values):
    """Only half precision has that kernel; the reference is attention written out, in the same precision."""
    inputs = pixel_values.to(DEVICE)
    found = {}
    for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        classifier.to(DEVICE).set_attn_implementation("sdpa")
        with torch.no_grad(), torch.autocast(DEVICE, dtype=torch.bfloat16), sdpa_kernel(backend):
            found[backend] = classifier(inputs).logits.float()
    torch.testing.assert_close(*found.values(), atol=0.05, rtol=0)


def test_a_compiled_model_gives_the_same_logits(classifier, pixel_values):
    with torch.no_grad():
        expected = classifier(pixel_values).logits
        found = torch.compile(classifier.to(DEVICE))(pixel_values.to(DEVICE)).logits
    torch.testing.assert_close(found.cpu(), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_losses_stay_float32_and_near(clip_config, dtype):
    model = CLEFForPreTraining(clip_config())
    inputs = {
        "pixel_values": torch.randn(4, 2, 3, 32, 32),
        "activity_ids": torch.tensor([0, 0, 1, 1]),
        "input_ids": torch.tensor([[2, 9, 3], [2, 8, 3]]),
        "text_activity_ids": torch.tensor([0, 1]),
    }
    expected = model(**inputs).loss
    with torch.autocast(DEVICE, dtype=dtype):
        found = model.to(DEVICE)(**{name: value.to(DEVICE) for name, value in inputs.items()}).loss
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=0.05)
