"""Scores as one line for people and as flat names for trackers."""

NAMES = {"action_units": "AU"}  # of label sets; others are called as they are
SHOWN = {"mean_f1": "F1", "mean_f1_at_half": "F1 at .5", "mean_auroc": "AUROC", "accuracy": "accuracy"}


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
    shown = [
        f"{NAMES.get(name, name)} {title} {100 * values[key]:.1f}"
        for name, values in scores.items()
        if isinstance(values, dict)
        for key, title in SHOWN.items()
        if isinstance(values.get(key), (int, float))
    ]
    return ", ".join(shown) or "no labels"
