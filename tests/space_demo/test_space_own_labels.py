"""The demonstration of a checkpoint with label sets of somebody's own, and what its About page says of any."""

from types import SimpleNamespace

import numpy as np
import pytest

from clef_space.about import about_page
from clef_space.faces_view import label_groups, numbers, summary
from clef_space.labels import label_sets_of
from clef_space.recogniser import FoundFace, Recogniser
from clef_space.timeline_view import timeline
from clef_space.videos import SeenFrame, _Overlay, rows

TEMPLATE = "a photo of a person with {}"
KNOWN = {"AU1": ("inner brow raiser", "up"), "neutral": ("a neutral expression", "at rest")}
OWN = {
    "gestures": {"smirk": "a smirk on one side of the mouth", "frown": "a frown", "gaze_away": "gaze away"},
    "mood": {"calm": "a calm face", "tense": "a tense face"},
    "engagement": {"neutral": "an attentive face", "bored": "a bored face"},
}
SCORES = np.array([0.7, 0.3, 0.2, 0.4, 0.6, 0.9, 0.1])
FACE = FoundFace([0, 0, 9, 9], [], 1.0, {"out_of_scope": False, "reason": ""}, None, SCORES)


def recogniser_of(sets, exclusive=("mood", "engagement", "expression")):
    kinds = {True: "single_label_classification", False: "multi_label_classification"}
    labels = [label for texts in sets.values() for label in texts]
    if len(set(labels)) < len(labels):
        labels = [f"{name}/{label}" for name, texts in sets.items() for label in texts]
    config = SimpleNamespace(
        id2label=dict(enumerate(labels)),
        label_sets=[
            {
                "name": name,
                "problem_type": kinds[name in exclusive],
                "labels": list(texts),
                "names": [TEMPLATE.format(words) for words in texts.values()],
                "thresholds": [0.5] * len(texts),
            }
            for name, texts in sets.items()
        ],
    )
    recogniser = Recogniser.__new__(Recogniser)  # what is tested here needs no model
    recogniser.label_sets = label_sets_of(config, KNOWN, TEMPLATE)
    return recogniser


@pytest.fixture
def own():
    return recogniser_of(OWN)


def test_labels_are_called_by_their_names_and_not_by_prompts(own):
    found = {label.label: (label.name, label.description) for label in own.labels}
    assert found["smirk"] == ("smirk", "a smirk on one side of the mouth")
    assert found["gaze_away"] == ("gaze away", "") and found["frown"] == ("frown", "")  # nothing said twice
    assert found["neutral"] == ("neutral", "an attentive face")  # these are not the words of the expression
    usual = recogniser_of({"action_units": {"AU1": "an older name"}, "expression": {"neutral": "n", "joy": "joy"}})
    assert [(one.name, one.description) for one in usual.labels] == [*KNOWN.values(), ("joy", "")]
    assert [(one.code, one.threshold) for one in usual.labels] == [("AU1", 0.5), ("", None), ("", None)]


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    for missing in (tmp_path / "mine", "outputs/my/run"):
        with pytest.raises(ValueError, match="is no folder; expected a checkpoint's folder or a repository"):
            Recogniser(str(missing))


def test_each_set_of_which_one_label_holds_is_drawn_by_itself(own):
    html = label_groups(own, SCORES, {})
    groups = {part.partition('"')[0]: part for part in html.split('aria-label="')[1:]}
    assert list(groups) == ["Mood", "Engagement", "Gestures"]
    for name, best in (("Mood", "tense"), ("Engagement", "neutral")):
        assert groups[name].count("they add up to 100 %") == groups[name].count("the most probable") == 1
        (row,) = [row for row in groups[name].split("<button")[1:] if "the most probable" in row]
        assert f'data-label="{best}"' in row
    said = summary(own, FACE)
    assert "Mood: most like <strong>tense</strong> (60 %)." in said
    assert "Engagement: most like <strong>neutral</strong> (90 %)." in said
    assert "Gestures: <strong>smirk</strong>." in said and "uscle" not in said


def test_numbers_and_tables_have_a_place_for_each_set(own):
    found = numbers(own, FACE)
    assert found["mood"] == [{"label": "calm", "probability": 0.4}, {"label": "tense", "probability": 0.6}]
    assert [row["label"] for row in found["engagement"]] == ["neutral", "bored"]
    assert [(row["label"], row["present"]) for row in found["gestures"]] == [
        ("smirk", True),
        ("frown", False),
        ("gaze_away", False),
    ]
    (row,) = rows(own, [SeenFrame(0, 0.0, None, [FACE], [0])])
    assert (row["mood"], row["engagement"], row["smirk"]) == ("tense", "neutral", 1)
    assert row["calm_probability"] == 0.4 and row["bored_probability"] == 0.1


def test_labels_that_sets_share_have_columns_of_their_own():
    shared = recogniser_of({"mood": {"low": "a", "high": "b"}, "engagement": {"low": "c", "high": "d"}})
    face = FoundFace(FACE.box, [], 1.0, FACE.quality, None, np.array([0.1, 0.9, 0.8, 0.2]))
    (row,) = rows(shared, [SeenFrame(0, 0.0, None, [face], [0])])
    assert (row["mood/low_probability"], row["engagement/low_probability"]) == (0.1, 0.8)
    assert (row["mood"], row["engagement"]) == ("high", "low")


def test_a_video_has_a_band_for_each_set_of_which_one_label_holds(own, tmp_path):
    frames = [SeenFrame(number, number / 10, None, [FACE], [0]) for number in range(3)]
    html = timeline(own, frames)
    assert html.count("clef-band") == 2 and html.count("<svg") == 3
    assert ">Mood<" in html and ">Engagement<" in html and "clef-code" not in html
    assert "tense 60 % · neutral 90 % · smirk" in html
    with_box = SeenFrame(0, 0.0, np.zeros((64, 64, 3), np.uint8), [FACE], [0])
    overlay = _Overlay(tmp_path / "faces.mp4", (64, 64, 3))
    overlay.add(with_box, own)
    overlay.close()
    assert (tmp_path / "faces.mp4").stat().st_size


def measured(**more):
    multi = {"f1": 0.61, "auroc": 0.83, "base_rate": 0.25}
    return {
        "evaluation": {
            "data": {"scored": {"frames": 1234, "subjects": 12}},
            "gestures": {"mean_auroc": 0.843, "mean_f1": 0.612, "labels": {"smirk": multi, "gaze_away": multi}},
            "mood": {
                "accuracy": 0.7,
                "accuracy_calibrated": 0.71,
                "labels": {"calm": {"f1": 0.72, "recall": 0.73, "frames": 9}},
            },
        }
    } | more


def test_about_shows_the_figures_of_own_labels(own):
    page = about_page(own, measured(corpus="image_folder"))
    assert "without measured figures" not in page and "rendered" not in page
    assert "1,234 frames of 12 people whom the model never saw" in page
    assert "the mean AUROC is 84.3 %, the mean F1 61.2 %" in page and "the mood is right in 71.0 %" in page
    assert "<th scope='row'>smirk</th><td>83.0</td><td>61.0</td><td>25.0</td>" in page
    assert "<th scope='row'>calm</th><td>73.0</td><td>72.0</td>" in page
    assert "<li>Mood, one of: calm, tense</li>" in page and "action unit" not in page
    assert "<code>gestures</code>, <code>mood</code>, <code>engagement</code>" in page
    assert "without measured figures" in about_page(own, {})


def test_the_picture_of_the_method_shows_labels_of_the_checkpoint(own):
    def drawn(recogniser):
        return about_page(recogniser, {}).split("</svg>")[0].split("<svg")[1]

    picture = drawn(own)
    assert "“smirk”" in picture and ">frown<" in picture and ">gaze away<" in picture
    assert "lip corner puller" not in picture and "muscle" not in about_page(own, {})
    units = {"AU4": "brow lowerer", "AU12": "lip corner puller", "AU26": "jaw drop", "AU1": "inner brow raiser"}
    picture = drawn(recogniser_of({"action_units": units}))
    assert "“AU12”" in picture and ">AU4<" in picture and ">AU26<" in picture  # for which no names are known here
    assert "the names of\nmuscle movements." in about_page(recogniser_of({"action_units": units}), {})
    assert "“one label”" in drawn(recogniser_of({"mood": {"calm": "calm", "tense": "tense"}}))
    long = {"a very long name indeed": "1", "<b>": "2", "x": "3", "y": "4"}
    assert "“&lt;b&gt;”" in drawn(recogniser_of({"gestures": long}))


def test_about_says_when_there_was_no_test_set(own):
    scores = measured()["evaluation"]
    page = about_page(own, measured(validation=scores))
    assert "as there was no test set" in page and "never saw" not in page


def group(people, auroc, too_few=False):
    return {"people": people, "auroc": auroc, "too_few": too_few}


@pytest.mark.parametrize(
    "gender, unequal",
    [
        ({"female": group(25, 0.98), "male": group(26, 0.92)}, True),
        ({"female": group(25, 0.96), "male": group(26, 0.95)}, False),
        ({"female": group(25, 0.96), "male": group(3, 0.5, too_few=True)}, None),
        ({}, None),
    ],
)
def test_about_says_of_groups_of_people_what_was_measured(own, gender, unequal):
    photographs = {
        "data": {"photos": 102, "people": 51},
        "labels": {"smirk": {"auroc": 0.9, "groups": {"gender": gender}}},
    }
    page = about_page(own, measured(photographs=photographs))
    assert ("It serves people unequally" in page) is (unequal is True)
    assert ("were measured differ by" in page) is (unequal is False)
    assert ("equally was not measured" in page) is (unequal is None)
    if unequal:
        assert "AUROC of smirk in photographs by gender: female 98.0 (25 people), male 92.0 (26 people)." in page


def test_about_knows_groups_of_the_test_set_too(own):
    scores = [{"subjects": 8, "scores": {"accuracy": {"value": value}}} for value in (0.8, 0.6)]
    groups = {"mood": {"age": dict(zip(("young", "old"), scores, strict=True))}}
    page = about_page(own, measured(groups=groups))
    assert "unequally" in page
    assert "Accuracy of mood on the test set by age: young 80.0 (8 people), old 60.0 (8 people)." in page
    assert "was not measured" in about_page(own, measured(groups={}))
