"""Folders that train_scripts/prepare.py writes: aligned crops of a data set as Parquet shards, and metadata.json.

Every face of the official files is a row, those without a usable picture too: a frame in which no face is found counts
in the denominators of an evaluation. Beside the corpus schema a row says

* split: the official split; null where the set has none.
* face_found: whether the crop is aligned on a face (true throughout where nothing was searched for).
* crop_origin: one of `CROP_ORIGINS`.
* faces_seen: how many faces the detector saw; null where it was not asked.
* trouble: why there is no face, null where there is one.

`image` carries the name of the official file, relative to the root, as its path; `#12` after a video's name is the
0-based index of its frame.
"""

import json
from pathlib import Path

import datasets
import numpy as np
from datasets.exceptions import DatasetGenerationError

from processing.corpora.official import OfficialCorpus
from processing.corpora.official_rows import json_options, official_features
from processing.corpora.shards import Shard, Task, missing_shards, open_shards, unreadable_shards

METADATA_FILE = "metadata.json"
FORMAT = 1

GIVEN = "points of the set"  # aligned on landmarks that the set ships
DETECTED = "detected"  # aligned on the detector's landmarks
AS_IT_IS = "as it is"  # only scaled: the set's own crop or whole picture
NO_FACE = "no face"  # scaled: the square around the set's box, else the picture's central square
UNREADABLE = "unreadable"  # plain grey
CROP_ORIGINS = (GIVEN, DETECTED, AS_IT_IS, NO_FACE, UNREADABLE)

REST = "all"  # name of the files of rows without an official split

# Of metadata.json, what says how the folder was made rather than what the rows are.
_ABOUT_THE_FOLDER = ("prepared_format", "complete", "shards", "settings")


def prepared_features(corpus: OfficialCorpus) -> datasets.Features:
    return datasets.Features(
        {
            **official_features(corpus),
            "face_found": datasets.Value("bool"),
            "crop_origin": datasets.Value("string"),
            "faces_seen": datasets.Value("int16"),
            "trouble": datasets.Value("string"),
        }
    )


def read_prepared_metadata(folder: str | Path) -> dict | None:
    """metadata.json of a folder that prepare.py began or finished; None for any other folder."""
    try:
        metadata = json.loads(Path(folder, METADATA_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return metadata if isinstance(metadata, dict) and "prepared_format" in metadata else None


def load_prepared(folder: str | Path, name: str = "prepared", options: dict | None = None) -> datasets.Dataset:
    """All rows of a prepared folder, memory-mapped.

    Args:
        name: the data set that is expected there; "prepared": whatever it is.
        options: the adapter's options that are expected; those left out may be anything.

    Raises FileNotFoundError for a folder that prepare.py did not write, ValueError for one that is not finished or
    damaged, holds another data set or was read with other options, and TypeError for an option that JSON cannot hold.
    """
    folder = Path(folder)
    metadata = read_prepared_metadata(folder)
    if metadata is None:
        raise FileNotFoundError(
            f"{str(folder)!r} is no prepared folder: it has no {METADATA_FILE} of train_scripts/prepare.py"
        )
    _refuse_other_contents(folder, metadata, name, options or {})
    shards = [Shard(file, (Task(None, rows),)) for file, rows in metadata["shards"].items()]
    if not metadata["complete"] or missing_shards(folder, shards):
        state = "is damaged" if metadata["complete"] else "is not finished"
        raise ValueError(f"{str(folder)!r} {state}: run `{prepare_command(metadata, folder)}` to complete it")
    try:
        dataset = open_shards(folder, shards)
    except DatasetGenerationError as error:
        broken = [shard.name for shard in unreadable_shards(folder, shards)]
        if not broken:
            raise
        raise ValueError(
            f"{str(folder)!r} is damaged: {', '.join(broken[:5])} cannot be read ({len(broken)} of {len(shards)} "
            f"files). Delete what cannot be read and run `{prepare_command(metadata, folder)}` to complete it"
        ) from error
    about = {key: value for key, value in metadata.items() if key not in _ABOUT_THE_FOLDER}
    dataset.info.description = json.dumps(about)
    return dataset


def rows_with_faces(dataset: datasets.Dataset) -> datasets.Dataset:
    """The rows to learn from: of a prepared corpus those whose face was found, of others all."""
    if "face_found" not in dataset.column_names:
        return dataset
    found = np.array(dataset["face_found"][:], dtype=bool)
    return dataset if found.all() else dataset.select(np.flatnonzero(found))


def prepare_command(metadata: dict, folder: str | Path) -> str:
    """The command that wrote, or goes on writing, a prepared folder."""
    settings = metadata["settings"]
    words = ["python train_scripts/prepare.py", metadata["corpus"], "--root ROOT", f"--output {folder}"]
    words += [f"--size {settings['size']}", f"--detector {settings['detector']}"]
    if settings["limit"]:
        words.append(f"--limit {settings['limit']}")
    if metadata["options"]:
        words.append(f"--corpus_options '{json.dumps(metadata['options'])}'")
    return " ".join(words)


def _refuse_other_contents(folder: Path, metadata: dict, name: str, options: dict) -> None:
    if metadata["prepared_format"] != FORMAT:
        raise ValueError(
            f"{str(folder)!r} has format {metadata['prepared_format']!r}, expected {FORMAT}; prepare it again"
        )
    if name not in ("prepared", metadata["corpus"]):
        raise ValueError(f"{str(folder)!r} holds crops of {metadata['corpus']!r}, not of {name!r}")
    options = json_options(options)
    asked = {key: value for key, value in options.items() if metadata["options"].get(key) != value}
    if asked:
        raise ValueError(
            f"{str(folder)!r} was prepared with the options {metadata['options']}, but {asked} was asked for; prepare "
            "another folder with those, or leave them out"
        )
