"""Corpora of facial behaviour, all in the one schema of `schema.py`."""

from datasets import Dataset

from processing.corpora.schema import action_unit_labels, corpus_metadata, expression_labels, face_features

__all__ = ["action_unit_labels", "corpus_metadata", "expression_labels", "face_features", "load_corpus"]


def load_corpus(name: str, root: str | None = None, split: str | None = None, **options) -> Dataset:
    """Load a corpus by name.

    Args:
        name: "synthetic" (drawn faces, needs no data) or "ict_facekit" (three-dimensional faces, rendered from the
            public ICT-FaceKit face model); both render themselves once and are then taken from a cache.
        root: the corpus' own files; only for corpora that have files. Of "ict_facekit": the folder FaceXModel of the
            face model's checkout, by default the environment variable CLEF_ICT_FACEKIT.
        split: "train", "validation", "test" (no subject is in two of them), or None for all rows.
        options: what the corpus offers, see `processing.corpora.synthetic.load_synthetic` and
            `processing.corpora.ict_facekit.load_ict_facekit`.

    Raises ValueError for an unknown name, split or option value, TypeError for an unknown option, FileNotFoundError
    when the corpus' files are missing (it says where to get them).
    """
    if name == "synthetic":
        if root is not None:
            raise ValueError(
                f"the synthetic corpus renders itself and has no files, but root={root!r} was given; leave it"
            )
        from processing.corpora.synthetic import load_synthetic

        return load_synthetic(split=split, **options)
    if name == "ict_facekit":
        from processing.corpora.ict_facekit import load_ict_facekit

        return load_ict_facekit(root=root, split=split, **options)
    raise ValueError(f"there is no corpus {name!r}; there are: 'synthetic', 'ict_facekit'")
