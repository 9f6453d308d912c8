"""Evaluation scores as a table for people."""

from processing.prompts_clef import ACTION_UNITS
from processing.wording import counted


def score_table(result: dict) -> str:
    """What `evaluate_checkpoint` returns (and "linear_probe", by fraction) as aligned plain text, in percent."""
    lines = []
    sets = {name: scores for name, scores in result.items() if isinstance(scores, dict) and "labels" in scores}
    for set_name, scores in sets.items():
        if "accuracy" in scores:
            decided = scores.get("accuracy_calibrated")
            lines.append(
                f"{set_name}: accuracy {_percent(scores['accuracy'])}"
                f"{'' if decided is None else f' (calibrated {_percent(decided)})'}, "
                f"macro F1 {_percent(scores['macro_f1'])}, UAR {_percent(scores['uar'])} "
                f"({counted(scores['known'], 'frame')}, {scores['unknown']} unknown left out)"
            )
            lines += [
                f"  {label:28}{row['frames']:>9}   F1 {_percent(row['f1']):>5}   recall {_percent(row['recall']):>5}"
                for label, row in scores["labels"].items()
            ]
            continue
        heads = {"base_rate": "base rate", "f1_at_half": "F1 at .5", "f1": "F1 fitted", "auroc": "AUROC", "ap": "AP"}
        title = "" if set_name == "action_units" else set_name
        lines.append(f"{title:30}{'positive':>9}{'threshold':>11}" + "".join(f"{head:>11}" for head in heads.values()))
        for label, row in scores["labels"].items():
            name = f"{label} {ACTION_UNITS[label].name}" if label in ACTION_UNITS else label
            cells = "".join(f"{_percent(row.get(key)):>11}" for key in heads)
            lines.append(f"{name:30}{row['positives']:>9}{row['threshold']:>11.3f}{cells}")
        cells = "".join(f"{_percent(scores.get(f'mean_{key}')):>11}" for key in heads)
        lines.append(f"{'mean':30}{'':>9}{'':>11}{cells}")
        if left_out := scores["f1_left_out"]:
            lines.append(f"  not in the mean F1: {counted(left_out, 'label')} without a known positive frame")
    for fraction, probe in result.get("linear_probe", {}).items():
        parts = [f"{name} {key} {_percent(value)}" for name, row in probe.items() for key, value in row.items()]
        lines.append(f"linear probe, {100 * float(fraction):g} % of the labels: " + ", ".join(parts))
    if "identity" in result:
        row = result["identity"]
        lines.append(
            f"identity of {row['subjects']} subjects (chance {_percent(row['chance'])}): "
            f"projection, nearest neighbour {_percent(row['projection_nearest_neighbour'])}; "
            f"projection, linear {_percent(row['projection_linear'])}; "
            f"backbone, linear {_percent(row['backbone_linear'])}"
        )
    if "identity_skipped" in result:
        lines.append(f"no identity probe: {result['identity_skipped']}")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
