"""ONNX Runtime against torch: the same logits for any batch, from any thread; what stands in the way is said."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("cv2", reason="needs opencv-python-headless")

from analysis import analyze, onnx_network
from analysis.model import load_classifier
from analysis.onnx_network import OnnxNetwork


@pytest.fixture(scope="module")
def both():
    """The shipped checkpoint behind both backends."""
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    return load_classifier(device="cpu"), load_classifier(backend="onnx")


def test_logits_agree_with_eager_for_any_batch_size(both):
    plain, fast = both
    for count in (1, 2, 16, 33):
        pixels = torch.randn(count, 3, plain.crop_size, plain.crop_size, generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            expected = plain.model(pixel_values=pixels).logits
        assert expected.std() > 0.1
        torch.testing.assert_close(fast.network(pixels), expected, rtol=0, atol=1e-3)


def test_probabilities_agree_and_threads_do_not_disturb_each_other(both):
    plain, fast = both
    crops = np.random.default_rng(0).integers(0, 256, (24, plain.crop_size, plain.crop_size, 3), dtype=np.uint8)
    expected = plain.probabilities(crops)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fast.probabilities, np.split(crops, 12)))
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-4)
    assert fast.probabilities(crops[:0]).shape == (0, len(plain.labels))


def test_an_analysis_says_what_ran_it(both, detector, tmp_path, make_block_picture, monkeypatch):
    monkeypatch.setattr("analysis.run.load_classifier", lambda *arguments: both[arguments[3] == "onnx"])
    path = tmp_path / "two.png"
    Image.fromarray(make_block_picture(red=(10, 20), blue=(90, 30))).save(path)
    found = {name: analyze(path, detector=detector, device="cpu", backend=name) for name in ("torch", "onnx")}
    rows = {name: list(analysis) for name, analysis in found.items()}
    assert len(rows["onnx"]) == len(rows["torch"]) == 2
    for one, other in zip(rows["torch"], rows["onnx"], strict=True):
        assert one["AU12_probability"] == pytest.approx(other["AU12_probability"], abs=1e-4)
    assert [found[name].metadata["run"]["backend"] for name in found] == ["torch", "onnx"]


def test_an_export_that_differs_is_refused(both, monkeypatch):
    run = onnx_network.OnnxNetwork.__call__
    monkeypatch.setattr(onnx_network.OnnxNetwork, "__call__", lambda self, pixels: run(self, pixels) + 2e-3)
    with pytest.raises(RuntimeError, match="differ by 0.002"):
        both[1].network._check(both[0].model, both[0].crop_size, both[0].crop_size)


def test_a_model_elsewhere_and_an_unknown_backend_are_refused():
    with pytest.raises(ValueError, match="runs on the processor, got a model on meta"):
        OnnxNetwork(torch.nn.Linear(1, 1, device="meta"), 8, 8)
    with pytest.raises(ValueError, match="expected one of torch, onnx"):
        load_classifier(backend="tensorflow")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"clef-faces\[onnx\]"):
        OnnxNetwork(torch.nn.Linear(1, 1), 8, 8)
