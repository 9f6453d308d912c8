"""Fonts for names in any script: DejaVu Sans, which draws the rest, lacks Chinese, Japanese, Korean and more."""

import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH", "BOPOMOFO")
_advised: set[str] = set()


@contextmanager
def fonts_for(texts: Iterable[str]) -> Iterator[None]:
    """What matplotlib makes within this context has all characters of `texts` that an installed font has. Of others
    it warns, once a process."""
    import matplotlib

    families = [_opened(path).family_name for path in fallback_fonts(_lacking(texts))]
    with matplotlib.rc_context({"font.family": [*matplotlib.rcParams["font.family"], *families]}):
        yield


def font_of_all(texts: Iterable[str]) -> str:
    """The file of one font that has all characters of `texts`, else DejaVu Sans with a warning. For Pillow, which draws
    a text with one font.

    Raises:
        ImportError: matplotlib is missing.
    """
    texts = list(texts)
    lacking, characters = _lacking(texts), set("".join(texts))
    if not lacking:
        return _dejavu()
    whole = next((path for path in _installed() if not _without_glyph(path, characters)), None)
    if whole is None:
        _warn(lacking)
    return whole or _dejavu()


@lru_cache
def fallback_fonts(characters: frozenset[str]) -> tuple[str, ...]:
    """Files of installed fonts that have these characters together, as few as come first; matplotlib knows them then.
    Warns of characters that none has."""
    found, lacking = [], characters
    for path in _installed() if lacking else ():
        left = _without_glyph(path, lacking)
        if len(left) < len(lacking):
            _make_known(path)
            found.append(path)
            lacking = left
        if not lacking:
            break
    if lacking:
        _warn(lacking)
    return tuple(found)


def _lacking(texts: Iterable[str]) -> frozenset[str]:
    shown = {character for character in "".join(texts) if character.isprintable()}
    return frozenset(_without_glyph(_dejavu(), shown))


def _warn(characters: frozenset[str]) -> None:
    names = [unicodedata.name(character, "") for character in characters]
    if any(name.startswith(CJK) for name in names):
        advice = "install Noto Sans CJK (Debian and Ubuntu: apt install fonts-noto-cjk)"
    else:
        advice = "install a font of their script, such as those of fonts.google.com/noto"
    if advice not in _advised:
        _advised.add(advice)
        some = "".join(sorted(characters)[:10])
        warnings.warn(f"no installed font has {some!r}, which are drawn as boxes: {advice}", stacklevel=2)


def _installed() -> list[str]:
    """Files, the likely ones first. Matplotlib's own list is a cache, which does not know what was installed since."""
    from matplotlib import font_manager

    paths = {entry.fname for entry in font_manager.fontManager.ttflist} | set(font_manager.findSystemFonts())
    return sorted(paths, key=lambda path: ("CJK" not in path, "Regular" not in path, "Sans" not in path, path))


def _make_known(path: str) -> None:
    from matplotlib.font_manager import fontManager

    if path not in {entry.fname for entry in fontManager.ttflist}:
        fontManager.addfont(path)


def _without_glyph(path: str, characters: Iterable[str]) -> frozenset[str]:
    font = _opened(path)
    if font is None:
        return frozenset(characters)
    return frozenset(character for character in characters if not font.get_char_index(ord(character)))


def _opened(path: str):
    """None for what cannot be drawn with: bitmaps, and the font that has a box for everything."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (RuntimeError, OSError):
        return None
    return font if font.scalable and not font.family_name.startswith("Last Resort") else None


def _dejavu() -> str:
    from matplotlib import font_manager

    return font_manager.findfont("DejaVu Sans")


__all__ = ["fallback_fonts", "font_of_all", "fonts_for"]
