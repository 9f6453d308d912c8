import numpy as np
import pytest

from processing import CLEFImageProcessor, CLEFProcessor
from processing.corpora import load_corpus
from train_scripts.labels import corpus_label_names, label_matrix, make_label_sets
from train_scripts.towers import tiny_tokenizer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return load_corpus("synthetic", subjects=3, frames=2, image_size=32, cache_dir=tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def processor():
    return CLEFProcessor(CLEFImageProcessor(), tiny_tokenizer())


def without(corpus, label):
    """The corpus, with no row coding an action unit."""

    def blank(row):
        row["action_units"][label] = None
        return row

    return corpus.map(blank, features=corpus.features)


def test_only_labels_that_the_corpus_codes_are_learned(corpus):
    assert len(corpus_label_names(corpus, "action_units")) == 17
    assert "AU12" not in corpus_label_names(without(corpus, "AU12"), "action_units")
    assert "contempt" not in corpus_label_names(corpus, "expression")


def test_a_part_of_the_rows_is_asked_alone(corpus):
    """More rows without a value than the part has rows: what counts is whether one of the part has it."""
    values = corpus["action_units"]
    blanked = [{**row, "AU4": None} if i >= 5 else row for i, row in enumerate(values)]
    partly = corpus.remove_columns("action_units").add_column("action_units", blanked).cast(corpus.features)
    assert "AU4" in corpus_label_names(partly.select(range(10)), "action_units")
    assert "AU4" not in corpus_label_names(partly.select(range(5, 20)), "action_units")


def test_a_corpus_without_action_units(corpus, processor):
    expressions = corpus.remove_columns("action_units")
    assert corpus_label_names(expressions, "action_units") == []
    with pytest.raises(ValueError, match="codes no label of 'action_units'"):
        make_label_sets(expressions, ["action_units"], processor)
    sets = make_label_sets(corpus, ["action_units", "expression"], processor)
    matrix = label_matrix(expressions, sets)
    assert np.isnan(matrix[:, :17]).all()
    np.testing.assert_array_equal(matrix[:, 17:], label_matrix(corpus, sets)[:, 17:])


def test_the_columns_are_the_corpus_in_the_order_of_the_sets(corpus, processor):
    sets = make_label_sets(corpus, ["expression", "action_units"], processor)
    matrix = label_matrix(corpus, sets)
    expressions, units = sets[0]["labels"], sets[1]["labels"]
    for row in range(0, len(corpus), 7):
        face = corpus[row]
        assert matrix[row, : len(expressions)].tolist() == [name == face["expression"] for name in expressions]
        assert matrix[row, len(expressions) :].tolist() == [face["action_units"][name] >= 2 for name in units]


def test_a_label_that_a_row_does_not_code_is_unknown(corpus, processor):
    sets = make_label_sets(corpus, ["action_units"], processor)
    matrix = label_matrix(without(corpus, "AU4"), sets)
    assert np.isnan(matrix[:, sets[0]["labels"].index("AU4")]).all()
    assert np.isnan(matrix).sum() == len(corpus)


def test_label_sets_are_worded_by_the_processor(corpus, processor):
    (units,) = make_label_sets(corpus, ["action_units"], processor)
    assert units["names"][units["labels"].index("AU12")] == "a photo of a person with lip corner puller"
    assert len(units["description_tokens"]) == 17


def test_phrasings_are_shown_on_request(corpus, processor):
    (plain,) = make_label_sets(corpus, ["action_units"], processor)
    (units,) = make_label_sets(corpus, ["action_units"], processor, phrasings=True)
    assert plain["phrasing_tokens"] is None and {**units, "phrasing_tokens": None} == plain
    expected = processor.tokenizer(processor.phrasing_prompts("AU12")[0])["input_ids"]
    tokens = units["phrasing_tokens"][units["labels"].index("AU12")]
    assert [[int(i) for i in string.split()] for string in tokens] == expected


def test_an_unknown_set_is_refused(corpus, processor):
    with pytest.raises(ValueError, match="expected one of action_units, expression"):
        make_label_sets(corpus, ["valence"], processor)
