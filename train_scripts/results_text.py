"""Results as plain text for the terminal: honest and paper-style scores side by side, in percent."""

from processing.prompts_clef import ACTION_UNITS
from processing.wording import counted
from train_scripts.score_draws import HEADLINES

SCORE_NAMES = {
    "mean_f1": "AU F1",
    "mean_f1_at_half": "AU F1 at .5",
    "mean_auroc": "AU AUROC",
    "mean_ap": "AU average precision",
    "mean_base_rate": "AU base rate",
    "accuracy": "expression accuracy",
    "macro_f1": "expression macro F1",
    "uar": "expression UAR",
}
SET_NAMES = {"action_units": "Action units", "expression": "Expressions"}
# Which paper-style score stands beside an honest one.
PAPER_STYLE = {"mean_f1": "mean_f1_at_half", "accuracy": "accuracy", "macro_f1": "macro_f1", "uar": "uar"}


def kind_of(scores: dict) -> str:
    """ "multi_label" or "single_label", of one label set's results."""
    return scores["problem_type"].removesuffix("_classification")


def results_table(results: dict) -> str:
    """What `results.summarise_predictions` returns as aligned text: all scores, action units, groups, notes."""
    data = results["data"]
    lines = [
        f"{counted(data['subjects'], 'test subject')}, {counted(data['frames'], 'frame')}, "
        f"{counted(len(data['folds']), 'fold')}; "
        f"{counted(data['frames_without_face'], 'frame')} without a detected face"
    ]
    heads = ("folds pooled [95 %]", "mean of folds ± sd", "faces only", "paper-style*", "paper")
    lines.append(f"{'':24}{heads[0]:>24}" + "".join(f"{head:>20}" for head in heads[1:]))
    for row in comparison_rows(results):
        name, *cells = row
        lines.append(f"{name:24}{cells[0]:>24}" + "".join(f"{cell:>20}" for cell in cells[1:]))
    style = results["selection"]["paper_style"]
    lines.append(f"* thresholds {style['thresholds']}; epoch {style['epoch']}")
    honest = results["selection"]["honest"]
    lines.append(f"  the other columns: thresholds {honest['thresholds']}; epoch {honest['epoch']}")
    for set_name, scores in results["scores"].items():
        lines += ["", f"{'':32}{'positive':>10}" + "".join(f"{name:>24}" for name in _label_columns(scores))]
        for label, row in scores["pooled"]["labels"].items():
            cells = "".join(f"{with_interval(row[name]):>24}" for name in _label_columns(scores))
            lines.append(f"{full_name(label):32}{row['positives']:>10}{cells}")
        for group, values in scores["groups"].items():
            first = HEADLINES[kind_of(scores)][0]
            lines += ["", f"{score_name(set_name, first)} by {group}"]
            for value, block in values.items():
                people = counted(block["subjects"], "person", "people")
                lines.append(f"  {value:22}{with_interval(block['scores'][first]):>24}{people:>15}")
    return "\n".join([*lines, *(f"note: {note}" for note in results["notes"])])


def comparison_rows(results: dict) -> list[list[str]]:
    """A row a headline score: its name, pooled with interval, mean and spread over folds, faces only, paper-style, the
    paper's number; "–" where there is none."""
    rows = []
    for name, scores in results["scores"].items():
        for key in HEADLINES[kind_of(scores)]:
            folds = scores["over_folds"][key]
            style = (scores["paper_style"] or {"scores": {}})["scores"].get(PAPER_STYLE.get(key))
            rows.append(
                [
                    score_name(name, key),
                    with_interval(scores["pooled"]["scores"][key]),
                    with_spread(folds),
                    percent(scores["pooled"]["faces_only"][key]),
                    with_spread(style) if style else "–",
                    paper_number(results["paper"] if name in SET_NAMES else None, key),
                ]
            )
    return rows


def paper_number(paper: dict | None, key: str) -> str:
    """The paper's number for a score, as it stands in the recipe (in percent); "–" without one."""
    value = (paper or {}).get("f1" if key == "mean_f1" else key)
    return "–" if value is None else f"{value:.4g}"


def score_name(set_name: str, key: str) -> str:
    """What a score of a label set is called: "AU F1", of a set of one's own "posture: F1"."""
    name = SCORE_NAMES[key]
    return name if set_name in SET_NAMES else f"{set_name}: {name.partition(' ')[2]}"


def full_name(label: str) -> str:
    """The label with its name, such as "AU12 lip corner puller"."""
    return f"{label} {ACTION_UNITS[label].name}" if label in ACTION_UNITS else label


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def with_interval(score: dict) -> str:
    """ "56.1 [51.0, 60.2]" """
    if score["value"] is None or score["interval"] is None:
        return percent(score["value"])
    return f"{percent(score['value'])} [{percent(score['interval'][0])}, {percent(score['interval'][1])}]"


def with_spread(score: dict) -> str:
    """ "56.1 ± 2.0" """
    return percent(score["value"]) + ("" if score["sd"] is None else f" ± {percent(score['sd'])}")


def _label_columns(scores: dict) -> tuple[str, ...]:
    return ("f1", "auroc") if kind_of(scores) == "multi_label" else ("f1", "recall")
