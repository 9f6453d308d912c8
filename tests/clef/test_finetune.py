"""`clef finetune`: one command from a folder of pictures to a measured checkpoint with its card."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, AutoProcessor, CLIPConfig, CLIPModel, ViTConfig, ViTModel

from clef import finetune_run
from clef.cli import FINE, INTERRUPTED, WRONG_USAGE, main
from clef.finetune import make_parser
from modeling_clef import CLEFForPreTraining
from processing.face_alignment_clef import EYES_NOSE_1
from train_scripts.finetune import FinetuningOptions
from train_scripts.label_texts import read_label_texts
from train_scripts.towers import make_model, make_processor, tiny_tokenizer

pytest.importorskip("cv2", reason="needs opencv-python-headless")

# Where a bright spot stands for a label.
SPOTS = {"smirk": (6, 22), "gaze_away": (22, 6), "AU12": (22, 22)}
MOODS = {"calm": (8, 15), "cross": (24, 15)}


@pytest.fixture(autouse=True)
def fresh_accelerator():
    AcceleratorState._reset_state(True)


def save_base(folder, crop_recipe=EYES_NOSE_1.name, **towers):
    """A tiny CLEF checkpoint, as after stage 1."""
    torch.manual_seed(0)
    options = FinetuningOptions(text_tower="tiny", image_size=32, projection_dim=32, **towers)
    processor = make_processor(options)
    processor.image_processor.crop_recipe = crop_recipe
    make_model(CLEFForPreTraining, options, processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "recipe.yaml").write_text("corpus: synthetic\n")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    )
    tower = tmp_path_factory.mktemp("vit")
    ViTModel(config).save_pretrained(tower)
    return save_base(tmp_path_factory.mktemp("transformer"), vision_tower=str(tower))


def picture(noise, row):
    pixels = noise.integers(60, 120, (32, 32, 3), dtype=np.uint8)
    spots = [SPOTS[name] for name in SPOTS if str(row.get(name)) == "1"]
    spots += [MOODS[row["mood"]]] if row.get("mood") else []
    for x, y in spots:
        pixels[y - 3 : y + 3, x - 3 : x + 3] = 250
    return Image.fromarray(pixels)


def write_folder(folder, people=10, frames=8, subjects=True):
    """Pictures whose bright spots are their labels."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        names = ["file", *(["subject"] if subjects else []), *SPOTS, "mood"]
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for person in range(people):
            for frame in range(frames):
                row = {name: int(noise.random() < 0.4) for name in SPOTS}
                row["mood"] = ["calm", "cross"][(person + frame) % 2]
                name = f"p{person}_{frame}.png"
                picture(noise, row).save(folder / name)
                row |= {"subject": f"p{person}"} if subjects else {}
                writer.writerow({"file": name, **row})
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pictures") / "own")


def finetune(data, output, *more):
    return main(["finetune", *map(str, (data, "--output", output, "--aligned", "--processes", 1, *more))])


def evaluation(output):
    return json.loads((output / "metrics.json").read_text())["evaluation"]


def test_one_command_leaves_a_checkpoint_with_scores_and_card(own, base, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("CLEF_YUNET", raising=False)  # it would find no face in these pictures, and say so
    output = tmp_path / "run"
    options = ["--base", base, "--epochs", 12, "--batch-size", 16]
    assert finetune(own, output, *options) == FINE
    said = capsys.readouterr().out
    assert "columns of words that are not learned, as no file of labels names them: mood" in said
    assert (
        f"clef push {output} --repo USER/run" in said and f"--model {output} --output" in said and "WARNING" not in said
    )
    scores = evaluation(output)
    assert scores["data"]["scored"] == {"frames": 16, "subjects": 2, "without_face": 0}
    assert scores["behaviours"]["mean_auroc"] > 0.95 and scores["action_units"]["mean_auroc"] > 0.95
    model = AutoModelForImageClassification.from_pretrained(output).eval()
    assert list(model.config.id2label.values()) == ["AU12", "smirk", "gaze_away"]
    assert all(label_set["temperatures"] for label_set in model.config.label_sets)
    assert model.config.label_sets[1]["names"][1] == "a photo of a person with gaze away"
    processor = AutoProcessor.from_pretrained(output)
    assert processor.image_processor.crop_recipe == EYES_NOSE_1.name
    found = []
    for row in ({"mood": "calm"}, {"mood": "calm", "gaze_away": 1}):
        pixels = processor(images=picture(np.random.default_rng(1), row))
        found.append(model.probabilities(model(**pixels).logits)[0, 2].item())
    assert found[1] > found[0] + 0.2
    results = json.loads((output / "results.json").read_text())
    assert results["scores"]["behaviours"]["pooled"]["scores"]["mean_f1"]["interval"]
    card = (output / "README.md").read_text()
    assert "smirk" in card and "[More" not in card
    assert yaml.safe_load((output / "card.yaml").read_text()) is None
    assert not (output / "checkpoints").exists() and not (output / "epochs").exists()

    weights = (output / "model.safetensors").stat().st_mtime_ns
    (output / "results.json").unlink()
    assert finetune(own, output, *options) == FINE
    assert "is trained already; it is described anew" in capsys.readouterr().out
    assert (output / "results.json").exists() and (output / "model.safetensors").stat().st_mtime_ns == weights
    assert finetune(own, output, *options, "--seed", 1) == WRONG_USAGE
    assert "holds another run: corpus_options" in capsys.readouterr().err
    (tmp_path / "labels.yaml").write_text("signals:\n  smirk: a smirk\n")
    assert finetune(own, output, *options, "--labels", tmp_path / "labels.yaml") == WRONG_USAGE
    assert "holds a run with other labels" in capsys.readouterr().err
    AcceleratorState._reset_state(True)
    more = ["--labels", tmp_path / "labels.yaml", "--base", base, "--epochs", 1, "--overwrite"]
    assert finetune(own, output, *more) == FINE
    assert list(evaluation(output)) == ["data", "signals", "identity_skipped"]


def test_a_label_set_is_just_text(own, base, tmp_path):
    (tmp_path / "labels.yaml").write_text(
        "mood:\n  calm: {name: a calm face, description: a spot on the left}\n"
        "  cross: {name: a cross face, description: a spot on the right}\n"
    )
    output = tmp_path / "run"
    options = ["--base", base, "--labels", tmp_path / "labels.yaml", "--epochs", 10, "--batch-size", 16]
    assert finetune(own, output, *options) == FINE
    assert evaluation(output)["mood"]["accuracy"] > 0.9
    config = AutoModelForImageClassification.from_pretrained(output).config
    (mood,) = config.label_sets
    assert (mood["problem_type"], mood["labels"]) == ("single_label_classification", ["calm", "cross"])
    assert config.head == "names_and_descriptions" and mood["description_tokens"]
    assert read_label_texts(output / "labels.yaml")["mood"]["calm"].description == "a spot on the left"
    assert "accuracy" in json.loads((output / "results.json").read_text())["scores"]["mood"]["pooled"]["scores"]


def test_adapters_for_large_towers_and_a_probe_on_request(own, transformer, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune_run, "LARGE", 1000)
    before = load_file(transformer / "model.safetensors")
    for train in ("auto", "probe", "full"):
        AcceleratorState._reset_state(True)
        options = ["--base", transformer, "--epochs", 1, "--batch-size", 16, "--train", train]
        assert finetune(own, tmp_path / train, *options, "--work", tmp_path / "work") == FINE
    recipe = yaml.safe_load((tmp_path / "auto" / "recipe.yaml").read_text())
    assert (recipe["lora_rank"], recipe["learning_rate"]) == (8, finetune_run.RATES["lora"])
    changed = {name: load_file(tmp_path / name / "model.safetensors") for name in ("auto", "probe", "full")}
    tower = [name for name in before if name.startswith("clef.vision_model.")]
    assert set(tower) <= set(changed["auto"])
    moved = {run: {n for n in tower if not torch.equal(before[n], weights[n])} for run, weights in changed.items()}
    assert moved["auto"] and all(name.endswith(("query.weight", "value.weight")) for name in moved["auto"])
    assert not moved["probe"] and moved["full"] > moved["auto"]
    config = AutoModelForImageClassification.from_pretrained(tmp_path / "probe").config
    assert config.head == "linear"
    assert yaml.safe_load((tmp_path / "full" / "recipe.yaml").read_text())["learning_rate"] == 2e-5


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(own, base, tmp_path, monkeypatch, capsys):
    options = ["--base", base, "--epochs", 8, "--batch-size", 16, "--work", tmp_path / "work"]
    assert finetune(own, tmp_path / "whole", *options) == FINE
    AcceleratorState._reset_state(True)
    from train_scripts import finetune as script

    class Killed(script.EpochScores):
        def is_due(self, step):
            if step == 22:
                raise KeyboardInterrupt
            return super().is_due(step)

    monkeypatch.setattr(script, "EpochScores", Killed)
    assert finetune(own, tmp_path / "killed", *options) == INTERRUPTED
    assert "the same command goes on" in capsys.readouterr().err
    monkeypatch.undo()
    AcceleratorState._reset_state(True)
    assert finetune(own, tmp_path / "killed", *options) == FINE
    assert "resumed from" in capsys.readouterr().out
    whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_a_start_that_was_never_trained_on_faces(own, tmp_path, capsys):
    """A CLIP model has no crop recipe: it learns from the crops as they are, and says which those are."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 128, "eos_token_id": tokenizer.sep_token_id}
    config = CLIPConfig(
        text_config=small | text | {"bos_token_id": tokenizer.cls_token_id, "pad_token_id": tokenizer.pad_token_id},
        vision_config=small | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    options = ["--base", tmp_path / "clip", "--epochs", 1, "--train", "lora", "--lora-rank", 2]
    assert finetune(own, tmp_path / "run", *options) == FINE
    assert "clef analyze" not in capsys.readouterr().out
    recipe = AutoProcessor.from_pretrained(tmp_path / "run").image_processor.crop_recipe
    assert recipe == "image_folder-uncropped"
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["lora_rank"] == 2


def test_who_is_who_is_unknown_and_the_card_says_so(base, tmp_path, capsys):
    folder = write_folder(tmp_path / "own", people=6, frames=4, subjects=False)
    assert finetune(folder, tmp_path / "run", "--base", base, "--epochs", 1) == FINE
    assert "WARNING: the column subject does not say who everybody is, so each picture" in capsys.readouterr().out
    card = " ".join((tmp_path / "run" / "README.md").read_text().split())
    assert "do not say who everybody is: each picture without a name counts as a person" in card


def test_photographs_are_aligned_and_those_without_a_face_count(test_data, base, tmp_path, monkeypatch, capsys):
    yunet = test_data / "weights" / "face_detection_yunet.onnx"
    photographs = sorted((test_data / "london").glob("*.jpg"))[:20]
    if not (yunet.is_file() and photographs):
        pytest.skip("needs london and YuNet's file in CLEF_TEST_DATA")
    monkeypatch.setenv("CLEF_YUNET", str(yunet))
    folder = tmp_path / "own"
    folder.mkdir()
    lines = ["file,subject,smile"]
    for path in photographs:
        shutil.copy(path, folder / path.name)
        lines.append(f"{path.name},{path.stem[:3]},{int(path.stem.endswith('_08'))}")
    Image.new("RGB", (90, 90), (99, 99, 99)).save(folder / "wall.png")
    (folder / "labels.csv").write_text("\n".join([*lines, f"wall.png,{photographs[0].stem[:3]},0"]) + "\n")
    command = ["finetune", folder, "-o", tmp_path / "run", "--base", base, "--epochs", 1, "--processes", 1]
    assert main(list(map(str, command))) == FINE
    said = capsys.readouterr().out
    assert "20 faces (detected 20)" in said and "* 1 of 21 pictures show no face that was found" in said
    metadata = json.loads((tmp_path / "run-data" / "crops" / "metadata.json").read_text())
    assert metadata["crop_recipe"] == EYES_NOSE_1.name and metadata["image_size"] == 32


def test_what_cannot_be_done_is_said(own, base, tmp_path, capsys):
    def refused(*arguments):
        assert main(["finetune", *map(str, arguments)]) == WRONG_USAGE
        return capsys.readouterr().err

    run = tmp_path / "run"
    assert "is no folder with a labels.csv" in refused(tmp_path / "gone", "-o", run, "--base", base)
    assert "there is no file of labels" in refused(own, "-o", run, "--base", base, "--labels", tmp_path / "gone.yaml")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary.txt").write_text("dear")
    said = refused(own, "-o", tmp_path / "other", "--base", base, "--aligned", "--work", tmp_path / "work")
    assert "holds something else than a run of this command" in said
    said = refused(own, "-o", tmp_path / "other", "--base", base, "--aligned", "--overwrite")
    assert "which is not thrown away" in said and (tmp_path / "other" / "diary.txt").exists()
    elsewhere = save_base(tmp_path / "elsewhere", crop_recipe="my-crops-2")
    assert "crops of the recipe 'my-crops-2'" in refused(own, "-o", run, "--base", elsewhere)
    prepared = tmp_path / "work" / "crops"
    said = refused(prepared, "-o", run, "--base", base)
    assert "holds crops of the recipe 'image_folder-uncropped', the checkpoint learned from 'eyes-nose-1'" in said
    assert not run.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["data"],
        ["data", "-o", "run", "--epochs", "0"],
        ["data", "-o", "run", "--batch-size", "2.5"],
        ["data", "-o", "run", "--train", "hard"],
        ["data", "-o", "run", "--aligned", "--detector", "haar"],
    ],
)
def test_wrong_usage(arguments, capsys):
    assert main(["finetune", *arguments]) == WRONG_USAGE
    assert "usage: clef finetune" in capsys.readouterr().err


def test_help_explains_every_option():
    assert all(action.help for action in make_parser()._actions)
