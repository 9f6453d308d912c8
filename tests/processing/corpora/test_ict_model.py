import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from processing.corpora import ict_obj
from processing.corpora.ict_model import load_face_model
from processing.corpora.ict_obj import EXPRESSIONS, checkout_files, read_surface, read_vertices

DATA = Path(os.environ.get("CLEF_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))
NPZ, OBJ = DATA / "ict_facekit" / "ict_face_model_light.npz", DATA / "ict_facekit" / "FaceXModel"
needs_data = pytest.mark.skipif(not NPZ.is_file(), reason="needs ict_facekit in CLEF_TEST_DATA (../shared/data)")

# Two quads side by side and a triangle: the vertices 1 and 4 lie on a seam, with two texture coordinates each.
FACES = """usemtl M_Face
f 1/1 2/2 5/5 4/4
f 2/2 3/3 6/6 5/5
usemtl M_Teeth
f 4/7 5/5 1/8
"""
TRIANGLES = [[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4], [3, 4, 0]]
MATERIALS = [0, 0, 0, 0, 1]
TEXTURE = [[0, 0], [0.5, 0], [1, 0], [0, 1], [0.5, 1], [1, 1], [0.25, 0.25], [0.75, 0.75]]
UV = [TEXTURE[position] for position in (7, 1, 2, 6, 4, 5)]  # of its last face
NEUTRAL = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0.5], [1, 1, 0.5], [2, 1, 0.5]], dtype=np.float32)


def write_obj(file, vertices):
    lines = ["# ICT FaceKit", "", "mtllib ICTFaceModelMaterial.mtl"]
    lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices.tolist()]
    lines += [f"vt {u} {v}" for u, v in TEXTURE]
    file.write_text("\n".join(lines) + "\n" + FACES)


@pytest.fixture(scope="module")
def deltas():
    # Multiples of 1/64: neutral + delta and its difference are exact in every float format.
    rng = np.random.default_rng(0)
    return {
        "expr": (rng.integers(-64, 64, (len(EXPRESSIONS), 6, 3)) / 64).astype(np.float16),
        "ident": (rng.integers(-64, 64, (100, 6, 3)) / 64).astype(np.float16),
    }


@pytest.fixture
def checkout(tmp_path, deltas):
    """A tiny face in the layout of the official checkout."""
    folder = tmp_path / "ICT-FaceKit" / "FaceXModel"
    folder.mkdir(parents=True)
    write_obj(folder / "generic_neutral_mesh.obj", NEUTRAL)
    for name, delta in zip(EXPRESSIONS, deltas["expr"], strict=True):
        write_obj(folder / f"{name}.obj", NEUTRAL + delta)
    for number, delta in enumerate(deltas["ident"]):
        write_obj(folder / f"identity{number:03d}.obj", NEUTRAL + delta)
    landmarks = [position % 6 for position in range(68)]
    indices = {"expressions": list(EXPRESSIONS), "idx_to_landmark_verts": landmarks}
    (folder / "vertex_indices.json").write_text(json.dumps(indices))
    return folder


def npz_arrays(deltas):
    return {
        "neutral": NEUTRAL,
        "expr_names": np.array(EXPRESSIONS),
        "tris": np.array(TRIANGLES, dtype=np.uint16),
        "mats": np.array(MATERIALS),
        "mat_names": np.array(["M_Face", "M_Teeth"]),
        "uv": np.array(UV, dtype=np.float16),
        "lmk68": np.array([position % 6 for position in range(68)]),
        **deltas,
    }


def test_a_checkout_is_read(checkout, deltas, tmp_path):
    model = load_face_model(checkout, cache_dir=tmp_path)
    np.testing.assert_array_equal(model.neutral, NEUTRAL)
    np.testing.assert_array_equal(model.expression_deltas, deltas["expr"])
    np.testing.assert_array_equal(model.identity_modes, deltas["ident"])
    np.testing.assert_array_equal(model.triangles, TRIANGLES)
    np.testing.assert_array_equal(model.materials, MATERIALS)
    np.testing.assert_array_equal(model.uv, UV)
    np.testing.assert_array_equal(model.landmarks68, np.arange(68) % 6)
    assert model.expression_names == EXPRESSIONS and model.material_names == ("M_Face", "M_Teeth")
    assert (model.neutral.dtype, model.triangles.dtype, model.uv.dtype) == (np.float32, np.int32, np.float32)


def test_both_forms_are_the_same_model(checkout, deltas, tmp_path):
    np.savez_compressed(tmp_path / "model.npz", **npz_arrays(deltas))
    models = [load_face_model(checkout, tmp_path), load_face_model(checkout.parent, tmp_path)]
    models.append(load_face_model(str(tmp_path / "model.npz")))
    assert len({model.fingerprint for model in models}) == 1


@pytest.mark.parametrize("key", ["neutral", "expr", "expr_names", "ident", "tris", "mats", "mat_names", "uv", "lmk68"])
def test_the_fingerprint_covers_all_content(deltas, tmp_path, key):
    arrays = npz_arrays(deltas)
    np.savez(tmp_path / "model.npz", **arrays)
    first = load_face_model(tmp_path / "model.npz").fingerprint
    arrays[key] = arrays[key][::-1].copy()
    np.savez(tmp_path / "model.npz", **arrays)
    assert load_face_model(tmp_path / "model.npz").fingerprint != first


def test_sparse_expressions_hold_what_moves(deltas, tmp_path):
    arrays = npz_arrays(deltas)
    arrays["expr"] = arrays["expr"].copy()
    arrays["expr"][0] = 0
    arrays["expr"][0, 2] = [0, 0.002, 0]
    arrays["expr"][0, 4] = [0.0005, 0, 0.0005]
    np.savez(tmp_path / "model.npz", **arrays)
    model = load_face_model(tmp_path / "model.npz")
    sparse = model.sparse_expressions
    assert tuple(sparse) == EXPRESSIONS
    assert sparse[EXPRESSIONS[0]].indices.tolist() == [2]
    for name, dense in zip(EXPRESSIONS[1:], model.dense_expressions[1:], strict=True):
        rebuilt = np.zeros_like(dense)
        rebuilt[sparse[name].indices] = sparse[name].values
        np.testing.assert_array_equal(rebuilt, dense)
    assert sparse[EXPRESSIONS[0]].indices.dtype == np.int32 and sparse[EXPRESSIONS[0]].values.dtype == np.float32


def test_a_model_is_read_only_and_goes_to_other_processes(deltas, tmp_path):
    np.savez(tmp_path / "model.npz", **npz_arrays(deltas))
    model = load_face_model(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="read-only"):
        model.neutral[0] = 1
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).expression_deltas, model.expression_deltas)


def test_a_parsed_checkout_is_kept_until_a_file_changes(checkout, tmp_path, monkeypatch):
    first = load_face_model(checkout, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(ict_obj, "_parse", None)
        assert load_face_model(checkout, tmp_path).fingerprint == first.fingerprint
    write_obj(checkout / "jawOpen.obj", NEUTRAL * 2 + 1)
    assert load_face_model(checkout, tmp_path).fingerprint != first.fingerprint


def test_incomplete_checkouts_say_what_is_missing_and_where_it_is(checkout):
    for name in ("jawOpen.obj", "identity007.obj"):
        (checkout / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_face_model(checkout)
    message = str(error.value)
    assert "2 of the face model's 155 files are missing" in message
    assert "identity007.obj, jawOpen.obj." in message
    assert "ICT-VGL/ICT-FaceKit" in message and "MIT" in message
    for file in checkout.iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match="155 of .* and 145 more"):
        load_face_model(checkout)


def test_the_root_may_stand_in_the_environment(deltas, tmp_path, monkeypatch):
    monkeypatch.delenv("CLEF_ICT_FACEKIT", raising=False)
    with pytest.raises(FileNotFoundError, match="no face model was given.*ICT-VGL/ICT-FaceKit.*MIT.*CLEF_ICT_FACEKIT"):
        load_face_model()
    np.savez(tmp_path / "model.npz", **npz_arrays(deltas))
    monkeypatch.setenv("CLEF_ICT_FACEKIT", str(tmp_path / "model.npz"))
    assert len(load_face_model().neutral) == 6
    with pytest.raises(FileNotFoundError, match="no face model at '/nowhere'.*ICT-VGL/ICT-FaceKit"):
        load_face_model("/nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expr": np.zeros((53, 5, 3))}, r"expr of model.npz has the shape \(53, 5, 3\); expected \(53, 6, 3\)"),
        ({"uv": np.zeros(6)}, "uv of model.npz is .*; expected 2 axes of numbers"),
        ({"tris": np.full((5, 3), 6)}, r"tris of model.npz holds indices beyond 0..5"),
        ({"mats": np.full(5, 2)}, r"mats of model.npz holds indices beyond 0..1"),
        ({"lmk68": np.zeros(67, dtype=int)}, r"lmk68 .* the shape \(67,\)"),
        ({"neutral": np.array([None])}, "not a .npz file of plain arrays"),
    ],
)
def test_odd_arrays_are_refused(deltas, tmp_path, change, message):
    np.savez(tmp_path / "model.npz", **{**npz_arrays(deltas), **change})
    with pytest.raises(ValueError, match=message):
        load_face_model(tmp_path / "model.npz")


def test_other_files_are_refused(deltas, tmp_path):
    arrays = npz_arrays(deltas)
    del arrays["uv"]
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(ValueError, match=r"lacks the arrays \['uv'\]"):
        load_face_model(tmp_path / "model.npz")
    for content in (b"", b"not an archive", b"PK\x03\x04 cut short"):
        (tmp_path / "model.npz").write_bytes(content)
        with pytest.raises(ValueError, match="not a .npz file"):
            load_face_model(tmp_path / "model.npz")


def test_odd_checkouts_are_refused(checkout, tmp_path):
    write_obj(checkout / "jawOpen.obj", NEUTRAL[:5])
    with pytest.raises(ValueError, match="jawOpen.obj holds 5 vertices; generic_neutral_mesh.obj holds 6"):
        load_face_model(checkout, tmp_path)
    (checkout / "jawOpen.obj").write_text("v 1 2 3\nv 1 2\n")
    with pytest.raises(ValueError, match="jawOpen.obj holds 5 numbers in 2 vertices"):
        load_face_model(checkout, tmp_path)
    (checkout / "jawOpen.obj").write_text("v 1 2 3\nvt 0 0\nv 1 2 3\n")
    with pytest.raises(ValueError, match="jawOpen.obj holds something else among its vertices"):
        load_face_model(checkout, tmp_path)
    (checkout / "vertex_indices.json").write_text(json.dumps({"expressions": [*EXPRESSIONS, "tongueOut"]}))
    with pytest.raises(ValueError, match="other expressions.*tongueOut"):
        load_face_model(checkout, tmp_path)


@needs_data
def test_the_official_files_hold_what_the_compact_file_holds():
    model = load_face_model(NPZ)
    assert tuple(model.expression_names) == EXPRESSIONS
    assert (len(model.neutral), len(model.triangles), len(model.identity_modes)) == (26719, 52220, 100)
    neutral = read_vertices(OBJ / "generic_neutral_mesh.obj")
    np.testing.assert_array_equal(neutral, model.neutral)
    surface = read_surface(OBJ / "generic_neutral_mesh.obj", len(neutral))
    np.testing.assert_array_equal(surface["tris"], model.triangles)
    np.testing.assert_array_equal(surface["mats"], model.materials)
    np.testing.assert_array_equal(surface["uv"], model.uv)
    assert tuple(surface["mat_names"]) == model.material_names
    shapes = dict(zip(EXPRESSIONS, model.expression_deltas, strict=True))
    shapes |= {f"identity{number:03d}": mode for number, mode in enumerate(model.identity_modes)}
    present = [file for file in sorted(OBJ.glob("*.obj")) if file.stem in shapes]
    assert len(present) >= 5
    for file in present:
        np.testing.assert_array_equal((read_vertices(file) - neutral).astype(np.float16), shapes[file.stem])
    indices = json.loads((OBJ / "vertex_indices.json").read_text())
    assert tuple(indices["expressions"]) == EXPRESSIONS
    np.testing.assert_array_equal(indices["idx_to_landmark_verts"], model.landmarks68)


@needs_data
def test_the_handful_of_official_files_is_called_incomplete():
    present = {file.name for file in OBJ.iterdir()} & set(checkout_files())
    with pytest.raises(FileNotFoundError, match=f"{155 - len(present)} of the face model's 155 files are missing"):
        load_face_model(OBJ)


@needs_data
def test_axes_of_the_model():
    """x to the subject's left, y up, z out of the face; triangles run counter-clockwise seen from outside."""
    model = load_face_model(NPZ)
    points = model.neutral[model.landmarks68]
    right_eye, left_eye, nose, chin = points[36], points[45], points[30], points[8]
    assert right_eye[0] < 0 < left_eye[0] and chin[1] < nose[1] < left_eye[1] and nose[2] > left_eye[2]
    smile = model.sparse_expressions["mouthSmile_L"]
    assert np.average(model.neutral[smile.indices, 0], weights=np.linalg.norm(smile.values, axis=1)) > 0
    corners = model.neutral[model.triangles[model.materials == model.material_names.index("M_Face")]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).mean() > 0.8
