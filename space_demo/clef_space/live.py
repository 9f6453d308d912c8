"""The webcam's stream: the largest face of each picture as bars that stay where they are."""

import numpy as np

from clef_space.faces_view import label_groups, legend, summary
from clef_space.limits import Refused
from clef_space.parts import message, problem
from clef_space.pictures import read_picture
from clef_space.recogniser import Recogniser

IDLE = "The bars appear here once the camera runs."


def live_bars(recogniser: Recogniser, source: str | bytes | None) -> str:
    """HTML for one picture of the camera."""
    try:
        picture = read_picture(source, recogniser.read_image)
    except Refused as refused:
        return problem(str(refused))
    faces = recogniser.analyse(picture, most=1)
    if not faces:
        head, scores = "No face in sight.", np.zeros(len(recogniser.labels))
    else:
        head = summary(recogniser, faces[0])
        scores = faces[0].probabilities if faces[0].probabilities is not None else np.zeros(len(recogniser.labels))
    return (
        f'<div class="clef-result clef-live" data-seen="{len(faces)}"><p class="clef-summary">{head}</p>'
        f"{legend(recogniser)}"
        f'<div class="clef-groups">{label_groups(recogniser, scores, {})}</div></div>'
    )


def idle() -> str:
    return message(IDLE)
