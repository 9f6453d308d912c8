"""The calibration plot of a card: frequency against probability of each label, before and after temperatures."""

import io
from pathlib import Path

import numpy as np

from hub_cards.measured import Measured

PICTURE = "calibration.png"
BINS = 15
PREDICTED = "predicted class"
INK, FAINT, AFTER, BEFORE = "#1f2933", "#7b8794", "#2563a8", "#d9822b"
STAGES = {"ece": ("uncalibrated", BEFORE), "ece_calibrated": ("calibrated", AFTER)}

Bins = dict[str, dict[str, list[list[float]]]]


def draw_picture(measured: Measured) -> bytes | None:
    """The plot as PNG; None where there are no data for it. Raises ImportError without matplotlib."""
    panels = reliability_panels(measured)
    return _draw(panels) if panels else None


def reliability_panels(measured: Measured) -> Bins:
    """Label → "ece", "ece_calibrated" → [mean probability, frequency, frames] of bins of equally many frames.

    From results.json, else from the test frames in predictions.parquet that show a face. Of a single-label set there is
    one panel, of whichever class is predicted.
    """
    if measured.results is not None:
        sets = {s["name"]: measured.results_of(s["name"])["reliability"] for s in measured.label_sets}
    elif (measured.folder / "predictions.parquet").is_file():
        sets = _from_predictions(measured.folder / "predictions.parquet", measured.label_sets)
    else:
        return {}
    panels = {}
    for label_set in measured.label_sets:
        bins = sets[label_set["name"]]
        single = label_set["problem_type"] == "single_label_classification"
        names = [PREDICTED] if single else label_set["labels"]
        title = f"{label_set['name']}: {PREDICTED}"
        panels |= {(title if single else name): bins[name] for name in names if bins[name].get("ece")}
    return panels


def _from_predictions(path: Path, label_sets: list[dict]) -> dict[str, Bins]:
    import pyarrow.parquet as pq

    names = [f"{s['name']}.{label}.{kind}" for s in label_sets for label in s["labels"] for kind in _KINDS]
    rows = pq.read_table(path, columns=["split", "face_found", *names]).to_pandas()
    rows = rows[(rows["split"] == "test") & rows["face_found"]]
    sets = {}
    for label_set in label_sets:
        logits, calibrated, labels = (
            rows[[f"{label_set['name']}.{label}.{kind}" for label in label_set["labels"]]].to_numpy(dtype=float)
            for kind in _KINDS
        )
        single = label_set["problem_type"] == "single_label_classification"
        plain = _softmax(logits) if single else 1 / (1 + np.exp(-logits))
        stages = {"ece": plain, "ece_calibrated": calibrated}
        if single:
            right = {k: _right(p, labels) for k, p in stages.items()}
            sets[label_set["name"]] = {PREDICTED: {k: equal_bins(p.max(axis=1), right[k]) for k, p in stages.items()}}
        else:
            sets[label_set["name"]] = {
                label: {k: equal_bins(p[:, i], labels[:, i]) for k, p in stages.items()}
                for i, label in enumerate(label_set["labels"])
            }
    return sets


_KINDS = ("logit", "probability", "label")


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return exponents / exponents.sum(axis=1, keepdims=True)


def _right(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 where the predicted class is the label's, 0 where not, NaN where the label is unknown."""
    return labels[np.arange(len(labels)), probabilities.argmax(axis=1)]


def equal_bins(probabilities: np.ndarray, correct: np.ndarray) -> list[list[float]]:
    """[mean probability, frequency, frames] of 15 bins of equally many frames, the known ones of `correct`."""
    known = ~np.isnan(correct)
    order = np.argsort(probabilities[known], kind="stable")
    values, hits = probabilities[known][order], correct[known][order]
    parts = [part for part in np.array_split(np.arange(len(values)), BINS) if len(part)]
    return [[float(values[part].mean()), float(hits[part].mean()), len(part)] for part in parts]


def _draw(panels: Bins) -> bytes:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the card's calibration plot needs matplotlib: pip install matplotlib") from error

    columns = 6 if len(panels) > 8 else 4
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(9.6, 0.8 + 9.0 / columns * rows), layout="constrained", facecolor="white")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    lines = {}
    for axes, (name, bins) in zip(grid.flat, panels.items(), strict=False):
        axes.plot([0, 1], [0, 1], color=FAINT, lw=0.9, ls="--")
        for stage, (title, colour) in STAGES.items():
            if bins.get(stage):
                probabilities, frequencies, _ = zip(*bins[stage], strict=True)
                (lines[title],) = axes.plot(probabilities, frequencies, color=colour, lw=1.2, marker="o", ms=2.8)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), box_aspect=1)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=9, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#c9cdd4")
        axes.tick_params(colors=FAINT, labelsize=8, length=0)
        axes.grid(color="#eceef1", lw=0.8)
        axes.set_axisbelow(True)
    figure.legend(lines.values(), lines.keys(), loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    figure.supxlabel("mean probability", fontsize=9, color=FAINT)
    figure.supylabel("frequency", fontsize=9, color=FAINT)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
