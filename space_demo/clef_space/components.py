"""Gradio's upload components, less what they do to files: these hand over the path and open nothing."""

import gradio as gr

from clef_space.limits import Refused
from clef_space.pictures import decode_data_url


def picture_file(**options) -> gr.Image:
    """Gives the path of the uploaded file, or bytes for a camera's stream. Gradio's own opens and converts it first."""
    component = gr.Image(**options)
    component.preprocess = _path_or_bytes
    return component


def video_file(**options) -> gr.Video:
    """Gives the path of the uploaded file. Gradio's own may call the ffmpeg program."""
    component = gr.Video(**options)
    component.preprocess = lambda payload: None if payload is None else payload.path
    return component


def _path_or_bytes(payload) -> str | bytes | None:
    if payload is None or payload.path:
        return payload and payload.path
    try:
        return decode_data_url(payload.url or "")
    except Refused:
        return b""
