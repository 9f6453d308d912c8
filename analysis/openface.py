"""OpenFace 2's CSV files as tables with the columns that `clef analyze` writes, to compare both tools.

```python
ours = pyarrow.parquet.read_table("interview.parquet").to_pandas()
theirs = read_openface("interview.csv").to_pandas()
faces = [rows.loc[rows.face_found & (rows.track_id == 0), ["frame", "AU12"]] for rows in (ours, theirs)]
both = faces[0].merge(faces[1], on="frame", suffixes=("", "_openface")).dropna()
print(len(both), (both.AU12 == both.AU12_openface).mean())
print(sklearn.metrics.cohen_kappa_score(both.AU12.astype(int), both.AU12_openface.astype(int)))
```

Tracks are numbered by each tool in its own way: with several faces, pair them by their boxes first.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from analysis.rows import FACE_COLUMNS, FRAME_COLUMNS, QUALITY_COLUMNS, Column, table_schema
from analysis.sources import shown
from processing.prompts_clef import ACTION_UNITS

FORMAT = "openface-2"
# Of the 68 points (iBUG 300-W): the subject's right and left eye, nose tip, right and left mouth corner.
FIVE_POINTS = {
    "right_eye": range(36, 42),
    "left_eye": range(42, 48),
    "nose_tip": (30,),
    "right_mouth_corner": (48,),
    "left_mouth_corner": (54,),
}
ALWAYS_THERE = {column.name for column in FRAME_COLUMNS}  # in frames without a face too
PIXEL = 0.5  # OpenFace counts from the centre of the first pixel, tables from its outer corner


def read_openface(path: str | Path, source: str | None = None) -> pa.Table:
    """A CSV of OpenFace 2 (FeatureExtraction, FaceLandmarkVidMulti or FaceLandmarkImg) as a table.

    * `AU12` is OpenFace's presence `AU12_c` and, in an extra column, `AU12_intensity` its `AU12_r`, 0 to 5. The two
      come of different models of OpenFace and may contradict each other. `AU12_probability` is empty: there is none.
    * `frame` counts from 0, OpenFace's from 1. `time_s` is its timestamp, which FeatureExtraction computes from the
      mean frame rate: with a variable frame rate join tables by `frame`. `track_id` is its face_id.
    * `face_found` is its success. A frame without any success is one row without a face; where another face of the
      frame was found, a row without success is left out, and counted in the metadata (`rows_left_out`).
    * Box and landmarks come of its 68 points, where the file has them (`-2Dfp`); the box is the one around these, which
      ends at the brows. `detector_score` is its confidence. What it does not measure is empty.

    The schema's metadata holds under `clef` what the JSON beside a table of `clef analyze` does.

    Args:
        path: the CSV. Spaces in its header do not matter.
        source: what the column `source` says. Default: the CSV's path.

    Raises:
        FileNotFoundError: no such file. ValueError: no CSV of OpenFace 2, or one without rows.
    """
    path = Path(path)
    columns = _read_columns(path)
    found = _column(columns, "success", 1.0) == 1  # that of single images has no such column: a row is a face
    units = _units(columns)
    is_video = "frame" in columns
    frame = columns["frame"].astype(np.int64) - 1 if is_video else np.zeros(len(found), dtype=np.int64)
    track = _column(columns, "face_id" if is_video else "face", 0.0).astype(np.int64)
    kept = _kept_rows(frame, found)
    table_columns = [*FRAME_COLUMNS, *FACE_COLUMNS, *QUALITY_COLUMNS.values(), *_unit_columns(units)]
    values: dict[str, np.ndarray] = {
        "frame": frame,
        "face_found": found,
        "track_id": track,
        "detector_score": _column(columns, "confidence", np.nan),
    }
    if is_video and "timestamp" in columns:
        values["time_s"] = columns["timestamp"]
    values |= _geometry(columns)
    for unit, names in units.items():
        if "c" in names:
            values[unit] = columns[names["c"]]
        if "r" in names:
            values[f"{unit}_intensity"] = columns[names["r"]]
    about = _about(table_columns, units, len(found) - len(kept))
    schema = table_schema(table_columns, {b"clef": json.dumps(about, ensure_ascii=False).encode()})
    arrays = [pa.array([shown(path) if source is None else source] * len(kept))]
    for field in list(schema)[1:]:
        column = values.get(field.name, np.full(len(found), np.nan))[kept].astype(np.float64)
        empty = np.isnan(column)
        if field.name not in ALWAYS_THERE:
            empty |= ~found[kept]
        exact = pa.float64() if pa.types.is_floating(field.type) else pa.int64()
        filled = np.where(empty, 0, column).astype(exact.to_pandas_dtype())
        if pa.types.is_string(field.type):
            arrays.append(pa.nulls(len(kept), field.type))
        else:
            arrays.append(pa.array(filled, exact, mask=empty).cast(field.type))
    return pa.table(arrays, schema=schema)


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    """Every numeric column as float64; other columns are left alone."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = [name.strip() for name in next(csv.reader(file), [])]
        expected = {"confidence"} | ({"success"} if "frame" in header else {"face"})
        if not expected <= set(header) or not any(re.fullmatch(r"AU\d+_[cr]", name) for name in header):
            raise ValueError(
                f"{str(path)!r} is no CSV of OpenFace 2 with action units: expected the columns confidence, AU12_c and "
                "so on, and frame and success, or face; run FeatureExtraction with -aus."
            )
        # pyarrow takes no spaces around numbers.
        names = [str(position) for position in range(len(header))]
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=names, skip_rows=1),
            convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
        if not len(table):
            raise ValueError(f"{str(path)!r} holds a header and no rows.")
        return {
            name: np.array([_number(text) for text in table[position].to_pylist()], dtype=np.float64)
            for name, position in zip(header, names, strict=True)
            if _is_needed(name)
        }
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a CSV: {error}") from error


def _is_needed(name: str) -> bool:
    plain = ("frame", "face", "face_id", "timestamp", "confidence", "success")
    return name in plain or re.fullmatch(r"AU\d+_[cr]|[xy]_\d+", name) is not None


def _number(text: str | None) -> float:
    text = (text or "").strip()
    return float(text) if text else np.nan  # OpenFace itself writes "-nan" where it failed, which float takes


def _column(columns: dict[str, np.ndarray], name: str, default: float) -> np.ndarray:
    return columns.get(name, np.full(len(columns["confidence"]), default))


def _units(columns: dict[str, np.ndarray]) -> dict[str, dict[str, str]]:
    """ "AU1" → {"c": "AU01_c", "r": "AU01_r"}, in the order of their numbers; AU28 has no intensity."""
    units: dict[str, dict[str, str]] = {}
    for name in columns:
        if match := re.fullmatch(r"AU(\d+)_([cr])", name):
            units.setdefault(f"AU{int(match[1])}", {})[match[2]] = name
    return dict(sorted(units.items(), key=lambda item: int(item[0][2:])))


def _kept_rows(frame: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Positions of the rows with a face, and of one row for each frame without any, in the order of frames."""
    empty, first = np.unique(frame[~found], return_index=True)
    without = np.flatnonzero(~found)[first][~np.isin(empty, frame[found])]
    kept = np.concatenate([np.flatnonzero(found), without])
    return kept[np.argsort(frame[kept], kind="stable")]


def _unit_columns(units: dict[str, dict[str, str]]) -> list[Column]:
    columns = []
    for unit in units:
        words = _words(unit)
        columns.append(Column(f"{unit}_probability", pa.float32(), "empty: OpenFace gives no probability", "0 to 1"))
        columns.append(Column(unit, pa.int8(), f"1: {words} is there, by OpenFace's presence model; else 0"))
        columns.append(
            Column(f"{unit}_intensity", pa.float32(), f"of {words}, by OpenFace's intensity model", "0 to 5")
        )
    return columns


def _geometry(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not all(f"{axis}_{point}" in columns for axis in "xy" for point in range(68)):
        return {}
    xy = {axis: np.stack([columns[f"{axis}_{point}"] for point in range(68)]) + PIXEL for axis in "xy"}
    five = {
        f"{name}_{axis}": xy[axis][list(points)].mean(axis=0) for name, points in FIVE_POINTS.items() for axis in "xy"
    }
    left, right, top, bottom = xy["x"].min(axis=0), xy["x"].max(axis=0), xy["y"].min(axis=0), xy["y"].max(axis=0)
    across = five["left_eye_x"] - five["right_eye_x"], five["left_eye_y"] - five["right_eye_y"]
    return five | {
        "box_left": left,
        "box_top": top,
        "box_right": right,
        "box_bottom": bottom,
        "eye_distance": np.hypot(*across),
        "box_size": np.sqrt((right - left) * (bottom - top)),
        "roll": np.degrees(np.arctan2(across[1], across[0])),
    }


def _about(columns: list[Column], units: dict[str, dict[str, str]], left_out: int) -> dict:
    decided = [unit for unit, names in units.items() if "c" in names]
    group = {
        "name": "action_units",
        "exclusive": False,
        "labels": decided,
        "texts": [_words(unit) for unit in decided],
        "thresholds": [0.5] * len(decided),
    }
    return {
        "format": FORMAT,
        "columns": [column.described() for column in columns],
        "model": {"name": "OpenFace 2", "label_groups": [group]},
        "rows_left_out": left_out,
    }


def _words(unit: str) -> str:
    return ACTION_UNITS[unit].name if unit in ACTION_UNITS else unit


__all__ = ["read_openface"]
