import hashlib
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from processing import FaceAugmentation
from processing import augmentation_clef as module
from processing import augmentation_pixels_clef as pixel_module

NAMES = "rotation shift scale flip brightness contrast colour saturation tone grayscale blur noise occlusion shading"
OFF = dict.fromkeys(f"{NAMES} low_resolution jpeg grain".split(), 0.0)
ALL = {"tone": 0.1, "grayscale": 0.3, "blur": 0.7, "noise": 0.02}
ALL |= {"occlusion": 0.5, "shading": 0.5, "low_resolution": 0.5, "jpeg": 0.5, "grain": 0.05}


def only(**options):
    return FaceAugmentation(**{**OFF, **options})


def random_images(count=6, height=12, width=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def draws(augmentation, ids, epoch=0, views=2):
    """The random numbers of each view, (N, views, number of parameters)."""
    keys = module._keys(augmentation.seed, epoch, module._as_ids(ids, len(ids)), views)
    return module._uniform(keys, len(module._DRAWS)).T.reshape(len(ids), views, -1)


def test_shape_type_and_range():
    result = FaceAugmentation(**ALL)(random_images(), range(6), epoch=0, views=3)
    assert result.shape == (6, 3, 3, 12, 12) and result.dtype == torch.float32
    assert result.min() >= 0 and result.max() <= 1
    wide = FaceAugmentation(brightness=1.0, contrast=1.0, colour=1.0, noise=1.0)(random_images(), range(6), epoch=0)
    assert wide.shape == (6, 2, 3, 12, 12) and wide.min() == 0 and wide.max() == 1


MILD_AND_MORE = FaceAugmentation(**(ALL | {"noise": 0.0}))


@pytest.mark.parametrize("augmentation, strength", [(only(), 1.0), (FaceAugmentation(), 0.0), (MILD_AND_MORE, 0.0)])
def test_without_options_or_strength_views_equal_the_image(augmentation, strength):
    images = random_images()
    if strength == 0:  # the warp is then the identity up to rounding of its coordinates
        views = augmentation(images, range(6), epoch=1, strength=strength)
        torch.testing.assert_close(views, (images / 255)[:, None].expand_as(views), atol=1e-5, rtol=0)
    else:
        views = augmentation(images, range(6), epoch=1, views=3)
        assert torch.equal(views, (images / 255)[:, None].expand_as(views))
        floats = images / 255
        assert torch.equal(augmentation(floats, range(6), epoch=1), floats[:, None].expand(-1, 2, -1, -1, -1))


def test_every_option_alone_changes_views_and_none_the_input():
    images = random_images()
    floats = images / 255
    before, floats_before = images.clone(), floats.clone()
    for name in OFF:
        for batch in (images, floats):
            views = only(**{name: 0.5})(batch, range(6), epoch=0)
            assert not torch.equal(views, floats[:, None].expand_as(views)), name
    assert torch.equal(images, before) and torch.equal(floats, floats_before)


@pytest.mark.parametrize("kind", ["default", "all"])
@pytest.mark.parametrize("size", [(12, 12), (17, 23)])
def test_a_view_does_not_depend_on_its_batch(kind, size, monkeypatch):
    augmentation = FaceAugmentation(seed=3, **(ALL if kind == "all" else {}))
    images = random_images(37, *size)
    ids = [1000 + 7 * row for row in range(37)]
    whole = augmentation(images, ids, epoch=2)
    for start, count in [(0, 1), (5, 1), (36, 1), (3, 2), (11, 3), (20, 17)]:
        rows = slice(start, start + count)
        assert torch.equal(augmentation(images[rows], ids[rows], epoch=2), whole[rows])
    order = torch.randperm(37, generator=torch.Generator().manual_seed(1))
    shuffled = augmentation(images[order], [ids[row] for row in order], epoch=2)
    assert torch.equal(shuffled, whole[order])
    assert torch.equal(augmentation(images, ids, epoch=2, views=5)[:, :2], whole)
    monkeypatch.setattr(module, "_CHUNK_PIXELS", 5000)
    assert torch.equal(augmentation(images, ids, epoch=2), whole)


class _Views(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images
        self.augmentation = FaceAugmentation(**ALL)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return self.augmentation(self.images[row : row + 1], [row], epoch=4)[0]


def test_workers_and_global_random_state_do_not_matter():
    dataset = _Views(random_images(9))
    expected = FaceAugmentation(**ALL)(dataset.images, range(9), epoch=4)
    for workers in (0, 2):
        torch.manual_seed(workers)
        np.random.seed(workers)
        loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=workers)
        assert torch.equal(torch.cat(list(loader)), expected)


def test_seed_epoch_sample_and_view_each_give_other_views():
    image = random_images(1)
    base = FaceAugmentation()(image, [5], epoch=0)
    assert not torch.equal(base[0, 0], base[0, 1])
    assert torch.equal(base, FaceAugmentation()(image, torch.tensor([5]), epoch=0))
    for other in (
        FaceAugmentation(seed=1)(image, [5], epoch=0),
        FaceAugmentation()(image, [5], epoch=1),
        FaceAugmentation()(image, [6], epoch=0),
        FaceAugmentation()(image, [-5], epoch=0),
    ):
        assert not torch.equal(base, other)


def test_random_numbers_are_uniform_and_independent():
    numbers = draws(FaceAugmentation(), range(4000), epoch=0)
    for column in range(numbers.shape[-1]):
        values = numbers[..., column].ravel()
        counts = np.histogram(values, bins=20, range=(0, 1))[0]
        chi_square = ((counts - 400) ** 2 / 400).sum()
        assert chi_square < 50  # 19 degrees of freedom: exceeded once in 7,000
    assert 0 <= numbers.min() and numbers.max() < 1
    assert len(np.unique(numbers)) == numbers.size
    flat = numbers.reshape(4000, -1)
    neighbours = [
        flat[1:],  # the next sample
        draws(FaceAugmentation(), range(4000), epoch=1).reshape(4000, -1)[:-1],
        draws(FaceAugmentation(seed=1), range(4000), epoch=0).reshape(4000, -1)[:-1],
    ]
    for others in neighbours:
        correlation = np.corrcoef(flat[:-1].T, others.T)[: flat.shape[1], flat.shape[1] :]
        assert np.abs(correlation).max() < 5 / 4000**0.5
    within = np.corrcoef(flat.T) - np.eye(flat.shape[1])
    assert np.abs(within).max() < 5 / 4000**0.5


def test_switching_an_option_leaves_the_others_draws_alone():
    images = random_images()
    flips = only(flip=0.5)(images, range(6), epoch=0)
    both = only(flip=0.5, brightness=0.3)(images, range(6), epoch=0)
    factors = 1 + 0.3 * (2 * draws(only(), range(6))[..., module._DRAWS.index("brightness")] - 1)
    expected = (flips * torch.from_numpy(factors).float()[..., None, None, None]).clamp(0, 1)
    torch.testing.assert_close(both, expected, atol=1e-6, rtol=0)


def test_flip():
    images = random_images(400, 4, 4)
    views = only(flip=0.25)(images, range(400), epoch=0)
    straight = (views == (images / 255)[:, None]).flatten(2).all(-1)
    mirrored = (views == (images / 255)[:, None].flip(-1)).flatten(2).all(-1)
    assert torch.all(straight ^ mirrored)
    assert abs(mirrored.float().mean() - 0.25) < 0.06
    always = only(flip=1.0)(images, range(400), epoch=0)
    assert torch.equal(always, (images / 255).flip(-1)[:, None].expand_as(always))


def mirrored_index(position, count):
    """Reflection at the outer edges of the first and the last pixel."""
    position = position % (2 * count)
    return position if position < count else 2 * count - 1 - position


def warped(image, angle, zoom, shift_x, shift_y):
    """Bilinear warp of (3, H, W), pixel by pixel. Shifts in pixels; the image's centre is turned about."""
    _, height, width = image.shape
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y = (column - (width - 1) / 2) / zoom, (row - (height - 1) / 2) / zoom
            from_x = math.cos(angle) * x - math.sin(angle) * y + (width - 1) / 2 + shift_x
            from_y = math.sin(angle) * x + math.cos(angle) * y + (height - 1) / 2 + shift_y
            left, top = math.floor(from_x), math.floor(from_y)
            for corner_y, weight_y in ((top, 1 - from_y + top), (top + 1, from_y - top)):
                for corner_x, weight_x in ((left, 1 - from_x + left), (left + 1, from_x - left)):
                    source = image[:, mirrored_index(corner_y, height), mirrored_index(corner_x, width)]
                    result[:, row, column] += weight_x * weight_y * source
    return result


@pytest.mark.parametrize(
    "options",
    [{"shift": 0.1}, {"rotation": 0.5}, {"scale": 0.3}, {"shift": 0.1, "rotation": 0.2, "scale": 0.1}],
    ids=["shift", "rotation", "scale", "together"],
)
@pytest.mark.parametrize("size", [(12, 12), (10, 16)])
def test_geometry_against_loops(options, size):
    height, width = size
    images = random_images(2, *size)
    augmentation = only(**options)
    views = augmentation(images, range(2), epoch=0)
    numbers = draws(augmentation, range(2))
    for sample in range(2):
        for view in range(2):
            signed = dict(zip(module._DRAWS, 2 * numbers[sample, view] - 1, strict=True))
            expected = warped(
                images[sample].numpy() / 255,
                augmentation.rotation * signed["rotation"],
                1 + augmentation.scale * signed["scale"],
                augmentation.shift * signed["shift_x"] * width,
                augmentation.shift * signed["shift_y"] * height,
            )
            # Reflection is at pixel edges; grid_sample reflects coordinates first, which agrees inside and, after
            # interpolation, at the border too.
            np.testing.assert_allclose(views[sample, view].numpy(), expected, atol=2e-5)


def test_colours_against_numpy():
    images = random_images(8)
    options = {"brightness": 0.2, "contrast": 0.3, "colour": 0.2, "saturation": 0.4, "grayscale": 0.4, "tone": 0.3}
    augmentation = only(**options)
    views = augmentation(images, range(8), epoch=0).numpy()
    numbers = draws(augmentation, range(8))
    grey_views = 0
    for sample in range(8):
        for view in range(2):
            uniform = dict(zip(module._DRAWS, numbers[sample, view], strict=True))
            signed = {name: 2 * value - 1 for name, value in uniform.items()}
            pixels = images[sample].numpy() / 255
            contrast = 1 + 0.3 * signed["contrast"]
            for channel, name in enumerate(["red", "green", "blue"]):
                lit = pixels[channel] * (1 + 0.2 * signed["brightness"]) * (1 + 0.2 * signed[name])
                pixels[channel] = (lit - 0.5) * contrast + 0.5
            pixels = pixels.clip(0, 1)
            pixels += 0.3 * signed["tone"] * pixels * (1 - pixels)
            grey = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
            is_grey = uniform["grayscale"] < 0.4
            grey_views += is_grey
            saturation = 0 if is_grey else 1 + 0.4 * signed["saturation"]
            expected = (grey + saturation * (pixels - grey)).clip(0, 1)
            np.testing.assert_allclose(views[sample, view], expected, atol=1e-5)
            if is_grey:
                assert np.allclose(views[sample, view, 0], views[sample, view, 2], atol=1e-6)
    assert 0 < grey_views < 16


def test_blur_spreads_a_point_by_the_drawn_deviation():
    image = torch.zeros(1, 3, 25, 25)
    image[..., 12, 12] = 1
    views = only(blur=1.5)(image, [0], epoch=0, views=6)
    numbers = draws(only(), [0], views=6)[0, :, module._DRAWS.index("blur")]
    offsets = torch.arange(25) - 12
    for view, number in zip(views[0], numbers, strict=True):
        assert view.sum() == pytest.approx(3, abs=1e-4)
        spread = (view[0].sum(0) * offsets**2).sum().sqrt()
        taps = np.exp(-0.5 * (np.arange(-3, 4) / (1.5 * number)) ** 2)
        expected = ((taps * np.arange(-3, 4) ** 2).sum() / taps.sum()) ** 0.5
        assert spread == pytest.approx(expected, abs=1e-3)
        assert torch.allclose(view[0], view[0].T, atol=1e-6)


def test_noise_has_the_drawn_deviation_and_differs_between_pixels():
    image = torch.full((1, 3, 64, 64), 0.5)
    views = only(noise=0.1)(image, [9], epoch=0, views=4)
    numbers = draws(only(), [9], views=4)[0, :, module._DRAWS.index("noise")]
    for view, number in zip(views[0], numbers, strict=True):
        residual = view - 0.5
        assert residual.std().item() == pytest.approx(0.1 * number, rel=0.05)
        assert abs(residual.mean().item()) < 0.005
    correlation = np.corrcoef((views[0] - 0.5).flatten(1).numpy()) - np.eye(4)
    assert np.abs(correlation).max() < 0.05


def views_and_draws(count, size, views=1, **options):
    """Views of mid-grey images under one option, and the random numbers of each by name."""
    images = torch.full((count, 3, size, size), 0.5)
    numbers = draws(only(), range(count), views=views)
    named = {name: numbers[..., place].ravel() for place, name in enumerate(module._DRAWS)}
    return only(**options)(images, range(count), epoch=0, views=views).flatten(0, 1), named


def test_one_or_two_occluders_come_as_often_as_asked_and_cover_an_eighth_at_most():
    views, numbers = views_and_draws(400, 32, occlusion=0.35)
    changed = ((views - 0.5).abs() > 1e-3).any(dim=1).float().mean(dim=(1, 2))
    chosen = numbers["occlusion"] < 0.35
    assert abs(chosen.mean() - 0.35) < 0.08
    assert changed[~chosen].max() == 0
    # Edges are up to six pixels wide, which lie half outside of the area itself.
    assert 0.005 < changed[chosen].mean() < 0.125 and changed.max() < 0.35
    two = chosen & (numbers["occluders"] < 0.5)
    assert changed[two].mean() > 1.3 * changed[chosen & ~two].mean()


@pytest.mark.parametrize("shape", ["ellipse", "rectangle"])
def test_an_occluder_covers_what_a_loop_covers(shape):
    random = np.random.default_rng(3)
    one = {name: random.random(4) for name in pixel_module._OCCLUDER}
    one["shape"] = np.full(4, 0.2 if shape == "ellipse" else 0.8)
    size = 24
    cover, along = pixel_module._occluder(one, size, size, torch.device("cpu"))
    for view in range(4):
        area = 0.01 + 0.0525 * one["area"][view]
        aspect = 4 ** (2 * one["aspect"][view] - 1)
        # Half axes of the shape in units of the side.
        if shape == "ellipse":
            half_x, half_y = (area * aspect / math.pi) ** 0.5, (area / aspect / math.pi) ** 0.5
        else:
            half_x, half_y = (area * aspect) ** 0.5 / 2, (area / aspect) ** 0.5 / 2
        turn = math.pi * one["angle"][view]
        edge = (1 + 5 * one["softness"][view] ** 2) / size / min(half_x, half_y)
        for row in range(size):
            for column in range(size):
                x, y = (column + 0.5) / size - one["x"][view], (row + 0.5) / size - one["y"][view]
                u = (math.cos(turn) * x + math.sin(turn) * y) / half_x
                v = (math.cos(turn) * y - math.sin(turn) * x) / half_y
                distance = math.hypot(u, v) if shape == "ellipse" else max(abs(u), abs(v))
                expected = min(1, max(0, 0.5 - (distance - 1) / edge))
                assert cover[view, row, column].item() == pytest.approx(expected, abs=1e-4)
                assert along[view, row, column].item() == pytest.approx(min(1, max(-1, u)), abs=1e-4)
    assert 0.005 < cover.mean() < 0.0625 and 0.9 < cover.max() <= 1


def test_occluders_are_of_any_colour_and_lie_anywhere():
    views, _ = views_and_draws(600, 16, occlusion=1.0)
    covered = ((views - 0.5).abs() > 0.1).any(dim=1)
    assert (covered.float().mean(dim=0) > 0.02).all()
    colours = views.permute(1, 0, 2, 3)[:, covered]
    assert (colours.min(dim=1).values < 0.1).all() and (colours.max(dim=1).values > 0.9).all()
    assert (colours.mean(dim=1) - 0.5).abs().max() < 0.06


def test_shading_is_a_quadric_of_the_place_in_every_channel():
    views, numbers = views_and_draws(40, 16, shading=0.5)
    x = (2 * np.arange(16) + 1) / 16 - 1
    signed = {name: 2 * value - 1 for name, value in numbers.items()}
    for view in range(40):
        weight = {key: 0.7 * signed[f"shading_{key}"][view] for key in ("x", "y", "xx", "xy", "yy")}
        for channel, name in enumerate(("red", "green", "blue")):
            strength = 0.5 * (1 + 0.3 * signed[f"shading_{name}"][view])
            for row in range(0, 16, 5):
                for column in range(16):
                    u, v = x[column], x[row]
                    field = weight["x"] * u + weight["y"] * v + weight["xy"] * u * v
                    field += weight["xx"] * (u * u - 1 / 3) + weight["yy"] * (v * v - 1 / 3)
                    expected = 0.5 * (1 + strength * min(1, max(-1, field)))
                    assert views[view, channel, row, column].item() == pytest.approx(min(1, expected), abs=1e-5)
    factors = views / 0.5
    assert factors.min() > 0.3 and factors.max() < 1.7
    assert (views[:, 0] - views[:, 2]).abs().max() > 0.02


def test_a_low_resolution_view_loses_what_is_finer_than_its_pixels():
    images = random_images(300, 32, 32)
    views = only(low_resolution=0.25)(images, range(300), epoch=0, views=1)[:, 0]
    numbers = dict(zip(module._DRAWS, draws(only(), range(300), views=1)[:, 0].T, strict=True))
    chosen = numbers["low_resolution"] < 0.25
    assert torch.equal(views[~chosen], (images / 255)[~chosen])
    for row in np.flatnonzero(chosen)[:20]:
        side = round(32 / (1 + 1.5 * numbers["resolution"][row]))
        image = Image.fromarray(images[row].permute(1, 2, 0).numpy())
        small = image.resize((side, side), Image.Resampling.BILINEAR).resize((32, 32), Image.Resampling.BICUBIC)
        assert torch.equal((views[row] * 255).round().byte().permute(1, 2, 0), torch.from_numpy(np.array(small)))
    strong = chosen & (numbers["resolution"] > 0.8)
    assert views[strong].std() < 0.6 * (images[strong] / 255).std()


def test_a_jpeg_view_is_what_a_file_of_its_quality_holds():
    images = random_images(100, 32, 32)
    views = only(jpeg=0.4)(images, range(100), epoch=0, views=1)[:, 0]
    numbers = dict(zip(module._DRAWS, draws(only(), range(100), views=1)[:, 0].T, strict=True))
    chosen = numbers["jpeg"] < 0.4
    assert 20 < chosen.sum() < 60 and torch.equal(views[~chosen], (images / 255)[~chosen])
    for row in np.flatnonzero(chosen):
        file = io.BytesIO()
        image = Image.fromarray(images[row].permute(1, 2, 0).numpy())
        image.save(file, "JPEG", quality=round(30 + 65 * numbers["quality"][row]))
        expected = torch.from_numpy(np.array(Image.open(file)))
        assert torch.equal((views[row] * 255).round().byte().permute(1, 2, 0), expected)


def test_grain_has_the_drawn_deviation_and_differs_between_views():
    views, numbers = views_and_draws(8, 64, views=4, grain=0.1)
    for view, number in zip(views, numbers["grain"], strict=True):
        residual = view - 0.5
        assert residual.std().item() == pytest.approx(0.1 * number, rel=0.05, abs=1e-3)
        assert abs(residual.mean().item()) < 0.005
    correlation = np.corrcoef((views - 0.5).flatten(1).numpy()) - np.eye(32)
    assert np.abs(correlation).max() < 0.06


def test_views_without_the_new_options_are_those_of_always():
    # Recorded before they were added: runs that were made then can be made again.
    images = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).mul(7).remainder(256).to(torch.uint8)
    options = {"rotation": 0, "shift": 0, "scale": 0, "brightness": 0, "contrast": 0, "colour": 0, "saturation": 0}
    views = FaceAugmentation(**options, flip=0.5, noise=0.02, seed=5)(images, [3, 9], epoch=2)
    digest = hashlib.sha256(views.numpy().tobytes()).hexdigest()
    assert digest == "35d4b1ed88a5f8471730df84a86efada7f3431abe7faa49ca3b960d4acc18552"


def test_presets():
    assert FaceAugmentation.preset("mild", seed=3) == FaceAugmentation(seed=3)
    strong, images = FaceAugmentation.preset("photographs", seed=3), random_images()
    assert strong.occlusion and strong.seed == 3
    difference = [
        (a(images, range(6), epoch=0)[:, 0] - images / 255).abs().mean() for a in (FaceAugmentation(), strong)
    ]
    assert difference[1] > 1.2 * difference[0]
    with pytest.raises(ValueError, match="'loud', expected one of mild, photographs"):
        FaceAugmentation.preset("loud")


def test_strength_scales_every_range():
    images = random_images()
    half = only(rotation=0.2, brightness=0.4, flip=0.5)(images, range(6), epoch=0, strength=0.5)
    expected = only(rotation=0.1, brightness=0.2, flip=0.25)(images, range(6), epoch=0)
    assert torch.equal(half, expected)
    half = only(occlusion=0.8, shading=0.4, jpeg=0.6, low_resolution=0.4, grain=0.1)(
        images, range(6), epoch=0, strength=0.5
    )
    expected = only(occlusion=0.4, shading=0.2, jpeg=0.3, low_resolution=0.2, grain=0.05)(images, range(6), epoch=0)
    assert torch.equal(half, expected)


def test_lists_of_images_are_taken(faces, tmp_path):
    faces[0].save(tmp_path / "face.png")
    tensor = torch.stack([torch.from_numpy(np.asarray(face).copy()).permute(2, 0, 1) for face in faces])
    expected = FaceAugmentation()(tensor, range(3), epoch=0)
    assert torch.equal(FaceAugmentation()(faces, range(3), epoch=0), expected)
    mixed = [tmp_path / "face.png", np.asarray(faces[1]), tensor[2] / 255]
    assert torch.equal(FaceAugmentation()(mixed, range(3), epoch=0), expected)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rotation": -0.1}, "`rotation` must be a number from 0 to 3.142, got -0.1"),
        ({"flip": 1.5}, "`flip` must be a number from 0 to 1, got 1.5"),
        ({"shift": "0.1"}, "`shift`"),
        ({"noise": math.nan}, "`noise`"),
        ({"blur": True}, "`blur`"),
        ({"seed": -1}, "`seed`"),
        ({"seed": 0.5}, "`seed`"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FaceAugmentation(**options)


BAD_CALLS = {
    "too few ids": ((random_images(), range(5), 0), {}, ValueError, "6 integers"),
    "float ids": ((random_images(), np.zeros(6), 0), {}, ValueError, "float64"),
    "no views": ((random_images(), range(6), 0), {"views": 0}, ValueError, "`views`"),
    "strength": ((random_images(), range(6), 0), {"strength": 2}, ValueError, "`strength`"),
    "int64 images": ((random_images().long(), range(6), 0), {}, ValueError, "int64"),
    "normalised": ((random_images() / 255 - 0.5, range(6), 0), {}, ValueError, "floats in .0, 1. that are not"),
    "nan": ((torch.full((1, 3, 4, 4), math.nan), [0], 0), {}, ValueError, "from nan"),
    "empty batch": ((torch.zeros(0, 3, 4, 4), [], 0), {}, ValueError, r"\(0, 3, 4, 4\)"),
    "empty list": (([], [], 0), {}, ValueError, "empty list"),
    "two sizes": (([Image.new("RGB", (4, 4)), Image.new("RGB", (5, 4))], [0, 1], 0), {}, ValueError, "4x4, 5x4"),
    "not images": (("faces", [0], 0), {}, FileNotFoundError, "faces"),
}


@pytest.mark.parametrize("kind", BAD_CALLS)
def test_bad_calls_are_refused(kind):
    arguments, options, error, message = BAD_CALLS[kind]
    with pytest.raises(error, match=message):
        FaceAugmentation()(*arguments, **options)
