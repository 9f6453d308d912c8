import dataclasses

import pytest
import yaml

from train_scripts.finetune import FinetuningOptions
from train_scripts.options import parse_options, save_recipe
from train_scripts.pretrain import PretrainingOptions


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


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--bach_size", "3"], "closest: batch_size"),
        (["--batch_size", "0"], "expected at least 1"),
        (["--image_pairs", "activities"], "invalid choice"),
        (["--corpus_options", "[1, 2]"], "expected a mapping"),
        (["nowhere.yaml"], "cannot be read"),
        (["--epochs", "0"], "more than 0"),
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


def test_an_unknown_line_of_a_recipe_is_refused(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text("learning_rat: 1\n")
    with pytest.raises(SystemExit):
        parse_options(PretrainingOptions, [str(tmp_path / "r.yaml")])
    assert "learning_rate" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--label_sets", "emotion"], ["--label_fraction", "0"]])
def test_bad_label_choices_are_refused(argv, capsys):
    with pytest.raises(SystemExit):
        parse_options(FinetuningOptions, argv)
    assert "expected" in capsys.readouterr().err
