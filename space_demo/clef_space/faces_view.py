"""A picture with its faces, as HTML: what each does, how sure that is, where the model looked."""

import numpy as np
from PIL import Image

from clef_space.labels import OTHERS, REGIONS, Label, LabelSet, anatomical
from clef_space.limits import SHOWN_FACES
from clef_space.parts import bars, json_attribute, percent, spotlight, text
from clef_space.pictures import SHOWN_SIDE, data_url
from clef_space.recogniser import FoundFace, Recogniser

UNTRAINED = (
    "Nobody has checked how well the model does on words of your own: it was not trained on them. Compare faces with "
    "each other rather than trust a number; ✓ stands from 50 %."
)
LEGEND = (
    'The mark <span class="clef-mark" aria-hidden="true"></span> on a bar is the threshold of that label; from there '
    "on it counts as present (✓)."
)
QUALITY = {
    "eye_distance": ("distance between the eyes", "{:.0f} px"),
    "blur": ("blur (sharp is about 0.5)", "{:.2f}"),
    "roll": ("tilt of the head", "{:+.0f}°"),
    "yaw": ("turn of the head, estimated", "{:+.0f}°"),
    "detector_score": ("the face finder's confidence", "{:.2f}"),
}


def faces_page(
    recogniser: Recogniser,
    picture: Image.Image,
    faces: list[FoundFace],
    words: list[str] | None = None,
    note: str = "",
) -> str:
    """The whole result. `words`: the user's own labels, scored for every face. `note`: a line above the picture."""
    shown = faces[:SHOWN_FACES]
    word_scores = _score_words(recogniser, shown, words)
    articles = [
        _article(recogniser, face, number, len(shown), words, word_scores.get(number))
        for number, face in enumerate(shown)
    ]
    more = len(faces) > len(shown)
    left_out = f'<p class="clef-note">Only the {len(shown)} largest faces are shown.</p>' if more else ""
    line = f'<p class="clef-eyebrow">{text(note)}</p>' if note else ""
    hint = '<p class="clef-note">Choose a face by its number.</p>' if len(shown) > 1 else ""
    return (
        f'<div class="clef-result" data-faces="{len(shown)}">{line}'
        f'<div class="clef-columns"><div class="clef-left">{_stage(picture, shown, more)}{hint}{left_out}</div>'
        f'<div class="clef-right">{"".join(articles)}</div></div></div>'
    )


def numbers(recogniser: Recogniser, face: FoundFace, words: dict[str, float] | None = None) -> dict:
    """What is known of a face, as plain values: for copying, downloads and the API."""
    scores = {} if face.probabilities is None else face.probabilities
    found = {
        **{label_set.name: _set_numbers(label_set, scores) for label_set in recogniser.label_sets},
        "box": dict(zip(("left", "top", "right", "bottom"), [round(edge, 1) for edge in face.box], strict=True)),
        "quality": {
            name: round(value, 3) if isinstance(value, float) else value for name, value in face.quality.items()
        },
    }
    if words is not None:
        found["words"] = [{"label": word, "score": round(score, 4)} for word, score in words.items()]
    return found


def _set_numbers(label_set: LabelSet, scores) -> list[dict]:
    if not len(scores):
        return []
    if label_set.exclusive:
        return [
            {"label": label.label, "probability": round(float(scores[label.column]), 4)} for label in label_set.labels
        ]
    return [
        {
            "label": label.label,
            "name": label.name,
            "probability": round(float(scores[label.column]), 4),
            "threshold": round(label.threshold, 4),
            "present": bool(scores[label.column] >= label.threshold),
        }
        for label in anatomical(list(label_set.labels))
    ]


def summary(recogniser: Recogniser, face: FoundFace) -> str:
    """One sentence in plain words, as HTML."""
    if face.probabilities is None:
        return "This face cannot be read: no upright crop can be cut from it."
    parts = []
    for label_set in recogniser.single_label_sets:
        best = label_set.best(face.probabilities)
        begin = "Most like" if label_set.name == "expression" else f"{text(label_set.title)}: most like"
        parts.append(f"{begin} <strong>{text(best.name)}</strong> ({percent(face.probabilities[best.column])}).")
    for label_set in recogniser.label_sets:
        if not label_set.exclusive:
            parts.append(_what_is_there(label_set, face.probabilities))
    return " ".join(parts)


def _what_is_there(label_set: LabelSet, scores) -> str:
    there = [label for label in anatomical(list(label_set.labels)) if scores[label.column] >= label.threshold]
    listed = ", ".join(
        f"<strong>{text(label.name)}</strong>" + (f" ({text(label.code)})" if label.code else "") for label in there
    )
    if label_set.name == "action_units":
        return f"Muscle movements found: {listed}." if there else "No muscle movement above its threshold."
    return f"{text(label_set.title)}: {listed or 'none above its threshold'}."


def _score_words(recogniser: Recogniser, faces: list[FoundFace], words: list[str] | None) -> dict:
    usable = [(number, face) for number, face in enumerate(faces) if face.crop is not None]
    if not words or not usable:
        return {}
    scores, maps = recogniser.words([face for _, face in usable], words)
    return {number: (row, veils) for (number, _), row, veils in zip(usable, scores, maps, strict=True)}


def _stage(picture: Image.Image, faces: list[FoundFace], more: bool) -> str:
    small = picture.copy()
    small.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    boxes = []
    for number, face in enumerate(faces):
        left, top, right, bottom = (
            100 * min(max(edge / extent, 0), 1) for edge, extent in zip(face.box, picture.size * 2, strict=True)
        )
        place = f"left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%"
        boxes.append(
            f'<button type="button" class="clef-box" style="{place}" data-face="{number}" '
            f'aria-pressed="{"true" if number == 0 else "false"}" aria-label="Face {number + 1}">'
            f'<span aria-hidden="true">{number + 1}</span></button>'
        )
    return (
        f'<div class="clef-stage" style="aspect-ratio:{picture.width}/{picture.height};'
        f'--clef-ratio:{picture.width / picture.height:.4f}">'
        f'<img alt="The picture, with {_faces_in_words(len(faces), more)}" src="{data_url(small, "JPEG", quality=85)}">'
        f"{''.join(boxes)}</div>"
    )


def _faces_in_words(count: int, more: bool) -> str:
    if more:
        return f"the {count} largest of more faces found"
    return "one face found" if count == 1 else f"{count} faces found"


def _article(recogniser, face: FoundFace, number: int, count: int, words, scored) -> str:
    hidden = "" if number == 0 else " hidden"
    word_values = dict(zip(words, map(float, scored[0]), strict=True)) if scored is not None else None
    data = json_attribute(numbers(recogniser, face, word_values))
    title = f"Face {number + 1} of {count}" if count > 1 else "The face"
    parts = [f"<h2>{title}</h2>", f'<p class="clef-summary">{summary(recogniser, face)}</p>']
    if face.quality.get("out_of_scope"):
        reason = text(face.quality.get("reason") or "poor picture")
        parts.append(f'<p class="clef-warning"><strong>Do not rely on this face:</strong> {reason}.</p>')
    parts.append(_crop(face) + _buttons())
    if face.probabilities is not None:
        parts.append(legend(recogniser))
        veils = {column: spotlight(one) for column, one in enumerate(recogniser.maps(face))}
        own = _words(words, scored) if scored is not None else ""
        parts.append(f'<div class="clef-groups">{own}{label_groups(recogniser, face.probabilities, veils)}</div>')
    parts.append(_quality(face))
    return f'<article class="clef-face" data-face="{number}" data-numbers="{data}"{hidden}>{"".join(parts)}</article>'


def legend(recogniser: Recogniser) -> str:
    """What the marks on the bars are, where there are any."""
    return f'<p class="clef-note clef-legend">{LEGEND}</p>' if recogniser.multi_labels else ""


def label_groups(recogniser: Recogniser, scores: np.ndarray, veils: dict[int, str]) -> str:
    """All bars of the checkpoint's labels: the sets of which one label holds, each by itself, then action units from
    upper face to lower, then labels of other sets."""
    groups = [
        bars(label_set.title, list(label_set.labels), scores, veils, "One of these; they add up to 100 %.")
        for label_set in recogniser.single_label_sets
    ]
    regions: dict[str, list[Label]] = {region: [] for region in [*REGIONS, OTHERS]}
    for label in recogniser.multi_labels:
        regions.setdefault(label.region, []).append(label)
    groups += [bars(region, labels, scores, veils) for region, labels in regions.items() if labels]
    return "".join(groups)


def _words(words: list[str], scored) -> str:
    scores, maps = scored
    labels = [Label(column, "words", word, word, "", 0.5) for column, word in enumerate(words)]
    veils = {column: spotlight(one) for column, one in enumerate(maps)}
    return f'<div class="clef-own">{bars("Your own words", labels, scores, veils, UNTRAINED)}</div>'


def _crop(face: FoundFace) -> str:
    if face.crop is None:
        return '<div class="clef-crop clef-empty">no crop</div>'
    crop = data_url(Image.fromarray(face.crop).resize((240, 240), Image.Resampling.BICUBIC), "JPEG", quality=88)
    return (
        f'<div class="clef-look"><div class="clef-crop"><img alt="The face as the model sees it" src="{crop}">'
        '<img class="clef-veil" alt="" hidden></div>'
        '<p class="clef-caption" aria-live="polite" data-idle="Point at a label below, or choose it: what lights up '
        'is where the model looked for it."></p></div>'
    )


def _buttons() -> str:
    return (
        '<p class="clef-buttons"><button type="button" data-take="copy">Copy numbers</button>'
        '<button type="button" data-take="csv">Download CSV</button>'
        '<button type="button" data-take="json">Download JSON</button></p>'
    )


def _quality(face: FoundFace) -> str:
    rows = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(form.format(face.quality[key]))}</dd></div>"
        for key, (name, form) in QUALITY.items()
        if face.quality.get(key) is not None
    )
    return f'<div class="clef-quality"><h3>Quality of this picture of the face</h3><dl>{rows}</dl></div>'
