"""A video's result as HTML: labels that hold or not are lanes over time, of each other set the most probable label is a
band."""

from clef_space.labels import Label, LabelSet
from clef_space.limits import SHOWN_FACES
from clef_space.parts import json_attribute, percent, text
from clef_space.recogniser import FoundFace, Recogniser
from clef_space.videos import SeenFrame

LANE = 24.0  # height of a lane's drawing, its own units
WIDE_ENOUGH = 12.0  # percent of the width, from which a segment of the band says its name
LANES = "Height is the probability, the thin line its threshold, the bar under a lane where it is reached."
BREAK = 0.5  # seconds without the face, over which no line is drawn


def timeline(recogniser: Recogniser, frames: list[SeenFrame]) -> str:
    """All faces' timelines; the one seen longest first. They follow the video that plays beside them."""
    times = [frame.time_s for frame in frames]
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0
    seconds = times[-1] - times[0] + step
    series: dict[int, list[tuple[float, FoundFace]]] = {}
    for frame in frames:
        for face, track in zip(frame.faces, frame.tracks, strict=True):
            if face.probabilities is not None:
                series.setdefault(track, []).append((frame.time_s, face))
    longest = sorted(series, key=lambda track: (-len(series[track]), track))
    shown = longest[:SHOWN_FACES]
    tabs = "".join(
        f'<button type="button" class="clef-tab" data-face="{track}" aria-pressed="{"true" if first else "false"}">'
        f"Face {track + 1}</button>"
        for track, first in ((track, track == shown[0]) for track in shown)
    )
    chooser = f'<p class="clef-tabs" role="group" aria-label="Faces">{tabs}</p>' if len(shown) > 1 else ""
    more = len(series) - len(shown)
    left_out = f'<p class="clef-note">{more} faces seen for less time are in the table only.</p>' if more else ""
    articles = [_article(recogniser, track, series[track], seconds, track == shown[0], step) for track in shown]
    if not shown:
        articles = ['<p class="clef-note">Faces were found, but none could be cut out upright.</p>']
    return (
        f'<div class="clef-result clef-video-result" data-seconds="{seconds:.3f}">'
        f"{chooser}{''.join(articles)}{left_out}</div>"
    )


def _article(recogniser: Recogniser, track: int, seen, seconds: float, first: bool, step: float) -> str:
    times = [time for time, _ in seen]
    labels = recogniser.multi_labels
    said = [[round(time, 3), _reading(recogniser, labels, face)] for time, face in seen]
    bands = "".join(_band(label_set, seen, seconds, step) for label_set in recogniser.single_label_sets)
    lanes = "".join(
        _lane(label, times, [face.probabilities[label.column] for _, face in seen], seconds) for label in labels
    )
    note = f'<p class="clef-note">{LANES}</p>' if labels else ""
    return (
        f'<article class="clef-face clef-track" data-face="{track}" data-said="{json_attribute(said)}"'
        f"{'' if first else ' hidden'}><h2>Face {track + 1} over time</h2>"
        '<p class="clef-reading" aria-live="off">Play the video, or move the slider.</p>'
        f'<label class="clef-seek"><span>Position in the video</span><input type="range" min="0" max="{seconds:.3f}" '
        'step="0.05" value="0"></label>'
        f'<div class="clef-lanes"><span class="clef-playhead" aria-hidden="true"></span>'
        f"{bands}{lanes}{_axis(seconds)}</div>{note}</article>"
    )


def _reading(recogniser: Recogniser, labels: list[Label], face: FoundFace) -> str:
    said = []
    for label_set in recogniser.single_label_sets:
        best = label_set.best(face.probabilities)
        said.append(f"{best.name} {percent(face.probabilities[best.column])}")
    if labels:
        there = [f"{one.code} {one.name}".strip() for one in labels if face.probabilities[one.column] >= one.threshold]
        said.append(", ".join(there) or "nothing above its threshold")
    return " · ".join(said)


def _lane(label: Label, times: list[float], values, seconds: float) -> str:
    runs: list[list[tuple[float, float]]] = []
    for position, (time, value) in enumerate(zip(times, values, strict=True)):
        if not position or time - times[position - 1] > BREAK:
            runs.append([])
        runs[-1].append((1000 * time / seconds, LANE * (1 - float(value))))
    areas, reached = "", ""
    for run in runs:
        line = " ".join(f"{x:.1f},{y:.2f}" for x, y in run)
        areas += f'<polygon points="{run[0][0]:.1f},{LANE} {line} {run[-1][0]:.1f},{LANE}"/>'
        for (left, height), (right, _) in zip(run, run[1:], strict=False):
            if 1 - height / LANE >= label.threshold:
                reached += f'<rect x="{left:.1f}" y="{LANE + 1}" width="{right - left:.1f}" height="4"/>'
    threshold = LANE * (1 - label.threshold)
    share = sum(float(value) >= label.threshold for value in values) / len(values)
    code = f'<span class="clef-code">{text(label.code)}</span> ' if label.code else ""
    return (
        f'<div class="clef-lane"><span class="clef-lane-name">{code}'
        f'<span class="clef-lane-words">{text(label.name)}</span></span>'
        f'<svg viewBox="0 0 1000 {LANE + 6:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{text(label.name)}: at most {percent(max(values))}, reached in {percent(share)} of frames">'
        f'{areas}<line x1="0" x2="1000" y1="{threshold:.2f}" y2="{threshold:.2f}"/><g>{reached}</g></svg></div>'
    )


def _band(label_set: LabelSet, seen, seconds: float, step: float) -> str:
    segments: list[list] = []
    for time, face in seen:
        best = label_set.best(face.probabilities)
        position = label_set.labels.index(best)
        if segments and segments[-1][2] == position and time - segments[-1][1] <= BREAK:
            segments[-1][1] = time + step
        else:
            segments.append([time, time + step, position, best])
    pieces = ""
    for start, end, position, best in segments:
        left, width = 100 * start / seconds, 100 * (min(end, seconds) - start) / seconds
        words = text(best.label) if width >= WIDE_ENOUGH else ""
        pieces += (
            f'<span class="clef-segment clef-tone-{position % 8}" style="left:{left:.2f}%;width:{width:.2f}%" '
            f'title="{text(best.label)}, {start:.1f} to {end:.1f} s">{words}</span>'
        )
    return (
        '<div class="clef-lane clef-band"><span class="clef-lane-name">'
        f'<span class="clef-lane-words">{text(label_set.title)}</span></span>'
        f'<span class="clef-segments">{pieces}</span></div>'
    )


def _axis(seconds: float) -> str:
    every = next(one for one in (0.5, 1, 2, 5, 10) if seconds / one <= 7 or one == 10)
    marks, time = "", 0.0
    while time <= seconds - every / 3:
        marks += f'<span style="left:{100 * time / seconds:.2f}%">{time:g} s</span>'
        time += every
    return (
        '<div class="clef-lane clef-axis" aria-hidden="true"><span class="clef-lane-name"></span>'
        f'<span class="clef-marks">{marks}</span></div>'
    )
