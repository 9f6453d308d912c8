from types import SimpleNamespace

import pytest

pytest.importorskip("av", reason="needs the extra 'analysis'")
pytest.importorskip("cv2", reason="needs the extra 'analysis'")

from benchmarks import video
from benchmarks.video import Timing


@pytest.fixture
def inputs(test_data, face_model_root, monkeypatch):
    yunet = test_data / "weights" / "face_detection_yunet.onnx"
    if not yunet.is_file():
        pytest.skip("needs YuNet's file in CLEF_TEST_DATA")
    monkeypatch.setenv("CLEF_YUNET", str(yunet))
    return face_model_root


def test_the_result_has_the_whole_and_every_part(inputs, written, tmp_path):
    size = ("--frames", 20, "--distinct", 4, "--rounds", 1, "--threads", 2)
    result = written(video.main, "--root", inputs, "--clips", tmp_path / "clips", *size)
    assert result["backend"] == "torch" and result["clip"]["frames"] == 20
    for faces, clip in zip((1, 3), result["clips"], strict=True):
        assert clip["faces"] == clip["faces_found_a_frame"] == faces
        parts = {f"{name}, {count}" for name in ("face finding", "encoding") for count in ("1 thread", "2 threads")}
        assert clip["frames_a_second"].keys() == parts | {"end to end", "decoding", "writing"}
        assert min(clip["frames_a_second"].values()) > 0
        assert clip["slowest_part"] in clip["frames_a_second"].keys() - {"end to end"}
    memory = result["peak_memory_mb"]
    assert memory["ratio"] == pytest.approx(memory["20 frames"] / memory["2 frames"])


def test_shares_are_of_the_slowest_part_and_of_what_the_cores_allow(monkeypatch, tmp_path):
    """On two cores: 8 + 2 + 1 + 1 ms of processor time a frame allow 2 / 12 ms, and face finding alone 2 / 8 ms."""
    timings = {
        "end to end": Timing(150.0, 12.5),
        "decoding": Timing(1000.0, 1.0),
        "face finding, 1 thread": Timing(125.0, 8.0),
        "face finding, 2 threads": Timing(240.0, 8.0),
        "encoding, 1 thread": Timing(500.0, 2.0),
        "encoding, 2 threads": Timing(900.0, 2.0),
        "writing": Timing(1000.0, 1.0),
    }
    monkeypatch.setattr(video, "available_cores", lambda: 2)
    monkeypatch.setattr(video, "analysis_of", lambda *arguments: None)
    monkeypatch.setattr(video, "Parts", lambda *arguments: SimpleNamespace(faces=[1, 1]))
    monkeypatch.setattr(video, "one_round", lambda *arguments: timings)
    found = video.measure(tmp_path, 1, 100, 2, "torch", 3, tmp_path)
    assert found["slowest_part"] == "face finding, 2 threads"
    assert found["share_of_slowest_part"] == pytest.approx(150 / 240)
    assert found["largest_share_the_cores_allow"] == pytest.approx(8 / 12)
    assert found["slowest_part_in_one_thread"] == "face finding, 1 thread"
    assert found["share_of_slowest_part_in_one_thread"] == pytest.approx(150 / 125)
    assert found["frames_a_second_the_cores_allow"] == pytest.approx(2000 / 12)
    assert found["share_of_what_the_cores_allow"] == pytest.approx(150 * 12 / 2000)
    assert found["processor_time_of_parts_over_whole"] == pytest.approx(12 / 12.5)
    # A part that runs in one thread leaves the other core to the rest: 10 of 21 ms, which take two cores 10.5.
    timings["decoding"] = Timing(100.0, 10.0)
    found = video.measure(tmp_path, 1, 100, 2, "torch", 3, tmp_path)
    assert found["slowest_part"] == found["slowest_part_in_one_thread"] == "decoding"
    assert found["largest_share_the_cores_allow"] == pytest.approx(2 * 10 / 21)
