"""Draws a checkpoint at work on rendered faces of people it never saw: probabilities, the truth, and free text.

python train_scripts/show_faces.py checkpoints/clef-small --output docs/clef-small.png
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch

from processing.corpora import action_unit_labels, load_corpus
from processing.prompts_clef import label_text
from train_scripts.check_checkpoint import SMALL_SET
from train_scripts.evaluate import load_model_and_processor, with_checkpoint_flag
from train_scripts.options import option, run_script

SHOWN = 6  # action units a face, the most probable ones
INK, BAR, TRUE = "#333333", "#9db8d9", "#2f5f9e"


@dataclass
class ShowOptions:
    checkpoint: str = option("", "checkpoint folder; may also stand first, without --checkpoint")
    output: str = option("outputs/faces.png", "PNG file")
    root: str | None = option(None, "face model; default: the environment variable CLEF_ICT_FACEKIT")
    prompts: list[str] = field(
        default_factory=lambda: ["a big smile", "raised eyebrows", "a crinkled nose", "a frown", "an open mouth"],
        metadata={"help": "phrases that are compared with the faces; the sentence encoder must be there for them"},
    )
    faces: int = option(8, "how many")
    seed: int = option(0, "which")

    def __post_init__(self):
        if not self.checkpoint:
            raise ValueError("no checkpoint: give its folder as the first argument.")


@torch.no_grad()
def main(options: ShowOptions) -> Path:
    corpus = load_corpus("ict_facekit", root=options.root, split="train", **SMALL_SET)
    model, processor = load_model_and_processor(options.checkpoint)
    labels = next(s for s in model.config.label_sets if s["name"] == "action_units")["labels"]
    truth = action_unit_labels(corpus, labels)
    rows = choose_rows(corpus["expression"][:], corpus["subject_id"][:], truth, options.faces, options.seed)
    pictures = corpus.select(rows)["image"][:]
    output = model(**processor(images=pictures))
    probabilities = model.probabilities(output.logits)
    scores = probabilities[:, model.label_slices["action_units"]].numpy()
    expressions = probabilities[:, model.label_slices["expression"]]
    names = next(s for s in model.config.label_sets if s["name"] == "expression")["labels"]
    similarity = free_text(model, processor, output.image_embeds, options.prompts)

    guesses = [(names[int(i)], float(p)) for p, i in zip(*expressions.max(dim=1), strict=True)]
    figure = draw(pictures, labels, scores, truth[rows], guesses, corpus.select(rows)["expression"][:], similarity)
    path = Path(options.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(path)
    return path


def choose_rows(expressions, subjects, truth: np.ndarray, count: int, seed: int) -> list[int]:
    """Rows of different people and, as far as they go, different expressions, each with some action unit."""
    rng = np.random.default_rng(seed)
    shown = [row for row in rng.permutation(len(subjects)).tolist() if truth[row].sum() >= 2]
    chosen: list[int] = []
    for row in sorted(
        shown, key=lambda row: sum(expressions[row] == expressions[r] for r in shown[: shown.index(row)])
    ):
        if subjects[row] not in {subjects[r] for r in chosen} and len(chosen) < count:
            chosen.append(row)
    return chosen


def free_text(model, processor, image_embeds: torch.Tensor, prompts: list[str]) -> list[list[tuple[str, float]]] | None:
    """For each face the prompts with their similarity, most similar first; None without the sentence encoder."""
    try:
        model.join_text_tower()
    except FileNotFoundError as error:
        print(f"no free text: {error}")
        return None
    tokens = processor(labels={prompt: prompt for prompt in prompts})
    similarity = image_embeds @ model.clef.text_embeds(tokens["input_ids"], tokens["attention_mask"]).T
    return [sorted(zip(prompts, row, strict=True), key=lambda pair: -pair[1]) for row in similarity.tolist()]


def draw(pictures, labels, scores, truth, guesses, expressions, similarity):
    from matplotlib.figure import Figure

    columns = 4
    lines = -(-len(pictures) // columns)
    figure = Figure(figsize=(3.1 * columns, 4.6 * lines), layout="constrained")
    axes = figure.subplots(2 * lines, columns, squeeze=False, height_ratios=[1.25, 1] * lines)
    for axis in axes.ravel():
        axis.set_axis_off()
    for index, picture in enumerate(pictures):
        face, bars = axes[2 * (index // columns), index % columns], axes[2 * (index // columns) + 1, index % columns]
        face.imshow(picture)
        name, probability = guesses[index]
        face.set_title(f"{name} {100 * probability:.0f} %\n(rendered: {expressions[index]})", fontsize=9, color=INK)
        top = np.argsort(-scores[index])[:SHOWN][::-1]
        bars.set_axis_on()
        bars.barh(range(len(top)), scores[index][top], color=[TRUE if truth[index][k] else BAR for k in top])
        bars.set_yticks(range(len(top)), [f"{labels[k]} {label_text(labels[k]).name}" for k in top], fontsize=7)
        bars.set_xlim(0, 1)
        bars.set_xticks([0, 0.5, 1])
        bars.tick_params(colors=INK, labelsize=7, length=0)
        for side in ("top", "right", "left"):
            bars.spines[side].set_visible(False)
        missed = [labels[k] for k in np.flatnonzero(truth[index]) if k not in top]
        text = f"not among them: {', '.join(missed)}\n" if missed else ""
        if similarity:
            text += "nearest words:\n" + ", ".join(f"“{prompt}”" for prompt, _ in similarity[index][:2])
        bars.set_xlabel(text, fontsize=7, color=INK)
    figure.suptitle("Probabilities; dark bars are action units that the face was rendered with", fontsize=10, color=INK)
    return figure


if __name__ == "__main__":
    run_script(main, ShowOptions, with_checkpoint_flag(sys.argv[1:]))
