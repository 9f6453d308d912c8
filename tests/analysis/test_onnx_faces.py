"""YuNet in ONNX Runtime against OpenCV's own: the same faces, points and scores, whatever the picture's size."""

import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2", reason="needs opencv-python-headless")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnx", reason="needs the extra onnx")

import onnx

from analysis import analyze
from analysis.onnx_faces import OUTPUTS, OnnxYuNetDetector
from processing.face_detection_clef import YuNetDetector


@pytest.fixture(scope="module")
def crowd(test_data):
    """Six people side by side in two rows, at two sizes."""
    files = sorted((test_data / "london").glob("*.jpg"))[:6]
    if len(files) < 6:
        pytest.skip("needs london/*.jpg in CLEF_TEST_DATA")
    sides = (210, 150)
    picture = Image.new("RGB", (3 * sides[0], sum(sides)), (90, 110, 100))
    for number, file in enumerate(files):
        row, column = divmod(number, 3)
        face = Image.open(file).convert("RGB").resize((sides[row], sides[row]))
        picture.paste(face, (column * sides[0], row * sides[0]))
    return picture


def values(face):
    return np.concatenate([face.box, face.points.ravel(), [face.score]])


@pytest.mark.parametrize("longest_side", (320, 480, 640))
def test_the_faces_are_those_that_opencv_finds(yunet_file, crowd, longest_side):
    here, there = (kind(yunet_file, longest_side=longest_side) for kind in (OnnxYuNetDetector, YuNetDetector))
    here._network = here._network_of_parts = None  # OpenCV's own
    # Sides that are no multiples of 32, upright and lying; one picture after the other through the same detector.
    pictures = [crowd, crowd.resize((611, 350)), crowd.crop((0, 0, 215, 360)), crowd.crop((0, 0, 33, 40))]
    pictures[3:3] = [crowd.rotate(angle, expand=True) for angle in (90, 180)]
    found = [(here.detect(picture), there.detect(picture)) for picture in pictures]
    assert [len(ours) for ours, _ in found] == [len(theirs) for _, theirs in found]
    assert len(found[0][0]) == 6 and not found[-1][0]
    for ours, theirs in found:
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(values(one), values(other), atol=1e-2)


def test_overlapping_candidates_are_thinned_out_as_opencv_does(yunet_file, crowd):
    # At so low a threshold there are candidates that overlap by all degrees, most of them no faces.
    here, there = (kind(yunet_file, 0.01) for kind in (OnnxYuNetDetector, YuNetDetector))
    picture = np.ascontiguousarray(np.asarray(crowd)[..., ::-1])
    ours, theirs = (rows[rows[:, 14].argsort()] for rows in (here._rows(picture), there._rows(picture)))
    assert len(ours) == len(theirs) > 20
    np.testing.assert_allclose(ours, theirs, atol=1e-2)


def test_an_analysis_with_the_onnx_backend_looks_for_faces_with_it(yunet_file, crowd, tmp_path):
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    crowd.save(tmp_path / "crowd.png")
    found = {
        backend: analyze(tmp_path / "crowd.png", detector=str(yunet_file), device="cpu", backend=backend)
        for backend in ("torch", "onnx")
    }
    assert found["torch"].metadata["detector"]["name"] == "YuNetDetector"
    assert found["onnx"].metadata["detector"]["name"] == "OnnxYuNetDetector"
    rows = {backend: list(analysis) for backend, analysis in found.items()}
    assert len(rows["torch"]) == len(rows["onnx"]) == 6
    for one, other in zip(rows["torch"], rows["onnx"], strict=True):
        assert one["AU12_probability"] == pytest.approx(other["AU12_probability"], abs=0.01)


def test_another_network_is_refused(yunet_file, tmp_path):
    model = onnx.load(yunet_file)
    kept = [output for output in model.graph.output if output.name != OUTPUTS[0]]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="expected those of YuNet"):
        OnnxYuNetDetector(tmp_path / "other.onnx")


def test_a_missing_package_is_named(yunet_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"clef-faces\[onnx\]"):
        OnnxYuNetDetector(yunet_file)
