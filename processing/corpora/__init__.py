"""Corpora of facial behaviour, all in the one schema of `schema.py`."""

from datasets import Dataset

from processing.corpora.schema import action_unit_labels, corpus_metadata, expression_labels, face_features

__all__ = ["action_unit_labels", "corpus_metadata", "expression_labels", "face_features", "load_corpus"]


def load_corpus(name: str, root: str | None = None, split: str | None = None, **options) -> Dataset:
    """Load a corpus by name.

    Args:
        name: "synthetic" is the only corpus so far: it renders itself and needs no data.
        root: folder of the corpus' own files; only for corpora that have files.
        split: "train", "validation", "test" (no subject is in two of them), or None for all rows.
        options: what the corpus offers, see `processing.corpora.synthetic.load_synthetic`.

    Raises ValueError for an unknown name, split or option value, TypeError for an unknown option.
    """
    if name == "synthetic":
        if root is not None:
            raise ValueError(
                f"the synthetic corpus renders itself and has no files, but root={root!r} was given; leave it"
            )
        from processing.corpora.synthetic import load_synthetic

        return load_synthetic(split=split, **options)
    raise ValueError(f"there is no corpus {name!r}; there is: 'synthetic'")
