"""Gradients with caching against gradients without; both see the same augmented views and draw the same dropout."""

import json

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import nn
from transformers import BertConfig, BertModel, ResNetConfig, ViTConfig, ViTModel

from modeling_clef import CLEFConfig, CLEFForPreTraining
from train_scripts.gradient_cache import cache_gradients, encode_in_chunks, running_statistics_kept
from train_scripts.options import parse_options
from train_scripts.pretrain import PretrainingOptions, main
from train_scripts.towers import tiny_tokenizer

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CHUNK = 6  # of 2 * 8 views: 6, 5 and 5


def make_model(vision, dropout=0.0):
    torch.manual_seed(0)
    shares = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    vision = {
        "vit": ViTConfig(image_size=16, patch_size=8, **SIZES, **shares),
        "resnet": ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    }[vision]
    text = BertConfig(vocab_size=32, **SIZES, **shares)
    config = CLEFConfig(
        vision_config=vision.to_dict(), text_config=text.to_dict(), projection_dim=8, learn_temperature=True
    )
    return CLEFForPreTraining(config).train()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return {
        "pixel_values": torch.randn(8, 2, 3, 16, 16, generator=generator),
        "activity_ids": torch.tensor([0, 1, 2, 2, 0, -1, 1, 1]),
        "input_ids": torch.randint(1, 32, (3, 6), generator=generator),
        "attention_mask": torch.ones(3, 6, dtype=torch.long),
    }


def in_chunks_without_caching(model, chunk):
    whole = model.clef.image_embeds
    model.clef.image_embeds = lambda pixels: torch.cat(
        [whole(part) for part in pixels.tensor_split(-(-len(pixels) // chunk))]
    )


def step(model, batch, seed=3):
    """Loss, gradients, buffers afterwards, and the generator's next number."""
    torch.manual_seed(seed)
    output = model(**batch)
    output.loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return output.loss, gradients, dict(model.named_buffers()), torch.rand(1)


def assert_same_step(found, expected, **tolerance):
    for values, references in zip(found, expected, strict=True):
        if isinstance(values, dict):
            assert values.keys() == references.keys()
            for name in values:
                torch.testing.assert_close(
                    values[name], references[name], **tolerance, msg=lambda m, n=name: f"{n}: {m}"
                )
        else:
            torch.testing.assert_close(values, references, **tolerance)


@pytest.mark.parametrize("vision", ["vit", "resnet"])
def test_it_is_exact_with_dropout_and_batch_norm(vision, batch):
    """Also running statistics, which count a chunk once, and the generator afterwards."""
    cached, plain = make_model(vision, dropout=0.3), make_model(vision, dropout=0.3)
    assert cache_gradients(cached, CHUNK) == (vision == "resnet")
    in_chunks_without_caching(plain, CHUNK)
    found, expected = step(cached, batch), step(plain, batch)
    assert_same_step(found, expected, rtol=0, atol=1e-7)
    assert len(found[1]) == sum(p.requires_grad for p in cached.parameters())
    if vision == "vit":  # dropout matters: another seed gives other gradients
        cached.zero_grad()
        other = step(cached, batch, seed=4)[1]
        name = "clef.visual_projection.weight"
        assert (other[name] - expected[1][name]).abs().max() > 1e-4


@pytest.mark.parametrize("chunk", [1, CHUNK, 16, 100])
def test_without_dropout_it_is_the_whole_batch(chunk, batch):
    cached, whole = make_model("vit"), make_model("vit")
    cache_gradients(cached, chunk)
    assert_same_step(step(cached, batch), step(whole, batch), rtol=1e-4, atol=1e-5)


def test_autocast_holds_the_second_time_too(batch):
    models = make_model("vit", dropout=0.3), make_model("vit", dropout=0.3)
    cache_gradients(models[0], CHUNK)
    in_chunks_without_caching(models[1], CHUNK)
    results = []
    for model in models:
        torch.manual_seed(3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        results.append([p.grad for p in model.parameters() if p.grad is not None])
    # Both sum a weight's bfloat16 gradients over chunks, in orders of their own.
    for cached, plain in zip(*results, strict=True):
        torch.testing.assert_close(cached, plain, rtol=0.05, atol=0.02)


def test_a_chunk_is_finished_before_the_next_is_encoded_again():
    events = []
    layer = nn.Linear(3, 2)

    def encode(rows):
        number = int(rows[0, 0])
        events.append(f"encode {number}")
        hidden = layer(rows).tanh()
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: events.append(f"gradient {number}"))
        return hidden

    rows = torch.arange(6.0)[:, None].expand(6, 3).clone()
    encode_in_chunks(encode, rows, 2, layer).pow(2).sum().backward()
    forward = ["encode 0", "encode 2", "encode 4"]
    assert events[:3] == forward
    assert events[3:] == ["gradient 4", "encode 4", "gradient 2", "encode 2", "gradient 0", "encode 0"] or (
        events[3:] == ["encode 4", "gradient 4", "encode 2", "gradient 2", "encode 0", "gradient 0"]
    )


def test_running_statistics_are_kept_inside_and_only_inside():
    norm = nn.BatchNorm1d(2).train()
    with running_statistics_kept(norm):
        inside = norm(torch.randn(8, 2) + 5)
    assert inside.mean().abs() < 1e-5  # it normalises
    assert not norm.running_mean.any() and norm.num_batches_tracked == 0
    norm(torch.randn(8, 2) + 5)
    assert norm.running_mean.any() and norm.num_batches_tracked == 1


def test_evaluation_is_as_before(batch):
    cached, plain = make_model("resnet").eval(), make_model("resnet").eval()
    cache_gradients(cached, CHUNK)
    with torch.no_grad():
        assert torch.equal(cached(**batch).loss, plain(**batch).loss)


def test_what_cannot_help_is_refused():
    with pytest.raises(ValueError, match="got 0, expected at least 1"):
        cache_gradients(make_model("vit"), 0)
    model = make_model("vit")
    model.clef.vision_model.requires_grad_(False)
    with pytest.raises(ValueError, match="frozen and keeps no activations"):
        cache_gradients(model, 2)


@pytest.fixture
def plain_towers(tmp_path):
    """Flags of towers without batch norm and dropout, which see parts of a batch as they see the whole."""
    torch.manual_seed(0)
    ViTModel(ViTConfig(image_size=32, patch_size=8, **SIZES)).save_pretrained(tmp_path / "vision")
    tokenizer = tiny_tokenizer()
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    BertModel(BertConfig(vocab_size=len(tokenizer), **SIZES, **no_dropout)).save_pretrained(tmp_path / "text")
    tokenizer.save_pretrained(tmp_path / "text")
    return ["--vision_tower", str(tmp_path / "vision"), "--text_tower", str(tmp_path / "text")]


def losses_and_weights(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines], load_file(folder / "model.safetensors")


TRAINING = ["--max_steps", "3", "--log_steps", "1", "--warmup", "0", "--learning_rate", "1e-2"]


def test_pretraining_learns_the_same_with_it(flags, plain_towers, tmp_path):
    """Augmentation on, gradients accumulated over two batches."""
    argv = [*map(str, flags), *plain_towers, *TRAINING, "--gradient_accumulation", "2"]
    for name, chunk in (("plain", "0"), ("cached", "3")):
        AcceleratorState._reset_state(True)
        main(parse_options(PretrainingOptions, [*argv, "--cache_chunk", chunk, "--output", str(tmp_path / name)]))
    (plain, weights), (cached, cached_weights) = (losses_and_weights(tmp_path / n) for n in ("plain", "cached"))
    assert cached == pytest.approx(plain, rel=1e-4)
    name = "clef.visual_projection.weight"
    torch.testing.assert_close(cached_weights[name], weights[name], rtol=0, atol=2e-3)


def test_two_processes_with_it_learn_what_one_learns(nursery, flags, plain_towers, tmp_path):
    argv = [*flags, *plain_towers, *TRAINING, "--gradient_accumulation", 2]
    main(parse_options(PretrainingOptions, [*map(str, argv), "--output", str(tmp_path / "one")]))
    nursery.finish("pretrain", argv, tmp_path / "two", "--batch_size", 4, "--cache_chunk", 3, processes=2)
    (one, _), (two, _) = (losses_and_weights(tmp_path / name) for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-4)


def test_batch_norm_in_chunks_is_said_so(flags, tmp_path, capsys):
    argv = [*map(str, flags), "--max_steps", "1", "--cache_chunk", "6", "--output", str(tmp_path)]
    main(parse_options(PretrainingOptions, argv))
    assert "batch norms of the vision tower normalise at most 6 views at a time" in capsys.readouterr().out


def test_a_negative_chunk_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse_options(PretrainingOptions, ["--cache_chunk", "-1"])
    assert "cache_chunk: got -1" in capsys.readouterr().err


def test_no_chunk_is_a_leftover_of_few():
    seen = []

    def encode(part):
        seen.append(len(part))
        return part * 1.0

    inputs = torch.randn(16, 3, requires_grad=True)
    assert torch.equal(encode_in_chunks(encode, inputs, 5, nn.Identity()), inputs)
    assert seen == [4, 4, 4, 4]
