"""The ICT-FaceKit face model (Li et al., CVPR 2020; MIT licence): a mesh, 100 identity modes, 53 FACS blend shapes.

It is read from the `FaceXModel` folder of the official checkout, or from the same content as one .npz file. Units are
centimetres; x points to the subject's left, y up, z out of the face.
"""

import hashlib
import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from processing.corpora.ict_obj import read_checkout

ROOT_VARIABLE = "CLEF_ICT_FACEKIT"
WHERE_TO_GET = (
    "The face model is the folder FaceXModel of the repository ICT-VGL/ICT-FaceKit on GitHub (MIT licence): clone it "
    f"and give that folder as root=…, or in the environment variable {ROOT_VARIABLE}"
)
# The arrays of the .npz: how many axes, and the type that is kept. 16-bit floats resolve deltas to .001 cm.
_ARRAYS = {
    "neutral": (2, np.float32),
    "expr": (3, np.float16),
    "ident": (3, np.float16),
    "tris": (2, np.int32),
    "mats": (1, np.uint8),
    "uv": (2, np.float16),
    "lmk68": (1, np.int32),
}
_NAMES = ("expr_names", "mat_names")


@dataclass(frozen=True)
class SparseDelta:
    """What a blend shape moves: `indices` (M,) int32 of vertices, `values` (M, 3) float32 in centimetres."""

    indices: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class FaceModel:
    """The face model; arrays are read-only. V vertices, T triangles.

    Attributes:
        neutral: (V, 3) float32, centimetres.
        expression_names: names of the E blend shapes, e.g. "mouthSmile_L".
        expression_deltas: (E, V, 3) float16, what a blend shape at 1 adds to `neutral`.
        identity_modes: (I, V, 3) float16, what an identity coefficient of 1 (one standard deviation) adds.
        triangles: (T, 3) int32 vertex indices, counter-clockwise from outside.
        materials: (T,) uint8 positions in `material_names`.
        material_names: e.g. "M_Face", "M_Teeth".
        uv: (V, 2) float32 texture coordinates, of a vertex on a seam those of its last face.
        landmarks68: (68,) int32 vertex indices of the 68 iBUG landmarks.
        fingerprint: SHA-256 of the content as hex, the same whichever of the two forms it was read from.
    """

    neutral: np.ndarray
    expression_names: tuple[str, ...]
    expression_deltas: np.ndarray
    identity_modes: np.ndarray
    triangles: np.ndarray
    materials: np.ndarray
    material_names: tuple[str, ...]
    uv: np.ndarray
    landmarks68: np.ndarray
    fingerprint: str

    @cached_property
    def dense_expressions(self) -> np.ndarray:
        """(E, V, 3) float32."""
        return self.expression_deltas.astype(np.float32)

    @cached_property
    def sparse_expressions(self) -> dict[str, SparseDelta]:
        """Every blend shape by name, without the vertices that it moves by .001 cm or less."""
        sparse = {}
        for name, deltas in zip(self.expression_names, self.expression_deltas, strict=True):
            values = deltas.astype(np.float32)
            indices = np.flatnonzero(np.linalg.norm(values, axis=1) > 1e-3)
            sparse[name] = SparseDelta(indices.astype(np.int32), values[indices])
        return sparse


def load_face_model(root: str | os.PathLike | None = None, cache_dir: str | os.PathLike | None = None) -> FaceModel:
    """Read the face model.

    Args:
        root: the `FaceXModel` folder of the official checkout (or the checkout), or a .npz with the arrays neutral
            (V, 3), expr (E, V, 3) and ident (I, V, 3) deltas, tris (T, 3), mats (T,), uv (V, 2), lmk68 (68,) and the
            lists expr_names, mat_names. Default: the environment variable CLEF_ICT_FACEKIT.
        cache_dir: where a parsed folder is kept as .npz; default: the datasets library's cache.

    Raises FileNotFoundError when the model or some of its files are missing, ValueError for files that are not it.
    """
    root = root if root is not None else os.environ.get(ROOT_VARIABLE) or None
    if root is None:
        raise FileNotFoundError(f"no face model was given. {WHERE_TO_GET}")
    path = Path(root).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no face model at {str(root)!r}. {WHERE_TO_GET}")
    if path.is_dir():
        if (path / "FaceXModel").is_dir():
            path = path / "FaceXModel"
        arrays = read_checkout(path, WHERE_TO_GET, cache_dir)
    else:
        arrays = _read_npz(path)
    return _face_model(arrays, path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    expected = [*_ARRAYS, *_NAMES]
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in expected if key not in file]
            arrays = {key: file[key] for key in expected if key in file}
    except (ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} is not a .npz file of plain arrays ({error}). {WHERE_TO_GET}") from error
    if missing:
        raise ValueError(f"{path.name} lacks the arrays {missing}; expected {expected}. {WHERE_TO_GET}")
    return arrays


def _face_model(arrays: dict[str, np.ndarray], path: Path) -> FaceModel:
    for key, (axes, dtype) in _ARRAYS.items():
        if arrays[key].ndim != axes or arrays[key].dtype.kind not in "fiu":
            raise ValueError(
                f"{key} of {path.name} is {arrays[key].dtype} {arrays[key].shape}; expected {axes} axes of numbers"
            )
        arrays[key] = np.ascontiguousarray(arrays[key], dtype=dtype)
    names = {key: tuple(str(name) for name in arrays[key]) for key in _NAMES}
    vertices, triangles = len(arrays["neutral"]), len(arrays["tris"])
    shapes = {
        "neutral": (vertices, 3),
        "expr": (len(names["expr_names"]), vertices, 3),
        "ident": (len(arrays["ident"]), vertices, 3),
        "tris": (triangles, 3),
        "mats": (triangles,),
        "uv": (vertices, 2),
        "lmk68": (68,),
    }
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise ValueError(f"{key} of {path.name} has the shape {arrays[key].shape}; expected {shape}")
    for key, bound in (("tris", vertices), ("lmk68", vertices), ("mats", len(names["mat_names"]))):
        if arrays[key].size and not 0 <= arrays[key].min() <= arrays[key].max() < bound:
            raise ValueError(f"{key} of {path.name} holds indices beyond 0..{bound - 1}")
    digest = hashlib.sha256()
    for key in sorted(_ARRAYS):
        digest.update(f"{key} {arrays[key].shape}".encode())
        digest.update(arrays[key].astype(arrays[key].dtype.newbyteorder("<"), copy=False).tobytes())
    digest.update(repr(sorted(names.items())).encode())
    arrays["uv"] = arrays["uv"].astype(np.float32)
    for array in arrays.values():
        array.flags.writeable = False
    return FaceModel(
        neutral=arrays["neutral"],
        expression_names=names["expr_names"],
        expression_deltas=arrays["expr"],
        identity_modes=arrays["ident"],
        triangles=arrays["tris"],
        materials=arrays["mats"],
        material_names=names["mat_names"],
        uv=arrays["uv"],
        landmarks68=arrays["lmk68"],
        fingerprint=digest.hexdigest(),
    )
