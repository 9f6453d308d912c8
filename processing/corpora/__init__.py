"""Corpora of facial behaviour, all in the one schema of `schema.py`."""

import inspect
from collections.abc import Callable

import numpy as np
from datasets import Dataset

from processing.corpora.schema import action_unit_labels, corpus_metadata, expression_labels, face_features

__all__ = ["action_unit_labels", "corpus_metadata", "expression_labels", "face_features", "load_corpus"]

# Fold lists that the literature uses; `folds.py` has them.
_USUAL_PROTOCOLS = {"bp4d": "bp4d_3fold", "bp4d_plus": "bp4d_plus_4fold", "disfa": "disfa_3fold"}


def load_corpus(
    name: str,
    root: str | None = None,
    split: str | None = None,
    protocol: str | None = None,
    fold: int | None = None,
    validation_share: float = 0.15,
    fold_seed: int = 0,
    **options,
) -> Dataset:
    """Load a corpus by name.

    Args:
        name: "synthetic" (drawn faces, needs no data) or "ict_facekit" (three-dimensional faces, rendered from the
            public ICT-FaceKit face model), which render themselves once and are then taken from a cache; a data set
            with official files: "bp4d", "bp4d_plus", "disfa", "raf_db", "affectnet", "ferplus", or "image_folder"
            for one's own pictures; "prepared" for whatever a folder of train_scripts/prepare.py holds.
        root: the corpus' own files. Of a data set: the folder that train_scripts/prepare.py wrote, whose faces are
            aligned, or the official files themselves, whose pictures come as they are. Of "ict_facekit": the folder
            FaceXModel of the face model's checkout, by default the environment variable CLEF_ICT_FACEKIT.
        split: "train", "validation", "test" (no subject is in two of them), or None for all rows. Without a protocol:
            the splits of the rendered corpora, the official ones of data sets that have such.
        protocol, fold: who is in which split: a protocol of `processing.corpora.folds.fold_rows`, such as
            "bp4d_3fold" or "kfold_5", for any corpus, and which of its folds, counted from 1.
        validation_share, fold_seed: of a protocol: the share of the training people who are held out for validation,
            and the seed that draws them.
        options: what the corpus offers, see `processing.corpora.synthetic.load_synthetic`,
            `processing.corpora.ict_facekit.load_ict_facekit` and the data sets' adapters `read_NAME`. A prepared folder
            was read with such options already: others are refused.

    Data sets have a further column `split`, prepared ones those that `processing.corpora.prepared` tells.

    Raises ValueError for an unknown name, split or option value and for a person in two splits, TypeError for an
    unknown option, FileNotFoundError when the corpus' files are missing (it says where to get them).
    """
    if protocol is None:
        if fold is not None:
            raise ValueError(f"fold={fold!r} of which protocol? Name one, e.g. protocol='kfold_5'")
        return _load(name, root, split, options)
    from processing.corpora.folds import fold_rows

    everyone = _load(name, root, None, options)
    rows = fold_rows(everyone, protocol, fold, split, validation_share=validation_share, seed=fold_seed)
    return everyone.select(rows)


def _load(name: str, root: str | None, split: str | None, options: dict) -> Dataset:
    """The corpus without a protocol."""
    from processing.corpora.splits import check_options, check_split

    if name == "synthetic":
        if root is not None:
            raise ValueError(
                f"the synthetic corpus renders itself and has no files, but root={root!r} was given; leave it"
            )
        from processing.corpora.synthetic import load_synthetic

        check_options(name, options, _options_of(load_synthetic))
        return load_synthetic(split=split, **options)
    if name == "ict_facekit":
        from processing.corpora.ict_facekit import load_ict_facekit

        check_options(name, options, _options_of(load_ict_facekit))
        return load_ict_facekit(root=root, split=split, **options)

    from processing.corpora.adapters import READERS, load_official
    from processing.corpora.prepared import load_prepared, read_prepared_metadata

    if name != "prepared" and name not in READERS:
        known = ["synthetic", "ict_facekit", *READERS, "prepared"]
        raise ValueError(f"there is no corpus {name!r}; there are: {', '.join(map(repr, known))}")
    check_split(split)
    if root is None:
        raise ValueError(
            f"{name!r} has files of its own: give root, a folder that train_scripts/prepare.py wrote"
            + ("" if name == "prepared" else " or the official files")
        )
    if name == "prepared" or read_prepared_metadata(root) is not None:
        corpus = load_prepared(root, name, options)
    else:
        corpus = load_official(name, root, options)
    return corpus if split is None else _official_split(corpus, split)


def _options_of(load: Callable) -> list[str]:
    return [name for name in inspect.signature(load).parameters if name not in ("root", "split")]


def _official_split(corpus: Dataset, split: str) -> Dataset:
    from processing.corpora.folds import refuse_overlap

    splits = corpus["split"][:]
    rows = [row for row, its_split in enumerate(splits) if its_split == split]
    if rows:
        refuse_overlap(np.array(corpus["subject_id"][:]), np.array([its_split or "" for its_split in splits]))
        return corpus.select(rows)
    name = corpus_metadata(corpus)["corpus"]
    official = sorted({its_split for its_split in splits if its_split is not None})
    usual = _USUAL_PROTOCOLS.get(name, "official" if official else None)
    raise ValueError(
        f"{name} has no official split {split!r}"
        + (f", only {', '.join(map(repr, official))}" if official else "")
        + f"; choose people by a protocol{f' such as {usual!r}' if usual else ''} or 'kfold_5': "
        + 'load_corpus(…, protocol=…, fold=…), of the scripts --corpus_options \'{"protocol": …, "fold": …}\''
    )
