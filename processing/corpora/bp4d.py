"""BP4D-Spontaneous: 41 people, eight tasks each, AUs coded frame by frame where the expression is strongest.

Zhang et al., Image and Vision Computing 2014. Layout after unpacking:

    AUCoding/AU_OCC/F001_T1.csv   first column frame number, then a column an AU, headed by its number
    …/F001/T1/2440.jpg            pictures; names are padded differently from sequence to sequence
    …/2F01_T5.avi                 or videos, whose frames the tables count from 1

Pictures and videos may lie up to three folders deep, such as in "Sequences(2D+3D)". Videos named by recording session
(2F01_01, _03, _07, _08, _09, _10, _11, _13 for T1 to T8) are understood too. 1 is present, 0 absent, 9 not coded.
"""

from pathlib import Path

from processing.corpora.bp4d_files import Release, read_release
from processing.corpora.official import OfficialCorpus
from processing.prompts_clef import BP4D_TASKS

BP4D = Release(
    name="bp4d",
    title="BP4D",
    tasks=BP4D_TASKS,
    coded_tasks=tuple(BP4D_TASKS),
    subjects=(*(f"F{number:03}" for number in range(1, 24)), *(f"M{number:03}" for number in range(1, 19))),
    session_tasks=dict(zip((1, 3, 7, 8, 9, 10, 11, 13), BP4D_TASKS, strict=True)),
    licence="BP4D: research licence of Binghamton University, by agreement; not to be passed on",
)


def read_bp4d(root: str | Path, uncoded_frames: bool = False) -> OfficialCorpus:
    """All coded frames of BP4D (146,847 in published work), with their activity and AU occurrence.

    AUs are the protocol's twelve and what else is coded and has a text in `prompts_clef`; the others are named in the
    report. Coders' 9, 999 and empty cells are None. `groups` has the gender that a subject's name gives.

    Args:
        root: the folder with AUCoding and the pictures or videos.
        uncoded_frames: also the frames of each sequence that nobody coded, for pre-training by activity.

    Raises FileNotFoundError and ValueError as `bp4d_files.read_release` does, ImportError for videos without PyAV.
    """
    return read_release(BP4D, Path(root), uncoded_frames=uncoded_frames)
