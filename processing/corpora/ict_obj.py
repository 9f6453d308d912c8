"""Reads ICT-FaceKit's official checkout: one Wavefront OBJ file for every shape of the face."""

import hashlib
import json
import os
import secrets
from pathlib import Path

import numpy as np

from processing.corpora.cache_folders import cache_root, make_cache_folder

NEUTRAL = "generic_neutral_mesh.obj"
INDICES = "vertex_indices.json"
IDENTITIES = 100
# The expressions of vertex_indices.json, here as well so that a checkout without that file can be told what it lacks.
EXPRESSIONS = (
    *("browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R"),
    *("cheekPuff_L", "cheekPuff_R", "cheekSquint_L", "cheekSquint_R", "eyeBlink_L", "eyeBlink_R"),
    *("eyeLookDown_L", "eyeLookDown_R", "eyeLookIn_L", "eyeLookIn_R", "eyeLookOut_L", "eyeLookOut_R"),
    *("eyeLookUp_L", "eyeLookUp_R", "eyeSquint_L", "eyeSquint_R", "eyeWide_L", "eyeWide_R"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimple_L", "mouthDimple_R"),
    *("mouthFrown_L", "mouthFrown_R", "mouthFunnel", "mouthLeft", "mouthLowerDown_L", "mouthLowerDown_R"),
    *("mouthPress_L", "mouthPress_R", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper", "mouthSmile_L", "mouthSmile_R", "mouthStretch_L", "mouthStretch_R"),
    *("mouthUpperUp_L", "mouthUpperUp_R", "noseSneer_L", "noseSneer_R"),
)


def checkout_files() -> list[str]:
    """Names of the files of `FaceXModel` that are read."""
    identities = [f"identity{number:03d}.obj" for number in range(IDENTITIES)]
    return [NEUTRAL, INDICES, *identities, *(f"{name}.obj" for name in EXPRESSIONS)]


def read_checkout(folder: Path, where_to_get: str, cache_dir: str | os.PathLike | None = None) -> dict[str, np.ndarray]:
    """Arrays of the `FaceXModel` folder under the names of the .npz form; see `ict_model.load_face_model`.

    The parsed folder is kept below `cache_dir`, by the names, sizes and times of its files.
    Raises FileNotFoundError for missing files, ValueError for files that do not hold what they should.
    """
    names = checkout_files()
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise FileNotFoundError(
            f"{len(missing)} of the face model's {len(names)} files are missing in {str(folder)!r}: {shown}. "
            f"{where_to_get}"
        )
    cached = cache_root(cache_dir) / "clef-ict_facekit" / f"face_model-{_state(folder, names)}.npz"
    if cached.is_file():
        with np.load(cached, allow_pickle=False) as file:
            return dict(file)
    arrays = _parse(folder)
    make_cache_folder(cached.parent)
    # Renamed when complete: whoever looks meanwhile sees all of it or nothing.
    temporary = cached.with_name(f"{cached.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp.npz")
    try:
        np.savez(temporary, **arrays)
        temporary.replace(cached)
    finally:
        temporary.unlink(missing_ok=True)
    return arrays


def read_vertices(file: Path) -> np.ndarray:
    """(V, 3) float32 vertices of an OBJ file whose vertex lines follow one another, as in ICT-FaceKit."""
    content = b"\n" + file.read_bytes()
    start, last = content.find(b"\nv "), content.rfind(b"\nv ")
    if start < 0:
        raise ValueError(f"{file.name} holds no vertices; expected an OBJ file of ICT-FaceKit")
    end = content.find(b"\n", last + 1)
    block = content[start : end if end > 0 else len(content)]
    count = block.count(b"\nv ")
    words = block.replace(b"\nv ", b" ").split()
    try:
        vertices = np.array(words, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{file.name} holds something else among its vertices: {error}") from error
    if len(vertices) != 3 * count:
        raise ValueError(f"{file.name} holds {len(vertices)} numbers in {count} vertices; expected 3 in each")
    return vertices.reshape(-1, 3).astype(np.float32)


def read_surface(file: Path, vertices: int) -> dict[str, np.ndarray]:
    """Triangles, their materials and the texture coordinates of an OBJ file, as tris, mats, mat_names and uv.

    Quads (a, b, c, d) become (a, b, c) and (a, c, d). Of a vertex with several texture coordinates (on a seam) those of
    its last face are kept.
    """
    texture, materials, triangles, triangle_materials = [], [], [], []
    uv = np.zeros((vertices, 2))
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        kind, _, rest = line.partition(" ")
        try:
            if kind == "vt":
                texture.append([float(word) for word in rest.split()[:2]])
            elif kind == "usemtl":
                if rest.strip() not in materials:
                    materials.append(rest.strip())
            elif kind == "f":
                corners = [[int(index) - 1 for index in corner.split("/")[:2]] for corner in rest.split()]
                for vertex, coordinate in corners:
                    uv[vertex] = texture[coordinate]
                first = corners[0][0]
                for second, third in zip(corners[1:], corners[2:], strict=False):
                    triangles.append((first, second[0], third[0]))
                    triangle_materials.append(len(materials) - 1)
        except (ValueError, IndexError) as error:
            raise ValueError(f"line {number} of {file.name} is {line[:60]!r}, not as ICT-FaceKit has it") from error
    if not triangles or min(triangle_materials) < 0:
        raise ValueError(f"{file.name} holds no faces with materials; expected an OBJ file of ICT-FaceKit")
    return {
        "tris": np.array(triangles, dtype=np.int32),
        "mats": np.array(triangle_materials, dtype=np.uint8),
        "mat_names": np.array(materials),
        "uv": uv.astype(np.float16),
    }


def _parse(folder: Path) -> dict[str, np.ndarray]:
    indices = json.loads((folder / INDICES).read_text())
    listed = indices.get("expressions", [])
    if sorted(listed) != sorted(EXPRESSIONS):
        odd = sorted(set(listed) ^ set(EXPRESSIONS))
        raise ValueError(f"{INDICES} lists other expressions than ICT-FaceKit's {len(EXPRESSIONS)}: {odd} differ")
    neutral = read_vertices(folder / NEUTRAL)

    def deltas(names: list[str]) -> np.ndarray:
        stacked = np.empty((len(names), *neutral.shape), dtype=np.float16)
        for position, name in enumerate(names):
            vertices = read_vertices(folder / f"{name}.obj")
            if vertices.shape != neutral.shape:
                raise ValueError(f"{name}.obj holds {len(vertices)} vertices; {NEUTRAL} holds {len(neutral)}")
            stacked[position] = vertices - neutral
        return stacked

    return {
        "neutral": neutral,
        "expr": deltas(listed),
        "expr_names": np.array(listed),
        "ident": deltas([f"identity{number:03d}" for number in range(IDENTITIES)]),
        "lmk68": np.array(indices.get("idx_to_landmark_verts", []), dtype=np.int32),
        **read_surface(folder / NEUTRAL, len(neutral)),
    }


def _state(folder: Path, names: list[str]) -> str:
    """Changes when a file of the folder does."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for name in names:
        status = (folder / name).stat()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
