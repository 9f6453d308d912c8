"""What the commands that publish say and refuse before anything is looked at."""

import pytest

from clef.cli import FINE, WRONG_USAGE, main
from hub_cards.__main__ import make_parser
from hub_cards.measured import FACTS


def test_help_says_where_what_only_the_owner_knows_is_written_down(capsys):
    assert main(["push", "--help"]) == FINE
    assert "card.yaml" in capsys.readouterr().out
    text = make_parser().format_help()
    assert "card.yaml" in text and all(f"  {name} " in text and meaning in text for name, meaning in FACTS.items())


@pytest.mark.parametrize("option", ["--repo", "--model"])
def test_what_is_no_repository_is_refused(option, capsys):
    names = {"--repo": "org/demo", "--model": "org/model"} | {option: "model"}
    assert main(["push-space", "--dry-run", *(word for pair in names.items() for word in pair)]) == WRONG_USAGE
    assert f"{option}: 'model' is no repository; expected OWNER/NAME" in capsys.readouterr().err
