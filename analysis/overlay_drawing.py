"""How one frame of an overlay is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from analysis.fonts import font_of_all
from analysis.frames import Frame
from analysis.reading import TableAbout
from processing.face_detection_clef import LANDMARKS

LEAST_HEIGHT = 360  # smaller pictures are enlarged, so that text can be read
SMALLEST_TEXT, LARGEST_TEXT = 11, 30  # pixels
# Distinguishable with every common colour blindness (Okabe and Ito 2008), on dark as on light.
TRACK_COLOURS = ((86, 180, 233), (230, 159, 0), (0, 200, 150), (204, 121, 167), (240, 228, 66), (213, 94, 0))
OWN_WORDS = "".join(map(chr, range(33, 127))) + "…"  # the characters of what is drawn beside names of labels
GROUND, INK, DIM, TROUGH, ABSENT = (24, 27, 32), (235, 235, 235), (150, 155, 162), (50, 54, 61), (118, 124, 132)


@dataclass(frozen=True)
class _Row:
    """Of the panel: a label's bar, or (`label` None) the choice among labels that exclude each other."""

    name: str
    label: str | None
    threshold: float = 0.0
    group: str = ""


class FrameArtist:
    """Draws frames of one source: the picture, and a panel on its right with a row a label and a column a face.

    Faces keep their column while they are seen. size: of what is drawn, width and height, in even pixels.

    Args:
        size: width and height of the source's first frame; frames of another size are fitted into it.
        columns: faces that have room in the panel; of further ones it says how many there are.
    """

    def __init__(self, about: TableAbout, size: tuple[int, int], columns: int):
        self._scale = max(1.0, LEAST_HEIGHT / size[1])
        self._picture_size = round(size[0] * self._scale), round(size[1] * self._scale)
        height = self._picture_size[1] + self._picture_size[1] % 2
        rows = _rows(about)
        self._row_height = int(np.clip(height / (len(rows) + 3.5), SMALLEST_TEXT * 1.25, LARGEST_TEXT * 1.4))
        choices = [label for group in about.groups if group.exclusive for label in group.labels]
        self._font = _font(int(self._row_height / 1.25), [*(row.name for row in rows), *choices, OWN_WORDS])
        room = int((height - 2.5 * self._row_height) / self._row_height)
        self._rows, self._left_out = rows[:room], len(rows) - min(room, len(rows))
        gap = self._row_height // 2
        longest = max(self._font.getlength(row.name) for row in self._rows)
        self._names_width = int(min(longest, 17 * self._row_height)) + 2 * gap
        widest = max((self._font.getlength(choice) for choice in choices), default=0)
        self._column_width = int(max(widest + 2, 4.5 * self._row_height)) + gap
        self._gap, self._columns = gap, columns
        self._slots: dict[int, int] = {}  # track → column
        width = self._picture_size[0] + self._names_width + columns * self._column_width
        self.size = width + width % 2, height

    def draw(self, frame: Frame, faces: list[dict]) -> np.ndarray:
        """uint8 (H, W, 3). `faces`: rows of the frame."""
        canvas = Image.new("RGB", self.size, GROUND)
        picture, scale, corner = self._fitted(frame.image)
        canvas.paste(picture, corner)
        pen = ImageDraw.Draw(canvas)
        for face in faces:
            self._draw_box(pen, face, scale, corner)
        # Over whatever reached beyond the picture.
        pen.rectangle((self._picture_size[0], 0, *self.size), fill=GROUND)
        self._draw_panel(pen, frame, faces)
        return np.asarray(canvas)

    def _fitted(self, image: np.ndarray) -> tuple[Image.Image, float, tuple[int, int]]:
        """The picture in the place it has, its scale, and its corner; black around it where shapes differ."""
        height, width = image.shape[:2]
        scale = min(self._picture_size[0] / width, self._picture_size[1] / height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = Image.fromarray(image)
        if size != (width, height):
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        return picture, scale, ((self._picture_size[0] - size[0]) // 2, (self._picture_size[1] - size[1]) // 2)

    def _draw_box(self, pen: ImageDraw.ImageDraw, face: dict, scale: float, corner: tuple[int, int]) -> None:
        left, top, right, bottom = (
            face[f"box_{side}"] * scale + corner[i % 2] for i, side in enumerate(("left", "top", "right", "bottom"))
        )
        colour, line = _colour(face["track_id"]), max(2, self._row_height // 8)
        pen.rectangle((left, top, right, bottom), outline=colour, width=line)
        for point in LANDMARKS:
            if face[f"{point}_x"] is None:
                continue
            x, y = face[f"{point}_x"] * scale + corner[0], face[f"{point}_y"] * scale + corner[1]
            pen.ellipse((x - line, y - line, x + line, y + line), fill=colour)
        text = f"face {face['track_id']}"
        if face["out_of_scope"]:
            text += f": {face['out_of_scope_reason'] or 'out of scope'}"
        wide, tall = self._font.getlength(text) + self._gap, self._row_height
        y = top - tall if top >= tall else max(top, 0)
        x = min(max(left, 0), max(self._picture_size[0] - wide, 0))
        pen.rectangle((x, y, x + wide, y + tall), fill=colour)
        pen.text((x + self._gap / 2, y + tall / 2), text, font=self._font, fill=(0, 0, 0), anchor="lm")

    def _draw_panel(self, pen: ImageDraw.ImageDraw, frame: Frame, faces: list[dict]) -> None:
        left, tall, gap = self._picture_size[0], self._row_height, self._gap
        time = "" if frame.time_s is None else f"{frame.time_s:.2f} s   "
        pen.text((left + gap, tall * 0.75), f"{time}frame {frame.index}", font=self._font, fill=DIM, anchor="lm")
        begin = left + self._names_width
        shown = self._place(faces)
        for column, face in shown.items():
            middle = begin + column * self._column_width + (self._column_width - gap) / 2
            colour = _colour(face["track_id"])
            pen.text((middle, tall * 1.75), f"face {face['track_id']}", font=self._font, fill=colour, anchor="mm")
        for place, row in enumerate(self._rows):
            middle = tall * (place + 2.9)
            name = _fitting(row.name, self._names_width - 2 * gap, self._font)
            pen.text((left + gap, middle), name, font=self._font, fill=INK, anchor="lm")
            for column, face in shown.items():
                self._draw_cell(pen, begin + column * self._column_width, middle, row, face)
        notes = []
        if len(faces) > len(shown):
            notes.append(f"{len(faces) - len(shown)} more faces")
        if self._left_out:
            notes.append(f"{self._left_out} more labels")
        if notes:
            y = tall * 0.75
            pen.text((self.size[0] - gap, y), ", ".join(notes), font=self._font, fill=DIM, anchor="rm")

    def _draw_cell(self, pen: ImageDraw.ImageDraw, left: float, middle: float, row: _Row, face: dict) -> None:
        wide, half = self._column_width - self._gap, self._row_height * 0.32
        colour = _colour(face["track_id"])
        if row.label is None:
            pen.text((left, middle), face[row.group] or "", font=self._font, fill=colour, anchor="lm")
            return
        value, present = face[f"{row.label}_probability"], face[row.label]
        if value is None and present is None:
            return
        value = float(present) if value is None else value
        pen.rectangle((left, middle - half, left + wide, middle + half), fill=TROUGH)
        if value * wide >= 1:
            fill = colour if present else ABSENT
            pen.rectangle((left, middle - half, left + value * wide, middle + half), fill=fill)
        mark = left + row.threshold * wide
        pen.line((mark, middle - half - 1, mark, middle + half + 1), fill=INK, width=max(1, self._row_height // 16))

    def _place(self, faces: list[dict]) -> dict[int, dict]:
        """Column → face. Who is seen keeps a column; who comes takes the first free one."""
        by_track = {face["track_id"]: face for face in faces}
        self._slots = {track: column for track, column in self._slots.items() if track in by_track}
        for track in sorted(by_track, key=lambda track: -1 if track is None else track):
            free = [column for column in range(self._columns) if column not in self._slots.values()]
            if track not in self._slots and free:
                self._slots[track] = free[0]
        return {column: by_track[track] for track, column in self._slots.items()}


def _rows(about: TableAbout) -> list[_Row]:
    rows = []
    for group in about.groups:
        if group.exclusive:
            continue
        texts = dict(zip(group.labels, group.texts, strict=True))
        thresholds = dict(zip(group.labels, group.thresholds, strict=True))
        for label in about.anatomical(group):
            name = label if texts[label] == label else f"{label} {texts[label]}"
            rows.append(_Row(name, label, thresholds[label]))
    return rows + [_Row(group.name, None, group=group.name) for group in about.groups if group.exclusive]


def _colour(track: int | None) -> tuple[int, int, int]:
    return TRACK_COLOURS[(track or 0) % len(TRACK_COLOURS)]


def _fitting(text: str, width: float, font) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _font(size: int, texts: Sequence[str]):
    """DejaVu Sans, which knows many alphabets, where matplotlib brings it, or an installed font that has what it
    lacks; else Pillow's own."""
    try:
        return ImageFont.truetype(font_of_all(texts), size)
    except (ImportError, OSError):
        return ImageFont.load_default(size)


__all__ = ["FrameArtist"]
