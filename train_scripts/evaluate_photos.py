"""Scores a checkpoint on photographs of real people: does it tell smiling from neutral faces?

python train_scripts/evaluate_photos.py outputs/finetune --photos london --detector yunet.onnx
python train_scripts/evaluate_photos.py outputs/finetune --photos my_photos --prompts smiling "a toothy grin"

The folder holds photographs and a metadata.csv with the columns file_name, subject_id and expression. Nothing is fitted
on the photographs but where the result says so, and none is written anywhere unless `--contact_sheet` names a file.
"""

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    # The repository root instead of this folder, where `evaluate.py` hides the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from tqdm.auto import tqdm

from processing.face_alignment_clef import EYES_NOSE_1, YuNetDetector
from processing.prompts_clef import UNSEEN_PHRASINGS
from train_scripts.evaluate import load_model_and_processor, with_checkpoint_flag
from train_scripts.options import option, run_script
from train_scripts.photo_metrics import (
    auroc,
    bootstrap_auroc,
    bootstrap_paired,
    decision_scores,
    draw_people,
    half_split_accuracy,
    interval,
    paired_accuracy,
)
from train_scripts.photo_report import contact_sheet, photo_table
from train_scripts.photo_scores import SmileScores, label_scores, prompt_scores, run_model, unverifiable
from train_scripts.photo_set import Photo, find_crops, read_photos, unlisted_pictures
from train_scripts.runtime import write_metrics

TOO_FEW_PEOPLE = 5
NOTE = (
    "Only smiling and neutral faces were seen, and nobody coded their action units. AU12 makes a smile; AU6 and AU25 "
    "usually come with one, so their figures say how well they rise with it, not how well they are recognised."
)


@dataclass
class PhotoOptions:
    checkpoint: str = option("", "run folder or Hub id; may also stand first, without --checkpoint")
    photos: str = option("", "folder of photographs with a metadata.csv")
    detector: str | None = option(None, "YuNet's model file; default: $CLEF_YUNET, else the Hub's cache")
    smiling: str = option("happiness", "what the column `expression` calls smiling faces")
    neutral: str = option("neutral", "what the column `expression` calls neutral faces")
    groups: list[str] | None = field(
        default=None,
        metadata={"help": "columns whose groups are scored one by one; default: gender and ethnicity if there"},
    )
    prompts: list[str] = field(
        default_factory=lambda: list(UNSEEN_PHRASINGS["AU12"][:3]),
        metadata={"help": "phrases scored by similarity; default: three for a smile that training never shows"},
    )
    mirror: bool = option(True, "average each embedding with that of the mirrored face")
    draws: int = option(2000, "bootstrap draws of people")
    seed: int = option(0, "seed of the bootstrap and of the halves that a threshold is fitted on")
    output: str | None = option(None, "folder of metrics.json; default: the run folder")
    picture: str | None = option(None, "also draw the scores' distributions into this PNG file")
    contact_sheet: str | None = option(None, "also write the aligned faces with their scores into this PNG file")
    batch_size: int = option(128, "faces at a time")
    device: str | None = option(None, "where to run; default: the GPU if there is one")

    def __post_init__(self):
        if not self.checkpoint:
            raise ValueError("no checkpoint: give a run folder or Hub id as the first argument.")
        if not self.photos:
            raise ValueError("no photographs: name their folder with --photos.")
        if self.smiling == self.neutral:
            raise ValueError(f"smiling and neutral faces are both called {self.smiling!r}; expected two expressions.")
        if self.batch_size < 1 or self.draws < 1:
            raise ValueError(f"got batch_size {self.batch_size}, draws {self.draws}; expected at least 1 of each.")


def evaluate_scores(
    scores: list[SmileScores],
    photos: list[Photo],
    usable: np.ndarray,
    smiling: str = "happiness",
    draws: int = 2000,
    seed: int = 0,
) -> dict:
    """AUROC, paired accuracy and decisions of every label and prompt, with 95 % bootstrap intervals over people.

    Args:
        scores: one value a usable photograph, in the order of `usable`.
        photos: all smiling and neutral photographs, those without a score too.
        usable: (M,) integers, the rows of `photos` that have scores.

    Returns:
        "labels" and "prompts", each by name: see `_measure`, with "decisions" and "groups" beside, and of an expression
        "named", how many smiling and how many neutral photographs are most likely which expression; and "prompt_mean",
        the mean of the prompts' AUROCs and paired accuracies, if there are several.
    """
    positive = np.array([photo.expression == smiling for photo in photos], dtype=bool)
    people = np.unique([photo.subject_id for photo in photos], return_inverse=True)[1]
    members = {
        column: {value: np.array([photo.groups[column] == value for photo in photos]) for value in values}
        for column, values in _group_values(photos).items()
    }

    def measured(values: list[np.ndarray]) -> dict:
        everyone = np.ones(len(photos), dtype=bool)
        result = _measure(values, positive, people, usable, everyone, draws, seed)
        result["groups"] = {
            column: {
                value: _measure(values, positive, people, usable, chosen, draws, seed)
                for value, chosen in groups.items()
            }
            for column, groups in members.items()
        }
        return result

    results = {"labels": {}, "prompts": {}}
    for score in scores:
        decisions = {way: decision_scores(row, positive[usable]) for way, row in score.decisions.items()}
        if score.threshold is not None:
            decisions["fitted_threshold"]["threshold"] = score.threshold
        other_half = half_split_accuracy(score.values, positive[usable], people[usable], seed=seed)
        decisions["fitted_on_other_half"] = {"accuracy": other_half}
        part = results["prompts" if score.kind == "prompt" else "labels"]
        part[score.name] = measured([score.values]) | {"decisions": decisions}
        if score.named is not None:
            part[score.name]["named"] = {
                "smiling": _count_names(score.named, positive[usable]),
                "neutral": _count_names(score.named, ~positive[usable]),
            }
    prompts = [score.values for score in scores if score.kind == "prompt"]
    if len(prompts) > 1:
        results["prompt_mean"] = measured(prompts)
    return results


def _count_names(names: list[str], chosen: np.ndarray) -> dict[str, int]:
    """How many of the chosen have each name, the most frequent first."""
    return dict(Counter(name for name, counts in zip(names, chosen, strict=True) if counts).most_common())


def _group_values(photos: list[Photo]) -> dict[str, list[str]]:
    columns = photos[0].groups if photos else ()
    return {column: sorted({photo.groups[column] for photo in photos}) for column in columns}


def _measure(values: list[np.ndarray], positive, people, usable, chosen, draws: int, seed: int) -> dict:
    """Scores of the `chosen` (N,) photographs: means over `values`, each (M,), of each AUROC and paired accuracy.

    "people", "photos": how many have scores. "auroc", "paired_accuracy" and their "…_interval"s are of these;
    "with_failures_as_errors" counts every comparison with a photograph that has no score as lost.
    """
    kept = chosen[usable]
    rows = usable[kept]
    known, who = np.unique(people[rows], return_inverse=True)
    result = {"people": len(known), "photos": len(rows), "too_few": len(known) < TOO_FEW_PEOPLE}
    drawn = draw_people(len(known), draws, seed) if len(known) > 1 else None
    worst = {"auroc": [], "paired_accuracy": []}
    points = {"auroc": [], "paired_accuracy": []}
    samples = {"auroc": [], "paired_accuracy": []}
    for scores in values:
        everyone = np.where(positive, -np.inf, np.inf)
        everyone[usable] = scores
        worst["auroc"].append(auroc(everyone[chosen], positive[chosen]))
        worst["paired_accuracy"].append(paired_accuracy(everyone[chosen], positive[chosen], people[chosen]))
        own = scores[kept], positive[rows]
        points["auroc"].append(auroc(*own))
        points["paired_accuracy"].append(paired_accuracy(*own, who))
        if drawn is not None:
            samples["auroc"].append(bootstrap_auroc(*own, who, drawn))
            samples["paired_accuracy"].append(bootstrap_paired(*own, who, drawn))
    for name in points:
        result[name] = _mean(points[name])
        result[f"{name}_interval"] = interval(np.mean(samples[name], axis=0)) if samples[name] else None
    result["with_failures_as_errors"] = {name: _mean(row) for name, row in worst.items()}
    return result


def _mean(values: list[float | None]) -> float | None:
    return None if None in values else float(np.mean(values))


def score_photographs(
    model, processor, crops: np.ndarray, prompts: list[str], mirror: bool = True, batch_size: int = 128
) -> tuple[list[SmileScores], dict[str, str]]:
    """Scores of aligned uint8 crops (N, S, S, 3) by labels and prompts; and reasons for those that have none."""
    outputs = run_model(model, processor, crops, mirror, batch_size)
    labels, without_label = label_scores(model, outputs)
    free, without_text = prompt_scores(model, processor, outputs, prompts)
    return labels + free, without_label | without_text


def main(options: PhotoOptions, detector=None) -> dict:
    """`detector`: a `FaceDetector`; default YuNet."""
    # One process is enough, and two would write the same files.
    if int(os.environ.get("RANK", 0)):
        print("evaluation runs in one process; this one has nothing to do")
        return {}
    folder = Path(options.photos)
    listed = read_photos(folder, options.groups)
    photos = [photo for photo in listed if photo.expression in (options.smiling, options.neutral)]
    counts = Counter(photo.expression for photo in listed)
    if not counts[options.smiling] or not counts[options.neutral]:
        raise ValueError(
            f"{folder}: got the expressions {dict(counts)}, expected {options.smiling!r} and {options.neutral!r}; "
            "say with --smiling and --neutral what they are called."
        )
    detector = detector or YuNetDetector(options.detector)
    model, processor = load_model_and_processor(options.checkpoint)
    model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    size = max(processor.image_processor.size["height"], processor.image_processor.size["width"])
    crops = find_crops(folder, photos, detector, size, EYES_NOSE_1, progress=tqdm)
    if not len(crops.rows):
        raise ValueError(f"{folder}: none of {len(photos)} photographs can be used: {crops.failures}.")
    scores, reasons = score_photographs(
        model, processor, crops.pixels, options.prompts, options.mirror, options.batch_size
    )
    people = {photo.subject_id for photo in photos}
    result = {
        "data": {
            "photos": len(photos),
            "people": len(people),
            "usable": len(crops.rows),
            "failures": crops.failures,
            "several_faces": crops.several,
            "other_expressions": {x: n for x, n in counts.items() if x not in (options.smiling, options.neutral)},
            "unlisted_pictures": unlisted_pictures(folder, listed),
            "set": folder.resolve().name,
        },
        "crop_recipe": {"photographs": EYES_NOSE_1.name, "checkpoint": processor.image_processor.crop_recipe},
        "settings": {
            "mirror": options.mirror,
            "draws": options.draws,
            "seed": options.seed,
            "label_template": processor.label_template,
        },
        **evaluate_scores(scores, photos, crops.rows, options.smiling, options.draws, options.seed),
        "not_evaluated": reasons,
        "cannot_verify": unverifiable(model),
        "note": NOTE,
    }
    print(photo_table(result))
    _write(options, result, scores, photos, crops)
    return result


def _write(options: PhotoOptions, result: dict, scores: list[SmileScores], photos: list[Photo], crops) -> None:
    run_folder = Path(options.checkpoint)
    output = Path(options.output) if options.output else run_folder
    if options.output or run_folder.is_dir():
        output.mkdir(parents=True, exist_ok=True)
        write_metrics(output, photographs=result)
        print(f"scores written to {output / 'metrics.json'}")
    else:
        print("scores not written: the checkpoint is no local folder; name one with --output")
    used = [photos[row] for row in crops.rows]
    if options.picture:
        from train_scripts.photo_figures import score_distributions  # needs matplotlib

        smiling = np.array([photo.expression == options.smiling for photo in used])
        Path(options.picture).parent.mkdir(parents=True, exist_ok=True)
        Path(options.picture).write_bytes(score_distributions(scores, smiling))
        print(f"picture written to {options.picture}")
    if options.contact_sheet:
        Path(options.contact_sheet).parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(crops.pixels, used, scores).save(options.contact_sheet, format="PNG")
        print(f"contact sheet written to {options.contact_sheet}; it shows people: for looking at here only")


if __name__ == "__main__":
    run_script(main, PhotoOptions, with_checkpoint_flag(sys.argv[1:]))
