"""Corpora of which some images cannot be decoded."""

from datasets import Dataset

from train_scripts.predict import CorruptImagesError
from train_scripts.readable import ReadableCorpora


def score(parts):
    names = parts["test"]["name"][:]
    if not all(parts["test"]["image"][:]):
        raise CorruptImagesError("some")
    return names


def test_rows_are_those_of_the_corpus_as_it_was_given():
    scored = ReadableCorpora({"test": Dataset.from_dict({"image": ["a", None, "c", "d"], "name": list("abcd")})})
    assert scored.rows == {}
    assert scored.score(score) == ["a", "c", "d"]
    assert scored.rows["test"].tolist() == [0, 2, 3] and scored.left_out == {"test": 1}


def test_what_breaks_later_is_counted_with_what_broke_before():
    scored = ReadableCorpora({"test": Dataset.from_dict({"image": ["a", None, "c", "d"], "name": list("abcd")})})
    scored.score(score)
    broken = scored.corpora["test"].to_dict() | {"image": [None, "c", "d"]}
    scored.corpora["test"] = Dataset.from_dict(broken)
    assert scored.score(score) == ["c", "d"]
    assert scored.rows["test"].tolist() == [2, 3] and scored.left_out == {"test": 2}
