"""A video's result as HTML: each action unit a lane over time, the expression a band, upper face to lower."""

from clef_space.labels import Label, anatomical
from clef_space.limits import SHOWN_FACES
from clef_space.parts import json_attribute, percent, text
from clef_space.recogniser import FoundFace, Recogniser
from clef_space.videos import SeenFrame

LANE = 24.0  # height of a lane's drawing, its own units
WIDE_ENOUGH = 12.0  # percent of the width, from which a segment of the band says its name
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
    units = anatomical(recogniser.action_units)
    said = [[round(time, 3), _reading(recogniser, units, face)] for time, face in seen]
    lanes = "".join(
        _lane(label, times, [face.probabilities[label.column] for _, face in seen], seconds) for label in units
    )
    return (
        f'<article class="clef-face clef-track" data-face="{track}" data-said="{json_attribute(said)}"'
        f"{'' if first else ' hidden'}><h2>Face {track + 1} over time</h2>"
        '<p class="clef-reading" aria-live="off">Play the video, or move the slider.</p>'
        f'<label class="clef-seek"><span>Position in the video</span><input type="range" min="0" max="{seconds:.3f}" '
        'step="0.05" value="0"></label>'
        f'<div class="clef-lanes"><span class="clef-playhead" aria-hidden="true"></span>'
        f"{_band(recogniser, seen, seconds, step)}{lanes}{_axis(seconds)}</div>"
        '<p class="clef-note">Height is the probability, the thin line its threshold, the bar under a lane where it is '
        "reached.</p></article>"
    )


def _reading(recogniser: Recogniser, units: list[Label], face: FoundFace) -> str:
    said = []
    if recogniser.expressions:
        best = max(recogniser.expressions, key=lambda label: face.probabilities[label.column])
        said.append(f"{best.name} {percent(face.probabilities[best.column])}")
    there = [f"{one.label} {one.name}" for one in units if face.probabilities[one.column] >= one.threshold]
    return " · ".join([*said, ", ".join(there) or "no movement above its threshold"])


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
    return (
        f'<div class="clef-lane"><span class="clef-lane-name"><span class="clef-code">{text(label.label)}</span> '
        f'<span class="clef-lane-words">{text(label.name)}</span></span>'
        f'<svg viewBox="0 0 1000 {LANE + 6:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{text(label.name)}: at most {percent(max(values))}, reached in {percent(share)} of frames">'
        f'{areas}<line x1="0" x2="1000" y1="{threshold:.2f}" y2="{threshold:.2f}"/><g>{reached}</g></svg></div>'
    )


def _band(recogniser: Recogniser, seen, seconds: float, step: float) -> str:
    if not recogniser.expressions:
        return ""
    segments: list[list] = []
    for time, face in seen:
        position, best = max(enumerate(recogniser.expressions), key=lambda pair: face.probabilities[pair[1].column])
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
        '<div class="clef-lane clef-band"><span class="clef-lane-name"><span class="clef-lane-words">expression</span>'
        f'</span><span class="clef-segments">{pieces}</span></div>'
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
