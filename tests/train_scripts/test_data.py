import numpy as np
import pytest
import torch

from processing import CLEFImageProcessor, CLEFProcessor, FaceAugmentation
from processing.corpora import load_corpus
from train_scripts.augmentation import RampedAugmentation
from train_scripts.data import (
    ClassificationCollator,
    FaceCrops,
    PretrainingCollator,
    activity_vocabulary,
    adopt_crop_recipe,
    choose_labelled,
    make_loader,
)
from train_scripts.sampling import FaceBatchSampler
from train_scripts.towers import tiny_tokenizer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return load_corpus("synthetic", subjects=3, frames=2, image_size=32, cache_dir=tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def processor():
    size = {"height": 32, "width": 32}
    return CLEFProcessor(CLEFImageProcessor(size=size, per_image_normalization=True), tiny_tokenizer())


def pretraining_batches(corpus, processor, workers, start_step=0):
    names, ids = activity_vocabulary(corpus)
    augment = RampedAugmentation(FaceAugmentation(seed=3), total_steps=9, ramp=0.8)
    collator = PretrainingCollator(processor, augment, ids, processor(activities=names))
    sampler = FaceBatchSampler(len(corpus), 8, 9, seed=1, start_step=start_step)
    return list(make_loader(FaceCrops(corpus, processor), sampler, collator, workers))


def test_a_run_is_the_same_for_any_number_of_workers(corpus, processor):
    alone, together = (pretraining_batches(corpus, processor, workers) for workers in (0, 2))
    for a, b in zip(alone, together, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_goes_on_with_the_strength_it_had(corpus, processor):
    whole, later = pretraining_batches(corpus, processor, 0), pretraining_batches(corpus, processor, 2, start_step=5)
    for a, b in zip(whole[5:], later, strict=True):
        assert torch.equal(a["pixel_values"], b["pixel_values"])


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
    batch = collator(FaceCrops(corpus, processor).__getitems__([(0, 5, 0), (0, 2, 0)]))
    expected = processor(images=[corpus[5]["image"], corpus[2]["image"]])["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"], expected, rtol=0, atol=2e-5)


def test_crops_too_large_for_memory_are_decoded_on_the_way(corpus, processor, monkeypatch):
    kept = FaceCrops(corpus, processor)
    monkeypatch.setattr("train_scripts.data.IN_MEMORY_BYTES", 10)
    streamed = FaceCrops(corpus, processor)
    assert kept.crops is not None and streamed.crops is None
    keys = [(0, 7, 4), (0, 0, 4)]
    assert torch.equal(kept.__getitems__(keys)["crops"], streamed.__getitems__(keys)["crops"])


def test_a_corrupt_image_is_named(corpus, processor):
    def spoil(row, index):
        if index == 3:
            row["image"]["bytes"] = row["image"]["bytes"][:40]
        return row

    import datasets

    features = corpus.features
    raw = corpus.cast_column("image", datasets.Image(decode=False))
    spoiled = raw.map(spoil, with_indices=True, features=raw.features).cast(features)
    with pytest.raises(ValueError, match="cannot be decoded"):
        FaceCrops(spoiled, processor)


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
