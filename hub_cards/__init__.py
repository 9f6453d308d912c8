"""Model cards: rendered from measured results, never typed."""
