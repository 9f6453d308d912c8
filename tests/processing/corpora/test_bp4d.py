import errno
from pathlib import Path

import pytest
from PIL import Image

from processing.corpora.bp4d import BP4D, read_bp4d
from processing.prompts_clef import ACTIVITIES

HEADER = [
    0,
    *range(1, 8),
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    17,
    23,
    24,
    27,
]  # columns as in the official tables, fewer of them
TWELVE = ["AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24"]


def row(frame, **coded):
    """A line in which all AUs are 9 but those given, such as AU12=1."""
    return [frame, *(coded.get(f"AU{number}", 9) for number in HEADER[1:])]


def table(root, sequence, rows, newline="\n", bom="", end=None):
    path = root / "AUCoding" / "AU_OCC" / f"{sequence}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = bom + newline.join(",".join(map(str, cells)) for cells in [HEADER, *rows])
    path.write_text(text + (newline if end is None else end), encoding="utf-8", newline="")
    return path


def pictures(root, sequence, *names, folder="Sequences(2D+3D)"):
    for name in names:
        path = root / folder / sequence / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name), 0, 0)).save(path, format="JPEG")


@pytest.fixture
def root(tmp_path):
    rows = [row(2440 + n, AU1=0, AU2=0, AU4=0, AU6=1, AU7=n % 2, AU10=1, AU12=1, AU11=0, AU13=0) for n in range(3)]
    table(tmp_path, "F001_T1", rows)
    pictures(tmp_path, "F001/T1", "2439.jpg", "2440.jpg", "2441.jpg", "2442.JPG")
    table(tmp_path, "M011_T5", [row(7, AU4=1), row(8, AU4=0)], newline="\r\n", bom="\ufeff")
    pictures(tmp_path, "M011/T5", "0007.jpg", "008.jpeg")
    return tmp_path


def by_frame(corpus):
    return {(record.subject_id, record.frame): record for record in corpus.records}


def test_rows_of_the_official_layout(root):
    corpus = read_bp4d(root)
    rows = by_frame(corpus)
    assert list(rows) == [("F001", 2440), ("F001", 2441), ("F001", 2442), ("M011", 7), ("M011", 8)]
    first = rows["F001", 2440]
    assert first.image == root / "Sequences(2D+3D)/F001/T1/2440.jpg" and first.video is None
    assert (first.sequence_id, first.activity, first.groups) == ("F001/T1", "joke", {"gender": "woman"})
    assert first.action_units["AU12"] == 1 and first.action_units["AU7"] == 0 and first.action_units["AU17"] is None
    assert rows["F001", 2442].image.name == "2442.JPG" and rows["F001", 2441].action_units["AU7"] == 1
    other = rows["M011", 8]
    assert (other.image.name, other.activity, other.groups["gender"]) == ("008.jpeg", "physical_threat", "man")
    assert other.action_units["AU4"] == 0 and other.action_units["AU12"] is None
    assert all(record.split is None and record.expression is None for record in corpus.records)
    assert (corpus.name, corpus.action_unit_coding) == ("bp4d", "occurrence") and corpus.licence


def test_action_units_are_the_protocols_and_what_is_coded_and_has_a_text(root):
    corpus = read_bp4d(root)
    assert list(corpus.action_units) == sorted([*TWELVE, "AU11"], key=lambda name: int(name[2:]))
    assert all(list(record.action_units) == list(corpus.action_units) for record in corpus.records)
    report = corpus.report.as_dict()
    assert report["action unit without a text here"]["by_sequence"] == {"AU13": 2}
    never = report["action unit that is never coded"]["by_sequence"]
    assert {"AU3", "AU5", "AU9", "AU27", "AU14"} <= set(never) and "AU12" not in never and never["AU3"] == 2


def test_columns_are_found_by_their_header(tmp_path):
    path = tmp_path / "AUCoding" / "AU_OCC" / "F001_T1.csv"
    path.parent.mkdir(parents=True)
    path.write_text("Frame,AU12,04,remark,1\n5,1,0,good,9\n")
    pictures(tmp_path, "F001/T1", "5.jpg")
    (record,) = (corpus := read_bp4d(tmp_path)).records
    assert (record.action_units["AU12"], record.action_units["AU4"], record.action_units["AU1"]) == (1, 0, None)
    assert corpus.report.count("column that is no action unit") == 1
    assert corpus.report.count("AU table without a column of the protocol") == 9


def test_frames_and_labels_without_each_other_are_counted(root):
    table(root, "F001_T2", [row(n, AU12=1) for n in (1, 2, 5, 6)])
    pictures(root, "F001/T2", "0.jpg", "1.jpg", "2.jpg", "3.jpg")
    corpus = read_bp4d(root)
    assert [r.frame for r in corpus.records if r.sequence_id == "F001/T2"] == [1, 2]
    report = corpus.report.as_dict()
    assert report["label without a frame"]["by_sequence"] == {"F001/T2": 2}
    assert report["frame without labels"]["by_sequence"] == {"F001/T1": 1, "F001/T2": 2}
    (example,) = report["sequence whose labels go on after its last frame"]["examples"]
    assert example == "F001/T2: labels up to 6, frames up to 3"
    everything = read_bp4d(root, uncoded_frames=True)
    added = {(r.sequence_id, r.frame): r for r in everything.records if not any(r.action_units.values())}
    assert [frame for sequence, frame in added if sequence == "F001/T2"] == [0, 3]
    assert set(added["F001/T2", 3].action_units.values()) == {None} and added["F001/T2", 3].activity == "documentary"
    assert everything.report.as_dict()["frame without labels"] == report["frame without labels"]


def test_missing_sequences_and_tables_are_counted(root):
    table(root, "F002_T1", [row(1, AU12=1)])
    pictures(root, "F002/T3", "1.jpg", "2.jpg")
    corpus = read_bp4d(root)
    report = corpus.report.as_dict()
    missing = report["missing sequence: no pictures and no video"]
    assert missing["count"] == 41 * 8 - 3 and "F002/T1" in missing["by_sequence"]
    assert report["label without a frame"]["by_sequence"] == {"F002/T1": 1}
    assert report["sequence without an AU table"]["by_sequence"] == {"F002/T3": 1}
    assert report["frame of a sequence without an AU table, left out"]["by_sequence"] == {"F002/T3": 2}
    assert {r.subject_id for r in corpus.records} == {"F001", "M011"}
    assert "F002" in {r.subject_id for r in read_bp4d(root, uncoded_frames=True).records}


def test_rows_for_one_frame_values_out_of_range_and_cut_tables(root):
    rows = [row(1, AU12=1), row(1, AU12=1), row(2, AU12=1), row(2, AU12=0), row(3, AU12=5, AU4=""), row(4, AU12=999)]
    table(root, "F003_T1", [*rows, [5, 0, 1]], end="")
    pictures(root, "F003/T1", *(f"{n}.jpg" for n in range(1, 6)))
    corpus = read_bp4d(root)
    values = {r.frame: r.action_units["AU12"] for r in corpus.records if r.subject_id == "F003"}
    assert values == {1: 1, 2: None, 3: None, 4: None}
    counts = {
        "identical rows for one frame": 1,
        "contradictory rows for one frame": 1,
        "label outside its range": 1,
        "truncated last line": 1,
    }
    assert {reason: corpus.report.count(reason) for reason in counts} == counts
    assert corpus.report.as_dict()["label outside its range"]["examples"] == [
        "F003_T1.csv, frame 3, AU12: '5', expected 0 to 1"
    ]


def test_tables_that_cannot_be_read_are_counted(root, monkeypatch):
    original = Path.read_text

    def read_text(self, *args, **kwargs):
        if self.name == "F001_T1.csv":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)
    corpus = read_bp4d(root)
    assert {r.subject_id for r in corpus.records} == {"M011"}
    assert corpus.report.as_dict()["label file that cannot be read"]["by_sequence"] == {"F001/T1": 1}


def test_two_places_for_one_sequence_are_refused_but_other_signals_are_not_pictures(root):
    (root / "Physiology" / "F001" / "T1").mkdir(parents=True)
    (root / "Physiology" / "F001" / "T1" / "BP_mmHg.txt").write_text("1")
    assert len(read_bp4d(root).records) == 5
    pictures(root, "F001/T1", "2440.jpg", folder="crops")
    with pytest.raises(ValueError, match=r"F001/T1 lie in .*Sequences.* and in .*crops"):
        read_bp4d(root)


def test_stray_files_are_counted(root):
    (root / "AUCoding" / "AU_OCC" / "readme.txt").write_text("x")
    table(root, "F001_T9", [row(1, AU12=1)])
    pictures(root, "F077/T1", "1.jpg")
    report = read_bp4d(root).report
    assert report.count("file that is no AU table of a task") == 2
    assert report.as_dict()["subject that the set is not known to have"]["by_sequence"] == {"F077/T1": 1}


def test_two_tables_of_one_task_have_to_agree(root):
    first = root / "AUCoding" / "AU_OCC" / "F001_T1.csv"
    second = root / "AU_OCC" / "f001_t1.CSV"
    second.parent.mkdir()
    second.write_text(first.read_text().replace("\n", "\r\n"), newline="")
    table(root, "F002_T1", [row(1, AU12=1)]).rename(root / "AU_OCC" / "F002_T1.csv")  # the other half of the tables
    pictures(root, "F002/T1", "1.jpg")
    corpus = read_bp4d(root)
    assert [r.subject_id for r in corpus.records] == ["F001", "F001", "F001", "F002", "M011", "M011"]
    assert corpus.report.as_dict()["identical label file, not used"]["by_sequence"] == {"F001/T1": 1}
    for other in (second, first.with_name("f001_t1.csv")):
        second.unlink(missing_ok=True)
        other.write_text("0,12\n2440,0\n")
        if not first.samefile(other):  # as it is where upper and lower case are one
            with pytest.raises(
                ValueError, match=r"contradict each other, .*F001_T1.csv' and .*f001_t1.*; keep the one"
            ):
                read_bp4d(root)


def test_pictures_in_unexpected_folders_are_counted(root):
    for name in ("F001/T9", "F001", "F001/T1/more", "M011/T2/M011/T2", "a/b/c/F003/T1"):
        pictures(root, name, "1.jpg", "2.JPG")
    corpus = read_bp4d(root)
    assert len(corpus.records) == 5
    entry = corpus.report.as_dict()["picture outside of folders such as F001/T1, not used"]
    folders = ("F001", "F001/T1/more", "F001/T9", "M011/T2/M011/T2", "a/b/c/F003/T1")
    assert entry["by_sequence"] == {f"Sequences(2D+3D)/{name}": 2 for name in folders}
    assert str(root / "Sequences(2D+3D)/F001/T9/1.jpg") in entry["examples"]


def test_wrong_roots_say_what_they_looked_for(tmp_path, root):
    with pytest.raises(FileNotFoundError, match=r"BP4D: looked for AUCoding/AU_OCC/F001_T1.csv.*does not exist"):
        read_bp4d(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="it is a file"):
        read_bp4d(root / "AUCoding/AU_OCC/F001_T1.csv")
    with pytest.raises(FileNotFoundError, match=r"AU_OCC/F001_T1.csv.*it holds F001/, M011/"):
        read_bp4d(root / "Sequences(2D+3D)")
    with pytest.raises(FileNotFoundError, match=r"F001/T1/\*.jpg .*unpack.*but it holds AU_OCC/"):
        read_bp4d(root / "AUCoding")


def test_pictures_without_any_label_give_no_rows(tmp_path):
    table(tmp_path, "F001_T1", [])
    pictures(tmp_path, "F001/T1", "1.jpg")
    corpus = read_bp4d(tmp_path)
    assert corpus.records == [] and list(corpus.action_units) == TWELVE
    assert corpus.report.as_dict()["label file without rows"]["by_sequence"] == {"F001/T1": 1}
    assert corpus.report.as_dict()["frame without labels"]["by_sequence"] == {"F001/T1": 1}


@pytest.fixture
def video():
    av = pytest.importorskip("av")

    def write(path, frames):
        import numpy as np

        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
            for _ in range(frames):
                picture = np.zeros((16, 16, 3), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return write


def test_videos_serve_where_there_are_no_pictures(root, video):
    path = video(root / "videos" / "2F02_T5.avi", 6)
    video(root / "videos" / "2F01_T1.avi", 6)
    video(root / "videos" / "holiday.avi", 1)
    (root / "videos" / "2F02_T6.avi").write_bytes(b"cut")
    table(root, "F002_T5", [row(n, AU12=n % 2) for n in (5, 6, 7)])
    table(root, "F002_T6", [row(1, AU12=1)])
    corpus = read_bp4d(root)
    found = [
        (r.video, r.video_frame, r.frame, r.action_units["AU12"]) for r in corpus.records if r.subject_id == "F002"
    ]
    assert found == [(path, 4, 5, 1), (path, 5, 6, 0)]  # labels count a video's frames from 1
    report = corpus.report.as_dict()
    assert report["video not used, as there are pictures"]["by_sequence"] == {"F001/T1": 1}
    assert report["video without a subject and task in its name"]["count"] == 1
    assert report["video that cannot be read"]["by_sequence"] == {"F002/T6": 1}
    assert report["label without a frame"]["by_sequence"] == {"F002/T5": 1, "F002/T6": 1}


def test_videos_named_by_session_are_understood(root, video):
    video(root / "2F02_09.avi", 2)
    table(root, "F002_T5", [row(1, AU12=1)])
    assert [r.sequence_id for r in read_bp4d(root).records if r.video] == ["F002/T5"]
    video(root / "2F02_05.avi", 2)  # no session of that release: these names may mean something else
    with pytest.raises(ValueError, match=r"session 5 is not one of 1, 3, 7, 8, 9, 10, 11, 13; rename"):
        read_bp4d(root)


def test_what_the_set_consists_of():
    assert len(BP4D.subjects) == 41 and BP4D.coded_tasks == tuple(f"T{number}" for number in range(1, 9))
    assert BP4D.session_tasks == {1: "T1", 3: "T2", 7: "T3", 8: "T4", 9: "T5", 10: "T6", 11: "T7", 13: "T8"}
    assert set(BP4D.tasks.values()) <= set(ACTIVITIES)
