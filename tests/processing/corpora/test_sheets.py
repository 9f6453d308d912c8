import pytest

from processing.corpora.sheets import SHEETS, diverse_subjects, main


@pytest.mark.parametrize("name", SHEETS)
def test_sheets_are_drawn(name):
    sheet = SHEETS[name](image_size=32)
    assert sheet.mode == "RGB" and sheet.width > 32 * 6 and sheet.height > 32
    assert SHEETS[name](image_size=32).tobytes() == sheet.tobytes()


def test_diverse_subjects_differ():
    assert len(set(diverse_subjects(0, 5))) == 5


def test_the_command_writes_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["sheets", "--output", str(tmp_path / "new"), "--image_size", "32"])
    main()
    assert {path.stem for path in (tmp_path / "new").glob("*.png")} == set(SHEETS)
