"""The mark by which pictures that were drawn here are told from pictures to analyse: a text in the PNG's header."""

import os
import struct

MARK = {"Software": "CLEF drawing"}  # as matplotlib's `savefig` takes metadata
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_info():
    """The mark, as Pillow's `save` takes it."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, text in MARK.items():
        info.add_text(key, text)
    return info


def is_drawing(path: str | os.PathLike) -> bool:
    """Whether the file is a PNG with the mark. Only what comes before its pixels is looked at."""
    marks = [f"{key}\0{text}".encode("latin-1") for key, text in MARK.items()]
    try:
        with open(path, "rb") as file:
            if file.read(len(_SIGNATURE)) != _SIGNATURE:
                return False
            while len(head := file.read(8)) == 8:
                length, kind = struct.unpack(">I4s", head)
                if kind == b"IDAT":
                    return False
                if kind == b"tEXt" and file.read(length) in marks:
                    return True
                file.seek(length + 4 if kind != b"tEXt" else 4, os.SEEK_CUR)  # its sum comes last
    except OSError:  # which reading it will tell
        pass
    return False
