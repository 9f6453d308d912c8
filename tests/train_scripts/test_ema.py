"""Averaged weights: the recurrence itself, and that training is unchanged by keeping them."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from train_scripts.ema import WeightAverage
from train_scripts.options import parse_options
from train_scripts.pretrain import PretrainingOptions, main


def make():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    model[2].weight.requires_grad_(False)
    return model


def moved(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.add_(1)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_agrees_with_the_recurrence_written_out():
    model = make()
    average = WeightAverage(model, decay=0.5)
    expected = {name: tensor.double().clone() for name, tensor in model.state_dict().items()}
    for step in range(1, 15):
        weights = moved(model, step)
        average.update(step)
        kept = min(0.5, (1 + step) / (10 + step))
        for name, tensor in weights.items():
            expected[name] = kept * expected[name] + (1 - kept) * tensor
    assert kept == 0.5 and (1 + 1) / (10 + 1) < 0.5  # both branches were taken
    assert "2.weight" not in average.averages and {"1.running_mean", "1.running_var"} <= set(average.averages)
    for name, tensor in average.averages.items():
        if name == "1.num_batches_tracked":
            assert tensor == 14
        else:
            torch.testing.assert_close(tensor.double(), expected[name], atol=1e-6, rtol=1e-5)


def test_swapping_shows_the_averages_and_gives_the_weights_back():
    model = make()
    average = WeightAverage(model, decay=0.9)
    weights = moved(model, 1)
    average.update(1)
    with pytest.raises(RuntimeError), average.swapped():
        assert torch.equal(model[0].weight, average.averages["0.weight"])
        assert torch.equal(model[1].running_mean, average.averages["1.running_mean"])
        assert not torch.equal(model[0].weight, weights["0.weight"])
        raise RuntimeError("in the middle of an evaluation")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    average.write()
    assert torch.equal(model[0].weight, average.averages["0.weight"])
    assert torch.equal(model[2].weight, weights["2.weight"])


def test_half_precision_weights_are_averaged_in_single():
    model = nn.Linear(4, 4).to(torch.bfloat16)
    average = WeightAverage(model, decay=0.999)
    start = average.averages["weight"].clone()
    with torch.no_grad():
        model.weight.add_(1)
    for step in range(10_000, 10_010):
        average.update(step)
    torch.testing.assert_close(average.averages["weight"] - start, torch.full((4, 4), 0.01), rtol=0.02, atol=1e-4)


def test_other_weights_and_other_decays_are_refused():
    with pytest.raises(ValueError, match="below 1"):
        WeightAverage(make(), 1.0)
    with pytest.raises(ValueError, match="other weights"):
        WeightAverage(make(), 0.9).load_state_dict({"weight": torch.zeros(2)})


def train(flags, folder, *more):
    argv = [*map(str, flags), "--warmup", "0", "--log_steps", "1", "--output", str(folder), *map(str, more)]
    main(parse_options(PretrainingOptions, argv))
    losses = [json.loads(line)["loss"] for line in (folder / "history.jsonl").read_text().splitlines()]
    return load_file(folder / "model.safetensors"), losses


def test_the_saved_model_is_the_average_and_training_goes_on_from_its_own_weights(flags, tmp_path):
    steps = ["--max_steps", 4, "--checkpoint_steps", 4]
    plain, losses = train(flags, tmp_path / "plain", *steps)
    saved, same_losses = train(flags, tmp_path / "averaged", *steps, "--eval_steps", 2, "--ema_decay", 0.9)
    assert losses == same_losses
    checkpoint = tmp_path / "averaged" / "checkpoints" / "step_00000004"
    averages, last = load_file(checkpoint / "average.safetensors"), load_file(checkpoint / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in averages.items())
    assert all(torch.equal(plain[name], value) for name, value in last.items())
    name = "clef.visual_projection.weight"
    assert not torch.equal(averages[name], last[name])


def test_a_resumed_run_has_the_same_averages_and_the_same_ramp(flags, tmp_path):
    switches = ["--ema_decay", 0.9, "--augmentation_ramp", 0.9, "--augmentation_preset", "photographs"]
    switches += ["--checkpoint_steps", 3]
    whole, losses = train(flags, tmp_path / "run", "--max_steps", 6, *switches)
    run = tmp_path / "run"
    for path in (run / "model.safetensors", *(run / "checkpoints" / "step_00000006").iterdir()):
        path.unlink()
    (run / "checkpoints" / "step_00000006").rmdir()
    resumed, again = train(flags, run, "--max_steps", 6, "--resume", *switches)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert losses == again


def test_two_processes_keep_the_averages_of_the_model_they_save(nursery, flags, tmp_path):
    flags = [*flags, "--batch_size", 4, "--max_steps", 2, "--checkpoint_steps", 2, "--ema_decay", 0.9]
    nursery.finish("pretrain", flags, tmp_path, processes=2)
    averages = load_file(tmp_path / "checkpoints" / "step_00000002" / "average.safetensors")
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in averages.items())
