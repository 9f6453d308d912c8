"""Launch files: Accelerate reads them, scripts start under them on CPUs, and docs/launching.md says what is true."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from train_scripts.checkpoints import damage
from train_scripts.finetune import FinetuningOptions
from train_scripts.pretrain import PretrainingOptions
from train_scripts.runtime import start_accelerator
from train_scripts.sharding import prepare_for_launcher
from train_scripts.towers import tiny_tokenizer

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "train_scripts" / "accelerate"
PAGE = (ROOT / "docs" / "launching.md").read_text(encoding="utf-8")
KINDS = {
    "cpu": DistributedType.MULTI_GPU,
    "gpus": DistributedType.MULTI_GPU,
    "multi_node": DistributedType.MULTI_GPU,
    "fsdp2": DistributedType.FSDP,
    "deepspeed": DistributedType.DEEPSPEED,
}


def launch_arguments(name, *more):
    """What `accelerate launch` makes of a launch file and flags."""
    argv = ["--config_file", str(FOLDER / f"{name}.yaml"), *more, "train_scripts/pretrain.py"]
    return _validate_launch_command(launch_command_parser().parse_args(argv))[0]


def test_every_launch_file_is_known_here_and_named_on_the_page():
    assert {path.stem for path in FOLDER.iterdir()} == set(KINDS)
    assert set(re.findall(r"train_scripts/accelerate/(\w+)\.yaml\)", PAGE)) == set(KINDS)
    for path in re.findall(r"train_scripts/[\w/]+\.(?:py|yaml)", PAGE):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_it_and_takes_flags_over_it(name):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert config.distributed_type == KINDS[name]
    assert config.mixed_precision == "no", "the script's option decides"
    arguments = launch_arguments(name, "--num_processes", "8", "--main_process_port", "29512")
    assert arguments.num_processes == 8 and str(arguments.main_process_port) == "29512"
    # Some keys Accelerate's configuration has and its launcher ignores.
    written = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    written |= written.pop("fsdp_config", {}) | written.pop("deepspeed_config", {})
    for key in set(written) - {"num_processes", "main_process_port", "compute_environment", "distributed_type"}:
        assert getattr(arguments, key) == written[key], key
    assert arguments.use_fsdp == (name == "fsdp2") and arguments.use_deepspeed == (name == "deepspeed")


def test_several_machines_split_the_processes_and_meet_at_the_first(monkeypatch):
    flags = ["--num_machines", "2", "--num_processes", "16", "--machine_rank", "1", "--main_process_ip", "10.0.0.7"]
    for name in ("multi_node", "fsdp2"):
        arguments = launch_arguments(name, *flags)
        monkeypatch.setattr(os, "environ", os.environ.copy())
        prepare_multi_gpu_env(arguments)
        assert int(arguments.nproc_per_node) == 8 and int(arguments.nnodes) == 2 and int(arguments.node_rank) == 1
        assert arguments.rdzv_endpoint == "10.0.0.7:29500"


def test_the_fsdp_file_asks_for_version_2_and_for_layers_as_units(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ |= prepare_multi_gpu_env(launch_arguments("fsdp2"))
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert not plugin.activation_checkpointing and not plugin.cpu_ram_efficient_loading
    assert plugin.auto_wrap_policy.__name__ == "transformer_auto_wrap_policy"


@pytest.mark.skipif(not importlib.util.find_spec("deepspeed"), reason="needs deepspeed")
def test_the_deepspeed_file_asks_for_stage_2(monkeypatch):
    from accelerate.utils import DeepSpeedPlugin

    config = yaml.safe_load((FOLDER / "deepspeed.yaml").read_text())["deepspeed_config"]
    assert launch_arguments("deepspeed").deepspeed_multinode_launcher == "standard"
    assert DeepSpeedPlugin(zero_stage=config["zero_stage"]).deepspeed_config["zero_optimization"]["stage"] == 2


def accelerator_of(kind, version2=True):
    plugin = SimpleNamespace(deepspeed_config={})
    said = []
    return SimpleNamespace(
        distributed_type=kind,
        is_fsdp2=version2,
        state=SimpleNamespace(deepspeed_plugin=plugin),
        print=said.append,
        said=said,
        gradient_accumulation_steps=7,
    )


def test_deepspeed_learns_the_options_and_cannot_what_the_page_says():
    accelerator = accelerator_of(DistributedType.DEEPSPEED)
    options = PretrainingOptions(batch_size=32, gradient_accumulation=4, max_grad_norm=0.5)
    prepare_for_launcher(accelerator, options)
    assert accelerator.state.deepspeed_plugin.deepspeed_config == {
        "train_micro_batch_size_per_gpu": 32,
        "gradient_accumulation_steps": 4,
        "gradient_clipping": 0.5,
    }
    assert accelerator.gradient_accumulation_steps == 4
    for refused in (
        {"checkpoint_steps": 5},
        {"resume": True},
        {"ema_decay": 0.9},
        {"compile": True},
        {"eval_steps": 2},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(refused))}: not with DEEPSPEED"):
            prepare_for_launcher(accelerator, PretrainingOptions(**refused))


def test_fsdp_keeps_its_checkpoints_and_cannot_what_the_page_says():
    accelerator = accelerator_of(DistributedType.FSDP)
    prepare_for_launcher(accelerator, PretrainingOptions(checkpoint_steps=5, resume=True, ema_decay=0.9))
    for refused in ({"compile": True}, {"lora_rank": 4}, {"eval_steps": 2}, {"epoch_scores": True}):
        with pytest.raises(ValueError, match=f"{next(iter(refused))}: not with FSDP"):
            prepare_for_launcher(accelerator, FinetuningOptions(**refused))
    with pytest.raises(ValueError, match="version 1, expected 2"):
        prepare_for_launcher(accelerator_of(DistributedType.FSDP, version2=False), PretrainingOptions())


@pytest.mark.parametrize(("variable", "name"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepS")])
def test_a_launch_file_that_is_not_followed_is_said_so(monkeypatch, variable, name):
    monkeypatch.setenv(variable, "true")
    accelerator = accelerator_of(DistributedType.MULTI_CPU)
    prepare_for_launcher(accelerator, PretrainingOptions(compile=True))
    assert len(accelerator.said) == 1 and name in accelerator.said[0]


def test_processes_may_wait_for_the_first_for_hours(tmp_path):
    accelerator = start_accelerator(PretrainingOptions(output=str(tmp_path)))
    assert accelerator.init_handler.to_kwargs()["timeout"].total_seconds() == 6 * 3600


@pytest.mark.parametrize(
    ("variables", "number", "told"),
    [
        ({"ACCELERATE_USE_CPU": "True"}, None, True),
        ({"ACCELERATE_USE_CPU": "False"}, None, True),  # without --cpu, where there is no GPU
        ({"ACCELERATE_USE_CPU": "True"}, 1, False),
        ({"ACCELERATE_USE_CPU": "True", "WORLD_SIZE": "1"}, None, False),
        ({}, None, False),
    ],
)
def test_a_launcher_that_starts_one_process_whatever_it_is_told_is_noticed(
    tmp_path, monkeypatch, capsys, variables, number, told
):
    if torch.accelerator.is_available():
        pytest.skip("is about machines without an accelerator")
    for name in ("ACCELERATE_USE_CPU", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    start_accelerator(PretrainingOptions(output=str(tmp_path), num_processes=number))
    assert ("for several use `torchrun --nproc_per_node N" in capsys.readouterr().out) == told


def test_the_launcher_sets_what_is_looked_for():
    arguments = launch_command_parser().parse_args(["--cpu", "--num_processes", "2", "train_scripts/pretrain.py"])
    arguments, _, _ = _validate_launch_command(arguments)
    _, variables = prepare_simple_launcher_cmd_env(arguments)
    assert "ACCELERATE_USE_CPU" in variables and "WORLD_SIZE" not in set(variables) - set(os.environ)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def cpu_environment(**more):
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PATH": programs, **more}


def launcher(name, *flags):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(FOLDER / f"{name}.yaml")]
    return [*command, "--main_process_port", free_port(), "train_scripts/pretrain.py", *map(str, flags)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", "gpus", "fsdp2", "deepspeed"])
def test_a_script_starts_under_it_on_cpus(flags, tmp_path, name):
    if name == "deepspeed" and not importlib.util.find_spec("deepspeed"):
        pytest.skip("needs deepspeed")
    command = launcher(name, *flags, "--max_steps", 1, "--num_processes", 2, "--output", tmp_path)
    done = subprocess.run(command, cwd=ROOT, env=cpu_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "2 process(es) on cpu" in done.stdout
    assert ("not used here" in done.stdout) == (name in ("fsdp2", "deepspeed"))


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves(flags, tmp_path):
    command = launcher("cpu", *flags, "--max_steps", 2000, "--log_steps", 1, "--output", tmp_path)
    process = subprocess.Popen(
        command, cwd=ROOT, env=cpu_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while not (tmp_path / "history.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate()
    assert "SIGTERM: saved at step" in printed
    (checkpoint,) = (tmp_path / "checkpoints").glob("step_*")
    assert damage(checkpoint) is None


STANDINS = {
    # One task on each of two "machines", which are this one.
    "srun": """
for node in 0 1; do SLURM_NODEID=$node "$@" & done
trap 'kill -TERM $(jobs -p)' TERM
wait; wait
""",
    "scontrol": """
if [ "$1" = show ]; then printf "127.0.0.1\\nother\\n"; else echo "$@" >> "$REQUEUED"; fi
""",
}


@pytest.fixture
def slurm_script(flags, tmp_path):
    """`slurm_script(steps)`: the page's script with a small run, and the environment that stands for a cluster."""
    (code,) = [code for code in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) if "#SBATCH" in code]
    programs, recipe = tmp_path / "programs", tmp_path / "small.yaml"
    programs.mkdir()
    for name, text in STANDINS.items():
        (programs / name).write_text("#!/bin/bash" + text)
        (programs / name).chmod(0o755)
    options = {
        name.removeprefix("--"): yaml.safe_load(value) for name, value in zip(flags[::2], flags[1::2], strict=True)
    }
    recipe.write_text(yaml.safe_dump(options))
    environment = cpu_environment(SLURM_NNODES="2", SLURM_JOB_NODELIST="two", SLURM_JOB_ID="77")
    environment |= {"PATH": f"{programs}{os.pathsep}{environment['PATH']}", "REQUEUED": str(tmp_path / "requeued")}

    def make(steps):
        text = code
        for given, used in (
            ("NNODES * 8", "NNODES * 1"),
            ("PORT=29500", f"PORT={free_port()}"),
            ("train_scripts/recipes/pretrain_clip.yaml", f"{recipe} --max_steps {steps}"),
            ("--checkpoint_steps 500", "--checkpoint_steps 1 --log_steps 1"),
            ("outputs/clip", str(tmp_path / "run")),
        ):
            assert given in text, f"docs/launching.md no longer says {given!r}"
            text = text.replace(given, used)
        return text, environment

    return make


@pytest.mark.slow
def test_the_slurm_script_trains_on_two_machines(tmp_path, slurm_script):
    text, environment = slurm_script(2)
    done = subprocess.run(["bash", "-c", text], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "2 process(es) on cpu" in done.stdout and "nothing to resume from" in done.stdout
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["training"]["steps"] == 2
    assert not (tmp_path / "requeued").exists()


@pytest.mark.slow
def test_a_slurm_job_out_of_time_saves_and_queues_again(tmp_path, slurm_script):
    text, environment = slurm_script(2000)
    process = subprocess.Popen(
        ["bash", "-c", text], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while not (tmp_path / "run" / "history.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate()
    assert process.returncode and "SIGTERM: saved at step" in printed
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"


SHARDED = """
import os, sys, torch
sys.path.insert(0, {root!r})
from pathlib import Path
from accelerate import Accelerator
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from train_scripts.checkpoints import (
    load_checkpoint, newest_checkpoint, restore_random_state, save_checkpoint, training_state,
)
from train_scripts.ema import WeightAverage
from train_scripts.failures import StepGuard

folder, accelerator = Path(sys.argv[1]), Accelerator(cpu=True)

def make(seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3))
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1), WeightAverage(model, 0.5)

def step(model, optimizer, average, number):
    torch.manual_seed(10 * number + accelerator.process_index)
    model(torch.randn(4, 6)).square().mean().backward()
    optimizer.step(); optimizer.zero_grad(); average.update(number)

model, optimizer, average = make(1)
assert all(isinstance(p, DTensor) for p in model.parameters())
step(model, optimizer, average, 1)
assert save_checkpoint(folder, 1, accelerator, model, optimizer, average)
step(model, optimizer, average, 2)
other, other_optimizer, other_average = make(2)
checkpoint = newest_checkpoint(folder)
assert load_checkpoint(checkpoint, accelerator, other, other_optimizer, other_average) == 1
restore_random_state(checkpoint, accelerator)
step(other, other_optimizer, other_average, 2)
a, b = training_state(model), training_state(other)
assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a if "running" not in name)
for name, value in average.averages.items():
    if isinstance(value, DTensor):
        assert torch.equal(value.full_tensor(), other_average.averages[name].full_tensor()), name

# A gradient that is not finite on one process only, in its shard.
guard = StepGuard(accelerator, model, folder, 2, 5)
loss = model(torch.full((4, 6), float("inf") if accelerator.process_index else 1.0)).sum()
loss.backward()
norm = torch.nn.utils.clip_grad_norm_(list(model.parameters()), 1.0)
guard.saw(torch.arange(4) + 4 * accelerator.process_index, loss)
assert guard.agree(norm, accelerator.process_index == 0) == (False, True)
guard.skip(3, norm)
assert guard.skipped == 1
print("sharded and back", flush=True)
# gloo's threads drop the last tensors some time after the last call; an interpreter at its end aborts on that.
accelerator.wait_for_everyone()
os._exit(0)
"""


def test_shards_of_two_processes_are_saved_whole_and_spread_again(tmp_path):
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED.format(root=str(ROOT)))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    command += ["--rdzv_endpoint", "localhost:0", str(script), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, env=cpu_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("sharded and back") == 2
    weights = load_file(tmp_path / "run" / "checkpoints" / "step_00000001" / "model.safetensors")
    assert weights["0.weight"].shape == (5, 6) and weights["0.weight"].isfinite().all()
    (line,) = [json.loads(text) for text in (tmp_path / "run" / "skipped_steps.jsonl").read_text().splitlines()]
    assert line["rows"] == list(range(8))
    assert torch.is_tensor(weights["1.running_mean"])


# Accelerate takes no CPU for an accelerator: what its FSDP2 and DeepSpeed do is done on one nevertheless.
ON_CPUS = """
import os, sys
sys.path.insert(0, {root!r})
os.environ["DS_ACCELERATOR"] = "cpu"
from accelerate import Accelerator, state
from accelerate.utils import DeepSpeedPlugin, DistributedType, FullyShardedDataParallelPlugin
from train_scripts import finetune, pretrain, runtime
from train_scripts.options import parse_options

kind, stage = sys.argv.pop(1), sys.argv.pop(1)

def started(**options):
    accelerator = Accelerator(**options)
    if kind == "fsdp2":
        changes = {{"distributed_type": DistributedType.FSDP, "fsdp_plugin": FullyShardedDataParallelPlugin()}}
    else:
        import deepspeed
        plugin = DeepSpeedPlugin(zero_stage=int(os.environ["ACCELERATE_DEEPSPEED_ZERO_STAGE"]))
        plugin.set_mixed_precision("no")
        changes = {{"distributed_type": DistributedType.DEEPSPEED, "deepspeed_plugins": plugin}}
        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
        accelerator.deepspeed_engine_wrapped = None
    for shared in (state.PartialState._shared_state, state.AcceleratorState._shared_state):
        shared.update(changes)
    return accelerator

runtime.Accelerator = started
script, options = {{
    "pretrain": (pretrain, pretrain.PretrainingOptions), "finetune": (finetune, finetune.FinetuningOptions)
}}[stage]
script.main(parse_options(options, sys.argv[1:]))
"""


@pytest.fixture
def on_cpus(flags, launch, tmp_path):
    """`on_cpus(kind, stage, *flags)` trains two steps' worth of transformers with DDP and with `kind`; returns both
    results and `again(*flags)`, which runs `kind` once more and returns the weights and what was printed."""
    # Towers without batch norm, whose statistics are each process's own, and without dropout.
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    ViTModel(ViTConfig(image_size=32, patch_size=8, **sizes)).save_pretrained(tmp_path / "vision")
    tokenizer = tiny_tokenizer()
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes, **no_dropout)).save_pretrained(tmp_path / "text")
    tokenizer.save_pretrained(tmp_path / "text")
    flags = [*flags, "--vision_tower", tmp_path / "vision", "--text_tower", tmp_path / "text", "--batch_size", 4]
    flags += ["--max_steps", 4, "--warmup", 0, "--gradient_accumulation", 2, "--num_processes", 2]
    script = tmp_path / "on_cpus.py"
    script.write_text(ON_CPUS.format(root=str(ROOT)))

    def run(kind, stage, *more):
        launch(stage, *flags, *more, "--output", tmp_path / "ddp", processes=2)
        arguments = launch_arguments(kind)
        environment = {"ACCELERATE_DEEPSPEED_ZERO_STAGE": str(arguments.zero_stage)}
        if kind == "fsdp2":
            environment = {k: v for k, v in prepare_multi_gpu_env(arguments).items() if "FSDP" in k}
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
        command += ["--rdzv_endpoint", "localhost:0", script, kind, stage, *flags, *more, "--output", tmp_path / "run"]

        def again(*even_more):
            done = subprocess.run(
                [*map(str, command), *even_more],
                cwd=ROOT,
                env=cpu_environment() | environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr[-4000:]
            return load_file(tmp_path / "run" / "model.safetensors"), done.stdout

        return load_file(tmp_path / "ddp" / "model.safetensors"), again()[0], again

    return run


def assert_close(plain, found):
    assert plain.keys() == found.keys()
    for name in plain:
        # Attention does not depend on the keys' bias: its gradient is rounding, which Adam blows up.
        if "key.bias" not in name and "k_proj.bias" not in name:
            torch.testing.assert_close(
                found[name], plain[name], rtol=1e-3, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_fsdp2_trains_what_ddp_does_and_goes_on_after_a_kill(on_cpus, tmp_path, stage):
    plain, sharded, again = on_cpus("fsdp2", stage, "--checkpoint_steps", 2, "--ema_decay", 0.5)
    assert_close(plain, sharded)
    (tmp_path / "run" / "model.safetensors").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step_00000004")
    resumed, printed = again("--resume")
    assert "resumed from" in printed
    assert all(torch.equal(sharded[name], resumed[name]) for name in sharded)


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("deepspeed"), reason="needs deepspeed")
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_deepspeed_trains_what_ddp_does(on_cpus, stage):
    assert_close(*on_cpus("deepspeed", stage)[:2])
