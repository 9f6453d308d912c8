"""Files that nobody should be able to do harm with."""

import io
import struct
import zlib
from pathlib import Path

from PIL import Image

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>document.title="taken"</script></svg>'


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def polyglot() -> bytes:
    """A GIF that is a page with a script too."""
    return b'GIF89a/*\0\0\0\0*/=1;</script><script>document.title="taken"</script>' + b"\0" * 40


def truncated() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 400), "red").save(buffer, "JPEG")
    return buffer.getvalue()[:300]


def write_all(folder: Path) -> dict[str, Path]:
    contents = {
        "bomb.png": png_header(60_000, 60_000),
        "text.png": b"This is no picture.\n" * 40,
        "polyglot.gif": polyglot(),
        "drawing.svg": SVG.encode(),
        "drawing.png": SVG.encode(),
        "empty.jpg": b"",
        "cut off.jpg": truncated(),
        "..%2F..%2Fetc%2Fpasswd.png": b"root:x:0:0",
        "page.html": b"<script>document.title='taken'</script>",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}
