"""The tabs of the page."""

from pathlib import Path

import gradio as gr
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from clef_space import limits
from clef_space.components import picture_file, video_file
from clef_space.faces_view import faces_page
from clef_space.limits import Refused, read_words
from clef_space.live import idle, live_bars
from clef_space.parts import hint, message, problem
from clef_space.pictures import forget
from clef_space.service import Service
from clef_space.temporary import result_folder
from clef_space.timeline_view import timeline
from clef_space.videos import rows

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NO_VIDEO = f"Choose or record a video of up to {limits.VIDEO_SECONDS:.0f} seconds. Each label becomes a lane over time."
SUGGESTED = "raised eyebrows\npolite smile\ngritted teeth"
WAIT = {"show_progress": "minimal", "api_visibility": "private", "concurrency_limit": None}


LIVE = (
    f"Allow the camera and press Record: the bars follow your face several times a second. Nothing it sees is stored, "
    f"and the stream ends by itself after {limits.STREAM_SECONDS} seconds."
)
# The same stands in style.css.
BUSY = "Many people are using this right now. It goes on by itself as soon as there is room."
ENDED = "The stream has ended. Press Record to go on."


def picture_tab(service: Service, first: str) -> None:
    """`first`: HTML that is there on arrival."""

    def show(path: str | None) -> str:
        if path is None:
            return first
        try:
            picture, faces = service.faces(path)
            return faces_page(service.recogniser, picture, faces)
        except Refused as refused:
            return problem(str(refused))

    upload = picture_file(
        label="Your picture", sources=["upload", "webcam", "clipboard"], height=180, elem_id="clef-picture", buttons=[]
    )
    _examples(upload)
    result = gr.HTML(first, elem_id="clef-picture-result", elem_classes="clef-output")
    upload.change(show, upload, result, **WAIT)


def words_tab(service: Service) -> None:
    def remember(path: str | None):
        if path is None:
            return None, message("Choose a picture, then type what to look for.")
        try:
            picture, faces = service.faces(path)
        except Refused as refused:
            return None, problem(str(refused))
        note = "Now press “Score my words”."
        return (picture, faces), faces_page(service.recogniser, picture, faces, note=note)

    def score(remembered, typed: str) -> str:
        try:
            words = read_words(typed)
            if remembered is None:
                raise Refused("Choose a picture first (one is forgotten after ten minutes).")
            picture, faces = remembered
            with service.gate.pass_through():
                return faces_page(service.recogniser, picture, faces, words)
        except Refused as refused:
            return problem(str(refused))

    remembered = gr.State(None, time_to_live=limits.REMEMBERED_SECONDS)
    with gr.Row(equal_height=True):
        upload = picture_file(
            label="Your picture", sources=["upload", "webcam", "clipboard"], height=260, elem_id="clef-words-picture",
            buttons=[],
        )  # fmt: skip
        with gr.Column():
            typed = gr.Textbox(
                SUGGESTED, label="Your own words, one a line", lines=5, max_lines=8, elem_id="clef-words-typed",
                info=f"Up to {limits.LABELS}, each up to {limits.LABEL_LENGTH} characters. Codes such as AU12 too.",
            )  # fmt: skip
            button = gr.Button("Score my words", variant="primary", elem_id="clef-words-button")
    _examples(upload)
    result = gr.HTML(
        message("Choose a picture, then type what to look for."),
        elem_id="clef-words-result",
        elem_classes="clef-output",
    )
    upload.change(remember, upload, [remembered, result], **WAIT)
    button.click(score, [remembered, typed], result, **WAIT)


def video_tab(service: Service) -> None:
    def show(path: str | None, progress=gr.Progress()):  # noqa: B008  this is how Gradio is asked for one
        hidden = gr.update(visible=False)
        if path is None:
            return hidden, message(NO_VIDEO), hidden, hidden
        progress(0, desc="Looking at the frames")
        try:
            with result_folder() as folder:
                overlay = folder / "faces.mp4"
                frames = service.video(path, overlay, lambda share: progress(share, desc="Looking at the frames"))
                parquet, table_csv = _tables(rows(service.recogniser, frames), folder)
        except Refused as refused:
            return hidden, problem(str(refused)), hidden, hidden
        return (
            gr.update(value=str(overlay), visible=True),
            timeline(service.recogniser, frames),
            gr.update(value=str(parquet), visible=True),
            gr.update(value=str(table_csv), visible=True),
        )

    upload = video_file(
        label="Your video", sources=["upload", "webcam"], height=280, elem_id="clef-video", include_audio=True,
        webcam_options=gr.WebcamOptions(mirror=False), buttons=[],
    )  # fmt: skip
    with gr.Row(elem_id="clef-video-row"):
        overlay = gr.Video(
            label="Faces found", show_label=False, visible=False, interactive=False, elem_id="clef-overlay",
            buttons=["download"],
        )  # fmt: skip
        result = gr.HTML(message(NO_VIDEO), elem_id="clef-video-result", elem_classes="clef-output")
    with gr.Row(elem_classes="clef-downloads"):
        parquet = gr.DownloadButton("Download table (Parquet)", visible=False, size="sm", elem_id="clef-parquet")
        table_csv = gr.DownloadButton("Download table (CSV)", visible=False, size="sm", elem_id="clef-csv")
    upload.change(
        show, upload, [overlay, result, parquet, table_csv], show_progress_on=result, **WAIT | {"show_progress": "full"}
    )


def webcam_tab(service: Service) -> None:
    note = gr.HTML(hint(LIVE), elem_id="clef-live-note")
    with gr.Row(elem_id="clef-live-row"):
        camera = picture_file(
            label="Webcam", sources=["webcam"], streaming=True, elem_id="clef-camera", height=320, format="jpeg",
            webcam_options=gr.WebcamOptions(mirror=True, constraints={"video": {"width": 640, "height": 480}}),
            buttons=[],
        )  # fmt: skip
        result = gr.HTML(idle(), elem_id="clef-live-result", elem_classes="clef-output")

    def live(source):
        if source is None:
            return idle(), hint(LIVE)
        try:
            with service.gate.turn(limits.FRAME_SECONDS):
                return live_bars(service.recogniser, source), hint(LIVE)
        except Refused:
            return problem(BUSY), hint(LIVE)
        finally:
            if isinstance(source, str):
                forget(source)

    # Whoever Gradio lets in is told above when it is busy; style.css tells whoever waits to be let in, which shows only
    # where progress is not hidden.
    streaming = camera.stream(
        live, camera, [result, note], stream_every=0.25, time_limit=limits.STREAM_SECONDS,
        concurrency_limit=limits.AT_ONCE + limits.WAITING, show_progress="minimal", api_visibility="private",
    )  # fmt: skip
    # The server has let go by now, but Gradio's camera would begin anew.
    streaming.then(
        lambda: hint(ENDED), None, note, js="() => clefStopCamera()", api_visibility="private", show_progress="hidden"
    )


def endpoints(service: Service) -> None:
    """The API. Its components are in the page's description, not on the page."""

    def picture(picture) -> dict:
        return _answer(service.picture_json, picture)

    def words(picture, words) -> dict:
        return _answer(service.words_json, picture, words)

    def video(video) -> dict:
        return _answer(service.video_json, video)

    def labels() -> dict:
        return _answer(service.labels_json)

    picture_in = picture_file(label="picture", visible=False)
    video_in = video_file(label="video", visible=False)
    words_in = gr.JSON(label="words", visible=False)
    out = gr.JSON(label="result", visible=False)
    for function, inputs, description in (
        (picture, [picture_in], "The labels of each face of a picture, by label set, and its quality."),
        (words, [picture_in, words_in], "The same, and scores for a list of your own labels."),
        (video, [video_in], "One row a frame and face of a short video."),
        (labels, [], "What the labels are called and mean, and their thresholds."),
    ):
        gr.Button(visible=False).click(
            function, inputs, out, api_name=function.__name__, api_description=description, concurrency_limit=None
        )


def _answer(function, *arguments) -> dict:
    try:
        return function(*arguments)
    except Refused as refused:
        raise gr.Error(str(refused), print_exception=False) from refused


def _examples(upload: gr.Image) -> None:
    """Buttons, as `gr.Examples` would offer copies that are removed like uploads."""
    with gr.Row(elem_classes="clef-examples"):
        gr.HTML(hint("Or try"), min_width=0)
        for file in sorted(EXAMPLES.glob("*.jpg")):
            words = file.stem.partition("_")[2].replace("_", " ")
            button = gr.Button(f"Example: {words}", size="sm", min_width=0)
            button.click(lambda path=str(file): path, None, upload, api_visibility="private", show_progress="hidden")


def _tables(found: list[dict], folder: Path) -> tuple[Path, Path]:
    table = pa.Table.from_pylist(found)
    pq.write_table(table, folder / "clef-video.parquet")
    pa_csv.write_csv(table, folder / "clef-video.csv")
    return folder / "clef-video.parquet", folder / "clef-video.csv"
