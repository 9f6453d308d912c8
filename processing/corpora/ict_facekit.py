"""The ict_facekit corpus: subjects x 8 activities x frames of three-dimensional faces with exact AUs.

Rendered from the ICT-FaceKit face model (MIT licence), which is not part of this project. As with the synthetic corpus,
activities are defined by AU patterns: results on it are partly true by construction and say nothing about recorded
faces.
"""

import functools
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
from datasets.exceptions import DatasetGenerationError
from filelock import FileLock
from PIL import Image

from processing.corpora.behaviour import ACTIVITIES
from processing.corpora.bilateral_behaviour import ACTION_UNITS, clip_sides, name_expressions
from processing.corpora.cache_folders import cache_root, make_cache_folder
from processing.corpora.ict_faces import CROP_RECIPE, FaceRenderer, renderer_sources
from processing.corpora.ict_identity import sample_identity
from processing.corpora.ict_model import FaceModel, load_face_model
from processing.corpora.ict_nuisance import Variation, sample_clip_nuisances, sample_session
from processing.corpora.random_streams import CLIP_NUISANCE, IDENTITY, SESSION, random_generator
from processing.corpora.schema import face_features
from processing.corpora.shards import (
    Shard,
    Task,
    missing_shards,
    open_shards,
    plan_shards,
    unreadable_shards,
    write_shards,
)
from processing.corpora.splits import (
    SPLITS,
    available_cores,
    check_integer,
    check_share,
    check_split,
    split_subjects,
)

METADATA_FILE = "metadata.json"
ROWS_PER_TASK = 256  # what a process renders at once: some 5 MB of images at 96 px
LICENCE = "rendered from the ICT-FaceKit face model, MIT licence, Copyright (c) USC Institute for Creative Technologies"


def load_ict_facekit(
    root: str | None = None,
    split: str | None = None,
    subjects: int = 120,
    frames: int = 20,
    image_size: int = 96,
    seed: int = 0,
    purity: float = 0.9,
    off_script: float = 0.06,
    variation: dict[str, bool] | None = None,
    cache_dir: str | None = None,
    num_proc: int | None = None,
) -> datasets.Dataset:
    """Render the ict_facekit corpus, or take it from the cache.

    Rows are ordered by subject, activity and frame within a split; without `split` the splits follow one another. A
    clip depends on its seed, subject, activity and the options that concern it, not on how many processes rendered it
    or how many subjects there are. Only the splits asked for are rendered. They are kept as Parquet shards of about
    3,000 faces, which a run that was killed need not render again, and as `datasets`' memory-mapped copy of those.

    Args:
        root: the face model, see `processing.corpora.ict_model.load_face_model`; default: the environment variable
            CLEF_ICT_FACEKIT.
        split: "train", "validation" or "test" (2/3, 1/9 and 2/9 of the subjects, at least one each), or None for all.
        subjects: how many, at least 3; each does all 8 activities.
        frames: frames a clip, evenly spaced. Events begin at about the same times in all clips: two frames lie near the
            apexes of two events (1 % of the faces show no AU above 1.3), twenty show all of a clip (11 %).
        image_size: 32..512 pixels.
        purity: share of clips in which the subject reacts to the activity rather than as if to another one.
        off_script: probability, for each AU and clip, of a burst that the activity did not ask for.
        variation: switches of `processing.corpora.ict_nuisance.Variation` by name; those left out are on.
        cache_dir: where rendered corpora are kept; default: the datasets library's cache.
        num_proc: processes that render; default: all cores.

    Raises ValueError for options outside these ranges, FileNotFoundError when the face model is missing, OSError where
    the rendered corpus cannot be kept.
    """
    check_split(split)
    check_integer("subjects", subjects, 3, 100_000)
    check_integer("frames", frames, 1, 10_000)
    check_integer("image_size", image_size, 32, 512)
    check_integer("seed", seed, 0, 2**63 - 1)
    check_share("purity", purity)
    check_share("off_script", off_script)
    if num_proc is not None:
        check_integer("num_proc", num_proc, 1, 100_000)
    options = {
        "subjects": int(subjects),
        "frames": int(frames),
        "image_size": int(image_size),
        "seed": int(seed),
        "purity": float(purity),
        "off_script": float(off_script),
        "variation": Variation.of(variation).switches(),
    }
    model = load_face_model(root, cache_dir)
    members = split_subjects(options["subjects"], options["seed"])
    metadata = {
        "corpus": "ict_facekit",
        "crop_recipe": CROP_RECIPE,
        "action_unit_coding": "intensity",
        "action_units": list(ACTION_UNITS),
        "options": options,
        "splits": {name: [_subject_id(number) for number in numbers] for name, numbers in members.items()},
        "rows": {name: len(numbers) * len(ACTIVITIES) * options["frames"] for name, numbers in members.items()},
        "face_model": model.fingerprint,
        "licence": LICENCE,
    }
    wanted = SPLITS if split is None else (split,)
    plans = {name: _plan(name, members[name], options["frames"]) for name in wanted}
    folder = cache_root(cache_dir) / "clef-ict_facekit" / _fingerprint(options, model.fingerprint)
    shards = [shard for plan in plans.values() for shard in plan]
    # Nothing is written where nothing is missing: the cache may be read-only.
    if missing_shards(folder, shards):
        _render(folder, shards, metadata, model, num_proc)
    try:
        parts = _open(folder, plans)
    except DatasetGenerationError:
        broken = unreadable_shards(folder, shards)
        if not broken:  # a full disk, say
            raise
        _render(folder, shards, metadata, model, num_proc, broken)
        parts = _open(folder, plans)
    dataset = parts[0] if split is not None else datasets.concatenate_datasets(parts)
    dataset.info.description = json.dumps(metadata)
    return dataset


def render_rows(renderer: FaceRenderer, options: dict, key: tuple[int, int, int]) -> dict[str, list]:
    """Columns of the rows `start` to `stop` of a subject, key = (subject, start, stop); images as lossless WebP bytes.

    Row r of a subject is frame r % frames of activity r // frames. A function of its arguments alone: where a subject
    is cut makes no difference.
    """
    subject, start, stop = key
    seed, frames = options["seed"], options["frames"]
    variation = Variation(**options["variation"])
    person = renderer.person(sample_identity(random_generator(seed, IDENTITY, subject)), variation)
    session = sample_session(random_generator(seed, SESSION, subject))
    images, intensities = [], []
    for activity in range(start // frames, (stop - 1) // frames + 1):
        part = slice(max(start - activity * frames, 0), min(stop - activity * frames, frames))
        sides = clip_sides(seed, subject, activity, frames, options["purity"], options["off_script"])
        rng = random_generator(seed, CLIP_NUISANCE, subject, activity)
        nuisances = sample_clip_nuisances(rng, session, frames, variation)
        faces = renderer.render(person, nuisances[part], sides[part], options["image_size"])
        images += [{"bytes": _lossless(image), "path": None} for image in faces.images]
        intensities.append(faces.action_units)
    action_units = np.concatenate(intensities)
    name = _subject_id(subject)
    activities = [ACTIVITIES[row // frames] for row in range(start, stop)]
    return {
        "image": images,
        "corpus": ["ict_facekit"] * len(images),
        "subject_id": [name] * len(images),
        "sequence_id": [f"{name}_{activity}" for activity in activities],
        "frame": [row % frames for row in range(start, stop)],
        "activity": activities,
        "expression": name_expressions(action_units),
        "action_units": [dict(zip(ACTION_UNITS, row, strict=True)) for row in action_units.tolist()],
    }


def _render(
    folder: Path,
    shards: list[Shard],
    metadata: dict,
    model: FaceModel,
    num_proc: int | None,
    broken: Sequence[Shard] = (),
) -> None:
    """Write those of `shards` that are missing or `broken`, unless another process did while this one waited."""
    options = metadata["options"]
    make_cache_folder(folder)
    with FileLock(f"{folder}.lock"):
        broken = unreadable_shards(folder, broken)
        if not broken and not missing_shards(folder, shards):
            return
        (folder / METADATA_FILE).write_text(json.dumps(metadata))
        title = f"rendering ict_facekit faces ({options['image_size']} px)"
        make_rows = functools.partial(render_rows, _ready_renderer(model, options), options)
        features = face_features(ACTION_UNITS)
        write_shards(folder, shards, features, make_rows, num_proc or available_cores(), title, anew=broken)


def _open(folder: Path, plans: dict[str, list[Shard]]) -> list[datasets.Dataset]:
    return [open_shards(folder, plan, face_features(ACTION_UNITS), split) for split, plan in plans.items()]


def _plan(split: str, numbers: list[int], frames: int) -> list[Shard]:
    rows = len(ACTIVITIES) * frames
    pieces = [(start, min(start + ROWS_PER_TASK, rows)) for start in range(0, rows, ROWS_PER_TASK)]
    return plan_shards(split, [Task((number, *piece), piece[1] - piece[0]) for number in numbers for piece in pieces])


def _ready_renderer(model: FaceModel, options: dict) -> FaceRenderer:
    """A renderer that has drawn: what is compiled at the first face is there before processes are forked."""
    renderer = FaceRenderer(model)
    render_rows(renderer, options, (0, 0, 1))
    return renderer


def source_files() -> list[Path]:
    """The files that decide what is in the corpus."""
    return [
        *renderer_sources(),
        *(Path(__file__).with_name(f"{name}.py") for name in ("cache_folders", "schema", "shards", "splits")),
    ]


def _fingerprint(options: dict, face_model: str) -> str:
    """Of the options, the face model and the code that draws: a cached corpus never outlives what made it."""
    digest = hashlib.sha256(json.dumps([CROP_RECIPE, options, face_model], sort_keys=True).encode())
    for file in source_files():
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _lossless(image: np.ndarray) -> bytes:
    # WebP's fastest setting takes half the time of PNG's and a sixth less space on these faces.
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", lossless=True, method=0, quality=0)
    return buffer.getvalue()


def _subject_id(number: int) -> str:
    return f"I{number:04d}"
