"""The quickstart in a miniature that still shows the direction of what it claims."""

import json

import pytest
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForImageClassification

import modeling_clef  # noqa: F401
from train_scripts import jobs, quickstart
from train_scripts.options import parse_options
from train_scripts.results_table import as_markdown, result_rows

FLAGS = ["--image_size", 32, "--text_tower", "tiny", "--fractions", "0.2"]


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "quickstart"


def test_it_leaves_figures_a_report_and_a_checkpoint_and_is_done_once(
    forked_jobs, corpus_cache, tmp_path, monkeypatch, capsys
):
    made = quickstart.corpus_options
    monkeypatch.setattr(quickstart, "corpus_options", lambda *given: made(*given) | {"cache_dir": str(corpus_cache)})
    monkeypatch.setattr(jobs, "subprocess", forked_jobs)
    flags = [*FLAGS, "--subjects", 9, "--frames", 2, "--pretraining_epochs", 1, "--finetuning_steps", 2]
    output = tmp_path / "quickstart"
    options = parse_options(quickstart.QuickstartOptions, [*map(str, flags), "--output", str(output)])
    quickstart.main(options)
    printed = capsys.readouterr().out
    assert "linear probe, 20 % labels: AU F1" in printed and str(output / "model") in printed

    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["seed"] == 0 and metrics["seconds"]["total"] > 0
    assert metrics["arms"].keys() == {"clef", "instance", "scratch"}
    assert "linear_probe" in metrics["arms"]["instance"] and "linear_probe" not in metrics["arms"]["scratch"]

    # What is compared differs in stage 1 alone.
    tuned = [output / "seed0" / arm / "finetuned_0.2" / "model.safetensors" for arm in quickstart.ARMS]
    assert len({load_file(path)["clef.logit_scale"].item() for path in tuned}) == 1

    html = (output / "report.html").read_text()
    assert html.startswith("<!") and "base64" in html
    AutoModel.from_pretrained(output / "model")
    assert len(AutoModelForImageClassification.from_pretrained(output / "model").config.id2label) == 24

    quickstart.main(options)
    assert "".join(capsys.readouterr()).count("done before") == 7
    assert json.loads((output / "metrics.json").read_text())["arms"] == metrics["arms"]


@pytest.mark.slow
def test_activities_teach_behaviour_and_not_identity(launch, output):
    flags = [*FLAGS, "--subjects", 18, "--frames", 10, "--pretraining_epochs", 24, "--finetuning_steps", 40]
    launch("quickstart", *flags, "--output", output)
    arms = json.loads((output / "metrics.json").read_text())["arms"]
    clef, instance, scratch = (arms[arm] for arm in ("clef", "instance", "scratch"))
    probes = [arm["linear_probe"]["0.2"] for arm in (clef, instance)]
    # What is left out (expressions, linear probes of identity) changes sides from seed to seed among four people.
    assert probes[0]["action_units"]["mean_f1"] > probes[1]["action_units"]["mean_f1"]
    assert probes[0]["action_units"]["mean_auroc"] > 0.05 + probes[1]["action_units"]["mean_auroc"]
    tuned = [arm["fine_tuned"]["0.2"]["action_units"]["mean_f1"] for arm in (clef, instance, scratch)]
    assert tuned[0] > max(tuned[1:])
    found = [arm["identity"]["projection_nearest_neighbour"] for arm in (clef, instance)]
    assert found[0] < found[1]


def test_several_seeds_are_shown_with_their_spread():
    arms = {"clef": {"identity": {"backbone_linear": 0.5}}, "instance": {"identity": {}}, "scratch": {}}
    spread = {"clef": {"identity": {"backbone_linear": 0.012}}, "instance": {}, "scratch": {}}
    rows = result_rows({"arms": arms, "spread": spread}, ["0.05"])
    assert rows[-1] == ["identity found, backbone, linear", "50.0 ± 1.2", "–", "–"]
    lines = as_markdown(rows).splitlines()
    assert len({len(line) for line in lines}) == 1 and set(lines[1]) == {"|", "-"}
