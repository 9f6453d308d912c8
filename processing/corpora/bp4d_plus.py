"""BP4D+ (MMSE): 140 people, ten tasks each, AUs coded in four of them.

Zhang et al., CVPR 2016. Layout after unpacking:

    AUCoding/AU_OCC/F001_T1.csv   first column frame number, then a column an AU, headed by its number
    2D+3D/F001/T1/*.jpg           from 2D+3D/F001.zip: unpack each archive where it lies
    …/F001_T1.mp4                 or videos, whose frames the tables count from 1

The folders 2DFeatures, 3DFeatures, IRFeatures, Physiology and Thermal are not used. F041_T7 is known for having more
labels than frames; what matches by number is used, and the report says so.
"""

from pathlib import Path

from processing.corpora.bp4d_files import Release, read_release
from processing.corpora.official import OfficialCorpus
from processing.prompts_clef import BP4D_PLUS_TASKS

BP4D_PLUS = Release(
    name="bp4d_plus",
    title="BP4D+",
    tasks=BP4D_PLUS_TASKS,
    coded_tasks=("T1", "T6", "T7", "T8"),
    subjects=(*(f"F{number:03}" for number in range(1, 83)), *(f"M{number:03}" for number in range(1, 59))),
    session_tasks={},
    licence="BP4D+: research licence of Binghamton University, by agreement; not to be passed on",
)


def read_bp4d_plus(root: str | Path, uncoded_tasks: bool = True, uncoded_frames: bool = False) -> OfficialCorpus:
    """All coded frames of BP4D+ (197,756 in published work), and by default all frames of its other six tasks.

    AUs, `groups` and values as in `bp4d.read_bp4d`.

    Args:
        root: the folder with AUCoding and 2D+3D.
        uncoded_tasks: also tasks whose AUs are not coded, for pre-training by activity; all their AUs are None.
        uncoded_frames: also the frames of coded tasks that nobody coded.

    Raises FileNotFoundError and ValueError as `bp4d_files.read_release` does, ImportError for videos without PyAV.
    """
    return read_release(BP4D_PLUS, Path(root), uncoded_frames=uncoded_frames, uncoded_tasks=uncoded_tasks)
