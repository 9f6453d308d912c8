"""The synthetic corpus: subjects x 8 activities x frames of drawn faces with exact AUs.

It validates software and shows what a method does when its premise holds: activities are defined by AU patterns, so
results on it are partly true by construction and say nothing about recorded faces.
"""

import hashlib
import io
import json
import multiprocessing
import os
import secrets
import shutil
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from datasets.utils import tqdm
from filelock import FileLock
from PIL import Image

from processing.corpora.behaviour import ACTION_UNITS, ACTIVITIES, clip_action_units, name_expressions
from processing.corpora.cache_folders import cache_root, make_cache_folder
from processing.corpora.random_streams import CLIP_NUISANCE, IDENTITY, SESSION, random_generator
from processing.corpora.schema import face_features
from processing.corpora.splits import (
    SPLITS,
    available_cores,
    check_integer,
    check_share,
    check_split,
    split_subjects,
)
from processing.corpora.synthetic_faces import render_faces
from processing.corpora.synthetic_identity import sample_identity
from processing.corpora.synthetic_nuisance import sample_clip_nuisances, sample_session

CROP_RECIPE = "synthetic-1"
METADATA_FILE = "metadata.json"


def load_synthetic(
    split: str | None = None,
    subjects: int = 72,
    frames: int = 20,
    image_size: int = 48,
    seed: int = 0,
    purity: float = 0.9,
    off_script: float = 0.06,
    cache_dir: str | None = None,
    num_proc: int | None = None,
) -> datasets.Dataset:
    """Render the synthetic corpus, or take it from the cache.

    Rows are ordered by subject, activity and frame within a split; without `split` the splits follow one another. A
    clip depends on its seed, subject, activity and the options that concern it, not on how many processes rendered it
    or how many subjects there are.

    Args:
        split: "train", "validation" or "test" (2/3, 1/9 and 2/9 of the subjects, at least one each), or None for all.
        subjects: how many, at least 3; each does all 8 activities.
        frames: frames a clip.
        image_size: 32..256 pixels.
        purity: share of clips in which the subject reacts to the activity rather than as if to another one.
        off_script: probability, for each AU and clip, of a burst that the activity did not ask for.
        cache_dir: where rendered corpora are kept; default: the datasets library's cache.
        num_proc: processes that render; default: all cores.

    Raises ValueError for options outside these ranges, OSError where the rendered corpus cannot be kept.
    """
    check_split(split)
    check_integer("subjects", subjects, 3, 100_000)
    check_integer("frames", frames, 1, 10_000)
    check_integer("image_size", image_size, 32, 256)
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
    }
    folder = cache_root(cache_dir) / "clef-synthetic" / _fingerprint(options)
    # Nothing is written where nothing is missing: the cache may be read-only.
    if not _is_complete(folder):
        make_cache_folder(folder.parent)
        # One process renders, the others of the same launch wait for it.
        with FileLock(f"{folder}.lock"):
            if not _is_complete(folder):
                _render_corpus(folder, options, num_proc or available_cores())
    parts = [_open_split(folder, name) for name in (SPLITS if split is None else (split,))]
    if split is not None:
        return parts[0]
    everything = datasets.concatenate_datasets(parts)
    everything.info.description = parts[0].info.description
    return everything


def render_clip(subject: int, activity: int, options: dict) -> dict[str, list]:
    """Columns of one clip, images as PNG bytes; a function of its arguments alone."""
    seed, frames = options["seed"], options["frames"]
    intensities = clip_action_units(seed, subject, activity, frames, options["purity"], options["off_script"])
    identity = sample_identity(random_generator(seed, IDENTITY, subject))
    session = sample_session(random_generator(seed, SESSION, subject))
    nuisances = sample_clip_nuisances(random_generator(seed, CLIP_NUISANCE, subject, activity), session, frames)
    images = render_faces([identity] * frames, nuisances, intensities, options["image_size"])
    return {
        "image": [{"bytes": _png(image), "path": None} for image in images],
        "corpus": ["synthetic"] * frames,
        "subject_id": [_subject_id(subject)] * frames,
        "sequence_id": [f"{_subject_id(subject)}_{ACTIVITIES[activity]}"] * frames,
        "frame": list(range(frames)),
        "activity": [ACTIVITIES[activity]] * frames,
        "expression": name_expressions(intensities),
        "action_units": [dict(zip(ACTION_UNITS, row, strict=True)) for row in intensities.tolist()],
    }


def _render_corpus(folder: Path, options: dict, num_proc: int) -> None:
    """Render everything into a temporary folder and rename it: `folder` is there as a whole or not at all."""
    # Whoever holds the lock is alone: what lies here was left by a run that was killed.
    for leftover in folder.parent.glob(f"{folder.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        members = split_subjects(options["subjects"], options["seed"])
        schema = face_features(ACTION_UNITS).arrow_schema
        rows_per_subject = len(ACTIVITIES) * options["frames"]
        size = options["image_size"]
        total, title = options["subjects"] * rows_per_subject, f"drawing synthetic faces ({size} px)"
        with tqdm(total=total, unit="face", desc=title) as progress:
            for split, numbers in members.items():
                clips = [(subject, activity) for subject in numbers for activity in range(len(ACTIVITIES))]
                with pa.OSFile(str(temporary / f"{split}.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as out:
                    for columns in _map_clips(clips, options, num_proc):
                        out.write_table(pa.table(columns, schema=schema))
                        progress.update(options["frames"])
        metadata = {
            "corpus": "synthetic",
            "crop_recipe": CROP_RECIPE,
            "action_unit_coding": "intensity",
            "action_units": list(ACTION_UNITS),
            "options": options,
            "splits": {split: [_subject_id(number) for number in numbers] for split, numbers in members.items()},
            "rows": {split: len(numbers) * rows_per_subject for split, numbers in members.items()},
        }
        (temporary / METADATA_FILE).write_text(json.dumps(metadata))
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _map_clips(clips: list[tuple[int, int]], options: dict, num_proc: int):
    """Yields `render_clip` of each clip, in order."""
    num_proc = min(num_proc, len(clips))
    subjects, activities = zip(*clips, strict=True)
    repeated_options = [options] * len(clips)
    if num_proc == 1:
        yield from map(render_clip, subjects, activities, repeated_options)
        return
    # Forked workers need no second import of everything; they only run numpy and Pillow. Elsewhere fork is unsafe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(num_proc, mp_context=context) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*use of fork.*", category=DeprecationWarning)
        yield from pool.map(render_clip, subjects, activities, repeated_options)


def _open_split(folder: Path, split: str) -> datasets.Dataset:
    info = datasets.DatasetInfo(description=(folder / METADATA_FILE).read_text(), features=face_features(ACTION_UNITS))
    return datasets.Dataset.from_file(str(folder / f"{split}.arrow"), info=info, split=datasets.NamedSplit(split))


def _is_complete(folder: Path) -> bool:
    """Whether every row that the metadata promise is there; a folder damaged later is rendered again."""
    try:
        rows = json.loads((folder / METADATA_FILE).read_text())["rows"]
        return all(len(_open_split(folder, split)) == rows[split] for split in SPLITS)
    except (OSError, ValueError, KeyError):  # pyarrow's ArrowInvalid is a ValueError
        return False


def _fingerprint(options: dict) -> str:
    """Of the options and of the code that draws: a cached corpus never outlives the renderer that made it."""
    digest = hashlib.sha256(json.dumps([CROP_RECIPE, options], sort_keys=True).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.stem.startswith("synthetic") or file.stem in ("behaviour", "random_streams", "schema", "splits"):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _subject_id(number: int) -> str:
    return f"S{number:03d}"
