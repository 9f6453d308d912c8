import ast
import hashlib
import io
import json
import multiprocessing
import os
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from processing.corpora import action_unit_labels, cache_folders, corpus_metadata, ict_facekit, load_corpus
from processing.corpora.behaviour import ACTIVITIES
from processing.corpora.bilateral_behaviour import ACTION_UNITS, clip_sides
from processing.corpora.ict_faces import FaceRenderer
from processing.corpora.ict_model import load_face_model
from processing.corpora.ict_nuisance import Variation
from processing.corpora.splits import split_subjects

NPZ = Path(os.environ.get("CLEF_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))
NPZ = NPZ / "ict_facekit" / "ict_face_model_light.npz"
needs_data = pytest.mark.skipif(not NPZ.is_file(), reason="needs ict_facekit in CLEF_TEST_DATA (../shared/data)")
SMALL = {"subjects": 4, "frames": 3, "image_size": 32}


class StubRenderer:
    """Draws a fingerprint of everything that a renderer is given."""

    def __init__(self, model):
        pass

    def person(self, identity, variation):
        return repr(identity) + repr(variation)

    def render(self, person, nuisances, sides, image_size):
        assert len(nuisances) == len(sides) <= ict_facekit.ROWS_PER_TASK
        images = []
        for nuisance, side in zip(nuisances, sides, strict=True):
            digest = hashlib.sha256(person.encode() + repr(nuisance).encode() + side.tobytes()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
            images.append(rng.integers(0, 256, (image_size, image_size, 3), dtype=np.uint8))
        return SimpleNamespace(images=np.stack(images), action_units=sides.max(axis=2))


@pytest.fixture(scope="module")
def stub():
    """The face model and its renderer replaced: what remains is the corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ict_facekit, "FaceRenderer", StubRenderer)
        patch.setattr(ict_facekit, "load_face_model", lambda root, cache_dir: SimpleNamespace(fingerprint=f"of {root}"))
        yield patch


def small(cache_dir, **options):
    return load_corpus("ict_facekit", cache_dir=str(cache_dir), **{"num_proc": 1, "root": "model", **SMALL, **options})


def pixels(data):
    return np.stack([np.asarray(image) for image in data["image"]])


def by_sequence(data):
    return {
        (row["sequence_id"], row["frame"]): (np.asarray(row["image"]).tobytes(), row["expression"], row["action_units"])
        for row in data
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture(scope="module")
def whole(cache, stub):
    return small(cache)


def test_rows(whole):
    assert len(whole) == 4 * 8 * 3
    row = whole[4]
    assert row["image"].size == (32, 32) and row["image"].mode == "RGB"
    assert row["corpus"] == "ict_facekit" and row["activity"] == list(ACTIVITIES)[1] and row["frame"] == 1
    assert row["sequence_id"] == f"{row['subject_id']}_{row['activity']}"
    assert list(row["action_units"]) == list(ACTION_UNITS) and len(ACTION_UNITS) == 21
    assert set(whole["subject_id"]) == {"I0000", "I0001", "I0002", "I0003"}
    number = int(row["subject_id"][1:])
    np.testing.assert_array_equal(list(row["action_units"].values()), clip_sides(0, number, 1, 3)[1].max(axis=1))


def test_rows_are_ordered_by_split_subject_activity_and_frame(whole):
    members = split_subjects(4, 0)
    expected = [
        (f"I{subject:04d}", activity, frame)
        for split in ("train", "validation", "test")
        for subject in members[split]
        for activity in ACTIVITIES
        for frame in range(3)
    ]
    assert list(zip(whole["subject_id"], whole["activity"], whole["frame"], strict=True)) == expected


def test_splits_share_no_subject(cache, whole):
    splits = {name: small(cache, split=name) for name in ("train", "validation", "test")}
    subjects = {name: set(data["subject_id"]) for name, data in splits.items()}
    assert [len(subjects[name]) for name in ("train", "validation", "test")] == [2, 1, 1]
    assert len(set.union(*subjects.values())) == 4
    assert sum(map(len, splits.values())) == len(whole)
    assert str(splits["test"].split) == "test"
    recorded = corpus_metadata(whole)["splits"]
    assert {name: set(numbers) for name, numbers in recorded.items()} == subjects
    assert {name: len(data) for name, data in splits.items()} == corpus_metadata(whole)["rows"]


def test_only_the_split_asked_for_is_rendered(whole, tmp_path):
    test = small(tmp_path, split="test")
    (folder,) = folders(tmp_path)
    assert [file.name for file in folder.glob("*.parquet")] == ["test-00000-of-00001.parquet"]
    rows = by_sequence(test)
    assert all(by_sequence(whole)[key] == value for key, value in rows.items())
    assert by_sequence(small(tmp_path)) == by_sequence(whole)


def test_processes_make_no_difference(whole, tmp_path):
    assert by_sequence(small(tmp_path, num_proc=3)) == by_sequence(whole)


def test_subjects_do_not_depend_on_how_many_there_are(whole, tmp_path):
    more = by_sequence(small(tmp_path, subjects=5))
    assert all(more[key] == value for key, value in by_sequence(whole).items())


@pytest.mark.parametrize("rows_per_task", [1, 5, 7])
def test_where_a_subject_is_cut_makes_no_difference(whole, tmp_path, stub, rows_per_task):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ict_facekit, "ROWS_PER_TASK", rows_per_task)
        cut = small(tmp_path)
    assert cut["sequence_id"] == whole["sequence_id"] and by_sequence(cut) == by_sequence(whole)


def test_seed_decides(cache, whole, tmp_path):
    np.testing.assert_array_equal(pixels(small(tmp_path)), pixels(whole))
    other = by_sequence(small(tmp_path, seed=1))
    assert all(other[key][0] != value[0] for key, value in by_sequence(whole).items())


def test_images_are_kept_without_loss(whole):
    drawn = []

    class Recorder(StubRenderer):
        def render(self, *arguments):
            drawn.append(super().render(*arguments))
            return drawn[-1]

    columns = ict_facekit.render_rows(Recorder(None), corpus_metadata(whole)["options"], (2, 4, 8))
    kept = [np.asarray(Image.open(io.BytesIO(image["bytes"]))) for image in columns["image"]]
    np.testing.assert_array_equal(kept, np.concatenate([faces.images for faces in drawn]))


def test_every_frame_has_its_own_nuisance(whole):
    seen = []

    class Recorder(StubRenderer):
        def render(self, person, nuisances, sides, image_size):
            seen.extend(map(repr, nuisances))
            return super().render(person, nuisances, sides, image_size)

    ict_facekit.render_rows(Recorder(None), corpus_metadata(whole)["options"], (2, 0, 24))
    assert len(seen) == len(set(seen)) == 24


def test_variation_reaches_the_renderer(cache, whole, tmp_path):
    everything = {field.name: True for field in fields(Variation)}
    assert corpus_metadata(whole)["options"]["variation"] == everything
    plain = small(tmp_path, variation={"noise": False})
    assert corpus_metadata(plain)["options"]["variation"] == {**everything, "noise": False}
    assert by_sequence(plain).keys() == by_sequence(whole).keys()
    assert not (pixels(plain) == pixels(whole)).all(axis=(1, 2, 3)).any()
    np.testing.assert_array_equal(pixels(small(cache, variation={"noise": True})), pixels(whole))


def test_the_cache_is_used_and_options_are_told_apart(whole, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ict_facekit, "render_rows", None)
        np.testing.assert_array_equal(pixels(small(cache)), pixels(whole))
        changes = [{"purity": 0.5}, {"off_script": 0.2}, {"frames": 4}, {"image_size": 33}, {"seed": 2}]
        for option in [*changes, {"variation": {"pose": False}}, {"root": "another model"}]:
            with pytest.raises(TypeError):  # has to render
                small(cache, **option)


def folders(cache_dir):
    return [path for path in (cache_dir / "clef-ict_facekit").iterdir() if path.is_dir()]


def test_a_render_that_dies_goes_on_where_it_was(tmp_path, whole):
    calls = []

    def dies_in_the_last_split(renderer, options, key):
        calls.append(key)
        if len(calls) == 5:  # one to compile, two of the training subjects, one for validation
            raise KeyboardInterrupt
        return real(renderer, options, key)

    real = ict_facekit.render_rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ict_facekit, "render_rows", dies_in_the_last_split)
        with pytest.raises(KeyboardInterrupt):
            small(tmp_path)
        calls.clear()
        np.testing.assert_array_equal(pixels(small(tmp_path)), pixels(whole))
    assert len(calls) == 2  # one to compile, one for the test subject


def test_a_damaged_shard_is_rendered_again(tmp_path, whole):
    small(tmp_path)
    (folder,) = folders(tmp_path)
    shard = folder / "validation-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:500])
    np.testing.assert_array_equal(pixels(small(tmp_path)), pixels(whole))


def test_a_shard_that_is_damaged_within_is_rendered_again(tmp_path, whole, damage_within):
    small(tmp_path)
    (folder,) = folders(tmp_path)
    damage_within(folder / "validation-00000-of-00001.parquet")
    np.testing.assert_array_equal(pixels(small(tmp_path)), pixels(whole))


def test_a_truncated_copy_is_made_anew_without_rendering(tmp_path, whole):
    copy = small(tmp_path, split="test").cache_files[0]["filename"]
    with open(copy, "r+b") as file:
        file.truncate(500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ict_facekit, "render_rows", None)
        assert by_sequence(small(tmp_path, split="test")).items() <= by_sequence(whole).items()


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_complete_corpus_is_read_where_nothing_may_be_written(tmp_path, whole, read_only, monkeypatch):
    monkeypatch.setattr(cache_folders.datasets.config, "HF_DATASETS_CACHE", tmp_path / "elsewhere")
    small(tmp_path / "corpora")
    before = written(tmp_path / "corpora")
    read_only(tmp_path / "corpora")
    np.testing.assert_array_equal(pixels(small(tmp_path / "corpora")), pixels(whole))
    assert written(tmp_path / "corpora") == before
    with pytest.raises(OSError, match="cache folder.*cannot be made .Permission denied.*cache_dir"):
        small(tmp_path / "corpora", seed=1)


def test_a_cache_dir_that_cannot_be_made_is_said(tmp_path, stub):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="the cache folder '.*file.*' cannot be made .*: name another folder"):
        small(tmp_path / "file")


def load_and_report(cache_dir, queue):
    queue.put(pixels(small(cache_dir)).sum())


def test_processes_that_load_at_once_agree(tmp_path, whole):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    loaders = [context.Process(target=load_and_report, args=(tmp_path, queue)) for _ in range(3)]
    for loader in loaders:
        loader.start()
    sums = [queue.get(timeout=60) for _ in loaders]
    for loader in loaders:
        loader.join()
    assert sums == [pixels(whole).sum()] * 3
    assert len(folders(tmp_path)) == 1


def test_metadata(whole):
    metadata = corpus_metadata(whole)
    assert metadata["corpus"] == "ict_facekit" and metadata["crop_recipe"] == "eyes-nose-1"
    assert metadata["action_unit_coding"] == "intensity" and metadata["action_units"] == list(ACTION_UNITS)
    assert metadata["options"]["subjects"] == 4 and metadata["options"]["purity"] == 0.9
    assert metadata["face_model"] == "of model" and "MIT" in metadata["licence"]
    smiles = whole.filter(lambda name: name == "happiness", input_columns="expression")
    assert corpus_metadata(smiles) == metadata == corpus_metadata(whole.select([5, 1]))
    assert json.loads(whole.info.description) == metadata


def test_labels_of_the_corpus(whole):
    labels = action_unit_labels(whole, ["AU12", "AU45"])
    expected = [[row["AU12"] >= 2, row["AU45"] >= 2] for row in whole["action_units"]]
    np.testing.assert_array_equal(labels, np.array(expected, dtype=np.float32))


def test_the_cache_does_not_outlive_the_code_that_drew_it():
    """Whatever a fingerprinted file imports of this folder decides what faces look like, and is fingerprinted too."""
    files = {file.stem: file for file in ict_facekit.source_files()}
    for file in files.values():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("processing.corpora"):
                names = [node.module.rpartition(".")[2]]
                if node.module == "processing.corpora":
                    names = [alias.name for alias in node.names]
                assert set(names) <= set(files), f"{file.name} imports {names}"


def test_other_code_is_another_corpus(tmp_path, monkeypatch):
    file = tmp_path / "ict_faces.py"
    monkeypatch.setattr(ict_facekit, "source_files", lambda: [file])
    fingerprints = set()
    for content in ("one", "other", "one"):
        file.write_text(content)
        fingerprints.add(ict_facekit._fingerprint({"seed": 0}, "model"))
    assert len(fingerprints) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subjects": 2}, "subjects is 2; expected a whole number from 3"),
        ({"frames": 0}, "frames is 0"),
        ({"image_size": 31}, "image_size is 31; expected a whole number from 32 to 512"),
        ({"image_size": 513}, "image_size is 513"),
        ({"seed": -1}, "seed is -1"),
        ({"purity": 1.5}, "purity is 1.5"),
        ({"off_script": -0.1}, "off_script is -0.1"),
        ({"num_proc": 0}, "num_proc is 0"),
        ({"split": "dev"}, "split is 'dev'; expected one of 'train', 'validation', 'test'"),
        ({"variation": {"beards": False}}, "variation: got {'beards': False}; expected .*pose"),
        ({"variation": {"pose": 0}}, "variation: got {'pose': 0}; expected true or false"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        small(tmp_path, **options)


def test_unknown_options_and_corpora_are_refused():
    with pytest.raises(TypeError, match="subject"):
        load_corpus("ict_facekit", subject=3)
    with pytest.raises(ValueError, match="no corpus 'ictfacekit'; there are: 'synthetic', 'ict_facekit'"):
        load_corpus("ictfacekit")


@pytest.fixture
def real(stub, monkeypatch):
    """The real renderer and the real reader of its face model."""
    monkeypatch.setattr(ict_facekit, "FaceRenderer", FaceRenderer)
    monkeypatch.setattr(ict_facekit, "load_face_model", load_face_model)


def test_a_missing_face_model_says_where_it_is(real, tmp_path, monkeypatch):
    monkeypatch.delenv("CLEF_ICT_FACEKIT", raising=False)
    for root in (None, str(tmp_path / "nowhere")):
        with pytest.raises(FileNotFoundError, match="ICT-VGL/ICT-FaceKit on GitHub.*MIT.*CLEF_ICT_FACEKIT"):
            load_corpus("ict_facekit", root=root)


@needs_data
def test_rendered_faces_do_not_depend_on_processes_and_pieces(real, tmp_path, monkeypatch):
    options = {"root": str(NPZ), "subjects": 3, "frames": 2, "split": "test", "image_size": 48}
    one = small(tmp_path / "one", **options)
    monkeypatch.setattr(ict_facekit, "ROWS_PER_TASK", 5)
    two = small(tmp_path / "two", num_proc=2, **options)
    assert by_sequence(one) == by_sequence(two)
    images = pixels(one).astype(float)
    assert images.shape == (16, 48, 48, 3)
    assert images.std(axis=(1, 2, 3)).min() > 10 and len(np.unique(images, axis=0)) == 16
    intensities = np.array([list(row.values()) for row in one["action_units"]])
    assert intensities.min() >= 0 and intensities.max() <= 5 and intensities.max() > 1
