"""Timelines: one picture for every source and face, with a lane for every label."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analysis.drawing_mark import MARK
from analysis.fonts import fonts_for
from analysis.outputs import file_stems, written_whole
from analysis.reading import SourceRows, TableAbout, frame_seconds, read_about, read_source_names, read_sources

SHORTEST_TRACK = 0.5  # seconds; what is seen for less has nothing to show over time
MOST_BINS = 1200  # columns of a picture: more frames share them
INK, PALE, STRONG, UNSEEN = "#333333", "#b9cde5", "#2f5f9e", "#ececec"
# Distinguishable with every common colour blindness (Okabe and Ito 2008), grey for what comes first: neutral.
CLASS_COLOURS = ("#bbbbbb", "#e69f00", "#0072b2", "#56b4e9", "#cc79a7", "#009e73", "#d55e00", "#f0e442")
WIDTH, LANE, BAND, MARGINS, DPI = 12.0, 0.3, 0.42, 1.25, 110  # inches; pixels an inch


@dataclass
class Timelines:
    """files: the pictures. What has none: faces seen for less than half a second (short), sources without times, such
    as still images (untimed), and sources without any face (faceless)."""

    files: list[Path] = field(default_factory=list)
    short: int = 0
    untimed: int = 0
    faceless: int = 0


@dataclass(frozen=True)
class Lane:
    """highest: (B,) the highest probability within each bin, NaN where there is no result. present: (B,) bool, in any
    frame of the bin."""

    label: str
    text: str
    threshold: float
    highest: np.ndarray
    present: np.ndarray


@dataclass(frozen=True)
class Band:
    """Labels that exclude each other. chosen: (B,) their position, -1 where there is no result."""

    name: str
    labels: tuple[str, ...]
    chosen: np.ndarray


@dataclass(frozen=True)
class Timeline:
    """What one picture shows. edges: (B + 1,) seconds, of the bins. frames_a_bin: 1, or the most that share a bin."""

    source: str
    track: int
    edges: np.ndarray
    seen: np.ndarray  # (B,) bool, the face is there
    frames_a_bin: int
    lanes: tuple[Lane, ...]
    bands: tuple[Band, ...]
    against_neutral: bool = False


def plot_timelines(table: str | Path, folder: str | Path, inputs: Sequence[str] = ()) -> Timelines:
    """Draws a PNG for every source and track of a table that `clef analyze` wrote: `STEM-trackN.png`, the stem as
    `analysis.outputs.file_stems` tells sources apart, those among `inputs` that gave no row as well.

    Raises:
        ImportError: matplotlib is missing. FileNotFoundError, ValueError: see `analysis.reading`. OSError: a picture
            cannot be written.
    """
    figure_module()  # before anything is read
    about = read_about(Path(table))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made, stems = Timelines(), file_stems([*read_source_names(Path(table), about), *inputs])
    for rows in read_sources(Path(table), about):
        if np.isnan(rows.time_s).any() or len(np.unique(rows.frame)) < 2:
            made.untimed += 1
            continue
        made.faceless += not rows.tracks
        for timeline in timelines_of(rows, about):
            if timeline is None:
                made.short += 1
                continue
            path = folder / f"{stems[rows.source]}-track{timeline.track}.png"
            with written_whole(path) as temporary:
                draw_timeline(timeline).savefig(temporary, format="png", metadata=MARK)
            made.files.append(path)
    return made


def timelines_of(rows: SourceRows, about: TableAbout) -> Iterator[Timeline | None]:
    """For each track of a source what is to be drawn; None for one that is seen too short."""
    numbers, times, seconds = frame_seconds(rows.frame, rows.time_s)
    ends = np.append(times[1:], times[-1] + seconds[-1])
    if len(numbers) <= MOST_BINS:
        edges, bin_of = np.append(times, ends[-1]), np.arange(len(numbers))
    else:
        edges = np.linspace(times[0], ends[-1], MOST_BINS + 1)
        bin_of = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, MOST_BINS - 1)
    bins = len(edges) - 1
    most = int(np.bincount(bin_of, minlength=bins).max())
    for track in rows.tracks:
        here = np.flatnonzero(rows.track == track)
        place = np.searchsorted(numbers, rows.frame[here])
        if seconds[place].sum() < SHORTEST_TRACK:
            yield None
            continue
        seen = np.zeros(bins, dtype=bool)
        # A bin is filled by the frames that are shown within it, also by those that began before it.
        spread = np.maximum(np.searchsorted(edges, ends[place], side="left"), bin_of[place] + 1)
        pairs = [
            (row, b) for row, begin, end in zip(here, bin_of[place], spread, strict=True) for b in range(begin, end)
        ]
        row_of, to = (np.array(part, dtype=int) for part in zip(*pairs, strict=True))
        seen[to] = True
        yield Timeline(
            rows.source,
            track,
            edges,
            seen,
            most,
            tuple(_lane(rows, about, group, label, row_of, to, bins) for group, label in _lane_labels(about)),
            tuple(_band(rows, group, row_of, to, bins) for group in about.groups if group.exclusive),
            about.against_neutral,
        )


def draw_timeline(timeline: Timeline):
    """A matplotlib Figure."""
    names = [name for lane in timeline.lanes for name in (lane.label, lane.text)]
    names += [name for band in timeline.bands for name in (band.name, *band.labels)]
    with fonts_for([timeline.source, *names]):
        return _draw_timeline(timeline)


def _draw_timeline(timeline: Timeline):
    lanes, bands = timeline.lanes, timeline.bands
    height = MARGINS + LANE * len(lanes) + BAND * len(bands)
    figure = figure_module().Figure(figsize=(WIDTH, height), dpi=DPI)
    axes = figure.add_axes((0.215, 0.62 / height, 0.765, 1 - MARGINS / height))
    total = LANE * len(lanes) + BAND * len(bands)
    axes.set_xlim(timeline.edges[0], timeline.edges[-1])
    axes.set_ylim(total, 0)  # downwards, in inches
    _shade_absence(axes, timeline, total)
    top, ticks, names = 0.0, [], []
    for lane in lanes:
        _draw_lane(axes, timeline.edges, lane, top)
        ticks.append(top + LANE / 2)
        known = f"{lane.label}  {lane.text}"
        names.append(_shortened(lane.label if lane.label == lane.text else known, 34))
        top += LANE
    for band in bands:
        _draw_band(axes, timeline.edges, band, top)
        ticks.append(top + BAND / 2)
        names.append(band.name)
        top += BAND
    axes.set_yticks(ticks, names, fontsize=9, color=INK, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=9, colors=INK)
    axes.set_xlabel("time in s", fontsize=9, color=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    title = f"{_shortened_start(timeline.source, 56)}, face {timeline.track}"
    figure.text(0.012, 1 - 0.2 / height, title, fontsize=11, color=INK, va="center", parse_math=False)
    figure.text(0.012, 1 - 0.42 / height, _key(timeline), fontsize=8, color="#666666", va="center")
    _draw_legend(figure, timeline, height)
    return figure


def figure_module():
    """Raises ImportError with what to do."""
    try:
        from matplotlib import figure
    except ImportError as error:
        raise ImportError("timelines and explanations are drawn with matplotlib: pip install matplotlib") from error
    return figure


def _lane_labels(about: TableAbout):
    return [(group, label) for group in about.groups if not group.exclusive for label in about.anatomical(group)]


def _lane(rows, about, group, label, row_of, to, bins) -> Lane:
    position = group.labels.index(label)
    highest = np.full(bins, -np.inf)
    present = np.zeros(bins, dtype=bool)
    values = rows.probabilities[label][row_of].astype(np.float64)
    decided = rows.present[label][row_of]
    # Tables of other tools have decisions without probabilities.
    values = np.where(np.isnan(values) & rows.judged[row_of], decided.astype(np.float64), values)
    np.maximum.at(highest, to, np.where(np.isnan(values), -np.inf, values))
    np.logical_or.at(present, to, decided)
    highest[np.isneginf(highest)] = np.nan
    return Lane(label, group.texts[position], group.thresholds[position], highest, present)


def _band(rows, group, row_of, to, bins) -> Band:
    """Of frames that share a bin, the label that most of them have."""
    counts = np.zeros((bins, len(group.labels)), dtype=int)
    for position, label in enumerate(group.labels):
        np.add.at(counts[:, position], to, rows.present[label][row_of])
    return Band(group.name, group.labels, np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), -1))


def _shade_absence(axes, timeline: Timeline, total: float) -> None:
    for begin, end in _runs(~timeline.seen):
        axes.axvspan(timeline.edges[begin], timeline.edges[end], color=UNSEEN, lw=0, zorder=0)
        middle = (timeline.edges[begin] + timeline.edges[end]) / 2
        if timeline.edges[end] - timeline.edges[begin] > 0.06 * (timeline.edges[-1] - timeline.edges[0]):
            axes.text(middle, total / 2, "not seen", rotation=90, ha="center", va="center", fontsize=8, color="#888888")


def _draw_lane(axes, edges: np.ndarray, lane: Lane, top: float) -> None:
    floor, tall = top + 0.93 * LANE, 0.84 * LANE
    line = floor - tall * lane.highest
    axes.stairs(line, edges, baseline=floor, fill=True, color=PALE, lw=0, zorder=2)
    axes.stairs(np.where(lane.present, line, np.nan), edges, baseline=floor, fill=True, color=STRONG, lw=0, zorder=3)
    axes.axhline(floor, color="#cccccc", lw=0.6, zorder=1)
    level = floor - tall * lane.threshold
    axes.axhline(level, color="#999999", lw=0.5, ls=(0, (2, 3)), zorder=4)


def _draw_band(axes, edges: np.ndarray, band: Band, top: float) -> None:
    span = edges[-1] - edges[0]
    floor, tall = top + 0.9 * BAND, 0.7 * BAND
    for begin, end, chosen in _segments(band.chosen):
        if chosen < 0:
            continue
        left, width = edges[begin], edges[end] - edges[begin]
        colour = CLASS_COLOURS[chosen % len(CLASS_COLOURS)]
        axes.add_patch(_rectangle(left, floor - tall, width, tall, colour))
        name = band.labels[chosen]
        if width > (0.012 + 0.0088 * len(name)) * span:
            axes.text(left + width / 2, floor - tall / 2, name, ha="center", va="center", fontsize=8, color="black")


def _draw_legend(figure, timeline: Timeline, height: float) -> None:
    """The colours of the choices that occur, at the top on the right: narrow parts of a band have no room for names."""
    handles = [
        _rectangle(0, 0, 1, 1, CLASS_COLOURS[chosen % len(CLASS_COLOURS)], band.labels[chosen])
        for band in timeline.bands
        for chosen in np.unique(band.chosen[band.chosen >= 0])
    ]
    if handles:
        figure.legend(
            handles=handles,
            loc="center right",
            bbox_to_anchor=(0.985, 1 - 0.2 / height),
            ncols=min(len(handles), 8),
            fontsize=8,
            frameon=False,
            handlelength=1.0,
            columnspacing=1.0,
        )


def _rectangle(left, bottom, width, height, colour, label=None):
    from matplotlib.patches import Rectangle

    return Rectangle((left, bottom), width, height, facecolor=colour, lw=0, zorder=2, label=label)


def _segments(values: np.ndarray) -> list[tuple[int, int, int]]:
    """(begin, end, value) of runs of equal values; `end` is the first that is not in it."""
    cuts = np.flatnonzero(np.diff(values)) + 1
    bounds = [0, *cuts.tolist(), len(values)]
    return [(begin, end, int(values[begin])) for begin, end in zip(bounds, bounds[1:], strict=False)]


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    return [(begin, end) for begin, end, value in _segments(flags.astype(int)) if value]


def _key(timeline: Timeline) -> str:
    parts = ["height: probability, 0 to 1", "dark: present (at or above the dotted threshold)", "grey: not seen"]
    if timeline.frames_a_bin > 1:
        parts.append(f"each column shows the highest of up to {timeline.frames_a_bin} frames")
    if timeline.against_neutral:
        parts.append("against the person's own neutral face")
    return "    ".join(parts)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def _shortened_start(text: str, length: int) -> str:
    return text if len(text) <= length else f"…{text[1 - length :]}"


__all__ = ["Band", "Lane", "Timeline", "Timelines", "draw_timeline", "plot_timelines", "timelines_of"]
