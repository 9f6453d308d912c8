"""How well a checkpoint ranks faces by words that its text projection was not fitted to: mixtures of the labels that
they are like, which ship (`train_scripts/text_projection.py`), against a linear map of the same features, as CLIP has.

export CLEF_ICT_FACEKIT=…/FaceXModel
python benchmarks/unseen_words.py checkpoints/clef-small
python benchmarks/unseen_words.py checkpoints/clef-small --output benchmarks/results/unseen_words.json

Every phrasing of `processing/phrasings_clef.py` is left out in one of four turns, in all its templates; both maps are
fitted to the others and meet the label names exactly. AUROC is over rendered people that no checkpoint was trained on.
Each map has the strength of regularisation that is best for it on the same frames.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.machine import write_result
from processing.corpora import load_corpus
from train_scripts.evaluate import load_model_and_processor
from train_scripts.text_projection import (
    STRENGTHS,
    Fit,
    anchored_fit,
    embed_frames,
    read_label_texts,
    text_rankings,
)

RIDGE_STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # in mean squared norms of the features
PEOPLE = {"subjects": 300, "frames": 1, "image_size": 96, "seed": 77}


def linear_fit(strength: float) -> Fit:
    """Ridge regression without intercept, subject to exact names."""

    def fit(features, owners, names, targets):
        penalty = strength * (features**2).sum(axis=1).mean()
        inverse = np.linalg.inv(features.T @ features + penalty * np.eye(features.shape[1]))
        free, moved = inverse @ (features.T @ targets[owners]), inverse @ names.T
        weight = free + moved @ np.linalg.solve(names @ moved, targets - names @ free)
        return lambda others: others @ weight

    return fit


def measure(model, processor, frames) -> dict:
    """Mean AUROC of "names" and of phrasings left out: "linear", "anchored", each with its "strength"."""
    texts = read_label_texts(model, processor)
    images, truth = embed_frames(model, processor, frames)
    names = text_rankings(texts.targets, np.arange(len(texts.names)), images, truth)
    measured = {"frames": len(frames), "phrasings": int((texts.parts >= 0).sum()), "names": float(np.mean(names))}
    for name, make, strengths in (("linear", linear_fit, RIDGE_STRENGTHS), ("anchored", anchored_fit, STRENGTHS)):
        means = {s: float(np.mean(texts.held_out_rankings(make(s), images, truth))) for s in strengths}
        best = max(means, key=means.get)
        measured[name] = {"auroc": means[best], "strength": best}
    return measured


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", help="folders or Hub ids")
    parser.add_argument("--root", help="the face model; default: $CLEF_ICT_FACEKIT")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    frames = load_corpus("ict_facekit", root=options.root, **PEOPLE)
    result = {"people": PEOPLE, "checkpoints": {}}
    for checkpoint in options.checkpoints:
        model, processor = load_model_and_processor(checkpoint)
        model.join_text_tower()
        measured = measure(model.eval(), processor, frames)
        result["checkpoints"][Path(checkpoint).name] = measured
        print(f"{checkpoint}: AUROC of label names {measured['names']:.3f}, of {measured['phrasings']} texts left out")
        for name in ("linear", "anchored"):
            print(f"  {name:10}{measured[name]['auroc']:.3f} (strength {measured[name]['strength']:g})")
    write_result(result, options.output)
    return result


if __name__ == "__main__":
    main()
