"""The mean of runs that went on from one another."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForImageClassification, AutoProcessor

from modeling_clef import CLEFForImageClassification, build_label_set
from train_scripts.average_checkpoints import AveragingOptions, average, main
from train_scripts.options import TrainingOptions, parse_options, run_script
from train_scripts.towers import make_model, make_processor

OF_A_RUN = ("results.json", "calibration.png", "epochs.jsonl", "compare.json", "report.html", "skipped_steps.jsonl")
OF_A_RUN += ("README.md", "done.json", "started.json", "log.txt")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    options = TrainingOptions(text_tower="tiny", image_size=32)
    processor = make_processor(options)
    names = ["AU1", "AU12"]
    labels = build_label_set("action_units", names, "multi_label_classification", names, processor.tokenizer)
    folders = []
    for seed in range(3):
        torch.manual_seed(seed)
        folder = tmp_path_factory.mktemp(f"round_{seed}")
        model = make_model(CLEFForImageClassification, options, processor, label_sets=[labels])
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.uniform_(-1, 1)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        (folder / "recipe.yaml").write_text(f"seed: {seed}\n")
        scores = {"stage": "finetuning", "labelled_frames": seed, "evaluation": {"action_units": {"mean_f1": 0.5}}}
        (folder / "metrics.json").write_text(json.dumps(scores))
        for name in OF_A_RUN:
            (folder / name).write_text("{}")
        for name in ("checkpoints", "epochs"):
            (folder / name).mkdir()
        (folder / "card.yaml").write_text("license: other\n")
        folders.append(folder)
    return folders


def test_weights_and_running_statistics_are_the_mean_and_all_else_is_the_last_run_s(runs, tmp_path, capsys):
    target = tmp_path / "mean"
    main(parse_options(AveragingOptions, ["--runs", *map(str, runs), "--output", str(target)]))
    assert "nothing was measured" in capsys.readouterr().out
    weights, mean = [load_file(run / "model.safetensors") for run in runs], load_file(target / "model.safetensors")
    assert mean.keys() == weights[0].keys() and any(name.endswith("running_mean") for name in mean)
    for name, values in mean.items():
        expected = weights[-1][name]
        if np.issubdtype(values.dtype, np.floating):
            expected = np.mean([w[name].astype(np.float64) for w in weights], axis=0)
        np.testing.assert_allclose(values, expected, atol=1e-6, err_msg=name)
    assert AutoModelForImageClassification.from_pretrained(target).config.label_sets[0]["labels"] == ["AU1", "AU12"]
    assert (target / "recipe.yaml").read_text() == "seed: 2\n" and (target / "card.yaml").exists()
    assert AutoProcessor.from_pretrained(target)(labels=["AU12"])["input_ids"].shape[0] == 1


def test_scores_of_one_run_are_not_taken_for_those_of_the_mean(runs, tmp_path):
    target = average(runs[:2], tmp_path / "mean")
    metrics = json.loads((target / "metrics.json").read_text())
    assert metrics == {"stage": "finetuning", "labelled_frames": 1, "averaged": [run.name for run in runs[:2]]}
    of_the_run = {path.name for path in runs[1].iterdir()}
    assert {path.name for path in target.iterdir()} == of_the_run - {*OF_A_RUN, "checkpoints", "epochs"}


def test_a_run_averaged_with_itself_stays_as_it_is(runs, tmp_path):
    target = average([runs[0], runs[0]], tmp_path / "mean")
    before, after = (load_file(folder / "model.safetensors") for folder in (runs[0], target))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_runs_of_other_networks_are_refused_in_words(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[0], other)
    options = TrainingOptions(text_tower="tiny", image_size=32, projection_dim=64)
    make_model(CLEFForImageClassification, options, make_processor(options)).save_pretrained(other)
    with pytest.raises(ValueError, match="not runs of one network: .* such as clef"):
        average([other, runs[1]], tmp_path / "mean")
    with pytest.raises(SystemExit, match="not runs of one network"):
        run_script(main, AveragingOptions, ["--runs", str(other), str(runs[1]), "--output", str(tmp_path / "mean")])
    assert not (tmp_path / "mean").exists()


@pytest.mark.parametrize("given", [{"runs": ["one"]}, {"runs": ["one", "two"], "output": ""}])
def test_fewer_than_two_runs_or_no_output_are_refused(given):
    with pytest.raises(ValueError, match="expected --runs FOLDER FOLDER"):
        AveragingOptions(**{"output": "mean"} | given)


def test_a_folder_without_weights_and_an_output_that_exists_are_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="holds no model.safetensors"):
        AveragingOptions(runs=[str(runs[0]), str(tmp_path)], output=str(tmp_path / "mean"))
    for output in (runs[1], runs[1].parent):
        with pytest.raises(ValueError, match="exists already"):
            AveragingOptions(runs=[str(run) for run in runs], output=str(output))
        assert all((run / "model.safetensors").is_file() for run in runs)
