"""Cards of drawn corpora against their Parquet files."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from hub_cards.corpus_counts import SPLITS, CorpusCounts, count_corpus
from hub_cards.dataset_card import render_dataset_card, write_dataset_card
from processing.corpora import action_unit_labels, corpus_metadata, load_corpus
from processing.corpora.ict_nuisance import Variation

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    cache = tmp_path_factory.mktemp("corpora")
    options = {"subjects": 4, "frames": 2, "image_size": 32, "cache_dir": str(cache), "num_proc": 1}
    return {split: load_corpus("synthetic", split=split, **options) for split in SPLITS}


@pytest.fixture
def folder(corpus, tmp_path):
    where = tmp_path / "faces" / "data"
    where.mkdir(parents=True)
    half = len(corpus["train"]) // 2
    for number, rows in enumerate((range(half), range(half, len(corpus["train"])))):
        corpus["train"].select(rows).to_parquet(where / f"train-{number:05d}-of-00002.parquet")
    for split in ("validation", "test"):
        corpus[split].to_parquet(where / f"{split}-00000-of-00001.parquet")
    return where.parent


def rows_of(card, first):
    (line,) = [line for line in card.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_its_counts_are_those_of_the_corpus(corpus, folder):
    card = write_dataset_card(folder, corpus_metadata(corpus["train"])).read_text()
    for split, part in corpus.items():
        assert rows_of(card, split) == [str(len(set(part["subject_id"][:]))), str(len(part))]
    for unit, name in (("AU1", "AU1 inner brow raiser"), ("AU25", "AU25 lips part")):
        present = np.concatenate([action_unit_labels(part, [unit])[:, 0] for part in corpus.values()])
        assert rows_of(card, name) == [f"{100 * present.mean():.1f}"]
    everyone = [name for part in corpus.values() for name in part["expression"][:]]
    for name in set(everyone):
        assert rows_of(card, name) == [str(everyone.count(name))]
    assert set(corpus["train"].column_names) == set(re.findall(r"^\| (\w+) \|", card, flags=re.M)) & set(
        pq.read_schema(folder / "data" / "test-00000-of-00001.parquet").names
    )


def test_it_says_how_every_frame_was_made(corpus, folder):
    metadata = corpus_metadata(corpus["train"])
    card = write_dataset_card(folder, metadata).read_text()
    for key, value in metadata["options"].items():
        assert rows_of(card, key)[0] == str(value)
    joke = rows_of(card, "joke")
    assert joke[0].startswith("Talk to the experimenter and listen to a joke. The target emotion")
    assert joke[1].split(" or ")[2] == "AU12 AU14"
    assert "nobody" not in card and "Nobody shown here exists" in card and "prohibited in the EU" in card
    assert "More Information Needed" not in card and "$" not in card


def test_the_metadata_are_valid_and_load_the_splits(corpus, folder):
    data = DatasetCard(write_dataset_card(folder, corpus_metadata(corpus["train"]), "org/faces").read_text()).data
    assert (data.license, data.size_categories, data.pretty_name) == (
        "apache-2.0",
        "n<1K",
        "drawn synthetic faces (faces)",
    )
    files = {part["split"]: part["path"] for part in data.configs[0]["data_files"]}
    assert list(files) == list(SPLITS)
    for split, pattern in files.items():
        assert sum(pq.read_metadata(path).num_rows for path in folder.glob(pattern)) == len(corpus[split])


def test_the_snippets_run_as_they_stand_and_draw_the_same_again(corpus, folder, tmp_path):
    card = write_dataset_card(folder, corpus_metadata(corpus["train"]), "org/faces").read_text()
    load, again = re.findall(r"```python\n(.*?)```", card, flags=re.S)
    assert '"org/faces"' in load
    check = "\n".join(
        [
            load.replace('"org/faces"', repr(str(folder))),
            again.replace("\nload_corpus(", "\ndrawn = load_corpus("),
            "from datasets import concatenate_datasets",
            f"parts = [load_dataset({str(folder)!r}, split=name) for name in {SPLITS}]",
            "assert concatenate_datasets(parts).to_dict() == drawn.to_dict()",
        ]
    )
    environment = os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", check], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-3000:]
    assert done.stdout.split()[0] == corpus["train"]["subject_id"][0] and "(32, 32)" in done.stdout


def test_what_is_missing_or_not_ours_gives_no_card(corpus, folder):
    metadata = corpus_metadata(corpus["train"])
    with pytest.raises(FileNotFoundError, match="holds no metadata.json"):
        write_dataset_card(folder)
    with pytest.raises(ValueError, match="got the corpus 'bp4d'; only drawn ones"):
        write_dataset_card(folder, metadata | {"corpus": "bp4d"})
    with pytest.raises(ValueError, match="metadata lack \\['options'\\]"):
        write_dataset_card(folder, {key: value for key, value in metadata.items() if key != "options"})
    with pytest.raises(ValueError, match="the metadata say"):
        write_dataset_card(folder, metadata | {"rows": metadata["rows"] | {"test": 17}})
    assert not (folder / "README.md").exists()
    (folder / "metadata.json").write_text(json.dumps(metadata))
    assert write_dataset_card(folder).read_text().startswith("---\n")
    corpus["train"].to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="are in train and in test"):
        count_corpus(folder)
    with pytest.raises(FileNotFoundError, match="holds no files such as train-"):
        count_corpus(folder / "data" / "nothing")


def test_rendered_faces_name_their_face_model_and_what_varies():
    options = {"subjects": 60, "frames": 3, "image_size": 96, "seed": 7, "purity": 0.9, "off_script": 0.12}
    options["variation"] = Variation.of({"jpeg": False, "coloured_lights": False}).switches()
    metadata = {
        "corpus": "ict_facekit", "crop_recipe": "eyes-nose-1", "action_unit_coding": "intensity", "options": options,
        "face_model": "0123abcd", "licence": "rendered from the ICT-FaceKit face model, MIT licence",
    }  # fmt: skip
    counts = CorpusCounts(
        {"train": 960, "test": 123456}, {"train": 40, "test": 20}, {"train": "train*.parquet"},
        ["image", "action_units"], {"AU27": 0.123}, {"neutral": 1083},
    )  # fmt: skip
    card = render_dataset_card(metadata, counts, "org/rendered")
    data = DatasetCard(card).data
    assert (data.license, data.size_categories) == ("mit", "100K<n<1M")
    assert "fingerprint is `0123abcd`" in card and 'crop recipe is "eyes-nose-1"' in card
    assert "Switched off: coloured lights, jpeg." in card and "wrinkles, brows" in card
    assert rows_of(card, "joke")[1].endswith("; also AU27 AU45") and rows_of(card, "AU27 mouth stretch") == ["12.3"]
    assert 'load_corpus("ict_facekit", subjects=60' in card and "124,416 frames of 60 people" in card
