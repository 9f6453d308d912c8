"""Sections of a model card that say how the model was trained, and whether stage 1 helped."""

from pathlib import PurePath

import yaml

from hub_cards.formatting import count, paragraphs, percent, table
from hub_cards.lineage import is_hub_id, lineage_of
from hub_cards.measured import Measured
from hub_cards.sections_use import ARMS

# Options that say where and with what a run was done, not what was done.
MACHINE = {
    "output",
    "root",
    "checkpoint",
    "photos",
    "pretraining_root",
    "cache_dir",
    "num_proc",
    "resume",
    "workers",
    "num_processes",
    "parallel",
    "tracker",
    "log_steps",
    "eval_steps",
    "checkpoint_steps",
    "device",
}
STAGES = {
    "pretraining": "Stage 1: faces of the same activity are drawn together, and to the activity's text",
    "finetuning": "Stage 2: labels are learned",
    "linear probe": "A linear classifier on the features of the tower as it is",
}


def training(measured: Measured) -> str:
    """Raises ValueError when metrics.json does not say which stage this was."""
    metrics = measured.metrics
    stage = metrics.get("stage")
    if stage not in STAGES:
        raise ValueError(
            f"{measured.folder / 'metrics.json'}: got stage {stage!r}, expected one of {list(STAGES)}: train it again "
            "or say it."
        )
    lines = []
    stages = f"{STAGES[stage]}."
    alone = (metrics.get("comparison") or {}).get("chosen") == "stage2"
    if stage == "finetuning" and measured.recipe.get("pretraining") and not alone:
        stages = f"{STAGES['pretraining']}. {stages}"
    if "labelled_frames" in metrics and measured.further_rounds:
        lines.append(f"The last round had {count(metrics['labelled_frames'], 'labelled frame')}.")
    elif "labelled_frames" in metrics:
        lines.append(f"{count(metrics['labelled_frames'], 'training frame')} had labels.")
    unlabelled = metrics.get("unlabelled_frames")
    if unlabelled:
        whose = "the training people" if unlabelled["from"] == "train" else "all people, validation and test too"
        lines.append(f"It saw {count(unlabelled['frames'], 'frame')} of {whose}, without their labels.")
    left_out = {split: n for split, n in (metrics.get("frames_without_label") or {}).items() if n}
    if left_out:
        lines.append("Left out for want of any label: " + ", ".join(f"{n:,} ({s})" for s, n in left_out.items()) + ".")
    epoch = metrics.get("epoch")
    if epoch:
        lines.append(f"Of {count(epoch['of'], 'epoch')} number {epoch['saved']} was kept ({epoch['which']}).")
    if lineage_of(measured).unknown_start:
        lines.append("It started from an earlier checkpoint that is not described here.")
    lines.append(_budget(measured))
    recipe = yaml.safe_dump(published_recipe(measured.recipe), sort_keys=False, allow_unicode=True).strip()
    details = f"<details><summary>Recipe</summary>\n\n```yaml\n{recipe}\n```\n\n</details>"
    text = " ".join(line for line in lines if line)
    return paragraphs("## Training", stages, metrics.get("provenance"), text, details)


def _budget(measured: Measured) -> str:
    report = measured.metrics.get("training") or {}
    if not report.get("steps"):
        return ""
    what = "It" if measured.further_rounds else "Training"
    rate = f" ({report['images_per_second']:,.0f} images a second)" if "images_per_second" in report else ""
    return f"{what} took {count(report['steps'], 'step')} and {count(round(report['seconds']), 'second')}{rate}."


def published_recipe(recipe: dict) -> dict:
    """The recipe without what concerns a machine and without empty options; of local paths the last part."""
    kept = {}
    for key, value in recipe.items():
        if key in MACHINE or value is None or value == [] or value == {}:
            continue
        if isinstance(value, dict):
            kept[key] = published_recipe(value)
        elif isinstance(value, str) and "/" in value and not is_hub_id(value):
            kept[key] = PurePath(value).name
        else:
            kept[key] = value
    return kept


def comparison(measured: Measured) -> str | None:
    """With and without stage 1, at each fraction of the labels; None where both were not trained."""
    found = measured.metrics.get("comparison") or {}
    rows = found.get("rows", {})
    if len(rows) < 2:
        return None
    lines = []
    for fraction in [fraction for fraction in rows["clef"] if fraction in rows["stage2"]]:
        row, other = rows["clef"][fraction], rows["stage2"][fraction]
        share = "all" if fraction == "all" else f"{100 * float(fraction):g} %"
        for key, title in (("au_f1", "AU F1"), ("au_auroc", "AU AUROC"), ("expression_accuracy", "expression")):
            gain = 100 * (row[key] - other[key])
            cells = [share, f"{row['labelled_frames']:,}", title, percent(row[key]), percent(other[key])]
            # 0.0 is added as -0.0 would say that something is lost.
            lines.append([*cells, f"{round(gain, 1) + 0.0:+.1f}"])
    text = "Test people, percent, one seed; a negative gain means that stage 1 does not help there."
    head = ["labels", "frames", "figure", ARMS["clef"], ARMS["stage2"], "gain"]
    return paragraphs("## Does stage 1 help?", f"{text} {found.get('note', '')}".strip(), table(head, lines))
