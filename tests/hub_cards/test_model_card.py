"""Cards against the files that they are made from."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from transformers import BertConfig, ResNetConfig
from transformers.pipelines import SUPPORTED_TASKS

from hub_cards.measured import read_measured
from hub_cards.model_card import write_model_card
from hub_cards.model_index import model_metadata
from hub_cards.sections_training import published_recipe
from hub_cards.speed import measure_speed
from modeling_clef import CLEFConfig, CLEFForImageClassification, CLEFForPreTraining, build_label_set
from modeling_clef.sentence_encoder_clef import find_sentence_encoder
from processing import CLEFImageProcessor, CLEFProcessor
from processing.prompts_clef import label_text
from train_scripts.predictions import Predictions, write_predictions
from train_scripts.results import summarise_predictions, write_results
from train_scripts.split_scores import full_scores
from train_scripts.towers import _tokenizer

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "clef-small"
UNITS, CLASSES = ["AU4", "AU6", "AU12"], ["happiness", "sadness", "neutral"]
SETS = {"action_units": ("multi_label_classification", UNITS), "expression": ("single_label_classification", CLASSES)}
# Numbers in our own sentences: levels of intervals and of trust, the camera's reach, years, ids, versions, stages.
OUR_NUMBERS = {"95", "85.0", "40.0", "35", "2023", "2304.00058", "2017", "4.0", "2.0", ".5", "1", "2", "100"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A fine-tuned and a pre-trained model of a few thousand weights."""
    torch.manual_seed(0)
    processor = CLEFProcessor(
        CLEFImageProcessor(size={"height": 32, "width": 32}, crop_recipe="eyes-nose-1"), _tokenizer("tiny")
    )
    text = BertConfig(
        vocab_size=len(processor.tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=1,
    )  # fmt: skip
    vision = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    towers = {"vision_config": vision.to_dict(), "text_config": text.to_dict(), "text_pooling": "mean"}
    sets = [
        build_label_set(
            name, labels, kind, [f"a photo of a person with {label_text(x).name}" for x in labels], processor.tokenizer
        )
        for name, (kind, labels) in SETS.items()
    ]
    made = {}
    for kind, model in (
        ("finetuned", CLEFForImageClassification(CLEFConfig(label_sets=sets, projection_dim=8, **towers))),
        ("pretrained", CLEFForPreTraining(CLEFConfig(projection_dim=8, **towers))),
    ):
        made[kind] = tmp_path_factory.mktemp(kind) / "run"
        model.save_pretrained(made[kind])
        processor.save_pretrained(made[kind])
    return made


def plant(fold=1, subjects=8, frames=30):
    """A fold's answers: people in two groups, some frames without a face, what is fitted on validation subjects."""
    random = np.random.default_rng(fold)
    people = np.array([f"{'FM'[i % 2]}{fold}{i:02d}" for i in range(2 * subjects)])
    who = np.repeat(np.arange(2 * subjects), frames)
    units = (random.random((len(who), 3)) < [0.5, 0.2, 0.3]).astype(np.float32)
    labels = np.concatenate([units, np.eye(3, dtype=np.float32)[random.integers(0, 3, len(who))]], axis=1)
    logits = 2 * (labels - 0.5) + random.normal(0, 1, labels.shape)
    logits[:, 1] = random.normal(0, 1, len(who))  # AU6 is not recognised
    sets = [
        {
            "name": name,
            "problem_type": kind,
            "labels": names,
            "thresholds": [0.41, 0.52, 0.47],
            "temperatures": [0.7] * 3,
            "calibration_biases": [0.1, -0.2, 0.0] if kind.startswith("multi") else None,
        }
        for name, (kind, names) in SETS.items()
    ]
    gender = np.where(np.char.startswith(people[who], "F"), "woman", "man")
    return Predictions(
        sets, people[who], logits.astype(np.float32), labels, np.where(who < subjects, "test", "validation"),
        random.random(len(who)) > 0.02, {"gender": gender}, fold,
    )  # fmt: skip


def epochs():
    units = {"mean_f1_at_half": 0.777, "labels": {label: {"f1_at_half": 0.777} for label in UNITS}}
    faces = {"accuracy": 0.888, "macro_f1": 0.888, "uar": 0.888, "labels": {label: {"f1": 0.888} for label in CLASSES}}
    return [{"epoch": 3, "test": {"action_units": units, "expression": faces}}]


def fill(folder, folds=1, corpus="disfa", results=True, **recipe):
    """Metrics, recipe and results as the scripts write them, from planted answers."""
    predictions = [plant(fold + 1) for fold in range(folds)]
    test = predictions[0].split("test")
    data = {
        "scored": {"frames": len(test.subject_ids), "subjects": 8},
        "thresholds_from": {"frames": 240, "subjects": 7},
    }
    identity = {
        "projection_nearest_neighbour": 0.321, "projection_linear": 0.432, "backbone_linear": 0.543, "chance": 0.125,
        "subjects": 8, "frames": 240, "frames_without_activity": 0,
    }  # fmt: skip
    metrics = {
        "stage": "finetuning",
        "training": {"seconds": 61.7, "images_per_second": 401.4, "steps": 1234, "resumed_from": 0},
        "labelled_frames": 5678,
        "frames_without_label": {"train": 17, "validation": 0},
        "epoch": {"saved": 3, "of": 6, "which": "selected on validation subjects"},
        "evaluation": {"data": data, **full_scores(test, fitted=True), "identity": identity},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    options = {"corpus": corpus, "root": "/data/of/this/machine", "output": "/somewhere/run", "learning_rate": 0.003}
    options |= {"corpus_options": {"fold": 1}, "vision_tower": "small-resnet", "text_tower": "tiny"} | recipe
    (folder / "recipe.yaml").write_text(yaml.safe_dump(options))
    write_predictions(folder, predictions[0])
    if results:
        paper = {"f1": 64.8, "source": "the paper"}
        found = summarise_predictions(predictions, [epochs()] * folds, resamples=20, paper=paper)
        write_results(found, folder)
    return folder


@pytest.fixture
def run(folders, tmp_path):
    return fill(Path(shutil.copytree(folders["finetuned"], tmp_path / "run")))


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def body(card):
    """The card without front matter, code and links."""
    text = re.sub(r"^---.*?^---", "", card, count=1, flags=re.S | re.M)
    parts = re.split(r"^```(\w*)\n(.*?)^```", text, flags=re.S | re.M)
    kept = [part for i, part in enumerate(parts) if i % 3 == 0 or (i % 3 == 2 and parts[i - 1] == "yaml")]
    return re.sub(r"\]\([^)]*\)", "]", "".join(kept))


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(leaves, value))
    if isinstance(value, bool) or value is None:
        return set()
    return {value} if isinstance(value, (int, float)) else set(map(_number, re.findall(r"\d[\d,]*(?:\.\d+)?", value)))


def _number(text):
    text = text.replace(",", "")
    return float(text) if "." in text else int(text)


def written(value):
    """The ways in which a card may write a number of the files."""
    shares = {f"{100 * value:.1f}", f"{100 * value:.2f}", f"{100 * value:g}"} if 0 <= value <= 1 else set()
    return {str(value), f"{value:g}", f"{value:,}", f"{value:,.0f}", f"{value:.1f}", f"{value:.3f}"} | shares


def numbers_of(folder):
    metrics, recipe = (folder / "metrics.json").read_text(), (folder / "recipe.yaml").read_text()
    values = leaves(json.loads(metrics)) | leaves(yaml.safe_load(recipe))
    if (folder / "results.json").is_file():
        results = json.loads((folder / "results.json").read_text())
        for scores in results["scores"].values():
            del scores["reliability"]
        values |= leaves(results)
    known = set().union(*map(written, values)) | OUR_NUMBERS
    rows = json.loads(metrics).get("comparison", {}).get("rows", {})
    for fraction, row in rows.get("clef", {}).items():
        known |= {
            f"{100 * abs(row[k] - rows['stage2'][fraction][k]):.1f}" for k in row if k in rows["stage2"][fraction]
        }
    return known


def found_numbers(card):
    text = re.sub(r"\bAU\d+|\bF1\b|clef-(?:small|base)|all-MiniLM-L6-v2|eyes-nose-1|I\+N", "", body(card))
    return set(re.findall(r"(?<![\w.])(?:\d[\d,]*\d|\d)?(?:\.\d+)?(?![\w])", text)) - {""}


def rows_of(card, first, section=""):
    """Cells of the table row that begins with `first`, in the section of that title if it is not the only one."""
    (line,) = [line for line in card[card.index(section) :].splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.mark.parametrize("folds", [0, 1, 2])
def test_every_number_of_the_card_is_in_its_files(folders, tmp_path, folds):
    folder = Path(shutil.copytree(folders["finetuned"], tmp_path / "run"))
    fill(folder, folds=folds or 1, results=folds > 0)
    card = write_model_card(folder).read_text()
    assert len(found_numbers(card)) > 40
    assert found_numbers(card) <= numbers_of(folder), found_numbers(card) - numbers_of(folder)


@pytest.mark.parametrize("name", ["clef-small", "clef-base"])
def test_every_number_of_the_shipped_cards_is_in_their_files(name):
    folder = SHIPPED.with_name(name)
    card = (folder / "README.md").read_text()
    assert len(found_numbers(card)) > 150
    assert found_numbers(card) <= numbers_of(folder), found_numbers(card) - numbers_of(folder)


def test_each_cell_is_the_figure_of_its_own_label_and_score(run):
    card = write_model_card(run).read_text()
    results = json.loads((run / "results.json").read_text())["scores"]

    def cell(score):
        low, high = score["interval"]
        return f"{100 * score['value']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

    units, faces = results["action_units"]["pooled"], results["expression"]["pooled"]
    for label, name in (("AU4", "AU4 brow lowerer"), ("AU6", "AU6 cheek raiser"), ("AU12", "AU12 lip corner puller")):
        row = units["labels"][label]
        cells = rows_of(card, name)
        assert cells[0] == f"{100 * row['base_rate']['value']:.1f}"
        assert cells[1:4] == [cell(row[key]) for key in ("f1", "auroc", "ap")]
        threshold = {"AU4": "0.410", "AU6": "0.520", "AU12": "0.470"}[label]
        verdict = "**not to be relied upon**" if label == "AU6" else "recognised"
        assert cells[4:] == [threshold, "77.7", verdict]
    for label in CLASSES:
        assert rows_of(card, label)[0] == str(faces["labels"][label]["positives"])
        assert rows_of(card, label)[1:] == [cell(faces["labels"][label][key]) for key in ("f1", "recall")]
    mean = units["scores"]["mean_f1"]
    only = f"{100 * units['faces_only']['mean_f1']:.1f}"
    assert rows_of(card, "action units: mean F1") == [cell(mean), only, "77.7", "64.8"]
    assert rows_of(card, "expression: accuracy")[2:] == ["88.8", "–"]
    assert rows_of(card, "embedding, nearest neighbour") == ["32.1"]
    calibrated = units["calibration"]
    before_groups = card[: card.index("## Groups of people")]
    found = rows_of(before_groups, "action units", "## Calibration")
    assert found == [f"{100 * calibrated[key]:.1f}" for key in ("ece", "ece_calibrated")]
    woman = results["action_units"]["groups"]["gender"]["woman"]
    of_units = card[: card.index("| expression | people |")]
    found = rows_of(of_units, "gender: woman", "## Groups of people")
    assert found == ["4", "120", *(cell(woman["scores"][key]) for key in ("mean_f1", "mean_auroc"))]


def test_honest_and_paper_style_stand_apart_and_say_what_they_are(run):
    card = write_model_card(run).read_text()
    assert "| paper-style: selected on test people |" in card
    assert "*Honest*: thresholds: fitted on validation subjects" in card
    assert "*Paper-style*: thresholds: fixed at .5 of the uncalibrated probability; epoch: selected on test" in card
    (run / "results.json").unlink()
    card = write_model_card(run).read_text()
    assert "paper-style" not in card.lower() and "No intervals over people were computed" in card


def test_several_folds_say_whose_weights_these_are(folders, tmp_path):
    folder = fill(Path(shutil.copytree(folders["finetuned"], tmp_path / "run")), folds=2)
    card = write_model_card(folder).read_text()
    assert "480 frames of 16 people" in card and "These weights are fold 1's" in card
    assert "±" in rows_of(card, "action units: mean F1")[1]
    labels = json.loads((folder / "results.json").read_text())["scores"]["action_units"]["pooled"]["labels"]
    assert rows_of(card, "AU12 lip corner puller")[2].startswith(f"{100 * labels['AU12']['auroc']['value']:.1f} [")


def test_figures_of_the_last_round_are_not_told_as_those_of_all_training(run):
    card = write_model_card(run).read_text()
    assert "Trained on 5,678 frames of DISFA" in card and "5,678 training frames had labels." in card
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"further": {"learning_rate": 0.001}}))
    change(run / "metrics.json", provenance="First on 9,876 frames, then in 2 rounds.")
    card = write_model_card(run).read_text()
    training = card[card.index("## Training") : card.index("## Results")]
    assert "Trained on DISFA" in card and "First on 9,876 frames, then in 2 rounds." in training
    assert "The last round had 5,678 labelled frames." in training and "It took 1,234 steps and 62 seconds" in training


@pytest.mark.parametrize(("arm", "told"), [("clef", True), ("stage2", False)])
def test_stage_1_is_told_of_where_the_weights_had_it(run, arm, told):
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"pretraining": {"epochs": 3}}))
    score = {"labelled_frames": 9, "au_f1": 0.5, "au_auroc": 0.9, "expression_accuracy": 0.6}
    comparison = {"rows": {"clef": {"all": score}, "stage2": {"all": score}}, "chosen": arm, "chosen_by": "AUROC"}
    change(run / "metrics.json", comparison=comparison)
    card = write_model_card(run).read_text()
    training = card[card.index("## Training") : card.index("## Results")]
    assert ("Stage 1: faces of the same activity" in training) is told and "Stage 2: labels are learned" in training


def test_an_epoch_that_nobody_named_is_not_spoken_of(run):
    assert "epoch: not said" not in write_model_card(run).read_text()
    results = json.loads((run / "results.json").read_text())
    results["selection"]["honest"]["epoch"] = "selected on validation subjects"
    (run / "results.json").write_text(json.dumps(results))
    assert "; epoch: selected on validation subjects." in write_model_card(run).read_text()


def photographs(**smile):
    """Of `evaluate_photos.py`; smile: of AU12."""
    row = {"people": 30, "auroc": 0.91, "auroc_interval": [0.8, 0.95], "too_few": False}
    row |= {"paired_accuracy": 0.93, "paired_accuracy_interval": [0.81, 0.96]}
    groups = {
        "gender": {"female": row | {"people": 14, "auroc": 0.96}, "male": row | {"people": 16, "auroc": 0.87}},
        "ethnicity": {"black": row | {"people": 3, "auroc": 0.5, "too_few": True}, "white": row},
        "age": {"old": row | {"auroc": 0.90}, "young": row},
    }
    fitted = {"precision": 0.99, "recall": 0.47, "accuracy": 0.71}
    decisions = {"fitted_threshold": fitted, "fitted_on_other_half": {"accuracy": 0.83}}
    named = {"smiling": {"happiness": 25, "fear": 5}, "neutral": {"neutral": 20, "anger": 8, "fear": 2}}
    return {
        "data": {"set": "lab", "photos": 60, "people": 30, "usable": 60},
        "labels": {
            "AU12": row | {"groups": groups, "decisions": decisions} | smile,
            "happiness": row | {"named": named},
        },
        "prompts": {},
        "cannot_verify": {"action_units": ["AU4"]},
    }


def test_what_fails_on_photographs_stands_among_the_known_failures(run):
    change(run / "metrics.json", photographs=photographs())
    card = write_model_card(run).read_text()
    failures = card[card.index("## Known failures") : card.index("## Intended use")]
    assert "* Of 30 neutral photographs of people, 8 are named anger, 2 are named fear." in failures
    assert "* At its threshold AU12 finds only 47.0 % of the smiles in photographs." in failures
    assert "AUROC of AU12 in photographs: 87.0 for gender male (16 people) against 96.0 for female." in failures
    fine = photographs(groups={}, decisions={"fitted_threshold": {"precision": 1.0, "recall": 0.95, "accuracy": 0.9},
                                             "fitted_on_other_half": {"accuracy": 0.9}})  # fmt: skip
    fine["labels"]["happiness"]["named"]["neutral"] = {"neutral": 30}
    change(run / "metrics.json", photographs=fine)
    card = write_model_card(run).read_text()
    assert "named anger" not in card and "finds only" not in card and "unequally" not in card


def test_what_photographs_had_to_do_with_training_is_for_their_publisher_to_say(run):
    change(run / "metrics.json", photographs=photographs())
    card = write_model_card(run).read_text()
    assert "was fitted on them" not in card and "renderer was changed" not in card
    (run / "card.yaml").write_text("photographs: The thresholds were fitted on them.")
    card = write_model_card(run).read_text()
    section = card[card.index("## On photographs of real people") : card.index("## What is left of identity")]
    assert "The thresholds were fitted on them." in section


def test_metadata_are_what_the_hub_takes(run):
    card = ModelCard(write_model_card(run, "org/clef-disfa").read_text() if _terms(run) else "")
    data, results = card.data, json.loads((run / "results.json").read_text())["scores"]
    assert (data.model_name, data.library_name, data.license) == ("clef-disfa", "transformers", "other")
    assert data.license_name == "terms-of-the-training-data" and "facial-action-units" in data.tags
    assert data.pipeline_tag in SUPPORTED_TASKS
    values = {
        (r.dataset_type, r.dataset_split, r.metric_type, r.metric_name): r.metric_value for r in data.eval_results
    }
    pooled = {name: results[name]["pooled"]["scores"] for name in SETS}
    for name, key, metric, title in (
        ("action_units", "mean_f1", "f1", "action units: mean F1"),
        ("action_units", "mean_auroc", "roc_auc", "action units: mean AUROC"),
        ("expression", "accuracy", "accuracy", "expression: accuracy"),
    ):
        assert values["disfa", "test", metric, title] == round(100 * pooled[name][key]["value"], 1)
    index = yaml.safe_load(card.data.to_yaml())["model-index"]
    assert index[0]["results"][0]["dataset"]["name"] == "DISFA, people not trained on"


@pytest.mark.parametrize(
    "names, tags, on_photographs",
    [
        (
            ("action_units", "expression"),
            ["facial-action-units", "facial-expression", "facs", "affective-computing"],
            1,
        ),
        (("action_units", None), ["facial-action-units", "facs"], 1),
        ((None, "expression"), ["facial-expression", "affective-computing"], 1),
        (("gestures", "mood_at_rest"), ["gestures", "mood-at-rest"], 0),
        ((None, None), [], 0),
    ],
)
def test_the_index_speaks_of_the_labels_that_the_model_has(run, names, tags, on_photographs):
    config, metrics = (json.loads((run / f"{name}.json").read_text()) for name in ("config", "metrics"))
    for name in ("results.json", "predictions.parquet"):
        (run / name).unlink()
    sets, scores, found = [], {"data": metrics["evaluation"]["data"]}, photographs()
    for label_set, name in zip(config["label_sets"], names, strict=True):
        if name is not None:
            sets.append(label_set | {"name": name})
            scores[name] = metrics["evaluation"][label_set["name"]]
    change(run / "config.json", label_sets=sets)
    change(run / "metrics.json", evaluation=scores, **({"photographs": found} if on_photographs else {}))
    data = model_metadata(read_measured(run), "x")
    assert data.tags == ["clef", *tags]
    scored = [one.metric_name for one in data.eval_results or [] if one.dataset_type == "photographs-lab"]
    assert scored == [f"{'AU12' if names[0] else 'happiness'} AUROC"] * on_photographs
    others = {one.metric_name.partition(":")[0] for one in data.eval_results or []} - set(scored)
    assert others == {name.replace("_", " ") for name in names if name}


def test_of_several_label_sets_the_card_says_what_the_stock_pipeline_does(run):
    warning = "`image-classification` pipeline judges each label by itself and knows no calibration"
    shutil.copy(SHIPPED / "pipeline_clef.py", run / "pipeline_clef.py")
    card = write_model_card(run).read_text()
    assert warning in card and "Prefer `facial-behavior`." in card
    config = json.loads((run / "config.json").read_text())
    change(run / "config.json", label_sets=config["label_sets"][:1])
    (run / "results.json").unlink()
    (run / "predictions.parquet").unlink()
    assert warning not in write_model_card(run).read_text()


def _terms(folder):
    return yaml.safe_load((folder / "recipe.yaml").read_text())["corpus"] == "disfa"


def test_nothing_is_left_blank_and_the_warnings_are_there(run):
    card = write_model_card(run).read_text()
    assert "More Information Needed" not in card and "$" not in card and "None" not in card
    assert "an expression is not a feeling" in card and "prohibited in the EU by the AI Act" in card
    assert "identifying people" in card and "2304.00058" in card
    assert "Not to be relied upon: AU6." in card
    assert "* Data, DISFA: research licence of the University of Denver" in card and "* Code: Apache-2.0." in card
    assert "![Frequency against probability of each label](calibration.png)" in card
    assert Image.open(run / "calibration.png").format == "PNG"
    assert "/data/of/this/machine" not in card and "/somewhere" not in card and "learning_rate: 0.003" in card


@pytest.mark.parametrize("kind", ["finetuned", "pretrained"])
def test_the_snippets_run_as_they_stand(folders, tmp_path, kind):
    folder = Path(shutil.copytree(folders[kind], tmp_path / "checkpoint"))
    fill(folder, corpus="synthetic", results=False)
    if kind == "pretrained":
        probe = {"action_units": {"mean_f1_at_half": 0.4}, "expression": {"accuracy": 0.5}}
        change(folder / "metrics.json", stage="pretraining", evaluation={}, validation_probe=probe)
    printed = run_snippets(write_model_card(folder, "org/clef").read_text(), "org/clef", folder, tmp_path)
    if kind == "finetuned":
        assert re.findall(r"^(\w+) 0\.\d\d$", printed, flags=re.M) == [*UNITS, *CLASSES]
        assert "'present':" in printed and printed.count("tensor([[") == 1
    else:
        assert printed.count("tensor([[") == 1


def test_the_snippets_of_the_shipped_card_run_as_they_stand(tmp_path):
    try:
        find_sentence_encoder()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    printed = run_snippets((SHIPPED / "README.md").read_text(), "clef-small", SHIPPED, tmp_path)
    assert "AU12 0." in printed and "anger 0." in printed and printed.count("tensor([[") == 1


def run_snippets(card, repo_id, folder, where):
    """Runs all Python of a card in a process of its own, the repository's id as a folder; returns what it prints."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", card, flags=re.S))
    assert code.count(f'"{repo_id}"') >= 2
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(where / "aligned_face.png")
    (where / "snippet.py").write_text(code.replace(f'"{repo_id}"', repr(str(folder))))
    environment = os.environ | {"HF_MODULES_CACHE": str(where / "modules")}
    done = subprocess.run(
        [sys.executable, "snippet.py"], cwd=where, env=environment, capture_output=True, text=True, timeout=300
    )
    assert not done.returncode, done.stderr[-3000:]
    return done.stdout


def test_the_card_of_a_pretrained_model_claims_no_labels(folders, tmp_path):
    folder = Path(shutil.copytree(folders["pretrained"], tmp_path / "checkpoint"))
    fill(folder, corpus="synthetic", results=False)
    change(folder / "metrics.json", stage="pretraining", evaluation={})
    with pytest.raises(ValueError, match=f"{folder}/metrics.json holds no scores.*evaluate.py {folder} --probe"):
        write_model_card(folder)
    change(folder / "metrics.json", validation_probe={"action_units": {"mean_auroc": 0.654}})
    card = write_model_card(folder).read_text()
    assert "not a recogniser" in card and rows_of(card, "validation people") == ["action units: mean AUROC", "65.4"]
    assert ModelCard(card).data.pipeline_tag == "zero-shot-image-classification"
    assert "## Labels and prompts" not in card and "## Calibration" not in card


def test_without_a_required_fact_there_is_no_card_and_the_old_one_stays(run):
    (run / "README.md").write_text("the old card")
    (run / "calibration.png").write_bytes(b"the old picture")
    metrics = json.loads((run / "metrics.json").read_text())
    broken = {
        "no scores of \\['expression'\\]": metrics | {"evaluation": {"action_units": {"labels": {}}}},
        "got stage None": {key: value for key, value in metrics.items() if key != "stage"},
        "of different runs: action_units frames": _with_frames(metrics, 239),
    }
    for message, values in broken.items():
        (run / "metrics.json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=message):
            write_model_card(run)
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "card.yaml").write_text("licence: mit")
    with pytest.raises(ValueError, match="got \\['licence'\\], expected some of: license"):
        write_model_card(run)
    (run / "card.yaml").unlink()
    for name in ("recipe.yaml", "metrics.json", "config.json"):
        (run / name).rename(run / "away")
        with pytest.raises(FileNotFoundError, match=f"holds no {name}"):
            write_model_card(run)
        (run / "away").rename(run / name)
    assert (run / "README.md").read_text() == "the old card"
    assert (run / "calibration.png").read_bytes() == b"the old picture"


def _with_frames(metrics, frames):
    evaluation = json.loads(json.dumps(metrics["evaluation"]))
    evaluation["data"]["scored"]["frames"] = frames
    return metrics | {"evaluation": evaluation}


def test_ones_own_data_need_terms_before_they_are_published(folders, tmp_path):
    folder = Path(shutil.copytree(folders["finetuned"], tmp_path / "run"))
    fill(folder, corpus="image_folder", results=False)
    draft = write_model_card(folder).read_text()
    assert "nobody has named a licence yet" in draft and ModelCard(draft).data.license is None
    with pytest.raises(ValueError, match="the terms of these weights are not known"):
        write_model_card(folder, "org/mine")
    (folder / "card.yaml").write_text("license: cc-by-nc-4.0")
    with pytest.raises(ValueError, match="terms of the training data .image_folder. are not known"):
        write_model_card(folder, "org/mine")
    facts = {"license": "cc-by-nc-4.0", "data": "Classroom 7", "data_terms": "by agreement"}
    (folder / "card.yaml").write_text(yaml.safe_dump(facts | {"known_failures": ["Fails on masks."]}))
    card = write_model_card(folder, "org/mine").read_text()
    assert ModelCard(card).data.license == "cc-by-nc-4.0" and "* Data, Classroom 7: by agreement." in card
    assert "an independent implementation of CLEF" in card and "not by the paper's authors" in card
    assert "* Fails on masks." in card and "Trained on 5,678 frames of Classroom 7." in card


def test_weights_follow_what_they_were_made_from(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(folders["finetuned"], tmp_path / "run"))

    def card(**recipe):
        fill(folder, results=False, **recipe)
        text = write_model_card(folder).read_text()
        return text, ModelCard(text).data

    text, data = card(corpus="synthetic")
    assert data.license == "apache-2.0" and data.base_model is None and "no photograph whatsoever" in text
    text, data = card(corpus="synthetic", text_tower="minilm")
    assert data.license == "apache-2.0" and data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    text, data = card(corpus="synthetic", init_from="openai/clip-vit-base-patch16")
    assert data.base_model == "openai/clip-vit-base-patch16" and data.license == "other"
    assert "no photograph" not in text and "openai/clip-vit-base-patch16 (included or changed in these weights)" in text
    # A run before this one: what it was trained on counts, wherever its folder is.
    before = tmp_path / "outputs" / "pretrain"
    before.mkdir(parents=True)
    (before / "recipe.yaml").write_text(yaml.safe_dump({"corpus": "bp4d"}))
    text, data = card(corpus="synthetic", init_from="outputs/pretrain")
    assert data.license == "other" and data.base_model is None and "* Data, BP4D: research licence" in text
    (before / "recipe.yaml").write_text(yaml.safe_dump({"corpus": "bp4d", "init_from": "org/clip"}))
    text, data = card(corpus="synthetic", init_from="outputs/pretrain")
    assert data.license == "other" and data.base_model == "org/clip" and "before that on BP4D" in text
    shutil.rmtree(before)
    text, data = card(corpus="synthetic", init_from="outputs/pretrain")
    assert data.license is None and data.base_model is None and "not described here" in text
    assert "no photograph" not in text


def test_labels_of_ones_own_come_with_their_texts(folders, tmp_path):
    folder = Path(shutil.copytree(folders["finetuned"], tmp_path / "run"))
    fill(folder, corpus="synthetic", results=False)
    (folder / "predictions.parquet").unlink()
    config, metrics = (json.loads((folder / name).read_text()) for name in ("config.json", "metrics.json"))
    own = config["label_sets"][0]
    own |= {"name": "classroom", "labels": ["nod", "yawn", "AU12"]}
    own["names"] = [f"a person who {x}" for x in ("nods", "yawns", "pulls the lip corners")]
    scores = metrics["evaluation"].pop("action_units")
    scores["labels"] = dict(zip(own["labels"], scores["labels"].values(), strict=True))
    metrics["evaluation"]["classroom"] = scores
    change(folder / "config.json", label_sets=[own, config["label_sets"][1]])
    change(folder / "metrics.json", evaluation=metrics["evaluation"])
    card = write_model_card(folder).read_text()
    assert "*Classroom* (each on its own): nod (nods), yawn (yawns), AU12 (lip corner puller)." in card
    assert 'Shown as "a person who {}".' in card and rows_of(card, "classroom: mean AUROC")
    assert not (folder / "calibration.png").exists() and "calibration.png" not in card


def test_the_recipe_is_told_without_paths():
    recipe = {
        "corpus": "bp4d", "root": "/data/bp4d", "init_from": "/home/someone/run7", "text_tower": "org/tower",
        "corpus_options": {"cache_dir": "/cache", "fold": 2}, "tracker": "none", "epochs": 3, "lora_alpha": None,
    }  # fmt: skip
    assert published_recipe(recipe) == {
        "corpus": "bp4d", "init_from": "run7", "text_tower": "org/tower", "corpus_options": {"fold": 2}, "epochs": 3,
    }  # fmt: skip


def test_the_plot_is_the_same_from_results_and_from_predictions(run, monkeypatch):
    from hub_cards.measured import read_measured
    from hub_cards.reliability import reliability_panels

    from_results = reliability_panels(read_measured(run))
    (run / "results.json").unlink()
    from_predictions = reliability_panels(read_measured(run))
    assert list(from_results) == [*UNITS, "expression: predicted class"] == list(from_predictions)
    for name, stages in from_results.items():
        for stage in ("ece", "ece_calibrated"):
            np.testing.assert_allclose(stages[stage], from_predictions[name][stage], atol=1e-5)


def test_speed_is_of_recognisers_only(folders, tmp_path):
    folder = fill(Path(shutil.copytree(folders["pretrained"], tmp_path / "run")), results=False)
    with pytest.raises(ValueError, match="has no labels"):
        measure_speed(folder)


def test_speed_is_measured_into_the_metrics_and_told(run):
    assert "## Speed" not in write_model_card(run).read_text()
    before = json.loads((run / "metrics.json").read_text())
    found = measure_speed(run)
    assert json.loads((run / "metrics.json").read_text()) == before | {"speed": found}
    card = write_model_card(run).read_text()
    assert f"{found['crops_per_second']:.1f} aligned crops a second" in card and "on a CPU with 1 thread" in card


def test_the_shipped_card_is_what_the_command_writes(tmp_path):
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "clef-small"))
    (folder / "README.md").unlink()
    command = [sys.executable, "-m", "hub_cards", str(folder)]
    done = subprocess.run(command, cwd=SHIPPED.parents[1], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
    card = (folder / "README.md").read_text()
    assert card == (SHIPPED / "README.md").read_text()
    assert "on no photograph whatsoever" in card and "cannot verify AU1, AU2, AU4" in card
    assert "| all | 64,000 | AU F1 |" in card
    assert "Not to be relied upon even on renders: AU" in card
    assert "all-MiniLM-L6-v2 (its tokenizer is included, its weights are not): Apache-2.0." in card
    assert "* Face finder, opencv/face_detection_yunet (not included): MIT." in card
    assert (
        "No weight and no threshold was fitted on these photographs" in card and "They are not unseen, though" in card
    )
