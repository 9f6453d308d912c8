import json
import re

import pytest
from huggingface_hub import ModelCard

from hub_cards.rendered_faces_card import render_card, trusted_action_units, write_card


def measured(label, auroc):
    interval = {"auroc_interval": [auroc - 0.03, auroc + 0.02], "paired_accuracy_interval": [0.9, 1.0]}
    row = {"auroc": auroc, "paired_accuracy": 0.98, "people": 51, "too_few": False, **interval}
    decisions = {
        "fitted_threshold": {"precision": 1.0, "recall": 0.4, "accuracy": 0.7},
        "fitted_on_other_half": {"accuracy": 0.88},
    }
    return row | {"decisions": decisions, "groups": {"gender": {"female": row}}}


@pytest.fixture
def metrics():
    au = {"base_rate": 0.14, "f1": 0.61, "auroc": 0.93, "ap": 0.66, "threshold": 0.31}
    rows = {"clef": {"all": {}, "0.05": {}}, "stage2": {"all": {}, "0.05": {}}}
    for arm, value in (("clef", 0.52), ("stage2", 0.55)):
        for fraction in rows[arm]:
            figures = {"au_f1": value, "au_auroc": value, "expression_accuracy": value}
            rows[arm][fraction] = figures | {"labelled_frames": 4321}
    return {
        "labelled_frames": 48_000,
        "evaluation": {
            "data": {"scored": {"frames": 1600, "subjects": 40}, "thresholds_from": {"frames": 800, "subjects": 20}},
            "action_units": {
                "mean_f1": 0.535,
                "mean_auroc": 0.885,
                "mean_ap": 0.56,
                "labels": {"AU12": au, "AU24": au | {"f1": 0.12, "auroc": 0.71}},
            },
            "expression": {"accuracy": 0.643, "labels": {"neutral": {"frames": 500, "f1": 0.7, "recall": 0.75}}},
        },
        "comparison": {"rows": rows, "chosen": "clef", "chosen_by": "score"},
        "small_set": {},
        "photographs": {
            "data": {"usable": 102, "photos": 102, "people": 51},
            "labels": {"AU12": measured("AU12", 0.963)},
            "prompts": {"smiling": measured("smiling", 0.957)},
            "cannot_verify": {"action_units": ["AU1", "AU24"], "expression": ["fear"]},
        },
    }


def numbers(value):
    if isinstance(value, dict):
        value = value.values()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        return {value}
    return set().union(*map(numbers, value)) if isinstance(value, (list, tuple, type({}.values()))) else set()


def test_every_figure_of_the_card_is_in_the_metrics(metrics):
    card = render_card("small", metrics, {})
    known = {f"{100 * value:.1f}" for value in numbers(metrics)} | {f"{value:.3f}" for value in numbers(metrics)}
    rows = metrics["comparison"]["rows"]
    known |= {
        f"{100 * (rows['clef'][k]['au_f1'] - rows['stage2'][k]['au_f1']):+.1f}".lstrip("+-") for k in rows["clef"]
    }
    tables = "\n".join(line for line in card.splitlines() if line.startswith("|"))
    found = set(re.findall(r"(?<![\w.])\d+\.\d+", tables))
    assert found and found <= known


def test_the_metadata_are_valid_and_name_the_results(metrics):
    data = ModelCard(render_card("small", metrics, {})).data
    values = {result.metric_name: result.metric_value for result in data.eval_results}
    assert values == {
        "mean AU AUROC": 88.5,
        "mean AU F1": 53.5,
        "expression accuracy": 64.3,
        "AU12 AUROC": 96.3,
    }
    assert data.license == "apache-2.0" and data.pipeline_tag == "image-classification"


def test_it_says_what_not_to_trust_and_where_stage_1_does_not_help(metrics):
    card = render_card("small", metrics, {})
    assert trusted_action_units(metrics) == ["AU12"]
    assert "Not to be relied upon even on renders: AU24." in card
    assert "| AU24 lip pressor | 14.0 | 12.0 | 71.0 | 66.0 | 0.310 | **not to be relied upon** |" in card
    assert "| all | 4321 | AU F1 | 52.0 | 55.0 | -3.0 |" in card
    assert "cannot verify AU1, AU24, fear" in card
    assert "An expression is not a feeling" in card and "More Information Needed" not in card


def test_without_photographs_there_is_no_such_section_and_without_figures_no_card(metrics, tmp_path):
    del metrics["photographs"]
    assert "On photographs" not in render_card("small", metrics, {})
    (tmp_path / "config.json").write_text("{}")
    del metrics["small_set"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="lacks \\['small_set'\\]"):
        write_card(tmp_path)
