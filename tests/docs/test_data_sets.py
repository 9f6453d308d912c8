"""docs/data_sets.md is true to the adapters: every set, every option with its default, commands that are understood."""

import json
import re
import shlex
from pathlib import Path

import pytest

from processing.corpora.adapters import READERS, all_options
from train_scripts.cross_validate import CrossValidationOptions
from train_scripts.finetune import FinetuningOptions
from train_scripts.options import parse_options
from train_scripts.prepare import PrepareOptions, with_corpus_flag
from train_scripts.pretrain import PretrainingOptions

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "data_sets.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## [^\n]* \(`(\w+)`\)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SCRIPTS = {
    "prepare": PrepareOptions,
    "pretrain": PretrainingOptions,
    "finetune": FinetuningOptions,
    "cross_validate": CrossValidationOptions,
}


def commands(text):
    for block in re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            python, script, *flags = shlex.split(line)
            assert python == "python" and (ROOT / script).is_file()
            yield Path(script).stem, flags


def test_every_data_set_has_a_section():
    assert list(SECTIONS) == list(READERS)


@pytest.mark.parametrize("name", READERS)
def test_every_option_stands_in_its_section_with_its_default(name):
    told = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", SECTIONS[name], re.MULTILINE)
    assert {option: json.loads(default) for option, default in told} == all_options(name, {})


@pytest.mark.parametrize("name", [name for name in READERS if name != "image_folder"])
def test_commands_are_understood_and_are_the_set_s(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = list(commands(SECTIONS[name]))
    assert {"prepare", "finetune", "cross_validate"} <= {script for script, _ in given}
    for script, flags in given:
        options = parse_options(SCRIPTS[script], with_corpus_flag(flags) if script == "prepare" else flags)
        assert options.corpus == name
        if script == "prepare":
            all_options(name, options.corpus_options)
        else:
            assert options.root == f"corpora/{name}"


def test_who_looks_for_the_page_finds_it():
    for page in ("README.md", "docs/train.md", "docs/evaluate.md", "docs/architecture.md"):
        assert "data_sets.md" in (ROOT / page).read_text(encoding="utf-8")
