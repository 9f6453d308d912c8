"""The section of a model card on photographs of smiling and neutral people."""

from hub_cards.formatting import paragraphs, percent, table, with_interval
from hub_cards.measured import Measured

PHOTOGRAPH_SETS = {"london": "Face Research Lab London Set, DeBruine & Jones 2017, CC BY 4.0"}
LOOKED_AT = (
    "The renderer owes photographs of this set its fuller lips, its teeth, the dark line between closed lips, the "
    "shadows under lids and its brows: they were looked at beside renders. Other photographs may be read less well."
)
# A share of the smiles that is too small, and a gap between groups of people that is too wide. Our choice.
FEW_FOUND, WIDE_GAP = 0.8, 0.05


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
        f"Smiling against neutral, {counts} ({name}), percent, with 95 % intervals by bootstrap over people. *Own "
        "pair*: the smiling photograph scores above the same person's neutral one."
    )
    seen = [measured.facts.get("photographs")]
    if data["set"] == "london" and measured.corpus == "ict_facekit":
        seen.append(LOOKED_AT)
    rows = dict(found["labels"]) | {f'"{prompt}" (never trained)': row for prompt, row in found["prompts"].items()}
    if "prompt_mean" in found:
        rows["mean of these prompts"] = found["prompt_mean"]
    scores = table(["score", "AUROC", "own pair"], [[label, *_cells(row)] for label, row in rows.items()])
    unverified = [label for labels in found["cannot_verify"].values() for label in labels]
    claims = f"These photographs cannot verify {', '.join(unverified)}: nothing is claimed about them on real people."
    return paragraphs(
        "## On photographs of real people",
        text,
        " ".join(filter(None, seen)),
        scores,
        found.get("note"),
        _decisions(found),
        _named(found),
        _groups(found),
        claims if unverified else None,
    )


def photograph_failures(measured: Measured) -> list[str]:
    """What goes wrong on the photographs, a sentence each: neutral faces named otherwise, smiles that are missed, and
    groups of people in whom smiles are ranked less well than in others."""
    labels = (measured.metrics.get("photographs") or {}).get("labels", {})
    lines = []
    neutral = labels.get("happiness", {}).get("named", {}).get("neutral", {})
    if others := {name: n for name, n in neutral.items() if name != "neutral"}:
        named = ", ".join(f"{n} are named {name}" for name, n in others.items())
        lines.append(f"Of {sum(neutral.values())} neutral photographs of people, {named}.")
    smile = labels.get("AU12", {})
    recall = smile.get("decisions", {}).get("fitted_threshold", {}).get("recall")
    if recall is not None and recall < FEW_FOUND:
        lines.append(f"At its threshold AU12 finds only {percent(recall)} % of the smiles in photographs.")
    gaps = []
    for column, groups in smile.get("groups", {}).items():
        known = {name: row for name, row in groups.items() if not row["too_few"] and row["auroc"] is not None}
        best = max(known, key=lambda name: known[name]["auroc"], default=None)
        gaps += [
            f"{percent(row['auroc'])} for {column} {name} ({row['people']} people) against "
            f"{percent(known[best]['auroc'])} for {best}"
            for name, row in known.items()
            if known[best]["auroc"] - row["auroc"] >= WIDE_GAP
        ]
    if gaps:
        lines.append(f"It serves people unequally. AUROC of AU12 in photographs: {'; '.join(gaps)}.")
    return lines


def _decisions(found: dict) -> str | None:
    decisions = found["labels"].get("AU12", {}).get("decisions")
    if not decisions:
        return None
    fitted, half = decisions["fitted_threshold"], decisions["fitted_on_other_half"]
    return (
        "Ranking carries over better than thresholds: at the checkpoint's own threshold AU12 has precision "
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
