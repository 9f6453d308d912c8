import pytest

from train_scripts.schedule import learning_rate_at


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_rises_to_the_peak_and_never_exceeds_it(schedule):
    rates = [learning_rate_at(step, 100, 2.0, 0.1, schedule) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert max(rates) == pytest.approx(2.0)
    assert all(a >= b for a, b in zip(rates[9:], rates[10:], strict=False))


def test_agrees_with_the_cosine_of_transformers():
    import torch
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 0, 50)
    for step in range(50):
        assert learning_rate_at(step, 50, 1.0, 0.0, "cosine") == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
