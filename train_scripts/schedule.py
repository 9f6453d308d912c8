"""The learning rate as a pure function of the step, so that a resumed run has nothing to restore."""

import math


def learning_rate_at(step: int, total_steps: int, peak: float, warmup: float, schedule: str) -> float:
    """Learning rate of optimizer step `step` (from 0): a linear rise over `warmup * total_steps`, then `schedule`."""
    warmup_steps = math.ceil(warmup * total_steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if schedule == "linear":
        return peak * (1 - progress)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
