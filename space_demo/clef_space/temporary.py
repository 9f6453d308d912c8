"""One folder for whatever is written of what visitors send: uploads, Gradio's copies of them, results. It is removed
when the process ends. To be imported before Gradio, which is told of it here."""

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clef_space.limits import RESULT_SECONDS

_above = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
os.makedirs(_above, exist_ok=True)
_folder = tempfile.TemporaryDirectory(prefix="clef-", dir=_above, ignore_cleanup_errors=True)
TEMPORARY = Path(_folder.name).resolve()
os.environ["GRADIO_TEMP_DIR"] = str(TEMPORARY)


@contextmanager
def result_folder() -> Iterator[Path]:
    """A folder for files to be downloaded, which is removed after a while, and at once after any error. Gradio serves
    what lies in it as it is, as it would its own copies."""
    folder = Path(tempfile.mkdtemp(dir=TEMPORARY))
    try:
        yield folder
    except BaseException:
        _remove(folder)
        raise
    timer = threading.Timer(RESULT_SECONDS, _remove, [folder])
    timer.daemon = True
    timer.start()


def remove_when_stopped() -> None:
    """Ctrl-C, SIGTERM and a terminal that is closed remove the folder at once, as a process that is slow to end may be
    killed, and end the process as Ctrl-C does. Processes that are forked off leave it alone."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread is told of signals
    owner = os.getpid()

    def stop(number, frame):
        if os.getpid() == owner:
            _remove(TEMPORARY)
        raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
