"""One's own pictures and labels, ready to fine-tune on: aligned crops, label sets in words, people in splits.

`prepare_own_data` takes a folder with a `labels.csv` (see `processing.corpora.image_folder`), a folder that prepare.py
wrote, or a data set of `datasets`. What it decides for the user is told in `OwnData.notes`.
"""

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import Dataset

from processing.corpora import corpus_metadata, load_corpus
from processing.corpora.image_folder import (
    BLANK_SUBJECT,
    BLANK_SUBJECT_BUT_SEQUENCE,
    NO_SUBJECT,
    NO_SUBJECT_BUT_SEQUENCES,
    TABLE,
    own_columns,
)
from processing.corpora.prepared import NO_FACE, UNREADABLE, read_prepared_metadata, rows_with_faces
from processing.face_alignment_clef import EYES_NOSE_1, HaarDetector, YuNetDetector
from train_scripts.crop_check import check_crops, read_crops
from train_scripts.label_texts import LabelTexts, described
from train_scripts.labels import label_matrix, problem_type
from train_scripts.own_labels import choose_labels, columns_to_learn
from train_scripts.prepare import BegunDifferently, PrepareOptions, crop_lines, prepare
from train_scripts.unpack_dataset import unpack_dataset

FOLDS = 5  # one of them is tested
VALIDATION_SHARE = 0.2  # of the people of the others
CHECKED = 100  # crops that are looked at where they are said to be aligned


@dataclass
class OwnData:
    """Attributes:
    corpus, root, corpus_options: as `load_corpus` takes them.
    texts: label set → label → its words.
    test: whether there are people to test on.
    told_apart_by: what of it is in one split only: "subject", or where a row does not say who it is "sequence" or
        "picture".
    training_frames: those with a face and a label.
    counts: label set → label → split → (frames that show it, frames that say whether).
    notes: what the user should know, a line each.
    """

    corpus: str
    root: str
    corpus_options: dict
    texts: LabelTexts
    test: bool
    told_apart_by: str = "subject"
    training_frames: int = 0
    counts: dict[str, dict[str, dict[str, tuple[int, int]]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "validation", "test") if self.test else ("train", "validation")

    @property
    def has_descriptions(self) -> bool:
        """Whether some label set can be learned from descriptions, too."""
        return any(described(labels) for labels in self.texts.values())


def prepare_own_data(
    source: str,
    work: Path,
    size: int,
    detector: str = "auto",
    texts: LabelTexts | None = None,
    seed: int = 0,
    num_proc: int | None = None,
) -> OwnData:
    """Reads, crops, words and splits one's own data; prints what is read and found on the way.

    Args:
        source: folder or Hub id.
        work: folder for crops (`crops`) and unpacked pictures (`pictures`); a killed run goes on there.
        size: side of the crops in pixels.
        detector: "auto" (YuNet where its file is found, else Haar), "yunet", "haar", YuNet's file, or "none": the
            pictures are crops already.
        texts: which labels are learned, in which words. Default: action units, expressions, all columns of 0 and 1 as
            one set, and columns that a data set declares as classes.
        seed: of the draw of people.

    Raises:
        FileNotFoundError: no such data, no detector. ValueError: nothing to learn, labels that are not there, no face,
            too few people, or other files in `work`. OSError: a full disk.
    """
    notes: list[str] = []
    classes: list[str] = []
    prepared = read_prepared_metadata(source)
    if prepared is None:
        corpus, root = "image_folder", str(work / "crops")
        classes = _make_crops(source, work, size, detector, texts, num_proc, notes)
    else:
        corpus, root = prepared["corpus"], str(source)
    if detector == "none":
        _check_aligned(root, notes)
    everyone = load_corpus(corpus, root=root)
    texts = choose_labels(everyone, texts, notes, classes)
    options, test = choose_splits(everyone, seed, notes)
    data = OwnData(corpus, root, options, texts, test, told_apart_by(everyone), notes=notes)
    if data.told_apart_by != "subject":
        notes.append(
            f"WARNING: the column subject does not say who everybody is, so each {data.told_apart_by} without it "
            "counts as a person: one may be both trained on and tested, and then the scores say nothing about people "
            "who are new to the model"
        )
    _count_labels(data)
    return data


def choose_splits(everyone: Dataset, seed: int, notes: list[str]) -> tuple[dict, bool]:
    """Who trains, validates and is tested, as options of `load_corpus`, and whether anybody is tested.

    The column `split` decides where it names train and another one; else people are drawn. `notes` gets what to know.

    Raises:
        ValueError: fewer than three people.
    """
    splits = Counter(everyone["split"][:] if "split" in everyone.column_names else [])
    without = splits.pop(None, 0)
    drawn = {"validation_share": VALIDATION_SHARE, "fold_seed": seed}
    if "train" in splits and len(splits) > 1:
        if without:
            notes.append(f"{without} pictures have no split and are not used")
        if "test" not in splits:
            notes.append(
                "WARNING: no picture has split test: scores are of the validation people, who choose the epoch"
            )
            return {}, False
        if "validation" not in splits:
            notes.append(f"no picture has split validation: {VALIDATION_SHARE:.0%} of the training people validate")
        return {"protocol": "official", "fold": 1, **drawn}, True
    if splits:
        notes.append(f"the column split says {' and '.join(splits)} alone, so people are drawn")
    people = len(set(everyone["subject_id"][:]))
    if people < 3:
        raise ValueError(
            f"got {people} people, expected at least 3: one to train, one to validate and one to test on. Name more in "
            "the column subject, or say in the column split who trains and who validates."
        )
    return {"protocol": f"kfold_{min(FOLDS, people)}", "fold": 1, **drawn}, True


def told_apart_by(everyone: Dataset) -> str:
    """ "subject", "sequence" or "picture": what counts as a person in these data, at worst."""
    report = corpus_metadata(everyone).get("reading_report", {})
    if NO_SUBJECT in report or BLANK_SUBJECT in report:
        return "picture"
    return "sequence" if NO_SUBJECT_BUT_SEQUENCES in report or BLANK_SUBJECT_BUT_SEQUENCE in report else "subject"


def count_lines(data: OwnData) -> list[str]:
    """How many frames show each label, as a table."""
    lines = []
    for name, labels in data.counts.items():
        lines.append(f"{name:36}" + "".join(f"{split:>16}" for split in data.splits))
        for label, found in labels.items():
            words = data.texts[name][label].name
            shown = label if words == label.replace("_", " ") else f"{label} ({words})"
            cells = (f"{found[split][0]} of {found[split][1]}" for split in data.splits)
            shown = shown if len(shown) <= 34 else shown[:33].rstrip() + "…"
            lines.append(f"  {shown:34}" + "".join(f"{cell:>16}" for cell in cells))
    return lines


def detector_option(detector: str) -> tuple[str, str | None]:
    """prepare.py's option `detector`, and YuNet's file where one is named.

    Raises:
        FileNotFoundError, ImportError, ValueError: there is no such detector.
    """
    if detector == "auto":
        try:
            YuNetDetector()
            return "yunet", None
        except FileNotFoundError:
            detector = "haar"
    if detector == "haar":
        HaarDetector()
    elif detector == "yunet":
        YuNetDetector()
    elif detector != "none":
        YuNetDetector(detector)
        return "yunet", detector
    return detector, None


def _make_crops(source: str, work: Path, size: int, detector: str, texts, num_proc, notes: list[str]) -> list[str]:
    """Writes `work/crops`; returns columns that hold declared classes."""
    pictures, classes = Path(source), []
    if pictures.is_file():
        raise FileNotFoundError(f"{source!r} is a file, expected a folder with a {TABLE}, or a data set.")
    kind, yunet = detector_option(detector)
    if not (pictures / TABLE).is_file():
        unpacked = unpack_dataset(source, work / "pictures")
        pictures, classes = work / "pictures", unpacked["classes"]
        notes += [f"column {name} is not read: it holds {why}" for name, why in unpacked["left_out"].items()]
        if unpacked["splits_left_out"]:
            notes.append(f"neither train, validation nor test, and not used: {', '.join(unpacked['splits_left_out'])}")
    columns = own_columns(pictures)
    columns_to_learn(columns, texts, classes, [])  # refuses what is not there before any face is looked for
    if kind == "haar" and detector == "auto":
        notes.append(
            "WARNING: YuNet's file is not there, so faces were looked for with OpenCV's Haar cascade: poorer crops"
        )
    options = PrepareOptions(
        corpus="image_folder",
        root=str(pictures),
        output=str(work / "crops"),
        corpus_options={"labels": list(columns)} if columns else None,
        size=size,
        detector=kind,
        yunet=yunet,
        num_proc=num_proc,
    )
    try:
        metadata = prepare(options)
    except BegunDifferently:  # a corrected table, another size: ours to throw away
        print(f"{options.output} holds crops of other pictures, labels or settings: they are made anew")
        shutil.rmtree(options.output)
        metadata = prepare(options)
    print("\n".join(crop_lines(metadata, options.output)))  # prepare has printed the rest
    lost = metadata["counts"]["crops"][NO_FACE] + metadata["counts"]["crops"][UNREADABLE]
    rows = sum(metadata["counts"]["rows"].values())
    if lost == rows:
        raise ValueError(
            f"in none of {rows} pictures was a face found. If these are crops that are aligned already, say so "
            "(--aligned); crops that are cut tightly otherwise need their uncropped pictures."
        )
    if lost:
        notes.append(
            f"{lost} of {rows} pictures show no face that was found, or cannot be read: none is trained on, and those "
            "of test people count as answered wrongly"
        )
    return classes


def _check_aligned(root: str, notes: list[str]) -> None:
    """Whether crops look as the recipe makes them, where YuNet's file is there to see it."""
    try:
        detector = YuNetDetector()
    except (FileNotFoundError, ImportError):
        notes.append("whether the crops are aligned as the checkpoint's was not checked: YuNet's file is not there")
        return
    crops, chosen, _ = read_crops(root, CHECKED)
    differences = check_crops(crops, detector, EYES_NOSE_1).differences()
    if differences:
        notes.append(
            f"WARNING: {chosen} of the crops were looked at: {'; '.join(differences)}. The checkpoint learned from "
            "other crops; better give the uncropped pictures, without --aligned"
        )


def _count_labels(data: OwnData) -> None:
    """Fills `counts` and `training_frames`. Raises ValueError for a label set that cannot be learned or fitted."""
    parts = {
        split: load_corpus(data.corpus, root=data.root, split=split, **data.corpus_options) for split in data.splits
    }
    parts["train"] = rows_with_faces(parts["train"])
    label_sets = [{"name": name, "labels": list(labels)} for name, labels in data.texts.items()]
    matrices = {split: label_matrix(part, label_sets) for split, part in parts.items()}
    data.training_frames = int((~np.isnan(matrices["train"])).any(axis=1).sum())
    column = 0
    for label_set in label_sets:
        name, labels = label_set["name"], label_set["labels"]
        rows = {}
        for offset, label in enumerate(labels):
            values = {split: matrix[:, column + offset] for split, matrix in matrices.items()}
            rows[label] = {s: (int((v == 1).sum()), int((~np.isnan(v)).sum())) for s, v in values.items()}
        data.counts[name] = rows
        column += len(labels)
        for split in ("train", "validation"):
            if not any(row[split][0] for row in rows.values()):
                raise ValueError(
                    f"of {len(parts[split])} {split} pictures none shows a label of {name}: another draw of people "
                    "(--seed) may help, or a column split that says who is who."
                )
        single = problem_type(parts["train"], name).startswith("single")
        _note_rare(name, rows, single, data)


def _note_rare(name: str, rows: dict, single: bool, data: OwnData) -> None:
    never = [label for label, row in rows.items() if not row["train"][0]]
    if never:
        data.notes.append(f"{name}: no training picture shows {', '.join(never)}, so that nothing is learned of it")
    unfitted = [label for label, row in rows.items() if row["train"][0] and not row["validation"][0]]
    if unfitted and not single:
        data.notes.append(f"{name}: no validation picture shows {', '.join(unfitted)}, so its threshold stays at .5")
