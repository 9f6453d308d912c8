"""A text-free checkpoint from a run's folder, in single and in half precision."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification

from modeling_clef import CLEFForImageClassification, build_label_set
from train_scripts import freeze_checkpoint
from train_scripts.freeze_checkpoint import FreezingOptions, half_precision, main, write_text_free
from train_scripts.options import TrainingOptions
from train_scripts.towers import make_model, make_processor


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    options = TrainingOptions(text_tower="tiny", image_size=32)
    processor = make_processor(options)
    names = ["AU1", "AU12"]
    labels = build_label_set("action_units", names, "multi_label_classification", names, processor.tokenizer)
    torch.manual_seed(0)
    model = make_model(CLEFForImageClassification, options, processor, label_sets=[labels]).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(1e6)  # beyond half precision
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "recipe.yaml").write_text("seed: 0\n")
    (folder / "metrics.json").write_text(json.dumps({"stage": "finetuning"}))
    return folder


@pytest.fixture
def pixels():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def logits_of(folder, pixels):
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    assert {weight.dtype for weight in model.state_dict().values()} <= {torch.float32, torch.int64}
    with torch.no_grad():
        return model(pixels).logits


def test_it_gives_the_run_s_logits_and_brings_what_belongs_to_it(run, pixels, tmp_path, capsys):
    target = tmp_path / "frozen"
    main(FreezingOptions(checkpoint=str(run), output=str(target)))
    assert "text-free checkpoint of" in capsys.readouterr().out
    assert torch.equal(logits_of(target, pixels), logits_of(run, pixels))
    assert not any("text_model" in name for name in load_file(target / "model.safetensors"))
    assert {"recipe.yaml", "metrics.json", "preprocessor_config.json"} <= {path.name for path in target.iterdir()}


def test_half_precision_halves_the_file_and_rounds_nothing_but_weights(run, pixels, tmp_path):
    whole, half = write_text_free(run, tmp_path / "whole"), write_text_free(run, tmp_path / "half", half=True)
    sizes = [Path(folder, "model.safetensors").stat().st_size for folder in (whole, half)]
    assert sizes[1] < 0.55 * sizes[0]
    stored, kept = (load_file(folder / "model.safetensors") for folder in (half, whole))
    rounded = {name for name in stored if stored[name].dtype == torch.float16}
    whole_ones = ("label_head.", "clef.text_projection.weight")
    assert rounded == {n for n, w in kept.items() if w.ndim > 1 and not n.startswith(whole_ones)}
    assert all(torch.equal(stored[name], kept[name]) for name in stored if name not in rounded)
    model = AutoModelForImageClassification.from_pretrained(whole).eval()
    model.load_state_dict({name: weight.float() for name, weight in stored.items()}, strict=False)
    with torch.no_grad():
        assert torch.equal(logits_of(half, pixels), model(pixels).logits)
    torch.testing.assert_close(logits_of(half, pixels), logits_of(whole, pixels), atol=1e-2, rtol=1e-2)


def test_weights_beyond_half_precision_are_refused():
    with pytest.raises(ValueError, match="conv.weight holds weights beyond half precision"):
        half_precision({"conv.weight": torch.full((2, 2), 1e5)})


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no run: expected the folder that finetune.py wrote to"):
        FreezingOptions(checkpoint=str(tmp_path), output=str(tmp_path / "frozen"))


def test_what_could_not_be_written_whole_leaves_no_folder(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(freeze_checkpoint, "write_metrics", full)
    with pytest.raises(OSError, match="No space left"):
        write_text_free(run, tmp_path / "frozen")
    assert not (tmp_path / "frozen").exists()


def test_no_folder_that_is_there_is_written_over(run, tmp_path):
    for output in (run, run.parent, tmp_path):
        with pytest.raises(ValueError, match="exists already, and nothing is overwritten"):
            FreezingOptions(checkpoint=str(run), output=str(output))
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(FileExistsError):
        write_text_free(run, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "all of it"
    FreezingOptions(checkpoint=str(run), output=str(run / "frozen"))


def test_a_text_projection_fitted_anew_keeps_the_logits_and_half_precision_the_names(
    run, pixels, tmp_path, monkeypatch
):
    tower = tmp_path / "tower"
    CLEFForImageClassification.from_pretrained(run).clef.text_model.save_pretrained(tower)
    join = CLEFForImageClassification.join_text_tower
    monkeypatch.setattr(CLEFForImageClassification, "join_text_tower", lambda self: join(self, tower))
    frozen, target = tmp_path / "frozen", tmp_path / "refitted"
    write_text_free(run, frozen)
    corpus = {"corpus": "synthetic", "corpus_options": {"subjects": 9, "frames": 2, "image_size": 48}}
    main(FreezingOptions(checkpoint=str(frozen), output=str(target), refit=True, half=True, **corpus))
    fitted = json.loads((target / "metrics.json").read_text())["text_projection"]
    assert str(fitted["strength"]) in fitted["held_out_auroc"]
    stored = load_file(target / "model.safetensors")
    assert stored["clef.text_projection.anchors"].dtype == torch.float16
    again = AutoModelForImageClassification.from_pretrained(target).eval()
    kept = again.label_head.label_embeds.clone()
    before = AutoModelForImageClassification.from_pretrained(frozen).label_head.label_embeds
    torch.testing.assert_close(kept, before, atol=2e-5, rtol=0)
    again.join_text_tower()
    with torch.no_grad():
        torch.testing.assert_close(again.label_head.embed_names(again.clef), kept, atol=2e-5, rtol=0)


def test_a_corpus_without_refit_is_refused_instead_of_ignored(run, tmp_path):
    with pytest.raises(ValueError, match="say what to refit on"):
        FreezingOptions(checkpoint=str(run), output=str(tmp_path / "frozen"), corpus="synthetic")
