"""The results of a run or a cross-validation as one self-contained HTML page.

python train_scripts/result_report.py outputs/bp4d      # draws results.json again
"""

import base64
import json
import sys
from html import escape
from pathlib import Path
from string import Template

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from train_scripts import result_figures as figures
from train_scripts.report_figures import as_png
from train_scripts.results_text import (
    SET_NAMES,
    comparison_rows,
    full_name,
    kind_of,
    percent,
    score_name,
    with_interval,
)
from train_scripts.score_draws import HEADLINES

TEMPLATE = Path(__file__).with_name("templates") / "results.html"
# What the folds and groups are drawn for.
DRAWN = {"multi_label": ("mean_f1", "mean_auroc"), "single_label": ("accuracy", "uar")}
COLUMNS = {
    "f1": "F1",
    "f1_at_half": "F1 at .5",
    "auroc": "AUROC",
    "ap": "average precision",
    "base_rate": "base rate",
    "recall": "recall",
}


def write_report(results: dict, folder: Path, title: str = "CLEF results") -> Path:
    """Writes `folder/report.html`: one file with all styles and pictures in it, no scripts, nothing from elsewhere.

    Args:
        results: of `results.summarise_predictions`.
    """
    folder = Path(folder)
    page = {
        "title": escape(title),
        "data": _data(results["data"]),
        "links": " ".join(f'<a href="#{escape(name)}">{_title(name)}</a>' for name in results["scores"]),
        "notes": _notes(results["notes"]),
        "table": _score_table(results),
        "resamples": str(results["settings"]["resamples"]),
        "sections": "".join(_label_set(name, scores, results) for name, scores in results["scores"].items()),
        "selection": _selection(results["selection"]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(Template(TEMPLATE.read_text(encoding="utf-8")).substitute(page), encoding="utf-8")
    return path


def _data(data: dict) -> str:
    folds = len(data["folds"])
    across = f"{folds} folds, each tested on people it was not trained on" if folds > 1 else "one run"
    return f"{data['subjects']} test subjects, {data['frames']:,} frames; {across}."


def _notes(notes: list[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<div class="note"><ul>{items}</ul></div>' if notes else ""


def _score_table(results: dict) -> str:
    heads = [
        ("", "", ""),
        ("honest, pooled", "95 % interval", ""),
        ("honest, mean of folds", "± between folds", ""),
        ("faces only", "frames without a face left out", ""),
        ("paper-style", results["selection"]["paper_style"]["epoch"], "paper"),
        ("paper", "its own number", "paper"),
    ]
    head = "".join(
        f"<th{_class(kind)}>{name}{f'<small>{escape(below)}</small>' if below else ''}</th>"
        for name, below, kind in heads
    )
    kinds = ("", "honest", "", "", "paper", "paper")
    body = []
    for row in comparison_rows(results):
        cells = "".join(f"<td{_class(kind)}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        body.append(f"<tr>{cells}</tr>")
    source = (results["paper"] or {}).get("source")
    below = f'<p class="muted">Source of the paper\'s numbers: {escape(str(source))}.</p>' if source else ""
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>{below}'
    )


def _label_set(name: str, scores: dict, results: dict) -> str:
    kind, pooled, labels = kind_of(scores), scores["pooled"], scores["labels"]
    style = (scores["paper_style"] or {"labels": {}})["labels"]
    names = [full_name(label) for label in labels]
    f1 = [pooled["labels"][label]["f1"] for label in labels]
    marks = {"paper-style, selected on test subjects": [style.get(label, {}).get("f1") for label in labels]}
    given = ((results["paper"] or {}).get("labels") or {}) if kind == "multi_label" else {}
    marks["the paper"] = [given[label] / 100 if label in given else None for label in labels]
    parts = [f'<section id="{escape(name)}"><h2>{_title(name)}</h2>']
    parts.append(_plot(figures.label_bars(names, f1, marks), f"F1 of each of {len(names)} labels", "F1 of each label."))
    parts.append(_label_table(labels, pooled["labels"], style, given))
    if "confusion" in pooled:
        caption = "Percent of each label's frames, their number in brackets, all folds together."
        parts.append(_plot(figures.confusion_matrix(labels, pooled["confusion"]), "Confusion matrix", caption))
    parts.append(f"<h3>Calibration</h3><p>{_calibration_text(pooled['calibration'])}</p>")
    panels = {label: bins for label, bins in scores["reliability"].items() if bins.get("ece")}
    if panels:
        caption = (
            "Fifteen bins of equally many frames, all folds together. On the dashed line probabilities are frequencies."
        )
        parts.append(_plot(figures.reliability_panels(panels), "Reliability of each label's probability", caption))
    drawn = DRAWN[kind]
    if len(scores["folds"]) > 1:
        folds = [[fold["scores"][key] for fold in scores["folds"]] for key in drawn]
        texts = [f"fold {fold['fold']} ({fold['subjects']} people)" for fold in scores["folds"]]
        figure = figures.fold_points([score_name(name, key) for key in drawn], folds, texts)
        parts.append("<h3>Folds</h3>" + _plot(figure, "Scores of each fold", ""))
    if scores["groups"]:
        key = HEADLINES[kind][0]
        groups = {
            group: {value: (block["scores"][key], block["subjects"]) for value, block in values.items()}
            for group, values in scores["groups"].items()
        }
        figure = figures.group_points(groups, score_name(name, key), pooled["scores"][key]["value"])
        parts.append("<h3>Groups of people</h3>" + _plot(figure, f"{score_name(name, key)} of each group", ""))
        parts.append(_group_table(name, scores["groups"], HEADLINES[kind]))
    return "".join(parts) + "</section>"


def _title(name: str) -> str:
    return escape(SET_NAMES.get(name, name))


def _label_table(labels: list[str], rows: dict[str, dict], style: dict[str, dict], given: dict[str, float]) -> str:
    columns = {key: name for key, name in COLUMNS.items() if key in rows[labels[0]]}
    errors = {"ece": "ECE", "ece_calibrated": "ECE, fitted"}
    errors = {key: name for key, name in errors.items() if key in rows[labels[0]]}
    head = ["", "positive frames", *columns.values(), *errors.values()]
    head += ["F1, paper-style (selected on test subjects)"] * bool(style)
    head += ["F1, the paper"] * bool(given)
    body = [
        [full_name(label), f"{rows[label]['positives']:,}"]
        + [with_interval(rows[label][key]) for key in columns]
        + [percent(rows[label][key]) for key in errors]
        + ([percent(style[label]["f1"])] if style else [])
        + ([f"{given[label]:g}" if label in given else "–"] if given else [])
        for label in labels
    ]
    return _table(head, body)


def _group_table(name: str, groups: dict, keys: tuple[str, ...]) -> str:
    head = ["", "people", "frames", "without a face", *(score_name(name, key) for key in keys)]
    body = [
        [f"{group.replace('_', ' ')}: {value}", str(block["subjects"]), f"{block['frames']:,}"]
        + [f"{block['frames_without_face']:,}"]
        + [with_interval(block["scores"][key]) for key in keys]
        for group, values in groups.items()
        for value, block in values.items()
    ]
    return _table(head, body)


def _calibration_text(calibration: dict) -> str:
    text = (
        f"Expected calibration error (mean distance of probability and frequency, frames with a face): "
        f"{percent(calibration['ece'])} % uncalibrated"
    )
    if calibration["ece_calibrated"] is not None:
        text += f", {percent(calibration['ece_calibrated'])} % calibrated on validation subjects"
    return escape(text + ".")


def _selection(selection: dict) -> str:
    body = [
        [
            "honest",
            selection["honest"]["epoch"],
            selection["honest"]["thresholds"],
            selection["honest"]["temperatures"],
        ],
        ["paper-style", selection["paper_style"]["epoch"], selection["paper_style"]["thresholds"], "none"],
    ]
    return _table(["columns", "epoch", "thresholds", "temperatures"], body)


def _table(head: list[str], body: list[list[str]]) -> str:
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rows = "".join("<tr>" + "".join(f"<td>{_cell(text)}</td>" for text in row) + "</tr>" for row in body)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(text: str) -> str:
    """Intervals go below what they are of: beside it, those of an action unit would be wider than a screen."""
    value, bracket, interval = escape(text).partition(" [")
    return f"{value}<small>[{interval}</small>" if bracket else value


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _plot(figure, alt: str, caption: str) -> str:
    url = f"data:image/png;base64,{base64.b64encode(as_png(figure)).decode()}"
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    width = round(figure.get_size_inches()[0] * 100)
    return f'<figure><img alt="{escape(alt)}" width="{width}" src="{url}">{below}</figure>'


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1], "results.json").is_file():
        sys.exit("usage: python train_scripts/result_report.py FOLDER (that holds a results.json)")
    where = Path(sys.argv[1])
    print(write_report(json.loads((where / "results.json").read_text()), where, title=where.resolve().name))
