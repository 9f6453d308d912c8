"""How cards write figures: percent with one digit, intervals in brackets, Markdown tables."""

from collections.abc import Sequence

UNDEFINED = "–"


def percent(value: float | None) -> str:
    """A fraction in [0, 1] as "56.1"."""
    return UNDEFINED if value is None else f"{100 * value:.1f}"


def points(value: float) -> float:
    """A fraction in [0, 1] as percent for metadata, rounded as `percent` writes it."""
    return round(100 * value, 1)


def with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """ "56.1 [51.0, 60.2]", without brackets where there is no interval."""
    if value is None or not interval:
        return percent(value)
    return f"{percent(value)} [{percent(interval[0])}, {percent(interval[1])}]"


def with_spread(value: float | None, sd: float | None) -> str:
    """ "56.1 ± 2.0" """
    return percent(value) + ("" if sd is None else f" ± {percent(sd)}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars within cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def count(number: int, singular: str, plural: str | None = None) -> str:
    """ "1,600 frames", "1 frame" """
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def paragraphs(*parts: str | None) -> str:
    """The parts that there are, a blank line between."""
    return "\n\n".join(part.strip("\n") for part in parts if part)
