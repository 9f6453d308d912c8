"""Data sets with official files: which function reads which, and their rows without preparing crops."""

import inspect
import json
import logging
from collections.abc import Callable
from pathlib import Path

import datasets

from processing.corpora.affectnet import read_affectnet
from processing.corpora.bp4d import read_bp4d
from processing.corpora.bp4d_plus import read_bp4d_plus
from processing.corpora.disfa import read_disfa
from processing.corpora.ferplus import read_ferplus
from processing.corpora.image_folder import read_image_folder
from processing.corpora.official import FaceRecord, OfficialCorpus
from processing.corpora.official_rows import (
    json_options,
    label_columns,
    lossless_webp,
    official_features,
    official_metadata,
    uncropped_recipe,
)
from processing.corpora.raf_db import read_raf_db
from processing.corpora.splits import check_options

READERS: dict[str, Callable[..., OfficialCorpus]] = {
    "bp4d": read_bp4d,
    "bp4d_plus": read_bp4d_plus,
    "disfa": read_disfa,
    "raf_db": read_raf_db,
    "affectnet": read_affectnet,
    "ferplus": read_ferplus,
    "image_folder": read_image_folder,
}


def read_official(name: str, root: str | Path, **options) -> OfficialCorpus:
    """All faces of a data set's official files, by its adapter `read_NAME`, which lists the `options`.

    Raises ValueError for an unknown name and for files without a single face, TypeError for an unknown option, and
    what the adapter raises: FileNotFoundError for a folder that is not the set's root.
    """
    if name not in READERS:
        raise ValueError(f"there is no data set {name!r}; there are: {', '.join(map(repr, READERS))}")
    corpus = READERS[name](Path(root), **all_options(name, options))
    if not corpus.records:
        found = "; ".join(corpus.report.lines()) or "its label files hold no rows"
        raise ValueError(f"no face of {name} could be read from {str(root)!r}: {found}")
    return corpus


def all_options(name: str, options: dict) -> dict:
    """`options` with the adapter's defaults for those left out, by `json_options`.

    Raises TypeError for an unknown option and for a value that JSON cannot hold.
    """
    _root, *parameters = inspect.signature(READERS[name]).parameters.values()
    known = {parameter.name: parameter.default for parameter in parameters}
    check_options(name, options, known)
    return json_options(known | options)


def load_official(name: str, root: str | Path, options: dict) -> datasets.Dataset:
    """The official pictures themselves, by their paths: uncropped, or the set's own aligned crops.

    `crop_recipe` in the metadata is "NAME-aligned" or "NAME-uncropped". What the adapter could not use is logged, and
    kept in the metadata as "reading_report".

    Raises ValueError for a set that ships videos, besides what `read_official` raises.
    """
    corpus = read_official(name, root, **options)
    if any(record.video is not None for record in corpus.records):
        extra = f" --corpus_options '{json.dumps(json_options(options))}'" if options else ""
        raise ValueError(
            f"{str(root)!r} holds videos, whose frames cannot be read in any order; prepare crops with "
            f"`python train_scripts/prepare.py {name} --root {root} --output FOLDER{extra}`, then give FOLDER as root"
        )
    for line in corpus.report.lines():
        logging.getLogger(__name__).warning("%s: %s", name, line)
    features = official_features(corpus)
    columns = {"image": [_picture(record) for record in corpus.records]}
    columns |= label_columns(name, features, corpus.records)
    dataset = datasets.Dataset.from_dict(columns, features=features)
    metadata = official_metadata(corpus, all_options(name, options)) | {"crop_recipe": uncropped_recipe(corpus)}
    dataset.info.description = json.dumps(metadata)
    return dataset


def _picture(record: FaceRecord) -> dict:
    if record.image is not None:
        return {"bytes": None, "path": str(record.image)}
    return {"bytes": lossless_webp(record.pixels), "path": None}
