import os
import sys
from types import ModuleType

import pytest

from clef import demo
from clef.cli import FINE, WRONG_USAGE, main


@pytest.fixture
def app(monkeypatch):
    """Stands for the demonstration's app; `made` and `launched` say what was asked of it."""
    stand_in = ModuleType("app")
    stand_in.made, stand_in.launched = [], []

    def make():
        stand_in.made.append(os.environ.get("CLEF_MODEL"))
        return "page"

    stand_in.make = make
    stand_in.launch = lambda page, **options: stand_in.launched.append((page, options))
    monkeypatch.setitem(sys.modules, "app", stand_in)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("CLEF_MODEL", "before")
    return stand_in


def test_it_serves_this_machine_alone(app, capsys):
    assert main(["demo", "--model", "some/folder", "--port", "7999"]) == FINE
    assert app.made == ["some/folder"]
    assert app.launched == [("page", {"server_name": "127.0.0.1", "server_port": 7999, "inbrowser": False})]
    assert "http://127.0.0.1:7999" in capsys.readouterr().out


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1"])
def test_ports_that_are_none(port, capsys):
    assert main(["demo", "--port", port]) == WRONG_USAGE
    assert "is not a port" in capsys.readouterr().err or port == "-1"


def test_what_goes_wrong_is_said_in_a_line(app, capsys, monkeypatch, tmp_path):
    def fail():
        raise OSError("there is no such checkpoint")

    app.make = fail
    assert main(["demo"]) == WRONG_USAGE
    assert capsys.readouterr().err == "clef demo: there is no such checkpoint\n"
    monkeypatch.setattr(demo, "SPACE", tmp_path)
    assert main(["demo"]) == WRONG_USAGE
    assert "app.py" in capsys.readouterr().err


def test_help_says_where_the_face_finder_s_file_may_be(capsys):
    assert main(["demo", "--help"]) == FINE
    assert "CLEF_YUNET" in capsys.readouterr().out
