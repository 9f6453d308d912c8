"""Cross-validation as people run it: every fold, one table, and only what is missing when it is run again."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml

from train_scripts import cross_validate, jobs
from train_scripts.cross_validate import CrossValidationOptions, finetuned_folder, main, make_jobs
from train_scripts.epoch_scores import read_epochs
from train_scripts.finetune import FinetuningOptions
from train_scripts.options import parse_options
from train_scripts.predictions import read_predictions
from train_scripts.pretrain import PretrainingOptions
from train_scripts.pretrain import main as pretrain


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, corpus_cache):
    folder = tmp_path_factory.mktemp("cross_validation")
    small = {"batch_size": 32, "text_tower": "tiny", "image_size": 32}
    keys = {
        "corpus": "synthetic",
        "corpus_options": {"subjects": 8, "frames": 2, "image_size": 32, "cache_dir": str(corpus_cache)},
        "protocol": "kfold_2",
        "validation_share": 0.3,
        "pretraining": {**small, "max_steps": 1},
        "pretraining_data": "all",
        "finetuning": {"batch_size": 24, "epochs": 2, "learning_rate": 0.01},
        "paper": {"mean_f1": 65.9, "source": "a table"},
        "ours": None,
        "resamples": 20,
        "parallel": 2,
        "output": str(folder / "runs"),
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(keys))
    return path


@pytest.fixture(scope="module")
def done(recipe, forked_jobs):
    """A finished cross-validation: its options and what it returned."""
    options = parse_options(CrossValidationOptions, [str(recipe)])
    with pytest.MonkeyPatch.context() as patch:
        # Files that are edited while the tests run would make every job run again.
        patch.setattr(jobs, "_code_digest", lambda: "the same")
        patch.setattr(jobs, "subprocess", forked_jobs)
        yield options, main(options)


def test_one_table_has_honest_and_paper_style_scores_of_every_fold(done):
    options, results = done
    output = finetuned_folder(options, 1).parents[1]
    assert json.loads((output / "results.json").read_text()) == json.loads(json.dumps(results))
    with (output / "folds.csv").open(encoding="utf-8") as file:
        rows = {(r["score"], r["selection"], r["fold"]): r["value"] for r in csv.DictReader(file)}
    style = "paper-style, selected on test subjects"
    for selection, scores in {
        "honest": ("mean_f1", "mean_f1_at_half", "mean_auroc", "mean_ap", "accuracy", "macro_f1", "uar"),
        style: ("mean_f1", "accuracy", "macro_f1", "uar"),
    }.items():
        for score in scores:
            values = [float(rows[score, selection, fold]) for fold in "12"]
            assert float(rows[score, selection, "mean"]) == pytest.approx(np.mean(values))
            assert float(rows[score, selection, "sd"]) == pytest.approx(np.std(values, ddof=1))
    for fold in (1, 2):
        epochs = read_epochs(finetuned_folder(options, fold))
        best = max(record["test"]["action_units"]["mean_f1_at_half"] for record in epochs)
        assert float(rows["mean_f1", style, str(fold)]) == pytest.approx(best)
        saved = json.loads((finetuned_folder(options, fold) / "metrics.json").read_text())
        assert float(rows["mean_f1", "honest", str(fold)]) == pytest.approx(
            saved["evaluation"]["action_units"]["mean_f1"], abs=1e-6
        )
    assert results["paper"]["mean_f1"] == 65.9
    assert results["selection"]["honest"]["epoch"] == "selected on validation subjects"
    assert "Stage 1 saw the frames of all people" in " ".join(results["notes"])
    assert (output / "report.html").stat().st_size > 1000 and (output / "results.csv").exists()
    header = cross_validate.fold_table(results)[0]
    assert header == ["percent", "fold 1", "fold 2", "mean ± sd"]


def test_folds_test_everyone_once_and_train_on_nobody_they_test(done):
    options, _ = done
    tested = []
    for fold in (1, 2):
        predictions = read_predictions(finetuned_folder(options, fold))
        assert predictions.fold == fold
        people = {split: set(predictions.split(split).subject_ids) for split in ("validation", "test")}
        assert not people["validation"] & people["test"]
        tested += people["test"]
    assert len(tested) == len(set(tested)) == 8
    record = json.loads((finetuned_folder(options, 1).parents[1] / "cross_validation.json").read_text())
    assert record["pretraining_data"] == "all" and record["protocol"] == "kfold_2"
    assert [fold["test"]["people"] for fold in record["folds"]] == [4, 4]
    assert [fold["validation"]["people"] for fold in record["folds"]] == [1, 1]
    pretrained = json.loads((finetuned_folder(options, 1).parents[1] / "pretrained" / "metrics.json").read_text())
    assert pretrained["unlabelled_frames"] == {"from": "all", "frames": 8 * 8 * 2}


def test_who_is_where_is_said(done, capsys):
    cross_validate.who_is_where(done[0], [1])
    assert " people train, 16 frames of 1 person validation, " in capsys.readouterr().out


def test_only_the_fold_that_was_deleted_is_run_again(done, capsys, monkeypatch):
    options, results = done
    monkeypatch.setattr(cross_validate, "write_report", lambda *_, **__: "no report")
    kept = finetuned_folder(options, 1) / "predictions.parquet"
    before = kept.stat().st_mtime_ns
    shutil.rmtree(finetuned_folder(options, 2).parent)
    assert main(options) == results
    assert kept.stat().st_mtime_ns == before
    said = capsys.readouterr().out
    assert said.count("done before") == 2 and "fold 2: stage 2: done before" not in said


def jobs_of(**options):
    made = CrossValidationOptions(output="somewhere", protocol="kfold_3", **options)
    return make_jobs(made, [1, 3])


def options_of(job):
    return parse_options(PretrainingOptions if "pretrain" in job.command[0] else FinetuningOptions, job.command[1:])


def test_stage_1_is_done_for_each_fold_or_once_or_elsewhere_or_not():
    each = jobs_of(pretraining={"epochs": 1.0}, fold_seed=5)
    assert [job.name for job in each] == [f"fold {fold}: stage {stage}" for fold in (1, 3) for stage in (1, 2)]
    assert [job.needs for job in each] == [[], ["fold 1: stage 1"], [], ["fold 3: stage 1"]]
    for job, fold in zip(each, (1, 1, 3, 3), strict=True):
        people = {"protocol": "kfold_3", "fold": fold, "validation_share": 0.15, "fold_seed": 5}
        assert options_of(job).corpus_options == people
    assert options_of(each[0]).unlabelled_frames == "train"
    assert options_of(each[1]).init_from.endswith("fold_1/pretrained") and options_of(each[1]).epoch_scores

    once = jobs_of(pretraining={"checkpoint_steps": 9}, pretraining_data="all")
    assert [job.name for job in once] == ["stage 1", "fold 1: stage 2", "fold 3: stage 2"]
    assert options_of(once[0]).unlabelled_frames == "all" and options_of(once[0]).resume
    assert all(job.needs == ["stage 1"] for job in once[1:])

    other = {"corpus": "bp4d", "corpus_options": {"protocol": "bp4d_3fold", "fold": 1}}
    elsewhere = jobs_of(pretraining=other, pretraining_root="/data/bp4d")
    stage_1 = options_of(elsewhere[0])
    assert (stage_1.corpus, stage_1.root, stage_1.corpus_options) == ("bp4d", "/data/bp4d", other["corpus_options"])
    assert options_of(elsewhere[1]).corpus == "synthetic"

    alone = jobs_of(
        pretraining={"epochs": 1.0}, pretraining_data="none", finetuning={"init_from": "a", "select_epoch": "last"}
    )
    assert [job.name for job in alone] == ["fold 1: stage 2", "fold 3: stage 2"]
    assert options_of(alone[0]).init_from == "a" and options_of(alone[0]).select_epoch == "last"
    assert not options_of(alone[0]).resume


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "kfold_2", "folds": [3]}, r"got \[3\], but kfold_2 has \[1, 2\]"),
        ({"protocol": "twofold"}, "there is no protocol"),
        ({"finetuning": {"output": "x", "seed": 1}}, "finetuning: output, seed are set by"),
        ({"corpus_options": {"fold": 1}}, "corpus_options: fold"),
        ({"pretraining_data": "fold"}, "give `pretraining`"),
        ({"pretraining": {"corpus": "bp4d"}, "pretraining_data": "fold"}, "stage 1 on bp4d has no folds"),
        ({"pretraining": {}, "pretraining_root": "x"}, "names no other corpus"),
        ({"pretraining": "3"}, "expected a mapping"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CrossValidationOptions(**options)


def test_a_wrong_option_of_a_stage_is_found_before_anything_runs(recipe, monkeypatch, capsys):
    monkeypatch.setattr(cross_validate, "run_jobs", lambda *_: pytest.fail("jobs were started"))
    options = parse_options(CrossValidationOptions, [str(recipe), "--finetuning", '{"epoks": 3}'])
    with pytest.raises(SystemExit):
        main(options)
    assert "closest: epochs" in capsys.readouterr().err


def test_stage_1_tells_whose_frames_it_saw(flags, tmp_path, capsys):
    for whose, frames in (("train", 96), ("all", 144)):
        argv = [*flags, "--max_steps", "1", "--unlabelled_frames", whose, "--output", str(tmp_path / whose)]
        pretrain(parse_options(PretrainingOptions, argv))
        recorded = json.loads((tmp_path / whose / "metrics.json").read_text())["unlabelled_frames"]
        assert recorded == {"from": whose, "frames": frames}
    assert "144 frames: those of all people, validation and test people too" in capsys.readouterr().out
