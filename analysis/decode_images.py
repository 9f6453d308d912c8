"""Image files of every kind to upright 8-bit RGB frames."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.frames import LARGEST_PICTURE, Frame, SourceError, refuse_empty, refuse_too_large
from processing.image_reading_clef import DECODING_ERRORS, to_rgb_image

# Formats whose further pictures are frames or pages. Those of JPEG-based files (MPO) are previews and depth maps.
WITH_PAGES = ("GIF", "WEBP", "PNG", "TIFF", "AVIF")

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis")
NEEDS_HEIF = "needs pillow-heif: pip install pillow-heif, or save it as JPEG"


def read_image(path: Path) -> Iterator[Frame]:
    """The picture of a file: its EXIF orientation applied, greyscale, CMYK, palette and 16 bits a channel brought to
    8-bit RGB, transparency laid over white.

    HEIC is read where pillow-heif is installed, which Pillow alone does not know.

    Animated GIF, WebP, PNG and AVIF give all of their frames, with times from the durations in the file, and the pages
    of a TIFF come as frames without times.

    Raises:
        SourceError: no image, a broken one (after what could be read of it), or one above the size limit.
    """
    number = 0
    refuse_empty(path)
    if is_heif(path) and not reads_heif():
        raise SourceError(f"a HEIC picture {NEEDS_HEIF}")
    try:
        with Image.open(path) as file:
            refuse_too_large(*file.size)
            pages = getattr(file, "n_frames", 1) if file.format in WITH_PAGES else 1
            animated = pages > 1 and file.format != "TIFF"
            clock = 0.0 if animated else None
            for number in range(pages):
                if number:
                    file.seek(number)
                    refuse_too_large(*file.size)
                picture = np.asarray(to_rgb_image(file))
                yield Frame(number, clock, picture)
                if animated and clock is not None:
                    duration = file.info.get("duration")  # in milliseconds; known once the frame is decoded
                    clock = clock + duration / 1000 if duration else None
    except DECODING_ERRORS as error:
        where = f"cannot be read beyond frame {number}" if number else "cannot be read as an image"
        raise SourceError(f"{where}: {_reason(error, path)}") from error


def is_heif(path: Path) -> bool:
    """Whether a file is a HEIC picture, such as iPhones take, by its content. To FFmpeg it is a video, and the first
    tile of the picture all of it."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return False
    brands = head[8 : int.from_bytes(head[:4], "big")]
    return head[4:8] == b"ftyp" and any(brands[at : at + 4] in HEIF_BRANDS for at in range(0, len(brands), 4))


def reads_heif() -> bool:
    """Whether there is pillow-heif; if so, Pillow reads HEIC from now on."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _reason(error: BaseException, path: Path) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is in none of the formats that Pillow knows"
    if isinstance(error, Image.DecompressionBombError):  # Pillow has a limit of its own
        return f"it has more than {LARGEST_PICTURE // 1_000_000} million pixels, the most taken. Make it smaller first"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).replace(str(path), path.name) or type(error).__name__
