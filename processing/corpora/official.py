"""What an adapter reads from a data set's official files: one record a face, and a count of everything left out."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

EXAMPLES = 5  # file names or rows kept of each kind of trouble


@dataclass(frozen=True, slots=True)  # BP4D+ has more than a million of them
class FaceRecord:
    """One labelled face as the official files give it, before cropping.

    Attributes:
        image: the picture file; None where the set ships videos.
        video, video_frame: the video file and the 0-based index of its frame in order of presentation.
        subject_id, sequence_id, frame: as in the corpus schema; `frame` is the set's own number of it.
        activity, expression: as in the corpus schema.
        action_units: "AU12" → value as the set codes it, None = not coded.
        split: "train", "validation" or "test" where the set has official splits.
        points: (5, 2) or (3, 2), as `face_alignment_clef.crop_matrix` takes them, where the set ships landmarks.
        box: (4,) left, top, right, bottom in pixels, where the set ships boxes.
        aligned: the picture is the set's own aligned crop.
        groups: "gender" → "woman", …, where the set has them.
        pixels: uint8 (H, W) or (H, W, 3), where the set ships pixels in a table instead of picture files.
        own_labels: one's own labels: column → 0 or 1, or a word; None = not coded.
    """

    subject_id: str
    image: Path | None = None
    video: Path | None = None
    video_frame: int | None = None
    sequence_id: str = ""
    frame: int = 0
    activity: str | None = None
    expression: str | None = None
    action_units: dict[str, float | None] = field(default_factory=dict)
    split: str | None = None
    points: np.ndarray | None = None
    box: np.ndarray | None = None
    aligned: bool = False
    groups: dict[str, str] = field(default_factory=dict)
    pixels: np.ndarray | None = None
    own_labels: dict[str, float | str | None] = field(default_factory=dict)


class ReadingReport:
    """Counts what was not used, by reason and sequence, with a few examples of each."""

    def __init__(self):
        self._counts: dict[str, Counter] = defaultdict(Counter)
        self._examples: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, sequence: str = "", count: int = 1, example: object = None) -> None:
        """`reason`: a short phrase such as "label without a frame"; `sequence`: where, e.g. "F001/T1"."""
        if count < 1:
            return
        self._counts[reason][sequence] += count
        if example is not None and len(self._examples[reason]) < EXAMPLES:
            self._examples[reason].append(str(example))

    def count(self, reason: str) -> int:
        return sum(self._counts[reason].values()) if reason in self._counts else 0

    @property
    def reasons(self) -> list[str]:
        return sorted(self._counts)

    def as_dict(self) -> dict:
        """JSON: reason → {"count", "by_sequence", "examples"}."""
        return {
            reason: {
                "count": self.count(reason),
                "by_sequence": dict(sorted(self._counts[reason].items())),
                "examples": self._examples[reason],
            }
            for reason in self.reasons
        }

    def lines(self) -> list[str]:
        """A line a reason, for the terminal."""
        lines = []
        for reason in self.reasons:
            places = self._counts[reason]
            where = ", ".join(f"{name or '–'} ({count})" for name, count in places.most_common(3))
            more = f" and {len(places) - 3} more" if len(places) > 3 else ""
            where = f": {where}{more}" if any(places) else ""  # "" alone: there are no sequences
            lines.append(f"{self.count(reason)} × {reason}{where}")
        return lines


@dataclass
class OfficialCorpus:
    """All faces of a data set's official files.

    Attributes:
        action_units: names of the AUs that the set codes, in the order of the project's tables.
        action_unit_coding: "occurrence" or "intensity"; None if it codes none.
        licence: one line on its terms.
        own_labels: columns of one's own labels → what they hold, "occurrence" or "word".
    """

    name: str
    records: list[FaceRecord]
    report: ReadingReport
    action_units: tuple[str, ...] = ()
    action_unit_coding: str | None = None
    licence: str = ""
    own_labels: dict[str, str] = field(default_factory=dict)


def wrong_root(name: str, root: Path, expected: list[str]) -> FileNotFoundError:
    """The error for a root that does not hold a set's files: what was looked for, and what is there instead."""
    root = Path(root)
    if not root.exists():
        found = "it does not exist"
    elif not root.is_dir():
        found = "it is a file, not a folder"
    else:
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in root.iterdir())
        found = "it holds " + (", ".join(names[:12]) + (" …" if len(names) > 12 else "") if names else "nothing")
    return FileNotFoundError(
        f"{str(root)!r} is not the root of {name}: looked for {', '.join(expected)}, but {found}. "
        "Give the folder that holds these; docs/data_sets.md shows how the files of each set have to lie."
    )
