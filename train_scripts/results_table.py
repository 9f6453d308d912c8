"""The quickstart's figures as rows of a table, for the terminal, the report and the README."""

from train_scripts.summaries import flat

ARM_NAMES = {"clef": "CLEF", "instance": "instance discrimination", "scratch": "from scratch"}


def result_rows(metrics: dict, fractions: list[str]) -> list[list[str]]:
    """A header and one row a figure, in percent, one column an arm; "–" where an arm has no such figure."""
    titles = []
    for fraction in fractions:
        percent = f"{100 * float(fraction):g} % labels"
        titles += [
            (f"linear probe, {percent}: AU F1", f"linear_probe/{fraction}/action_units/mean_f1"),
            (f"linear probe, {percent}: AU AUROC", f"linear_probe/{fraction}/action_units/mean_auroc"),
            (f"linear probe, {percent}: expression accuracy", f"linear_probe/{fraction}/expression/accuracy"),
            (f"fine-tuned, {percent}: AU F1", f"fine_tuned/{fraction}/action_units/mean_f1"),
            (f"fine-tuned, {percent}: AU F1 at .5", f"fine_tuned/{fraction}/action_units/mean_f1_at_half"),
            (f"fine-tuned, {percent}: expression accuracy", f"fine_tuned/{fraction}/expression/accuracy"),
        ]
    titles += [
        ("identity found, projection, nearest neighbour", "identity/projection_nearest_neighbour"),
        ("identity found, projection, linear", "identity/projection_linear"),
        ("identity found, backbone, linear", "identity/backbone_linear"),
    ]
    means = {arm: flat(values) for arm, values in metrics["arms"].items()}
    spreads = {arm: flat(values) for arm, values in metrics.get("spread", {}).items()}

    def cell(arm: str, key: str) -> str:
        if key not in means[arm]:
            return "–"
        spread = f" ± {100 * spreads[arm][key]:.1f}" if spreads else ""
        return f"{100 * means[arm][key]:.1f}{spread}"

    header = ["unseen subjects, percent", *ARM_NAMES.values()]
    return [header] + [[title, *(cell(arm, key) for arm in ARM_NAMES)] for title, key in titles]


def as_markdown(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
