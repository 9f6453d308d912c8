import numpy as np
import pytest
from PIL import Image

from processing.face_alignment_clef import EYES_NOSE_1, Face
from train_scripts.crop_check import check_crops, read_crops

SIDE = 200


class KnownFaces:
    """Answers with the points of the crop that comes next, moved to where the crop lies in what it is shown."""

    def __init__(self, points):
        self.points = iter(points)

    def detect(self, image):
        fractions = next(self.points)
        if fractions is None:
            return []
        inner = np.asarray(image).any(axis=-1) & (np.asarray(image) == 255).all(axis=-1)
        rows, columns = np.nonzero(inner)
        origin, side = np.array([columns.min(), rows.min()]), columns.max() + 1 - columns.min()
        points = np.concatenate([fractions, fractions[:2] + [0, 0.4]]) * side + origin
        return [Face(np.array([*points.min(axis=0), *points.max(axis=0)]), points, 1.0)]


def measured(points, size=(SIDE, SIDE)):
    crops = [(str(n), Image.new("RGB", size, "white")) for n in range(len(points))]
    return check_crops(crops, KnownFaces(points))


def changed(scale=1.0, degrees=0.0, right=0.0, down=0.0):
    """The recipe's points, scaled and turned about their own middle."""
    targets = EYES_NOSE_1.targets(1)
    z = (targets - targets.mean(axis=0)) @ [1, 1j] * scale * np.exp(1j * np.radians(degrees))
    return np.stack([z.real, z.imag], axis=1) + targets.mean(axis=0) + [right, down]


def test_crops_of_the_recipe_agree():
    result = measured([changed()] * 3)
    assert result.differences() == []
    np.testing.assert_allclose(
        [result.scale, result.rotation, *result.shift.T], np.outer([1, 0, 0, 0], [1] * 3), atol=1e-9
    )
    assert result.lines()[-1] == "against the recipe 'eyes-nose-1': they agree within what the detector can tell"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scale": 1.12}, "eyes 12% further apart than the recipe"),
        ({"scale": 0.8}, "eyes 20% closer together than the recipe"),
        ({"degrees": 5.0}, "faces turned 5.0° clockwise"),
        ({"degrees": -5.0}, "faces turned 5.0° anticlockwise"),
        ({"right": 0.06}, "faces 6% of the crop's side to the right"),
        ({"right": -0.06}, "faces 6% of the crop's side to the left"),
        ({"down": 0.1}, "faces 10% of the crop's side down"),
        ({"down": -0.1}, "faces 10% of the crop's side up"),
    ],
)
def test_what_differs_is_said_as_it_was_made(change, sentence):
    result = measured([changed(**change)] * 2)
    assert result.differences() == [sentence]
    assert result.scale[0] == pytest.approx(change.get("scale", 1.0))
    assert result.rotation[0] == pytest.approx(change.get("degrees", 0.0), abs=1e-9)
    assert result.shift[0].tolist() == pytest.approx([change.get("right", 0.0), change.get("down", 0.0)], abs=1e-9)


def test_crops_that_vary_are_said_to_be_unaligned():
    (said,) = measured([changed(degrees=-9), changed(degrees=9)]).differences()
    assert said == "rotations of the faces vary (standard deviation 9.0°): not aligned face by face"
    (said,) = measured([changed(scale=0.9), changed(scale=1.1)]).differences()
    assert said.startswith("sizes of the faces vary (standard deviation 10%)")


def test_crops_that_are_not_square_are_measured_as_a_network_sees_them():
    result = measured([changed()], size=(100, 160))
    assert result.not_square == 1 and result.scale[0] == pytest.approx(1)


def test_crops_without_a_face_are_counted():
    result = check_crops(
        [("a", Image.new("RGB", (50, 50), "white")), ("b", None), ("c", Image.new("RGB", (50, 50), "white"))],
        KnownFaces([None, changed()]),
    )
    assert (result.without_face, result.unreadable, len(result.scale)) == (["a"], ["b"], 1)
    empty = measured([None])
    assert empty.as_dict()["scale"] is None and empty.differences() == ["no face was found in any crop"]
    assert empty.lines()[0].startswith("1 crop: 0 measured, 1 without a face")


def test_a_folder_of_pictures_is_read_evenly(tmp_path):
    for number in range(9):
        (tmp_path / f"{number // 5}").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number,) * 3).save(tmp_path / f"{number // 5}" / f"{number}.PNG")
    (tmp_path / "1" / "8.PNG").write_bytes(b"broken")
    (tmp_path / "readme.txt").write_text("")
    crops, chosen, there = read_crops(tmp_path)
    crops = list(crops)
    assert (chosen, there, len(crops)) == (9, 9, 9)
    assert crops[3][0] == "0/3.PNG" and crops[3][1].getpixel((0, 0)) == (3, 3, 3) and crops[8][1] is None
    crops, chosen, there = read_crops(tmp_path, 3)
    assert [name for name, _ in crops] == ["0/0.PNG", "0/4.PNG", "1/8.PNG"] and (chosen, there) == (3, 9)
    with pytest.raises(FileNotFoundError, match="no crops in"):
        read_crops(tmp_path / "none")
