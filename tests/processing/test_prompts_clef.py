import re

import pytest

from processing import prompts_clef as prompts

BP4D = "joke documentary sudden_sound silly_song physical_threat ice_water insults unpleasant_smell".split()
BP4D_PLUS = (
    "funny_joke avatar emergency_call sound_burst true_or_false song_improvisation dart_game hand_in_ice "
    "poor_performance smelly_odor"
).split()


def test_activities_and_tasks():
    assert list(prompts.ACTIVITIES) == BP4D + BP4D_PLUS
    assert prompts.BP4D_TASKS == {f"T{i + 1}": key for i, key in enumerate(BP4D)}
    assert prompts.BP4D_PLUS_TASKS == {f"T{i + 1}": key for i, key in enumerate(BP4D_PLUS)}


def test_activity_text_has_the_form_on_the_poster():
    expected = "Talk to the experimenter and listen to a joke. The target emotion is happiness or amusement."
    assert prompts.activity_text("joke") == expected
    texts = [prompts.activity_text(key) for key in prompts.ACTIVITIES]
    assert len(set(texts)) == len(texts)
    for activity in prompts.ACTIVITIES.values():
        assert activity.sentence[0].isupper() and not activity.sentence.endswith(".")


def test_labels_are_complete_and_distinct():
    numbers = [1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 27, 28, 45]
    assert list(prompts.ACTION_UNITS) == [f"AU{number}" for number in numbers]
    expressions = {"neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"}
    assert set(prompts.EXPRESSIONS) == expressions
    texts = [*prompts.ACTION_UNITS.values(), *prompts.EXPRESSIONS.values()]
    assert len({text.name for text in texts}) == len({text.description for text in texts}) == len(texts)
    assert prompts.label_text("AU12").name == "lip corner puller"
    assert prompts.label_text("fear") is prompts.EXPRESSIONS["fear"]


def test_descriptions_are_clauses_that_fit_every_template():
    assert prompts.NAME_TEMPLATE == "a photo of a person with {}"
    assert len(set(prompts.DESCRIPTION_TEMPLATES)) >= 3
    assert all(template.count("{}") == 1 for template in prompts.DESCRIPTION_TEMPLATES)
    for text in [*prompts.ACTION_UNITS.values(), *prompts.EXPRESSIONS.values()]:
        assert text.description.startswith(("the ", "one "))
        assert not text.description.endswith(".") and "  " not in text.description


HELD_OUT = re.compile(
    r"\b(smil\w*|grin\w*|beam\w*|laugh\w*|frown\w*|crinkl\w*|show\w* (the |their )?teeth|raised eyebrows?)\b"
)


def test_training_shows_no_held_out_word():
    shown = [text for label in (*prompts.ACTION_UNITS.values(), *prompts.EXPRESSIONS.values()) for text in label]
    shown += [phrase for phrases in prompts.PHRASINGS.values() for phrase in phrases]
    shown += [prompts.activity_text(key) for key in prompts.ACTIVITIES]
    shown += [prompts.NAME_TEMPLATE, *prompts.DESCRIPTION_TEMPLATES, *prompts.PHRASING_TEMPLATES]
    assert [text for text in shown if HELD_OUT.search(text.lower())] == []


def test_every_unseen_phrasing_holds_a_held_out_word():
    unseen = [phrase for phrases in prompts.UNSEEN_PHRASINGS.values() for phrase in phrases]
    assert [phrase for phrase in unseen if not HELD_OUT.search(phrase)] == []
    assert {"AU1", "AU2", "AU4", "AU9", "AU12", "AU25", "happiness"} <= set(prompts.UNSEEN_PHRASINGS)
    assert set(prompts.UNSEEN_PHRASINGS) <= set(prompts.PHRASINGS)


def test_phrasings_are_many_distinct_noun_phrases():
    numbers = [1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 27, 28, 45]
    assert list(prompts.PHRASINGS) == [f"AU{number}" for number in numbers] + list(prompts.EXPRESSIONS)
    phrases = [phrase for texts in prompts.PHRASINGS.values() for phrase in texts]
    names = [text.name for text in (*prompts.ACTION_UNITS.values(), *prompts.EXPRESSIONS.values())]
    assert len(set(phrases + names)) == len(phrases) + len(names)
    for label, texts in prompts.PHRASINGS.items():
        assert 20 <= len(texts) <= 32, label
    for phrase in phrases:
        assert phrase == phrase.strip() and 1 <= len(phrase.split()) <= 12, phrase
        assert not phrase.endswith((".", ";")) and "  " not in phrase, phrase
        assert not phrase.startswith(("with ", "the person", "he ", "she ", "they ")), phrase


def test_phrasing_templates_begin_with_the_name_template():
    assert prompts.PHRASING_TEMPLATES[0] == prompts.NAME_TEMPLATE and "{}" in prompts.PHRASING_TEMPLATES
    assert all(template.count("{}") == 1 for template in prompts.PHRASING_TEMPLATES)


@pytest.mark.parametrize(
    "label, near",
    [("AU13", "AU1"), ("au12", "AU12"), ("happyness", "happiness"), ("Fear", "fear"), ("lip corner pulling", "AU12")],
)
def test_unknown_labels_name_the_closest(label, near):
    with pytest.raises(ValueError, match=rf"unknown label '{label}': did you mean .*'{near}'"):
        prompts.label_text(label)


def test_action_units_as_others_write_them():
    spellings = {"AU1": "AU1", "au 1": "AU1", " AU01": "AU1", "AU10": "AU10", "AU99": "AU99", "AU012r": "AU12R"}
    assert {text: prompts.action_unit_label(text) for text in spellings} == spellings
    assert [prompts.action_unit_label(text) for text in ("AU", "AU01_c", "a smile", "")] == [None] * 4


def test_unknown_activity_names_the_closest():
    with pytest.raises(ValueError, match="unknown activity 'ice_watter': did you mean 'ice_water'"):
        prompts.activity_text("ice_watter")
    with pytest.raises(ValueError, match="no known key comes close.*joke, documentary"):
        prompts.activity_text("zzzz")
    with pytest.raises(ValueError, match="unknown activity None"):
        prompts.activity_text(None)
    with pytest.raises(ValueError, match="unknown label 12"):
        prompts.label_text(12)
