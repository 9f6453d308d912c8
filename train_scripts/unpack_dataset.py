"""A data set of `datasets` (Hub id, Parquet folder, imagefolder, save_to_disk) as a folder with a `labels.csv`.

Pictures are written as the data set holds them, byte for byte. Columns keep their names, `subject_id` and `sequence_id`
become `subject` and `sequence`, structs such as `action_units` are laid out flat, classes become words, and splits
called train, validation and test are kept.
"""

import csv
import json
import shutil
from pathlib import Path

import datasets
from tqdm.auto import tqdm

from processing.corpora.image_folder import TABLE
from processing.corpora.named_pictures import SUFFIXES
from processing.corpora.splits import SPLITS

DONE = ".unpacked.json"  # hidden files are no pictures
RENAMED = {"subject_id": "subject", "sequence_id": "sequence"}
FLAT = ("action_units", "own_labels")  # structs whose fields become columns
CHUNK = 64  # rows in memory


def unpack_dataset(source: str, folder: Path) -> dict:
    """Writes the folder; one that is finished is left as it is, a half-done one is begun anew.

    Returns:
        "source", "rows", "classes": columns that the data set declares as classes, "left_out": columns that were not
        written → why, "splits_left_out": names of splits that are none of train, validation and test (their rows stay,
        without a split).

    Raises:
        FileNotFoundError: no such data set can be loaded. ValueError: it has no pictures, or the folder holds another.
    """
    source, folder = str(source), Path(folder)
    done = folder / DONE
    if done.is_file():
        known = json.loads(done.read_text(encoding="utf-8"))
        if known["source"] != source:
            raise ValueError(
                f"{folder} holds the pictures of {known['source']!r}, not of {source!r}: name another folder."
            )
        return known
    if folder.exists() and any(folder.iterdir()) and not (folder / (TABLE + ".partial")).is_file():
        raise ValueError(f"{folder} exists and was not written by this command: name another folder.")
    splits = _load(source)
    features = next(iter(splits.values())).features
    image, columns, left_out = _columns(features, source)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    partial = folder / (TABLE + ".partial")
    rows = 0
    with partial.open("w", newline="", encoding="utf-8") as file:
        names = ["file", *columns] + (["split"] if set(splits) & set(SPLITS) else [])
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for split, part in splits.items():
            part = part.cast_column(image, datasets.Image(decode=False)).select_columns(
                [image, *dict.fromkeys(name for name, _ in columns.values())]
            )
            bar = tqdm(total=len(part), desc=f"unpacking {split}", unit="picture", disable=None)
            for start in range(0, len(part), CHUNK):
                for offset, row in enumerate(part.select(range(start, min(start + CHUNK, len(part))))):
                    name = _write_picture(row[image], folder / split, start + offset)
                    cells = {column: _cell(row[of], key, features[of]) for column, (of, key) in columns.items()}
                    if "split" in names and split in SPLITS:
                        cells["split"] = split
                    writer.writerow({"file": f"{split}/{name}", **cells})
                    bar.update()
                    rows += 1
            bar.close()
    result = {
        "source": source,
        "rows": rows,
        "classes": [name for name, (of, _) in columns.items() if isinstance(features[of], datasets.ClassLabel)],
        "left_out": left_out,
        "splits_left_out": sorted(set(splits) - set(SPLITS)) if set(splits) & set(SPLITS) else [],
    }
    partial.replace(folder / TABLE)
    done.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def _load(source: str) -> dict[str, datasets.Dataset]:
    try:
        if Path(source, "dataset_info.json").is_file() or Path(source, "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(source)
        else:
            loaded = datasets.load_dataset(source)
    except Exception as error:  # whatever a builder raises: the reader wants to know what was looked for
        raise FileNotFoundError(
            f"{source!r} is no folder with a {TABLE}, none of train_scripts/prepare.py, and no data set that "
            f"`datasets` can load (Hub id, Parquet files, pictures in folders): {error}"
        ) from error
    loaded = {"all": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)
    if not loaded or not any(len(part) for part in loaded.values()):
        raise ValueError(f"{source!r} has no rows.")
    return loaded


def _columns(features: datasets.Features, source: str) -> tuple[str, dict[str, tuple[str, str | None]], dict[str, str]]:
    """The column of pictures; column of the table → (column of the data set, field of its struct); what is left out."""
    pictures = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(pictures) > 1 and "image" in pictures:
        pictures = ["image"]
    if len(pictures) != 1:
        raise ValueError(f"{source!r} has the picture columns {pictures}, expected one, or one called 'image'.")
    columns, left_out = {}, {}
    for name, feature in features.items():
        if name == pictures[0]:
            continue
        if name in FLAT and isinstance(feature, dict):
            columns |= {field: (name, field) for field in feature}
        elif isinstance(feature, (datasets.Value, datasets.ClassLabel)) and name not in ("file", "split", "corpus"):
            columns[RENAMED.get(name, name)] = (name, None)
        elif name not in pictures:
            left_out[name] = (
                "a name that the table needs itself" if name in ("file", "split") else "not one value a row"
            )
    left_out.pop("corpus", None)
    return pictures[0], columns, left_out


def _cell(value, key: str | None, feature):
    value = value if key is None or value is None else value[key]
    if value is None or value != value:  # NaN
        return ""
    if isinstance(feature, datasets.ClassLabel):
        return feature.int2str(value) if value >= 0 else ""  # -1: not known
    if isinstance(value, bool):
        return int(value)
    # A table's row is a line, and a cell without quotation marks.
    return " ".join(value.split()) if isinstance(value, str) else value


def _write_picture(picture: dict | None, folder: Path, row: int) -> str:
    """The picture's name; one that is missing becomes an empty file, which is counted as unreadable later."""
    picture = picture or {"bytes": b"", "path": None}
    suffix = Path(picture["path"] or "").suffix.lower()
    name = f"{row:07d}{suffix if suffix in SUFFIXES else '.png'}"
    folder.mkdir(parents=True, exist_ok=True)
    if picture["bytes"] is None:
        shutil.copyfile(picture["path"], folder / name)
    else:
        (folder / name).write_bytes(picture["bytes"])
    return name
