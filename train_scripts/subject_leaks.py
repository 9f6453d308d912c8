"""Nobody is scored by a network, or at thresholds, that their own frames helped to make."""

from collections.abc import Iterator
from pathlib import Path

import yaml
from datasets import Dataset

from processing.corpora import load_corpus
from processing.wording import counted

# Corpora that draw other people under the same ids for other options, and the options that leave people who they are.
RENDERED = ("synthetic", "ict_facekit")
SAME_PEOPLE = ("cache_dir", "protocol", "fold", "validation_share", "fold_seed")
# Corpora that are other people's in each folder.
ANYBODY = ("image_folder", "prepared")


def refuse_shared_subjects(fitted: Dataset, scored: Dataset) -> None:
    """Raises ValueError when a subject, known by corpus and id, occurs in both."""
    shared = subjects_of(fitted) & subjects_of(scored)
    if shared:
        raise ValueError(
            f"{counted(len(shared), 'subject')} ({_some(shared)}) both among the frames that are scored and those "
            "that something is fitted on: scores would be inflated. Split by subject_id."
        )


def refuse_any_shared_subjects(splits: list[Dataset]) -> None:
    """`refuse_shared_subjects` for every two of the splits."""
    for i, split in enumerate(splits):
        for other in splits[i + 1 :]:
            refuse_shared_subjects(split, other)


def refuse_training_subjects(
    checkpoint: str, name: str, root: str | None, corpus_options: dict, parts: list[Dataset]
) -> None:
    """Refuses people whom the run, or one that it went on from, trained on; says so where that cannot be found out.

    Args:
        checkpoint: the run's folder, or a Hub id, of which nothing is known.
        name, root, corpus_options: the corpus that is evaluated.
        parts: the frames that are scored and those that something is fitted on.

    Raises:
        ValueError: somebody in the parts is in the training split of such a run's corpus.
    """
    people = set().union(*map(subjects_of, parts))
    for folder, recipe in _recipes_of(checkpoint):
        trained_on = recipe.get("corpus_options") or {}
        train = _training_frames(folder, recipe, name, root, corpus_options)
        shared = people & subjects_of(train) if train is not None else set()
        if shared:
            raise ValueError(
                f"{len(shared)} of {len(people)} subjects ({_some(shared)}) that are scored, or that thresholds are "
                f"fitted on, were trained on, expected none: {folder} was trained with corpus_options {trained_on}, "
                f"and this evaluates with {corpus_options}. Evaluate with those that it was trained with, whose test "
                "people it has not seen, or score training people on purpose with --split train."
            )


def _recipes_of(checkpoint: str) -> Iterator[tuple[str, dict]]:
    """Folder and recipe of a run, then of those that it went on from, as far as their folders are there."""
    seen: set[Path] = set()
    while checkpoint and Path(checkpoint).resolve() not in seen and (recipe := run_recipe(checkpoint)):
        yield checkpoint, recipe
        seen.add(Path(checkpoint).resolve())
        checkpoint = recipe.get("init_from")


def _training_frames(folder: str, recipe: dict, name: str, root: str | None, corpus_options: dict) -> Dataset | None:
    """What a run was trained on, where that may hold people of the corpus that is evaluated."""
    trained_on = recipe.get("corpus_options") or {}
    if recipe.get("corpus") != name:
        return None
    if name in RENDERED and _people(trained_on) != _people(corpus_options):
        return None
    same_root = root == recipe.get("root") or _resolved(root) == _resolved(recipe.get("root"))
    if same_root and trained_on == corpus_options:
        return None  # splits of one and the same corpus, which share nobody
    unchecked = f"not checked whether anybody who is scored was trained on in {folder}: "
    if name in ANYBODY and not same_root:
        print(f"{unchecked}its recipe names another folder of data, {recipe.get('root')!r}")
        return None
    try:
        return load_corpus(name, root=root, split="train", **trained_on)
    except (OSError, TypeError, ValueError) as error:
        print(f"{unchecked}the training frames of its recipe cannot be loaded ({error})")
        return None


def _people(corpus_options: dict) -> dict:
    return {key: value for key, value in corpus_options.items() if key not in SAME_PEOPLE}


def _resolved(root: str | None) -> Path | None:
    return root and Path(root).resolve()


def _some(subjects: set[tuple[str, str]]) -> str:
    return ", ".join(subject for _, subject in sorted(subjects)[:4]) + (", …" if len(subjects) > 4 else "")


def subjects_of(dataset: Dataset) -> set[tuple[str, str]]:
    pairs = zip(dataset["corpus"][:], dataset["subject_id"][:], strict=True)
    return {(corpus or "", subject) for corpus, subject in pairs if subject is not None}


def run_recipe(checkpoint: str) -> dict:
    """The run folder's recipe; empty without one, as of a Hub id."""
    path = Path(checkpoint, "recipe.yaml")
    return yaml.safe_load(path.read_text()) if path.is_file() else {}
