"""What a run answered for every frame of its validation and test subjects, as `predictions.parquet`.

Everything that is computed after a run (scores, intervals over subjects, comparisons of two runs) starts from this
file; neither pictures nor weights are needed again. One row a frame: split ("validation" or "test"), row (of the split
as it was loaded, from 0; frames that cannot be decoded count, those of held-out expressions do not), subject_id,
sequence_id, frame, face_found, `groups.NAME` where the corpus has groups, and of every label `SET.LABEL.logit`
(uncalibrated), `….probability` (calibrated) and `….label` (1, 0, null = unknown). What was fitted on the validation
subjects (thresholds, temperatures, calibration biases) stands in the schema metadata as JSON.
What each epoch would have scored is beside it in `epochs.jsonl`, see `epoch_scores`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset

from modeling_clef.calibration_clef import calibrated_probabilities
from train_scripts.labels import label_matrix

FILE = "predictions.parquet"
METADATA_KEY = b"clef_predictions"
VERSION = 1
KEPT = ("name", "problem_type", "labels", "thresholds", "temperatures", "calibration_biases")


@dataclass
class Predictions:
    """A run's answers; all arrays have one row a frame, in the order of the file.

    Attributes:
        label_sets: "name", "problem_type", "labels", "thresholds", "temperatures", "calibration_biases" of each set, as
            in the model's configuration, fitted on the validation subjects.
        subject_ids: (N,) str.
        logits: (N, K) float32 uncalibrated, over all label sets side by side.
        labels: (N, K) float32 in {0, 1}, NaN = unknown.
        splits: (N,) str, "validation" or "test".
        face_found: (N,) bool; False where the detector found none, so that the model answered for something else.
        groups: name such as "gender" → (N,) str, "" = unknown.
        fold: number of the fold, None without folds.
        sequence_ids, frames, rows: (N,) str, int64, int64; which frame it is, and its row in its split as
            it was loaded, see above. By default no sequence, and frames and rows numbered through.
        unreadable: split → how many of its frames are missing here, as their image cannot be decoded.

    Raises:
        ValueError: arrays of other lengths.
    """

    label_sets: list[dict]
    subject_ids: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    face_found: np.ndarray
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    fold: int | None = None
    sequence_ids: np.ndarray | None = None
    frames: np.ndarray | None = None
    rows: np.ndarray | None = None
    unreadable: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        count = len(self.subject_ids)
        width = sum(len(label_set["labels"]) for label_set in self.label_sets)
        if self.sequence_ids is None:
            self.sequence_ids = np.full(count, "")
        self.frames = np.arange(count) if self.frames is None else self.frames
        self.rows = np.arange(count) if self.rows is None else self.rows
        for name in ("logits", "labels"):
            if getattr(self, name).shape != (count, width):
                raise ValueError(f"{name}: got shape {getattr(self, name).shape}, expected {(count, width)}.")
        singles = {n: getattr(self, n) for n in ("splits", "face_found", "sequence_ids", "frames", "rows")}
        for name, values in (singles | self.groups).items():
            if len(values) != count:
                raise ValueError(f"{name}: got {len(values)} values for {count} frames.")

    def select(self, chosen: np.ndarray) -> "Predictions":
        """The frames that a mask or row numbers choose."""
        names = ("subject_ids", "logits", "labels", "splits", "face_found", "sequence_ids", "frames", "rows")
        parts = {name: getattr(self, name)[chosen] for name in names}
        groups = {name: values[chosen] for name, values in self.groups.items()}
        return Predictions(self.label_sets, groups=groups, fold=self.fold, unreadable=self.unreadable, **parts)

    def split(self, name: str) -> "Predictions":
        """The frames of "validation" or "test"."""
        return self.select(self.splits == name)


def gather_predictions(
    label_sets: list[dict], parts: dict[str, tuple[Dataset, np.ndarray]], fold: int | None = None
) -> Predictions:
    """Predictions of several splits.

    Args:
        label_sets: of the model's configuration, with what has been fitted on the validation subjects.
        parts: split → (its frames, (N, K) uncalibrated logits of them).
    """
    pieces = []
    for split, (corpus, logits) in parts.items():
        known = ("subject_id", "sequence_id", "frame", "face_found", "groups")
        facts = corpus.select_columns([name for name in known if name in corpus.column_names])[:]
        count = len(corpus)
        found = facts.get("face_found", [True] * count)
        groups = facts.get("groups", [{}] * count)
        pieces.append(
            {
                "subject_ids": _strings(facts["subject_id"]),
                "logits": np.asarray(logits, dtype=np.float32),
                "labels": label_matrix(corpus, label_sets),
                "splits": np.full(count, split),
                "face_found": np.array([value is not False for value in found], dtype=bool),
                "sequence_ids": _strings(facts["sequence_id"]),
                "frames": np.array([-1 if frame is None else frame for frame in facts["frame"]], dtype=np.int64),
                "rows": np.arange(count),
                "groups": {name: _strings([row[name] for row in groups]) for name in (groups[0] if count else {})},
            }
        )
    groups = {name: np.concatenate([piece["groups"][name] for piece in pieces]) for name in pieces[0]["groups"]}
    arrays = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0] if name != "groups"}
    kept = [{key: label_set.get(key) for key in KEPT} for label_set in label_sets]
    return Predictions(kept, groups=groups, fold=fold, **arrays)


def write_predictions(folder: Path, predictions: Predictions) -> Path:
    """Writes `folder/predictions.parquet` atomically."""
    columns = {
        "split": predictions.splits,
        "row": predictions.rows,
        "subject_id": predictions.subject_ids,
        "sequence_id": predictions.sequence_ids,
        "frame": predictions.frames,
        "face_found": predictions.face_found,
    }
    columns |= {f"groups.{name}": values for name, values in predictions.groups.items()}
    probabilities = calibrated_probabilities(torch.from_numpy(predictions.logits), predictions.label_sets).numpy()
    for i, name in enumerate(_label_columns(predictions.label_sets)):
        columns[f"{name}.logit"] = predictions.logits[:, i]
        columns[f"{name}.probability"] = probabilities[:, i]
        columns[f"{name}.label"] = pa.array(predictions.labels[:, i], from_pandas=True)  # NaN → null
    metadata = {"version": VERSION, "fold": predictions.fold, "label_sets": predictions.label_sets}
    metadata["unreadable"] = predictions.unreadable
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(metadata).encode()})
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (FILE + ".partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(folder / FILE)
    return folder / FILE


def read_predictions(folder: Path) -> Predictions:
    """Reads `folder/predictions.parquet`.

    Raises:
        FileNotFoundError: there is none. ValueError: it is another kind of Parquet file, or of a later version.
    """
    path = Path(folder, FILE)
    if not path.is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} holds no {FILE}. finetune.py writes it at its end; for an older run: "
            f"`python train_scripts/evaluate.py {folder} --predictions true`."
        )
    table = pq.read_table(path)
    try:
        metadata = json.loads(table.schema.metadata[METADATA_KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say what its labels are: it was not written by this project.") from error
    if metadata["version"] != VERSION:
        raise ValueError(f"{path} is of version {metadata['version']}, expected {VERSION}: write it again.")
    names = _label_columns(metadata["label_sets"])

    def strings(column):
        return np.array(table[column].to_pylist(), dtype=str)

    def matrix(kind):
        return np.stack([table[f"{name}.{kind}"].to_numpy().astype(np.float32) for name in names], axis=1)

    return Predictions(
        label_sets=metadata["label_sets"],
        subject_ids=strings("subject_id"),
        logits=matrix("logit"),
        labels=matrix("label"),
        splits=strings("split"),
        face_found=table["face_found"].to_numpy().astype(bool),
        groups={c.removeprefix("groups."): strings(c) for c in table.column_names if c.startswith("groups.")},
        fold=metadata["fold"],
        sequence_ids=strings("sequence_id"),
        frames=table["frame"].to_numpy(),
        rows=table["row"].to_numpy(),
        unreadable=metadata.get("unreadable", {}),  # not in older files
    )


def _label_columns(label_sets: list[dict]) -> list[str]:
    return [f"{label_set['name']}.{label}" for label_set in label_sets for label in label_set["labels"]]


def _strings(values: list) -> np.ndarray:
    return np.array(["" if value is None else value for value in values], dtype=str)
