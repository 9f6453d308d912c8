import numpy as np
import pytest

from processing.corpora.behaviour import (
    ACTION_UNITS,
    ACTIVITIES,
    ACTIVITY_PATTERNS,
    COLUMN,
    EXPRESSIONS,
    apply_cooccurrence,
    clip_action_units,
    name_expressions,
)


def corpus(subjects, frames=20, seed=0, **options):
    return np.stack(
        [
            [clip_action_units(seed, subject, activity, frames, **options) for activity in range(len(ACTIVITIES))]
            for subject in range(subjects)
        ]
    )


@pytest.fixture(scope="module")
def values():
    return corpus(72)


def test_intensities_are_in_range(values):
    assert values.shape == (72, 8, 20, 17) and values.dtype == np.float32
    assert values.min() >= 0 and values.max() <= 5


def test_base_rates(values):
    rates = (values >= 2).mean(axis=(0, 1, 2))
    expected = {"AU4": 0.19, "AU1": 0.145, "AU12": 0.14, "AU25": 0.15, "AU9": 0.058, "AU24": 0.035, "AU14": 0.039}
    for name, rate in expected.items():
        assert rates[COLUMN[name]] == pytest.approx(rate, rel=0.3), name
    assert 0.025 <= rates.min() and rates.max() <= 0.23
    assert rates.argmax() == COLUMN["AU4"]
    assert 0.26 <= (values < 2).all(axis=-1).mean() <= 0.36


def test_expression_shares(values):
    names = name_expressions(values.reshape(-1, 17))
    shares = {name: names.count(name) / len(names) for name in EXPRESSIONS}
    assert 0.26 <= shares.pop("neutral") <= 0.36
    assert all(0.06 <= share <= 0.19 for share in shares.values()), shares


def test_patterns_name_known_units():
    for patterns in ACTIVITY_PATTERNS.values():
        assert {name for pattern in patterns for name in pattern} <= set(ACTION_UNITS)


def test_a_clip_depends_on_its_own_key_alone():
    few, many = corpus(2, frames=6), corpus(3, frames=6)
    assert np.array_equal(few, many[:2])
    assert not np.array_equal(few[0], few[1])
    assert not np.array_equal(corpus(1, frames=6, seed=1), few[:1])


def test_purity_mixes_in_the_reactions_to_other_activities():
    smile = COLUMN["AU12"]
    joke = ACTIVITIES.index("joke")

    def smiles(purity):
        clips = [clip_action_units(0, subject, joke, 20, purity=purity, off_script=0) for subject in range(80)]
        return np.mean([clip[:, smile].max() >= 2 for clip in clips])

    assert smiles(1.0) > 0.85
    assert smiles(0.0) < 0.5


def test_off_script_units():
    assert (corpus(6, off_script=0.5) >= 2).mean() > (corpus(6, off_script=0.0) >= 2).mean() + 0.03


def test_events_rise_and_fall():
    clips = corpus(40, frames=60, off_script=0.0, purity=1.0)[:, ACTIVITIES.index("joke"), :, COLUMN["AU12"]]
    mean = clips.mean(axis=0)
    assert mean[12] > mean[28] + 0.5 < mean[42]  # apex, pause, apex
    assert mean[12] > mean[0]


def test_cooccurrence_rules():
    row = np.zeros((1, 17))
    for name, value in {"AU23": 3, "AU24": 3, "AU26": 4}.items():
        row[0, COLUMN[name]] = value
    result = apply_cooccurrence(row)[0]
    assert result[COLUMN["AU23"]] == 0 and result[COLUMN["AU24"]] == 0
    assert result[COLUMN["AU25"]] == pytest.approx(3.2)
    assert row[0, COLUMN["AU23"]] == 3  # the input is left alone


@pytest.mark.parametrize(
    ("strengths", "expression"),
    [
        ({}, "neutral"),
        ({"AU6": 3, "AU12": 4}, "happiness"),
        ({"AU1": 3, "AU4": 2, "AU15": 4}, "sadness"),
        ({"AU1": 4, "AU2": 4, "AU5": 3, "AU26": 4, "AU25": 4}, "surprise"),
        ({"AU1": 3, "AU2": 3, "AU4": 3, "AU5": 4, "AU20": 4}, "fear"),
        ({"AU4": 4, "AU7": 3, "AU23": 3}, "anger"),
        ({"AU9": 4, "AU10": 3}, "disgust"),
    ],
)
def test_prototypes_are_named(strengths, expression):
    row = np.zeros((1, 17))
    for name, value in strengths.items():
        row[0, COLUMN[name]] = value
    assert name_expressions(row) == [expression]
