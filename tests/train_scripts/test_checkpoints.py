import pytest
import torch
from accelerate import Accelerator
from torch import nn

from train_scripts.checkpoints import load_checkpoint, newest_checkpoint, restore_random_state, save_checkpoint
from train_scripts.ema import WeightAverage


def make():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    model[3].weight.requires_grad_(False)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)


def step(model, optimizer):
    loss = model(torch.arange(15.0).view(5, 3)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_restored_run_goes_on_bit_for_bit(tmp_path):
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    model, optimizer = make()
    step(model, optimizer)
    save_checkpoint(tmp_path, 1, accelerator, model, optimizer)
    step(model, optimizer)
    other, other_optimizer = make()
    other[3].load_state_dict(model[3].state_dict())
    checkpoint = newest_checkpoint(tmp_path)
    assert load_checkpoint(checkpoint, accelerator, other, other_optimizer) == 1
    torch.rand(7)
    restore_random_state(checkpoint, accelerator)
    step(other, other_optimizer)
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_only_complete_checkpoints_count_and_old_ones_go(tmp_path):
    accelerator = Accelerator(cpu=True)
    model, optimizer = make()
    step(model, optimizer)
    for number in (1, 2, 3):
        save_checkpoint(tmp_path, number, accelerator, model, optimizer)
    (tmp_path / "checkpoints" / "step_00000009.partial").mkdir()
    assert newest_checkpoint(tmp_path).name == "step_00000003"
    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("step_????????")) == [
        "step_00000002",
        "step_00000003",
    ]


def test_averages_are_kept_and_must_be_wanted(tmp_path):
    accelerator = Accelerator(cpu=True)
    model, optimizer = make()
    average = WeightAverage(model, 0.9)
    step(model, optimizer)
    average.update(1)
    save_checkpoint(tmp_path, 1, accelerator, model, optimizer, average)
    other, other_optimizer = make()
    restored = WeightAverage(other, 0.9)
    checkpoint = newest_checkpoint(tmp_path)
    load_checkpoint(checkpoint, accelerator, other, other_optimizer, restored)
    assert restored.averages.keys() == average.averages.keys()
    assert all(torch.equal(restored.averages[name], value) for name, value in average.averages.items())
    with pytest.raises(ValueError, match="written with averages.*ema_decay"):
        load_checkpoint(checkpoint, accelerator, other, other_optimizer)
    save_checkpoint(tmp_path, 2, accelerator, model, optimizer)
    with pytest.raises(ValueError, match="written without averages"):
        load_checkpoint(newest_checkpoint(tmp_path), accelerator, other, other_optimizer, restored)


def test_another_model_or_number_of_processes_is_refused(tmp_path, monkeypatch):
    accelerator = Accelerator(cpu=True)
    model, optimizer = make()
    step(model, optimizer)
    save_checkpoint(tmp_path, 1, accelerator, model, optimizer)
    other = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="other weights"):
        load_checkpoint(newest_checkpoint(tmp_path), accelerator, other, torch.optim.AdamW(other.parameters()))
    path = newest_checkpoint(tmp_path) / "state.json"
    path.write_text(path.read_text().replace('"num_processes": 1', '"num_processes": 2'))
    with pytest.raises(ValueError, match="written by 2 processes"):
        load_checkpoint(newest_checkpoint(tmp_path), accelerator, model, optimizer)


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path):
    model, optimizer = make()
    step(model, optimizer)
    save_checkpoint(tmp_path, 1, Accelerator(cpu=True), model, optimizer)
    assert {path.suffix for path in newest_checkpoint(tmp_path).iterdir()} == {".safetensors", ".json"}
