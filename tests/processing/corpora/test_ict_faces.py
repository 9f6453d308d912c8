import dataclasses
from dataclasses import fields, replace

import numpy as np
import pytest

pytest.importorskip("numba")

from processing.corpora.bilateral_behaviour import ACTION_UNITS, COLUMN, MIDLINE
from processing.corpora.ict_expression import RESTING_SHAPES, STYLE_COUNT
from processing.corpora.ict_faces import renderer_sources
from processing.corpora.ict_identity import sample_identity
from processing.corpora.ict_nuisance import (
    MAXIMUM_YAW,
    Nuisance,
    Variation,
    frontal_nuisance,
    sample_clip_nuisances,
    sample_session,
)
from processing.corpora.ict_photography import make_background
from processing.corpora.ict_raster import PLAIN as PLAIN_KIND
from processing.corpora.ict_raster import add_shapes, project, rasterize, shade, vertex_normals
from processing.corpora.random_streams import CLIP_NUISANCE, IDENTITY, SESSION, random_generator

SIZE = 64
PLAIN, ALL = Variation.none(), Variation()
FRONTAL = frontal_nuisance()
RIGHT_EYE, LEFT_EYE, NOSE, RIGHT_CORNER, LEFT_CORNER = range(5)


def identity(number):
    return sample_identity(random_generator(0, IDENTITY, number))


def nuisances(number, frames=1, variation=None, activity=0):
    session = sample_session(random_generator(0, SESSION, number))
    return sample_clip_nuisances(random_generator(0, CLIP_NUISANCE, number, activity), session, frames, variation)


def sides(**strengths):
    values = np.zeros((1, len(ACTION_UNITS), 2), dtype=np.float32)
    for name, value in strengths.items():
        values[0, COLUMN[name]] = value
    return values


@pytest.fixture(scope="module")
def people(renderer):
    """Plain faces by number, made once."""
    made = {}

    def get(number, variation=PLAIN):
        key = (number, variation)
        if key not in made:
            made[key] = renderer.person(identity(number), variation)
        return made[key]

    return get


def draw(renderer, person, nuisance=FRONTAL, size=SIZE, **strengths):
    return renderer.render(person, [nuisance], sides(**strengths), size)


def picture(renderer, person, nuisance=FRONTAL, size=SIZE, **strengths):
    return draw(renderer, person, nuisance, size, **strengths).images[0].astype(np.int16)


def test_a_picture_depends_on_its_own_row_alone(renderer, people):
    rng = np.random.default_rng(0)
    person, places = people(1, ALL), nuisances(1, 9)
    strengths = (rng.uniform(0, 5, (9, 21, 2)) * (rng.random((9, 21, 1)) < 0.3)).astype(np.float32)
    together = renderer.render(person, places, strengths, SIZE)

    def assert_same(faces, order):
        for field in fields(faces):
            np.testing.assert_array_equal(getattr(faces, field.name), getattr(together, field.name)[order])

    for index in range(9):
        assert_same(
            renderer.render(person, [places[index]], strengths[index : index + 1], SIZE), slice(index, index + 1)
        )
    assert_same(renderer.render(person, places[::-1], strengths[::-1], SIZE), slice(None, None, -1))
    # Another person and another size in between leave nothing behind in the buffers.
    renderer.render(people(4, ALL), places[:2], strengths[:2] * 0, 40)
    assert_same(renderer.render(person, places[3:5], strengths[3:5], SIZE), slice(3, 5))


def test_the_same_draw_is_the_same_person(renderer, people):
    again = renderer.person(identity(3), ALL)
    np.testing.assert_array_equal(picture(renderer, people(3, ALL), AU12=3), picture(renderer, again, AU12=3))


def test_people_differ_by_shape_alone_and_by_everything(renderer, people):
    for variation, least in ((PLAIN, 2), (ALL, 6)):
        faces = [picture(renderer, people(number, variation)) for number in range(6)]
        assert all(np.abs(faces[i] - faces[j]).mean() > least for i in range(6) for j in range(i))
    shapes = [replace(identity(0), coefficients=identity(number).coefficients) for number in (0, 1)]
    one, other = (picture(renderer, renderer.person(shape, PLAIN)) for shape in shapes)
    assert np.abs(one - other).mean() > 2


@pytest.mark.parametrize("size", [32, 33, 96])
def test_what_comes_back(renderer, people, size):
    faces = renderer.render(people(0, ALL), nuisances(0, 3), np.zeros((3, 21, 2)), size)
    assert faces.images.shape == (3, size, size, 3) and faces.images.dtype == np.uint8
    assert faces.alpha.shape == (3, size, size) and faces.alpha.dtype == np.uint8
    assert (faces.action_units.shape, faces.landmarks.shape, faces.boxes.shape) == ((3, 21), (3, 5, 2), (3, 4))
    assert {faces.action_units.dtype, faces.landmarks.dtype, faces.boxes.dtype} == {np.dtype(np.float32)}
    assert all(image.std() > 15 for image in faces.images)


def test_a_small_face_is_the_large_one_seen_from_afar(renderer, people):
    for number in range(4):
        large, small = (picture(renderer, people(number), size=size, AU12=4, AU25=3) for size in (192, 48))
        assert np.abs(large.reshape(48, 4, 48, 4, 3).mean(axis=(1, 3)) - small).mean() < 3
    large, small = (draw(renderer, people(0), nuisances(3)[0], size) for size in (192, 48))
    np.testing.assert_allclose(large.landmarks / 4, small.landmarks, atol=1e-3)
    np.testing.assert_allclose(large.boxes / 4, small.boxes, atol=1e-3)


@pytest.mark.parametrize("size", [31, 513])
def test_sizes_outside_are_refused(renderer, people, size):
    with pytest.raises(ValueError, match="expected 32 to 512 pixels"):
        draw(renderer, people(0), size=size)


@pytest.mark.parametrize("value", [-0.1, 5.1, np.nan, np.inf])
def test_intensities_outside_are_refused(renderer, people, value):
    with pytest.raises(ValueError, match="between 0 and 5"):
        draw(renderer, people(0), AU1=value)


@pytest.mark.parametrize("shape", [(1, 21), (2, 21, 2), (1, 17, 2), (21, 2)])
def test_other_shapes_are_refused(renderer, people, shape):
    with pytest.raises(ValueError, match=r"1 nuisances and AUs of shape .*; expected \(N, 21, 2\)"):
        renderer.render(people(0), [FRONTAL], np.zeros(shape), SIZE)


# Labels


def test_labels_are_the_stronger_side_without_what_cannot_coexist(renderer, people):
    made = draw(renderer, people(0), AU12=(1, 3.5), AU45=(5, 5), AU5=(4, 4), AU27=4, AU26=3).action_units[0]
    assert made[COLUMN["AU12"]] == 3.5 and made[COLUMN["AU45"]] == 5
    assert made[COLUMN["AU5"]] == 0 and made[COLUMN["AU26"]] == 0 and made[COLUMN["AU27"]] == 4


@pytest.mark.parametrize("name", ["AU10", "AU25", "AU26", "AU27"])
def test_lips_part_by_what_opens_them(renderer, people, name):
    for number in [n for n in range(20) if identity(n).lip_gap < 0.05][:5]:
        levels = [
            draw(renderer, people(number), size=32, **{name: level}).action_units[0, COLUMN["AU25"]]
            for level in range(6)
        ]
        assert levels[0] < 0.5 and np.all(np.diff(levels) >= 0) and levels[5] > 2.5, levels
        assert levels[2] > 1


def test_closed_mouths_have_closed_lips(renderer, people):
    closed = [n for n in range(20) if identity(n).lip_gap < 0.05]
    assert len(closed) > 10
    for number in closed[:6]:
        for names in ((), ("AU24",), ("AU28",), ("AU17",), ("AU1", "AU2"), ("AU45",), ("AU4", "AU7")):
            made = draw(renderer, people(number), size=32, **dict.fromkeys(names, 4.0))
            assert made.action_units[0, COLUMN["AU25"]] == 0, names
    for number in range(4):
        parted = renderer.person(replace(identity(number), lip_gap=0.12), PLAIN)
        assert 0 < draw(renderer, parted, size=32).action_units[0, COLUMN["AU25"]] < 2


# What an AU changes


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_change_grows_with_intensity(renderer, people, name):
    rest = picture(renderer, people(2), size=96)
    totals = [np.abs(picture(renderer, people(2), size=96, **{name: level}) - rest).sum() for level in range(6)]
    assert totals[0] == 0 and np.all(np.diff(totals) > 0), totals
    assert (np.abs(picture(renderer, people(2), size=96, **{name: 4.5}) - rest).mean(axis=-1) > 8).sum() >= 30


@pytest.mark.parametrize("name", [name for name in ACTION_UNITS if name not in MIDLINE])
def test_the_subjects_left_is_on_the_pictures_right(renderer, people, name):
    """On an even face: the mean shape, lit from the front, without texture."""
    mean = renderer.person(replace(identity(0), coefficients=np.zeros(100, np.float32)), replace(PLAIN, wrinkles=True))
    light = replace(FRONTAL, light_directions=((0.0, 0.3, 0.95),) * 3)
    rest = picture(renderer, mean, light)
    for value, half, other in (
        ((4.5, 0), slice(SIZE // 2, SIZE), slice(0, SIZE // 2)),
        ((0, 4.5), slice(0, SIZE // 2), slice(SIZE // 2, SIZE)),
    ):
        change = np.abs(picture(renderer, mean, light, **{name: value}) - rest)
        assert change[:, half].sum() > 1.5 * change[:, other].sum(), value


def test_a_one_sided_smile_moves_its_own_corner(renderer, people):
    for number in range(4):
        rest = draw(renderer, people(number)).landmarks[0]
        assert rest[RIGHT_CORNER, 0] < SIZE / 2 < rest[LEFT_CORNER, 0]
        for value, moving, still in (((5, 0), LEFT_CORNER, RIGHT_CORNER), ((0, 5), RIGHT_CORNER, LEFT_CORNER)):
            move = np.linalg.norm(draw(renderer, people(number), AU12=value).landmarks[0] - rest, axis=1)
            assert move[moving] > 0.02 * SIZE and move[moving] > 3 * move[still]


# Where things are


def test_eyes_and_nose_lie_where_an_alignment_puts_them(renderer, people):
    """The crop recipe eyes-nose-1: eyes at .365 of the height, .345 apart, nose tip at .575."""
    recipe = np.array([[0.3275, 0.365], [0.6725, 0.365], [0.5, 0.575]])
    found = np.stack([draw(renderer, people(number)).landmarks[0, :3] / SIZE for number in range(12)])
    # A similarity cannot put three points of every face there: the worst of 120 people is .027 off, half are .006.
    off = np.abs(found - recipe).max(axis=(1, 2))
    assert off.max() < 0.03 and np.median(off) < 0.01
    turned = [
        draw(renderer, people(n), replace(FRONTAL, yaw=y)).landmarks[0, :3] for n in range(3) for y in (-0.6, 0.6)
    ]
    assert np.abs(np.stack(turned) / SIZE - recipe).max() < 0.07


def test_landmarks_are_on_what_they_name(renderer, people):
    """Eyes where a gaze changes the picture, corners of the mouth where a smile does: by pixels."""
    for number in (0, 1, 5):
        rest = draw(renderer, people(number), size=96)
        gaze = picture(renderer, people(number), replace(FRONTAL, gaze=(0.35, 0.0)), size=96)
        change = np.abs(gaze - rest.images[0]).sum(axis=-1)
        rows, columns = np.mgrid[:96, :96] + 0.5
        for eye, half in ((RIGHT_EYE, columns < 48), (LEFT_EYE, columns > 48)):
            weight = change * half
            centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
            assert np.abs(centre - rest.landmarks[0, eye]).max() < 0.05 * 96


def test_placement_shifts_turns_and_zooms_the_crop(renderer, people):
    rest = draw(renderer, people(0)).landmarks[0]
    shifted = draw(renderer, people(0), replace(FRONTAL, shift=(0.05, 0.03))).landmarks[0]
    np.testing.assert_allclose(shifted - rest, np.tile([0.05 * SIZE, -0.03 * SIZE], (5, 1)), atol=1e-3)
    larger = draw(renderer, people(0), replace(FRONTAL, zoom=1.2)).landmarks[0]
    np.testing.assert_allclose(larger - SIZE / 2, 1.2 * (rest - SIZE / 2), atol=1e-3)
    turned = draw(renderer, people(0), replace(FRONTAL, turn=0.1)).landmarks[0]
    eyes = (turned[LEFT_EYE] - turned[RIGHT_EYE]) @ [1, 1j]
    level = (rest[LEFT_EYE] - rest[RIGHT_EYE]) @ [1, 1j]
    assert abs(np.angle(eyes / level) + 0.1) < 1e-3  # counter-clockwise, seen with y up


def test_an_alignment_takes_out_roll_and_distance(renderer, people):
    rest = draw(renderer, people(0)).landmarks[0]
    rolled = draw(renderer, people(0), replace(FRONTAL, roll=0.3)).landmarks[0]
    assert np.abs(rolled - rest).max() < 0.02 * SIZE
    near, far = (draw(renderer, people(0), replace(FRONTAL, distance=value)) for value in (35.0, 220.0))
    assert np.abs(near.landmarks[0, :3] - far.landmarks[0, :3]).max() < 0.03 * SIZE
    # Closer up, what lies behind the nose is smaller beside it: perspective is not taken out.
    assert near.boxes[0, 2] < 0.95 * far.boxes[0, 2]


def test_boxes_hold_the_landmarks_and_the_face(renderer, people):
    for number in range(6):
        for yaw in (-0.5, 0.0, 0.4):
            face = draw(renderer, people(number), replace(FRONTAL, yaw=yaw))
            left, top, width, height = face.boxes[0]
            landmarks = face.landmarks[0]
            assert (landmarks[:, 0] > left).all() and (landmarks[:, 0] < left + width).all()
            assert (landmarks[:, 1] > top).all() and (landmarks[:, 1] < top + height).all()
            assert 0.6 < width / SIZE < 1 and 1 < height / width < 1.6


def test_coverage(renderer, people):
    for number in range(4):  # plain faces have no hair: the crop's upper corners are background
        face = draw(renderer, people(number))
        alpha, image = face.alpha[0], face.images[0]
        assert (alpha[SIZE // 4 : SIZE * 3 // 4, SIZE // 3 : SIZE * 2 // 3] == 255).all()
        assert alpha[0, 0] == alpha[0, -1] == 0 and 0.4 < (alpha > 0).mean() < 0.95
        behind = image[alpha == 0]
        assert len(behind) > 50 and (behind == behind[0]).all() and np.ptp(behind[0].astype(int)) == 0
        assert (image[alpha == 255] != behind[0]).any(axis=-1).mean() > 0.95
        assert set(np.unique(alpha)) <= {0, 64, 128, 191, 255}  # quarters


def test_the_background_shows_through_as_it_is(renderer, people):
    seed = next(seed for seed in range(50) if make_background(seed, SIZE).std() > 0.15)
    plain, scene = (draw(renderer, people(0), replace(FRONTAL, background_seed=value)) for value in (-1, seed))
    np.testing.assert_array_equal(plain.alpha, scene.alpha)
    covered = plain.alpha[0] == 255
    np.testing.assert_array_equal(plain.images[0][covered], scene.images[0][covered])
    free, background = plain.alpha[0] == 0, make_background(seed, SIZE).sum(axis=-1)
    seen = scene.images[0].sum(axis=-1)
    assert np.corrcoef(seen[free], background[free])[0, 1] > 0.9


# Light


def skin(face, half=slice(None)):
    """Mean brightness of the covered pixels."""
    return float(face.images[0][:, half][face.alpha[0][:, half] == 255].mean())


def test_brighter_light_gives_a_brighter_face(renderer, people):
    for number in (0, 2, 12):
        levels = []
        for factor in (0.3, 0.6, 1.0, 1.6):
            colours = tuple(tuple(factor * value for value in colour) for colour in FRONTAL.light_colours)
            levels.append(skin(draw(renderer, people(number), replace(FRONTAL, light_colours=colours))))
        assert np.all(np.diff(levels) > 3), levels
        assert skin(draw(renderer, people(number), replace(FRONTAL, exposure=1.5))) > levels[2] + 3


def test_metering_makes_up_for_the_skins_brightness(renderer):
    """The more of it, the nearer in brightness are pictures of light and dark skin."""
    light, dark = (
        renderer.person(replace(identity(0), skin=np.full(3, value, np.float32)), PLAIN) for value in (0.6, 0.05)
    )
    gaps = []
    for metering in (0.0, 0.3, 0.6):
        place = replace(FRONTAL, metering=metering)
        gaps.append(picture(renderer, light, place).mean() - picture(renderer, dark, place).mean())
    assert gaps[0] > 1.15 * gaps[1] > 1.15**2 * gaps[2] > 0
    drawn = [sample_session(random_generator(0, SESSION, number)).metering for number in range(200)]
    assert 0.1 <= min(drawn) < 0.15 and 0.5 < max(drawn) <= 0.55


def test_without_light_it_is_dark(renderer, people):
    dark = replace(FRONTAL, light_colours=((0.0,) * 3,) * 3, sky=(0.0,) * 3, ground=(0.0,) * 3)
    assert skin(draw(renderer, people(0), dark)) < 1


def test_light_comes_from_where_it_is(renderer, people):
    left, right = slice(0, SIZE // 2), slice(SIZE // 2, SIZE)
    for x, bright, shaded in ((0.9, right, left), (-0.9, left, right)):
        lit = draw(renderer, people(0), replace(FRONTAL, light_directions=((x, 0.0, 0.44),) * 3))
        assert skin(lit, bright) > skin(lit, shaded) + 10


def test_coloured_light_colours_the_face(renderer, people):
    for channel in range(3):
        colour = tuple(1.0 if index == channel else 0.2 for index in range(3))
        plain, lit = (
            draw(renderer, people(0), nuisance).images[0][20:44, 20:44].mean(axis=(0, 1))
            for nuisance in (FRONTAL, replace(FRONTAL, light_colours=(colour,) * 3))
        )
        assert np.argmax(lit / plain) == channel


def test_shadows_turn_with_the_head(renderer, people, monkeypatch):
    """Light from the camera falls on the right side of a head that has turned to its left."""
    directions, cast = [], renderer.geometry.light_visibility
    monkeypatch.setattr(renderer.geometry, "light_visibility", lambda d: directions.append(d) or cast(d))
    for yaw, pitch in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.3)):
        ahead = replace(FRONTAL, yaw=yaw, pitch=pitch, light_directions=((0.0, 0.0, 1.0),) * 3)
        draw(renderer, people(0), ahead, 32)
    expected = [(0, 0, 1), (-np.sin(0.5), 0, np.cos(0.5)), (0, np.sin(0.3), np.cos(0.3))]
    np.testing.assert_allclose(directions, expected, atol=1e-6)


def test_noses_and_brows_cast_shadows(renderer):
    geometry = renderer.geometry
    points = geometry.landmarks
    ahead, left, above = (geometry.light_visibility(np.array(d)) for d in ((0, 0, 1.0), (0.9, 0, 0.44), (0, 0.95, 0.3)))
    assert ahead[points[[30, 8, 27]]].min() > 0.9
    assert left[points[[14, 15]]].min() > 0.9 and left[points[[1, 2]]].max() < 0.3  # the far cheek
    assert above[points[[24, 19]]].min() > 0.8 and above[points[33]] < 0.5  # under the nose
    assert all(0 <= share.min() and share.max() <= 1.001 for share in (ahead, left, above))


# Variation

NUISANCE_FIELDS = {
    "pose": ("yaw", "pitch", "roll"),
    "focal_length": ("distance",),
    "gaze": ("gaze",),
    "lights": ("light_directions", "light_colours", "sky", "ground"),
    "coloured_lights": ("light_colours", "sky", "ground"),
    "background": ("background_seed",),
    "placement": ("shift", "turn", "zoom"),
    "occluders": ("occluders",),
    "exposure": ("exposure", "metering"),
    "greyscale": ("greyscale",),
    "blur": ("blur",),
    "noise": ("noise",),
    "jpeg": ("jpeg",),
}
# Traits that no other switch draws on.
IDENTITY_TRAITS = {
    "rest": {"rest": np.full(len(RESTING_SHAPES), 2.0)},
    "style": {"style": np.ones(STYLE_COUNT)},
    "texture": {"blotches": 0.9, "redness": 0.9, "freckles": 0.9, "moles": 6, "under_eye": 0.9},
    "wrinkles": {
        "wrinkling": 0.9,
        "mouth_folds": 1.0,
        "resting": dict.fromkeys(("forehead", "nasolabial", "under_eye"), 0.9),
    },
    "brows": {"brow_density": 0.95, "brow_thickness": 0.44, "brow_offset": -0.1, "brow_arch": 0.3},
    "beard": {"beard": 0.9, "moustache": 0.9, "beard_length": 0.5, "cheek_line": 0.0},
    "makeup": {"eye_shadow": 0.8},
    "hair": {"bald": False, "hairline": 9.2, "fringe": 3.0, "hair_volume": 1.5, "hair_length": -8.0, "curl": 0.6},
    "glasses": {"glasses": True, "frame_width": 2.9, "frame_thickness": 0.2, "frame_height": 2.2},
}


def only(switch):
    return replace(PLAIN, **{switch: True})


def without(switch):
    return replace(ALL, **{switch: False})


def test_every_switch_is_tested_here():
    assert {*NUISANCE_FIELDS, *IDENTITY_TRAITS} == {field.name for field in fields(Variation)}


@pytest.mark.parametrize("switch", NUISANCE_FIELDS)
def test_a_switch_of_circumstances(renderer, people, switch):
    varied = set(NUISANCE_FIELDS[switch])
    alone = [frame for number in range(60) for frame in nuisances(number, 3, only(switch))]
    values = {name: {getattr(frame, name) for frame in alone} for name in varied}
    assert all(len(value) > 1 for value in values.values()), values
    changed = next(frame for frame in alone if any(getattr(frame, n) != getattr(FRONTAL, n) for n in varied))
    assert not np.array_equal(picture(renderer, people(0), changed), picture(renderer, people(0)))

    # Off: what it varies is constant, or, of lights, has what the other switch of lights leaves.
    off, on = ([f for n in range(60) for f in nuisances(n, 3, v)] for v in (without(switch), ALL))
    if switch == "lights":
        assert len({frame.light_directions for frame in off}) == 1
    elif switch == "coloured_lights":
        colours = np.array([frame.light_colours for frame in off])
        assert np.ptp(colours, axis=-1).max() < 1e-9
    else:
        for name in varied:
            assert {getattr(frame, name) for frame in off} == {getattr(FRONTAL, name)}
    for name in {field.name for field in fields(Nuisance)} - varied:  # the rest is as it was
        assert [getattr(frame, name) for frame in off] == [getattr(frame, name) for frame in on], name


@pytest.mark.parametrize("switch", IDENTITY_TRAITS)
def test_a_switch_of_persons(renderer, switch):
    bare = {"bald": True, "glasses": False, "beard": 0.0, "moustache": 0.0, "eye_shadow": 0.0, "freckles": 0.0}
    one = replace(identity(0), **bare)
    other = replace(one, **IDENTITY_TRAITS[switch])
    strengths = {"AU12": 3, "AU1": 2} if switch in ("wrinkles", "style") else {}
    shown = [picture(renderer, renderer.person(who, only(switch)), **strengths) for who in (one, other)]
    assert np.abs(shown[0] - shown[1]).max() > 15
    hidden = [picture(renderer, renderer.person(who, without(switch)), **strengths) for who in (one, other)]
    np.testing.assert_array_equal(*hidden)


def test_yaw_stays_within_what_is_asked():
    yaws = np.abs([frame.yaw for number in range(400) for frame in nuisances(number, 3)])
    assert MAXIMUM_YAW == pytest.approx(np.radians(35))
    assert yaws.max() <= MAXIMUM_YAW and 0.01 < (yaws > np.radians(30)).mean() < 0.2


@pytest.mark.parametrize("switches", [{"beards": True}, {"pose": 1}, {"pose": None}])
def test_unknown_switches_are_refused(switches):
    with pytest.raises(ValueError, match="expected true or false for some of rest, .*jpeg"):
        Variation.of(switches)


def test_switches():
    assert Variation.of(None) == ALL and Variation.of({"pose": False}) == without("pose")
    assert Variation(**only("jpeg").switches()) == only("jpeg")
    assert all(value is False for value in PLAIN.switches().values())


def test_persons_are_frozen(people):
    with pytest.raises(dataclasses.FrozenInstanceError):
        people(0).identity = None


def test_sources_are_files():
    names = [path.name for path in renderer_sources()]
    assert len(names) == len(set(names)) and {"ict_faces.py", "behaviour.py"} <= set(names)
    assert all(path.is_file() for path in renderer_sources())


# The compiled loops, against numpy


def counter_clockwise(screen, triangles):
    """Triangles that face the camera, as seen on screen; sample coordinates run down."""
    a, b, c = (screen[triangles[:, corner]] * [1, -1] for corner in range(3))
    return (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] > 0


def test_the_z_buffer_shows_what_is_nearest():
    side, count = 24, 60
    rng = np.random.default_rng(0)
    screen = rng.uniform(-4, side + 4, (3 * count, 2)).astype(np.float32)
    depth = rng.uniform(-5, 5, 3 * count).astype(np.float32)
    triangles = np.arange(3 * count, dtype=np.int32).reshape(count, 3)
    facing = counter_clockwise(screen, triangles)
    assert 10 < facing.sum() < count - 10
    nearest, owner = np.empty((side, side), np.float32), np.empty((side, side), np.int32)
    weights = np.empty((side, side, 2), np.float32)
    rasterize(screen, depth, triangles, nearest, owner, weights)

    compared = 0
    for row, column in np.ndindex(side, side):
        point = np.array([column + 0.5, row + 0.5])
        hits, unclear = [], False
        for t in np.flatnonzero(facing):
            corners = screen[triangles[t]].astype(np.float64)
            system = np.vstack([corners.T, np.ones(3)])
            shares = np.linalg.solve(system, [*point, 1])
            unclear |= abs(shares.min()) < 1e-3
            if shares.min() > 0:
                hits.append((float(shares @ depth[triangles[t]]), int(t), shares))
        hits.sort(key=lambda hit: hit[0])
        if unclear or (len(hits) > 1 and hits[-1][0] - hits[-2][0] < 1e-3):
            continue
        compared += 1
        if not hits:
            assert owner[row, column] == -1
            continue
        z, t, shares = hits[-1]
        assert owner[row, column] == t and abs(nearest[row, column] - z) < 1e-3
        np.testing.assert_allclose(weights[row, column], shares[:2], atol=1e-3)
    assert compared > 0.8 * side**2 and (owner >= 0).mean() > 0.5


def test_a_closed_surface_has_no_holes():
    """A grid of triangles whose edges run through sample centres covers each of them."""
    side, corners = 16, np.arange(0, 17, 0.5)
    y, x = np.meshgrid(corners, corners, indexing="ij")
    screen, count = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32), len(corners)
    first = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).reshape(-1, 1)
    triangles = np.concatenate([first + [0, count, 1], first + [1, count, count + 1]]).astype(np.int32)
    assert counter_clockwise(screen, triangles).all()
    nearest, owner = np.empty((side, side), np.float32), np.empty((side, side), np.int32)
    rasterize(
        screen, np.zeros(len(screen), np.float32), triangles, nearest, owner, np.empty((side, side, 2), np.float32)
    )
    assert (owner >= 0).all()
    rasterize(screen, screen[:, 0], triangles[:, ::-1].copy(), nearest, owner, np.empty((side, side, 2), np.float32))
    assert (owner == -1).all()  # seen from behind


def test_normals_are_means_by_area(renderer):
    vertices, triangles = renderer.geometry.neutral, renderer.geometry.triangles
    normals = np.empty_like(vertices)
    vertex_normals(vertices, triangles, normals)
    corners = vertices[triangles].astype(np.float64)
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    expected = np.zeros(vertices.shape)
    for corner in range(3):
        np.add.at(expected, triangles[:, corner], faces)
    length = np.linalg.norm(expected, axis=1)
    clear = length > 1e-3
    assert clear.mean() > 0.7
    np.testing.assert_allclose(normals[clear], expected[clear] / length[clear, None], atol=1e-3)


def test_shapes_add_up():
    rng = np.random.default_rng(1)
    vertices, weights = rng.normal(0, 1, (30, 3)).astype(np.float32), np.array([0.5, 0, -1.2, 2], np.float32)
    starts = np.array([0, 4, 9, 9, 15])
    indices, deltas = rng.permutation(30)[:15].astype(np.int32), rng.normal(0, 1, (15, 3)).astype(np.float32)
    expected = vertices.astype(np.float64)
    for shape, weight in enumerate(weights):
        rows = slice(starts[shape], starts[shape + 1])
        np.add.at(expected, indices[rows], weight * deltas[rows])
    add_shapes(vertices, weights, starts, indices, deltas)
    np.testing.assert_allclose(vertices, expected, atol=1e-5)


def test_projection_is_a_pinhole():
    """A point's picture lies on the line from the camera through it: closer things are larger."""
    rng = np.random.default_rng(2)
    points, pivot = rng.normal(0, 4, (20, 3)).astype(np.float32), np.array([0, 1, 4], np.float32)
    turn = np.float32(0.05) * np.eye(2, dtype=np.float32)
    screen, depth = np.empty((20, 2), np.float32), np.empty(20, np.float32)
    distance = np.float32(60)
    project(points, pivot, np.eye(3, dtype=np.float32), distance, turn, np.zeros(2, np.float32), 100, screen, depth)
    camera = pivot + [0, 0, 60 + 8]  # a camera's distance counts from the face, 8 cm before the pivot
    ray = points - camera
    expected = 60 * ray[:, :2] / -ray[:, 2:]
    np.testing.assert_allclose(screen, (expected * 0.05 * [1, -1] + 0.5) * 100, atol=1e-3)
    np.testing.assert_allclose(depth, points[:, 2] - pivot[2], atol=1e-5)


def shaded(normal, light, **changes):
    """Linear colour of a patch over a 2 x 2 crop's left half, and of the pixel that it does not cover."""
    owner = np.full((4, 4), -1, np.int32)
    owner[:, :2] = 0
    attributes = np.array([[0.4, 0.3, 0.2, 0, 0, 1, 1, 0]] * 3, np.float32)
    attributes[:, 5], attributes[:, 6] = changes.get("ambient", 1), changes.get("lit", 1)
    lights, colours = np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32)
    lights[:] = [0, 0, 1]
    lights[0], colours[0] = light, changes.get("colour", (1, 1, 1))
    image, alpha = np.empty((2, 2, 3), np.float32), np.empty((2, 2), np.float32)
    shade(
        owner,
        np.full((4, 4, 2), 1 / 3, np.float32),
        np.zeros((4, 4), np.float32),
        np.array([[0, 1, 2]], np.int32),
        np.array([PLAIN_KIND], np.uint8),
        np.array([normal] * 3, np.float32),
        attributes,
        np.ones((4, 4, 3), np.float32),
        np.zeros((4, 4), np.float32),
        np.float32(10),
        np.array([0, 1, 0], np.float32),
        lights,
        colours,
        np.array(changes.get("sky", (0, 0, 0)), np.float32),
        np.array(changes.get("ground", (0, 0, 0)), np.float32),
        np.array([0.3, 0.1, 0.0], np.float32),
        np.array([0.1, 0.2, 0.3, 0.4, 0.2], np.float32),
        np.full((2, 2, 3), 0.7, np.float32),
        2,
        image,
        alpha,
    )
    np.testing.assert_allclose(alpha, [[1, 0], [1, 0]])
    np.testing.assert_allclose(image[:, 1], 0.7)
    return image[0, 0]


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2, 1.7, 3.0])
def test_light_by_angle(angle):
    """Lambert's cosine, wrapped a little further around for skin's red: (cos + w) / (1 + w)."""
    light = (np.sin(angle), 0, np.cos(angle))
    wrap, albedo = np.array([0.3, 0.1, 0.0]), np.array([0.4, 0.3, 0.2])
    expected = albedo * np.maximum((np.cos(angle) + wrap) / (1 + wrap), 0)
    np.testing.assert_allclose(shaded((0, 0, 1), light), expected, atol=1e-5)
    np.testing.assert_allclose(shaded((0, 0, 1), light, lit=0.25), expected / 4, atol=1e-5)
    np.testing.assert_allclose(shaded((0, 0, 1), light, colour=(2, 1, 0)), expected * [2, 1, 0], atol=1e-5)


@pytest.mark.parametrize("normal, share", [((0, 1, 0), 1.0), ((0, 0, 1), 0.5), ((0, -1, 0), 0.0)])
def test_sky_above_and_ground_below(normal, share):
    sky, ground = np.array([0.2, 0.4, 0.8]), np.array([0.3, 0.2, 0.1])
    made = shaded(normal, (0, 0, 1), colour=(0, 0, 0), sky=sky, ground=ground, ambient=0.5)
    expected = np.array([0.4, 0.3, 0.2]) * (ground + share * (sky - ground)) * 0.5
    np.testing.assert_allclose(made, expected, atol=1e-5)
