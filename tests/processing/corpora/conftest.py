import pytest


@pytest.fixture(scope="session")
def face_model(face_model_root):
    """The ICT-FaceKit face model itself: only it has the parts, shapes and landmarks that a renderer needs."""
    from processing.corpora.ict_model import load_face_model

    return load_face_model(face_model_root)


@pytest.fixture(scope="session")
def renderer(face_model):
    pytest.importorskip("numba")
    from processing.corpora.ict_faces import FaceRenderer

    return FaceRenderer(face_model)
