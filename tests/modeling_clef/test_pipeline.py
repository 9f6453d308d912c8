import copy
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoProcessor, pipeline

from modeling_clef import CLEFForImageClassification, FacialBehaviorPipeline, modeling_clef, sentence_encoder_clef
from modeling_clef.configuration_clef import CUSTOM_PIPELINES
from modeling_clef.pipeline_clef import LANDMARKS
from processing import CLEFImageProcessor, CLEFProcessor
from processing.face_alignment_clef import align_face
from processing.face_detection_clef import LANDMARKS as DETECTED_LANDMARKS
from processing.face_detection_clef import GivenFaces
from processing.face_quality_clef import face_quality

pytest.importorskip("cv2", reason="needs opencv-python-headless")

WORKER = Path(__file__).with_name("pipeline_worker.py")
FACE = np.array([[30.0, 40], [70, 42], [50, 66], [36, 82], [66, 83]])
POINTS = np.stack([FACE * 0.8 + (100, 20), FACE * 1.1 + (5, 60)])
BOXES = [[110, 22, 170, 104], [15, 65, 100, 170]]  # the second is the larger


@pytest.fixture
def photo():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).resize((200, 180))


@pytest.fixture
def model(sentence_config, action_units, expressions):
    action_units = copy.deepcopy(action_units) | {"thresholds": [0.0, 1.0], "temperatures": [0.5, 2.0]}
    return CLEFForImageClassification(sentence_config(label_sets=[action_units, expressions])).eval()


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "model")
    image_processor = CLEFImageProcessor(size=32, crop_recipe="eyes-nose-1", per_image_normalization=True)
    CLEFProcessor(image_processor, tokenizer).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def find(folder):
    return pipeline("facial-behavior", model=str(folder), device="cpu")


class FacesByWidth:
    """As many of the faces as the picture is pixels wider than 200."""

    def __init__(self):
        self.pictures = 0

    def detect(self, image):
        self.pictures += 1
        return GivenFaces(BOXES, POINTS).detect(image)[: image.width - 200]


def by_hand(model, folder, pixels):
    processor = AutoProcessor.from_pretrained(folder)
    with torch.no_grad():
        return model.probabilities(model(processor(images=list(pixels))["pixel_values"]).logits)


def scores(faces, label_set):
    return [{row["label"]: row["score"] for row in face[label_set]} for face in faces]


def same(found, expected):
    """Equal but for the last digits, which a batch of another size may change."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=2e-6)
    else:
        assert found == expected


def test_faces_are_what_a_run_by_hand_gives(find, model, folder, photo):
    assert type(find) is FacialBehaviorPipeline
    found = find(photo, detector=GivenFaces(BOXES, POINTS, [0.7, 0.9]))
    assert len(found) == 2 and json.loads(json.dumps(found)) == found
    order = [1, 0]  # the largest first
    assert [face["box"] for face in found] == [
        dict(zip(("xmin", "ymin", "xmax", "ymax"), BOXES[i], strict=True)) for i in order
    ]
    assert [face["score"] for face in found] == [0.9, 0.7]
    assert LANDMARKS == DETECTED_LANDMARKS
    assert [list(face["landmarks"].values()) for face in found] == [POINTS[i].tolist() for i in order]
    assert list(found[0]["landmarks"]) == list(LANDMARKS)
    crops = [align_face(photo, POINTS[i], 32) for i in order]
    probabilities = by_hand(model, folder, crops)
    for row, values in enumerate(probabilities.tolist()):
        assert scores(found, "action_units")[row] == pytest.approx(dict(zip(["AU1", "AU12"], values, strict=False)))
        labels = ["happiness", "sadness", "neutral"]
        assert scores(found, "expression")[row] == pytest.approx(dict(zip(labels, values[2:], strict=True)))
        quality = face_quality(photo, GivenFaces(BOXES, POINTS, [0.7, 0.9]).faces[order[row]], crops[row])
        assert found[row]["quality"] == vars(quality)


def test_labels_are_named_ordered_and_decided(find, photo):
    (face, *_) = find(photo, detector=GivenFaces(BOXES, POINTS))
    units = {row["label"]: row for row in face["action_units"]}
    assert units["AU12"]["name"] == "lip corner puller" and units["AU1"]["name"] == "inner brow raiser"
    # Thresholds 0 and 1 of the label set.
    assert units["AU1"]["present"] is True and units["AU12"]["present"] is False
    for label_set in ("action_units", "expression"):
        values = [row["score"] for row in face[label_set]]
        assert values == sorted(values, reverse=True)
    assert set(face["expression"][0]) == {"label", "name", "score"}
    assert sum(row["score"] for row in face["expression"]) == pytest.approx(1)


def test_many_images_of_many_faces_in_any_batch(find, photo):
    pictures = [photo.resize((width, 180)) for width in (202, 200, 201, 202, 200)]
    expected = [find(picture, detector=FacesByWidth(), batch_size=1) for picture in pictures]
    assert [len(faces) for faces in expected] == [2, 0, 1, 2, 0]
    detector = FacesByWidth()
    for batch_size in (1, 2, 3, 16):
        same(find(pictures, detector=detector, batch_size=batch_size), expected)
    assert detector.pictures == 4 * len(pictures)
    same(list(find((picture for picture in pictures), detector=FacesByWidth())), expected)
    same(find(tuple(pictures), detector=FacesByWidth()), expected)
    assert find([]) == [] and find(pictures[1], detector=FacesByWidth()) == []


def test_an_image_may_be_a_path_or_an_array_and_is_looked_at_upright(find, photo, tmp_path):
    detector = GivenFaces(BOXES, POINTS)
    expected = find(photo, detector=detector)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    same(find(str(tmp_path / "turned.png"), detector=detector), expected)
    same(find(np.asarray(photo), detector=detector), expected)
    with pytest.raises(FileNotFoundError, match="missing.png"):
        find(str(tmp_path / "missing.png"), detector=detector)


def test_aligned_crops_are_not_searched(find, model, folder, photo, monkeypatch):
    monkeypatch.setattr(CLEFImageProcessor, "find_detector", lambda *arguments: pytest.fail("looked for a detector"))
    crops = [align_face(photo, points, 48) for points in POINTS]
    found = find(crops, aligned=True)
    assert [len(faces) for faces in found] == [1, 1]
    for (face,), values in zip(found, by_hand(model, folder, crops).tolist(), strict=True):
        assert [face[key] for key in ("box", "score", "landmarks", "quality")] == [None] * 4
        assert scores([face], "expression")[0]["sadness"] == pytest.approx(values[3])


def test_fewer_faces_and_labels(find, photo):
    detector = GivenFaces(BOXES, POINTS)
    everything = find(photo, detector=detector)
    (face,) = find(photo, detector=detector, max_faces=1, top_k=1)
    same(face["box"], everything[0]["box"])
    same([face["action_units"], face["expression"]], [everything[0][key][:1] for key in ("action_units", "expression")])
    for option in ("max_faces", "top_k"):
        with pytest.raises(ValueError, match=f"`{option}` is 0"):
            find(photo, detector=detector, **{option: 0})


def test_an_unknown_option_is_named_with_those_there_are(find, photo):
    with pytest.raises(TypeError, match="unknown option `top_kk`; known are detector, .*, batch_size.*`top_k`"):
        find(photo, top_kk=1)
    with pytest.raises(TypeError, match=r"`tresholds`.*batch_size\.$"):
        find(photo, tresholds=0.5)
    with pytest.raises(TypeError, match="mean `mirror`"):
        FacialBehaviorPipeline(model=find.model, processor=find.processor, miror=True)


@torch.no_grad()
def test_a_face_is_averaged_with_its_mirror_image(find, model, folder, photo):
    crops = [align_face(photo, points, 48) for points in POINTS]
    processor = AutoProcessor.from_pretrained(folder).image_processor
    pixels = processor(crops, return_tensors="pt")["pixel_values"]
    logits = (model(pixels).logits + model(pixels.flip(-1)).logits) / 2
    found = find(crops, aligned=True, mirror=True)
    for (face,), values in zip(found, model.probabilities(logits).tolist(), strict=True):
        assert scores([face], "expression")[0]["sadness"] == pytest.approx(values[3])


@pytest.mark.parametrize("text_free", [False, True])
def test_labels_of_ones_own(model, folder, tokenizer, photo, tmp_path, monkeypatch, text_free):
    tower = tmp_path / "tower"
    model.clef.text_model.save_pretrained(tower)
    if text_free:
        model.freeze_labels()
        model.save_pretrained(folder)
        join = CLEFForImageClassification.join_text_tower
        monkeypatch.setattr(CLEFForImageClassification, "join_text_tower", lambda self: join(self, tower))
    find = pipeline("facial-behavior", model=str(folder), device="cpu")
    detector = GivenFaces(BOXES, POINTS)
    before = find(photo, detector=detector)
    state = {name: value.clone() for name, value in find.model.state_dict().items()}
    found = find(photo, detector=detector, labels={"smile": "the lip corner up", "joke": "joke"})

    own = copy.deepcopy(model)
    own.join_text_tower()
    texts = CLEFProcessor(CLEFImageProcessor(), tokenizer)(labels={"smile": "the lip corner up", "joke": "joke"})
    own.set_labels(["smile", "joke"], texts["input_ids"], texts["attention_mask"])
    expected = by_hand(own, folder, [align_face(photo, POINTS[i], 32) for i in (1, 0)]).tolist()
    for face, values in zip(found, expected, strict=True):
        assert "action_units" not in face
        assert {row["label"]: row["score"] for row in face["labels"]} == pytest.approx(
            dict(zip(["smile", "joke"], values, strict=True)), abs=1e-6
        )
        assert {row["label"]: row["name"] for row in face["labels"]} == {"smile": "the lip corner up", "joke": "joke"}

    # A list holds texts and known labels.
    listed = find(photo, detector=detector, labels=["the lip corner up", "AU12"])
    assert scores(listed, "labels")[0]["the lip corner up"] == pytest.approx(scores(found, "labels")[0]["smile"])
    assert {row["label"]: row["name"] for row in listed[0]["labels"]}["AU12"] == "lip corner puller"

    for spelling in ("au12", "AU 12", "AU012"):  # OpenFace's are of two digits
        assert find(photo, detector=detector, labels=["the lip corner up", spelling]) == listed

    # The pipeline's own model is what it was.
    assert find.model.config.text_free is text_free and (find.model.clef.text_model is None) is text_free
    assert find.model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in find.model.state_dict().items())
    assert find(photo, detector=detector) == before


def test_the_text_tower_joins_once_for_all_lists_of_labels(model, folder, photo, tmp_path, monkeypatch):
    tower, loads = tmp_path / "tower", []
    model.clef.text_model.save_pretrained(tower)
    model.freeze_labels()
    model.save_pretrained(folder)

    def load_text_tower(config, source=None):
        loads.append(source)
        return sentence_encoder_clef.load_text_tower(config, tower)

    monkeypatch.setattr(modeling_clef, "load_text_tower", load_text_tower)
    lists = [["smile"], ["joke", "the lip corner up"], ["smile"], ["AU12"]]
    detector, found = GivenFaces(BOXES, POINTS), []
    find = pipeline("facial-behavior", model=str(folder), device="cpu")
    for labels in lists:
        found.append(find(photo, detector=detector, labels=labels))
    assert loads == [None]
    for labels, faces in zip(lists, found, strict=True):
        fresh = pipeline("facial-behavior", model=str(folder), device="cpu")
        same(faces, fresh(photo, detector=detector, labels=labels))
    fresh = pipeline("facial-behavior", model=str(folder), device="cpu")
    for changed in (find, fresh):
        with torch.no_grad():
            changed.model.clef.visual_projection.weight.copy_(changed.model.clef.visual_projection.weight.flip(0))
    after = find(photo, detector=detector, labels=lists[-1])
    same(after, fresh(photo, detector=detector, labels=lists[-1]))
    assert scores(after, "labels") != scores(found[-1], "labels")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["AU99"], "unknown label 'AU99'"),
        ([], "at least one"),
        (["smile", "smile"], "each once"),
        (["smile", " "], "blank"),
        ({}, "empty list of labels"),
    ],
)
def test_labels_that_say_nothing_are_refused(find, photo, labels, message):
    with pytest.raises(ValueError, match=message):
        find(photo, detector=GivenFaces(BOXES, POINTS), labels=labels)


def test_a_face_without_a_crop_is_reported(find, photo):
    mirrored = POINTS[:, [1, 0, 2, 4, 3]]
    (first, second) = find(photo, detector=GivenFaces(BOXES, [POINTS[0], mirrored[1]]))
    assert first["action_units"] == first["expression"] == [] and second["action_units"]
    assert first["quality"]["out_of_scope"] and first["quality"]["reason"].startswith("no crop")
    assert first["quality"]["blur"] is None and math.isfinite(second["quality"]["blur"])


def test_crops_that_cannot_be_cut_are_an_error(find, photo):
    find.image_processor.crop_recipe = "aligned-1"
    with pytest.raises(ValueError, match="crops of the recipe 'aligned-1', which cannot be cut"):
        find(photo, detector=GivenFaces(BOXES, POINTS))
    assert len(find(photo, aligned=True)) == 1


def test_the_detector_is_made_once_and_by_name(find, photo, monkeypatch):
    made = []

    def find_detector(name="auto", path=None, longest_side=640):
        made.append((name, path))
        return GivenFaces(BOXES, POINTS)

    monkeypatch.setattr(CLEFImageProcessor, "find_detector", staticmethod(find_detector))
    assert len(find([photo, photo])) == 2 and len(find(photo)) == 2
    assert len(find(photo, detector="haar", detector_path="cascade.xml")) == 2
    assert made == [("auto", None), ("haar", "cascade.xml")]
    with pytest.raises(ValueError, match="`detector_path` for a GivenFaces"):
        find(photo, detector=GivenFaces(BOXES, POINTS), detector_path="cascade.xml")


def test_another_model_is_refused(find, tokenizer, clip_config):
    from modeling_clef import CLEFModel

    with pytest.raises(TypeError, match="got a CLEFModel, expected a CLEFForImageClassification"):
        FacialBehaviorPipeline(model=CLEFModel(clip_config()), processor=find.processor)
    with pytest.raises(ValueError, match="got no processor"):
        FacialBehaviorPipeline(model=find.model)


def test_a_configuration_names_the_pipeline_where_it_is_saved_alone(folder, find):
    saved = json.loads((folder / "config.json").read_text())
    assert saved["custom_pipelines"] == CUSTOM_PIPELINES and (folder / "pipeline_clef.py").is_file()
    # Here the pipeline is registered, and needs nobody's trust.
    assert AutoConfig.from_pretrained(folder).custom_pipelines == {}
    assert AutoConfig.from_pretrained(folder).to_dict()["custom_pipelines"] == CUSTOM_PIPELINES
    assert json.loads(find.model.config.to_json_string())["custom_pipelines"] == CUSTOM_PIPELINES


def test_a_folder_serves_the_pipeline_without_the_packages(find, folder, photo, tmp_path):
    detector, labels = GivenFaces(BOXES, POINTS), {"smile": "the lip corner up"}
    photo.save(tmp_path / "photo.png")
    crop = align_face(photo, POINTS[0], 40)
    Image.fromarray(crop).save(tmp_path / "crop.png")
    expected = {
        "photo": find(photo, detector=detector),
        "crop": find(crop, aligned=True),
        "labels": find(photo, detector=detector, labels=labels),
    }
    find.save_pretrained(tmp_path / "by_pipeline")
    assert {path.name for path in (tmp_path / "by_pipeline").iterdir()} == {path.name for path in folder.iterdir()}
    environment = dict(os.environ, HF_MODULES_CACHE=str(tmp_path / "modules"), HF_HUB_OFFLINE="1")
    environment.pop("PYTHONPATH", None)
    request = json.dumps([BOXES, POINTS.tolist(), labels])
    arguments = [str(tmp_path / name) for name in ("by_pipeline", "photo.png", "crop.png")]
    done = subprocess.run(
        [sys.executable, "-I", str(WORKER), *arguments, request],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("custom_pipelines") == CUSTOM_PIPELINES
    assert found.pop("saved_again") == sorted(path.name for path in folder.glob("*.py"))
    same(found, json.loads(json.dumps(expected)))
