"""The picture of an explanation: a row a face, a column a label, with the relevance as contours."""

from collections.abc import Sequence

import numpy as np

from analysis.explain import ExplainedFace, Explanation
from analysis.fonts import fonts_for
from analysis.timeline import figure_module

CELL, GAP, HEAD, FOOT, DPI = 2.6, 0.16, 0.62, 0.58, 110  # inches; pixels an inch
LABELS_A_ROW = 5
LEVELS = (0.35, 0.6, 0.85)
# From yellow to white-hot: told apart by brightness alone, so with every colour blindness, and in grey print.
LINES = ("#f0a202", "#f7d154", "#ffffff")
INK, GREY = "#333333", "#666666"


def draw_explanations(faces: Sequence[ExplainedFace]):
    """A matplotlib Figure: the plain crop, then the crop once for each label with lines around where the relevance is
    .35, .6 and .85 of its highest; outside of them the face is a little darker. Labels that are more than 5 go on in
    the next row.

    Raises:
        ValueError: no face has a crop. ImportError: matplotlib is missing.
    """
    shown = [(number, found) for number, found in enumerate(faces) if found.crop is not None]
    if not shown:
        raise ValueError("there is no face with a crop to draw.")
    figures = figure_module()
    with fonts_for(_title(item) for _, found in shown for item in found.explanations):
        return _draw_faces(figures, shown)


def _draw_faces(figures, shown: list[tuple[int, ExplainedFace]]):
    rows = []  # (face number, face, explanations, is it the first row of the face)
    for number, found in shown:
        for start in range(0, len(found.explanations), LABELS_A_ROW):
            rows.append((number, found, found.explanations[start : start + LABELS_A_ROW], start == 0))
    columns = 1 + max(len(part) for _, _, part, _ in rows)
    width = columns * (CELL + GAP) + GAP
    height = len(rows) * (HEAD + CELL + GAP) + FOOT
    figure = figures.Figure(figsize=(width, height), dpi=DPI)
    for place, (number, found, part, is_first) in enumerate(rows):
        top = place * (HEAD + CELL + GAP)
        if is_first:
            axes = _cell(figure, 0, top, width, height)
            axes.imshow(found.large)
            warning = f"not to be relied upon: {found.quality.reason}" if found.quality.out_of_scope else ""
            _head(figure, 0, top, width, height, f"face {number}", warning)
        for column, item in enumerate(part, start=1):
            axes = _cell(figure, column, top, width, height)
            _draw_relevance(axes, found.large, item.relevance)
            _head(figure, column, top, width, height, _title(item), _verdict(item))
    _draw_key(figure, height)
    return figure


def _cell(figure, column: int, top: float, width: float, height: float):
    left = GAP + column * (CELL + GAP)
    box = (left / width, 1 - (top + HEAD + CELL) / height, CELL / width, CELL / height)
    axes = figure.add_axes(box)
    axes.set_axis_off()
    return axes


def _head(figure, column: int, top: float, width: float, height: float, title: str, below: str) -> None:
    left = (GAP + column * (CELL + GAP)) / width
    figure.text(left, 1 - (top + 0.24) / height, title, fontsize=10, color=INK, va="center", parse_math=False)
    figure.text(left, 1 - (top + 0.47) / height, below, fontsize=8, color=GREY, va="center", parse_math=False)


def _draw_relevance(axes, picture: np.ndarray, relevance: np.ndarray) -> None:
    side = picture.shape[0]
    centres = (np.arange(len(relevance)) + 0.5) * side / len(relevance) - 0.5
    fine = np.arange(side)
    large = np.stack([np.interp(fine, centres, row) for row in relevance])
    large = np.stack([np.interp(fine, centres, column) for column in large.T], axis=1)
    shade = 0.65 + 0.35 * np.clip(large / LEVELS[0], 0, 1)
    axes.imshow((picture * shade[..., None]).astype(np.uint8))
    if large.max() > LEVELS[0]:
        # Dark below light, so that lines show on every skin.
        axes.contour(large, LEVELS, colors="black", linewidths=2.6, alpha=0.55)
        axes.contour(large, LEVELS, colors=LINES, linewidths=1.3)


def _title(item: Explanation) -> str:
    text = item.label if item.text.casefold() == item.label.casefold() else f"{item.label} {item.text}"
    return text if len(text) <= 30 else f"{text[:29].rstrip()}…"


def _verdict(item: Explanation) -> str:
    if not item.relevance.any():
        return f"probability {item.score:.2f}; nothing speaks for it"
    if item.threshold is None:
        return f"probability {item.score:.2f} among its alternatives"
    sign, word = ("≥", "present") if item.present else ("<", "absent")
    note = "" if item.trained else " (untrained)"
    return f"probability {item.score:.2f} {sign} {item.threshold:.2f}: {word}{note}"


def _draw_key(figure, height: float) -> None:
    inch = 1 / figure.get_figwidth()
    text = "lines: relevance at"
    figure.text(GAP * inch, 0.24 / height, text, fontsize=8, color=GREY, va="center")
    left = GAP + 1.12
    for level, colour in zip(LEVELS, LINES, strict=True):
        axes = figure.add_axes((left * inch, 0.16 / height, 0.3 * inch, 0.16 / height))
        axes.set_facecolor("#777777")
        axes.axhline(0.5, color="black", lw=2.6, alpha=0.55)
        axes.axhline(0.5, color=colour, lw=1.3)
        axes.set(ylim=(0, 1), xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.text((left + 0.36) * inch, 0.24 / height, f"{level:g}", fontsize=8, color=GREY, va="center")
        left += 0.75
    figure.text(left * inch, 0.24 / height, "of its highest", fontsize=8, color=GREY, va="center")


__all__ = ["draw_explanations"]
