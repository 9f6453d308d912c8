import io

import datasets
import numpy as np
import PIL.features
import pytest
import torch
from PIL import Image

from processing import CLEFImageProcessor, CLEFProcessor, FaceAugmentation
from processing.corpora import load_corpus
from train_scripts.augmentation import RampedAugmentation
from train_scripts.data import (
    ClassificationCollator,
    Draws,
    FaceCrops,
    PretrainingCollator,
    activity_vocabulary,
    adopt_crop_recipe,
    choose_labelled,
    make_loader,
)
from train_scripts.sampling import ATTEMPTS, FaceBatchSampler
from train_scripts.towers import tiny_tokenizer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return load_corpus("synthetic", subjects=3, frames=2, image_size=32, cache_dir=tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def processor():
    size = {"height": 32, "width": 32}
    return CLEFProcessor(CLEFImageProcessor(size=size, per_image_normalization=True), tiny_tokenizer())


def pretraining_batches(*arguments, **keywords):
    return list(pretraining_loader(*arguments, **keywords))


def pretraining_loader(corpus, processor, workers, start_step=0, device=None):
    names, ids = activity_vocabulary(corpus)
    augment = RampedAugmentation(FaceAugmentation(seed=3), total_steps=9, ramp=0.8)
    collator = PretrainingCollator(processor, augment, ids, processor(activities=names))
    sampler = FaceBatchSampler(len(corpus), 8, 9, seed=1, start_step=start_step)
    return make_loader(FaceCrops(corpus, processor), sampler, collator, workers, device)


def labelled_batches(corpus, processor, workers=0, start_step=0, balanced=True, device=None):
    """Unaugmented, with row numbers as labels."""
    _, ids = activity_vocabulary(corpus)
    labels = np.arange(len(corpus), dtype=np.float32)[:, None]
    collator = ClassificationCollator(processor, RampedAugmentation(FaceAugmentation(), full=0.0), labels)
    groups = {"activities": ids, "subjects": np.array(corpus["subject_id"][:])} if balanced else {}
    sampler = FaceBatchSampler(len(corpus), 8, 9, seed=1, start_step=start_step, **groups)
    return list(make_loader(FaceCrops(corpus, processor), sampler, collator, workers, device))


def spoiled(corpus, *broken):
    """The corpus with images cut off in these rows."""

    def spoil(row, index):
        if index in broken:
            row["image"]["bytes"] = row["image"]["bytes"][: 40 + index]
        return row

    raw = corpus.cast_column("image", datasets.Image(decode=False))
    return raw.map(spoil, with_indices=True, features=raw.features).cast(corpus.features)


def test_a_run_is_the_same_for_any_number_of_workers(corpus, processor):
    alone, together = (pretraining_batches(corpus, processor, workers) for workers in (0, 2))
    for a, b in zip(alone, together, strict=True):
        assert a.keys() == b.keys()
        assert a.pop("corrupt") == b.pop("corrupt") == []
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_goes_on_with_the_strength_it_had(corpus, processor):
    whole, later = pretraining_batches(corpus, processor, 0), pretraining_batches(corpus, processor, 2, start_step=5)
    for a, b in zip(whole[5:], later, strict=True):
        assert torch.equal(a["pixel_values"], b["pixel_values"])


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_batches_draw_no_random_numbers_once_they_have_begun(corpus, processor, device):
    """A resumed run restores its generator at that moment, and dropout draws from it."""
    batches = iter(pretraining_loader(corpus, processor, 0, device=device))
    before = torch.get_rng_state()
    next(batches)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_processor_takes_on_the_crops_of_its_corpus(corpus):
    processor = CLEFProcessor(CLEFImageProcessor(), tiny_tokenizer())
    assert processor.image_processor.crop_recipe != "synthetic-1"
    adopt_crop_recipe(processor, corpus)
    assert processor.image_processor.crop_recipe == "synthetic-1"


def test_texts_come_once_an_activity_and_name_it(corpus, processor):
    names, _ = activity_vocabulary(corpus)
    texts = processor(activities=names)
    for batch in pretraining_batches(corpus, processor, 0):
        assert sorted(batch["text_activity_ids"].tolist()) == sorted(set(batch["activity_ids"].tolist()))
        assert torch.equal(batch["input_ids"], texts["input_ids"][batch["text_activity_ids"]])
        assert batch["pixel_values"].shape == (8, 2, 3, 32, 32)


def test_without_augmentation_a_batch_is_what_the_processor_gives(corpus, processor):
    labels = np.zeros((len(corpus), 1), dtype=np.float32)
    collator = ClassificationCollator(processor, RampedAugmentation(FaceAugmentation(), full=0.0), labels)
    draws = Draws(FaceCrops(corpus, processor), FaceBatchSampler(len(corpus), 2, 1))
    batch = collator(draws.__getitems__([(0, 5, 0), (0, 2, 0)]))
    expected = processor(images=[corpus[5]["image"], corpus[2]["image"]])["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"], expected, rtol=0, atol=2e-5)


def test_crops_too_large_for_memory_are_decoded_on_the_way(corpus, processor, monkeypatch):
    kept = FaceCrops(corpus, processor)
    monkeypatch.setattr("train_scripts.data.IN_MEMORY_SHARE", 0)
    streamed = FaceCrops(corpus, processor)
    assert kept.crops is not None and streamed.crops is None
    assert torch.equal(kept.read([7, 0])[0], streamed.read([7, 0])[0])


@pytest.mark.parametrize("side", [32, 40])
def test_crops_are_what_the_processor_makes_of_them(side, processor):
    """Also grey ones and those that lie on their side, whether they have the network's size or not."""
    random, files = np.random.default_rng(0), []
    for mode, orientation in (("RGB", 1), ("L", 1), ("RGB", 6), ("RGB", 3)):
        shape = (side, side, 3) if mode == "RGB" else (side, side)
        image, file = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)), io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(file, "PNG", exif=exif)
        files.append({"bytes": file.getvalue(), "path": None})
    features = datasets.Features({"image": datasets.Image(decode=True)})
    corpus = datasets.Dataset.from_dict({"image": files}, features=features)
    expected = processor.image_processor([row["image"] for row in corpus], do_rescale=False, do_normalize=False)
    crops, corrupt = FaceCrops(corpus, processor).read([0, 1, 2, 3])
    assert crops.dtype == torch.uint8 and not corrupt
    assert np.array_equal(crops.numpy(), np.stack(expected["pixel_values"]).round())


def test_any_number_of_processes_decodes_the_same_crops(corpus, processor):
    whole = spoiled(datasets.concatenate_datasets([corpus] * 20), 5, 600)
    alone, together = (FaceCrops(whole, processor, workers) for workers in (0, 2))
    assert len(whole) > 512 and sorted(alone.corrupt) == [5, 600]
    assert torch.equal(alone.crops, together.crops) and alone.corrupt == together.corrupt


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
def test_whatever_its_format_a_damaged_file_is_a_corrupt_image(processor, suffix):
    if suffix == "AVIF" and not PIL.features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    file, random = io.BytesIO(), np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(file, suffix)
    whole, files = file.getvalue(), []
    for _ in range(40):
        content = bytearray(whole)
        for place in random.integers(0, len(content), 8):
            content[place] = random.integers(256)
        files += [{"bytes": bytes(content), "path": None}, {"bytes": whole[: len(whole) // 8], "path": None}]
    files.append({"bytes": whole, "path": None})
    features = datasets.Features({"image": datasets.Image(decode=True)})
    crops = FaceCrops(datasets.Dataset.from_dict({"image": files}, features=features), processor)
    assert set(range(1, 80, 2)) <= crops.corrupt.keys() and 80 not in crops.corrupt


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_corrupt_image_is_counted_and_another_draw_takes_its_place(corpus, processor, monkeypatch, in_memory):
    if not in_memory:
        monkeypatch.setattr("train_scripts.data.IN_MEMORY_SHARE", 0)
    broken = {3, 17}
    _, ids = activity_vocabulary(corpus)
    whole, replaced = (labelled_batches(c, processor) for c in (corpus, spoiled(corpus, *broken)))
    drawn = [row for batch in whole for row in batch["rows"].tolist() if row in broken]
    assert set(drawn) == broken, "the sampler has to draw the broken rows for this test to show anything"
    assert [row for batch in replaced for row, _ in batch["corrupt"]] == drawn
    assert all(reason for batch in replaced for _, reason in batch["corrupt"])
    seen = 0
    for before, after in zip(whole, replaced, strict=True):
        rows = after["rows"].tolist()
        expected = processor(images=[corpus[row]["image"] for row in rows])["pixel_values"]
        torch.testing.assert_close(after["pixel_values"], expected, rtol=0, atol=2e-5)
        assert after["labels"][:, 0].tolist() == rows
        for old, new in zip(before["rows"].tolist(), rows, strict=True):
            assert new not in broken and ids[new] == ids[old]
            assert new == old or old in broken
            seen += new != old
    assert seen == len(drawn)


def test_replacements_depend_on_neither_workers_memory_nor_a_resume(corpus, processor, monkeypatch):
    broken = spoiled(corpus, *range(0, 48, 3))
    alone = labelled_batches(broken, processor, balanced=False)
    assert len({row for batch in alone for row, _ in batch["corrupt"]}) > 5
    together = labelled_batches(broken, processor, workers=2, balanced=False)
    later = labelled_batches(broken, processor, start_step=5, balanced=False)
    monkeypatch.setattr("train_scripts.data.IN_MEMORY_SHARE", 0)
    streamed = labelled_batches(broken, processor, balanced=False)
    for batches, others in ((alone, together), (alone, streamed), (alone[5:], later)):
        for a, b in zip(batches, others, strict=True):
            assert torch.equal(a["rows"], b["rows"]) and torch.equal(a["pixel_values"], b["pixel_values"])
            assert a["corrupt"] == b["corrupt"]


def test_an_activity_of_broken_images_only_is_replaced_by_others(corpus, processor):
    names, ids = activity_vocabulary(corpus)
    broken = spoiled(corpus, *np.flatnonzero(ids == 0))
    batches = labelled_batches(broken, processor)
    assert all(ids[row] != 0 for batch in batches for row in batch["rows"])
    assert len(batches) == 9 and len(names) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_when_the_device_makes_the_views(corpus, processor, workers):
    broken, device = spoiled(corpus, *range(0, 48, 3)), torch.device("cpu")
    for make in (pretraining_batches, labelled_batches):
        expected, found = make(broken, processor, workers=0), make(broken, processor, workers=workers, device=device)
        for a, b in zip(expected, found, strict=True):
            assert a.keys() == b.keys() and a.pop("corrupt") == b.pop("corrupt")
            assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_corpus_without_any_readable_image_is_refused(corpus, processor, monkeypatch):
    broken = spoiled(corpus.select(range(6)), *range(6))
    with pytest.raises(ValueError, match="none of the 6 images can be decoded"):
        FaceCrops(broken, processor)
    monkeypatch.setattr("train_scripts.data.IN_MEMORY_SHARE", 0)
    draws = Draws(FaceCrops(broken, processor), FaceBatchSampler(6, 2, 1))
    with pytest.raises(ValueError, match=rf"row 4 cannot be decoded.*nor those of {ATTEMPTS} other draws"):
        draws.__getitems__([(0, 4, 0), (0, 2, 0)])


@pytest.mark.parametrize("by", ["frame", "subject"])
def test_label_choice_is_seeded_nested_and_of_the_right_size(by):
    subjects = np.repeat([f"S{i}" for i in range(20)], 30)
    small, large = (choose_labelled(subjects, fraction, by, seed=4) for fraction in (0.1, 0.5))
    assert len(small) == 60 and len(large) == 300
    assert set(small) <= set(large)
    assert np.array_equal(small, choose_labelled(subjects, 0.1, by, seed=4))
    assert not np.array_equal(small, choose_labelled(subjects, 0.1, by, seed=5))
    if by == "subject":
        assert len(set(subjects[small])) == 2
