"""Which people train, validate and are tested: the field's fold lists as data, and k folds of anything else.

Folds are numbered from 1, as the literature does. Sources of the lists, both public code:

* BP4D and DISFA: `tool/BP4D_image_label_process.py` and `tool/DISFA_image_label_process.py` of CVI-SZU/ME-GraphAU, with
  its numbering (fold 1 tests part 3, fold 2 part 2, fold 3 part 1). JAA-Net's lists hold the same people; FMAE-IAT uses
  the same parts of BP4D.
* BP4D+: no list is canonical. This one is FMAE-IAT's random 4-fold split (README of forever208/FMAE-IAT); fold k tests
  its k-th line.

Published numbers usually train on all people outside the tested fold. Here some of them are held out as validation
subjects, on which thresholds and epochs are chosen, so that nothing is chosen on the people who are tested.
"""

import re
import warnings

import numpy as np
from datasets import Dataset

from processing.corpora.splits import SPLITS
from processing.wording import counted

_BP4D_PARTS = (
    "F001 M007 F018 F008 F002 M004 F010 F009 M012 M001 F016 M014 F023 M008",
    "M011 F003 M010 M002 F005 F022 M018 M017 F013 M016 F020 F011 M013 M005",
    "F007 F015 F006 F019 M006 M009 F012 M003 F004 F021 F017 M015 F014",
)
_DISFA_PARTS = (
    "SN002 SN010 SN001 SN026 SN027 SN032 SN030 SN009 SN016",
    "SN013 SN018 SN011 SN028 SN012 SN006 SN031 SN021 SN024",
    "SN003 SN029 SN023 SN025 SN008 SN005 SN007 SN017 SN004",
)
_BP4D_PLUS_PARTS = (
    "M040 F072 M015 M029 M003 F076 F053 F026 F044 F066 F057 F061 F071 M050 M033 F079 F020 M025 "
    "F014 F004 F013 M017 F033 M042 M004 F038 F019 M036 M026 M048 F039 F046 M051 F047 M020",
    "F074 F012 F034 M001 F056 F075 M009 M038 F024 M047 F016 M045 M034 M022 F060 M011 M044 M046 "
    "M005 M028 F077 F028 M055 M019 F032 F030 M037 M043 F031 F022 M023 M018 M016 F065 M052",
    "F029 F054 F064 F045 F009 F040 F008 M041 F063 M056 M024 F001 F080 M010 F062 F035 M054 F052 "
    "F027 F043 F042 F050 M057 F078 F058 F017 M035 M030 M027 F021 M031 F069 F002 M008 F068",
    "M058 F037 F010 F023 M007 M002 F025 F073 F048 F041 F051 F011 M032 F005 M021 F018 M013 M049 "
    "M014 F070 F006 F067 M039 M006 F059 F003 F007 F049 M053 F081 F055 M012 F082 F015 F036",
)
# The people that each fold tests, fold 1 first.
LISTS = {
    "bp4d_3fold": tuple(part.split() for part in reversed(_BP4D_PARTS)),
    "disfa_3fold": tuple(part.split() for part in reversed(_DISFA_PARTS)),
    "bp4d_plus_4fold": tuple(part.split() for part in _BP4D_PLUS_PARTS),
}
# Keys of the seeded draws.
_FOLDS, _VALIDATION = 0xF01D, 0x7A11D


def fold_numbers(protocol: str) -> list[int]:
    """The folds of a protocol: "bp4d_3fold", "disfa_3fold", "bp4d_plus_4fold", "official" (one fold: the corpus's own
    splits), or "kfold_K", K folds by subject, e.g. "kfold_4".

    Raises:
        ValueError: there is no such protocol.
    """
    if protocol in LISTS:
        return list(range(1, len(LISTS[protocol]) + 1))
    if protocol == "official":
        return [1]
    k = re.fullmatch(r"kfold_(\d+)", protocol or "")
    if k is None or int(k[1]) < 2:
        raise ValueError(
            f"there is no protocol {protocol!r}; there are: {', '.join(LISTS)}, official, and kfold_K for K folds by "
            "subject, K at least 2, e.g. kfold_4."
        )
    return list(range(1, int(k[1]) + 1))


def fold_rows(
    dataset: Dataset,
    protocol: str,
    fold: int,
    split: str | None = None,
    validation_share: float = 0.15,
    seed: int = 0,
) -> np.ndarray:
    """Rows of a split of one fold.

    Args:
        dataset: all rows of a corpus. For "official" with a column `split` ("train", "validation", "test" or null).
        protocol, fold: see `fold_numbers`.
        split: "train", "validation", "test"; None: all three.
        validation_share: of the people outside the tested fold, more than 0 and less than 1; at least one is held out
            for validation. Not drawn where a corpus has official validation rows.
        seed: of the draw of validation subjects, and of the K folds.

    Returns:
        (n,) int64, ascending. Rows of people in no fold are in none of the splits: a warning counts them.

    Raises:
        ValueError: unknown protocol, fold or split; a person in two splits or in none that can be told; too few people.
    """
    assigned = assign_splits(dataset, protocol, fold, validation_share, seed)
    if split is None:
        return np.flatnonzero(assigned != "")
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}, or None for all.")
    return np.flatnonzero(assigned == split)


def assign_splits(
    dataset: Dataset, protocol: str, fold: int, validation_share: float = 0.15, seed: int = 0
) -> np.ndarray:
    """(N,) str: each row's split in a fold, "" for people in no fold. Arguments and errors as in `fold_rows`."""
    numbers = fold_numbers(protocol)
    if fold not in numbers:
        raise ValueError(f"fold: got {fold!r}, but {protocol} has the folds {', '.join(map(str, numbers))}.")
    if not 0 < validation_share < 1:
        raise ValueError(f"validation_share: got {validation_share}, expected more than 0 and less than 1.")
    subjects = _subjects(dataset)
    if protocol == "official":
        assigned = _official_splits(dataset)
    else:
        folds = people_by_fold(protocol, subjects, seed)
        _warn_about(fold_report(dataset, protocol, seed))
        assigned = np.full(len(subjects), "", dtype="<U10")
        assigned[np.isin(subjects, [name for people in folds for name in people])] = "train"
        assigned[np.isin(subjects, folds[fold - 1])] = "test"
    refuse_overlap(subjects, assigned)
    if not (assigned == "validation").any():
        training = np.unique(subjects[assigned == "train"])
        count = max(1, round(validation_share * len(training)))
        if count >= len(training):
            raise ValueError(
                f"{protocol}, fold {fold}: got {len(training)} people outside the tested fold, of whom {count} would "
                "validate: nobody is left to train on."
            )
        random = np.random.default_rng([seed, _VALIDATION, fold])
        assigned[np.isin(subjects, random.permutation(training)[:count])] = "validation"
    for split in ("train", "test"):
        if not (assigned == split).any():
            raise ValueError(f"{protocol}, fold {fold}: the corpus has no row in the {split} split.")
    return assigned


def people_by_fold(protocol: str, subjects: np.ndarray, seed: int = 0) -> list[list[str]]:
    """The people that each fold tests, fold 1 first, whether the corpus has them or not. Not for "official".

    Raises:
        ValueError: a person is in two folds, no person of the list is in the corpus, or fewer people than folds.
    """
    known = np.unique(subjects)
    if protocol in LISTS:
        folds = [list(people) for people in LISTS[protocol]]
        if not np.isin(known, [name for people in folds for name in people]).any():
            raise ValueError(
                f"no person of the corpus ({', '.join(known[:5])}, …) is in the fold list {protocol} "
                f"({', '.join(folds[0][:3])}, …): is it the list of another corpus?"
            )
    else:
        count = len(fold_numbers(protocol))
        if len(known) < count:
            raise ValueError(f"{protocol}: got {len(known)} people, expected at least as many as folds.")
        order = np.random.default_rng([seed, _FOLDS]).permutation(known)
        folds = [sorted(part.tolist()) for part in np.array_split(order, count)]
    names = [name for people in folds for name in people]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"{protocol}: {', '.join(twice)} stand in two folds, expected each person in one.")
    return folds


def fold_report(dataset: Dataset, protocol: str, seed: int = 0) -> dict:
    """Who of the corpus is in no fold, and who of the folds is not in the corpus.

    Returns:
        "people": in the corpus; "without_fold": names in no fold; "frames_without_fold"; "missing": names of the fold
        list that the corpus lacks. For "official", rows without a split are those in no fold.
    """
    subjects = _subjects(dataset)
    if protocol == "official":
        outside, missing = _official_splits(dataset) == "", []
    else:
        listed = [name for people in people_by_fold(protocol, subjects, seed) for name in people]
        outside, missing = ~np.isin(subjects, listed), sorted(set(listed) - set(subjects.tolist()))
    return {
        "people": len(np.unique(subjects)),
        "without_fold": np.unique(subjects[outside]).tolist(),
        "frames_without_fold": int(outside.sum()),
        "missing": missing,
    }


def report_lines(report: dict, names: bool = True) -> list[str]:
    """What of a `fold_report` a reader has to know, a sentence each; none if everybody is in place.

    Args:
        names: say who. False: for what may be published, how many.
    """
    said = _shortened if names else _counted
    lines = []
    if report["frames_without_fold"]:
        people = said(report["without_fold"])
        lines.append(f"in no fold and left out: {counted(report['frames_without_fold'], 'frame')} of {people}")
    if report["missing"]:
        lines.append(f"of the fold list's people, the corpus lacks {said(report['missing'])}")
    return lines


def refuse_overlap(subjects: np.ndarray, splits: np.ndarray) -> None:
    """Raises ValueError when a person is in two splits; (N,) str both, "" = in none."""
    # No sorted arrays: where each picture is a person, they take seconds.
    seen: dict[str, set] = {s: set(subjects[splits == s].tolist()) for s in set(splits.tolist()) if s}
    names = sorted(seen)
    for i, split in enumerate(names):
        for other in names[i + 1 :]:
            shared = sorted(seen[split] & seen[other])
            if shared:
                raise ValueError(
                    f"{_shortened(shared)} are in both {split} and {other}: scores would be inflated. Each person may "
                    "be in one split only."
                )


def _official_splits(dataset: Dataset) -> np.ndarray:
    if "split" not in dataset.column_names:
        raise ValueError(
            "the corpus has no official splits (no column 'split'); take a protocol by subject, e.g. kfold_4."
        )
    values = np.array([value or "" for value in dataset["split"][:]], dtype="<U10")
    unknown = sorted(set(values.tolist()) - {*SPLITS, ""})
    if unknown:
        raise ValueError(f"column 'split': got {', '.join(unknown)}, expected {', '.join(SPLITS)} or nothing.")
    return values


def _subjects(dataset: Dataset) -> np.ndarray:
    values = dataset["subject_id"][:]
    unknown = sum(value is None for value in values)
    if unknown:
        raise ValueError(f"{unknown} of {len(values)} rows have no subject_id: they cannot be split by person.")
    return np.array(values, dtype=str)


def _warn_about(report: dict) -> None:
    for line in report_lines(report):
        warnings.warn(line, stacklevel=4)


def _shortened(names: list[str]) -> str:
    return f"{_counted(names)} ({', '.join(names[:8])}{', …' if len(names) > 8 else ''})"


def _counted(names: list[str]) -> str:
    return counted(len(names), "person", "people")
