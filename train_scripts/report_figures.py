"""The report's plots. One palette throughout: an arm has the same colour everywhere, and all colours are Okabe and
Ito's, which people with colour-blindness tell apart. Figures are white and are shown on white cards."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from train_scripts.results_table import ARM_NAMES

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#DCCB1F",
)
INK, FAINT, EDGE = "#25282d", "#6b717b", "#d9dce1"
ARM_COLOURS = {"clef": BLUE, "instance": ORANGE, "scratch": GREEN}
GROUP_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, "#3a3d42")
GROUP_MARKERS = ("o", "^", "s", "D")
WIDTH, DPI = 9.6, 160


class Curve(NamedTuple):
    """One loss over the steps of one run; `chance` and `floor` are its known limits, or None."""

    arm: str
    steps: Sequence[float]
    values: Sequence[float]
    chance: float | None = None
    floor: float | None = None


class MapPanel(NamedTuple):
    """Points (N, 2) of one arm, the group name of each, and a line below the panel."""

    title: str
    points: np.ndarray
    groups: np.ndarray
    note: str


def as_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return buffer.getvalue()


def loss_curves(panels: dict[str, list[Curve]]) -> Figure:
    """One panel a title, two in a row: each run's loss, its chance level dashed, its floor dotted."""
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(WIDTH, 2.9 * rows), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06, hspace=0.08)
    grid = figure.subplots(rows, 2, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, curves) in zip(grid.flat, panels.items(), strict=False):
        _plain(axes)
        axes.set_title(_text(title), loc="left", fontsize=10, color=INK)
        axes.set_xlabel("optimizer step", fontsize=8.5, color=FAINT)
        for curve in curves:
            axes.plot(curve.steps, curve.values, color=ARM_COLOURS[curve.arm], lw=1.8, label=ARM_NAMES[curve.arm])
        chances = sorted({round(curve.chance, 6) for curve in curves if curve.chance is not None})
        for chance in chances:
            axes.axhline(chance, color=FAINT, lw=1, ls="--")
            _level(axes, chance, f"chance {chance:.2f}", FAINT)
        for curve in curves:
            if curve.floor is not None:
                axes.axhline(curve.floor, color=ARM_COLOURS[curve.arm], lw=1, ls=":")
                _level(axes, curve.floor, f"floor {curve.floor:.2f}", ARM_COLOURS[curve.arm])
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.07 * (high - low))
    handles = [Line2D([], [], color=ARM_COLOURS[arm], lw=2.4, label=name) for arm, name in ARM_NAMES.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return figure


def embedding_maps(rows: dict[str, list[MapPanel]]) -> Figure:
    """One row a title, its panels side by side and its legend beside them: a colour and a mark a group."""
    columns = max(len(panels) for panels in rows.values())
    figure = Figure(figsize=(WIDTH, 4.3 * len(rows)), layout="constrained")
    figure.get_layout_engine().set(hspace=0.06, wspace=0.03)
    grid = figure.subplots(len(rows), columns + 1, squeeze=False, width_ratios=[1] * columns + [0.34])
    for line, (title, panels) in zip(grid, rows.items(), strict=True):
        names = sorted({name for panel in panels for name in panel.groups})
        marks = {name: _mark(i) for i, name in enumerate(names)}
        for axes, panel in zip(line, panels, strict=False):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color(EDGE)
            # Drawn in a shuffled order, so that the last group does not cover the others.
            order = np.random.default_rng(0).permutation(len(panel.points))
            for chunk in np.array_split(order, 8):
                for name in names:
                    chosen = chunk[panel.groups[chunk] == name]
                    colour, marker = marks[name]
                    axes.scatter(*panel.points[chosen].T, s=14, color=colour, marker=marker, alpha=0.8, linewidths=0)
            axes.set_title(_text(panel.title), loc="left", fontsize=10.5, color=INK)
            axes.set_xlabel(_text(panel.note), loc="left", fontsize=9, color=INK)
        handles = [
            Line2D([], [], color=colour, marker=marker, ls="", ms=5, label=_text(_words(name)))
            for name, (colour, marker) in marks.items()
        ]
        line[-1].set_axis_off()
        legend = line[-1].legend(
            handles=handles,
            title=_text(title),
            loc="center left",
            frameon=False,
            fontsize=8.5,
            title_fontsize=9,
            handletextpad=0.2,
            ncols=1 if len(handles) <= 18 else 2,
            borderpad=0,
        )
        legend.set_alignment("left")
    return figure


def label_map(points: np.ndarray, labels: list[str], kinds: list[str]) -> Figure:
    """Names, written out, each joined to the mark of its description.

    Args:
        points: (2 K, 2): K names, then their K descriptions (without descriptions: (K, 2)).
        labels: K short names. kinds: K names of label sets; a colour each.
    """
    figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(EDGE)
    names, descriptions = points[: len(labels)], points[len(labels) :]
    sets = list(dict.fromkeys(kinds))
    colours = [GROUP_COLOURS[sets.index(kind) % len(GROUP_COLOURS)] for kind in kinds]
    for name, description, colour in zip(names, descriptions, colours, strict=False):
        axes.plot(*np.stack([name, description]).T, color=colour, lw=0.9, alpha=0.45, zorder=1)
    if len(descriptions):
        axes.scatter(*descriptions.T, s=20, marker="D", facecolors="white", edgecolors=colours, linewidths=1, zorder=2)
    axes.scatter(*names.T, s=46, color=colours, zorder=3)
    axes.margins(0.09)
    handles = [
        Line2D([], [], color=GROUP_COLOURS[i % len(GROUP_COLOURS)], marker="o", ls="", label=_text(_words(kind)))
        for i, kind in enumerate(sets)
    ]
    handles.append(Line2D([], [], color=FAINT, marker="o", ls="", ms=7, label="name"))
    if len(descriptions):
        handles.append(Line2D([], [], color=FAINT, marker="D", mfc="white", ls="-", ms=5, label="its description"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=9)
    _place_labels(figure, axes, names, points, labels, colours)
    return figure


def f1_bars(scores: dict[str, list[float | None]], labels: list[str], no_skill: list[float]) -> Figure:
    """Horizontal bars, a group a label and a bar an arm, best label of the first arm on top.

    Args:
        scores: K fractions an arm; None is undefined and has no bar.
        no_skill: K values marked by a short upright line.
    """
    first = next(iter(scores.values()))
    order = sorted(range(len(labels)), key=lambda k: -1 if first[k] is None else first[k])
    figure = Figure(figsize=(WIDTH, 1.1 + 0.4 * len(labels)), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    height = 0.8 / len(scores)
    centres = np.arange(len(labels))
    for i, (arm, values) in enumerate(scores.items()):
        widths = [100 * values[k] if values[k] is not None else 0 for k in order]
        offset = (len(scores) - 1) / 2 - i
        axes.barh(centres + offset * height, widths, height * 0.9, color=ARM_COLOURS[arm], label=ARM_NAMES[arm])
    marks = [100 * no_skill[k] for k in order]
    axes.vlines(marks, centres - 0.43, centres + 0.43, color=INK, lw=1.3, label="no skill: every frame called positive")
    axes.set_yticks(centres, [_text(labels[k]) for k in order], fontsize=9, color=INK)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.set_xlim(0, max(100 * max(no_skill), *(100 * (v or 0) for values in scores.values() for v in values)) * 1.06)
    axes.set_xlabel("F1 in percent, unseen people", fontsize=9, color=FAINT)
    axes.grid(axis="y", visible=False)
    handles, names = axes.get_legend_handles_labels()
    order = [*range(1, len(handles)), 0]
    figure.legend(
        [handles[i] for i in order],
        [names[i] for i in order],
        loc="outside upper left",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    return figure


def _plain(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c9cdd4")
    axes.tick_params(colors=FAINT, labelsize=8.5, length=0)
    axes.grid(color="#eceef1", lw=0.8)
    axes.set_axisbelow(True)


def _level(axes, value: float, text: str, colour: str) -> None:
    axes.annotate(
        text,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(-3, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
    )


def _mark(i: int) -> tuple[str, str]:
    """Colour and marker of group i; groups beyond the palette repeat its colours with another marker."""
    return GROUP_COLOURS[i % len(GROUP_COLOURS)], GROUP_MARKERS[i // len(GROUP_COLOURS) % len(GROUP_MARKERS)]


def _text(text: str) -> str:
    """Dollar signs would start a formula."""
    return str(text).replace("$", r"\$")


def _words(identifier: str) -> str:
    return str(identifier).replace("_", " ")


def _place_labels(figure, axes, names, points, labels, colours, sweeps: int = 4) -> None:
    """Writes each label beside its point where it covers least: other labels, points and the lines between them. A
    thin line leads back from labels that had to go further off."""
    texts = [
        axes.text(*point, _text(_words(label)), fontsize=9, color=colour, ha="center", va="center")
        for point, label, colour in zip(names, labels, colours, strict=True)
    ]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    # All in pixels from here on; boxes are centre and half size.
    half = np.array([[box.width, box.height] for box in (t.get_window_extent(renderer) for t in texts)]) / 2 + 1
    anchors, marks = axes.transData.transform(names), axes.transData.transform(points)
    along = np.linspace(0, 1, 12)[None, :, None]
    descriptions = marks[len(names) :] if len(marks) > len(names) else anchors
    line_points = (anchors[:, None] * (1 - along) + descriptions[:, None] * along).reshape(-1, 2)
    frame = axes.get_window_extent(renderer)
    angles = np.deg2rad(np.arange(90, 450, 30))
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    candidates = [
        np.concatenate([anchor + directions * (size + gap) for gap in (6, 14, 24, 38)])
        for anchor, size in zip(anchors, half, strict=True)
    ]
    place = np.stack([options[0] for options in candidates])
    for _ in range(sweeps):
        for i, options in enumerate(candidates):
            others = np.arange(len(place)) != i
            cost = 3.0 * _covered(options, half[i], place[others], half[others])
            cost += 2 * _covered(options, half[i], marks, np.full((len(marks), 2), 6.0))
            cost += 0.4 * _covered(options, half[i], line_points, np.ones((len(line_points), 2)))
            outside = (options - half[i] < [frame.x0, frame.y0]) | (options + half[i] > [frame.x1, frame.y1])
            cost += 10 * outside.any(axis=1)
            cost += np.repeat([0, 0.15, 0.4, 0.8], len(directions)) + 0.01 * np.tile(np.arange(len(directions)), 4)
            place[i] = options[cost.argmin()]
    to_data = axes.transData.inverted().transform
    for text, position in zip(texts, to_data(place), strict=True):
        text.set_position(position)
    ends = np.clip(anchors, place - half, place + half)
    for i in np.flatnonzero(np.linalg.norm(ends - anchors, axis=1) > 13):
        axes.plot(*np.stack([names[i], to_data(ends[i])]).T, color=FAINT, lw=0.7, zorder=0)


def _covered(centres, half, others, other_half) -> np.ndarray:
    """(C,): how many other boxes each of C boxes of one size overlaps."""
    apart = np.abs(centres[:, None] - others[None])
    return (apart < half + other_half[None]).all(axis=2).sum(axis=1)
