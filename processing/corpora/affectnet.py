"""AffectNet (Mollahosseini, Hasani and Mahoor, IEEE TAC 2019), its manually annotated part, in both releases.

The later release, smaller crops with one NumPy file an annotation:

    train_set/images/123.jpg, train_set/annotations/123_exp.npy, 123_lnd.npy; val_set/ alike

The earlier one, with tables (folders also where the archives unpack to, below Manually_Annotated/ or
Manually_Annotated_compressed/, and Manually_Annotated_file_lists/):

    training.csv, validation.csv; Manually_Annotated_Images/<folder>/<hash>.jpg

Columns of the tables: subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks (68 points as
"x;y;x;y;…"), expression, valence, arousal. The published validation.csv has no line that names them. Valence and
arousal are not read.

Ids of both: 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt; in the tables also
8 none, 9 uncertain, 10 no face. The test set was never published, so the literature tests on the validation part: here
it is the split "test", and validation faces are held out of the training part by the protocol. Nobody is named: every
picture counts as a subject of its own, and nobody can check that no person is in both parts.
"""

from pathlib import Path
from tokenize import TokenError

import numpy as np
from datasets.utils import tqdm

from processing.corpora.face_geometry import checked_box, checked_points, five_of_68, numbers
from processing.corpora.label_tables import int_value, read_table, rows_by_key
from processing.corpora.named_pictures import NamedPictures
from processing.corpora.official import FaceRecord, OfficialCorpus, ReadingReport, wrong_root

EXPRESSION_IDS = {
    0: "neutral",
    1: "happiness",
    2: "sadness",
    3: "surprise",
    4: "fear",
    5: "disgust",
    6: "anger",
    7: "contempt",
}
OTHER_IDS = {8: "none", 9: "uncertain", 10: "no face"}  # no expression that could be learned or tested
LANDMARKS = 68
PARTS = {"train_set": "train", "val_set": "test"}
TABLES = {"training.csv": "train", "validation.csv": "test"}
TABLE_FOLDERS = (".", "Manually_Annotated_file_lists", "Manually_Annotated/Manually_Annotated_file_lists")
PICTURE_FOLDERS = (
    "Manually_Annotated_Images",
    "Manually_Annotated/Manually_Annotated_Images",
    "Manually_Annotated_compressed/Manually_Annotated_Images",
)
COLUMNS = ("face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression")
PICTURE_COLUMN = "subDirectory_filePath"
HEADER = (PICTURE_COLUMN, *COLUMNS, "valence", "arousal")

LICENCE = "AffectNet: research only, under an agreement with its authors"


def read_affectnet(root: str | Path, classes: int = 8) -> OfficialCorpus:
    """All faces of AffectNet with one of 8 expressions, or 7 (without contempt), in whichever release `root` holds.

    Faces labelled none, uncertain or no face, those labelled contempt where `classes` is 7, and those whose label is
    missing, outside its range or contradictory are left out and counted, each under its own name. Landmarks and boxes
    that do not fit are counted, and the face goes without them. Of 68 landmarks the five of `crop_matrix` are taken:
    means of the points around each eye, nose tip, mouth corners.

    Raises FileNotFoundError when neither release is there, ValueError for another number of classes and when
    both releases are below `root`.
    """
    if classes not in (7, 8):
        raise ValueError(f"got classes={classes!r}; expected 8, or 7 to leave contempt out")
    root, report = Path(root), ReadingReport()
    arrays = [part for part in PARTS if (root / part / "annotations").is_dir() and (root / part / "images").is_dir()]
    tables, pictures = _find_tables(root)
    if arrays and tables:
        raise ValueError(
            f"{str(root)!r} holds two releases of AffectNet, {arrays[0]}/ and {tables[0].name}, which share pictures; "
            "give the folder of one of them"
        )
    if arrays:
        found = [(part, PARTS[part]) for part in PARTS]
        records = [record for part, split in found for record in _read_arrays(root / part, split, classes, report)]
    elif tables:
        records = _read_tables(tables, pictures, classes, report)
    else:
        expected = ["train_set/images/ with train_set/annotations/", "or training.csv with Manually_Annotated_Images/"]
        raise wrong_root("AffectNet", root, expected)
    return OfficialCorpus("affectnet", records, report, licence=LICENCE)


def _expression(text: str, classes: int, split: str, report: ReadingReport, example: str) -> str | None:
    """The expression; None, and counted, where it is none of the classes."""
    value = int_value(text)
    if value in OTHER_IDS:
        report.add(f"labelled {OTHER_IDS[value]!r}, which is no expression", split, example=example)
    elif value not in EXPRESSION_IDS:
        report.add("label outside its range", split, example=f"{example}: {text[:40]!r}, expected 0 to 10")
    elif value == 7 and classes == 7:
        report.add("labelled 'contempt', which is none of the 7 classes", split, example=example)
    else:
        return EXPRESSION_IDS[value]
    return None


def _read_arrays(folder: Path, split: str, classes: int, report: ReadingReport) -> list[FaceRecord]:
    """One part of the release with NumPy files."""
    if not (folder / "images").is_dir() or not (folder / "annotations").is_dir():
        report.add("part of the set that is missing", split, example=folder)
        return []
    pictures, annotations = NamedPictures(folder / "images", report), folder / "annotations"
    by_stem = {path.stem: name for name, path in pictures.paths.items()}
    stems = [path.name.removesuffix("_exp.npy") for path in annotations.glob("*_exp.npy")]
    records = []
    for stem in tqdm(sorted(stems, key=lambda stem: (len(stem), stem)), unit="face", desc=f"AffectNet {split}"):
        if stem not in by_stem:
            report.add("label without a picture", split, example=f"{stem}_exp.npy")
            continue
        value = _load(annotations / f"{stem}_exp.npy", report, split)
        if value is None or value.size != 1:
            if value is not None:
                report.add("annotation that cannot be read", split, example=f"{stem}_exp.npy: shape {value.shape}")
            continue
        item = value.item()
        text = item.decode(errors="replace") if isinstance(item, bytes) else str(item)
        expression = _expression(text, classes, split, report, f"{stem}_exp.npy")
        if expression is None:
            continue
        landmarks = None
        if (annotations / f"{stem}_lnd.npy").is_file():
            given = _load(annotations / f"{stem}_lnd.npy", report, split)
            landmarks = _five_points(None if given is None else given.ravel().tolist(), report, split, f"{stem}_lnd")
        else:
            report.add("picture without landmarks", split, example=f"{stem}_lnd.npy")
        records.append(
            FaceRecord(
                subject_id=f"{split}/{stem}",  # both parts count their pictures from the beginning
                image=pictures.paths[by_stem[stem]],
                frame=int_value(stem) or 0,
                expression=expression,
                split=split,
                points=landmarks,
            )
        )
    pictures.count_unlabelled({by_stem[stem] for stem in stems if stem in by_stem}, report, split)
    return records


def _load(path: Path, report: ReadingReport, split: str) -> np.ndarray | None:
    """The array of a .npy file; None, and counted, for anything else. Nothing is unpickled."""
    try:
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    # NumPy parses the header as Python's source text, and takes its word for the size.
    except (OSError, EOFError, ValueError, SyntaxError, TokenError, MemoryError) as error:
        report.add("annotation that cannot be read", split, example=f"{path.name}: {error}")
        return None


def _five_points(flat: list | None, report: ReadingReport, split: str, example: str, box=None) -> np.ndarray | None:
    values = None if flat is None else numbers(flat, 2 * LANDMARKS)
    points = None if values is None else five_of_68(values.reshape(LANDMARKS, 2))
    return checked_points(points, report, split, example, box)


def _find_tables(root: Path) -> tuple[list[Path], Path | None]:
    """The tables and the folder of the pictures; without tables where either is missing."""
    pictures = next((root / name for name in PICTURE_FOLDERS if (root / name).is_dir()), None)
    for folder in TABLE_FOLDERS:
        tables = [root / folder / name for name in TABLES if (root / folder / name).is_file()]
        if tables and pictures is not None:
            return tables, pictures
    return [], pictures


def _read_tables(tables: list[Path], folder: Path, classes: int, report: ReadingReport) -> list[FaceRecord]:
    """The release with tables."""
    for name in TABLES:
        if name not in [table.name for table in tables]:
            report.add("part of the set that is missing", TABLES[name], example=tables[0].with_name(name))
    pictures = NamedPictures(folder, report)
    records, parts = [], {}
    for table in tables:
        split = TABLES[table.name]
        rows = read_table(table, report, split, header=HEADER, required=(PICTURE_COLUMN, *COLUMNS))
        found = rows_by_key(rows, lambda row: row[PICTURE_COLUMN] or None, report, split, of="picture")
        for name, row in tqdm(found.items(), unit="face", desc=f"AffectNet {split}"):
            picture = pictures.find(name)
            if picture is None:
                report.add("label without a picture", split, example=name)
            elif parts.setdefault(picture, split) != split:
                report.add("picture that is in the training part as well", split, example=name)
            elif row is not None:  # contradictory rows are counted already
                expression = _expression(row["expression"], classes, split, report, name)
                if expression is not None:
                    records.append(_table_record(picture, pictures.paths[picture], row, expression, split, report))
    pictures.count_unlabelled(set(parts), report)
    return records


def _table_record(name: str, path: Path, row: dict, expression: str, split: str, report: ReadingReport) -> FaceRecord:
    edges = numbers([row[column] for column in COLUMNS[:4]], 4)
    if edges is not None:
        edges[2:] += edges[:2]
    box = checked_box(edges, report, split, name)
    points = _five_points(row["facial_landmarks"].rstrip(";").split(";"), report, split, name, box)
    return FaceRecord(
        subject_id=name.rpartition(".")[0],
        image=path,
        expression=expression,
        split=split,
        points=points,
        box=box,
    )
