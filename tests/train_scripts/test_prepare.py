import csv
import errno
import functools
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from PIL import Image

from processing.corpora import action_unit_labels, adapters, corpus_metadata, load_corpus, shards
from processing.corpora.official import FaceRecord, OfficialCorpus, ReadingReport
from processing.corpora.prepared import load_prepared, read_prepared_metadata
from processing.corpora.shards import plan_shards
from processing.face_alignment_clef import EYES_NOSE_1, Face
from train_scripts import face_crops, prepare
from train_scripts.face_crops import FaceCropper, nearest_face, plan_tasks, read_pictures
from train_scripts.options import parse_options
from train_scripts.prepare import PrepareOptions, with_corpus_flag

pytest.importorskip("cv2", reason="needs opencv-python-headless")

# Right eye, left eye and nose tip of a drawn face, each in a colour of its own.
FIRST = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
SECOND = ((255, 255, 0), (0, 255, 255), (255, 0, 255))
TRIANGLE = np.array([[-12.0, -8.0], [12.0, -8.0], [0.0, 7.0]])  # as the recipe has it, 24 pixels between the eyes


def place(x, y, scale=1.0, degrees=0.0):
    """(3, 2) points of a face whose middle is (x, y)."""
    turn = np.exp(1j * np.radians(degrees)) * scale * (TRIANGLE[:, 0] + 1j * TRIANGLE[:, 1])
    return np.stack([turn.real + x, turn.imag + y], axis=1)


def draw(*faces, size=(120, 100)):
    """A picture with `faces`, (points, colours) each."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    for points, colours in faces:
        for point, colour in zip(points, colours, strict=True):
            pixels[np.hypot(x - point[0], y - point[1]) < 4] = colour
    return Image.fromarray(pixels)


def found(image, colours):
    """Where the discs of these colours are, (3, 2), or None."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    points = []
    for colour in colours:
        rows, columns = np.nonzero(abs(pixels - colour).max(axis=-1) < 60)
        if not len(rows):
            return None
        points.append([columns.mean() + 0.5, rows.mean() + 0.5])
    return np.array(points)


class DiscDetector:
    """Finds drawn faces; `log` is a file that gets a line a picture."""

    def __init__(self, log=None, stop_at=None):
        self.log, self.stop_at = log, stop_at

    def detect(self, image):
        if self.log:
            with open(self.log, "a") as file:
                file.write("one\n")
            if self.stop_at and len(Path(self.log).read_text().split()) > self.stop_at:
                raise KeyboardInterrupt
        faces = []
        for colours in (FIRST, SECOND):
            points = found(image, colours)
            if points is not None:
                reach = 1.4 * np.ptp(points[:, 0])
                middle = points.mean(axis=0)
                mouth = points[:2] + [0, 2 * np.ptp(points[:, 1])]
                faces.append(Face(np.array([*middle - reach, *middle + reach]), np.array([*points, *mouth]), 1.0))
        return faces


# What a file's name says about its face.
PLACES = {"plain": place(50, 45), "turned": place(60, 50, 1.3, 20), "small": place(40, 40, 0.8, -10)}


def read_toy(root, mouth="expression", given=False, videos=False, official=True):
    """subject/kind_frame.png; subjects A and B train, C is tested."""
    report = ReadingReport()
    report.add("label without a frame", "A", 2)
    records = []
    for file in sorted(Path(root).glob("*/*.png")):
        kind, _, frame = file.stem.partition("_")
        records.append(
            FaceRecord(
                subject_id=file.parent.name,
                image=file,
                sequence_id=f"{file.parent.name}_{kind}",
                frame=int(frame),
                expression="happiness" if mouth == "expression" else None,
                action_units={"AU1": None, "AU12": float(int(frame) % 2)},
                split=("test" if file.parent.name == "C" else "train") if official else None,
                points=PLACES[kind] if given and kind in PLACES else None,
                box=np.array([0.0, 0.0, 60.0, 100.0]) if kind == "boxed" else None,
                groups={"gender": "woman"} if file.parent.name == "A" else {},
            )
        )
    for file in sorted(Path(root).glob("*/*.mkv")) if videos else []:
        name = file.parent.name
        records += [
            FaceRecord(
                name, video=file, video_frame=n, sequence_id=f"{name}_video", frame=n + 1, action_units={"AU1": 1}
            )
            for n in (1, 2, 3, 4, 6, 7, 30)
        ]
    return OfficialCorpus("toy", records, report, ("AU1", "AU12"), "occurrence", "nobody's")


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(adapters.READERS, "toy", read_toy)
    monkeypatch.setattr(face_crops, "PICTURES_PER_TASK", 2)
    monkeypatch.setattr(face_crops, "plan_shards", functools.partial(plan_shards, rows_per_shard=2))


@pytest.fixture
def root(tmp_path):
    """Ten pictures of three people."""
    folder = tmp_path / "official"
    pictures = {
        "A/plain_1": draw((PLACES["plain"], FIRST)),
        "A/turned_2": draw((PLACES["turned"], FIRST)),
        "A/empty_3": draw(size=(160, 100)),
        "B/corrupt_1": None,
        "B/several_2": draw((place(30, 40), FIRST), (place(85, 50, 1.3), SECOND)),
        "B/boxed_3": draw((place(30, 40), FIRST), (place(85, 50, 1.3), SECOND)),
        "B/boxed_4": draw((place(85, 50, 1.3), SECOND)),
        "B/small_5": draw((PLACES["small"], FIRST)),
        "C/plain_1": draw((PLACES["plain"], FIRST)),
        "C/plain_2": draw((PLACES["plain"], FIRST)),
    }
    for name, picture in pictures.items():
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        if picture is None:
            draw().save(file)
            file.write_bytes(file.read_bytes()[:-60])
        else:
            picture.save(file)
    return folder


def options(root, output, **further):
    return PrepareOptions(corpus="toy", root=str(root), output=str(output), num_proc=1, **{"size": 64, **further})


def run(root, output, make_detector=DiscDetector, **further):
    return prepare.main(options(root, output, **further), make_detector)


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(Path(folder).glob("*.parquet"))}


def test_every_face_is_a_row_and_its_eyes_and_nose_lie_where_the_recipe_says(root, tmp_path, capsys):
    metadata = run(root, tmp_path / "crops")
    corpus = load_corpus("toy", root=str(tmp_path / "crops"))
    assert [name.partition("_")[2] for name in corpus["sequence_id"]] == (
        ["empty", "plain", "turned", "boxed", "boxed", "corrupt", "several", "small", "plain", "plain"]
    )
    assert corpus["subject_id"][:] == [*"AAABBBBBCC"] and corpus["split"][:] == ["train"] * 8 + ["test"] * 2
    assert corpus["frame"][:] == [3, 1, 2, 3, 4, 1, 2, 5, 1, 2]
    assert set(corpus["corpus"]) == {"toy"} and set(corpus["expression"]) == {"happiness"}
    assert corpus["groups"][2:4] == [{"gender": "woman"}, {"gender": None}]
    labels = action_unit_labels(corpus, ["AU1", "AU12"])
    assert np.isnan(labels[:, 0]).all() and labels[:, 1].tolist() == [1, 1, 0, 1, 0, 1, 0, 1, 1, 0]

    origins = ["no face", "detected", "detected", "detected", "no face", "unreadable", "detected", "detected"]
    assert corpus["crop_origin"][:] == [*origins, "detected", "detected"]
    assert corpus["face_found"][:] == [origin == "detected" for origin in corpus["crop_origin"]]
    assert corpus["faces_seen"][:] == [0, 1, 1, 2, 1, None, 2, 1, 1, 1]
    shown = {3: FIRST, 6: SECOND}  # nearest the box; the largest
    for row, image in enumerate(corpus["image"]):
        assert image.size == (64, 64)
        if corpus["face_found"][row]:
            points = found(image, shown.get(row, FIRST))
            np.testing.assert_allclose(points, EYES_NOSE_1.targets(64), atol=1.0)
    assert np.ptp(np.asarray(corpus[5]["image"])) == 0
    trouble = corpus["trouble"][:]
    assert (trouble[0], trouble[4]) == ("no face found", "no face found within the set's box")
    assert "truncated" in trouble[5] or "broken" in trouble[5], trouble[5]

    assert metadata["counts"] == {
        "rows": {"train": 8, "test": 2},
        "crops": {"points of the set": 0, "detected": 7, "as it is": 0, "no face": 2, "unreadable": 1},
        "several_faces": 2,
    }
    with open(tmp_path / "crops" / "without_face.csv", newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["A/empty_3.png", "B/boxed_4.png", "B/corrupt_1.png"]
    said = capsys.readouterr().out
    assert "toy: 10 rows" in said and "2 × label without a frame" in said
    assert "2 without a face that was found, 1 unreadable" in said and "2 pictures with several faces" in said
    metadata["counts"] = {
        "rows": {"test": 1},
        "crops": dict.fromkeys(metadata["counts"]["crops"], 0) | {"detected": 1},
        "several_faces": 0,
    }
    lines = prepare.crop_lines(metadata, "crops")
    assert lines[:2] == ["toy: 1 row in crops (test 1)", "  1 face (detected 1)"]
    assert not any("several faces" in line for line in lines)
    about = corpus_metadata(corpus)
    assert about["crop_recipe"] == "eyes-nose-1" and about["action_unit_coding"] == "occurrence"
    assert about["licence"] == "nobody's" and about["reading_report"]["label without a frame"]["count"] == 2
    assert about["options"] == {"mouth": "expression", "given": False, "videos": False, "official": True}


def test_load_corpus_reads_official_splits_and_folds_of_it(root, tmp_path):
    run(root, tmp_path / "crops")
    load = functools.partial(load_corpus, root=str(tmp_path / "crops"))
    assert len(load("toy", split="train")) == 8 and set(load("prepared", split="test")["subject_id"]) == {"C"}
    people = {
        s: set(load("toy", split=s, protocol="kfold_3", fold=2)["subject_id"]) for s in ("train", "validation", "test")
    }
    assert sorted(name for group in people.values() for name in group) == ["A", "B", "C"]
    assert corpus_metadata(load("toy", split="test", protocol="kfold_3", fold=2))["corpus"] == "toy"
    with pytest.raises(
        ValueError, match="no official split 'validation', only 'test', 'train'.*'official' or 'kfold_5'"
    ):
        load("toy", split="validation")


def test_a_file_without_official_splits_is_named_all(root, tmp_path):
    run(root, tmp_path / "crops", corpus_options={"official": False})
    assert sorted(files(tmp_path / "crops"))[0] == "all-00000-of-00005.parquet"
    corpus = load_corpus("toy", root=str(tmp_path / "crops"))
    assert len(corpus) == 10 and set(corpus["split"]) == {None}
    with pytest.raises(
        ValueError,
        match="toy has no official split 'train'; .* protocol or 'kfold_5'.*--corpus_options",
    ):
        load_corpus("toy", root=str(tmp_path / "crops"), split="train")


def test_the_number_of_processes_does_not_show(root, tmp_path):
    run(root, tmp_path / "one")
    prepare.prepare(PrepareOptions("toy", str(root), output=str(tmp_path / "three"), size=64, num_proc=3), DiscDetector)
    assert files(tmp_path / "one") == files(tmp_path / "three") and len(files(tmp_path / "one")) == 5


class SingleThreaded(DiscDetector):
    def __init__(self):
        super().__init__()
        assert cv2.getNumThreads() == 1


def test_no_threads_of_opencv_are_forked_which_workers_would_wait_for(root, tmp_path):
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        options = PrepareOptions("toy", str(root), output=str(tmp_path / "crops"), size=64, num_proc=2)
        assert prepare.prepare(options, SingleThreaded)["complete"]
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_a_run_that_was_killed_goes_on(root, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        run(root, tmp_path / "crops", functools.partial(DiscDetector, log, stop_at=5))
    kept = files(tmp_path / "crops")
    assert len(kept) == 3 and not read_prepared_metadata(tmp_path / "crops")["complete"]
    with pytest.raises(ValueError, match="not finished: run `python train_scripts/prepare.py toy .*--size 64"):
        load_corpus("toy", root=str(tmp_path / "crops"))
    log.unlink()
    metadata = run(root, tmp_path / "crops", functools.partial(DiscDetector, log))
    assert len(log.read_text().split()) == 4  # the rows that were missing
    run(root, tmp_path / "whole")
    assert files(tmp_path / "crops") == files(tmp_path / "whole") and files(tmp_path / "crops").items() >= kept.items()
    assert metadata == read_prepared_metadata(tmp_path / "whole") == read_prepared_metadata(tmp_path / "crops")
    log.unlink()
    assert run(root, tmp_path / "crops", functools.partial(DiscDetector, log)) == metadata
    assert not log.exists()


def test_a_picture_that_was_repaired_is_looked_at_again(root, tmp_path, monkeypatch, capsys):
    run(root, tmp_path / "crops")
    before = files(tmp_path / "crops")
    assert sum(load_corpus("toy", root=str(tmp_path / "crops"))["face_found"]) == 7
    draw((PLACES["plain"], FIRST)).save(root / "B/corrupt_1.png")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="gone"):
        patch.setattr(face_crops, "lossless_webp", lambda pixels: (_ for _ in ()).throw(OSError("gone")))
        run(root, tmp_path / "crops")
    assert files(tmp_path / "crops") == before  # the old file stays until the new one is complete
    capsys.readouterr()
    log = tmp_path / "log"
    metadata = run(root, tmp_path / "crops", functools.partial(DiscDetector, log))
    assert (metadata["counts"]["crops"]["detected"], metadata["counts"]["crops"]["unreadable"]) == (8, 0)
    changed = [name for name, content in files(tmp_path / "crops").items() if content != before[name]]
    assert len(changed) == 1 and f"could not before: {changed[0]}" in capsys.readouterr().out
    assert len(log.read_text().split()) == 2  # the other pictures are not
    run(root, tmp_path / "whole")
    assert files(tmp_path / "crops") == files(tmp_path / "whole")
    assert read_prepared_metadata(tmp_path / "crops") == read_prepared_metadata(tmp_path / "whole")
    assert "corrupt" not in (tmp_path / "crops" / "without_face.csv").read_text()
    assert sum(load_corpus("toy", root=str(tmp_path / "crops"))["face_found"]) == 8


def test_a_folder_that_is_prepared_with_an_adapter_s_defaults_is_left_as_it_is(root, tmp_path):
    """Also where a default is no JSON: image_folder's is a tuple."""
    (root / "labels.csv").write_text("file,AU12\nA/plain_1.png,1\nC/plain_1.png,0\n")
    own = PrepareOptions(
        corpus="image_folder", root=str(root), output=str(tmp_path / "crops"), size=64, detector="none", num_proc=1
    )
    first = prepare.main(own)
    written = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "crops").glob("*.parquet")}
    assert prepare.main(own) == first == read_prepared_metadata(tmp_path / "crops")
    assert written == {file.name: file.stat().st_mtime_ns for file in (tmp_path / "crops").glob("*.parquet")}
    assert len(load_corpus("image_folder", root=str(tmp_path / "crops"), labels=())) == 2


def test_a_full_disk_is_said_in_a_sentence_and_a_rerun_completes(root, tmp_path, monkeypatch):
    real, calls = pq.ParquetWriter.write_table, []

    def full(writer, table):
        calls.append(1)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(writer, table)

    monkeypatch.setattr(shards.pq.ParquetWriter, "write_table", full)
    with pytest.raises(SystemExit, match="the disk of .*crops is full. 3 finished shards kept: make room"):
        run(root, tmp_path / "crops")
    assert not list((tmp_path / "crops").glob("*.tmp"))
    monkeypatch.setattr(shards.pq.ParquetWriter, "write_table", real)
    run(root, tmp_path / "crops")
    run(root, tmp_path / "whole")
    assert files(tmp_path / "crops") == files(tmp_path / "whole")


def test_a_disk_that_is_full_from_the_start(root, tmp_path, monkeypatch):
    def full(path, *args, **kwargs):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(prepare.Path, "write_text", full)
        with pytest.raises(SystemExit, match="is full. 0 finished shards"):
            run(root, tmp_path / "crops")
    assert run(root, tmp_path / "crops")["complete"]


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ({"size": 48}, "size 64 there, 48 now"),
        ({"limit": 4}, "limit 0 there, 4 now"),
        ({"detector": "none"}, "detector 'auto' there, 'none' now"),
        ({"corpus_options": {"mouth": "other"}}, "corpus_options .*official_files"),
    ],
)
def test_other_options_than_the_folder_was_begun_with_are_refused(root, tmp_path, further, said):
    run(root, tmp_path / "crops")
    with pytest.raises(SystemExit, match=f"begun differently: .*{said}"):
        run(root, tmp_path / "crops", **further)


def test_official_files_that_changed_are_refused(root, tmp_path):
    run(root, tmp_path / "crops")
    (root / "C" / "plain_2.png").rename(root / "C" / "plain_7.png")
    with pytest.raises(SystemExit, match="begun differently: official_files"):
        run(root, tmp_path / "crops")


def test_output_folders_of_others_are_left_alone(root, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.tmp").write_text("dear diary")
    with pytest.raises(SystemExit, match="holds notes.tmp, not what this script writes"):
        run(root, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.tmp").exists()
    with pytest.raises(SystemExit, match="is a file, expected a folder"):
        run(root, tmp_path / "mine" / "notes.tmp")


def test_two_runs_do_not_write_one_folder(root, tmp_path):
    run(root, tmp_path / "crops")
    with FileLock(tmp_path / "crops" / ".lock"), pytest.raises(SystemExit, match="another process is writing"):
        run(root, tmp_path / "crops")


def test_the_sets_own_landmarks_come_first(root, tmp_path):
    log = tmp_path / "log"
    run(root, tmp_path / "auto", functools.partial(DiscDetector, log), corpus_options={"given": True})
    corpus = load_prepared(tmp_path / "auto")
    given = [row for row, origin in enumerate(corpus["crop_origin"]) if origin == "points of the set"]
    assert given == [1, 2, 7, 8, 9] and len(log.read_text().split()) == 4
    for row in given:
        np.testing.assert_allclose(found(corpus[row]["image"], FIRST), EYES_NOSE_1.targets(64), atol=1.0)
    log.unlink()
    run(
        root, tmp_path / "given", functools.partial(DiscDetector, log), corpus_options={"given": True}, detector="given"
    )
    corpus = load_prepared(tmp_path / "given")
    assert not log.exists() and np.flatnonzero(corpus["face_found"]).tolist() == given
    assert corpus["trouble"][0] == "the set gives no points"
    run(
        root, tmp_path / "yunet", functools.partial(DiscDetector, log), corpus_options={"given": True}, detector="yunet"
    )
    assert "points of the set" not in load_prepared(tmp_path / "yunet")["crop_origin"][:]
    with pytest.raises(SystemExit, match="ships no landmarks"):
        run(root, tmp_path / "none", detector="given")


@pytest.mark.parametrize("points", [[[300, 300], [320, 300], [310, 320]], [[50, 30], [20, 30], [35, 50]], [[9, 9]] * 3])
def test_landmarks_that_cannot_be_used_leave_the_face_to_the_detector(points):
    features = {"image": None}
    cropper = FaceCropper("toy", Path("/"), [], features, 64, make_detector=DiscDetector)
    record = FaceRecord("A", points=np.array(points, float))
    assert cropper.crop(draw((PLACES["plain"], FIRST)), record).origin == "detected"
    cropper.make_detector = None
    crop = cropper.crop(draw((PLACES["plain"], FIRST)), record)
    assert crop.origin == "no face" and crop.trouble.startswith("the set's points: got")


def test_without_alignment_pictures_are_only_scaled(root, tmp_path):
    run(root, tmp_path / "crops", detector="none")
    corpus = load_prepared(tmp_path / "crops")
    assert corpus_metadata(corpus)["crop_recipe"] == "toy-uncropped"
    assert corpus["crop_origin"][:].count("as it is") == 9 and sum(corpus["face_found"]) == 9
    expected = Image.open(root / "A" / "empty_3.png").resize((64, 64), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(corpus[0]["image"]), np.asarray(expected))


def test_where_no_face_is_found_the_box_or_the_middle_is_shown():
    cropper = FaceCropper("toy", Path("/"), [], {}, 32, make_detector=DiscDetector)
    picture = Image.fromarray(np.tile(np.arange(160, dtype=np.uint8)[None, :, None], (100, 1, 3)))
    middle = cropper.crop(picture, FaceRecord("A")).pixels
    assert middle[:, 0, 0].mean() == pytest.approx(31, abs=2) and middle[:, -1, 0].mean() == pytest.approx(128, abs=2)
    boxed = cropper.crop(picture, FaceRecord("A", box=np.array([10, 20, 50, 40]))).pixels
    assert boxed[:, 0, 0].mean() == pytest.approx(10, abs=2) and boxed[:, -1, 0].mean() == pytest.approx(49, abs=2)


def test_the_face_that_is_meant():
    faces = [
        Face(np.array(box, float), np.zeros((5, 2)), 1.0) for box in ([0, 0, 10, 10], [20, 0, 50, 30], [60, 0, 70, 9])
    ]
    assert nearest_face(faces, None) is faces[1]
    assert nearest_face(faces, np.array([0, 0, 100, 9])) is faces[2]  # the others' middle is nearer, or below the box
    assert nearest_face(faces, np.array([0, 0, 45, 30])) is faces[1]
    assert nearest_face(faces, np.array([0, 20, 100, 30])) is None


def test_a_picture_that_may_not_be_read_is_counted_and_a_disk_that_went_away_is_not(root, tmp_path, monkeypatch):
    real = Image.open

    def guarded(number, path, *args, **kwargs):
        if Path(str(path)).name == "turned_2.png":
            raise OSError(number, "trouble", str(path))
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", functools.partial(guarded, errno.EACCES))
        run(root, tmp_path / "crops")
    assert load_prepared(tmp_path / "crops")["trouble"][2] == "no permission to read it"
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", functools.partial(guarded, errno.EIO))
        with pytest.raises(OSError, match="trouble"):
            run(root, tmp_path / "other")

    class Unmounts(DiscDetector):
        def detect(self, image):
            (root / "C" / "plain_1.png").unlink(missing_ok=True)
            return super().detect(image)

    with pytest.raises(SystemExit, match="is gone; is its disk mounted.*plain_1.png"):
        run(root, tmp_path / "third", Unmounts)


def write_video(file, frames):
    av = pytest.importorskip("av", reason="needs PyAV")
    file.parent.mkdir(exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())


def test_frames_of_videos(root, tmp_path, monkeypatch):
    monkeypatch.setattr(face_crops, "VIDEO_FRAMES_PER_TASK", 3)
    write_video(root / "V" / "one.mkv", [draw((place(40 + 3 * n, 45, 1 + n / 20), FIRST)) for n in range(9)])
    (root / "W").mkdir()
    (root / "W" / "two.mkv").write_bytes(b"no video")
    run(root, tmp_path / "crops", corpus_options={"videos": True})
    corpus = load_prepared(tmp_path / "crops")
    rows = [row for row, name in enumerate(corpus["subject_id"]) if name == "V"]
    assert corpus.select(rows)["frame"][:] == [2, 3, 4, 5, 7, 8, 31]
    assert corpus.select(rows)["face_found"][:] == [True] * 6 + [False]
    assert corpus[rows[-1]]["trouble"] == "the video's frame cannot be decoded"
    for row in rows[:-1]:
        np.testing.assert_allclose(found(corpus[row]["image"], FIRST), EYES_NOSE_1.targets(64), atol=1.0)
    broken = [row for row, name in enumerate(corpus["subject_id"]) if name == "W"]
    assert (
        set(corpus.select(broken)["crop_origin"]) == {"unreadable"} and "no video" not in corpus[broken[0]]["trouble"]
    )
    assert "two.mkv" in corpus[broken[0]]["trouble"]
    with open(tmp_path / "crops" / "without_face.csv", newline="") as file:
        assert "V/one.mkv#30" in [row["file"] for row in csv.DictReader(file)]
    with pytest.raises(
        ValueError, match=r"holds videos.*prepare.py toy --root .* --corpus_options '\{\"videos\": true\}'"
    ):
        load_corpus("toy", root=str(root), videos=True)


def test_the_right_frame_of_a_video_is_taken(tmp_path):
    write_video(tmp_path / "v" / "grey.mkv", [Image.new("RGB", (64, 48), (10 * n,) * 3) for n in range(12)])
    wanted = [(0, 2, 3), (3, 11), (2, 4)]
    records = [FaceRecord("A", video=tmp_path / "v" / "grey.mkv", video_frame=n) for part in wanted for n in part]
    ordered, plan = plan_tasks(records)
    assert ordered == records and [task.key for shard in plan for task in shard.tasks] == [(0, 3), (3, 5), (5, 7)]
    shades = []
    for key in [(0, 3), (3, 5), (5, 7)]:
        shades += [round(np.asarray(picture).mean() / 10) for picture in read_pictures(records[slice(*key)])]
    assert shades == [0, 2, 3, 3, 11, 2, 4]


def test_pixels_of_a_table(tmp_path):
    cropper = FaceCropper("toy", tmp_path, [], {}, 24, as_they_are=True)
    (picture,) = read_pictures([FaceRecord("A", pixels=np.full((48, 48), 7, np.uint8))])
    assert (cropper.crop(picture, FaceRecord("A")).pixels == 7).all()


def test_a_limit_takes_the_first_faces(root, tmp_path):
    metadata = run(root, tmp_path / "crops", limit=4)
    assert metadata["counts"]["rows"] == {"train": 4}


def test_options_of_the_command_line(root, tmp_path, capsys):
    given = ["toy", "--root", "r", "--output", "o", "--size", "96"]
    parsed = parse_options(PrepareOptions, with_corpus_flag(given))
    assert (parsed.corpus, parsed.root, parsed.size, parsed.detector) == ("toy", "r", 96, "auto")
    for wrong, said in [
        (["toy", "--root", "r"], "--output"),
        (["toy", "--check", "c"], "leave the data set's name"),
        ([*given[:-1], "8"], "size: got 8"),
    ]:
        with pytest.raises(SystemExit):
            parse_options(PrepareOptions, with_corpus_flag(wrong))
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit, match="there is no data set 'tyo'; there are: 'bp4d'"):
        prepare.main(PrepareOptions(corpus="tyo", root=str(root), output=str(tmp_path / "o")))
    with pytest.raises(TypeError, match="toy has no option 'moth'; it has: mouth, given, videos, official"):
        run(root, tmp_path / "o", corpus_options={"moth": 1})
    with pytest.raises(SystemExit, match="no face of toy"):
        (tmp_path / "empty").mkdir()
        run(tmp_path / "empty", tmp_path / "o")


def test_without_a_model_file_nothing_is_begun(root, tmp_path):
    with pytest.raises(SystemExit, match="no YuNet model at"):
        run(root, tmp_path / "crops", None, yunet=str(tmp_path / "none.onnx"))
    assert not (tmp_path / "crops").exists()


def test_yunet_on_photographs_and_the_check_agrees_with_what_it_made(test_data, tmp_path, monkeypatch, capsys):
    yunet = test_data / "weights" / "face_detection_yunet.onnx"
    photographs = sorted((test_data / "london").glob("*.jpg"))[:8]
    if not yunet.is_file() or not photographs:
        pytest.skip("needs weights/face_detection_yunet.onnx and london/*.jpg in CLEF_TEST_DATA")

    def read(root):
        records = [FaceRecord(file.stem[:3], image=file, expression="neutral") for file in photographs]
        return OfficialCorpus("portraits", records, ReadingReport())

    monkeypatch.setitem(adapters.READERS, "portraits", read)
    choice = {"corpus": "portraits", "root": str(test_data / "london"), "yunet": str(yunet), "size": 96}
    prepare.main(PrepareOptions(**choice, output=str(tmp_path / "crops"), num_proc=2))
    corpus = load_corpus("portraits", root=str(tmp_path / "crops"))
    assert corpus["crop_origin"][:] == ["detected"] * 8 and "action_units" not in corpus.features
    result = prepare.main(
        PrepareOptions(check=str(tmp_path / "crops"), yunet=str(yunet), output=str(tmp_path / "said"))
    )
    assert result["differences"] == [] and result["measured"] == 8
    assert json.loads((tmp_path / "said" / "crop_check.json").read_text()) == result
    assert "they agree" in capsys.readouterr().out
    (tmp_path / "tight").mkdir()
    for row, image in enumerate(corpus["image"]):  # a tenth of the side cut off all round: faces a quarter larger
        image.crop((9, 9, 87, 87)).resize((96, 96)).save(tmp_path / "tight" / f"{row}.JPG")
    result = prepare.main(PrepareOptions(check=str(tmp_path / "tight"), yunet=str(yunet), limit=6))
    assert result["measured"] == 6 and result["scale"]["mean"] == pytest.approx(96 / 78, abs=0.04)
    assert "further apart than the recipe" in capsys.readouterr().out
