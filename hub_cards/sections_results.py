"""Sections of a model card with what was measured on people nobody trained on; fractions are written in percent."""

from hub_cards.data_sets import data_set
from hub_cards.formatting import UNDEFINED, count, paragraphs, percent, table, with_interval, with_spread
from hub_cards.measured import Measured
from processing.prompts_clef import ACTION_UNITS

# Below these an action unit is not to be relied upon. Our choice.
TRUSTED_AUROC, TRUSTED_F1 = 0.85, 0.4
SCORES = {
    "multi_label_classification": {
        "mean_f1": "mean F1",
        "mean_f1_at_half": "mean F1 at .5",
        "mean_auroc": "mean AUROC",
        "mean_ap": "mean average precision",
    },
    "single_label_classification": {
        "accuracy": "accuracy",
        "macro_f1": "macro F1",
        "uar": "unweighted average recall",
    },
}
LABEL_SCORES = ("f1", "f1_at_half", "auroc", "ap", "base_rate", "recall")
# Which paper-style score stands beside an honest one.
PAPER_STYLE = {"mean_f1": "mean_f1_at_half", "accuracy": "accuracy", "macro_f1": "macro_f1", "uar": "uar"}
IDENTITY = {
    "projection_nearest_neighbour": "embedding, nearest neighbour",
    "projection_linear": "embedding, linear",
    "backbone_linear": "features of the tower, linear",
}


def trusted_labels(measured: Measured) -> tuple[list[str], list[str]]:
    """Labels of multi-label sets that are recognised on the scored people, and those that are not."""
    trusted, others = [], []
    for label_set in measured.label_sets:
        if label_set["problem_type"] == "multi_label_classification":
            for label, row in _label_rows(measured, label_set["name"]).items():
                (trusted if _is_trusted(row) else others).append(label)
    return trusted, others


def _is_trusted(row: dict) -> bool:
    f1, auroc = row.get("f1", row.get("f1_at_half"))["value"], row["auroc"]["value"]
    return f1 is not None and auroc is not None and auroc >= TRUSTED_AUROC and f1 >= TRUSTED_F1


def _label_rows(measured: Measured, name: str) -> dict[str, dict]:
    """Label → score → {"value", "interval"}, of all folds together where there are several; and its "frames"."""
    found = measured.results_of(name)
    rows = {}
    for label, row in measured.scores(name)["labels"].items():
        if found is None:
            scored = {key: {"value": row[key], "interval": None} for key in LABEL_SCORES if key in row}
            frames = row.get("frames", row.get("positives"))
        else:
            pooled = found["pooled"]["labels"][label]
            scored = {key: pooled[key] for key in LABEL_SCORES if key in pooled}
            frames = pooled["positives"]
        rows[label] = scored | {"frames": frames}
    return rows


def results(measured: Measured) -> str:
    """Headline scores with intervals where there are any, honest and paper-style apart.

    Raises:
        ValueError: nothing was measured.
    """
    if not measured.label_sets:
        return _probes(measured)
    parts = ["## Results", _who_was_scored(measured), _headlines(measured), _selection(measured)]
    parts.append("\n".join(f"* {note}" for note in (measured.results or {}).get("notes", [])))
    if data_set(measured.scored_corpus).drawn:
        parts.append(
            "Activities are defined by AU patterns in the renderer, so figures on renders are partly true by "
            "construction: they show what the network learned of the renders, not how well it reads people."
        )
    return paragraphs(*parts)


def _who_was_scored(measured: Measured) -> str:
    data = measured.evaluation["data"]
    scored, fitted = data["scored"], data["thresholds_from"]
    title = data_set(measured.scored_corpus).title
    if measured.scored_corpus not in (measured.corpus,):
        title += f" (trained on {data_set(measured.corpus).title})"
    results = measured.results
    if results is not None and len(results["data"]["folds"]) > 1:
        found = results["data"]
        text = (
            f"Percent, on {count(found['frames'], 'frame')} of {count(found['subjects'], 'person', 'people')} of "
            f"{title}, {len(found['folds'])} folds together, each scored by a model not trained on its people. "
            f"These weights are fold {measured.fold}'s, tested on {count(scored['frames'], 'frame')} of "
            f"{count(scored['subjects'], 'person', 'people')}."
        )
    else:
        text = (
            f"Percent, on {count(scored['frames'], 'frame')} of {count(scored['subjects'], 'person', 'people')} of "
            f"{title} ({measured.split} split) that training has not seen."
        )
    if measured.on_validation:
        text += " There was no test split: nothing was fitted on these people, though an epoch may have been chosen."
    else:
        others = count(fitted["subjects"], "other person", "other people")
        text += f" Thresholds and calibration were fitted on {others}."
    if results is None:
        return text + " No intervals over people were computed: small differences mean nothing."
    return f"{text} In brackets 95 % intervals by bootstrap over people."


def _headlines(measured: Measured) -> str:
    results = measured.results
    several = results is not None and len(results["data"]["folds"]) > 1
    faceless = results is not None and results["data"]["frames_without_face"] > 0
    styled = results is not None and any(s["paper_style"] for s in results["scores"].values())
    paper = (results or {}).get("paper") or {}
    head = ["score", "honest"]
    head += ["mean of folds"] * several + ["faces only"] * faceless
    head += ["paper-style: selected on test people"] * styled + ["the paper's own"] * bool(paper)
    rows = []
    for label_set in measured.label_sets:
        scores, found = measured.scores(label_set["name"]), measured.results_of(label_set["name"])
        name = label_set["name"].replace("_", " ")
        for key, title in SCORES[label_set["problem_type"]].items():
            if found is None:
                if key in scores:
                    rows.append([f"{name}: {title}", percent(scores[key])])
                continue
            block, style = found["pooled"], (found["paper_style"] or {"scores": {}})["scores"]
            row = [f"{name}: {title}", with_interval(**block["scores"][key])]
            if several:
                over = found["over_folds"][key]
                row.append(with_spread(over["value"], over["sd"]))
            row += [percent(block["faces_only"][key])] * faceless
            if styled:
                mine = style.get(PAPER_STYLE.get(key))
                row.append(UNDEFINED if mine is None else with_spread(mine["value"], mine["sd"]))
            if paper:
                own = paper.get("f1" if key == "mean_f1" else key)
                row.append(UNDEFINED if own is None else f"{own:g}")
            rows.append(row)
    return table(head, rows)


def _selection(measured: Measured) -> str:
    text = "*At .5*: without what was fitted on the validation people."
    if measured.results is None:
        return text
    honest, style = measured.results["selection"]["honest"], measured.results["selection"]["paper_style"]
    text += f" *Honest*: thresholds: {honest['thresholds']}; temperatures: {honest['temperatures']}"
    text += "." if honest["epoch"] == "not said" else f"; epoch: {honest['epoch']}."
    if any(scores["paper_style"] for scores in measured.results["scores"].values()):
        text += (
            f" *Paper-style*: thresholds: {style['thresholds']}; epoch: {style['epoch']}. It flatters: much of the "
            "literature reports it, and it stands here for comparison alone."
        )
    return text


def _probes(measured: Measured) -> str:
    """Scores of linear probes on a model without labels."""
    rows = []
    for fraction, sets in measured.evaluation.get("linear_probe", {}).items():
        rows += [[f"{100 * float(fraction):g} % of the labels", *row] for row in _probe_rows(sets)]
    if not rows and measured.metrics.get("validation_probe"):
        rows = [["validation people", *row] for row in _probe_rows(measured.metrics["validation_probe"])]
    if not rows:
        raise ValueError(
            f"{measured.folder / 'metrics.json'} holds no scores; the card needs them measured first: "
            f"python train_scripts/evaluate.py {measured.folder} --probe_fractions 0.05"
        )
    text = "Linear probes on the features of the tower, percent, on people that training has not seen."
    return paragraphs("## Results", text, table(["probe", "score", "value"], rows))


def _probe_rows(sets: dict) -> list[list[str]]:
    titles = {key: title for scores in SCORES.values() for key, title in scores.items()}
    return [
        [f"{name.replace('_', ' ')}: {titles[key]}", percent(value)]
        for name, scores in sets.items()
        if isinstance(scores, dict)
        for key, value in scores.items()
        if key in titles
    ]


def label_tables(measured: Measured) -> str | None:
    """Scores of each label; intervals where results.json has them."""
    parts = []
    for label_set in measured.label_sets:
        multi = label_set["problem_type"] == "multi_label_classification"
        parts.append((_multi_label_table if multi else _single_label_table)(measured, label_set["name"]))
    return paragraphs("## Label by label", *parts) if parts else None


def _multi_label_table(measured: Measured, name: str) -> str:
    rows, own = _label_rows(measured, name), measured.scores(name)["labels"]
    style = ((measured.results_of(name) or {}).get("paper_style") or {"labels": {}})["labels"]
    f1 = "f1" if all("f1" in row for row in rows.values()) else "f1_at_half"
    head = ["label", "base rate", "F1" if f1 == "f1" else "F1 at .5", "AUROC", "average precision", "threshold"]
    where = "on these renders" if data_set(measured.scored_corpus).drawn else "on these people"
    head += ["F1, paper-style"] * bool(style) + [where]
    lines = []
    for label, row in rows.items():
        line = [f"{label} {ACTION_UNITS[label].name}" if label in ACTION_UNITS else label]
        line += [percent(row["base_rate"]["value"]), *(with_interval(**row[key]) for key in (f1, "auroc", "ap"))]
        line.append(f"{own[label]['threshold']:.3f}")
        if style:
            line.append(percent(style[label]["f1"]))
        lines.append([*line, "recognised" if _is_trusted(row) else "**not to be relied upon**"])
    text = (
        f"*Recognised*: AUROC of at least {percent(TRUSTED_AUROC)} and F1 of at least {percent(TRUSTED_F1)}; where "
        "that line is drawn is our choice. Thresholds are of the calibrated probability."
    )
    return paragraphs(table(head, lines), text)


def _single_label_table(measured: Measured, name: str) -> str:
    lines = [
        [label, f"{row['frames']:,}", with_interval(**row["f1"]), with_interval(**row["recall"])]
        for label, row in _label_rows(measured, name).items()
    ]
    return table(["label", "frames", "F1", "recall"], lines)


def calibration(measured: Measured, picture: str | None) -> str | None:
    """Expected calibration errors, and the picture's file name if there is one."""
    rows, answers = [], []
    for label_set in measured.label_sets:
        scores, found = measured.scores(label_set["name"]), measured.results_of(label_set["name"])
        key = "mean_ece" if label_set["problem_type"] == "multi_label_classification" else "ece"
        before, after = scores.get(key), scores.get(f"{key}_calibrated")
        if found is not None:
            before, after = (found["pooled"]["calibration"][stage] for stage in ("ece", "ece_calibrated"))
        if before is not None:
            rows.append([label_set["name"].replace("_", " "), percent(before), percent(after)])
        if scores.get("accuracy_calibrated") is not None:
            what, right = label_set["name"].replace("_", " "), percent(scores["accuracy_calibrated"])
            answers.append(
                f" After calibration the most probable {what} is right in {right} % of the frames; the scores above "
                "are of uncalibrated answers, as papers report them."
            )
    if not rows:
        return None
    text = (
        "Expected calibration error, percent: the mean distance of probability and frequency, in fifteen bins that "
        "hold equally many frames. Temperatures and biases were fitted on the validation people, and hold where labels "
        "are about as frequent as among them."
    )
    text += "".join(answers)
    head = ["label set", "uncalibrated", "calibrated"]
    plot = f"![Frequency against probability of each label]({picture})" if picture else None
    return paragraphs("## Calibration", text, table(head, rows), plot)


def groups(measured: Measured) -> str | None:
    """Headline scores of people in groups; None where the data say nothing of groups."""
    parts = []
    for label_set in measured.label_sets:
        found = measured.results_of(label_set["name"])
        if not found or not found["groups"]:
            continue
        keys = list(SCORES[label_set["problem_type"]].items())
        keys = [pair for pair in keys if pair[0] in ("mean_f1", "mean_auroc", "accuracy", "uar")]
        lines = [
            [f"{group.replace('_', ' ')}: {value}", f"{block['subjects']:,}", f"{block['frames']:,}"]
            + [with_interval(**block["scores"][key]) for key, _ in keys]
            for group, values in found["groups"].items()
            for value, block in values.items()
        ]
        head = [label_set["name"].replace("_", " "), "people", "frames", *(title for _, title in keys)]
        parts.append(table(head, lines))
    return paragraphs("## Groups of people", *parts) if parts else None


def identity(measured: Measured) -> str | None:
    """How well the same people are found again; None where that was not measured."""
    found = measured.evaluation.get("identity")
    if not found:
        return None
    text = (
        f"Who is it? Among {count(found['subjects'], 'person', 'people')} that nobody trained on, "
        f"{count(found['frames'], 'frame')}, asked from one half of the activities to the other; percent found, lower "
        f"is better, chance {100 * found['chance']:.2f}."
    )
    rows = [[title, percent(found[key])] for key, title in IDENTITY.items()]
    return paragraphs("## What is left of identity", text, table(["identity found from", "percent"], rows))


def speed(measured: Measured) -> str | None:
    """Crops a second, as `speed.measure_speed` has found; None where that was not measured."""
    found = measured.metrics.get("speed")
    if not found:
        return None
    text = (
        f"{found['crops_per_second']:.1f} aligned crops a second from picture to probabilities, "
        f"{found['batch_size']} at a time, on {found['device']} with {count(found['threads'], 'thread')} "
        f"(median of {found['repeats']} runs). "
        "Finding faces comes on top."
    )
    return paragraphs("## Speed", text)
