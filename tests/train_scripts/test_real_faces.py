import json
from functools import partial
from types import SimpleNamespace

import pytest

from train_scripts import check_checkpoint, real_faces
from train_scripts.check_checkpoint import TOLERANCE, CheckOptions, fallen_short
from train_scripts.options import parse_options
from train_scripts.real_faces import RealFacesOptions, collect, further_round, make_jobs, run_folder, table

RECIPES = ("real_faces_small", "real_faces_base")


@pytest.mark.parametrize("name", RECIPES)
def test_every_option_of_a_recipe_is_one_of_the_scripts_it_is_for(name):
    from train_scripts.finetune import FinetuningOptions
    from train_scripts.pretrain import PretrainingOptions

    options = parse_options(RealFacesOptions, [f"train_scripts/recipes/{name}.yaml"])
    last = [further_round(options, run_folder(options, "clef", "all"))] if options.further else []
    for job in [*make_jobs(options), *last]:
        kind = PretrainingOptions if "pretrain" in job.command[0] else FinetuningOptions
        parsed = parse_options(kind, job.command[1:])
        assert parsed.corpus_options == options.corpus_options
        assert parsed.augmentation_preset == "photographs"


def test_the_last_round_differs_from_the_recipe_in_how_long_it_trains_only():
    from train_scripts.finetune import FinetuningOptions

    small = parse_options(RealFacesOptions, ["train_scripts/recipes/real_faces_small.yaml"])
    again = parse_options(FinetuningOptions, ["train_scripts/recipes/real_faces_small_last_round.yaml"])
    assert again.corpus_options == small.corpus_options
    lengths = {"epochs", "learning_rate", "augmentation_ramp", "augmentation_start", "ema_decay", "checkpoint_steps"}
    for name in set(small.finetuning) - lengths:
        assert getattr(again, name) == small.finetuning[name], name


@pytest.mark.parametrize(
    ("name", "corpus", "others"),
    [
        ("small_further_people", {"seed": 1}, set()),
        ("small_more_people", {"seed": 2}, set()),
        ("small_gpu_round", {"subjects": 15000, "image_size": 128, "seed": 3}, {"batch_size", "augment_on", "workers"}),
        ("base_gpu_round", {"subjects": 15000, "image_size": 128, "seed": 3}, {"batch_size", "augment_on", "workers"}),
        ("small_rest_round", {"subjects": 3000, "frames": 3, "seed": 4}, set()),
    ],
)
def test_a_further_round_differs_from_the_last_in_people_weights_and_length(name, corpus, others):
    from train_scripts.finetune import FinetuningOptions

    last = parse_options(FinetuningOptions, ["train_scripts/recipes/real_faces_small_last_round.yaml"])
    further = parse_options(FinetuningOptions, [f"train_scripts/recipes/real_faces_{name}.yaml"])
    assert further.corpus_options == last.corpus_options | corpus
    others = others | {"init_from", "output", "seed", "max_steps", "learning_rate", "ema_decay", "corpus_options"}
    for option in set(vars(last)) - others - {"mixed_precision", "checkpoint_steps", "phrasing_weight"}:
        assert getattr(further, option) == getattr(last, option), option


def test_jobs_wait_for_stage_1_only_where_they_start_from_it(tmp_path):
    options = RealFacesOptions(output=str(tmp_path), fractions=["0.05"], fraction_steps=7)
    jobs = {job.name: job for job in make_jobs(options)}
    assert list(jobs) == [
        "stage 1",
        "stage 2 alone, all labels",
        "stage 1 + stage 2, all labels",
        "stage 2 alone, 5 % of labels",
        "stage 1 + stage 2, 5 % of labels",
    ]
    assert [name for name, job in jobs.items() if job.needs] == [
        "stage 1 + stage 2, all labels",
        "stage 1 + stage 2, 5 % of labels",
    ]
    few = jobs["stage 2 alone, 5 % of labels"].command
    assert few[few.index("--label_fraction") + 1] == "0.05" and few[few.index("--max_steps") + 1] == "7"
    without = RealFacesOptions(output=str(tmp_path), fractions=[], compare=False)
    assert [job.name for job in make_jobs(without)] == ["stage 1", "stage 1 + stage 2, all labels"]


def test_with_checkpoints_a_killed_recipe_goes_on_where_each_job_was(tmp_path):
    steps = {"checkpoint_steps": 270}
    options = RealFacesOptions(output=str(tmp_path), pretraining=steps, finetuning=steps, further={"epochs": 1})
    for job in [*make_jobs(options), further_round(options, tmp_path)]:
        assert job.command[job.command.index("--resume") + 1] == "true"
    without = RealFacesOptions(output=str(tmp_path))
    assert not any("--resume" in job.command for job in make_jobs(without))


def test_a_checkpoint_made_before_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    evaluation = {
        "action_units": {"mean_f1": 0.5, "mean_f1_at_half": 0.5, "mean_auroc": 0.9},
        "expression": {"accuracy": 0.6},
    }
    metrics = {"evaluation": evaluation, "validation": evaluation, "labelled_frames": 10}
    options = RealFacesOptions(output=str(tmp_path), fractions=[], compare=False)
    arm = run_folder(options, "clef", "all")
    arm.mkdir(parents=True)
    (arm / "metrics.json").write_text(json.dumps(metrics))
    before = tmp_path / "checkpoint" / "README.md"
    before.parent.mkdir()
    before.write_text("the card of the network before")

    def write(run, target, *_, broken=False, **__):
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"new")
        if broken:
            raise OSError("no space left on device")

    monkeypatch.setattr(real_faces, "load_corpus", lambda *_, **__: None)
    monkeypatch.setattr(real_faces, "run_jobs", lambda *_: {})
    monkeypatch.setattr(real_faces, "write_text_free", partial(write, broken=True))
    with pytest.raises(OSError, match="no space"):
        real_faces.main(options)
    assert before.read_text() == "the card of the network before"
    monkeypatch.setattr(real_faces, "write_text_free", write)
    checkpoint = real_faces.main(options)
    assert {path.name for path in checkpoint.iterdir()} == {"model.safetensors", "recipe.yaml"}


def test_the_table_says_by_how_much_stage_1_helps_and_where_it_does_not(tmp_path):
    options = RealFacesOptions(output=str(tmp_path), fractions=[])
    for arm, f1, accuracy in (("clef", 0.5, 0.6), ("stage2", 0.45, 0.65)):
        folder = run_folder(options, arm, "all")
        folder.mkdir(parents=True)
        evaluation = {
            "action_units": {"mean_f1": f1, "mean_f1_at_half": f1, "mean_auroc": 0.9},
            "expression": {"accuracy": accuracy},
        }
        metrics = {"evaluation": evaluation, "validation": evaluation, "labelled_frames": 10}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = table(collect(options), options.fractions)
    assert lines[0] == ["rendered test people, percent", "stage 1 + stage 2", "stage 2 alone", "stage 1 gains"]
    assert lines[1] == ["all labels: AU F1", "50.0", "45.0", "+5.0"]
    assert lines[3] == ["all labels: expression accuracy", "60.0", "65.0", "-5.0"]


def test_a_checkpoint_that_cannot_be_checked_is_refused_before_anything_is_rendered(tmp_path, monkeypatch):
    monkeypatch.setattr(check_checkpoint, "load_corpus", lambda *_, **__: pytest.fail("rendered"))
    for metrics in (None, "{}"):
        if metrics:
            (tmp_path / "metrics.json").write_text(metrics)
        with pytest.raises(ValueError, match="no recorded figures to reach: write them with --record"):
            check_checkpoint.main(CheckOptions(checkpoint=str(tmp_path)))
    (tmp_path / "metrics.json").write_text('{"small_set": {}}')
    for sets, missing in (([{"name": "action_units"}], "expression"), (None, "action_units and no expression")):
        model = SimpleNamespace(config=SimpleNamespace(label_sets=sets))
        monkeypatch.setattr(check_checkpoint, "load_model_and_processor", lambda _, model=model: (model, None))
        with pytest.raises(ValueError, match=f"has no label set {missing}:"):
            check_checkpoint.main(CheckOptions(checkpoint=str(tmp_path)))


def test_a_checkpoint_falls_short_only_beyond_the_tolerance():
    recorded = {"au_f1": 0.5, "au_auroc": 0.9, "expression_accuracy": 0.6}
    assert fallen_short({name: value - 0.9 * TOLERANCE for name, value in recorded.items()}, recorded) == []
    assert fallen_short(recorded | {"au_auroc": 0.95}, recorded) == []
    (sentence,) = fallen_short(recorded | {"au_auroc": 0.9 - 1.1 * TOLERANCE}, recorded)
    assert "au_auroc is 0.8890, recorded 0.9000" in sentence
