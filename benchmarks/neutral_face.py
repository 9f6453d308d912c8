"""What it brings to judge action units against the same person's neutral face, as `clef baseline` does, on rendered
people that no checkpoint was trained on.

export CLEF_ICT_FACEKIT=…/FaceXModel
python benchmarks/neutral_face.py checkpoints/clef-small checkpoints/clef-base
python benchmarks/neutral_face.py checkpoints/clef-small --output benchmarks/results/neutral_face.json

Each person is rendered with a face that does nothing, in several pictures, and in all activities. Thresholds are the
checkpoint's own, fitted on other people without a neutral face. "Chosen": people on whom the constant of
`analysis/baseline.py` was chosen; "measured": others.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import f1_score, roc_auc_score
from tqdm import tqdm

from analysis.baseline import against_neutral, logit
from analysis.model import load_classifier
from benchmarks.machine import at_least_one, write_result
from processing.corpora.behaviour import ACTIVITIES
from processing.corpora.bilateral_behaviour import ACTION_UNITS, clip_sides
from processing.corpora.ict_faces import FaceRenderer
from processing.corpora.ict_identity import sample_identity
from processing.corpora.ict_model import load_face_model
from processing.corpora.ict_nuisance import Variation, sample_clip_nuisances, sample_session

SEEDS = {"chosen": 780, "measured": 781}
NEUTRAL_FRAMES = 16  # rendered of each person
COUNTS = (1, 4, 16)  # of them that a face is judged against
FRAMES, SIZE = 6, 96  # of each activity; pixels
PRESENT_FROM = 2  # intensity, as corpora of intensities are read


def draw_person(renderer: FaceRenderer, seed: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures that do nothing (16, S, S, 3), pictures of all activities (F, S, S, 3), their intensities (F, 21)."""
    rng = np.random.default_rng([seed, number])
    person, session = renderer.person(sample_identity(rng), Variation()), sample_session(rng)
    still = np.zeros((NEUTRAL_FRAMES, len(ACTION_UNITS), 2), np.float32)
    neutral = renderer.render(person, sample_clip_nuisances(rng, session, NEUTRAL_FRAMES, Variation()), still, SIZE)
    parts = [
        renderer.render(
            person,
            sample_clip_nuisances(rng, session, FRAMES, Variation()),
            clip_sides(seed, number, activity, FRAMES),
            SIZE,
        )
        for activity in range(len(ACTIVITIES))
    ]
    return (
        neutral.images,
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.action_units for part in parts]),
    )


def read_people(checkpoint: str, people: list) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    """Probabilities of each person's neutral pictures and of the others, (·, 21); thresholds, neutral levels, (21,)."""
    classifier = load_classifier(checkpoint)
    group = classifier.groups[0]
    columns = [group.labels.index(name) for name in ACTION_UNITS]

    def probabilities(images):
        crops = np.stack([Image.fromarray(image).resize((classifier.crop_size,) * 2) for image in images])
        return classifier.probabilities(crops)[:, columns].astype(np.float64)

    neutral = [probabilities(still) for still, _, _ in tqdm(people, desc=f"{checkpoint}, neutral", disable=None)]
    moved = [probabilities(images) for _, images, _ in tqdm(people, desc=f"{checkpoint}, activities", disable=None)]
    levels = np.array([classifier.neutral_logits[name] for name in ACTION_UNITS])
    return neutral, moved, np.array(group.thresholds)[columns], levels


def scores(probabilities: np.ndarray, present: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    decided = probabilities >= thresholds
    units = range(present.shape[1])
    return {
        "auroc": float(np.mean([roc_auc_score(present[:, k], probabilities[:, k]) for k in units])),
        "f1": float(np.mean([f1_score(present[:, k], decided[:, k]) for k in units])),
    }


def measure(neutral, moved, thresholds, levels, present) -> dict:
    measured = {"alone": scores(np.concatenate(moved), present, thresholds)}
    for count in COUNTS:
        judged = [
            against_neutral(
                of_person,
                np.broadcast_to(logit(still[:count]).mean(axis=0), of_person.shape),
                np.full(len(of_person), count),
                levels,
            )
            for still, of_person in zip(neutral, moved, strict=True)
        ]
        measured[f"{count} neutral"] = scores(np.concatenate(judged), present, thresholds)
    return measured


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", help="folders or Hub ids")
    parser.add_argument("--root", help="the face model; default: $CLEF_ICT_FACEKIT")
    parser.add_argument("--people", type=at_least_one, default=60, help="of each kind (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    renderer = FaceRenderer(load_face_model(options.root))
    result = {"people": options.people, "frames": options.people * FRAMES * len(ACTIVITIES), "checkpoints": {}}
    for name, seed in SEEDS.items():
        people = [draw_person(renderer, seed, n) for n in tqdm(range(options.people), desc=name, disable=None)]
        present = np.concatenate([units for _, _, units in people]) >= PRESENT_FROM
        for checkpoint in options.checkpoints:
            with torch.inference_mode():
                measured = measure(*read_people(checkpoint, people), present)
            result["checkpoints"].setdefault(Path(checkpoint).name, {})[name] = measured
    for checkpoint, kinds in result["checkpoints"].items():
        for name, measured in kinds.items():
            print(f"{checkpoint}, {name}")
            for way, of_way in measured.items():
                print(f"  {way:12} AUROC {of_way['auroc']:.4f}   F1 {of_way['f1']:.4f}")
    write_result(result, options.output)
    return result


if __name__ == "__main__":
    main()
