"""Where what is made once is kept: rendered corpora, and the Arrow copies that `datasets` makes of Parquet files."""

import hashlib
import os
from pathlib import Path

import datasets


def cache_root(cache_dir: str | os.PathLike | None) -> Path:
    """The folder that was asked for; without one, the datasets library's cache."""
    return Path(cache_dir if cache_dir is not None else datasets.config.HF_DATASETS_CACHE)


def make_cache_folder(folder: Path) -> None:
    """Raises OSError, which says what to do, where it cannot be made or nothing can be written in it."""
    advice = "name another folder as cache_dir, or as the environment variable HF_DATASETS_CACHE"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the cache folder {str(folder)!r} cannot be made ({error.strerror}): {advice}.") from error
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"nothing can be written in the cache folder {str(folder)!r}: {advice}.")


def copy_folder(folder: Path) -> Path:
    """Where the Arrow copy of the Parquet files in `folder` lies: beside them if that may be written, else in the
    datasets library's cache."""
    if os.access(folder, os.W_OK):
        return folder / "arrow"
    return cache_root(None) / "clef-copies" / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
