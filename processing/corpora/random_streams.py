"""Random numbers by key, so that a draw does not depend on what else was drawn, nor where."""

import numpy as np

# What is drawn. The numbers are part of every draw's key: give new things new numbers, never reuse one.
SUBJECT_BEHAVIOUR, CLIP_BEHAVIOUR, IDENTITY, SESSION, CLIP_NUISANCE, SPLIT = range(6)
BILATERAL_SUBJECT, BILATERAL_CLIP, VIDEO_CLIP = range(6, 9)


def random_generator(seed: int, stream: int, *keys: int) -> np.random.Generator:
    """A generator that depends on (seed, stream, keys) alone, e.g. (0, CLIP_BEHAVIOUR, subject, activity)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=(stream, *keys))))
