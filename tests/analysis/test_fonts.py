"""Names in scripts that DejaVu Sans lacks."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("fontTools", reason="makes a font")

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis import fonts
from analysis.explain import Explanation
from analysis.explain_drawing import draw_explanations
from analysis.overlay_drawing import OWN_WORDS, FrameArtist
from analysis.reading import read_about, read_sources
from analysis.timeline import draw_timeline, timelines_of

LAUGHS, SMILES = "\u7b11", "\u5fae"


def make_font(path, family, characters):
    """A font in which every character is a block."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    names = [".notdef", *(f"u{ord(character):x}" for character in characters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): f"u{ord(character):x}" for character in characters})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular", "psName": family.replace(" ", "")})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def installed(monkeypatch):
    """`installed(*paths)`: these fonts are all that there are beside DejaVu."""
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])

    def install(*paths):
        monkeypatch.setattr(fonts, "_installed", lambda: list(paths))
        monkeypatch.setattr(fonts, "_advised", set())
        fonts.fallback_fonts.cache_clear()

    yield install
    fonts.fallback_fonts.cache_clear()


def timeline_of(path, make_table):
    name = f"{LAUGHS}{SMILES}.mp4"
    rows = [{"source": name, "frame": i, "time_s": i * 0.1, "track_id": 0, "AU12": 0.9} for i in range(20)]
    table = make_table(path, rows)
    about = read_about(table)
    (rows,) = read_sources(table, about)
    (timeline,) = timelines_of(rows, about)
    return timeline, about


def test_timelines_take_the_fonts_that_have_the_characters(tmp_path, make_table, installed):
    one = make_font(tmp_path / "one.ttf", "Test Laughs", LAUGHS)
    other = make_font(tmp_path / "other.ttf", "Test Smiles", SMILES)
    installed(make_font(tmp_path / "none.ttf", "Test Latin", "ab"), one, other)
    timeline, _ = timeline_of(tmp_path / "t.parquet", make_table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a character that it has no glyph for
        FigureCanvasAgg(draw_timeline(timeline)).draw()
    assert fonts.fallback_fonts(frozenset(LAUGHS + SMILES)) == (one, other)


def test_characters_that_no_font_has_are_told_once_with_what_to_install(tmp_path, make_table, installed):
    installed()
    timeline, about = timeline_of(tmp_path / "t.parquet", make_table)
    with pytest.warns(UserWarning, match="apt install fonts-noto-cjk"):
        draw_timeline(timeline)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_timeline(timeline)
        assert "DejaVuSans" in fonts.font_of_all([LAUGHS])
        with pytest.raises(UserWarning, match="a font of their script"):
            fonts.font_of_all(["\u1200"])  # Ethiopic
        FrameArtist(about, (640, 360), 1)  # whose labels are Latin


def test_explanations_take_them_too(tmp_path, installed):
    installed(make_font(tmp_path / "one.ttf", "Test Laughs", LAUGHS))
    face = SimpleNamespace(
        crop=np.zeros((8, 8, 3), dtype=np.uint8),
        large=np.zeros((32, 32, 3), dtype=np.uint8),
        quality=SimpleNamespace(out_of_scope=False),
        explanations=(Explanation(LAUGHS, LAUGHS, 0.7, 0.5, False, np.zeros((4, 4), dtype=np.float32)),),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(draw_explanations([face])).draw()


def test_overlays_take_one_font_that_has_all_characters(tmp_path, installed):
    part = make_font(tmp_path / "part.ttf", "Test Part", LAUGHS)
    whole = make_font(tmp_path / "whole.ttf", "Test Whole", LAUGHS + OWN_WORDS + " ")
    installed(part, whole)
    assert fonts.font_of_all(["AU12 lip corner puller"]).endswith("DejaVuSans.ttf")
    assert fonts.font_of_all([f"AU12 {LAUGHS}", OWN_WORDS]) == whole


def test_overlays_draw_labels_of_any_script(tmp_path, make_table, installed, monkeypatch):
    whole = make_font(tmp_path / "whole.ttf", "Test Whole", LAUGHS + OWN_WORDS + " ")
    installed(whole)
    _, about = timeline_of(tmp_path / "t.parquet", make_table)
    (units, *others) = about.groups
    texts = (LAUGHS, *units.texts[1:])
    about = type(about)((type(units)(**{**vars(units), "texts": texts}), *others), about.columns)
    assert FrameArtist(about, (640, 360), 1)._font.path == whole
    assert np.isfinite(FrameArtist(about, (640, 360), 1)._font.getlength(LAUGHS))
