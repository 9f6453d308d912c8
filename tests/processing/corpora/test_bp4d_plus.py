import pytest
from PIL import Image

from processing.corpora.bp4d_plus import BP4D_PLUS, read_bp4d_plus

# The official order, in which AU numbers and positions differ: 3, 8, 21, 25 and 26 have no column.
COLUMNS = [1, 2, 4, 5, 6, 7, *range(9, 21), 22, 23, 24, *range(27, 40)]


def table(root, sequence, frames):
    """frames: frame → the AUs that are present; all others of the twelve are absent, and the rest not coded."""
    twelve = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    lines = [",".join(map(str, [0, *COLUMNS]))]
    for frame, present in frames.items():
        values = [int(number in present) if number in twelve else 9 for number in COLUMNS]
        lines.append(",".join(map(str, [frame, *values])))
    path = root / "AUCoding" / "AU_OCC" / f"{sequence}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\r\n".join(lines) + "\r\n", newline="")


def pictures(root, sequence, numbers):
    for number in numbers:
        path = root / "2D+3D" / sequence / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
        path.with_suffix(".obj").write_text("v 0 0 0")


@pytest.fixture
def root(tmp_path):
    table(tmp_path, "F001_T1", {10: {6, 12}, 11: {24}})
    pictures(tmp_path, "F001/T1", [9, 10, 11])
    pictures(tmp_path, "F001/T10", [1, 2])
    table(tmp_path, "F041_T7", {n: {1} for n in range(1, 6)})
    pictures(tmp_path, "F041/T7", [1, 2, 3])
    (tmp_path / "2D+3D" / "F002.zip").write_bytes(b"PK")
    (tmp_path / "2D+3D" / "F001.zip").write_bytes(b"PK")
    signals = tmp_path / "Physiology" / "F001" / "T1"
    signals.mkdir(parents=True)
    (signals / "BP_mmHg.txt").write_text("1")
    return tmp_path


def test_columns_are_read_by_name_and_not_by_position(root):
    first, second = (r for r in read_bp4d_plus(root).records if r.sequence_id == "F001/T1")
    assert {name for name, value in first.action_units.items() if value} == {"AU6", "AU12"}
    assert {name for name, value in second.action_units.items() if value} == {"AU24"}
    assert second.action_units["AU1"] == 0 and len(second.action_units) == 12
    assert (first.activity, first.frame, first.image.name) == ("funny_joke", 10, "0010.jpg")


def test_uncoded_tasks_are_rows_without_action_units(root):
    corpus = read_bp4d_plus(root)
    extra = [r for r in corpus.records if r.sequence_id == "F001/T10"]
    assert [(r.frame, r.activity) for r in extra] == [(1, "smelly_odor"), (2, "smelly_odor")]
    assert all(set(r.action_units.values()) == {None} and len(r.action_units) == 12 for r in extra)
    assert corpus.report.count("sequence without an AU table") == 0  # none was expected
    sequences = list(dict.fromkeys(record.sequence_id for record in corpus.records))
    assert sequences == ["F001/T1", "F001/T10", "F041/T7"]

    coded = read_bp4d_plus(root, uncoded_tasks=False)
    assert {r.sequence_id for r in coded.records} == {"F001/T1", "F041/T7"}
    left_out = coded.report.as_dict()["frame of a sequence without an AU table, left out"]
    assert left_out["by_sequence"] == {"F001/T10": 2}
    assert len(read_bp4d_plus(root, uncoded_frames=True).records) == len(corpus.records) + 1


def test_more_labels_than_frames_are_reported(root):
    corpus = read_bp4d_plus(root)
    assert [r.frame for r in corpus.records if r.subject_id == "F041"] == [1, 2, 3]
    report = corpus.report.as_dict()
    assert report["label without a frame"]["by_sequence"] == {"F041/T7": 2}
    assert report["sequence whose labels go on after its last frame"]["by_sequence"] == {"F041/T7": 1}


def test_archives_that_are_not_unpacked_are_named(root, tmp_path_factory):
    report = read_bp4d_plus(root).report.as_dict()
    assert report["archive that is not unpacked"]["by_sequence"] == {"F002": 1}
    packed = tmp_path_factory.mktemp("packed")
    table(packed, "F001_T1", {1: {12}})
    (packed / "2D+3D").mkdir()
    (packed / "2D+3D" / "F001.zip").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"BP4D\+.*unpack the archives F001.zip"):
        read_bp4d_plus(packed)


def test_a_coded_task_without_a_table_is_not_taken_for_an_uncoded_one(root):
    pictures(root, "F001/T8", [1, 2, 3])
    corpus = read_bp4d_plus(root)
    assert not any(r.sequence_id == "F001/T8" for r in corpus.records)
    assert corpus.report.as_dict()["sequence without an AU table"]["by_sequence"] == {"F001/T8": 1}
    assert corpus.report.as_dict()["frame of a sequence without an AU table, left out"]["count"] == 3


def test_videos_by_subject_and_task(root):
    av = pytest.importorskip("av")
    import numpy as np

    with av.open(str(root / "M003_T6.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    table(root, "M003_T6", {2: {12}})
    found = [r for r in read_bp4d_plus(root).records if r.video]
    assert [(r.sequence_id, r.frame, r.video_frame, r.activity) for r in found] == [
        ("M003/T6", 2, 1, "song_improvisation")
    ]
    (root / "2M03_01.avi").write_bytes(b"x")
    with pytest.raises(ValueError, match="session 1 is not one of any; rename"):
        read_bp4d_plus(root)


def test_what_the_set_consists_of():
    women = [subject for subject in BP4D_PLUS.subjects if subject[0] == "F"]
    assert (len(women), len(BP4D_PLUS.subjects), len(BP4D_PLUS.tasks)) == (82, 140, 10)
    assert BP4D_PLUS.coded_tasks == ("T1", "T6", "T7", "T8")
