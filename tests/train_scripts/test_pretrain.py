"""Pre-training as people run it: one process, two, every switch."""

import json

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForPreTraining,
    AutoProcessor,
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    ViTConfig,
    ViTModel,
)

import modeling_clef  # noqa: F401
from train_scripts.options import parse_options
from train_scripts.pretrain import PretrainingOptions, main
from train_scripts.towers import tiny_tokenizer


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_two_steps_leave_a_folder_that_loads_and_says_how_it_was_made(launch, flags, tmp_path):
    done = launch(
        "pretrain", *flags, "--max_steps", 2, "--log_steps", 1, "--output", tmp_path, "--tracker", "tensorboard"
    )
    assert "pre-trained 2 steps" in done.stdout and str(tmp_path) in done.stdout
    AutoModelForPreTraining.from_pretrained(tmp_path)
    model, loading = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"]
    inputs = AutoProcessor.from_pretrained(tmp_path)(activities=["joke"])
    assert model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output.shape == (1, 128)
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["max_steps"] == 2
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["training"]["steps"] == 2 and "action_units" in metrics["validation_probe"]
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {"loss", "image_image_loss", "image_activity_loss"} <= set(lines[0])
    assert list(tmp_path.rglob("events.out.tfevents*"))


def test_two_processes_train_the_weights_of_one(nursery, flags, tmp_path):
    # Towers without batch norm, which sees half a batch in each process, and without dropout, which differs by process.
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    ViTModel(ViTConfig(image_size=32, patch_size=8, **sizes)).save_pretrained(tmp_path / "vision")
    tokenizer = tiny_tokenizer()
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes, **no_dropout)).save_pretrained(tmp_path / "text")
    tokenizer.save_pretrained(tmp_path / "text")
    flags = [*flags, "--vision_tower", tmp_path / "vision", "--text_tower", tmp_path / "text"]
    flags += ["--max_steps", 2, "--warmup", 0, "--learning_rate", "1e-2"]
    nursery.finish("pretrain", flags, tmp_path / "one")
    nursery.finish("pretrain", flags, tmp_path / "two", "--batch_size", 4, processes=2)
    one, two, start = weights(tmp_path / "one"), weights(tmp_path / "two"), weights(tmp_path / "vision")
    for name in one:
        # Attention does not depend on the keys' bias: its gradient is rounding, which Adam blows up.
        if "key.bias" not in name and "k_proj.bias" not in name:
            torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    name = "embeddings.patch_embeddings.projection.weight"
    assert (one[f"clef.vision_model.{name}"] - start[name]).abs().max() > 1e-2


def test_processes_that_do_not_know_each_other_are_refused(flags, tmp_path):
    argv = [*map(str, flags), "--num_processes", "2", "--output", str(tmp_path)]
    with pytest.raises(RuntimeError, match="got 1 connected of 1 launched processes, expected 2.*torchrun"):
        main(parse_options(PretrainingOptions, argv))


@pytest.mark.parametrize(
    "switches, names",
    [
        (["--image_pairs", "off"], {"image_activity_loss"}),
        (["--image_pairs", "instance", "--activity_text", "false"], {"image_image_loss"}),
        (["--image_pairs", "instance"], {"image_image_loss", "image_activity_loss"}),
        (["--activity_text", "false"], {"image_image_loss"}),
    ],
)
def test_every_switch_of_the_ablation_trains_what_it_names(flags, tmp_path, switches, names):
    argv = [*map(str, flags), *switches, "--max_steps", "2", "--log_steps", "1", "--output", str(tmp_path)]
    main(parse_options(PretrainingOptions, argv))
    line = json.loads((tmp_path / "history.jsonl").read_text().splitlines()[-1])
    assert {name for name in line if name.endswith("_loss")} == names


def test_temperatures_are_those_that_were_asked_for_whatever_the_checkpoint_has(flags, tmp_path):
    argv = [*map(str, flags), "--max_steps", "1"]
    main(parse_options(PretrainingOptions, [*argv, "--output", str(tmp_path / "first")]))
    argv += ["--image_text_temperature", "0.05", "--image_image_temperature", "0.2"]
    again = ["--init_from", str(tmp_path / "first"), "--output", str(tmp_path / "again")]
    main(parse_options(PretrainingOptions, [*argv, *again]))
    saved = weights(tmp_path / "again")
    assert saved["clef.logit_scale"].exp().item() == pytest.approx(1 / 0.05)
    assert saved["image_image_logit_scale"].exp().item() == pytest.approx(1 / 0.2)


def test_a_run_that_cannot_begin_leaves_the_finished_one_s_recipe(flags, tmp_path):
    argv = [*map(str, flags), "--max_steps", "1", "--checkpoint_steps", "1", "--output", str(tmp_path)]
    main(parse_options(PretrainingOptions, argv))
    recipe = (tmp_path / "recipe.yaml").read_text()
    with pytest.raises(ValueError, match="no_such_folder"):
        main(parse_options(PretrainingOptions, [*argv, "--init_from", "./no_such_folder"]))
    with pytest.raises(ValueError, match="other options: learning_rate 0.002 there, 0.1 now"):
        main(parse_options(PretrainingOptions, [*argv, "--learning_rate", "0.1", "--resume"]))
    assert (tmp_path / "recipe.yaml").read_text() == recipe


def test_temperatures_move_only_when_learned(flags, tmp_path):
    def scale(*switches):
        argv = [*map(str, flags), *switches, "--max_steps", "2", "--warmup", "0", "--output", str(tmp_path)]
        main(parse_options(PretrainingOptions, argv))
        return weights(tmp_path)["clef.logit_scale"].item()

    start = PretrainingOptions().image_text_temperature
    assert scale() == pytest.approx(-torch.log(torch.tensor(start)).item())
    assert scale("--learn_temperatures", "true") != pytest.approx(-torch.log(torch.tensor(start)).item())


def test_the_probe_reports_on_the_way_and_changes_nothing(flags, tmp_path, capsys):
    argv = [*map(str, flags), "--max_steps", "3", "--output"]
    main(parse_options(PretrainingOptions, [*argv, str(tmp_path / "without")]))
    assert "step 2: probe" not in capsys.readouterr().out
    main(parse_options(PretrainingOptions, [*argv, str(tmp_path / "with"), "--eval_steps", "1"]))
    out = capsys.readouterr().out
    assert "step 2: probe on validation subjects" in out and "step 3: probe" not in out
    without, evaluated = weights(tmp_path / "without"), weights(tmp_path / "with")
    assert all(torch.equal(without[name], evaluated[name]) for name in without)


@pytest.mark.slow
def test_compiled_towers_learn_what_eager_ones_do(flags, tmp_path):
    argv = [*map(str, flags), "--max_steps", "2", "--log_steps", "1", "--output"]
    for name, compiled in (("eager", "false"), ("compiled", "true")):
        main(parse_options(PretrainingOptions, [*argv, str(tmp_path / name), "--compile", compiled]))
    lines = [(tmp_path / name / "history.jsonl").read_text().splitlines() for name in ("eager", "compiled")]
    losses = [[json.loads(line)["image_image_loss"] for line in run] for run in lines]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize("switch", [["--mixed_precision", "bf16"], ["--activation_checkpointing", "true"]])
def test_cheaper_arithmetic_and_memory_train_too(flags, tmp_path, switch):
    argv = [*map(str, flags), "--max_steps", "1", "--log_steps", "1", "--output"]
    main(parse_options(PretrainingOptions, [*argv, str(tmp_path / "plain")]))
    AcceleratorState._reset_state(True)
    main(parse_options(PretrainingOptions, [*argv, str(tmp_path / "switched"), *switch]))
    losses = [json.loads((tmp_path / n / "history.jsonl").read_text())["loss"] for n in ("plain", "switched")]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_accumulation_sums_batches_into_one_step(flags, tmp_path):
    argv = [*map(str, flags), "--gradient_accumulation", "3", "--max_steps", "2", "--output", str(tmp_path)]
    main(parse_options(PretrainingOptions, argv))
    assert json.loads((tmp_path / "metrics.json").read_text())["training"]["steps"] == 2


def test_a_model_that_takes_another_s_place_is_not_taken_for_it(flags, tmp_path):
    (tmp_path / "metrics.json").write_text('{"evaluation": {}}')
    (tmp_path / "predictions.parquet").touch()
    main(parse_options(PretrainingOptions, [*map(str, flags), "--max_steps", "1", "--output", str(tmp_path)]))
    assert "evaluation" not in json.loads((tmp_path / "metrics.json").read_text())
    assert not (tmp_path / "predictions.parquet").exists() and (tmp_path / "recipe.yaml").exists()


def test_a_loss_at_chance_is_said_so(flags, tmp_path, capsys):
    argv = [*map(str, flags), "--learning_rate", "1e-9", "--max_steps", "2", "--log_steps", "1", "--chance_steps", "2"]
    main(parse_options(PretrainingOptions, [*argv, "--output", str(tmp_path), "--image_text_temperature", "100"]))
    assert "NOT LEARNING YET: image_activity_loss" in capsys.readouterr().out


def test_image_pairs_at_chance_are_said_so_on_long_clips_too(corpus_cache, tmp_path, capsys):
    corpus = {"subjects": 3, "frames": 8, "image_size": 32, "cache_dir": str(corpus_cache)}
    argv = ["--corpus_options", json.dumps(corpus), "--text_tower", "tiny", "--image_size", "32", "--batch_size", "8"]
    argv += ["--activity_text", "false", "--image_image_temperature", "100", "--learning_rate", "1e-9"]
    argv += ["--max_steps", "2", "--log_steps", "1", "--chance_steps", "2", "--output", str(tmp_path)]
    main(parse_options(PretrainingOptions, argv))
    assert "NOT LEARNING YET: image_image_loss" in capsys.readouterr().out


def test_a_clip_checkpoint_is_a_starting_point(tmp_path, small_corpus):
    tokenizer = tiny_tokenizer()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text = sizes | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.sep_token_id}
    config = CLIPConfig(vision_config=sizes | {"image_size": 32, "patch_size": 8}, text_config=text, projection_dim=16)
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    argv = ["--init_from", str(tmp_path / "clip"), "--corpus_options", json.dumps(small_corpus), "--batch_size", "8"]
    main(parse_options(PretrainingOptions, [*argv, "--max_steps", "2", "--output", str(tmp_path / "run")]))
    before, after = weights(tmp_path / "clip"), weights(tmp_path / "run")
    assert all(f"clef.{name}" in after for name in before)
    name = "text_model.encoder.layers.0.mlp.fc1.weight"
    torch.testing.assert_close(before[name], after[f"clef.{name}"], rtol=0, atol=0.02)
