"""An adapter's records as rows of the corpus schema."""

import io
import json
import os
from collections.abc import Sequence

import datasets
import numpy as np
from PIL import Image

from processing.corpora.official import FaceRecord, OfficialCorpus
from processing.corpora.schema import face_features


def official_features(corpus: OfficialCorpus) -> datasets.Features:
    """The corpus schema and `split`: the official split's name, null where the set has none."""
    groups = sorted({group for record in corpus.records for group in record.groups})
    schema = face_features(corpus.action_units, groups, corpus.own_labels)
    return datasets.Features({**schema, "split": datasets.Value("string")})


def label_columns(name: str, features: datasets.Features, records: Sequence[FaceRecord]) -> dict[str, list]:
    """Columns of `records` as `official_features` describes them, all but `image`."""
    columns = {
        "corpus": [name] * len(records),
        "subject_id": [record.subject_id for record in records],
        "sequence_id": [record.sequence_id for record in records],
        "frame": [record.frame for record in records],
        "activity": [record.activity for record in records],
        "expression": [record.expression for record in records],
        "split": [record.split for record in records],
    }
    for column in {"action_units", "groups", "own_labels"} & set(features):  # a struct without a field cannot be stored
        columns[column] = [{key: getattr(record, column).get(key) for key in features[column]} for record in records]
    return columns


def official_metadata(corpus: OfficialCorpus, options: dict) -> dict:
    """What a corpus says about itself, without `crop_recipe`; `options`: all that it was read with, as JSON has it."""
    return {
        "corpus": corpus.name,
        "action_unit_coding": corpus.action_unit_coding,
        "action_units": list(corpus.action_units),
        "licence": corpus.licence,
        "options": options,
        "reading_report": corpus.report.as_dict(),
    }


def json_options(options: dict) -> dict:
    """Options of an adapter as metadata.json gives them back: tuples as lists, paths as text.

    Raises TypeError for a value that JSON cannot hold and that is no path.
    """
    return json.loads(json.dumps(options, default=os.fspath))


def uncropped_recipe(corpus: OfficialCorpus) -> str:
    """The name of the crop geometry of a set's pictures as they are: "NAME-aligned" or "NAME-uncropped"."""
    aligned = all(record.aligned for record in corpus.records)
    return f"{corpus.name}-{'aligned' if aligned else 'uncropped'}"


def lossless_webp(pixels: np.ndarray) -> bytes:
    """uint8 (H, W) or (H, W, 3) as an image file; WebP's fastest setting is faster and smaller than PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(buffer, format="WEBP", lossless=True, method=0, quality=0)
    return buffer.getvalue()
