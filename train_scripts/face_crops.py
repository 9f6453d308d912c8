"""From a data set's official pictures and videos to rows with aligned crops, a stretch at a time."""

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from processing.corpora.official import FaceRecord
from processing.corpora.official_rows import label_columns, lossless_webp
from processing.corpora.prepared import AS_IT_IS, DETECTED, GIVEN, NO_FACE, REST, UNREADABLE
from processing.corpora.shards import Shard, Task, plan_shards
from processing.corpora.splits import SPLITS
from processing.corpora.video_frames import VideoError, iterate_frames
from processing.face_alignment_clef import Face, FaceDetector, align_face
from processing.image_reading_clef import DECODING_ERRORS, to_rgb_image

PICTURES_PER_TASK = 64
VIDEO_FRAMES_PER_TASK = 512  # reading a video begins anew for each task
GREY = 127  # of rows without a readable picture


@dataclass(frozen=True)
class Crop:
    """`pixels`: uint8 (size, size, 3); the other attributes as the columns of `processing.corpora.prepared`."""

    pixels: np.ndarray
    origin: str
    faces_seen: int | None = None
    trouble: str | None = None


def plan_tasks(records: Sequence[FaceRecord]) -> tuple[list[FaceRecord], list[Shard]]:
    """The records in the order of the rows, official splits first to last, and the files they go to.

    A task's key is (start, stop) in that order. It holds pictures or frames of one video.
    """
    parts = {name: [record for record in records if record.split == name] for name in SPLITS}
    parts[REST] = [record for record in records if record.split is None]
    ordered, shards = [], []
    for name, part in parts.items():
        if part:
            shards += plan_shards(name, [Task(key, key[1] - key[0]) for key in _cut(part, len(ordered))])
            ordered += part
    return ordered, shards


def _cut(records: Sequence[FaceRecord], offset: int) -> Iterator[tuple[int, int]]:
    start = 0
    for row in range(1, len(records) + 1):
        most = PICTURES_PER_TASK if records[start].video is None else VIDEO_FRAMES_PER_TASK
        if row == len(records) or row - start == most or not _follows(records[row - 1], records[row]):
            yield offset + start, offset + row
            start = row


def _follows(before: FaceRecord, after: FaceRecord) -> bool:
    """Whether both are pictures, or `after` is a later frame of the same video: what one pass can read."""
    return before.video == after.video and (before.video is None or before.video_frame < after.video_frame)


@dataclass
class FaceCropper:
    """`cropper((start, stop))` makes the columns of these records, in `features`' order; a function of the key alone.

    Attributes:
        root: the official files, which the rows name relative to it.
        size: side of the crops in pixels.
        given_points: align on the set's landmarks where a record has some.
        make_detector: called once in each process; None: nothing is searched for.
        as_they_are: scale the pictures, align nothing.
    """

    name: str
    root: Path
    records: list[FaceRecord]
    features: datasets.Features
    size: int
    given_points: bool = True
    make_detector: Callable[[], FaceDetector] | None = None
    as_they_are: bool = False
    _detector: FaceDetector | None = field(default=None, repr=False)

    def __call__(self, key: tuple[int, int]) -> dict[str, list]:
        records = self.records[slice(*key)]
        crops = [self.crop(picture, record) for picture, record in zip(read_pictures(records), records, strict=True)]
        columns = label_columns(self.name, self.features, records) | {
            "image": [
                {"bytes": lossless_webp(crop.pixels), "path": source_name(record, self.root)}
                for crop, record in zip(crops, records, strict=True)
            ],
            "face_found": [crop.origin not in (NO_FACE, UNREADABLE) for crop in crops],
            "crop_origin": [crop.origin for crop in crops],
            "faces_seen": [crop.faces_seen for crop in crops],
            "trouble": [crop.trouble for crop in crops],
        }
        return {column: columns[column] for column in self.features}

    def crop(self, picture: Image.Image | str, record: FaceRecord) -> Crop:
        """The crop of a record; `picture` is what is wrong where there is none."""
        if isinstance(picture, str):
            return Crop(np.full((self.size, self.size, 3), GREY, np.uint8), UNREADABLE, trouble=picture)
        if self.as_they_are:
            return Crop(_scaled(picture, self.size), AS_IT_IS)
        trouble = "the set gives no points" if self.make_detector is None else "no face found"
        if self.given_points and record.points is not None:
            try:
                _refuse_points_outside(record.points, picture)
                return Crop(align_face(picture, record.points, self.size), GIVEN)
            except ValueError as error:
                trouble = f"the set's points: {error}"
        faces = self._faces(picture)
        if faces:
            face = nearest_face(faces, record.box)
            if face is not None:
                try:
                    return Crop(align_face(picture, face.points, self.size), DETECTED, len(faces))
                except ValueError as error:  # points that no upright face has
                    trouble = f"the detector's points: {error}"
            else:
                trouble = "no face found within the set's box"
        seen = None if faces is None else len(faces)
        return Crop(_square(picture, record.box, self.size), NO_FACE, seen, trouble)

    def _faces(self, picture: Image.Image) -> list[Face] | None:
        if self.make_detector is None:
            return None
        if self._detector is None:
            self._detector = self.make_detector()
        return self._detector.detect(picture)


def read_pictures(records: Sequence[FaceRecord]) -> Iterator[Image.Image | str]:
    """The picture of each record of a task, or what is wrong with it. Raises OSError where the disk is to blame."""
    if records[0].video is not None:
        yield from _video_pictures(records)
        return
    for record in records:
        yield _read(record.pixels if record.image is None else record.image)


def nearest_face(faces: Sequence[Face], box: np.ndarray | None) -> Face | None:
    """The face that is meant: the one whose centre is nearest to that of the set's box, else the largest.

    None if no face has its centre in the box: what was found then is somebody else.
    """
    if box is None:
        return max(faces, key=lambda face: np.prod(face.box[2:] - face.box[:2]))
    box = np.asarray(box, dtype=np.float64)
    centres = np.array([(face.box[:2] + face.box[2:]) / 2 for face in faces])
    within = ((centres >= box[:2]) & (centres <= box[2:])).all(axis=1)
    distance = np.hypot(*(centres - (box[:2] + box[2:]) / 2).T)
    nearest = int(np.argmin(np.where(within, distance, np.inf)))
    return faces[nearest] if within[nearest] else None


def source_name(record: FaceRecord, root: Path) -> str | None:
    """The official file relative to `root`; with "#" and the index of the frame for videos."""
    file = record.image if record.image is not None else record.video
    if file is None:
        return None
    name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
    return name if record.video is None else f"{name}#{record.video_frame}"


def _read(picture: Path | np.ndarray) -> Image.Image | str:
    """The upright picture, or why it cannot be read. Raises OSError where the disk, not the picture, is to blame."""
    try:
        return to_rgb_image(picture)
    except FileNotFoundError as error:
        raise _gone(picture) from error
    except DECODING_ERRORS as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        number = getattr(cause, "errno", None)
        if number is not None and number != errno.EACCES:
            raise cause from error
        return "no permission to read it" if number == errno.EACCES else str(cause)


def _refuse_points_outside(points: np.ndarray, picture: Image.Image) -> None:
    x, y = np.asarray(points, dtype=np.float64)[:3].mean(axis=0)
    if not (0 <= x <= picture.width and 0 <= y <= picture.height):
        raise ValueError(
            f"got their middle at ({x:.0f}, {y:.0f}), outside of the {picture.width} x {picture.height} picture"
        )


def _scaled(picture: Image.Image, size: int) -> np.ndarray:
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def _square(picture: Image.Image, box: np.ndarray | None, size: int) -> np.ndarray:
    """The square around the middle of `box`, else of the picture, scaled; black where it leaves the picture."""
    left, top, right, bottom = (0, 0, *picture.size) if box is None else np.asarray(box, dtype=np.float64)
    side = min(right - left, bottom - top) if box is None else max(right - left, bottom - top)
    side = max(1, round(side))
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return _scaled(picture.crop((x, y, x + side, y + side)), size)


def _video_pictures(records: Sequence[FaceRecord]) -> Iterator[Image.Image | str]:
    video, first, last = records[0].video, records[0].video_frame, records[-1].video_frame
    if not video.exists():
        raise _gone(video)
    frames = iterate_frames(video, first, last + 1)
    number, frame, trouble = -1, None, "the video's frame cannot be decoded"
    for record in records:
        try:
            while number < record.video_frame:
                number, frame = next(frames, (last + 1, None))
        except VideoError as error:
            number, trouble = last + 1, str(error)
        yield Image.fromarray(frame) if number == record.video_frame else trouble


def _gone(file: Path) -> OSError:
    return FileNotFoundError(
        errno.ENOENT, "it was there when the official files were listed, and is gone; is its disk mounted?", str(file)
    )
