import pytest
from PIL import Image

from processing.corpora import corpus_metadata, load_corpus
from processing.corpora.disfa import SUBJECTS, UNITS, read_disfa

TWELVE = [1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26]


def labels(root, subject, frames=4, base=1, **files):
    """Label files in which AU k has the intensity (frame + k) % 6; `files`: AU → text of its file, None for no file."""
    folder = root / "ActionUnit_Labels" / subject
    folder.mkdir(parents=True, exist_ok=True)
    for number in TWELVE:
        text = "".join(f"{frame},{(frame + number) % 6}\r\n" for frame in range(base, base + frames))
        text = files.get(f"AU{number}", text)
        if text is not None:
            (folder / f"{subject}_au{number}.txt").write_text(text, newline="")


def pictures(root, folder, numbers, suffix=".png"):
    for number in numbers:
        path = root / folder / f"{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)


def rows(corpus, subject="SN001"):
    return [(r.frame, r.image.name) for r in corpus.records if r.subject_id == subject]


def test_pictures_numbered_from_0_belong_to_labels_numbered_from_1(tmp_path):
    labels(tmp_path, "SN001")
    pictures(tmp_path, "img/SN001", range(4))
    corpus = read_disfa(tmp_path)
    assert rows(corpus) == [(1, "0.png"), (2, "1.png"), (3, "2.png"), (4, "3.png")]
    for record in corpus.records:
        assert record.action_units == {f"AU{k}": (record.frame + k) % 6 for k in TWELVE}
        assert (record.sequence_id, record.activity, record.groups) == ("SN001/left", None, {})
    assert (corpus.action_units, corpus.action_unit_coding) == (UNITS, "intensity")
    assert corpus.report.as_dict()["pictures numbered from 0 (used, nothing to do)"]["by_sequence"] == {"SN001": 4}


def test_pictures_numbered_from_1(tmp_path):
    labels(tmp_path, "SN001")
    pictures(tmp_path, "SN001", ["0001", "0002", "0003", "0004"], suffix=".JPG")
    corpus = read_disfa(tmp_path)
    assert rows(corpus) == [(1, "0001.JPG"), (2, "0002.JPG"), (3, "0003.JPG"), (4, "0004.JPG")]
    assert corpus.report.count("pictures numbered from 1 (used, nothing to do)") == 4
    assert corpus.report.count("label without a frame") == 0


def test_a_subject_whose_first_picture_is_missing_counts_like_the_others(tmp_path):
    for subject, numbers in (("SN001", range(4)), ("SN002", range(1, 4))):
        labels(tmp_path, subject)
        pictures(tmp_path, subject, numbers)
    corpus = read_disfa(tmp_path)
    assert rows(corpus, "SN002") == [(2, "1.png"), (3, "2.png"), (4, "3.png")]
    assert corpus.report.as_dict()["label without a frame"]["by_sequence"] == {"SN002": 1}


def test_labels_numbered_from_0(tmp_path):
    labels(tmp_path, "SN001", base=0)
    pictures(tmp_path, "SN001", range(4))
    assert rows(read_disfa(tmp_path)) == [(0, "0.png"), (1, "1.png"), (2, "2.png"), (3, "3.png")]


def test_a_stray_row_or_picture_numbered_0_shifts_nobody(tmp_path):
    for subject in ("SN001", "SN002", "SN003"):
        stray = {"AU4": "0,5\n1,5\n2,0\n3,1\n4,2\n"} if subject == "SN002" else {}
        labels(tmp_path, subject, **stray)
        pictures(tmp_path, subject, range(0 if subject == "SN003" else 1, 5))
    corpus = read_disfa(tmp_path)
    for subject in ("SN001", "SN002", "SN003"):
        assert rows(corpus, subject) == [(n, f"{n}.png") for n in range(1, 5)]
    report = corpus.report.as_dict()
    row = report["label of a frame before the first, 1"]
    assert (row["by_sequence"], row["examples"]) == ({"SN002": 1}, ["SN002 AU4, frame 0"])
    assert report["picture numbered before the first, 1"]["by_sequence"] == {"SN003": 1}
    assert "label file with fewer frames than the others of its subject" not in report


def test_subjects_that_count_otherwise_than_most_are_left_out(tmp_path):
    for subject in ("SN001", "SN002", "SN003", "SN004"):
        labels(tmp_path, subject, base=0 if subject == "SN004" else 1)
        pictures(tmp_path, subject, range(1, 5) if subject == "SN003" else range(4))
    corpus = read_disfa(tmp_path)
    assert {r.subject_id for r in corpus.records} == {"SN001", "SN002"}
    report = corpus.report.as_dict()
    reason = "subject left out: its labels do not count from 1 as the others' do"
    assert report[reason]["by_sequence"] == {"SN004": 1} and "12 files" in report[reason]["examples"][0]
    reason = "picture left out: its subject does not count from 0 as the others do"
    assert report[reason]["by_sequence"] == {"SN003": 4} and "1 to 4; renumber" in report[reason]["examples"][0]


def test_as_many_subjects_that_count_from_0_as_from_1_are_refused(tmp_path):
    for subject in ("SN001", "SN002"):
        labels(tmp_path, subject)
        pictures(tmp_path, subject, range(1, 5) if subject == "SN002" else range(4))
    with pytest.raises(ValueError, match=r"pictures count frames from 0 for as many .* \(SN001, SN002, …\); expected"):
        read_disfa(tmp_path)
    labels(tmp_path, "SN002", base=0)
    with pytest.raises(ValueError, match="labels count frames from 0 for as many"):
        read_disfa(tmp_path)


def test_a_cut_label_file_is_told_apart_from_uncoded_frames(tmp_path):
    labels(tmp_path, "SN001", frames=6, AU4="1,0\n2,1\n3,1\n")
    pictures(tmp_path, "SN001", range(6))
    corpus = read_disfa(tmp_path)
    assert [r.action_units["AU4"] for r in corpus.records] == [0, 1, 1, None, None, None]
    entry = corpus.report.as_dict()["label file with fewer frames than the others of its subject"]
    assert entry["by_sequence"] == {"SN001": 1}
    assert entry["examples"] == ["SN001 AU4: 3 of 6 frames lacking, such as 4"]


def test_two_label_files_of_one_action_unit_have_to_agree(tmp_path):
    labels(tmp_path, "SN001")
    pictures(tmp_path, "SN001", range(4))
    file = tmp_path / "ActionUnit_Labels/SN001/SN001_au1.txt"
    second = file.with_name("SN001_au01.txt")
    second.write_text(file.read_text().replace("\r\n", "\n"))
    corpus = read_disfa(tmp_path)
    assert [r.action_units["AU1"] for r in corpus.records] == [2, 3, 4, 5]
    assert corpus.report.as_dict()["identical label file, not used"]["by_sequence"] == {"SN001": 1}
    second.write_text("1,0\n2,0\n")
    with pytest.raises(
        ValueError, match="contradict each other, .*SN001_au01.txt.* and .*SN001_au1.txt'; keep the one"
    ):
        read_disfa(tmp_path)


def test_what_is_wrong_with_labels_is_counted(tmp_path):
    text = "\ufeff1,0\n2,7\n3,5\n3,5\n4,1\n4,2\n5,\n6"
    labels(tmp_path, "SN001", frames=5, AU1=text, AU26=None, AU2="")
    folder = tmp_path / "ActionUnit_Labels" / "SN001"
    (folder / "SN001_au3.txt").write_text("1,0\n")
    (folder / "SN001_au10.txt").write_text("1,0\n")
    (folder / "notes.txt").write_text("x")
    pictures(tmp_path, "SN001", range(7))
    corpus = read_disfa(tmp_path)
    assert [r.action_units["AU1"] for r in corpus.records] == [0, None, 5, None, None]
    assert {r.action_units["AU26"] for r in corpus.records} == {r.action_units["AU2"] for r in corpus.records} == {None}
    counts = {
        "label outside its range": 1,
        "identical rows for one frame": 1,
        "contradictory rows for one frame": 1,
        "truncated last line": 1,
        "label file without rows": 1,
        "missing label file of an action unit": 1,
        "action unit without a text here": 1,
        "an action unit that the set is not known to code": 1,
        "file that is no label file of its subject": 1,
        "frame without labels": 2,
    }
    assert {reason: corpus.report.count(reason) for reason in counts} == counts
    assert "'7', expected 0 to 5" in corpus.report.as_dict()["label outside its range"]["examples"][0]


def test_missing_subjects_are_counted(tmp_path):
    labels(tmp_path, "SN001")
    labels(tmp_path, "SN002")
    pictures(tmp_path, "SN001", range(4))
    pictures(tmp_path, "SN003", range(4))
    report = read_disfa(tmp_path).report.as_dict()
    assert set(report["missing subject: no labels"]["by_sequence"]) == set(SUBJECTS) - {"SN001", "SN002"}
    assert report["missing subject: no frames"]["by_sequence"] == {"SN002": 1}
    assert report["frame without labels"]["by_sequence"] == {"SN003": 4}
    assert report["label without a frame"]["by_sequence"] == {"SN002": 4}
    assert len(SUBJECTS) == 27 and not {"SN014", "SN015", "SN019", "SN020", "SN022"} & set(SUBJECTS)


def write_video(path, frames):
    av = pytest.importorskip("av")
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_videos_of_the_chosen_camera(tmp_path):
    labels(tmp_path, "SN001")
    left = write_video(tmp_path / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi", 4)
    right = write_video(tmp_path / "Videos_RightCamera" / "RightVideoSN001_Comp.AVI", 3)
    for camera, path, frames in (("left", left, 4), ("right", right, 3)):
        corpus = read_disfa(tmp_path, camera=camera)
        assert [(r.video, r.video_frame, r.frame) for r in corpus.records] == [(path, n, n + 1) for n in range(frames)]
        assert {r.sequence_id for r in corpus.records} == {f"SN001/{camera}"}
        assert corpus.report.count("label without a frame") == 4 - frames
    right.unlink()
    with pytest.raises(FileNotFoundError, match="Videos_RightCamera/RightVideoSN001_comp.avi"):
        read_disfa(tmp_path, camera="right")
    with pytest.raises(ValueError, match="camera is 'top'; expected 'left' or 'right'"):
        read_disfa(tmp_path, camera="top")


def test_pictures_come_before_videos_and_cameras_are_told_by_the_path(tmp_path):
    labels(tmp_path, "SN001")
    write_video(tmp_path / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi", 4)
    pictures(tmp_path, "frames/RightVideoSN001_comp", range(4))
    pictures(tmp_path, "frames/LeftVideoSN001_comp", range(3))
    corpus = read_disfa(tmp_path)
    assert [r.image.parent.name for r in corpus.records] == ["LeftVideoSN001_comp"] * 3
    assert corpus.report.as_dict()["video not used, as there are pictures"]["by_sequence"] == {"SN001": 1}
    assert len(read_disfa(tmp_path, camera="right").records) == 4
    pictures(tmp_path, "SN001", range(4))
    with pytest.raises(ValueError, match=r"one subject lie in .*SN001.* and in .*LeftVideoSN001_comp"):
        read_disfa(tmp_path)


def test_segments_give_activities(tmp_path):
    labels(tmp_path, "SN001")
    pictures(tmp_path, "SN001", range(4))
    segments = tmp_path / "segments.csv"
    segments.write_text("start_frame,end_frame,activity\r\n3,3,A clip about a disgusting meal\r\n1,2,joke\r\n")
    corpus = read_disfa(tmp_path, segments=segments)
    assert [r.activity for r in corpus.records] == ["joke", "joke", "A clip about a disgusting meal", None]
    assert corpus.report.as_dict()["frame in no segment, without an activity"]["by_sequence"] == {"SN001": 1}


def test_a_path_to_segments_is_kept_as_text(tmp_path):
    labels(tmp_path, "SN001")
    pictures(tmp_path, "SN001", range(4))
    segments = tmp_path / "segments.csv"
    segments.write_text("start_frame,end_frame,activity\n1,4,joke\n")
    data = load_corpus("disfa", root=tmp_path, segments=segments)
    assert data["activity"][:] == ["joke"] * 4
    assert corpus_metadata(data)["options"] == {"camera": "left", "segments": str(segments)}
    (tmp_path / "SN001").rename(tmp_path / "others")
    write_video(tmp_path / "LeftVideoSN001_comp.avi", 4)
    with pytest.raises(ValueError, match=f"holds videos.*--corpus_options .*segments.*{segments}"):
        load_corpus("disfa", root=tmp_path, segments=segments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start_frame,end_frame,activity\n1,5,a\n5,9,b\n", r"'a' \(to frame 5\) and 'b' \(from frame 5\) overlap"),
        ("start_frame,end_frame,activity\n5,1,a\n", "is no segment"),
        ("start_frame,end_frame,activity\n1,2,\n", "is no segment"),
        (
            "start_frame,end_frame,activity\n1,2,meal\n",
            "segments.csv': unknown activity 'meal'.*as a sentence",
        ),
        ("start_frame,end_frame,activity\n1,2,a\n3,4\n", "truncated last line"),
        ("start_frame,end_frame,activity\n", "label file without rows"),
        ("start,end,activity\n1,2,a\n", "has no column start_frame, end_frame"),
    ],
)
def test_segments_that_cannot_be_used_are_refused(tmp_path, text, message):
    labels(tmp_path, "SN001")
    pictures(tmp_path, "SN001", range(4))
    (tmp_path / "segments.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_disfa(tmp_path, segments=tmp_path / "segments.csv")
    with pytest.raises(FileNotFoundError, match="which is no file"):
        read_disfa(tmp_path, segments=tmp_path / "other.csv")


def test_wrong_roots_say_what_they_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"DISFA: looked for ActionUnit_Labels/SN001/SN001_au1.txt.*nothing"):
        read_disfa(tmp_path)
    labels(tmp_path, "SN001")
    with pytest.raises(FileNotFoundError, match=r"SN001/0.png, but it holds ActionUnit_Labels/"):
        read_disfa(tmp_path)
    with pytest.raises(FileNotFoundError, match="it is a file"):
        read_disfa(tmp_path / "ActionUnit_Labels/SN001/SN001_au1.txt")


def test_labels_unpacked_into_a_folder_of_their_own(tmp_path):
    labels(tmp_path / "ActionUnit_Labels", "SN001")
    pictures(tmp_path, "SN001", range(4))
    assert len(read_disfa(tmp_path).records) == 4
