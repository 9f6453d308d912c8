"""The evaluation on photographs as a table for people, and the aligned faces as a contact sheet."""

import numpy as np
from PIL import Image, ImageDraw

from processing.prompts_clef import ACTION_UNITS
from train_scripts.photo_scores import SmileScores
from train_scripts.photo_set import Photo

DECISIONS = {
    "fitted_threshold": "at the checkpoint's threshold",
    "above_half": "at p > .5",
    "most_likely": "most likely expression",
    "fitted_on_other_half": "threshold fitted on half of the people, the other half",
}


def photo_table(result: dict) -> str:
    """What `evaluate_photos.main` returns as aligned plain text, in percent, intervals of 95 % in brackets."""
    data = result["data"]
    lines = [
        f"{data['usable']} of {data['photos']} photographs usable, {data['people']} people "
        f"({100 * data['usable'] / max(data['photos'], 1):.1f} %)"
    ]
    lines += [f"  not usable: {name}: {reason}" for name, reason in data["failures"].items()]
    for name in ("several_faces", "unlisted_pictures"):
        if data[name]:
            lines.append(f"  {name.replace('_', ' ')}: {', '.join(data[name])}")
    if data["other_expressions"]:
        counts = ", ".join(f"{n} {name or 'unnamed'}" for name, n in data["other_expressions"].items())
        lines.append(f"  other expressions, not scored: {counts}")
    recipes = result["crop_recipe"]
    if recipes["photographs"] != recipes["checkpoint"]:
        lines.append(
            f"  warning: cropped by recipe {recipes['photographs']!r}, but the checkpoint was trained on "
            f"{recipes['checkpoint']!r}: expect lower scores"
        )
    lines += ["", f"{'smiling against neutral':34}{'people':>7}{'AUROC':>22}{'own pair ordered':>24}"]
    rows = {_label_name(label): row for label, row in result["labels"].items()}
    rows |= {f'"{prompt}"': row for prompt, row in result["prompts"].items()}
    if "prompt_mean" in result:
        rows["mean of the prompts"] = result["prompt_mean"]
    lines += [_line(name, row) for name, row in rows.items()]
    if data["failures"]:
        lines += ["", "with unusable photographs counted as errors"]
        lines += [
            f"{name:34}{row['people']:>7}{_percent(worst['auroc']):>8}{'':14}{_percent(worst['paired_accuracy']):>10}"
            for name, row in rows.items()
            for worst in (row["with_failures_as_errors"],)
        ]
    # Of all labels and prompts the groups would fill pages; metrics.json holds them.
    shown = [name for name in rows if name.startswith(("AU12 ", "happiness ", "mean "))] or list(rows)[:1]
    for name in shown:
        for column, groups in rows[name]["groups"].items():
            lines += ["", f"{name}, by {column}"]
            lines += [_line(f"  {value}", group) for value, group in groups.items()]
    lines += ["", f"{'decisions':34}{'precision':>13}{'recall':>10}{'accuracy':>10}"]
    for name, row in rows.items():
        for way, scores in row.get("decisions", {}).items():
            cells = f"{_percent(scores.get('precision')):>13}{_percent(scores.get('recall')):>10}"
            at = f" ({scores['threshold']:.3f})" if "threshold" in scores else ""
            lines.append(f"{name:34}{cells}{_percent(scores['accuracy']):>10}   {DECISIONS[way]}{at}")
    for row in rows.values():
        for kind, counts in row.get("named", {}).items():
            named = ", ".join(f"{count} {name}" for name, count in counts.items())
            lines.append(f"{f'most likely expression of {kind} faces':42}{named}")
    lines.append("")
    lines += [f"not evaluated: {name}: {reason}" for name, reason in result["not_evaluated"].items()]
    for set_name, labels in result["cannot_verify"].items():
        if labels:
            lines.append(f"these photographs cannot verify {set_name.replace('_', ' ')}: {', '.join(labels)}")
    lines.append(result["note"])
    return "\n".join(lines)


def contact_sheet(crops: np.ndarray, photos: list[Photo], scores: list[SmileScores], columns: int = 8) -> Image.Image:
    """Aligned faces in the order of their subjects, each with its expression and its first scores below."""
    side, shown = max(crops.shape[1], 112), scores[:3]
    lines = 1 + len(shown)
    order = sorted(range(len(photos)), key=lambda i: (photos[i].subject_id, photos[i].expression, i))
    rows = -(-len(order) // columns)
    sheet = Image.new("RGB", (columns * (side + 6), rows * (side + 6 + 12 * lines)), "white")
    draw = ImageDraw.Draw(sheet)
    for position, i in enumerate(order):
        x, y = (position % columns) * (side + 6), (position // columns) * (side + 6 + 12 * lines)
        sheet.paste(Image.fromarray(crops[i]).resize((side, side), Image.Resampling.BICUBIC), (x, y))
        texts = [f"{photos[i].subject_id} {photos[i].expression}"]
        texts += [f"{score.name[:12]} {score.values[i]:.2f}" for score in shown]
        for line, text in enumerate(texts):
            draw.text((x + 2, y + side + 12 * line), text, fill="black")
    return sheet


def _label_name(label: str) -> str:
    return f"{label} {ACTION_UNITS[label].name}" if label in ACTION_UNITS else f"{label} against neutral"


def _line(name: str, row: dict) -> str:
    mark = "   too few people" if row["too_few"] else ""
    cells = [_with_interval(row[key], row[f"{key}_interval"]) for key in ("auroc", "paired_accuracy")]
    return f"{name:34}{row['people']:>7}{cells[0]:>22}{cells[1]:>24}{mark}"


def _with_interval(value: float | None, bounds: list[float] | None) -> str:
    if value is None or bounds is None:
        return _percent(value)
    return f"{_percent(value)} [{_percent(bounds[0])}, {_percent(bounds[1])}]"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
