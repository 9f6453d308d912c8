"""The About page: the method in one picture, measured figures, limits of use."""

import json
from collections.abc import Iterator
from pathlib import Path

import yaml
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from clef_space import limits
from clef_space.labels import LabelSet, anatomical
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
text-anchor="middle">cut out upright</text><text x="82" y="174" text-anchor="middle">the words of a label:</text><text
x="82" y="194" text-anchor="middle">“{near}”</text><text x="232" y="63" text-anchor="middle">image
tower</text><text x="232" y="183" text-anchor="middle">text tower</text><text x="347" y="113">the face</text><text
x="347" y="137">{near}</text><text x="450" y="63" text-anchor="end">{far}</text><text x="434" y="205"
text-anchor="end">{farther}</text><text x="394" y="26" text-anchor="middle">nearer = likelier</text></g></svg>
<figcaption>CLEF first learns from descriptions of what people were doing, whoever they were, and then from the names of
{named}. Labels are words, so others can be typed.</figcaption></figure>"""
METHOD_UNITS = ("AU12", "AU4", "AU26")  # a smile's, and two far from it
METHOD_WORDS = ("one label", "another label", "a third label")
METHOD_LETTERS = 18  # that have room in the picture

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
WIDE_GAP = 0.05  # between groups of people, as in the model card
# Columns of a label set's table: score → heading.
MULTI_LABEL = {"auroc": "AUROC %", "f1": "F1 %", "base_rate": "how common %"}
SINGLE_LABEL = {"recall": "recall %", "f1": "F1 %"}


def read_metrics(checkpoint: str) -> dict:
    """The checkpoint's metrics.json, {} where there is none, with the name of the corpus from its recipe.yaml as
    "corpus", and what results.json says of groups of people as "groups": label set → column → group → scores."""
    try:
        metrics = json.loads(_read(checkpoint, "metrics.json"))
        recipe = yaml.safe_load(_read(checkpoint, "recipe.yaml") or "{}")
        scores = json.loads(_read(checkpoint, "results.json")).get("scores", {})
    except ValueError:
        return {}
    if not metrics:
        return {}
    groups = {name: found["groups"] for name, found in scores.items() if found.get("groups")}
    return metrics | {"corpus": recipe.get("corpus"), "groups": groups}


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
    label_sets = ", ".join(f"<code>{text(label_set.name)}</code>" for label_set in recogniser.label_sets)
    return f"""<div class="clef-about">
{_what_it_does(recogniser)}
{_method(recogniser)}
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
with <code>box</code>, {label_sets}, <code>quality</code> and <code>words</code>;
<code>/video</code> gives <code>rows</code>, one a frame and face; <code>/labels</code> what the labels mean. What
cannot be done raises an error whose message is the sentence that this page would show.</p></div>"""


def _what_it_does(recogniser: Recogniser) -> str:
    names = {label_set.name for label_set in recogniser.label_sets}
    units, what, listed = "", "of these labels", ""
    if "action_units" in names:
        units = (
            "An <strong>action unit</strong> (AU) is one visible movement of the face, such as the corners of the lips "
            "being pulled up (AU12). The Facial Action Coding System numbers them. "
        )
    if names == {"action_units", "expression"}:
        what = "action units and which expression"
    else:
        listed = "".join(
            f"<li>{text(label_set.title)}{', one of' if label_set.exclusive else ''}: "
            f"{', '.join(text(label.name) for label in label_set.labels)}</li>"
            for label_set in recogniser.label_sets
        )
    sentence = f"This demonstration finds faces, tells which {what} each of them shows, and how sure that is."
    return f"<p>{units}{sentence}</p>" + (f"<ul>{listed}</ul>" if listed else "")


def _method(recogniser: Recogniser) -> str:
    """The picture, with three of the checkpoint's labels where there are three that fit into it."""
    units = {label.label: label.name for label in recogniser.labels}
    if set(METHOD_UNITS) <= units.keys():
        names = [units[unit] for unit in METHOD_UNITS]
    else:
        fitting = (
            [label.name for label in label_set.labels if len(label.name) <= METHOD_LETTERS]
            for label_set in recogniser.label_sets
        )
        names = next((found for found in fitting if len(found) > 2), METHOD_WORDS)
    words = dict(zip(("near", "far", "farther"), map(text, names), strict=False))
    named = {"action_units": "muscle movements", "expression": "expressions"}
    sets = [label_set.name for label_set in recogniser.label_sets]
    named = " and ".join(named[name] for name in sets) if set(sets) <= named.keys() else "its labels"
    return METHOD.format(named=named, **words)


def _figures(recogniser: Recogniser, metrics: dict) -> str:
    evaluation = metrics.get("evaluation") or {}
    scored = [label_set for label_set in recogniser.label_sets if (evaluation.get(label_set.name) or {}).get("labels")]
    if not scored:
        return "<p>This checkpoint came without measured figures.</p>"
    rendered = metrics.get("corpus") in RENDERED
    trained = "<p>The model was trained on rendered faces, and on no photograph.</p>" if rendered else ""
    codes = {label.label: label.name for label_set in scored for label in label_set.labels if label.code}
    headlines = "; ".join(_headline(label_set, evaluation[label_set.name]) for label_set in scored)
    tables = "".join(_table(label_set, evaluation[label_set.name]["labels"]) for label_set in scored)
    return f"""{trained}{_photographs(metrics, codes)}
<p>{_who_was_scored(metrics, rendered)}: {headlines}. {text(metrics.get("provenance", ""))}</p>
<p>{_groups(metrics)}</p>
{tables}<p class="clef-note">AUROC: how often a face that shows it ranks above one that does not; 50 is chance. F1: at
the threshold, or of the most probable label. Recall: how many of the faces that show it are found. These figures were
read from the checkpoint’s own metrics.</p>"""


def _who_was_scored(metrics: dict, rendered: bool) -> str:
    evaluation = metrics["evaluation"]
    scored = evaluation.get("data", {}).get("scored", {})
    if not {"frames", "subjects"} <= scored.keys():
        return "<strong>Measured</strong>"
    people = f"{scored['frames']:,} frames of {scored['subjects']:,} {'rendered ' if rendered else ''}people"
    if evaluation == metrics.get("validation"):
        return f"<strong>On its validation set</strong>, as there was no test set, {people} whom it was not trained on"
    return f"<strong>On its own test set</strong>, {people} whom the model never saw"


def _headline(label_set: LabelSet, scores: dict) -> str:
    if label_set.exclusive:
        accuracy = scores.get("accuracy_calibrated", scores.get("accuracy"))  # what is shown is calibrated
        return f"the {text(label_set.title.lower())} is right in {_share(accuracy)} %"
    f1 = scores.get("mean_f1", scores.get("mean_f1_at_half"))
    name = text(label_set.title.lower())
    return f"of the {name} the mean AUROC is {_share(scores.get('mean_auroc'))} %, the mean F1 {_share(f1)} %"


def _table(label_set: LabelSet, found: dict) -> str:
    columns = SINGLE_LABEL if label_set.exclusive else MULTI_LABEL
    head = "".join(f'<th scope="col">{heading}</th>' for heading in columns.values())
    rows = ""
    for label in anatomical(list(label_set.labels)):
        if label.label in found:
            scores = {"f1": found[label.label].get("f1_at_half")} | found[label.label]
            cells = "".join(f"<td>{_share(scores.get(key))}</td>" for key in columns)
            code = f"<span class='clef-code'>{text(label.code)}</span> " if label.code else ""
            rows += f"<tr><th scope='row'>{code}{text(label.name)}</th>{cells}</tr>"
    return (
        f'<div class="clef-table" tabindex="0" role="region" aria-label="Figures for {text(label_set.title)}"><table>'
        f'<thead><tr><th scope="col">{text(label_set.title)}</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


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
    )


def _row_head(label: str, names: dict[str, str]) -> str:
    if label not in names:
        return f"<th scope='row'>{text(label)}</th>"
    return f"<th scope='row'><span class='clef-code'>{text(label)}</span> {text(names[label])}</th>"


def _groups(metrics: dict) -> str:
    """Whether people of some groups are served less well than others, as far as that was measured."""
    found = [*_photograph_groups(metrics), *_test_set_groups(metrics)]
    sentences, unequal = [], False
    for what, groups in found:
        listed = ", ".join(f"{text(name)} {_share(score)} ({people:,} people)" for name, people, score in groups)
        sentences.append(f"{what}: {listed}.")
        scores = [score for _, _, score in groups]
        unequal |= max(scores) - min(scores) >= WIDE_GAP
    if not found:
        return "Whether it serves all groups of people equally was not measured."
    if unequal:
        return f"<strong>It serves people unequally.</strong> {' '.join(sentences)}"
    return f"No two groups of people that were measured differ by {100 * WIDE_GAP:.0f} points. {' '.join(sentences)}"


def _photograph_groups(metrics: dict) -> Iterator[tuple[str, list]]:
    """Of the first label that was measured by group: what was measured by which column, and name, people and score of
    each group."""
    for label, found in ((metrics.get("photographs") or {}).get("labels") or {}).items():
        columns = {
            column: [
                (name.replace("_", " "), one["people"], one["auroc"])
                for name, one in groups.items()
                if not one.get("too_few") and one.get("auroc") is not None
            ]
            for column, groups in (found.get("groups") or {}).items()
        }
        columns = {column: groups for column, groups in columns.items() if len(groups) > 1}
        if columns:
            for column, groups in columns.items():
                yield f"AUROC of {text(label)} in photographs by {text(column.replace('_', ' '))}", groups
            return


def _test_set_groups(metrics: dict) -> Iterator[tuple[str, list]]:
    for name, columns in metrics.get("groups", {}).items():
        for column, groups in columns.items():
            for key, title in (("mean_auroc", "Mean AUROC"), ("accuracy", "Accuracy")):
                rows = [
                    (group.replace("_", " "), one["subjects"], one["scores"][key]["value"])
                    for group, one in groups.items()
                    if (one["scores"].get(key) or {}).get("value") is not None
                ]
                if len(rows) > 1:
                    what = f"{title} of {text(name.replace('_', ' '))} on the test set"
                    yield f"{what} by {text(column.replace('_', ' '))}", rows


def _share(value) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
