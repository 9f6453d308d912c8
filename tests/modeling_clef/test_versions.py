"""Checkpoints of other versions: older ones load, newer ones say so, and an old transformers is told what is needed."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None

from modeling_clef import CLEFConfig, CLEFForImageClassification
from modeling_clef.text_projection_clef import AnchoredProjection
from modeling_clef.version_clef import NEEDED_TRANSFORMERS, VERSION, check_transformers, warn_if_newer
from processing import requirements_clef

ROOT = Path(__file__).resolve().parents[2]
RELEASED = Path(__file__).with_name("released_configs")


@pytest.fixture
def project():
    if tomllib is None:
        pytest.skip("reads pyproject.toml with Python 3.11's tomllib")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version_and_one_need_everywhere(project):
    assert project["version"] == VERSION
    (needed,) = (line for line in project["dependencies"] if line.startswith("transformers"))
    assert needed == f"transformers>={NEEDED_TRANSFORMERS},<6"
    assert requirements_clef.NEEDED_TRANSFORMERS == NEEDED_TRANSFORMERS


def test_this_version_has_its_fixture():
    # A release adds the config.json that it writes, with the labels of the files that are there.
    assert (RELEASED / f"{VERSION}.json").is_file()
    assert json.loads((RELEASED / f"{VERSION}.json").read_text())["clef_version"] == VERSION


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*.json")), ids=lambda path: path.stem)
def test_configs_of_every_released_version_load(path, tmp_path):
    (tmp_path / "config.json").write_text(path.read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is CLEFConfig
    units, faces = config.label_sets
    assert units["labels"] == ["AU1", "AU12"] and units["thresholds"] == [0.25, 0.75]
    assert units["temperatures"] == [0.5, 2.0] and units["calibration_biases"] == [0.1, -0.2]
    assert faces["problem_type"] == "single_label_classification"
    assert config.id2label == {0: "AU1", 1: "AU12", 2: "happiness", 3: "sadness"}
    assert (config.projection_dim, config.text_pooling, config.description_weight) == (8, "mean", 0.5)
    model = CLEFForImageClassification(config).eval()
    logits = model(torch.zeros(1, 3, 32, 32)).logits
    assert logits.shape == (1, 4)
    # The thresholds' scale: probability is sigmoid(logit / temperature + bias).
    expected = (logits[0, 1] / 2.0 - 0.2).sigmoid()
    torch.testing.assert_close(model.probabilities(logits)[0, 1], expected)
    # Saved again it is of this version.
    config.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["clef_version"] == VERSION


def test_a_config_with_text_anchors_and_a_phrasing_weight_keeps_them(tmp_path):
    # As the checkpoints that ship have them.
    wanted = {"phrasing_weight": 0.6, "text_anchors": 6, "text_anchor_labels": 3}
    text = (RELEASED / "0.1.0-anchored.json").read_text()
    shipped = json.loads((ROOT / "checkpoints" / "clef-small" / "config.json").read_text())
    assert set(wanted) <= set(shipped)
    (tmp_path / "config.json").write_text(text)
    config = AutoConfig.from_pretrained(tmp_path)
    assert {name: getattr(config, name) for name in wanted} == wanted
    projection = CLEFForImageClassification(config).clef.text_projection
    assert isinstance(projection, AnchoredProjection)
    assert (projection.anchors.shape[0], len(projection.labels)) == (6, 3)
    config.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert {name: again[name] for name in wanted} == wanted


@pytest.mark.parametrize("written", ["9.0.0", "0.10.0", "2030-beta"])
def test_a_checkpoint_of_a_newer_version_says_so(written, tmp_path):
    config = json.loads((RELEASED / f"{VERSION}.json").read_text()) | {"clef_version": written}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match=rf"written by CLEF {written}, and this is CLEF {VERSION}.*clef-faces>="):
        loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.clef_version == VERSION


def test_older_versions_and_this_one_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for written in (None, "0.0.9", VERSION):
            warn_if_newer(written)


def test_needed_transformers_is_named():
    check_transformers("5.20.0")
    check_transformers("6.0.0.dev0")
    for check in (check_transformers, requirements_clef.check_transformers):
        with pytest.raises(
            ImportError, match=r"5\.20 or later, and 4\.57\.1 is installed: pip install -U 'transformers>="
        ):
            check("4.57.1")


@pytest.mark.parametrize("folder, module", [("modeling_clef", "configuration_clef"), ("processing", "processing_clef")])
def test_an_older_transformers_is_told_before_names_are_missing(folder, module, tmp_path):
    # As dynamic modules are: flat files in one package, beside a transformers that has few of today's names.
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "__init__.py").write_text("")
    for path in (ROOT / folder).glob("*_clef.py"):
        (flat / path.name).write_text(path.read_text())
    (tmp_path / "transformers").mkdir()
    (tmp_path / "transformers" / "__init__.py").write_text(
        "__version__ = '4.57.1'\nAutoTokenizer = BatchFeature = AutoConfig = CLIPConfig = object\n"
    )
    (tmp_path / "transformers" / "processing_utils.py").write_text("ProcessorMixin = TextKwargs = object\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import flat.{module}"
    found = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert found.returncode
    assert "needs transformers 5.20 or later, and 4.57.1 is installed" in found.stderr.splitlines()[-1]
