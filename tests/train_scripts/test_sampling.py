import numpy as np
import pytest

from train_scripts.sampling import FaceBatchSampler

SUBJECTS = np.repeat([f"S{i}" for i in range(6)], 40)
ACTIVITIES = np.tile(np.repeat(np.arange(4), 10), 6)


def batches(rank=0, world_size=1, start_step=0, batch_size=16, total_steps=30, seed=0, balanced=True):
    sampler = FaceBatchSampler(
        len(SUBJECTS),
        batch_size,
        total_steps,
        seed=seed,
        activities=ACTIVITIES if balanced else None,
        subjects=SUBJECTS if balanced else None,
        rank=rank,
        world_size=world_size,
        start_step=start_step,
    )
    return list(sampler)


def test_every_batch_holds_each_activity_equally_often():
    for batch in batches():
        rows = [row for _, row, _ in batch]
        assert np.bincount(ACTIVITIES[rows], minlength=4).tolist() == [4, 4, 4, 4]


def test_an_activity_goes_round_the_subjects_before_anyone_returns():
    rows = [row for batch in batches(total_steps=6) for _, row, _ in batch]
    for activity in range(4):
        of_activity = [row for row in rows if ACTIVITIES[row] == activity]
        for turn in range(0, len(of_activity) - 5, 6):
            assert len(set(SUBJECTS[of_activity[turn : turn + 6]])) == 6


@pytest.mark.parametrize("balanced", [True, False])
def test_an_epoch_repeats_no_frame(balanced):
    rows = [row for batch in batches(balanced=balanced, total_steps=15) for epoch, row, _ in batch if epoch == 0]
    assert len(rows) == 240 and len(set(rows)) == 240


def test_processes_share_the_batch_of_a_single_process():
    whole = batches(batch_size=32)
    halves = [batches(rank=rank, world_size=2) for rank in range(2)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_starting_later_continues_the_same_order():
    assert batches(start_step=17) == batches()[17:]


def test_every_key_knows_its_step():
    assert [{step for _, _, step in batch} for batch in batches(start_step=17)] == [{step} for step in range(17, 30)]


def test_the_seed_decides_the_order():
    assert batches(seed=1) == batches(seed=1)
    assert batches(seed=1) != batches(seed=2)


def test_fewer_rows_than_a_batch_are_repeated():
    sampler = FaceBatchSampler(5, 8, 3)
    assert [len(batch) for batch in sampler] == [8, 8, 8]
    assert [epoch for batch in sampler for epoch, _, _ in batch] == [0] * 8 + [1] * 8 + [2] * 8


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        FaceBatchSampler(0, 8, 3)
