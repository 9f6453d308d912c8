"""The About page: the method in one picture, measured figures, limits of use."""

import json
from pathlib import Path

import yaml
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from clef_space import limits
from clef_space.labels import anatomical
from clef_space.parts import text
from clef_space.recogniser import Recogniser

METHOD = """
<figure class="clef-method"><svg viewBox="0 0 480 236" role="img" aria-labelledby="clef-method-title">
<title id="clef-method-title">A face and label texts become points in one space; the nearer they lie, the more probable
the label.</title>
<g class="clef-method-box"><rect x="1" y="28" width="128" height="60" rx="8"/><rect x="1" y="148" width="162"
height="60" rx="8"/><rect x="184" y="36" width="96" height="44" rx="8"/><rect x="184" y="156" width="96" height="44"
rx="8"/><rect x="310" y="4" width="169" height="228" rx="10"/></g>
<g class="clef-method-line"><path d="M129 58 H184"/><path d="M163 178 H184"/><path d="M280 58 C312 58 300 98 324 106"/>
<path d="M280 178 C312 178 300 140 324 134"/></g>
<circle cx="333" cy="108" r="7" class="clef-method-face"/><g class="clef-method-text"><rect x="326" y="126" width="12"
height="12"/><rect x="456" y="52" width="12" height="12"/><rect x="440" y="194" width="12" height="12"/></g>
<g class="clef-method-words"><text x="65" y="54" text-anchor="middle">a face,</text><text x="65" y="74"
text-anchor="middle">cut out upright</text><text x="82" y="174" text-anchor="middle">“a photo of a person</text><text
x="82" y="194" text-anchor="middle">with lip corner puller”</text><text x="232" y="63" text-anchor="middle">image
tower</text><text x="232" y="183" text-anchor="middle">text tower</text><text x="347" y="113">the face</text><text
x="347" y="137">lip corner puller</text><text x="450" y="63" text-anchor="end">brow lowerer</text><text x="434" y="205"
text-anchor="end">jaw drop</text><text x="394" y="26" text-anchor="middle">nearer = more probable</text></g></svg>
<figcaption>CLEF first learns from descriptions of what people were doing, whoever they were, and then from the names of
muscle movements. Labels are words, so others can be typed.</figcaption></figure>"""

# The same list stands in the Space's README.md and in the cards of models and corpora.
NOT_FOR = (
    "deciding anything about a person: hiring, policing, border control, insurance, grading, worker surveillance;",
    "inferring emotions of people at work or in education (prohibited in the EU by the AI Act);",
    "telling what somebody feels, whether somebody lies, or is ill: an expression is not a feeling, and a face shows "
    "movements, not causes;",
    "medical use;",
    "identifying people, or inferring age, sex or ethnicity: a model of faces may still carry who somebody is;",
    "analysing people who do not know about it or did not agree.",
)
RENDERED = ("ict_facekit", "synthetic")  # corpora without a photograph


def read_metrics(checkpoint: str) -> dict:
    """The checkpoint's metrics.json, {} where there is none, with the name of the corpus from its recipe.yaml as
    "corpus"."""
    try:
        metrics = json.loads(_read(checkpoint, "metrics.json"))
        recipe = yaml.safe_load(_read(checkpoint, "recipe.yaml") or "{}")
    except ValueError:
        return {}
    return metrics | {"corpus": recipe.get("corpus")} if metrics else {}


def _read(checkpoint: str, name: str) -> str:
    """A text file of the checkpoint; "{}" where there is none."""
    try:
        folder = Path(checkpoint)
        path = folder / name if folder.is_dir() else hf_hub_download(checkpoint, name)
        return Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, EntryNotFoundError, LocalEntryNotFoundError):
        return "{}"


def about_page(recogniser: Recogniser, metrics: dict) -> str:
    forbidden = "".join(f"<li>{text(line)}</li>" for line in NOT_FOR)
    return f"""<div class="clef-about">
<p>An <strong>action unit</strong> (AU) is one visible movement of the face, such as the corners of the lips being
pulled up (AU12). The Facial Action Coding System numbers them. This demonstration finds faces, tells which action units
and which expression each of them shows, and how sure that is.</p>
{METHOD}
<h2>How good it is</h2>{_figures(recogniser, metrics)}
<h2>What it must not be used for</h2><ul>{forbidden}</ul>
<h2>What happens to what you send</h2>
<p>Pictures and videos are worked on in this computer’s memory and sent to nobody. The copy that an upload makes on disk
is removed {limits.KEPT_SECONDS:.0f} seconds after it was read, results that you can download after
{limits.RESULT_SECONDS // 60} minutes, and both when this demonstration is stopped. Nothing is kept, counted, or used
for training. No fonts and no scripts come from elsewhere.</p>
<h2>Limits</h2>
<ul><li>pictures: up to {limits.PICTURE_BYTES // limits.MEGABYTE} MB and {limits.PICTURE_PIXELS // 1_000_000} million
pixels; the {limits.SHOWN_FACES} largest faces are shown;</li>
<li>videos: up to {limits.VIDEO_SECONDS:.0f} seconds, {limits.VIDEO_BYTES // limits.MEGABYTE} MB;
{limits.VIDEO_RATE:.0f} frames a second are looked at;</li>
<li>your own words: {limits.LABELS} at a time, {limits.LABEL_LENGTH} characters each;</li>
<li>the webcam’s stream ends after {limits.STREAM_SECONDS} seconds;</li>
<li>{limits.AT_ONCE} requests are worked on at once and {limits.WAITING} wait; each may take
{limits.REQUEST_SECONDS:.0f} seconds.</li></ul>
<h2>Use it from a program</h2>
<pre tabindex="0"><code>from gradio_client import Client, handle_file

client = Client("OWNER/SPACE")     # or the address of this page
client.predict(handle_file("photo.jpg"), api_name="/picture")
client.predict(handle_file("photo.jpg"), ["raised eyebrows", "AU12"], api_name="/words")
client.predict(handle_file("clip.mp4"), api_name="/video")
client.predict(api_name="/labels")</code></pre>
<p>All four return plain JSON. <code>/picture</code> and <code>/words</code> give <code>faces</code>, the largest first
and at most {limits.SHOWN_FACES},
with <code>box</code>, <code>action_units</code>, <code>expression</code>, <code>quality</code> and <code>words</code>;
<code>/video</code> gives <code>rows</code>, one a frame and face; <code>/labels</code> what the labels mean. What
cannot be done raises an error whose message is the sentence that this page would show.</p></div>"""


def _figures(recogniser: Recogniser, metrics: dict) -> str:
    scored = (metrics.get("evaluation") or {}).get("action_units") or {}
    labels = scored.get("labels") or {}
    if not labels:
        return "<p>This checkpoint came without measured figures.</p>"
    data = (metrics.get("evaluation") or {}).get("data", {}).get("scored", {})
    rows = "".join(
        f"<tr>{_row_head(one.label, {one.label: one.name})}"
        f"<td>{_share(labels[one.label].get('auroc'))}</td><td>{_share(labels[one.label].get('f1'))}</td>"
        f"<td>{_share(labels[one.label].get('base_rate'))}</td></tr>"
        for one in anatomical(recogniser.action_units)
        if one.label in labels
    )
    expression = (metrics["evaluation"].get("expression") or {}).get("accuracy")
    says = f"; the expression is right in {_share(expression)} %" if expression is not None else ""
    rendered = metrics.get("corpus") in RENDERED
    where = (
        f"<strong>On its own test set</strong>, {data['frames']:,} frames of {data['subjects']:,} "
        f"{'rendered ' if rendered else ''}people whom the model never saw: the mean"
        if {"frames", "subjects"} <= data.keys()
        else "The mean"
    )
    trained = "<p>The model was trained on rendered faces, and on no photograph.</p>" if rendered else ""
    return f"""{trained}{_photographs(metrics, {one.label: one.name for one in recogniser.action_units})}
<p>{where} AUROC is {_share(scored.get("mean_auroc"))} %, the mean F1 {_share(scored.get("mean_f1"))} %{says}.
{text(metrics.get("provenance", ""))}</p>
<div class="clef-table" tabindex="0" role="region" aria-label="Figures for each action unit"><table><thead><tr><th
scope="col">action unit</th><th scope="col">AUROC %</th><th scope="col">F1 %</th><th scope="col">how common %</th></tr>
</thead><tbody>{rows}</tbody></table></div>
<p class="clef-note">AUROC: how often a face that shows it ranks above one that does not; 50 is chance. F1: at the
fitted threshold. These figures were read from the checkpoint’s own metrics.</p>"""


def _photographs(metrics: dict, names: dict[str, str]) -> str:
    photos = metrics.get("photographs") or {}
    data, labels = photos.get("data") or {}, photos.get("labels") or {}
    rows = ""
    for label, found in labels.items():
        if found.get("auroc") is None:
            continue
        interval = found.get("auroc_interval")
        spread = f"{_share(interval[0])} to {_share(interval[1])}" if interval else "–"
        rows += f"<tr>{_row_head(label, names)}<td>{_share(found['auroc'])}</td><td>{spread}</td></tr>"
    if not rows:
        return ""
    return (
        f"<p><strong>On photographs</strong>, {data.get('photos')} pictures of {data.get('people')} people, smiling "
        "against neutral. Nothing but smiles could be verified on photographs.</p>"
        '<div class="clef-table"><table><thead><tr><th scope="col">rises with a smile</th><th scope="col">AUROC %</th>'
        f'<th scope="col">95 % interval</th></tr></thead><tbody>{rows}</tbody></table></div>'
        f"<p>{_groups(labels)}</p>"
    )


def _row_head(label: str, names: dict[str, str]) -> str:
    if label not in names:
        return f"<th scope='row'>{text(label)}</th>"
    return f"<th scope='row'><span class='clef-code'>{text(label)}</span> {text(names[label])}</th>"


def _groups(labels: dict) -> str:
    """Of the first label that was measured by group."""
    for label, found in labels.items():
        parts = [
            f"{text(name.replace('_', ' '))} {_share(one['auroc'])} ({one['people']} people)"
            for groups in (found.get("groups") or {}).values()
            for name, one in groups.items()
            if not one.get("too_few") and one.get("auroc") is not None
        ]
        if parts:
            return f"It serves people unequally, {text(label)} by group: {', '.join(parts)}."
    return ""


def _share(value) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
