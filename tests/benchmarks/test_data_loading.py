import pytest

from benchmarks import data_loading, pretrain_step
from benchmarks.pretrain_step import Case
from processing.augmentation_clef import PRESETS

SIZE = 32


@pytest.fixture(autouse=True)
def small(tiny_towers, monkeypatch):
    cases = [Case("small tower", 4, SIZE, *tiny_towers["small tower"], 40, True, 1)]
    for module in (pretrain_step, data_loading):
        monkeypatch.setattr(module, "cases", lambda: cases)
    monkeypatch.setattr(data_loading, "SIDES", (32, 64))


def test_the_result_has_decoders_records_and_feeding(written, check_ratio):
    sizes = ("--subjects", 3, "--image-size", 32, "--batch", 4, "--steps", 2, "--rounds", 1)
    result = written(data_loading.main, *sizes)
    kinds = [(one["format"], one["side"]) for one in result["decoders"]]
    assert kinds == [(suffix, side) for side in (32, 64) for suffix in ("png", "webp", "jpg")]
    for one in result["decoders"]:
        assert one["milliseconds"].keys() >= {"Pillow", "reader"} and min(one["milliseconds"].values()) > 0
    assert [one["augmentation"] for one in result["records"]] == list(PRESETS)
    for one in result["records"]:
        assert len(one["records_a_second"]) == 3
        check_ratio(one["time_over_decoding"])
    for one in result["feeding"]:
        assert one["records_a_second"].keys() == {"fed", "alone"} and one["workers"] == 1
        assert 0 <= one["share_of_time_waiting"] < 1
        check_ratio(one["time_over_steps_alone"])


def test_decoding_on_the_way_gives_what_was_decoded_before(tmp_path):
    corpus = data_loading.load_corpus("synthetic", subjects=3, frames=1, image_size=32, cache_dir=tmp_path)
    records = data_loading.Records(corpus, 6, SIZE, "mild")
    assert records.decoded_before.crops is not None and records.decoded_on_the_way.crops is None
    assert (records.decode() == records.decoded_before.read(list(range(6)))[0]).all()
    batch = next(records.batches(1, 0))
    assert batch.keys() >= {"pixel_values", "activity_ids"} and batch["pixel_values"].shape == (6, 2, 3, SIZE, SIZE)
