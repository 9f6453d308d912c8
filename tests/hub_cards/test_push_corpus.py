"""A drawn corpus sent to a Hub that speaks HTTP, and what others read of it."""

import io
import json

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Image
from huggingface_hub import DatasetCard

from hub_cards.push_corpus import check_equal, push_corpus, write_corpus
from hub_cards.send import Destination, PushError
from processing.corpora import load_corpus


@pytest.fixture(scope="session")
def options(tmp_path_factory):
    return {"subjects": 3, "frames": 1, "image_size": 32, "cache_dir": str(tmp_path_factory.mktemp("corpus"))}


def test_push_corpus_is_read_back_equal(hub, client, options):
    flags = ("--repo", "org/faces", "--options", json.dumps(options), "--gated")
    done = client("-m", "clef", "push-corpus", "synthetic", *flags)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "8 train, 8 validation, 8 test rows" in done.stdout
    repo = hub.repos["dataset", "org/faces"]
    assert repo.log() == ["CLEF corpus: synthetic", "initial commit"] and repo.gated == "auto"
    files = repo.files()
    names = {f"data/{split}-00000-of-00001.parquet" for split in ("train", "validation", "test")}
    assert set(files) == names | {".gitattributes", "README.md", "metadata.json"}
    assert options["cache_dir"].encode() not in b"".join(files.values())
    for split in ("train", "validation", "test"):
        expected = load_corpus("synthetic", split=split, **options)
        rows = pq.read_table(io.BytesIO(files[f"data/{split}-00000-of-00001.parquet"])).to_pylist()
        pictures = expected.cast_column("image", Image(decode=False))["image"][:]
        assert [row["image"]["bytes"] for row in rows] == [picture["bytes"] for picture in pictures]
        for name in ("subject_id", "activity", "frame", "action_units"):
            assert [row[name] for row in rows] == expected[name][:]
    card = DatasetCard(files["README.md"].decode())
    assert 'load_dataset("org/faces", split="train")' in card.text and card.data.license == "apache-2.0"
    # As it was read back after the commit, from the Hub.
    sent = next(i for i, request in enumerate(hub.requests) if "/commit/" in request)
    read = {request.rsplit("/", 1)[1] for request in hub.requests[sent:] if request.startswith("GET /lfs/")}
    assert {name.split("/")[1] for name in names} <= read


def test_a_corpus_that_reads_otherwise_is_found(options, tmp_path):
    originals = write_corpus("synthetic", tmp_path, "org/faces", options)
    check_equal(str(tmp_path), originals, tmp_path / "first")
    rows = originals["test"].cast_column("image", Image(decode=False))[:]
    changes = {
        "subject_id": "S999",
        "activity": None,
        "image": {"bytes": rows["image"][0]["bytes"], "path": None},
        "action_units": rows["action_units"][3] | {"AU12": 4.25},
    }
    file = tmp_path / "data" / "test-00000-of-00001.parquet"
    for number, (name, value) in enumerate(changes.items()):
        changed = rows | {name: [*rows[name][:3], value, *rows[name][4:]]}
        Dataset.from_dict(changed, features=originals["test"].features).to_parquet(file)
        with pytest.raises(ValueError, match="load_dataset reads other rows of test between 0 and 8"):
            check_equal(str(tmp_path), originals, tmp_path / f"again{number}")
    originals["test"].select(range(7)).to_parquet(file)
    with pytest.raises(ValueError, match="reads 7 rows of test, expected 8"):
        check_equal(str(tmp_path), originals, tmp_path / "fewer")
    originals["test"].remove_columns("frame").to_parquet(file)
    with pytest.raises(ValueError, match="reads other rows of test"):
        check_equal(str(tmp_path), originals, tmp_path / "columns")


def test_a_corpus_that_cannot_be_drawn_anywhere_is_not_published(tmp_path):
    (tmp_path / "file").touch()
    options = {"subjects": 3, "frames": 1, "image_size": 32, "cache_dir": str(tmp_path / "file")}
    with pytest.raises(PushError, match="^not published: the cache folder .* cannot be made"):
        push_corpus("synthetic", Destination("user/corpus", "dataset"), options, dry_run=True)


def test_people_are_not_passed_on():
    with pytest.raises(PushError, match=r"^not published: got the corpus 'bp4d'; only drawn ones"):
        push_corpus("bp4d", Destination("org/faces", "dataset"), dry_run=True)


@pytest.mark.parametrize("files", [{"train.csv": b"1"}, {"faces.zip": b"1", "metadata.json": b'{"corpus": "bp4d"}'}])
def test_other_data_are_kept(hub, client, options, files):
    hub.create("dataset", "org/faces", files)
    flags = ("--repo", "org/faces", "--options", json.dumps(options))
    done = client("-m", "clef", "push-corpus", "synthetic", *flags)
    assert done.returncode == 5
    assert f"holds {next(iter(files))}, and no metadata.json of a CLEF corpus: give another --repo." in done.stderr
    assert hub.repos["dataset", "org/faces"].log() == ["initial commit"]


@pytest.mark.parametrize("text", ["subjects=3", "[1]"])
def test_options_are_json(client, text):
    done = client("-m", "clef", "push-corpus", "synthetic", "--repo", "org/faces", "--options", text)
    assert done.returncode == 2 and "is no JSON" in done.stderr
