import dataclasses
import resource
from pathlib import Path

import pytest
import yaml

from processing.corpora import load_corpus
from train_scripts import evaluate_photos
from train_scripts.ablation import AblationOptions
from train_scripts.cross_validate import CrossValidationOptions
from train_scripts.epoch_scores import best_epoch, read_epochs
from train_scripts.failures import json_lines
from train_scripts.finetune import FinetuningOptions
from train_scripts.options import parse_options, run_script, save_recipe
from train_scripts.pretrain import PretrainingOptions
from train_scripts.quickstart import QuickstartOptions
from train_scripts.real_faces import RealFacesOptions
from train_scripts.sampling import FaceBatchSampler
from train_scripts.zero_shot import ZeroShotOptions

RECIPES = Path(__file__).resolve().parents[2] / "train_scripts" / "recipes"


def test_flags_win_over_the_recipe_and_the_recipe_over_defaults(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("epochs: 3\nlearning_rate: 1e-4\nbatch_size: 7\ncorpus_options: {subjects: 9}\n")
    options = parse_options(PretrainingOptions, [str(recipe), "--batch_size", "5", "--activity_text", "false"])
    assert (options.epochs, options.learning_rate, options.batch_size) == (3, 1e-4, 5)
    assert options.activity_text is False and options.corpus_options == {"subjects": 9}
    assert options.seed == PretrainingOptions().seed


def test_a_saved_recipe_starts_the_same_run(tmp_path):
    options = parse_options(FinetuningOptions, ["--label_sets", "expression", "--corpus_options", "{subjects: 9}"])
    save_recipe(options, tmp_path)
    assert parse_options(FinetuningOptions, [str(tmp_path / "recipe.yaml")]) == options
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == dataclasses.asdict(options)


def test_a_recipe_that_does_not_fit_on_the_disk_leaves_the_one_before(tmp_path):
    save_recipe(FinetuningOptions(seed=1), tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(OSError):
            save_recipe(FinetuningOptions(seed=2), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["seed"] == 1
    save_recipe(FinetuningOptions(seed=2), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--bach_size", "3"], "closest: batch_size"),
        (["--batch_size", "0"], "expected at least 1"),
        (["--image_pairs", "activities"], "invalid choice"),
        (["--corpus_options", "[1, 2]"], "expected a mapping"),
        (["nowhere.yaml"], "cannot be read"),
        (["--epochs", "0"], "more than 0"),
        (["--epochs", "nan"], "more than 0"),
        (["--learning_rate", "nan"], "learning_rate: got nan, expected 0 or more"),
        (["--max_grad_norm", "nan"], "max_grad_norm: got nan, expected 0 or more"),
        (["--seed", "-1"], "seed: got -1, expected from 0 to"),
        (["--image_size", "0"], "image_size: got 0, expected at least 1"),
        (["--projection_dim", "0"], "projection_dim: got 0, expected at least 1"),
        (["--image_text_temperature", "0"], "image_text_temperature: got 0.0, expected more than 0"),
        (["--warmup", "1.5"], "fraction"),
        (["--ema_decay", "1"], "below 1"),
        (["--augmentation", "1.5"], "augmentation: got 1.5, expected from 0 to 1"),
        (["--augmentation_ramp", "-0.1"], "augmentation_ramp"),
        (["--augmentation_ramp", "0.5", "--augmentation", "0.1"], "augmentation_start: got 0.2"),
        (["--augmentation_preset", "strong"], "invalid choice"),
    ],
)
def test_bad_options_end_with_a_sentence(argv, message, capsys):
    with pytest.raises(SystemExit):
        parse_options(PretrainingOptions, argv)
    assert message in capsys.readouterr().err


def read(tmp_path, options_class, line):
    (tmp_path / "r.yaml").write_text(line)
    return parse_options(options_class, [str(tmp_path / "r.yaml")])


def test_words_that_yaml_takes_for_truth_values_are_the_choices_they_name(tmp_path):
    options = read(tmp_path, PretrainingOptions, "image_pairs: off\nmixed_precision: no\n")
    assert (options.image_pairs, options.mixed_precision) == ("off", "no")
    assert read(tmp_path, PretrainingOptions, "activity_text: 'false'\n").activity_text is False


def test_one_value_is_a_list_of_one_and_numbers_are_what_flags_would_make_of_them(tmp_path):
    assert read(tmp_path, FinetuningOptions, "action_units: AU12\n").action_units == ["AU12"]
    assert read(tmp_path, CrossValidationOptions, "folds: 1\n").folds == [1]
    assert read(tmp_path, FinetuningOptions, "action_units:\n").action_units == []
    assert read(tmp_path, QuickstartOptions, "fractions: [0.05, 1]\n").fractions == ["0.05", "1"]
    assert type(read(tmp_path, PretrainingOptions, "epochs: 3\n").epochs) is float
    assert read(tmp_path, ZeroShotOptions, "pretraining: null\n").pretraining is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("image_pairs: activities", "image_pairs: got 'activities', expected one of activity, instance, off"),
        ("image_pairs: on", "image_pairs: got True, expected one of"),
        ("schedule: null", "schedule: got None, expected one of"),
        ("epochs: many", "epochs: got 'many', expected a number"),
        ("batch_size: 7.5", "batch_size: got 7.5, expected a whole number"),
        ("batch_size: true", "batch_size: got True, expected a whole number"),
        ("batch_size: [8]", r"batch_size: got [8], expected a whole number"),
        ("learn_temperatures: maybe", "learn_temperatures: got 'maybe', expected true or false"),
        ("tracker: off", "tracker: got False, expected a text"),
        ("corpus_options: [1]", "corpus_options: got [1], expected a mapping"),
    ],
)
def test_a_value_that_its_option_cannot_take_is_refused(tmp_path, capsys, line, message):
    with pytest.raises(SystemExit):
        read(tmp_path, PretrainingOptions, line + "\n")
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_value_of_the_recipes_is_one_that_its_option_takes(path):
    scripts = {"real_faces_base": RealFacesOptions, "real_faces_small": RealFacesOptions}
    kind = PretrainingOptions if path.stem.startswith("pretrain") else FinetuningOptions
    parse_options(scripts.get(path.stem, kind), [str(path)])


def test_what_is_refused_ends_in_a_sentence_and_what_breaks_in_a_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train_scripts/pretrain.py"])
    for refused, sentence in (
        (lambda _: read_epochs(tmp_path), "it was trained without --epoch_scores"),
        (lambda _: FaceBatchSampler(0, 8, 1), "got no rows to draw batches from"),
        (lambda _: load_corpus("synthetic", subject=9), "synthetic has no option 'subject'; it has: subjects, frames"),
        (lambda _: load_corpus("ict_facekit", frame=9), "ict_facekit has no option 'frame'; it has: subjects, frames"),
        (lambda _: load_corpus("synthetic", purity="high"), "purity is 'high'; expected a share between 0 and 1"),
    ):
        with pytest.raises(SystemExit, match=f"^pretrain.py: .*{sentence}"):
            run_script(refused, PretrainingOptions, [])
    (tmp_path / "lines").write_text("no JSON\n")
    # An operation of this project that has no answer, and a library's refusal.
    for broken in (lambda _: best_epoch([]), lambda _: json_lines(tmp_path / "lines")):
        with pytest.raises(ValueError):
            run_script(broken, PretrainingOptions, [])


def test_an_unknown_line_of_a_recipe_is_refused(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text("learning_rat: 1\n")
    with pytest.raises(SystemExit):
        parse_options(PretrainingOptions, [str(tmp_path / "r.yaml")])
    assert "learning_rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options_class", "names"),
    [
        (CrossValidationOptions, ("parallel", "resamples")),
        (QuickstartOptions, ("parallel", "seeds")),
        (AblationOptions, ("parallel", "seeds", "resamples")),
    ],
)
def test_jobs_and_draws_that_would_be_none_are_refused_before_anything_runs(options_class, names):
    for name in names:
        with pytest.raises(ValueError, match=f"{name}: got 0, expected at least 1"):
            options_class(**{name: 0})


@pytest.mark.parametrize("argv", [["--label_sets", "emotion"], ["--label_fraction", "0"]])
def test_bad_label_choices_are_refused(argv, capsys):
    with pytest.raises(SystemExit):
        parse_options(FinetuningOptions, argv)
    assert "expected" in capsys.readouterr().err


def test_help_says_what_a_script_does_and_tells_each_default_once(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        run_script(evaluate_photos.main, evaluate_photos.PhotoOptions, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert evaluate_photos.__doc__.splitlines()[0] in text
    assert "folder of photographs with a metadata.csv --detector" in text  # no default where there is none
    assert "else the Hub's cache --smiling" in text  # nor one beside that of the text
    assert "bootstrap draws of people (default: 2000)" in text
    assert "--no-mirror the same as --mirror false" in text
