"""A drawn corpus to the Hub: Parquet files that `load_dataset` reads back equal, and a card that says how they came."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub_cards.data_sets import data_set
from hub_cards.push import NotAsSent
from hub_cards.send import Destination, Existing, PushError, Sent, look_at, read_json, send_folder, size_of

SPLITS = ("train", "validation", "test")
ROWS_A_FILE = 20_000
ROWS_AT_ONCE = 1000
METADATA = "metadata.json"
WRITTEN = ("data/*.parquet", METADATA)


def push_corpus(
    corpus: str,
    destination: Destination,
    options: dict[str, Any] | None = None,
    root: str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = print,
) -> Sent | None:
    """Publishes a corpus that is drawn by this project; one of people is not ours to pass on.

    Args:
        corpus, options, root: as for `processing.corpora.load_corpus`. What is rendered already is taken from its
            cache, so that a push that was killed goes on from there.
        dry_run: nothing is asked of the Hub and nothing sent; returns None.

    Raises:
        PushError: refused, or it could not be sent; nothing has changed on the Hub. NotAsSent: what the Hub gives back
            is another corpus than was sent.
    """
    existing = None
    if not dry_run:
        existing = look_at(destination)
        if existing is not None:
            _check_content(destination, existing)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, destination.repo_id.split("/")[-1])
        folder.mkdir()
        try:
            originals = write_corpus(corpus, folder, destination.repo_id, options, root)
            check_equal(str(folder), originals, Path(scratch, "read"))
        except (OSError, ValueError, TypeError, ImportError) as error:
            raise PushError(f"not published: {error}") from error
        rows = ", ".join(f"{len(dataset)} {split}" for split, dataset in originals.items())
        say(f"{rows} rows, {size_of(folder) / 1e6:.1f} MB; load_dataset reads them back equal")
        if dry_run:
            say("dry run: nothing was sent")
            return None
        say(f"sending to {destination} …")
        sent = send_folder(folder, destination, f"CLEF corpus: {corpus}", WRITTEN, existing)
        say("reading the Hub's copy …")
        try:
            check_equal(destination.repo_id, originals, Path(scratch, "hub"), revision=sent.revision)
        except Exception as error:  # whatever keeps others from reading it
            raise NotAsSent(f"sent as commit {sent.commit[:12]}, but {error}", sent) from error
    return sent


def _check_content(destination: Destination, existing: Existing) -> None:
    """Raises PushError where the repository holds anything but a corpus that this project draws."""
    metadata = read_json(METADATA, destination, existing) if METADATA in existing.files else {}
    if existing.content and not data_set(str(metadata.get("corpus"))).drawn:
        raise PushError(
            f"{destination} holds {existing.content[0]}, and no {METADATA} of a CLEF corpus: give another --repo."
        )


def write_corpus(
    corpus: str, folder: Path, repo_id: str | None, options: dict[str, Any] | None = None, root: str | None = None
) -> dict:
    """Writes the splits as Parquet files in `data`, metadata.json and the card; returns split → Dataset as it came.

    Raises:
        ValueError: a corpus with people in it, or unusable options.
    """
    from datasets.utils import tqdm

    from hub_cards.dataset_card import MAKING, write_dataset_card
    from processing.corpora import corpus_metadata, load_corpus

    if corpus not in MAKING:
        raise ValueError(f"got the corpus {corpus!r}; only drawn ones ({', '.join(MAKING)}) may be published.")
    datasets = {split: load_corpus(corpus, root=root, split=split, **options or {}) for split in SPLITS}
    (folder / "data").mkdir()
    with tqdm(total=sum(map(len, datasets.values())), unit="row", desc="writing Parquet") as progress:
        for split, dataset in datasets.items():
            files = -(-len(dataset) // ROWS_A_FILE)
            for number in range(files):
                part = dataset.shard(files, number, contiguous=True)
                part.to_parquet(folder / "data" / f"{split}-{number:05d}-of-{files:05d}.parquet")
                progress.update(len(part))
    metadata = corpus_metadata(datasets["train"])
    (folder / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    write_dataset_card(folder, metadata, repo_id)
    return datasets


def check_equal(source: str, originals: dict, cache: Path, **load: Any) -> None:
    """Raises ValueError unless `load_dataset(source)` gives these splits: columns, types, rows in their order, and
    pictures to the last byte.

    Args:
        originals: split → Dataset. cache: where the library may keep its copies. load: options of `load_dataset`.
    """
    from datasets import load_dataset

    found = load_dataset(source, cache_dir=str(cache), **load)
    if sorted(found) != sorted(originals):
        raise ValueError(f"load_dataset finds the splits {sorted(found)}, expected {sorted(originals)}.")
    for split, original in originals.items():
        copy = found[split]
        if copy.features != original.features:
            raise ValueError(f"load_dataset gives {split} the columns {copy.features}, expected {original.features}.")
        if len(copy) != len(original):
            raise ValueError(f"load_dataset reads {len(copy)} rows of {split}, expected {len(original)}.")
        for start in range(0, len(original), ROWS_AT_ONCE):
            rows = range(start, min(start + ROWS_AT_ONCE, len(original)))
            if _plain(copy, rows) != _plain(original, rows):
                raise ValueError(f"load_dataset reads other rows of {split} between {rows.start} and {rows.stop}.")


def _plain(dataset, rows: range) -> dict:
    """Rows as plain values, pictures as their bytes: a file's name is no part of a picture."""
    import pyarrow.compute as pc

    table = dataset.with_format("arrow")[rows.start : rows.stop]
    columns = {name: table[name] for name in table.column_names}
    columns["image"] = pc.struct_field(columns["image"], "bytes")
    return {name: column.to_pylist() for name, column in columns.items()}
