"""Explanations of a picture's faces: labels in every spelling, scores as in the table, maps, and the picture of it."""

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2", reason="needs opencv-python-headless")

from analysis import analyze
from analysis.explain import Explainer, described, explain_image, peak_in_picture
from analysis.frames import SourceError
from processing.face_alignment_clef import align_face
from processing.face_detection_clef import GivenFaces

LABELS = ["brow lowerer", "AU 012", "Happiness", "big smile"]


@pytest.fixture
def photo(tmp_path, make_block_picture):
    Image.fromarray(make_block_picture((20, 20), (95, 30), texture=9)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def faces(photo, checkpoint, detector):
    return explain_image(photo, LABELS, model=checkpoint, detector=detector)


def test_labels_are_found_by_id_by_name_and_else_are_words(faces):
    assert len(faces) == 2
    for found in faces:
        told = [(item.label, item.text, item.trained) for item in found.explanations]
        assert told == [
            ("AU4", "brow lowerer", True),
            ("AU12", "lip corner puller", True),
            ("happiness", "happiness", True),
            ("big smile", "big smile", False),
        ]
        assert [item.threshold for item in found.explanations] == [0.343, 0.433, None, 0.5]
        for item in found.explanations:
            assert item.relevance.shape == (32, 32) and item.relevance.dtype == np.float32
            assert item.relevance.min() >= 0 and item.relevance.max() in (0, 1)
            expected = None if item.threshold is None else item.score >= item.threshold
            assert item.present == expected


def test_with_a_detector_of_the_projects_own_too(tmp_path, test_data, checkpoint):
    """It looks at the same size of picture as the table does."""
    photos, yunet = sorted((test_data / "photos").glob("*.jpg")), test_data / "weights" / "face_detection_yunet.onnx"
    if not (photos and yunet.is_file()):
        pytest.skip("needs photos and YuNet's file in CLEF_TEST_DATA")
    with Image.open(photos[0]) as file:
        file.convert("RGB").resize((900, 900)).save(tmp_path / "large.png")
    (found,) = explain_image(tmp_path / "large.png", ["AU12"], model=checkpoint, detector=str(yunet))
    (row,) = analyze(tmp_path / "large.png", model=checkpoint, detector=str(yunet))
    assert row["box_left"] == pytest.approx(found.face.box[0], rel=1e-6)
    assert row["AU12_probability"] == pytest.approx(found.explanations[0].score, abs=1e-6)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_before_anybody_waits_for_it(tmp_path, checkpoint, detector):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(SourceError, match="is a pipe"):
        explain_image(tmp_path / "pipe.jpg", ["AU12"], model=checkpoint, detector=detector)


def test_scores_are_those_of_the_table(faces, photo, checkpoint, detector):
    rows = list(analyze([photo], model=checkpoint, detector=detector))
    words = list(analyze([photo], model=checkpoint, detector=detector, labels=["big smile"]))
    for found in faces:
        (row,) = [row for row in rows if row["box_left"] == found.face.box[0]]
        (worded,) = [row for row in words if row["box_left"] == found.face.box[0]]
        for item in found.explanations:
            source = row if item.trained else worded
            assert item.score == pytest.approx(source[f"{item.label}_probability"], abs=1e-6)
            if item.threshold is not None:
                assert item.present == source[item.label]


def test_the_place_in_the_picture_is_the_one_in_the_crop(faces, photo):
    picture = np.asarray(Image.open(photo).convert("RGB"))
    for found in faces:
        eyes_and_nose = np.array([[0.3275, 0.365], [0.6725, 0.365], [0.5, 0.575]]) * 32
        back = np.stack([found.to_picture @ [*point, 1] for point in eyes_and_nose])
        assert np.abs(back - found.face.points[:3]).max() < 2.5  # the similarity's residual
        np.testing.assert_array_equal(found.crop, align_face(picture, found.face.points, 32))
        for item in found.explanations:
            peak = peak_in_picture(found, item)
            if peak is None:
                assert not item.relevance.any()
                continue
            matrix = np.linalg.inv(np.vstack([found.to_picture, [0, 0, 1]]))[:2]
            column, row = np.floor(matrix @ [*peak, 1]).astype(int)
            assert item.relevance[row, column] == 1


def test_what_is_written_as_json_is_all_of_it(faces):
    told = json.loads(json.dumps(described(faces)))
    for found, face in zip(faces, told, strict=True):
        assert face["box"] == found.face.box.tolist() and not isinstance(face["out_of_scope"], str)
        for item, label in zip(found.explanations, face["labels"], strict=True):
            assert label["label"] == item.label and label["score"] == item.score
            np.testing.assert_allclose(label["relevance"], item.relevance, atol=6e-4)


def test_the_largest_faces_and_faces_without_a_crop(photo, checkpoint):
    boxes = np.array([[10.0, 10, 40, 50], [50.0, 10, 110, 90]])
    points = np.stack([box[:2] + np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6]]) * (box[2:] - box[:2]) for box in boxes])
    points = np.concatenate([points, points[:, :2] + [0, 20]], axis=1)
    found = explain_image(photo, ["AU12"], checkpoint, GivenFaces(boxes, points), max_faces=1)
    assert [face.face.box.tolist() for face in found] == [boxes[1].tolist()]
    mirrored = points[:, [1, 0, 2, 4, 3]]
    found = explain_image(photo, ["AU12"], checkpoint, GivenFaces(boxes, mirrored))
    assert [face.crop for face in found] == [None, None] and found[0].explanations == ()
    assert described(found)[0]["labels"] == []
    pytest.importorskip("matplotlib")
    from analysis.explain_drawing import draw_explanations

    with pytest.raises(ValueError, match="no face with a crop"):
        draw_explanations(found)


def test_labels_that_are_none(checkpoint, tmp_path):
    for labels, message in (
        ([], "no labels"),
        ([" "], "empty label"),
        (["AU12", "lip corner puller"], "AU12 more than once"),
        (["smile", "smile "], "smile more than once"),
        (["AU99"], "describe it in words"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            Explainer(labels, checkpoint)
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(SourceError):
        explain_image(tmp_path / "text.jpg", ["AU12"], checkpoint, GivenFaces(np.zeros((0, 4))))


def test_the_picture_has_a_cell_for_every_label_and_leaves_the_face_to_be_seen(faces):
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from analysis.explain_drawing import draw_explanations

    figure = draw_explanations([*faces])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text.get_text() for text in figure.texts]
    assert {"face 0", "face 1", "AU4 brow lowerer", "AU12 lip corner puller", "happiness", "big smile"} <= set(texts)
    for item in faces[0].explanations:
        assert any(f"probability {item.score:.2f}" in text for text in texts)
    assert sum("(untrained)" in text for text in texts) == 2
    drawn = [text for text in figure.texts if text.get_text()]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in drawn]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.x0 >= 0 and box.x1 <= figure.get_figwidth() * figure.dpi for box in boxes)
    # Most of a cell is the face itself, somewhat darker.
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    plain, mapped = (_cell(pixels, figure.axes[number]) for number in (0, 1))
    alike = (mapped <= plain + 8).all(axis=2) & (mapped >= 0.6 * plain - 8).all(axis=2)
    assert alike.mean() > 0.8
    assert (mapped != plain).any()


def _cell(pixels, axes):
    box = axes.get_window_extent()
    height = pixels.shape[0]
    top, left = round(height - box.y1), round(box.x0)
    return pixels[top + 4 : top + 270, left + 4 : left + 270]
