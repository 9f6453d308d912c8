"""Scores as one line for people and as flat names for trackers."""

SHOWN = {
    "action_units/mean_f1": "AU F1",
    "action_units/mean_f1_at_half": "AU F1 at .5",
    "action_units/mean_auroc": "AU AUROC",
    "expression/accuracy": "expression accuracy",
}


def flat(scores: dict, prefix: str = "") -> dict[str, float]:
    """`{"action_units": {"mean_f1": .4}}` as `{"action_units/mean_f1": .4}`; what is no number is left out."""
    items = {}
    for key, value in scores.items():
        if isinstance(value, dict):
            items |= flat(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)):
            items[prefix + key] = value
    return items


def summary(scores: dict) -> str:
    """The headline scores in percent, e.g. "AU F1 46.1, expression accuracy 49.8"."""
    values = flat(scores)
    return ", ".join(f"{name} {100 * values[key]:.1f}" for key, name in SHOWN.items() if key in values) or "no labels"
