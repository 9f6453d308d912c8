"""The dataset card of a drawn corpus published as Parquet: what is in its files, and how every frame was made."""

import json
import re
from pathlib import Path
from string import Template

from huggingface_hub import DatasetCard, DatasetCardData

from hub_cards.corpus_counts import CorpusCounts, count_corpus
from hub_cards.data_sets import DATA_SETS
from hub_cards.formatting import count, paragraphs, percent, table
from processing.corpora.behaviour import ACTIVITY_PATTERNS
from processing.corpora.bilateral_behaviour import EXTRA_PATTERNS
from processing.prompts_clef import ACTION_UNITS, activity_text

TEMPLATE = Path(__file__).with_name("templates") / "dataset_card.md"
COLUMNS = {
    "image": "the crop",
    "corpus": "name of the corpus",
    "subject_id": "who: splits go by it, and so should yours",
    "sequence_id": "the clip: a subject's frames of one activity",
    "frame": "number within the clip, counted from 0",
    "activity": "what the subject was asked to do; other reactions occur, see below",
    "expression": "the expression that the action units make",
    "action_units": "intensity of each action unit, 0 to 5; present from 2",
}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
# What each renderer does with the action units of a frame.
MAKING = {
    "synthetic": (
        "An identity (shape of the head, skin, hair, brows, eyes, glasses, beard) is drawn once a subject, a session "
        "(light, background, exposure) once a subject, and pose, gaze, blinks and grain for every frame. The face is a "
        "two-dimensional drawing whose parts move with the action units, antialiased, stored as PNG."
    ),
    "ict_facekit": (
        "An identity is drawn once a subject: coefficients of the ICT-FaceKit model's identity modes give the shape; "
        "skin, wrinkles, hair, brows, beard, eyes and glasses are painted by this project. A session (light rig, "
        "background, camera) is drawn once a subject, and pose, gaze, exposure and defects for every frame. The action "
        "units, left and right apart, move the model's blend shapes and deepen their wrinkles; combinations that "
        "cannot coexist are resolved before, so the labels are what is drawn (of the two sides, the stronger; lips "
        "count as parted where the mesh shows a gap). The mesh is rendered with four samples a pixel, cropped by eyes "
        "and nose tip as an alignment of photographs would, and stored without loss as WebP."
    ),
}
MEANING = {
    "subjects": "people, each of whom does all activities",
    "frames": "frames a clip",
    "image_size": "side of the crop in pixels",
    "seed": "of everything",
    "purity": "share of clips in which the subject reacts to the activity rather than as if to another one",
    "off_script": "probability, for each action unit and clip, of a burst that no activity asked for",
}


def write_dataset_card(folder: Path, metadata: dict | None = None, repo_id: str | None = None) -> Path:
    """Writes `README.md` for the Parquet files in the folder, `SPLIT….parquet` at any depth.

    Args:
        metadata: `processing.corpora.schema.corpus_metadata` of the corpus; None: what `folder/metadata.json` holds.
        repo_id: the Hub id it is published under, which the snippet names; None: the folder's name.

    Raises:
        FileNotFoundError: no metadata or no Parquet files. ValueError: people exist in the corpus (it is not ours to
            pass on), a required fact is missing, a subject is in two splits, or the files hold other rows than the
            metadata say.
    """
    folder = Path(folder)
    if metadata is None:
        path = folder / "metadata.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no metadata.json: give the corpus_metadata of what is in it.")
        metadata = json.loads(path.read_text(encoding="utf-8"))
    name = metadata.get("corpus")
    if name not in MAKING:
        raise ValueError(f"got the corpus {name!r}; only drawn ones ({', '.join(MAKING)}) may be published.")
    missing = [key for key in ("options", "action_unit_coding", "crop_recipe") if key not in metadata]
    if missing:
        raise ValueError(f"the corpus' metadata lack {missing}; a card cannot say without how its frames were made.")
    counts = count_corpus(folder)
    expected = {split: n for split, n in metadata.get("rows", {}).items() if split in counts.frames}
    if any(counts.frames[split] != n for split, n in expected.items()):
        raise ValueError(f"the files in {folder} hold {counts.frames} rows, the metadata say {metadata['rows']}.")
    path = folder / "README.md"
    path.write_text(render_dataset_card(metadata, counts, repo_id or folder.resolve().name), encoding="utf-8")
    return path


def render_dataset_card(metadata: dict, counts: CorpusCounts, repo_id: str) -> str:
    """The card as text.

    Args:
        metadata: of the corpus. counts: of its files.
    """
    corpus = metadata["corpus"]
    sections = {
        "metadata": _metadata(metadata, counts, repo_id).to_yaml(),
        "name": repo_id.split("/")[-1],
        "introduction": _introduction(corpus, counts),
        "usage": _usage(counts, repo_id),
        "columns": table(["column", "holds"], [[name, COLUMNS[name]] for name in counts.columns if name in COLUMNS]),
        "splits": _splits(counts),
        "labels": _labels(counts),
        "making": _making(metadata),
        "activities": _activities(corpus),
        "options": _options(metadata),
        "licence": _licence(metadata),
    }
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(sections)
    text = re.sub(r"\n{3,}", "\n\n", text)
    DatasetCard(text)  # parses the metadata as the Hub's client does
    return text


def _metadata(metadata: dict, counts: CorpusCounts, repo_id: str) -> DatasetCardData:
    total = sum(counts.frames.values())
    size = next((name for limit, name in SIZES if total < limit), "1M<n<10M")
    files = [{"split": split, "path": pattern} for split, pattern in counts.patterns.items()]
    return DatasetCardData(
        language="en",
        license={"synthetic": "apache-2.0", "ict_facekit": "mit"}[metadata["corpus"]],
        pretty_name=f"{DATA_SETS[metadata['corpus']].title} ({repo_id.split('/')[-1]})",
        size_categories=size,
        task_categories=["image-classification"],
        annotations_creators=["machine-generated"],
        tags=["clef", "synthetic", "facial-action-units", "facial-expression", "facs"],
        configs=[{"config_name": "default", "data_files": files}],
    )


def _introduction(corpus: str, counts: CorpusCounts) -> str:
    return (
        f"{DATA_SETS[corpus].title[0].upper()}{DATA_SETS[corpus].title[1:]} with exact action units (FACS), "
        f"expressions and activities: {count(sum(counts.frames.values()), 'frame')} of "
        f"{count(sum(counts.subjects.values()), 'person', 'people')} who do not exist. Written by `clef push-corpus`."
    )


def _usage(counts: CorpusCounts, repo_id: str) -> str:
    split = next(iter(counts.frames))
    return f"""```python
from datasets import load_dataset

faces = load_dataset("{repo_id}", split="{split}")
row = faces[0]
print(row["subject_id"], row["activity"], row["expression"], row["action_units"], row["image"].size)
```"""


def _splits(counts: CorpusCounts) -> str:
    rows = [[split, f"{counts.subjects[split]:,}", f"{n:,}"] for split, n in counts.frames.items()]
    return paragraphs("No person is in two splits.", table(["split", "people", "frames"], rows))


def _labels(counts: CorpusCounts) -> str:
    rows = [[f"{name} {ACTION_UNITS[name].name}", percent(rate)] for name, rate in counts.base_rates.items()]
    units = table(["action unit", "percent of frames with it"], rows)
    faces = table(["expression", "frames"], [[name, f"{n:,}"] for name, n in counts.expressions.items()])
    return paragraphs(units, faces)


def _making(metadata: dict) -> str:
    again = ", ".join(f"{key}={value!r}" for key, value in metadata["options"].items())
    face_model = metadata.get("face_model")
    model = f" The face model's fingerprint is `{face_model}`; its files are not in here." if face_model else ""
    return paragraphs(
        "A frame is a function of seed, subject, activity and its number, and of the options below: nothing is "
        "recorded and nothing was chosen or labelled by hand. First, it is decided what the subject does: the "
        "activity, or with some probability another one instead, draws out action units in one of three ways, each "
        "with an onset, an apex and an offset; people differ in how much they show and in what they show at rest.",
        MAKING[metadata["corpus"]] + model,
        f'The crop recipe is "{metadata["crop_recipe"]}"; action units are coded as '
        f"{metadata['action_unit_coding']}. The expression is the one that the intensities make, neutral when none is "
        "strong enough. The same frames come from this project's code with:",
        f'```python\nfrom processing.corpora import load_corpus\n\nload_corpus("{metadata["corpus"]}", {again})\n```',
    )


def _activities(corpus: str) -> str:
    rows = []
    for activity, ways in ACTIVITY_PATTERNS.items():
        units = " or ".join(" ".join(sorted(way, key=_number)) for way in ways)
        if corpus == "ict_facekit":
            units += "; also " + " ".join(sorted(EXTRA_PATTERNS.get(activity, {}), key=_number))
        rows.append([activity, activity_text(activity), units])
    return table(["activity", "as a sentence", "may draw out"], rows)


def _number(unit: str) -> int:
    return int(unit.removeprefix("AU"))


def _options(metadata: dict) -> str:
    rows = [[key, str(value), MEANING.get(key, "")] for key, value in metadata["options"].items() if key != "variation"]
    variation = metadata["options"].get("variation") or {}
    parts = [table(["option", "value", "meaning"], rows)]
    if variation:
        off = [name for name, on in variation.items() if not on]
        varied = ", ".join(name.replace("_", " ") for name, on in variation.items() if on) or "nothing"
        parts.append(f"What varies: {varied}. Switched off: {', '.join(off).replace('_', ' ') or 'nothing'}.")
    return paragraphs(*parts)


def _licence(metadata: dict) -> str:
    terms = metadata.get("licence") or DATA_SETS[metadata["corpus"]].terms
    return f"The frames: {terms}. The code that made them: Apache-2.0."
