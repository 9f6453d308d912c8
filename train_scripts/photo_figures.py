"""Draws how scores of smiling and of neutral photographs are spread."""

import numpy as np
from matplotlib.figure import Figure

from train_scripts.photo_metrics import auroc
from train_scripts.photo_scores import SmileScores
from train_scripts.report_figures import BLUE, FAINT, INK, ORANGE, as_png

UNITS = {"action_unit": "logit", "expression": "logit of happiness less logit of neutral", "prompt": "cosine"}


def score_distributions(scores: list[SmileScores], smiling: np.ndarray) -> bytes:
    """A PNG with one panel a label or prompt: every photograph's score as a dot, smiling above neutral.

    Args:
        scores: each with (N,) values. smiling: (N,) booleans.

    Raises:
        ValueError: no scores.
    """
    if not scores:
        raise ValueError("got no scores to draw; the checkpoint has neither labels nor text for these photographs.")
    columns = min(2, len(scores))
    rows = -(-len(scores) // columns)
    figure = Figure(figsize=(4.8 * columns, 1.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    jitter = np.random.default_rng(0).uniform(-0.28, 0.28, len(smiling))
    for axes, score in zip(panels, scores, strict=False):
        for height, colour, chosen in ((1, ORANGE, smiling), (0, BLUE, ~smiling)):
            values = score.values[chosen]
            axes.scatter(values, height + jitter[chosen], s=9, color=colour, alpha=0.55, linewidths=0)
            if len(values):
                axes.plot([np.median(values)] * 2, [height - 0.38, height + 0.38], color=INK, lw=1.4)
        value = auroc(score.values, smiling)
        name = f'"{score.name}"' if score.kind == "prompt" else score.name
        axes.set_title(
            name.replace("$", r"\$") + ("" if value is None else f"   AUROC {value:.3f}"), fontsize=9.5, color=INK
        )
        axes.set_yticks([0, 1], ["neutral", "smiling"], fontsize=8.5, color=INK)
        axes.set_ylim(-0.55, 1.55)
        axes.set_xlabel(UNITS[score.kind], fontsize=8, color=FAINT)
        axes.tick_params(labelsize=8, colors=FAINT, length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in panels[len(scores) :]:
        axes.axis("off")
    return as_png(figure)
