"""Uploaded files: pictures read with care, and removed again."""

import base64
import binascii
import io
import os
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from clef_space.limits import KEPT_SECONDS, MEGABYTE, PICTURE_BYTES, PICTURE_PIXELS, Refused
from clef_space.temporary import TEMPORARY

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SHOWN_SIDE = 1024  # of the picture on the page, pixels
WORKING_SIDE = 2560

_users: Counter = Counter()  # requests that work on a file
_lock = threading.Lock()

TOO_MANY_PIXELS = (
    f"This picture has more than {PICTURE_PIXELS // 1_000_000} million pixels, which is the most that is taken."
)
NOT_A_PICTURE = "This file is not a picture that can be read. JPEG, PNG, WebP, GIF, BMP and TIFF are."


def read_picture(source: str | bytes | None, to_rgb) -> Image.Image:
    """A path, or the bytes of a file, as an upright RGB picture of at most `WORKING_SIDE` pixels a side.

    Args:
        to_rgb: the image processor's `read_image`: applies EXIF orientation, transparency, 16 bits.

    Raises:
        Refused: no file, an empty one, one that is too large in bytes or pixels, or no picture.
    """
    if not source:
        raise Refused("Choose a picture first.")
    try:
        size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    except OSError:
        raise Refused("The picture is no longer here: uploads are removed after a minute. Choose it again.") from None
    if size == 0:
        raise Refused("This file is empty.")
    if size > PICTURE_BYTES:
        raise Refused(
            f"This file has {size / MEGABYTE:.1f} MB; at most {PICTURE_BYTES // MEGABYTE} MB are taken for a picture."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as file:
                if file.width * file.height > PICTURE_PIXELS:
                    raise Refused(TOO_MANY_PIXELS)
                file.draft("RGB", (WORKING_SIDE, WORKING_SIDE))
                file.load()
                picture = to_rgb(file)
    except Image.DecompressionBombError as error:
        raise Refused(TOO_MANY_PIXELS) from error
    except (OSError, SyntaxError, ValueError, TypeError, EOFError) as error:
        raise Refused(NOT_A_PICTURE) from error
    if max(picture.size) > WORKING_SIDE:
        picture.thumbnail((WORKING_SIDE, WORKING_SIDE))
    return picture


def decode_data_url(url: str) -> bytes:
    """The bytes of "data:image/…;base64,…". Raises Refused for anything else."""
    head, comma, body = str(url).partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise Refused(NOT_A_PICTURE)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(NOT_A_PICTURE) from None


def data_url(picture: Image.Image, kind: str = "JPEG", **options) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@contextmanager
def held(path: str | None) -> Iterator[None]:
    """While a request works on an upload. Afterwards the file and the folder that was made for it are removed."""
    with _lock:
        _users[path] += 1
    try:
        yield
    finally:
        with _lock:
            _users[path] -= 1
            if not _users[path]:
                del _users[path]
        forget_later(path)


def forget_later(path: str | None, seconds: float = KEPT_SECONDS) -> None:
    """Removes a temporary file once the browser has shown it."""
    if not path:
        return
    timer = threading.Timer(seconds, _forget_if_old, [path, seconds])
    timer.daemon = True
    timer.start()


def _forget_if_old(path: str, seconds: float) -> None:
    """The same file sent again by somebody else lies at the same place, and stays until its own time."""
    with _lock:
        try:
            left = os.stat(path).st_ctime + seconds - time.time()
        except OSError:
            return
        if left <= 0 and path not in _users:
            forget(path)
            return
    forget_later(path, seconds)


def forget(path: str) -> None:
    """Removes a file that lies in the folder for temporary files."""
    file = Path(path).resolve()
    if not file.is_relative_to(TEMPORARY):
        return
    file.unlink(missing_ok=True)
    try:
        file.parent.rmdir()  # only if nothing else lies in it
    except OSError:
        pass
