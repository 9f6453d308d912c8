"""Crops of a data set: reads its official files, finds and aligns the faces, and writes Parquet shards.

python train_scripts/prepare.py bp4d --root BP4D --output corpora/bp4d --size 224
python train_scripts/prepare.py disfa --root DISFA --output corpora/disfa --corpus_options '{"camera": "left"}'
python train_scripts/prepare.py --check MY_CROPS       # do crops made elsewhere agree with the recipe?

docs/data_sets.md shows how the files of each set have to lie, and which options it takes.

`load_corpus(NAME, root=OUTPUT)` reads what it writes. Every face of the official files becomes a row; where no face is
found, or the picture cannot be read, the row stays with `face_found` false and a place-holder, so that an evaluation
can count it. A run that was killed, or ran out of disk space, goes on when it is started again. Pictures that could not
be read are tried again then, and the files of those that have been repaired are made anew.
"""

import csv
import errno
import functools
import gc
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

if __name__ == "__main__":
    # The repository root instead of this folder, where `evaluate.py` hides the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from processing.corpora.adapters import all_options, read_official
from processing.corpora.official import FaceRecord, OfficialCorpus
from processing.corpora.official_rows import official_metadata, uncropped_recipe
from processing.corpora.prepared import (
    CROP_ORIGINS,
    FORMAT,
    METADATA_FILE,
    NO_FACE,
    UNREADABLE,
    prepared_features,
    read_prepared_metadata,
)
from processing.corpora.shards import Shard, missing_shards, write_shards
from processing.corpora.splits import available_cores
from processing.face_alignment_clef import EYES_NOSE_1, FaceDetector, HaarDetector, YuNetDetector
from processing.wording import counted
from train_scripts.crop_check import check_crops, read_crops
from train_scripts.face_crops import FaceCropper, plan_tasks, read_pictures, source_name
from train_scripts.options import CorpusOptions, option, run_script

WITHOUT_FACE_FILE = "without_face.csv"
CHECKED = 500  # crops that --check measures unless --limit says otherwise
LOCK_FILE = ".lock"


class BegunDifferently(ValueError):
    """The output folder holds crops of other files, or made with other options."""


@dataclass
class PrepareOptions(CorpusOptions):
    corpus: str = option("", "data set's name; may also stand first, without --corpus")
    root: str | None = option(None, "folder of the official files")
    output: str | None = option(None, "folder for the shards; of --check: for crop_check.json, if wanted")
    size: int = option(128, "side of the crops in pixels; at least what the network reads (ViT-B/16: 224)")
    detector: Literal["auto", "yunet", "haar", "given", "none"] = option(
        "auto",
        "'auto': the set's own landmarks where it ships them, YuNet elsewhere; 'yunet': YuNet everywhere; 'haar': "
        "OpenCV's cascade everywhere, for want of YuNet's file, with poorer crops; 'given': only the set's landmarks; "
        "'none': no alignment, pictures are scaled as they are",
    )
    yunet: str | None = option(None, "YuNet's model file; default: $CLEF_YUNET, else the Hub's cache")
    num_proc: int | None = option(None, "processes; default: all cores")
    check: str | None = option(None, "instead of preparing: compare the crops in this folder with the recipe")
    limit: int = option(0, f"only the first so many faces, to try it out; 0: all. Of --check: default {CHECKED}")

    def __post_init__(self):
        super().__post_init__()
        if self.check is not None:
            if self.corpus or self.root:
                raise ValueError("--check looks at crops only: leave the data set's name and --root out.")
        elif not (self.corpus and self.root and self.output):
            raise ValueError("give a data set's name, --root with its official files and --output (or --check).")
        if not 16 <= self.size <= 1024:
            raise ValueError(f"size: got {self.size}, expected 16 to 1024 pixels.")
        if self.limit < 0 or (self.num_proc is not None and self.num_proc < 1):
            raise ValueError(f"got limit {self.limit}, num_proc {self.num_proc}; expected 0 or more, and 1 or more.")


def prepare(options: PrepareOptions, make_detector: Callable[[], FaceDetector] | None = None) -> dict:
    """Write a data set's crops to `options.output`, or go on with that; what is finished is left as it is, but for
    files with a picture that could not be read then and can be now.

    Args:
        make_detector: makes the detector in each process, instead of YuNet or Haar.

    Returns the content of metadata.json. Raises ValueError where the output folder holds something else, OSError with
    `errno.ENOSPC` when the disk is full, and what the adapter raises.
    """
    print(f"reading the official files of {options.corpus} in {options.root}")
    corpus = read_official(options.corpus, options.root, **options.corpus_options)
    for line in corpus.report.lines():
        print(f"  {line}")
    corpus.records = corpus.records[: options.limit or None]
    records, shards = plan_tasks(corpus.records)
    features = prepared_features(corpus)
    metadata = _metadata(options, corpus, shards)
    if options.detector in ("given", "none"):
        make_detector = None
    elif make_detector is None and options.detector == "haar":
        make_detector = _single_threaded_haar
    elif make_detector is None and not (options.detector == "auto" and all(r.points is not None for r in records)):
        make_detector = _yunet(options.yunet, metadata)
    if options.detector == "given" and all(record.points is None for record in records):
        raise ValueError(f"{options.corpus} ships no landmarks here: detector 'given' would find no face.")

    folder = Path(options.output)
    with _locked(folder):
        metadata = _begin(folder, metadata)
        missing = missing_shards(folder, shards)
        repaired = [shard for shard in shards if shard not in missing and _is_repaired(folder, shard, records)]
        if repaired:
            print(f"  made again, as pictures can be read that could not before: {', '.join(s.name for s in repaired)}")
        if missing or repaired:
            cropper = FaceCropper(
                options.corpus,
                Path(options.root),
                records,
                features,
                options.size,
                given_points=options.detector in ("auto", "given"),
                make_detector=make_detector,
                as_they_are=options.detector == "none",
            )
            title = f"{options.corpus}, {options.size} px"
            with _no_threads_to_fork():
                cores = options.num_proc or available_cores()
                write_shards(folder, shards, features, cropper, cores, title, anew=repaired)
        metadata["counts"] = _counts(folder, shards)
        metadata["complete"] = True
        _write_json(folder / METADATA_FILE, metadata)
    return metadata


def report_lines(metadata: dict, folder: str) -> list[str]:
    """What came of it, for the terminal."""
    lines = crop_lines(metadata, folder)
    left_out = metadata["reading_report"]
    if left_out:
        lines.append("not used of the official files, or worth knowing:")
        lines += [f"  {entry['count']} × {reason}" for reason, entry in left_out.items()]
    return lines


def crop_lines(metadata: dict, folder: str) -> list[str]:
    """Rows and crops alone."""
    counts = metadata["counts"]
    rows = ", ".join(f"{name} {count}" for name, count in counts["rows"].items())
    faces = {name: counts["crops"][name] for name in CROP_ORIGINS if name not in (NO_FACE, UNREADABLE)}
    origins = ", ".join(f"{name} {count}" for name, count in faces.items() if count)
    lines = [
        f"{metadata['corpus']}: {counted(sum(counts['rows'].values()), 'row')} in {folder} ({rows})",
        f"  {counted(sum(faces.values()), 'face')}{f' ({origins})' if origins else ''}",
        f"  {counts['crops'][NO_FACE]} without a face that was found, {counts['crops'][UNREADABLE]} unreadable: "
        f"see {WITHOUT_FACE_FILE}",
    ]
    if several := counts["several_faces"]:
        pictures = counted(several, "picture")
        lines.append(f"  {pictures} with several faces: the one nearest the set's box, else the largest")
    return lines


def check(options: PrepareOptions, detector: FaceDetector | None = None) -> dict:
    """Measure the crops in `options.check`; prints and returns it, and writes crop_check.json where asked."""
    detector = detector or YuNetDetector(options.yunet)
    crops, chosen, there = read_crops(options.check, options.limit or CHECKED)
    difference = check_crops(tqdm(crops, total=chosen, unit="crop", desc="checking"), detector)
    print(f"{chosen} of {there} crops of {options.check}, evenly spread" if chosen < there else options.check)
    for line in difference.lines():
        print(f"  {line}")
    result = {"folder": options.check, "recipe": EYES_NOSE_1.name, "there": there, **difference.as_dict()}
    result |= {"differences": difference.differences()}
    result |= {"names_without_face": difference.without_face, "names_unreadable": difference.unreadable}
    if options.output:
        Path(options.output).mkdir(parents=True, exist_ok=True)
        _write_json(Path(options.output, "crop_check.json"), result)
    return result


def _metadata(options: PrepareOptions, corpus: OfficialCorpus, shards: list[Shard]) -> dict:
    settings = {
        "size": options.size,
        "detector": options.detector,
        "limit": options.limit,
        "official_files": _fingerprint(corpus, Path(options.root)),
    }
    return {
        "prepared_format": FORMAT,
        "complete": False,
        **official_metadata(corpus, all_options(options.corpus, options.corpus_options)),
        "crop_recipe": uncropped_recipe(corpus) if options.detector == "none" else EYES_NOSE_1.name,
        "image_size": options.size,
        "settings": settings,
        "shards": {shard.name: shard.rows for shard in shards},
    }


def _fingerprint(corpus: OfficialCorpus, root: Path) -> str:
    """Of all faces and labels, so that a folder is not completed from files that read differently now."""
    digest = hashlib.sha256()
    for record in corpus.records:
        labels = (record.subject_id, record.sequence_id, record.frame, record.activity, record.expression, record.split)
        given = [None if values is None else list(map(float, values.flat)) for values in (record.points, record.box)]
        face = [source_name(record, root), labels, sorted(record.action_units.items()), given]
        digest.update(json.dumps([*face, sorted(record.groups.items())]).encode())
        if record.own_labels:
            digest.update(json.dumps(record.own_labels).encode())
        if record.pixels is not None:
            digest.update(record.pixels.tobytes())
    return digest.hexdigest()[:16]


def _yunet(path: str | None, metadata: dict) -> Callable[[], FaceDetector]:
    """Makes YuNet; fails here, before anything is written, without a usable model file."""
    found = YuNetDetector(path).path
    metadata["settings"]["yunet"] = hashlib.sha256(found.read_bytes()).hexdigest()[:16]
    return functools.partial(_single_threaded_yunet, found)


@contextmanager
def _no_threads_to_fork() -> Iterator[None]:
    """Where OpenCV or a decoder of videos has threads already, forked processes lack them, and would wait for ever to
    end them."""
    gc.collect()  # decoders that lie in garbage
    cv2 = sys.modules.get("cv2")
    if cv2 is None:
        yield
        return
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _single_threaded_yunet(path: Path) -> FaceDetector:
    import cv2

    cv2.setNumThreads(1)  # there is a process a core already
    return YuNetDetector(path)


def _single_threaded_haar() -> FaceDetector:
    import cv2

    cv2.setNumThreads(1)
    return HaarDetector()


def _locked(folder: Path) -> FileLock:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output {str(folder)!r} is a file, expected a folder.")
    if folder.is_dir() and read_prepared_metadata(folder) is None and _foreign(folder):
        raise ValueError(
            f"output {str(folder)!r} holds {', '.join(_foreign(folder)[:5])}, not what this script writes; name a new "
            "or an empty folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / LOCK_FILE, timeout=0)


def _foreign(folder: Path) -> list[str]:
    # What is there when the disk was full at the very beginning.
    return sorted(entry.name for entry in folder.iterdir() if entry.name not in (LOCK_FILE, f"{METADATA_FILE}.tmp"))


def _begin(folder: Path, metadata: dict) -> dict:
    """The folder's metadata, written if it is new; refuses to go on with other options than it was begun with."""
    begun = read_prepared_metadata(folder)
    if begun is None:
        _write_json(folder / METADATA_FILE, metadata)
        return metadata
    here, asked = (
        {"data set": m["corpus"], "corpus_options": m["options"], **m["settings"], "format": m["prepared_format"]}
        for m in (begun, metadata)
    )
    differing = [name for name in here | asked if here.get(name) != asked.get(name)]
    if differing:
        said = "; ".join(f"{name} {here.get(name)!r} there, {asked.get(name)!r} now" for name in differing)
        raise BegunDifferently(
            f"{str(folder)!r} was begun differently: {said}. Use the same, or another output folder."
        )
    return metadata


def _is_repaired(folder: Path, shard: Shard, records: list[FaceRecord]) -> bool:
    """Whether a picture can be read now that could not be when this file was made."""
    origins = pq.ParquetFile(folder / shard.name).read(columns=["crop_origin"])["crop_origin"].to_pylist()
    row = 0
    for task in shard.tasks:
        tried = records[slice(*task.key)]
        broken = [r for r, origin in zip(tried, origins[row : row + task.rows], strict=True) if origin == UNREADABLE]
        row += task.rows
        if broken and any(not isinstance(picture, str) for picture in read_pictures(broken)):
            return True
    return False


def _counts(folder: Path, shards: list[Shard]) -> dict:
    """Of the finished shards, whoever wrote them; also writes the table of rows without a face."""
    rows, origins, several = Counter(), Counter(), 0
    names = ["file", "subject_id", "sequence_id", "frame", "split", "crop_origin", "trouble"]
    temporary = folder / f"{WITHOUT_FACE_FILE}.tmp"
    with temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        for shard in shards:
            columns = ["image.path", "faces_seen", *names[1:]]
            for row in pq.ParquetFile(folder / shard.name).read(columns=columns).to_pylist():
                rows[row["split"] or "without official split"] += 1
                origins[row["crop_origin"]] += 1
                several += (row["faces_seen"] or 0) > 1
                if row["crop_origin"] in (NO_FACE, UNREADABLE):
                    table.writerow({"file": row["image"]["path"], **{name: row[name] for name in names[1:]}})
    temporary.replace(folder / WITHOUT_FACE_FILE)
    crops = {origin: origins[origin] for origin in CROP_ORIGINS}
    return {"rows": dict(rows), "crops": crops, "several_faces": several}


def _write_json(path: Path, content: dict) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(path)


def main(options: PrepareOptions, make_detector: Callable[[], FaceDetector] | None = None) -> dict:
    if options.check is not None:
        return check(options, make_detector and make_detector())
    try:
        metadata = prepare(options, make_detector)
    except Timeout:
        sys.exit(f"another process is writing {options.output}; wait for it, or end it and run this again")
    except (FileNotFoundError, PermissionError, ValueError) as error:
        sys.exit(str(error))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        there = len(list(Path(options.output).glob("*.parquet")))
        sys.exit(
            f"the disk of {options.output} is full. {counted(there, 'finished shard')} kept: make room, then run "
            "the same command again and it goes on from there"
        )
    print("\n".join(report_lines(metadata, options.output)))
    return metadata


def with_corpus_flag(argv: list[str]) -> list[str]:
    """Lets the data set's name stand first, as `prepare.py bp4d …`."""
    positional = argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml"))
    return ["--corpus", *argv] if positional else argv


if __name__ == "__main__":
    run_script(main, PrepareOptions, with_corpus_flag(sys.argv[1:]))
