"""Which frames make a batch: balanced over activities and subjects, the same for any number of workers."""

import numpy as np
from torch.utils.data import Sampler

# How often another row is drawn in place of one that cannot be used, before that counts as an error.
ATTEMPTS = 20


class FaceBatchSampler(Sampler[list[tuple[int, int, int]]]):
    """Yields one process's share of every batch, as `(epoch, row, step)`, from `start_step` to `total_steps`.

    With `activities`, every batch holds each activity equally often, and within an activity goes round the subjects,
    so that the positives of a face are mostly other people. Without, epochs are plain permutations.

    Args:
        size: number of rows.
        batch_size: rows a process and step.
        total_steps: steps of the whole run; an epoch has `size // (batch_size * world_size)` of them, at least one.
        activities: integer ids, shape (size,); `subjects` likewise.
        rank, world_size: this process's share. A step's rows depend on the global batch only.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        total_steps: int,
        *,
        seed: int = 0,
        activities: np.ndarray | None = None,
        subjects: np.ndarray | None = None,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ):
        if size < 1:
            raise ValueError("got no rows to draw batches from, expected at least one.")
        if activities is not None and (subjects is None or len(activities) != size or len(subjects) != size):
            raise ValueError(f"expected activities and subjects of {size} rows each.")
        self.size, self.batch_size, self.total_steps, self.seed = size, batch_size, total_steps, seed
        self.activities, self.subjects = activities, subjects
        self.rank, self.world_size, self.start_step = rank, world_size, start_step
        self.steps_per_epoch = steps_per_epoch(size, batch_size * world_size)

    def __len__(self) -> int:
        return self.total_steps - self.start_step

    def __iter__(self):
        own = slice(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
        current, order = -1, None
        for step in range(self.start_step, self.total_steps):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != current:
                current, order = epoch, self._epoch_order(epoch)
            yield [(epoch, int(row), step) for row in order[position][own]]

    def draw_instead(self, row: int, epoch: int, step: int, attempt: int) -> int:
        """Another row in place of one that cannot be used: of the same activity if batches are balanced, unless it has
        no other or half of `ATTEMPTS` were in vain. The same in every process and after a resume."""
        random = np.random.default_rng([self.seed, epoch, step, row, attempt])
        if self.activities is not None and attempt < ATTEMPTS // 2:
            rows = np.flatnonzero(self.activities == self.activities[row])
            rows = rows[rows != row]
            if len(rows):
                return int(random.choice(rows))
        return int(random.integers(self.size))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """Rows of an epoch, shape (steps, global batch)."""
        random = np.random.default_rng([self.seed, epoch])
        shape = (self.steps_per_epoch, self.batch_size * self.world_size)
        needed = shape[0] * shape[1]
        if self.activities is None:
            return _repeat(lambda: random.permutation(self.size), needed).reshape(shape)
        groups = [np.flatnonzero(self.activities == key) for key in np.unique(self.activities)]
        # Activities take turns along the epoch, so any stretch of a batch holds each equally often.
        turns = np.concatenate([random.permutation(len(groups)) for _ in range(-(-needed // len(groups)))])[:needed]
        order = np.empty(needed, dtype=np.int64)
        for key, rows in enumerate(groups):
            places = np.flatnonzero(turns == key)
            order[places] = _repeat(lambda rows=rows: self._around_subjects(rows, random), len(places))
        return order.reshape(shape)

    def _around_subjects(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """`rows` shuffled so that each subject comes once before any comes again."""
        rows = random.permutation(rows)
        _, subject = np.unique(self.subjects[rows], return_inverse=True)
        by_subject = np.argsort(subject, kind="stable")
        first_of_subject = np.searchsorted(subject[by_subject], subject[by_subject])
        turn = np.empty(len(rows), dtype=np.int64)
        turn[by_subject] = np.arange(len(rows)) - first_of_subject
        return rows[np.lexsort((random.random(len(rows)), turn))]


def steps_per_epoch(size: int, global_batch: int) -> int:
    return max(1, size // global_batch)


def _repeat(draw, needed: int) -> np.ndarray:
    """Concatenated fresh draws, cut to `needed` rows."""
    parts, have = [np.empty(0, dtype=np.int64)], 0
    while have < needed:
        parts.append(draw())
        have += len(parts[-1])
    return np.concatenate(parts)[:needed]
