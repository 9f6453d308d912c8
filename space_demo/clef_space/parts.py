"""Pieces of HTML. Whatever a user or a file says goes through `text`."""

import html
import json
from collections.abc import Mapping

import numpy as np
from PIL import Image

from clef_space.labels import Label
from clef_space.pictures import data_url

MAP_SIDE = 32
DARKEST = 190  # of 255, where the model did not look


def text(value) -> str:
    return html.escape(str(value), quote=True)


def json_attribute(value) -> str:
    return text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def percent(value: float) -> str:
    return f"{100 * round(float(value), 4):.0f} %"  # rounded first as downloads are, so that both say the same


def problem(sentence: str) -> str:
    return f'<div class="clef-message clef-problem" role="alert"><strong>Sorry.</strong> {text(sentence)}</div>'


def message(sentence: str) -> str:
    return f'<div class="clef-message" role="status">{text(sentence)}</div>'


def hint(sentence: str) -> str:
    return f'<p class="clef-note" role="status">{text(sentence)}</p>'


def spotlight(relevance: np.ndarray) -> str:
    """(H, W) in [0, 1] as a veil that leaves free where the model looked, as a data URL."""
    small = Image.fromarray((relevance * 255).astype(np.uint8)).resize((MAP_SIDE, MAP_SIDE), Image.Resampling.BILINEAR)
    light = (np.asarray(small, dtype=np.float32) / 255) ** 0.7
    veil = np.zeros((MAP_SIDE, MAP_SIDE, 2), dtype=np.uint8)
    veil[..., 1] = DARKEST * (1 - light)
    return data_url(Image.fromarray(veil), "PNG")


def bar(label: Label, score: float, veil: str | None, first: bool, best: bool = False) -> str:
    """One label: its name, a bar with the threshold's mark, its number. A button: choosing it lights up the face.
    `best`: of the labels of which exactly one holds.
    """
    present = label.threshold is not None and score >= label.threshold
    code = f'<span class="clef-code">{text(label.code)}</span> ' if label.code else ""
    description = (
        f'<span class="clef-description">{text(label.description)}</span>'
        if label.description and label.threshold is not None
        else ""
    )
    mark = f'<span class="clef-threshold" style="left:{100 * label.threshold:.1f}%"></span>' if label.threshold else ""
    said = percent(score) + (", the most probable" if best else ", counts as present" if present else "")
    shown = f' data-veil="{veil}"' if veil else ""
    tab = "0" if first else "-1"
    return (
        f'<button type="button" class="clef-row{" clef-present" if present or best else ""}" tabindex="{tab}" '
        f'data-label="{text(label.label)}" aria-pressed="false"{shown}>'
        f'<span class="clef-name" dir="auto">{code}{text(label.name)}</span>'
        f'<span class="clef-score" aria-hidden="true">{"<b>✓</b> " if present else ""}{percent(score)}</span>'
        f'<span class="clef-bar" aria-hidden="true"><span class="clef-fill" style="width:{100 * score:.1f}%"></span>'
        f'{mark}</span><span class="clef-hidden">, {said}. </span>{description}</button>'
    )


def bars(title: str, labels: list[Label], scores, veils: Mapping[int, str], note: str = "") -> str:
    one_holds = bool(labels) and labels[0].threshold is None
    best = max(labels, key=lambda label: scores[label.column]) if one_holds and np.any(scores) else None
    rows = "".join(
        bar(label, float(scores[label.column]), veils.get(label.column), number == 0, label is best)
        for number, label in enumerate(labels)
    )
    under = f'<p class="clef-note">{text(note)}</p>' if note else ""
    return f'<div class="clef-group" role="group" aria-label="{text(title)}"><h3>{text(title)}</h3>{under}{rows}</div>'
