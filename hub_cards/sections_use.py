"""Sections of a model card that say what the model is and how it is used."""

import os

from hub_cards.data_sets import data_set
from hub_cards.formatting import paragraphs
from hub_cards.lineage import lineage_of
from hub_cards.measured import Measured
from processing.face_detection_clef import YUNET_FILE, YUNET_REPOSITORY
from processing.prompts_clef import ACTION_UNITS

ARMS = {"clef": "stage 1 + stage 2", "stage2": "stage 2 alone"}
SET_TITLES = {"action_units": "action units (FACS)", "expression": "expressions"}
HEADS = {
    "linear": "by a linear classifier on the features of an aligned face",
    "names": "by the similarity of an aligned face to label texts",
    "names_and_descriptions": "by the similarity of an aligned face to label texts",
    "descriptions": "by the similarity of an aligned face to descriptions of the labels",
}


def introduction(measured: Measured) -> str:
    sets = [SET_TITLES.get(s["name"], s["name"].replace("_", " ")) for s in measured.label_sets]
    if sets:
        what = f"Recognises {' and '.join(sets)} of faces {HEADS[measured.config.get('head', 'names')]}."
    else:
        what = (
            "Puts aligned faces and sentences about what people do into one space. It has learned activities and no "
            "labels: it is a start for training, not a recogniser."
        )
    lineage = lineage_of(measured)
    titles = [_training_data(measured, name) for name in lineage.corpora]
    frames = measured.metrics.get("labelled_frames") or measured.metrics.get("unlabelled_frames", {}).get("frames")
    if measured.further_rounds:
        frames = None  # they are those of the last round
    trained = f"Trained on {f'{frames:,} frames of ' if frames else ''}{titles[0]}"
    if len(titles) > 1:
        trained += f", before that on {', '.join(titles[1:])}"
    trained += " and on no photograph whatsoever" if lineage.drawn_only else ""
    comparison = measured.metrics.get("comparison")
    if comparison:
        arm = ARMS[comparison["chosen"]]
        trained += f". {arm[0].upper()}{arm[1:]} was chosen by the {comparison['chosen_by']}"
    method = (
        "This is an independent implementation of CLEF (ICCV 2023, "
        "[arXiv 2304.00058](https://arxiv.org/abs/2304.00058)), not by the paper's authors: towers, temperatures, "
        "phrasings and augmentation are this project's choice."
    )
    return f"{what} {trained}. {method}"


def _training_data(measured: Measured, name: str) -> str:
    known = data_set(name)
    return measured.facts.get("data", known.title) if known.terms is None else known.title


def usage(measured: Measured, repo_id: str) -> str:
    """Snippets that run as they stand where `repo_id` can be loaded and a picture `aligned_face.png` is there."""
    if not measured.label_sets:
        return paragraphs("## Use", _crops(measured), _embedding(repo_id))
    more = None
    if measured.config.get("head") != "linear":
        more = _own_labels(measured)
    snippets = _recognition(repo_id), _pipeline(measured, repo_id), _stock_pipeline(measured)
    return paragraphs("## Use", _crops(measured), *snippets, more)


def _crops(measured: Measured) -> str | None:
    recipe = measured.image_processor.get("crop_recipe")
    if not recipe:
        return None
    how = "the project's `processing.face_alignment_clef.align_face` does it from a detector's points"
    if measured.has_pipeline:
        how = "the pipeline below does it"
    return (
        f'Faces must be cropped as those it was trained on, by the recipe that the processor names ("{recipe}"): '
        f"{how}. With other crops the figures below do not hold."
    )


def _recognition(repo_id: str) -> str:
    return f"""```python
import torch
from transformers import AutoModelForImageClassification, AutoProcessor

model = AutoModelForImageClassification.from_pretrained("{repo_id}", trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained("{repo_id}", trust_remote_code=True)

with torch.no_grad():
    logits = model(**processor(images="aligned_face.png")).logits
probabilities = model.probabilities(logits)[0]  # calibrated; one column a label
for column, label in model.config.id2label.items():
    print(f"{{label}} {{probabilities[column].item():.2f}}")
```"""


def _pipeline(measured: Measured, repo_id: str) -> str | None:
    if not measured.has_pipeline:
        return None
    first = measured.label_sets[0]["name"]
    finder = (
        "Faces are found with OpenCV (`pip install opencv-python-headless`) and YuNet "
        f"(`hf download {YUNET_REPOSITORY} {YUNET_FILE}`). Without that file OpenCV's older cascade is used, which "
        "finds fewer faces and gives poorer crops."
    )
    return f"""The same from photographs, the most probable labels first. {finder}

```python
from transformers import pipeline

find = pipeline("facial-behavior", model="{repo_id}", trust_remote_code=True)
for face in find("aligned_face.png", aligned=True):  # a photograph: find("photograph.jpg")
    print(face["{first}"][0])
```"""


def _stock_pipeline(measured: Measured) -> str | None:
    if len(measured.label_sets) < 2:
        return None
    text = (
        "transformers' own `image-classification` pipeline judges each label by itself and knows no calibration, and "
        "nobody measured its scores."
    )
    return f"{text} Prefer `facial-behavior`." if measured.has_pipeline else text


def _own_labels(measured: Measured) -> str:
    encoder = measured.config.get("sentence_encoder") or {}
    join, where = "", "Other words can be labels, too, though nobody has validated them:"
    if measured.config.get("text_free"):
        join = "model.join_text_tower()\n"
        found = [f"the package `{encoder['package'].split('==')[0]}`"] if encoder.get("package") else []
        found = [f"the Hub's cache (`{encoder['repo_id']}`)", *found] if encoder.get("repo_id") else found
        where = (
            "Other words can be labels, too, though nobody has validated them. They need the sentence encoder, which "
            "is not in this folder: `model.join_text_tower()` finds it in "
            f"{' or in '.join(found) or 'the folder it is given'} and checks its hash."
        )
    return f"""{where}

```python
{join}texts = processor(labels={{"smile": "a big smile", "frown": "lowered eyebrows"}})
model.set_labels(["smile", "frown"], texts["input_ids"], texts["attention_mask"])
with torch.no_grad():
    print(model(**processor(images="aligned_face.png")).logits.sigmoid())
```"""


def _embedding(repo_id: str) -> str:
    return f"""```python
import torch
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{repo_id}", trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained("{repo_id}", trust_remote_code=True)

texts = processor(text=["Listen to a funny joke.", "Submerge your hand in ice water."])
with torch.no_grad():
    faces = model.image_embeds(**processor(images="aligned_face.png"))
    sentences = model.text_embeds(texts["input_ids"], texts["attention_mask"])
print(faces @ sentences.T)  # cosine similarities, (1, 2)
```"""


def labels_and_prompts(measured: Measured) -> str | None:
    """What each label is called and shown as; the texts that decide are in the configuration."""
    if not measured.label_sets:
        return None
    parts = ["## Labels and prompts"]
    described = measured.config.get("head") == "descriptions"
    for label_set in measured.label_sets:
        title = SET_TITLES.get(label_set["name"], label_set["name"].replace("_", " "))
        kind = "each on its own" if label_set["problem_type"].startswith("multi") else "one of them"
        template, names = _template(label_set["names"])
        labels = ", ".join(_with_name(label, name) for label, name in zip(label_set["labels"], names, strict=True))
        text = f"*{title[0].upper()}{title[1:]}* ({kind}): {labels}."
        if measured.config.get("head") != "linear" and not described:
            text += f' Shown as "{template}".'
        parts.append(text)
    phrased = [s for s in measured.label_sets if s.get("phrasing_tokens")]
    if described:
        parts.append("Labels are shown as their descriptions, not as their names.")
    elif measured.config.get("head") == "names_and_descriptions":
        parts.append("Descriptions of what the labels look like were used in training; they no longer decide anything.")
    if phrased:
        parts.append("Training also showed everyday phrasings of the labels, so that other words work.")
    return paragraphs(*parts)


def _template(names: list[str]) -> tuple[str, list[str]]:
    """The words that all texts begin with, with a place for the rest; and the rests."""
    start = os.path.commonprefix(names) if len(names) > 1 else ""
    start = start[: start.rfind(" ") + 1]
    return start + "{}", [name[len(start) :] for name in names]


def _with_name(label: str, name: str) -> str:
    name = ACTION_UNITS[label].name if label in ACTION_UNITS else name
    return label if name == label else f"{label} ({name})"
