import os
from pathlib import Path

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


@pytest.fixture
def read_only(monkeypatch):
    """A function that makes a folder read-only, for root as well: no folder is made and no lock taken in it."""
    access, mkdir, os_open = os.access, Path.mkdir, os.open

    def make(folder: Path) -> None:
        def inside(path) -> bool:
            return isinstance(path, (str, os.PathLike)) and Path(path).is_relative_to(folder)

        def refusing_mkdir(self, *arguments, **options):
            if inside(self) and not self.is_dir():
                raise PermissionError(13, "Permission denied", str(self))
            mkdir(self, *arguments, **options)

        def refusing_open(path, flags, *arguments, **options):
            if inside(path) and flags & (os.O_WRONLY | os.O_RDWR):
                raise PermissionError(13, "Permission denied", str(path))
            return os_open(path, flags, *arguments, **options)

        monkeypatch.setattr(
            os, "access", lambda path, mode: not (inside(path) and mode & os.W_OK) and access(path, mode)
        )
        monkeypatch.setattr(Path, "mkdir", refusing_mkdir)
        monkeypatch.setattr(os, "open", refusing_open)

    return make


@pytest.fixture
def damage_within():
    """A function that overwrites the beginning of a Parquet file and leaves it its footer."""

    def damage(file: Path, count: int = 200) -> None:
        content = file.read_bytes()
        file.write_bytes(content[:4] + bytes(count) + content[4 + count :])

    return damage
