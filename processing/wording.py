"""Counts as they are said: a noun that agrees with its number."""


def counted(count: int, one: str, several: str = "") -> str:
    """ "1 frame", "2 frames", "0 frames"; `several`: a plural without an s, as "people" of "person"."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"
