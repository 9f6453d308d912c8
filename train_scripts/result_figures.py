"""Figures of a results report: bars with intervals, confusion, reliability, folds, groups. White, for white cards."""

import numpy as np
from matplotlib.figure import Figure

from train_scripts.report_figures import BLUE, FAINT, GREEN, INK, ORANGE, WIDTH

HONEST, PAPER = BLUE, ORANGE
BAR = 0.62


def label_bars(names: list[str], scores: list[dict], marks: dict[str, list[float | None]]) -> Figure:
    """Horizontal bars in percent with 95 % intervals, in the order given.

    Args:
        names: K. scores: K of {"value", "interval"}, fractions.
        marks: a name in the legend and K fractions, drawn as points beside the bars; None has no point.
    """
    figure = Figure(figsize=(WIDTH, 1.2 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    places = np.arange(len(names))[::-1]
    axes.barh(places, [100 * (s["value"] or 0) for s in scores], BAR, color=HONEST, alpha=0.4, label="honest, pooled")
    for place, score in zip(places, scores, strict=True):
        _interval(axes, place, score)
    styles = (("D", PAPER), ("|", GREEN))
    for (name, values), (marker, colour) in zip(marks.items(), styles, strict=False):
        known = [(100 * v, p) for v, p in zip(values, places, strict=True) if v is not None]
        if known:
            size = 150 if marker == "|" else 30
            axes.scatter(*zip(*known, strict=True), marker=marker, s=size, color=colour, lw=1.6, zorder=4, label=name)
    axes.set_yticks(places, names, fontsize=9, color=INK)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlim(0, 100)
    axes.set_xlabel("percent; whiskers: 95 % interval over test subjects", fontsize=9, color=FAINT)
    axes.grid(axis="y", visible=False)
    handles, texts = axes.get_legend_handles_labels()
    # The bars, which matplotlib puts last, first.
    order = [len(handles) - 1, *range(len(handles) - 1)]
    shown = [handles[i] for i in order], [texts[i] for i in order]
    figure.legend(*shown, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return figure


def fold_points(names: list[str], folds: list[list[dict]], labels: list[str]) -> Figure:
    """A panel a score, a point with its interval a fold, the mean over folds as a line.

    Args:
        names: of the scores. folds: for each of them F of {"value", "interval"}. labels: F names of the folds.
    """
    figure = Figure(figsize=(WIDTH, 1.0 + 0.3 * len(labels)), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    places = np.arange(len(labels))[::-1]
    for axes, name, scores in zip(panels, names, folds, strict=True):
        _plain(axes)
        axes.grid(axis="y", visible=False)
        known = [100 * score["value"] for score in scores if score["value"] is not None]
        if known:
            axes.axvline(np.mean(known), color=FAINT, lw=1, ls="--")
        for place, score in zip(places, scores, strict=True):
            _point(axes, place, score)
        axes.set_title(name, loc="left", fontsize=10, color=INK)
        axes.set_ylim(-0.6, len(labels) - 0.4)
        axes.locator_params(axis="x", nbins=5)
    panels[0].set_yticks(places, labels, fontsize=9, color=INK)
    figure.supxlabel("percent; dashed: mean over folds", fontsize=9, color=FAINT)
    return figure


def group_points(groups: dict[str, dict[str, tuple[dict, int]]], name: str, everyone: float | None) -> Figure:
    """A point with its interval for each value of each group; dashed: everyone together.

    Args:
        groups: group → value → ({"value", "interval"}, number of people). name: of the score. everyone: fraction.
    """
    rows = [(group, value, *scored) for group, values in groups.items() for value, scored in values.items()]
    figure = Figure(figsize=(WIDTH, 1.0 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    axes.grid(axis="y", visible=False)
    places = np.arange(len(rows))[::-1]
    if everyone is not None:
        axes.axvline(100 * everyone, color=FAINT, lw=1, ls="--")
    for place, (_, _, score, _) in zip(places, rows, strict=True):
        _point(axes, place, score)
    texts = [f"{group.replace('_', ' ')}: {value} ({people} people)" for group, value, _, people in rows]
    axes.set_yticks(places, [text.replace("$", r"\$") for text in texts], fontsize=9, color=INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"{name}, percent; dashed: everyone", fontsize=9, color=FAINT)
    return figure


def confusion_matrix(labels: list[str], counts: list[list[int]]) -> Figure:
    """Shares of each class's frames by answer, with their counts; the last column is no answer, for want of a face.

    Args:
        labels: K. counts: K rows of K + 1; the last column is left out where it is empty.
    """
    counts = np.array(counts)
    answers = [*labels, "no face"] if counts[:, -1].any() else list(labels)
    counts = counts[:, : len(answers)]
    totals = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(totals, 1)
    figure = Figure(figsize=(min(WIDTH, 2.6 + 0.86 * len(answers)), 1.5 + 0.56 * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, column in np.ndindex(shares.shape):
        light = shares[row, column] > 55
        axes.text(
            column,
            row,
            f"{shares[row, column]:.0f}\n({counts[row, column]})",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if light else INK,
            fontweight="bold" if row == column else "normal",
        )
    axes.set_xticks(range(len(answers)), answers, fontsize=8.5, color=INK, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), labels, fontsize=8.5, color=INK)
    axes.set_xlabel("answer", fontsize=9, color=FAINT)
    axes.set_ylabel("label", fontsize=9, color=FAINT)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    # White lines between cells.
    axes.set_xticks(np.arange(len(answers) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="minor", length=0)
    return figure


def reliability_panels(panels: dict[str, dict[str, list[list[float]]]]) -> Figure:
    """A small panel a label: frequency against mean probability of each bin, without and with the temperatures.

    Args:
        panels: label → {"ece": bins, "ece_calibrated": bins} of [probability, frequency, frames].
    """
    columns = 6 if len(panels) > 8 else 4
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH, 0.7 + 10.3 / columns * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    stages = (("ece", "uncalibrated", PAPER), ("ece_calibrated", "with fitted temperature", HONEST))
    for axes, (name, bins) in zip(grid.flat, panels.items(), strict=False):
        _plain(axes)
        axes.plot([0, 1], [0, 1], color=FAINT, lw=0.9, ls="--")
        for stage, label, colour in stages:
            if bins.get(stage):
                probabilities, frequencies, _ = zip(*bins[stage], strict=True)
                axes.plot(probabilities, frequencies, color=colour, lw=1.2, marker="o", ms=2.8, label=label)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), box_aspect=1)
        axes.set_title(name, loc="left", fontsize=9, color=INK)
    handles = {h.get_label(): h for axes in grid.flat for h in axes.lines if not h.get_label().startswith("_")}
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    figure.supxlabel("mean probability", fontsize=9, color=FAINT)
    figure.supylabel("frequency", fontsize=9, color=FAINT)
    return figure


def _point(axes, place: float, score: dict) -> None:
    if score["value"] is not None:
        axes.plot(100 * score["value"], place, "o", ms=6, color=HONEST)
        _interval(axes, place, score, HONEST)


def _interval(axes, place: float, score: dict, colour: str = INK) -> None:
    if score["interval"] is not None:
        low, high = (100 * bound for bound in score["interval"])
        axes.plot([low, high], [place, place], color=colour, lw=1.5, solid_capstyle="butt", zorder=3)


def _plain(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c9cdd4")
    axes.tick_params(colors=FAINT, labelsize=8.5, length=0)
    axes.grid(color="#eceef1", lw=0.8)
    axes.set_axisbelow(True)
