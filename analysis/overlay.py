"""The video with what was found in it: boxes on the picture, and beside it every label's bar for every face."""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from analysis.decode import read_frames
from analysis.drawing_mark import png_info
from analysis.frames import Frame, SourceError, Span
from analysis.outputs import file_stems, written_whole
from analysis.overlay_drawing import FrameArtist
from analysis.pipeline import NOMINAL_RATE
from analysis.reading import TableAbout, read_about, read_batches, read_frames_of_sources
from analysis.sources import CAMERA, IMAGE, Source

CLOCK = 60_000  # ticks a second: MPEG-4 takes no finer ones; those of 24, 25, 29.97, 30 and 60 frames are whole
MOST_BESIDE = 4  # columns of bars; further faces have boxes only


@dataclass
class Overlays:
    """files: what was written. without_rows: sources that the table has no rows of, as they could not be read.
    cameras: sources whose pictures are not kept."""

    files: list[Path] = field(default_factory=list)
    without_rows: list[str] = field(default_factory=list)
    cameras: list[str] = field(default_factory=list)


def draw_overlays(table: str | Path, sources: list[Source], output: str | Path) -> Overlays:
    """Draws what a table of `clef analyze` says over the videos and pictures that it is about.

    Frames that were analysed are drawn, at the times that they have in their source, upright, without sound. Videos
    become MP4 (H.264, or MPEG-4 Part 2 with a warning where PyAV's FFmpeg lacks libx264), pictures without times PNG.
    Memory is constant.

    Args:
        table: rows of these sources, in any order of sources.
        sources: as they were analysed.
        output: a folder, in which each source's file has its stem (see `analysis.outputs.file_stems`); or the file for
            the only source: .mp4, or .png for a picture.

    Raises:
        ValueError: several sources and one file, or a suffix that does not fit the source.
        ImportError: PyAV is missing. OSError: a file cannot be written. And what `analysis.reading` raises.
    """
    table, output = Path(table), Path(output)
    check_overlay_path(output, sources)
    about, named = read_about(table), {source.name: source for source in sources}
    made, beside = Overlays(), _most_faces(table, about)
    stems = file_stems([*beside, *named])
    for name, frames in read_frames_of_sources(table, about):
        source = named.pop(name, None)
        if source is None:
            continue  # of an earlier run that was added to
        if source.kind == CAMERA:
            made.cameras.append(name)
            continue
        made.files += _draw_source(source, frames, about, beside[name], output, stems[name])
    made.without_rows = list(named)
    return made


def check_overlay_path(output: Path, sources: list[Source]) -> None:
    """Raises ValueError where `output` can not be what `sources` become, or would replace one of them."""
    suffix, whole = output.suffix.lower(), is_one_file(output)
    if not whole and suffix and not output.is_dir():
        raise ValueError(f"got {str(output)!r} for the overlay; expected .mp4, .png for a picture, or a folder.")
    if whole and len(sources) > 1:
        raise ValueError(f"{str(output)!r} is one file for {len(sources)} inputs; name a folder.")
    if whole and sources and sources[0].kind == CAMERA:
        raise ValueError("pictures of a camera are not kept, so nothing can be drawn over them.")
    for source in sources:
        if source.path is None:
            continue
        path = source.path.resolve()
        if (path if whole else path.parent) == output.resolve():
            raise ValueError(f"the overlay at {str(output)!r} would replace {source.name!r}; name another place.")
    if whole and sources:
        _check_suffix(suffix, sources[0])


def is_one_file(output: Path) -> bool:
    """Whether `output` names the overlay itself, and no folder for it."""
    return output.suffix.lower() in (".mp4", ".png")


def _check_suffix(suffix: str, source: Source) -> None:
    still = source.kind == IMAGE
    if still:
        try:
            still = next(read_frames(source, Span())).time_s is None
        except SourceError:  # which the analysis will tell
            return
    if still and suffix != ".png":
        raise ValueError(f"{source.name!r} is a picture; name a .png file or a folder for its overlay.")
    if not still and suffix != ".mp4":
        raise ValueError(f"{source.name!r} is a video; name an .mp4 file or a folder for its overlay.")


def _most_faces(table: Path, about: TableAbout) -> dict[str, int]:
    """For every source the most faces that one of its frames has, at least 1 and at most `MOST_BESIDE`."""
    most: Counter = Counter()
    previous, count = None, 0
    for batch in read_batches(table, about, ["source", "frame", "face_found"]):
        for source, frame, found in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            count = count + found if (source, frame) == previous else int(found)
            previous = (source, frame)
            most[source] = min(max(most[source], count, 1), MOST_BESIDE)
    return most


def _draw_source(source: Source, rows: Iterator, about: TableAbout, faces: int, output: Path, stem: str) -> list[Path]:
    whole = is_one_file(output)
    folder = output.parent if whole else output
    folder.mkdir(parents=True, exist_ok=True)
    pairs = _with_rows(source, rows)
    first = next(pairs, None)
    if first is None:
        return []
    artist = FrameArtist(about, first[0].image.shape[1::-1], faces)
    if first[0].time_s is None and source.kind == IMAGE:
        return _draw_pages(first, pairs, artist, folder, output.stem if whole else stem)
    path = output if whole else folder / f"{stem}.mp4"
    with written_whole(path) as temporary, _Video(temporary, artist.size).open() as video:
        for frame, faces in _chained(first, pairs):
            time_s = frame.time_s if frame.time_s is not None else frame.index / NOMINAL_RATE
            video.add(artist.draw(frame, faces), time_s)
    return [path]


def _draw_pages(first, pairs, artist: FrameArtist, folder: Path, stem: str) -> list[Path]:
    """A picture, or every page of one."""
    from PIL import Image

    files = []
    for frame, faces in _chained(first, pairs):
        path = folder / (f"{stem}.png" if not files else f"{stem}-page{frame.index + 1}.png")
        with written_whole(path) as temporary:
            Image.fromarray(artist.draw(frame, faces)).save(temporary, format="png", pnginfo=png_info())
        files.append(path)
    return files


def _chained(first, others):
    yield first
    yield from others


def _with_rows(source: Source, rows: Iterator) -> Iterator[tuple[Frame, list[dict]]]:
    """The frames that the table has rows of, with the rows of their faces."""
    number, faces = next(rows)
    try:
        for frame in read_frames(source, Span()):
            if frame.index < number:
                continue
            while number < frame.index:  # not to be: the source would have changed since
                number, faces = next(rows)
            if number == frame.index:
                yield frame, faces
                number, faces = next(rows)
    except StopIteration:
        return
    except SourceError:  # what of it could not be read was said when it was analysed
        return


class _Video:
    """An MP4 in the making."""

    def __init__(self, path: Path, size: tuple[int, int]):
        self.path, self.size = path, size
        self._last = -1

    @contextmanager
    def open(self) -> Iterator["_Video"]:
        try:
            import av
        except ImportError as error:
            raise ImportError("videos are written with PyAV: pip install av") from error
        self._av = av
        codec, options = "libx264", {"crf": "20", "preset": "veryfast"}
        if codec not in av.codecs_available:
            warnings.warn(
                "this FFmpeg cannot write H.264; the overlay is MPEG-4 Part 2, larger and coarser", stacklevel=2
            )
            codec, options = "mpeg4", {"qscale": "4"}
        with av.open(str(self.path), "w") as self._container:
            self._stream = self._container.add_stream(codec, rate=NOMINAL_RATE, options=options)
            self._stream.width, self._stream.height = self.size
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, CLOCK)
            yield self
            self._container.mux(self._stream.encode(None))

    def add(self, picture: np.ndarray, time_s: float) -> None:
        frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        # Damaged containers have times that stand still or go back, which no video can hold.
        self._last = max(round(time_s * CLOCK), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, CLOCK)
        self._container.mux(self._stream.encode(frame))


__all__ = ["Overlays", "check_overlay_path", "draw_overlays", "is_one_file"]
