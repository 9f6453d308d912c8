"""A Gradio Space: what a face does, in words. Start it with `python app.py`, or `clef demo` in the project.

`CLEF_MODEL` names another checkpoint than the README's; `CLEF_YUNET` a copy of the face finder's file.
"""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from clef_space.temporary import remove_when_stopped  # isort: skip  before Gradio

try:  # on ZeroGPU, where it wants to come before torch
    import spaces  # noqa: F401
except ImportError:
    pass

from pathlib import Path

import gradio as gr

from clef_space.about import about_page, read_metrics
from clef_space.faces_view import faces_page
from clef_space.limits import RESULT_SECONDS, UPLOAD_BYTES
from clef_space.pages import EXAMPLES, endpoints, picture_tab, video_tab, webcam_tab, words_tab
from clef_space.parts import message, text
from clef_space.recogniser import Recogniser, default_checkpoint
from clef_space.service import Service

HERE = Path(__file__).resolve().parent
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # of the visitor's own machine
EMPTY = "Choose a picture: upload, paste, or take one with the camera."
HEADER = """<header class="clef-header"><h1>What is this face doing?</h1><p>Choose a picture: see {shown}, and how
sure the model is. Nothing you send is kept.</p></header>"""
SHOWN = "which movements are in the face, such as raised brows, which expression it resembles"
COARSE = (
    "The face finder’s file (YuNet) is missing here. A simpler one stands in: it misses small, turned and tilted "
    "faces, and cuts the others out less exactly, so every number below is less reliable."
)


def build(service: Service, metrics: dict) -> gr.Blocks:
    title, cache = "CLEF: facial behaviour in words", (60, RESULT_SECONDS)
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=cache) as page:
        standard = {label_set.name for label_set in service.recogniser.label_sets} == {"action_units", "expression"}
        gr.HTML(HEADER.format(shown=SHOWN if standard else "which of the model’s labels fit the face"))
        if service.recogniser.finds_coarsely:
            gr.HTML(f'<p class="clef-warning" role="note">{text(COARSE)}</p>', elem_id="clef-coarse")
        with gr.Tabs():
            with gr.Tab("Picture"):
                picture_tab(service, first_result(service))
            with gr.Tab("Your words"):
                words_tab(service)
            with gr.Tab("Video"):
                video_tab(service)
            with gr.Tab("Webcam"):
                webcam_tab(service)
            with gr.Tab("About"):
                gr.HTML(about_page(service.recogniser, metrics))
        endpoints(service)
    return page.queue(max_size=64, default_concurrency_limit=8)


def first_result(service: Service) -> str:
    """The first example, worked out: what somebody sees who has just arrived."""
    examples = sorted(EXAMPLES.glob("*.jpg"))
    if not examples:
        return message(EMPTY)
    picture = service.recogniser.read_image(str(examples[0]))
    faces = service.recogniser.analyse(picture)
    if not faces:  # a lesser face finder
        return message(EMPTY)
    return faces_page(service.recogniser, picture, faces, note="An example, until you choose a picture")


def launch(page: gr.Blocks, **options):
    """Serves the page; `options` go to Gradio's `launch`."""
    script = (HERE / "demo.js").read_text(encoding="utf-8")
    theme = gr.themes.Base(
        primary_hue="teal", neutral_hue="slate", font=FONTS, font_mono=["ui-monospace", "monospace"]
    ).set(
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_text_color="white",
        button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover_dark="#115e59",
        button_primary_text_color_dark="white",
    )
    if not options.get("prevent_thread_lock"):  # the process serves until it ends
        remove_when_stopped()
    return page.launch(
        share=False,
        theme=theme,
        css=(HERE / "style.css").read_text(encoding="utf-8"),
        head=f"<script>{script}</script>",
        footer_links=["api"],
        quiet=True,
        max_file_size=UPLOAD_BYTES,
        allowed_paths=[str(EXAMPLES)],
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        **options,
    )


def make() -> gr.Blocks:
    checkpoint = default_checkpoint()
    return build(Service(Recogniser(checkpoint)), read_metrics(checkpoint))


if __name__ == "__main__":
    launch(make())
