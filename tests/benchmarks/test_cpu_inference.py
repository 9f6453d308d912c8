import pytest

pytest.importorskip("cv2", reason="needs opencv-python-headless")

from benchmarks import cpu_inference

FAST = ("channels last", "channels last, bf16 autocast", "channels last, bf16 weights", "analysis")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(cpu_inference, "MEASURED_IMAGES", 1)
    monkeypatch.setattr(cpu_inference, "BATCHES", (1, 2))
    monkeypatch.setattr(cpu_inference, "available_cores", lambda: 1)


def test_the_result_compares_each_way_with_eager(written, check_ratio):
    result = written(cpu_inference.main, "--rounds", 1, "--ways", *FAST)
    (one,) = result["threads"]
    assert one["threads"] == 1 and not one["left_out"]
    assert [batch["batch"] for batch in one["batches"]] == [1, 2]
    for batch in one["batches"]:
        assert list(batch["speed_over_eager"]) == ["eager", *FAST]
        for speed in batch["speed_over_eager"].values():
            check_ratio(speed)
        difference = batch["largest_logit_difference"]
        assert difference["eager"] == 0
        for way in ("channels last", "analysis"):
            assert difference[way] < 1e-3
        assert 1e-3 < difference["channels last, bf16 autocast"] < 0.5  # another arithmetic indeed


@pytest.mark.parametrize(("way", "package"), [("onnx", "onnxruntime"), ("OpenVINO", "openvino")])
def test_exported_networks_say_what_eager_says(written, way, package):
    pytest.importorskip(package, reason=f"needs {package}")
    result = written(cpu_inference.main, "--rounds", 1, "--ways", way)
    (one,) = result["threads"]
    assert not one["left_out"]
    assert all(batch["largest_logit_difference"][way] < 1e-3 for batch in one["batches"])


def test_a_way_that_cannot_be_prepared_is_named_with_its_reason(written, monkeypatch):
    def broken(way, *arguments):
        if way == "channels last":
            raise ImportError("no such package")
        return prepare(way, *arguments)

    prepare = cpu_inference.prepare
    monkeypatch.setattr(cpu_inference, "prepare", broken)
    result = written(cpu_inference.main, "--rounds", 1, "--ways", "channels last")
    assert result["threads"][0]["left_out"] == {"channels last": "ImportError: no such package"}
    assert list(result["threads"][0]["batches"][0]["images_a_second"]) == ["eager"]
