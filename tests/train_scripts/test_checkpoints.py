import errno
import json
import resource
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from train_scripts import checkpoints
from train_scripts.checkpoints import (
    OF_ONE_MODEL,
    PREDICTIONS,
    choose_checkpoint,
    corrupt_draws_of,
    damage,
    load_checkpoint,
    newest_checkpoint,
    restore_random_state,
    save_checkpoint,
    save_finished,
)
from train_scripts.ema import WeightAverage
from train_scripts.finetune import FinetuningOptions
from train_scripts.options import binding_options


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
    checkpoint = newest_checkpoint(tmp_path)
    path = checkpoint / "state.json"
    path.write_text(path.read_text().replace('"num_processes": 1', '"num_processes": 2'))
    with pytest.raises(ValueError, match="written by 2 processes"):
        load_checkpoint(checkpoint, accelerator, model, optimizer)


@pytest.mark.parametrize("where", ["weights", "averages"])
def test_weights_that_are_not_finite_are_refused_though_their_checksums_hold(tmp_path, where):
    accelerator = Accelerator(cpu=True)
    model, optimizer = make()
    average = WeightAverage(model, decay=0.9)
    broken = model[1].running_mean if where == "weights" else next(iter(average.averages.values()))
    broken[...] = torch.nan
    save_checkpoint(tmp_path, 1, accelerator, model, optimizer, average)
    checkpoint = newest_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="step_00000001 holds 1 tensors that are not finite, .* among them.*remove"):
        load_checkpoint(checkpoint, accelerator, *make(), WeightAverage(make()[0], decay=0.9))


def test_a_run_is_not_resumed_with_other_options(tmp_path):
    accelerator = Accelerator(cpu=True)
    model, optimizer = make()
    step(model, optimizer)
    options = binding_options(FinetuningOptions(corpus_options={"frames": 2, "cache_dir": "a"}, root="a"))
    save_checkpoint(tmp_path, 1, accelerator, model, optimizer, options=options)
    checkpoint = newest_checkpoint(tmp_path)
    rendered = {"frames": 2, "cache_dir": "b", "num_proc": 2}
    moved = FinetuningOptions(corpus_options=rendered, root="b", workers=3, log_steps=1)
    assert load_checkpoint(checkpoint, accelerator, model, optimizer, options=binding_options(moved)) == 1
    near, far = tmp_path / "near" / "pretrained", tmp_path / "far" / "pretrained"
    for folder in (near, far):
        folder.mkdir(parents=True)
    copies = [binding_options(FinetuningOptions(init_from=str(folder))) for folder in (near, far)]
    assert copies[0] == copies[1] != binding_options(FinetuningOptions(init_from=str(tmp_path)))
    other = FinetuningOptions(corpus_options={"frames": 3}, head="names", root="a")
    with pytest.raises(ValueError, match="other options: .*'frames': 2.*'frames': 3.*; head .* there, 'names' now"):
        load_checkpoint(checkpoint, accelerator, model, optimizer, options=binding_options(other))
    # As earlier versions wrote it.
    path = checkpoint / "state.json"
    state = json.loads(path.read_text())
    del state["options"]
    path.write_text(json.dumps(state))
    assert load_checkpoint(checkpoint, accelerator, model, optimizer, options=binding_options(other)) == 1


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path):
    model, optimizer = make()
    step(model, optimizer)
    save_checkpoint(tmp_path, 1, Accelerator(cpu=True), model, optimizer)
    assert {path.suffix for path in newest_checkpoint(tmp_path).iterdir()} == {".safetensors", ".json"}


def saved(tmp_path, *numbers):
    model, optimizer = make()
    step(model, optimizer)
    accelerator = Accelerator(cpu=True)
    for number in numbers:
        assert save_checkpoint(tmp_path, number, accelerator, model, optimizer)
    return accelerator, model, optimizer


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["one bit", "cut off", "missing"])
def test_a_damaged_checkpoint_is_never_used_and_the_one_before_it_is(tmp_path, capsys, name, how):
    accelerator, _, _ = saved(tmp_path, 1, 2)
    path = tmp_path / "checkpoints" / "step_00000002" / name
    content = bytearray(path.read_bytes())
    if how == "one bit":
        content[-1] ^= 1
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(content if how == "one bit" else content[: len(content) // 2])
    assert choose_checkpoint(tmp_path, accelerator, resume=True).name == "step_00000001"
    assert "step_00000002 is damaged" in capsys.readouterr().out
    # Out of the way: it would count among the newest that are kept.
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step_00000001", "step_00000002.damaged"]


def test_without_its_checksums_a_checkpoint_is_not_complete(tmp_path):
    saved(tmp_path, 1)
    (tmp_path / "checkpoints" / "step_00000001" / "checksums.json").unlink()
    assert "checksums.json cannot be read" in damage(tmp_path / "checkpoints" / "step_00000001")
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("content", ["{}", "[]", "null"])
def test_checksums_that_name_no_file_vouch_for_none(tmp_path, content):
    saved(tmp_path, 1)
    (tmp_path / "checkpoints" / "step_00000001" / "checksums.json").write_text(content)
    assert "does not name the files" in damage(tmp_path / "checkpoints" / "step_00000001")


def test_a_checkpoint_appears_whole_whenever_the_writer_dies(tmp_path, monkeypatch):
    """Stops before every single system call that changes the folder; what is there then is complete."""
    accelerator, model, optimizer = saved(tmp_path, 1)
    count, names = 0, ("save_file", "_digest", "_to_disk", "_replace_folder")
    for limit in range(100):
        calls = 0

        class KilledError(BaseException):
            pass

        def counted(function, killed=KilledError, limit=limit):
            def call(*arguments):
                nonlocal calls
                calls += 1
                if calls > limit:
                    raise killed
                return function(*arguments)

            return call

        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(checkpoints, name, counted(getattr(checkpoints, name)))
            try:
                save_checkpoint(tmp_path, 2, accelerator, model, optimizer)
            except KilledError:
                count += 1
            else:
                break
        newest = newest_checkpoint(tmp_path)
        assert newest.name in ("step_00000001", "step_00000002") and damage(newest) is None
        if newest.name == "step_00000002":
            checkpoints.shutil.rmtree(newest)
    assert count > 10 and newest_checkpoint(tmp_path).name == "step_00000002"
    assert choose_checkpoint(tmp_path, accelerator, resume=True).name == "step_00000002"
    assert not list((tmp_path / "checkpoints").glob("*.partial"))


def test_a_run_that_starts_anew_never_goes_on_from_an_earlier_run(tmp_path, capsys):
    accelerator, _, _ = saved(tmp_path, 7)
    assert choose_checkpoint(tmp_path, accelerator, resume=False) is None
    assert "checkpoints.before" in capsys.readouterr().out
    assert choose_checkpoint(tmp_path, accelerator, resume=True) is None
    assert (tmp_path / "checkpoints.before" / "step_00000007" / "model.safetensors").exists()


def test_draws_of_corrupt_images_are_kept(tmp_path):
    accelerator, model, optimizer = saved(tmp_path, 1)
    save_checkpoint(tmp_path, 2, accelerator, model, optimizer, corrupt_draws={5: 2, 11: 1})
    assert corrupt_draws_of(newest_checkpoint(tmp_path)) == {5: 2, 11: 1}
    assert corrupt_draws_of(tmp_path / "checkpoints" / "step_00000001") == {}


@pytest.fixture
def no_file_larger_than():
    """A limit of the operating system, which a write meets just as it meets a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint_and_the_run_going(tmp_path, capsys, no_file_larger_than):
    accelerator, model, optimizer = saved(tmp_path, 1)
    no_file_larger_than(300)
    assert not save_checkpoint(tmp_path, 2, accelerator, model, optimizer)
    no_file_larger_than(-1)
    assert "CHECKPOINT NOT WRITTEN at step 2" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000001"]
    assert damage(tmp_path / "checkpoints" / "step_00000001") is None
    assert save_checkpoint(tmp_path, 3, accelerator, model, optimizer)


class Part:
    """Something with save_pretrained."""

    def __init__(self, name, size):
        self.name, self.size = name, size

    def save_pretrained(self, folder):
        Path(folder, self.name).write_bytes(b"x" * self.size)


def test_the_finished_model_replaces_files_whole_or_says_that_the_disk_is_full(tmp_path, no_file_larger_than):
    save_finished(tmp_path, Part("model.safetensors", 100), Part("config.json", 10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    no_file_larger_than(300)
    with pytest.raises(OSError, match="could not be written.*--resume true") as error:
        save_finished(tmp_path, Part("model.safetensors", 500), Part("config.json", 10))
    assert error.value.errno == errno.EFBIG
    assert (tmp_path / "model.safetensors").stat().st_size == 100


def test_what_was_measured_of_a_model_goes_when_another_is_written(tmp_path, no_file_larger_than):
    for name in (*OF_ONE_MODEL, "card.yaml", "log.txt"):
        (tmp_path / name).write_text("---\n")
    no_file_larger_than(300)
    with pytest.raises(OSError):
        save_finished(tmp_path, Part("model.safetensors", 500))
    no_file_larger_than(-1)
    assert all((tmp_path / name).exists() for name in OF_ONE_MODEL)
    save_finished(tmp_path, Part("model.safetensors", 500), keep=PREDICTIONS)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"model.safetensors", "card.yaml", "log.txt", *PREDICTIONS}
    (tmp_path / "README.md").write_text("My notes\n")
    save_finished(tmp_path, Part("model.safetensors", 500))
    assert (tmp_path / "README.md").exists()
