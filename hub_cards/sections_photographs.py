"""The section of a model card on photographs of smiling and neutral people."""

from hub_cards.formatting import paragraphs, percent, table, with_interval
from hub_cards.measured import Measured

PHOTOGRAPH_SETS = {"london": "Face Research Lab London Set, DeBruine & Jones 2017, CC BY 4.0"}
LOOKED_AT = (
    "Photographs of this set, and what earlier networks mistook in them, were looked at beside renders: the renderer "
    "owes them its fuller lips, its teeth, the dark line of closed lips, the shadows of lids and its brows. Other "
    "photographs may be read less well."
)


def photograph_set(found: dict) -> str:
    """What the photographs of "photographs" in metrics.json are called."""
    name = found["data"]["set"]
    return PHOTOGRAPH_SETS.get(name, f"photographs called {name}").split(",")[0]


def photographs(measured: Measured) -> str | None:
    """What `evaluate_photos.py` has measured, with its groups and with what it cannot tell."""
    found = measured.metrics.get("photographs")
    if not found:
        return None
    data = found["data"]
    name = PHOTOGRAPH_SETS.get(data["set"], photograph_set(found))
    counts = f"{data['usable']} of {data['photos']} photographs of {data['people']} people"
    text = (
        f"Smiling against neutral, {counts} ({name}), percent, with 95 % intervals by bootstrap over people. Nothing "
        "was fitted on them, and they chose between no networks. *Own pair*: the smiling photograph scores above the "
        "same person's neutral one."
    )
    if data["set"] == "london" and measured.corpus == "ict_facekit":
        text += f" {LOOKED_AT}"
    rows = dict(found["labels"]) | {f'"{prompt}" (never trained)': row for prompt, row in found["prompts"].items()}
    if "prompt_mean" in found:
        rows["mean of these prompts"] = found["prompt_mean"]
    scores = table(["score", "AUROC", "own pair"], [[label, *_cells(row)] for label, row in rows.items()])
    unverified = [label for labels in found["cannot_verify"].values() for label in labels]
    claims = f"These photographs cannot verify {', '.join(unverified)}: nothing is claimed of them on people."
    return paragraphs(
        "## On photographs of real people",
        text,
        scores,
        found.get("note"),
        _decisions(found),
        _named(found),
        _groups(found),
        claims if unverified else None,
    )


def _decisions(found: dict) -> str | None:
    decisions = found["labels"].get("AU12", {}).get("decisions")
    if not decisions:
        return None
    fitted, half = decisions["fitted_threshold"], decisions["fitted_on_other_half"]
    return (
        "Ranking carries over better than thresholds: at the threshold fitted before, AU12 has precision "
        f"{percent(fitted['precision'])}, recall {percent(fitted['recall'])}, accuracy {percent(fitted['accuracy'])}; "
        f"one threshold fitted on half of the people gives accuracy {percent(half['accuracy'])} on the other half."
    )


def _named(found: dict) -> str | None:
    named = found["labels"].get("happiness", {}).get("named")
    if not named:
        return None
    parts = [
        f"of {sum(counts.values())} {kind} photographs {', '.join(f'{n} {name}' for name, n in counts.items())}"
        for kind, counts in named.items()
    ]
    return f"Most likely expression: {'; '.join(parts)}."


def _groups(found: dict) -> str | None:
    lines = []
    for column, groups in found["labels"].get("AU12", {}).get("groups", {}).items():
        for value, row in groups.items():
            few = " (too few)" if row["too_few"] else ""
            lines.append([f"{column}: {value}{few}", str(row["people"]), *_cells(row)])
    return table(["AU12 by group", "people", "AUROC", "own pair"], lines) if lines else None


def _cells(row: dict) -> list[str]:
    return [with_interval(row[key], row[f"{key}_interval"]) for key in ("auroc", "paired_accuracy")]
