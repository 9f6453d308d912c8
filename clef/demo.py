"""`clef demo`: the demonstration in a browser, on this machine alone."""

import argparse
import os
import sys
from pathlib import Path

from clef.cli import FINE, fail

SPACE = Path(__file__).resolve().parents[1] / "space_demo"
DESCRIPTION = """Serves the demonstration (the folder space_demo, as it is on the Hub) on this machine: pictures, labels
in your own words, short videos, the webcam. Nothing leaves the machine, and no network is needed unless the checkpoint
is on the Hub."""

ENVIRONMENT = "environment: CLEF_YUNET names the face finder's file (YuNet) where the Hub's cache does not hold it."


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clef demo",
        description=DESCRIPTION,
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", metavar="CHECKPOINT", help="folder or Hub id (default: the one that ships)")
    parser.add_argument("--port", type=_port, default=7860, help="port of 127.0.0.1 to listen on (default: 7860)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser


def run(arguments: argparse.Namespace) -> int:
    if not (SPACE / "app.py").is_file():
        return fail("demo", f"there is no {SPACE.name}/app.py beside this package; run it in the project's folder.")
    if arguments.model:
        os.environ["CLEF_MODEL"] = arguments.model
    sys.path.insert(0, str(SPACE))
    try:
        import app
    except ImportError as error:
        return fail("demo", f"{error}; `pip install 'clef-faces[demo]'` brings what is needed.")
    try:
        page = app.make()
    except (OSError, ValueError, ImportError) as error:
        return fail("demo", str(error))
    print(f"http://127.0.0.1:{arguments.port} (Ctrl-C ends it)", flush=True)
    try:
        app.launch(page, server_name="127.0.0.1", server_port=arguments.port, inbrowser=arguments.open)
    except OSError as error:  # the port is taken
        return fail("demo", str(error))
    return FINE


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)
