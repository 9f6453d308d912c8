"""The table: which columns it has, what they mean, and how the results of a batch become its rows."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from analysis.model import LabelGroup
from analysis.pipeline import Batch
from analysis.stages import FoundFace, FoundFrame
from processing.face_detection_clef import LANDMARKS

BOX = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Column:
    """type: of Arrow. unit: None for what has none."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str | None = None

    def described(self) -> dict:
        return {"name": self.name, "type": str(self.type), "unit": self.unit, "meaning": self.meaning}


FRAME_COLUMNS = (
    Column("source", pa.string(), "the file as it was given (files of folders: with the folder's path), or the camera"),
    Column("frame", pa.int64(), "number of the frame in its source, from 0, frames left out by --every counted too"),
    Column("time_s", pa.float64(), "when the frame is shown, by the container's clock; empty for still images", "s"),
    Column("frame_width", pa.int32(), "width of the upright picture", "pixel"),
    Column("frame_height", pa.int32(), "height of the upright picture", "pixel"),
    Column("face_found", pa.bool_(), "false: no face in this frame; what follows is then empty"),
)
FACE_COLUMNS = (
    Column("track_id", pa.int32(), "the same face over time, counted from 0 in every source"),
    *(
        Column(f"box_{side}", pa.float32(), f"{side} edge of the face's box, from the picture's top left", "pixel")
        for side in BOX
    ),
    *(
        Column(f"{point}_{axis}", pa.float32(), f"{axis} of the subject's {point.replace('_', ' ')}", "pixel")
        for point in LANDMARKS
        for axis in "xy"
    ),
)

# By the names that they have in `FaceQuality`.
QUALITY_COLUMNS = {
    "detector_score": Column("detector_score", pa.float32(), "how sure the detector is that this is a face", "0 to 1"),
    "eye_distance": Column("eye_distance", pa.float32(), "between the eyes", "pixel"),
    "box_size": Column("box_size", pa.float32(), "geometric mean of the box's width and height", "pixel"),
    "blur": Column("blur", pa.float32(), "of the face's crop: about .5 sharp, .7 much blurred", "0 to 1"),
    "roll": Column("roll", pa.float32(), "tilt of the head, positive clockwise as one sees it", "degree"),
    "yaw": Column("yaw", pa.float32(), "turn of the head, estimated, positive to the subject's left", "degree"),
    "out_of_scope": Column(
        "out_of_scope", pa.bool_(), "true: a face for which results are not to be relied upon; false without a face too"
    ),
    "reason": Column("out_of_scope_reason", pa.string(), "too small, too turned, too blurred, no crop"),
}


def table_columns(groups: tuple[LabelGroup, ...]) -> list[Column]:
    """All columns, in order: frame, face, quality, then each label's probability and decision, an exclusive group's
    choice first.

    Raises:
        ValueError: a label makes a column that is there already.
    """
    columns = [*FRAME_COLUMNS, *FACE_COLUMNS, *QUALITY_COLUMNS.values()]
    for group in groups:
        if group.exclusive:
            columns.append(Column(group.name, pa.string(), f"the most probable of {', '.join(group.labels)}"))
        for label, text, threshold in zip(group.labels, group.texts, group.thresholds, strict=True):
            columns.append(Column(f"{label}_probability", pa.float32(), f"probability of {label}: {text}", "0 to 1"))
            if not group.exclusive:
                meaning = f"1: {label} ({text}) is there, that is its probability is at least {threshold:.6g}; else 0"
                columns.append(Column(label, pa.int8(), meaning))
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the labels make columns that are there already: {', '.join(twice)}; call them otherwise.")
    return columns


def table_schema(columns: list[Column], metadata: dict[bytes, bytes] | None = None) -> pa.Schema:
    """The Arrow schema; meaning and unit lie in each field's metadata too."""
    fields = [
        pa.field(
            column.name,
            column.type,
            metadata={"meaning": column.meaning} | ({"unit": column.unit} if column.unit else {}),
        )
        for column in columns
    ]
    return pa.schema(fields, metadata=metadata)


def batch_table(batch: Batch, groups: tuple[LabelGroup, ...], schema: pa.Schema) -> pa.Table:
    """The rows of an encoded batch: one a frame and face, one for a frame without a face."""
    pairs = [(frame, face) for frame in batch.frames for face in (frame.faces or [None])]
    values = _frame_values(pairs) | _face_values([face for _, face in pairs])
    values |= _label_values([face for _, face in pairs], batch.probabilities, groups)
    return pa.table([pa.array(values[field.name], type=field.type) for field in schema], schema=schema)


def _frame_values(pairs: list[tuple[FoundFrame, FoundFace | None]]) -> dict[str, list]:
    return {
        "source": [frame.source for frame, _ in pairs],
        "frame": [frame.index for frame, _ in pairs],
        "time_s": [frame.time_s for frame, _ in pairs],
        "frame_width": [frame.width for frame, _ in pairs],
        "frame_height": [frame.height for frame, _ in pairs],
        "face_found": [face is not None for _, face in pairs],
    }


def _face_values(faces: list[FoundFace | None]) -> dict[str, list]:
    def of(value) -> list:
        return [None if face is None else value(face) for face in faces]

    values = {"track_id": of(lambda face: face.track_id)}
    for position, side in enumerate(BOX):
        values[f"box_{side}"] = of(lambda face, i=position: face.face.box[i])
    for position, point in enumerate(LANDMARKS):
        for axis, letter in enumerate("xy"):
            values[f"{point}_{letter}"] = of(lambda face, i=position, j=axis: face.face.points[i, j])
    for name, column in QUALITY_COLUMNS.items():
        values[column.name] = of(lambda face, name=name: _or_none(getattr(face.quality, name)))
    values["out_of_scope"] = [bool(flag) for flag in values["out_of_scope"]]
    return values


def _or_none(value):
    return None if value == "" or value != value else value  # NaN is not itself


def decisions(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """int8, 1 where a float32 probability reaches the threshold, which is rounded alike."""
    return (probabilities >= np.float32(threshold)).astype(np.int8)


def _label_values(faces: list[FoundFace | None], probabilities: np.ndarray, groups) -> dict[str, pa.Array]:
    """Probabilities and decisions; empty for frames without a face and faces without a crop."""
    empty = np.array([face is None or face.crop is None for face in faces], dtype=bool)
    spread = np.zeros((len(faces), probabilities.shape[1]), dtype=np.float32)
    spread[~empty] = probabilities
    values, start = {}, 0
    for group in groups:
        part = spread[:, start : start + len(group.labels)]
        start += len(group.labels)
        if group.exclusive:
            chosen = np.array(group.labels, dtype=object)[part.argmax(axis=1)]
            values[group.name] = pa.array(chosen, mask=empty)
        for position, label in enumerate(group.labels):
            values[f"{label}_probability"] = pa.array(np.ascontiguousarray(part[:, position]), mask=empty)
            if not group.exclusive:
                present = decisions(part[:, position], group.thresholds[position])
                values[label] = pa.array(present, mask=empty)
    return values
