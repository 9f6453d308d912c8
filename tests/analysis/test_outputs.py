"""What files about sources are called."""

import itertools

import pytest

from analysis.outputs import file_stems


@pytest.mark.parametrize(
    ("sources", "stems"),
    [
        (["rec/a.mp4", "rec/b.mp4", "camera 0"], ["a", "b", "camera 0"]),
        (["BP4D/F002/T1.mp4", "BP4D/F003/T1.mp4", "BP4D/F003/T2.mp4"], ["F002-T1", "F003-T1", "T2"]),
        (["x/F1/t.mp4", "y/F1/t.mp4", "y/F2/T.mov"], ["x-F1-t", "y-F1-t", "F2-T"]),
        (["/a/t.mp4", "t.mp4"], ["a-t", "t"]),
        (["a/IMG_1.jpg", "a/IMG_1.MOV"], ["IMG_1-jpg", "IMG_1-MOV"]),
        (["../a/t.mp4", "a/t.mp4"], ["a-t", "a-t-2"]),
        (["a/t.mp4", "b/t.mp4", "c/a-t.mp4"], ["a-t", "b-t", "c-a-t"]),
    ],
)
def test_sources_of_one_stem_are_told_apart_by_their_folders(sources, stems):
    for order in itertools.permutations(range(len(sources))):
        assert file_stems(sources[i] for i in order) == dict(zip(sources, stems, strict=True))
