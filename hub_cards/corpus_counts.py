"""What the Parquet files of a corpus hold, counted without opening a picture."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

SPLITS = ("train", "validation", "test")
PRESENT = 2.0  # an action unit counts from this intensity on, as in `schema.action_unit_labels`


@dataclass(frozen=True)
class CorpusCounts:
    """frames, subjects: by split. patterns: of each split's files, for the Hub. columns: names. base_rates: action
    unit → share of the frames, in [0, 1]. expressions: name → frames, the most frequent first."""

    frames: dict[str, int]
    subjects: dict[str, int]
    patterns: dict[str, str]
    columns: list[str]
    base_rates: dict[str, float]
    expressions: dict[str, int]


def count_corpus(folder: Path) -> CorpusCounts:
    """Counts the files `SPLIT….parquet` in the folder, at any depth.

    Raises:
        FileNotFoundError: there are none. ValueError: files of a split lie in several folders, a subject is in two
            splits, or a column is missing.
    """
    files = {split: sorted(folder.rglob(f"{split}*.parquet")) for split in SPLITS}
    files = {split: paths for split, paths in files.items() if paths}
    if not files:
        raise FileNotFoundError(f"{folder} holds no files such as train-00000-of-00001.parquet.")
    people, frames, patterns, expressions = {}, {}, {}, Counter()
    present, known = Counter(), Counter()
    for split, paths in files.items():
        if len({path.parent for path in paths}) > 1:
            raise ValueError(f"the files of {split} lie in several folders: {sorted({str(p.parent) for p in paths})}.")
        patterns[split] = str((paths[0].parent / f"{split}*.parquet").relative_to(folder).as_posix())
        people[split], frames[split] = set(), 0
        for path in paths:
            names = pq.read_schema(path).names
            if missing := {"subject_id", "expression", "action_units"} - set(names):
                raise ValueError(f"{path.name} lacks the columns {sorted(missing)}.")
            rows = pq.read_table(path, columns=["subject_id", "expression", "action_units"])
            frames[split] += len(rows)
            people[split] |= set(rows["subject_id"].to_pylist())
            expressions.update(rows["expression"].to_pylist())
            units = rows["action_units"].combine_chunks()
            for unit in (field.name for field in units.type):
                values = pc.struct_field(units, unit).to_numpy(zero_copy_only=False)
                known[unit] += int((~np.isnan(values)).sum())
                present[unit] += int((values >= PRESENT).sum())
    splits = list(people)
    for i, split in enumerate(splits):
        for other in splits[i + 1 :]:
            if shared := sorted(people[split] & people[other]):
                raise ValueError(f"{len(shared)} subjects ({', '.join(shared[:5])}) are in {split} and in {other}.")
    return CorpusCounts(
        frames=frames,
        subjects={split: len(names) for split, names in people.items()},
        patterns=patterns,
        columns=names,
        base_rates={unit: present[unit] / known[unit] for unit in known if known[unit]},
        expressions=dict(expressions.most_common()),
    )
