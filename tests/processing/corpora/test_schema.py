import json

import datasets
import numpy as np
import pytest
from PIL import Image

from processing.corpora import action_unit_labels, corpus_metadata, expression_labels, face_features
from processing.corpora.schema import action_unit_names, coded_action_units


def faces(coding, units, expressions):
    rows = len(units)
    description = json.dumps({"corpus": "tiny", "crop_recipe": "tiny-1", "action_unit_coding": coding, "options": {}})
    features = face_features(["AU1", "AU12"])
    columns = {
        "image": [Image.new("RGB", (4, 4))] * rows,
        "corpus": ["tiny"] * rows,
        "subject_id": [f"S{row}" for row in range(rows)],
        "sequence_id": ["a"] * rows,
        "frame": list(range(rows)),
        "activity": [None] * rows,
        "expression": expressions,
        "action_units": units,
    }
    return datasets.Dataset.from_dict(
        columns, features=features, info=datasets.DatasetInfo(description=description, features=features)
    )


@pytest.fixture
def intensities():
    units = [{"AU1": 0.0, "AU12": 2.0}, {"AU1": None, "AU12": 1.9}, None, {"AU1": 5.0, "AU12": None}]
    return faces("intensity", units, ["happiness", None, "fear", "neutral"])


NAN = np.nan


def test_features_are_the_schema():
    features = face_features(["AU1", "AU12"])
    assert list(features) == [
        "image",
        "corpus",
        "subject_id",
        "sequence_id",
        "frame",
        "activity",
        "expression",
        "action_units",
    ]
    assert list(features["action_units"]) == ["AU1", "AU12"]


def test_a_corpus_without_action_units_is_without_their_column(tmp_path):
    features = face_features([], groups=["gender"])
    assert "action_units" not in features and list(features["groups"]) == ["gender"]
    columns = {name: [None, None] for name in features if name not in ("image", "expression", "groups")}
    columns |= {"image": [Image.new("RGB", (4, 4))] * 2, "expression": ["fear", None]}
    columns |= {"groups": [{"gender": "woman"}, {"gender": None}]}
    description = json.dumps({"corpus": "tiny", "action_unit_coding": None})
    info = datasets.DatasetInfo(description=description, features=features)
    data = datasets.Dataset.from_dict(columns, features=features, info=info)
    data.to_parquet(tmp_path / "tiny.parquet")  # a struct without fields could not be written
    read = datasets.Dataset.from_parquet(str(tmp_path / "tiny.parquet"), cache_dir=str(tmp_path), features=features)
    assert read["groups"][0] == {"gender": "woman"} and sorted(read.column_names) == sorted(features)
    assert action_unit_names(data) == coded_action_units(data) == []
    np.testing.assert_array_equal(expression_labels(data, ["fear"]), [[1], [NAN]])
    with pytest.raises(ValueError, match=r"does not code \['AU12'\]; it codes no action units"):
        action_unit_labels(data, ["AU12"])


def test_coded_action_units_are_those_of_the_rows(intensities):
    assert action_unit_names(intensities) == coded_action_units(intensities) == ["AU1", "AU12"]
    assert coded_action_units(intensities.select([1])) == ["AU12"]
    assert coded_action_units(intensities.select([3])) == ["AU1"]
    assert coded_action_units(intensities.select([2])) == coded_action_units(intensities.select([])) == []


def test_intensities_become_occurrence(intensities):
    labels = action_unit_labels(intensities, ["AU12", "AU1"])
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, [[1, 0], [0, NAN], [NAN, NAN], [NAN, 1]])
    labels = action_unit_labels(intensities, ["AU12"], threshold=1.0)
    np.testing.assert_array_equal(labels, [[1], [1], [NAN], [NAN]])


def test_occurrence_is_taken_as_it_is():
    data = faces("occurrence", [{"AU1": 1.0, "AU12": 0.0}, {"AU1": None, "AU12": 1.0}], [None, None])
    np.testing.assert_array_equal(action_unit_labels(data, ["AU1", "AU12"]), [[1, 0], [NAN, 1]])
    wrong = faces("occurrence", [{"AU1": 3.0, "AU12": 0.0}], [None])
    with pytest.raises(ValueError, match="other than 0 and 1"):
        action_unit_labels(wrong, ["AU1"])


def test_unknown_labels_and_codings_are_refused(intensities):
    with pytest.raises(ValueError, match=r"AU99.*AU1.*AU12"):
        action_unit_labels(intensities, ["AU12", "AU99"])
    with pytest.raises(ValueError, match="'intensity' or 'occurrence'"):
        action_unit_labels(faces("percent", [{"AU1": 1.0, "AU12": 0.0}], [None]), ["AU1"])


def test_expressions_are_one_hot(intensities):
    labels = expression_labels(intensities, ["neutral", "happiness"])
    np.testing.assert_array_equal(labels, [[0, 1], [NAN, NAN], [NAN, NAN], [1, 0]])
    assert labels.dtype == np.float32


def test_labels_follow_select_and_filter(intensities):
    chosen = intensities.select([3, 0])
    np.testing.assert_array_equal(action_unit_labels(chosen, ["AU1"]), [[1], [0]])
    np.testing.assert_array_equal(expression_labels(chosen, ["neutral"]), [[1], [NAN]])
    kept = intensities.filter(lambda expression: expression == "neutral", input_columns="expression")
    np.testing.assert_array_equal(action_unit_labels(kept, ["AU1"]), [[1]])
    assert action_unit_labels(intensities.select([]), ["AU1"]).shape == (0, 1)


def test_metadata_survives(intensities, tmp_path):
    expected = {"corpus": "tiny", "crop_recipe": "tiny-1", "action_unit_coding": "intensity", "options": {}}
    kept = intensities.filter(lambda frame: frame < 2, input_columns="frame")
    intensities.save_to_disk(tmp_path / "saved")
    joined = datasets.concatenate_datasets([intensities, kept])
    for data in (intensities, kept, intensities.select([1]), datasets.load_from_disk(tmp_path / "saved"), joined):
        assert corpus_metadata(data) == expected


@pytest.mark.parametrize("description", ["", "faces", "[1]", '{"crop_recipe": "x"}'])
def test_missing_metadata_are_refused(description):
    info = datasets.DatasetInfo(description=description)
    with pytest.raises(ValueError, match="load_corpus"):
        corpus_metadata(datasets.Dataset.from_dict({"a": [1]}, info=info))
