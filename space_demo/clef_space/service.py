"""What the page and the API ask for, behind one gate. Everything here raises `Refused` for what is not done."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from clef_space.faces_view import numbers
from clef_space.limits import SHOWN_FACES, Gate, Refused, check_words
from clef_space.pictures import held, read_picture
from clef_space.recogniser import FoundFace, Recogniser
from clef_space.videos import SeenFrame, analyse_video, rows

NO_FACE = "No face was found in this picture. A face should be at least 25 pixels wide and look roughly at the camera."


class Service:
    def __init__(self, recogniser: Recogniser, gate: Gate | None = None):
        self.recogniser = recogniser
        self.gate = gate or Gate()

    def faces(self, path: str | None) -> tuple[Image.Image, list[FoundFace]]:
        """The picture at `path`, which is removed soon after, and its largest faces: those that are shown, and one more
        where there are more."""
        with held(path):
            picture = read_picture(path, self.recogniser.read_image)
        with self.gate.pass_through():
            faces = self.recogniser.analyse(picture, SHOWN_FACES + 1)
        if not faces:
            raise Refused(NO_FACE)
        return picture, faces

    def video(
        self, path: str | None, overlay: Path | None = None, progress: Callable[[float], None] = lambda share: None
    ) -> list[SeenFrame]:
        with held(path), self.gate.pass_through():
            return analyse_video(self.recogniser, path, overlay, progress)

    def picture_json(self, path: str | None) -> dict:
        _, faces = self.faces(path)
        return {"faces": [numbers(self.recogniser, face) for face in faces[:SHOWN_FACES]]}

    def words_json(self, path: str | None, words: list[str]) -> dict:
        words = check_words(words)
        _, faces = self.faces(path)
        usable = [face for face in faces[:SHOWN_FACES] if face.crop is not None]
        if not usable:
            raise Refused("No upright crop can be cut from the faces of this picture.")
        with self.gate.pass_through():
            scores, _ = self.recogniser.words(usable, words)
        scored = [dict(zip(words, map(float, row), strict=True)) for row in scores]
        return {"faces": [numbers(self.recogniser, face, one) for face, one in zip(usable, scored, strict=True)]}

    def video_json(self, path: str | None) -> dict:
        return {"rows": rows(self.recogniser, self.video(path))}

    def labels_json(self) -> dict:
        return {
            "checkpoint": Path(self.recogniser.checkpoint).name,
            "labels": [
                {
                    "label": label.label,
                    "group": label.group,
                    "name": label.name,
                    "description": label.description,
                    "threshold": label.threshold,
                }
                for label in self.recogniser.labels
            ],
        }
