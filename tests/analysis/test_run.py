"""From inputs to rows: against runs by hand, and with inputs that fail."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

pytest.importorskip("cv2", reason="needs opencv-python-headless")
pytest.importorskip("av", reason="needs PyAV")

from transformers import AutoModelForImageClassification, AutoProcessor

import modeling_clef  # noqa: F401
from analysis import analyze, analyze_to_file
from analysis.decode import read_frames
from analysis.sources import find_sources
from processing.face_alignment_clef import align_face

KEYS = ("source", "frame", "time_s", "frame_width", "frame_height", "face_found", "out_of_scope")


@pytest.fixture
def run(checkpoint, detector):
    """`run(inputs, **options)`: an analysis with the tiny checkpoint and the detector of blocks."""

    def make(inputs, **options):
        return analyze(inputs, **{"model": checkpoint, "detector": detector, **options})

    return make


@pytest.fixture
def clip(tmp_path, make_video, make_blocks):
    return make_video(tmp_path / "clip.mp4", make_blocks(24))


def test_every_frame_has_a_row_for_each_face_and_one_if_it_has_none(run, clip):
    rows = list(run(clip))
    seen = {}
    for row in rows:
        seen.setdefault(row["frame"], []).append(row)
    assert list(seen) == list(range(24))
    for frame, found in seen.items():
        expected = 0 if frame % 10 == 9 else 1 if frame % 7 == 3 else 2
        assert [row["face_found"] for row in found] == [True] * expected or [False]
        assert len(found) == max(1, expected) and found[0]["time_s"] == pytest.approx(frame / 25)
        if not expected:
            assert {value for key, value in found[0].items() if key not in KEYS} == {None}
    assert {row["source"] for row in rows} == {str(clip)} and {row["frame_width"] for row in rows} == {160}
    assert len({row["track_id"] for row in rows if row["face_found"] and row["box_left"] < 60}) == 1


def test_boxes_and_landmarks_lie_where_the_faces_are(run, clip):
    for row in run(clip):
        if row["face_found"]:
            number = row["frame"]
            red, blue = (5 + number % 20, 10 + number % 7), (105 - number % 20, 40)
            left, top = min(red, blue, key=lambda place: abs(place[0] - row["box_left"]))
            found = [row[f"box_{side}"] for side in ("left", "top", "right", "bottom")]
            np.testing.assert_allclose(found, [left, top, left + 48, top + 60], atol=3)  # chroma is halved
            assert left < row["right_eye_x"] < row["left_eye_x"] < left + 48
            assert row["eye_distance"] == pytest.approx(row["left_eye_x"] - row["right_eye_x"], abs=1e-3)
            assert row["box_size"] == pytest.approx(math.sqrt(48 * 60), rel=0.1) and row["roll"] == 0


def test_probabilities_are_the_models_own_and_decisions_follow_the_thresholds(run, clip, checkpoint):
    """Against the model and the processor called by hand, a face at a time."""
    model = AutoModelForImageClassification.from_pretrained(checkpoint).eval()
    processor = AutoProcessor.from_pretrained(checkpoint)
    pictures = {frame.index: frame.image for frame in read_frames(find_sources(clip).sources[0])}
    decisions = set()
    for row in run(clip):
        if not row["face_found"]:
            continue
        names = ("right_eye", "left_eye", "nose_tip", "right_mouth_corner", "left_mouth_corner")
        points = [(row[f"{name}_x"], row[f"{name}_y"]) for name in names]
        crop = align_face(pictures[row["frame"]], points, 32)
        with torch.no_grad():
            logits = model(**processor(images=crop)).logits
        au12, au4, neutral, happiness = model.probabilities(logits)[0].tolist()
        found = [row[f"{label}_probability"] for label in ("AU12", "AU4", "neutral", "happiness")]
        np.testing.assert_allclose(found, [au12, au4, neutral, happiness], atol=1e-3)  # points are rounded to float32
        assert row["AU12"] == int(row["AU12_probability"] >= 0.433) and row["AU4"] == int(
            row["AU4_probability"] >= 0.343
        )
        assert row["expression"] == ("neutral" if neutral > happiness else "happiness")
        decisions |= {("AU12", row["AU12"]), ("AU4", row["AU4"]), row["expression"]}
    assert len(decisions) == 6  # each way


def test_a_video_gives_the_rows_of_its_frames_as_images(run, clip, tmp_path):
    stills = tmp_path / "stills"
    stills.mkdir()
    for frame in read_frames(find_sources(clip).sources[0]):
        Image.fromarray(frame.image).save(stills / f"{frame.index:03d}.png")
    video, images = list(run(clip, batch_size=5)), list(run(stills))
    assert len(video) == len(images)
    for one, other in zip(video, images, strict=True):
        assert other["time_s"] is None and int(other["source"][-7:-4]) == one["frame"]
        for key in one.keys() - {"source", "frame", "time_s", "track_id"}:
            if isinstance(one[key], float):
                assert other[key] == pytest.approx(one[key], abs=2e-6), key
            else:
                assert other[key] == one[key], key


def test_every_part_and_the_largest_faces(run, clip):
    assert sorted({row["frame"] for row in run(clip, every=5)}) == [0, 5, 10, 15, 20]
    assert sorted({row["frame"] for row in run(clip, start=0.4, stop=0.6)}) == [10, 11, 12, 13, 14]
    largest = [row for row in run(clip, max_faces=1) if row["face_found"]]
    assert len(largest) == len({row["frame"] for row in largest}) == 22


def test_times_are_the_containers(run, tmp_path, make_video, make_blocks):
    ticks = [0, 3600, 9000, 90_000, 91_000, 270_000]
    path = make_video(tmp_path / "vfr.mp4", make_blocks(6, faces=1), ticks=ticks)
    assert [row["time_s"] for row in run(path)] == pytest.approx([tick / 90_000 for tick in ticks], abs=1e-9)


def test_faces_of_several_sources_share_batches_and_keep_their_rows(run, tmp_path, make_video, make_blocks):
    """Batches of any size give the same, and two files of one name stay apart."""
    paths = []
    for name, count in (("a", 13), ("b", 9)):
        (tmp_path / name).mkdir()
        paths.append(make_video(tmp_path / name / "clip.mp4", make_blocks(count)))
    alone = [row for path in paths for row in run(path)]
    assert [row["source"] for row in alone] == sorted(row["source"] for row in alone)
    assert {row["source"] for row in alone} == {str(path) for path in paths}
    for size in (1, 7, 1000):
        together = list(run(paths, batch_size=size))
        for one, other in zip(together, alone, strict=True):
            assert one.keys() == other.keys()
            assert all(one[key] == pytest.approx(other[key], abs=2e-6) for key in one), size


def test_labels_of_the_users_own(run, clip, checkpoint):
    texts = ["AU12", "a big smile", "frown=brow lowerer"]
    analysis = run(clip, labels=texts)
    rows = [row for row in analysis if row["face_found"]]
    assert [name for name in rows[0] if name.endswith("_probability")] == [
        "AU12_probability",
        "a big smile_probability",
        "frown_probability",
    ]
    assert "expression" not in rows[0] and rows[0]["frown"] == int(rows[0]["frown_probability"] >= 0.5)
    meanings = {column.name: column.meaning for column in analysis.columns}
    assert "lip corner puller" in meanings["AU12"] and "brow lowerer" in meanings["frown_probability"]
    same = [row["smirk_probability"] for row in run(clip, labels={"smirk": "a big smile"}) if row["face_found"]]
    assert same == pytest.approx([row["a big smile_probability"] for row in rows], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["smile", "smile"]}, "more than once"),
        ({"labels": ["=x"]}, "say something"),
        ({"labels": []}, "no labels"),
        ({"labels": {"frame": "a frame"}}, "columns that are there already: frame"),
        ({"labels": {"box_left": "x", "yaw": "y"}}, "columns that are there already: box_left, yaw"),
        ({"every": 0}, "expected 1"),
        ({"max_faces": 0}, "max_faces is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"start": 2.0, "stop": 1.0}, "later end"),
        ({"device": "nowhere"}, "'nowhere' cannot be used"),
        ({"detector": "magic"}, "magic"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, clip, options, message):
    with pytest.raises(ValueError, match=message):
        run(clip, **options)


def test_checkpoints_that_do_not_fit_are_refused(run, clip, checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint can be loaded"):
        run(clip, model=tmp_path / "nowhere")
    processor = AutoProcessor.from_pretrained(checkpoint)
    processor.image_processor.crop_recipe = "another-1"
    AutoModelForImageClassification.from_pretrained(checkpoint).save_pretrained(tmp_path / "other")
    processor.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="'another-1'"):
        run(clip, model=tmp_path / "other")


def test_sources_that_fail_do_not_keep_others_from_finishing(run, clip, tmp_path, make_block_picture):
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "text.mp4").write_text("no video")
    Image.fromarray(make_block_picture((10, 10))).save(tmp_path / "z.png")
    inputs = [tmp_path / "text.jpg", tmp_path / "gone.mp4", clip, tmp_path / "text.mp4", tmp_path / "z.png"]
    analysis = run(inputs)
    with pytest.warns(UserWarning) as warned:
        rows = list(analysis)
    assert len(warned) == 3 and all("text" in str(w.message) or "gone" in str(w.message) for w in warned)
    assert len({row["frame"] for row in rows if row["source"] == str(clip)}) == 24
    assert [row["face_found"] for row in rows if row["source"].endswith("z.png")] == [True]
    statuses = {report.source.rsplit("/")[-1]: report.status for report in analysis.reports}
    assert statuses == {"text.jpg": "failed", "clip.mp4": "done", "text.mp4": "failed", "z.png": "done"}
    assert sorted(problem.source.rsplit("/")[-1] for problem in analysis.problems) == [
        "gone.mp4",
        "text.jpg",
        "text.mp4",
    ]


def test_a_picture_on_which_the_detector_fails_ends_its_source_alone(run, clip, detector, tmp_path, make_block_picture):
    class Fails:
        calls = 0

        def detect(self, image):
            self.calls += 1
            if self.calls == 6:
                raise RuntimeError("out of luck")
            return detector.detect(image)

    Image.fromarray(make_block_picture((10, 10))).save(tmp_path / "z.png")
    analysis = run([clip, tmp_path / "z.png"], detector=Fails())
    with pytest.warns(UserWarning, match="RuntimeError: out of luck"):
        rows = list(analysis)
    assert sorted({row["frame"] for row in rows if row["source"] == str(clip)}) == [0, 1, 2, 3, 4]
    assert [(report.status, report.frames) for report in analysis.reports] == [("incomplete", 5), ("done", 1)]


def test_a_broken_model_is_no_fault_of_a_source(run, clip, monkeypatch):
    analysis = run(clip)
    with torch.no_grad():
        analysis.classifier.model.label_head.biases.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        list(analysis)


def test_a_face_whose_points_make_no_crop_has_a_row_without_probabilities(run, tmp_path, make_block_picture, detector):
    class Mirrored:
        def detect(self, image):
            (face,) = detector.detect(image)
            face.points[:2] = face.points[1::-1].copy()
            return [face]

    Image.fromarray(make_block_picture((10, 10))).save(tmp_path / "z.png")
    (row,) = run(tmp_path / "z.png", detector=Mirrored())
    assert row["face_found"] and row["out_of_scope"] and "no crop" in row["out_of_scope_reason"]
    assert row["AU12"] is row["AU12_probability"] is row["expression"] is row["blur"] is None
    assert row["box_left"] is not None and row["track_id"] == 0


def test_a_stream_that_is_left_early_leaves_no_threads(run, clip):
    import threading

    before = {thread.name for thread in threading.enumerate()}
    rows = iter(run(clip, batch_size=1))
    next(rows)
    rows.close()
    assert {thread.name for thread in threading.enumerate()} == before


def test_an_endless_camera_is_ended_from_outside(run, monkeypatch, make_block_picture):
    import cv2

    class Camera:
        def __init__(self, index):
            pass

        def read(self):
            return True, make_block_picture((10, 10))[..., ::-1]

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    analysis = run(0, batch_size=2)
    pipeline = analysis.start(analysis.found.sources)
    batches = [pipeline.next_batch(), pipeline.next_batch()]
    pipeline.finish_reading()
    while batches[-1] is not None:
        batches.append(pipeline.next_batch())
    pipeline.close()
    (report,) = batches[-2].ended
    assert report.source == "camera 0" and report.status == "done"
    assert report.frames == sum(len(batch.frames) for batch in batches[:-1])
    numbers = [frame.index for batch in batches[:-1] for frame in batch.frames]
    assert numbers == sorted(numbers) and numbers[-1] + 1 - len(numbers) <= report.dropped


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_tables_of_all_kinds_hold_the_rows_of_the_stream(run, clip, tmp_path, suffix):
    import pandas as pd

    analysis = run(clip)
    rows = list(analysis)
    path = tmp_path / f"table{suffix}"
    outcome = analyze_to_file(analysis, path)
    assert (outcome.done, outcome.frames, outcome.rows, outcome.problems) == (1, 24, len(rows), [])
    assert outcome.faces == sum(row["face_found"] for row in rows)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.mp4", path.name, f"{path.name}.json"]
    if suffix == ".jsonl":
        assert [json.loads(line) for line in path.read_text().splitlines()] == rows
        return
    table = pd.read_parquet(path) if suffix == ".parquet" else pd.read_csv(path)
    assert list(table.columns) == [column.name for column in analysis.columns] and len(table) == len(rows)
    assert table["face_found"].dtype == bool and table["AU12"].mean() >= 0
    for name in table.columns:
        for found, row in zip(table[name].tolist(), rows, strict=True):
            if row[name] is None:
                assert found is None or found != found, name
            else:
                assert found == (pytest.approx(row[name], rel=1e-6) if isinstance(row[name], float) else row[name])


def test_what_columns_mean_lies_in_the_file_and_beside_it(run, clip, tmp_path):
    path = tmp_path / "table.parquet"
    analysis = run(clip, every=2)
    analyze_to_file(analysis, path)
    schema = pq.read_schema(path)
    about = json.loads((tmp_path / "table.parquet.json").read_text())
    within = json.loads(schema.metadata[b"clef"])
    assert all(about[key] == within[key] for key in within)
    assert [column["name"] for column in about["columns"]] == schema.names
    assert (
        schema.field("time_s").metadata[b"unit"] == b"s"
        and b"lip corner puller" in schema.field("AU12").metadata[b"meaning"]
    )
    assert about["model"]["crop_recipe"] == "eyes-nose-1" and len(about["model"]["weights_sha256"]) == 64
    assert about["model"]["label_groups"][0]["thresholds"] == [0.433, 0.343] and about["settings"]["every"] == 2
    assert about["model"]["mirror"] is False
    assert about["versions"]["torch"] == torch.__version__ and about["detector"]["name"] == "BlockDetector"
    (source,) = about["sources"]
    assert (source["source"], source["status"], source["frames"]) == (str(clip), "done", 12)


def test_by_default_the_model_is_the_one_that_ships(test_data):
    yunet = test_data / "weights" / "face_detection_yunet.onnx"
    if not yunet.is_file():
        pytest.skip("needs YuNet's file in CLEF_TEST_DATA")
    classifier = analyze([], detector=str(yunet)).classifier
    assert classifier.name.endswith("clef-small") and "AU12" in classifier.labels
    shipped = Path(__file__).resolve().parents[2] / "checkpoints" / "clef-small"
    size = json.loads((shipped / "preprocessor_config.json").read_text())["size"]
    assert classifier.crop_size == size["height"]


def test_a_rendered_clip_with_known_faces_and_action_units(tmp_path, test_data, face_model_root):
    yunet = test_data / "weights" / "face_detection_yunet.onnx"
    if not yunet.is_file():
        pytest.skip("needs YuNet's file in CLEF_TEST_DATA")
    from processing.corpora.bilateral_behaviour import ACTION_UNITS
    from processing.corpora.video_clips import render_clip

    intensities = np.zeros((12, len(ACTION_UNITS)), dtype=np.float32)
    intensities[6:, ACTION_UNITS.index("AU12")] = 4
    intensities[6:, ACTION_UNITS.index("AU6")] = 3
    times = [0, 0.04, 0.1, 0.12, 0.3, 0.34, 0.4, 0.5, 0.54, 0.6, 0.9, 1.0]
    path = tmp_path / "clip.mp4"
    truth = render_clip(
        path, face_model_root, subjects=[0, 3], action_units=intensities, times=times, gaps=[(1, 0.1, 0.3)], seed=1
    ).to_pylist()
    rows = list(analyze(path, detector=str(yunet)))
    assert [(row["frame"], row["face_found"]) for row in rows] == [
        (frame, True) for frame in range(12) for _ in range(1 if frame in (2, 3) else 2)
    ]
    tracks, smiles = {}, {0: [[], []], 1: [[], []]}
    for row in rows:
        assert row["time_s"] == pytest.approx(times[row["frame"]], abs=1e-5)
        eye = np.array([row["right_eye_x"], row["right_eye_y"]])
        there = [face for face in truth if face["frame"] == row["frame"]]
        nearest = min(there, key=lambda face: np.hypot(*(np.array(face["landmarks"][0]) - eye)))
        assert np.hypot(*(np.array(nearest["landmarks"][0]) - eye)) < 0.25 * row["eye_distance"]
        tracks.setdefault(nearest["face"], set()).add(row["track_id"])
        smiles[nearest["face"]][row["frame"] >= 6].append(row["AU12_probability"])
        assert not row["out_of_scope"]
    assert all(len(found) == 1 for found in tracks.values()) and len(tracks) == 2
    for before, after in smiles.values():
        assert np.mean(after) > np.mean(before) + 0.2
