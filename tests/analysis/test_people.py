"""Lists of people that cannot be read are refused with the line."""

import pytest

from analysis.people import NeutralStretch, read_people


@pytest.mark.parametrize(
    "text, message",
    [
        ("source,person,neutral\na.jpg,anna,1\n", "columns source, person, neutral; expected source, subject, neutral"),
        ("", "columns none"),
        ("source,subject,neutral\n", "lists nobody"),
        ("source,subject,neutral\na.jpg,,1\n", "line 2: source and subject"),
        ("source,subject,neutral\na.jpg,anna,yes\n", "line 2: neutral is 'yes'"),
        ("source,subject,neutral\na,b.jpg,anna,1\n", "line 2: more cells than columns"),
        ("source,subject,neutral\na.jpg,anna,1\na.jpg,ben,0\n", "line 3: 'a.jpg' shows 'anna' further up"),
        ("source,subject,neutral,track_id\na.mp4,anna,1,1.5\n", "track_id is '1.5'"),
        ("source,subject,neutral,from_s,to_s\na.mp4,anna,1,5,2\n", "from_s 5 is not before to_s 2"),
        ("source,subject,neutral,from_s\na.mp4,anna,1,soon\n", "from_s is 'soon'"),
        ("source,subject,neutral,from_s\na.mp4,anna,0,3\n", "neutral is not 1"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, text, message):
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_people(tmp_path / "people.csv")


def test_a_list_that_is_not_there_and_a_stretch_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="list of people"):
        read_people(tmp_path / "people.csv")
    (tmp_path / "people.csv").write_bytes(b"source,subject,neutral\nJos\xe9.jpg,a,1\n")
    with pytest.raises(ValueError, match="people.csv.*not in UTF-8"):
        read_people(tmp_path / "people.csv")
    with pytest.raises(ValueError, match="FROM before TO"):
        NeutralStretch(5, 5)


def test_a_track_goes_before_the_rest_of_its_source(tmp_path):
    (tmp_path / "people.csv").write_text(
        "\ufeffsource, subject ,neutral,track_id,from_s,to_s\na.mp4,ben,1,1,0,2\na.mp4,anna,1,,3,\nb.jpg,anna,1,,,\n",
        encoding="utf-8",
    )
    people = read_people(tmp_path / "people.csv")
    assert [people.subject("a.mp4", track) for track in (0, 1)] == ["anna", "ben"]
    assert people.subject("c.mp4", 0) is None
    assert [people.is_neutral("a.mp4", 1, time) for time in (0, 1.9, 2, 4)] == [True, True, False, False]
    assert [people.is_neutral("a.mp4", 0, time) for time in (0, 2.9, 3, 400)] == [False, False, True, True]
    assert people.is_neutral("b.jpg", 0, None) and not people.is_neutral("a.mp4", 0, None)
