import os
from pathlib import Path

# Tests never touch the network, and small tensors are fastest on one thread.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def test_data():
    """Folder of material that is not part of the project: `CLEF_TEST_DATA`, else `../shared/data`."""
    folder = Path(os.environ.get("CLEF_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the folder {folder.name!r} of test data; name it in CLEF_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def yunet_file(test_data):
    """YuNet's weights."""
    path = test_data / "weights" / "face_detection_yunet.onnx"
    if not path.is_file():
        pytest.skip("needs weights/face_detection_yunet.onnx in CLEF_TEST_DATA")
    return path


@pytest.fixture(scope="session")
def face_model_root(test_data):
    """The compact ICT-FaceKit model."""
    path = test_data / "ict_facekit" / "ict_face_model_light.npz"
    if not path.is_file():
        pytest.skip("needs ict_facekit in CLEF_TEST_DATA")
    return path
