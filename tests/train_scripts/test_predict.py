import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage

from modeling_clef import CLEFForImageClassification, build_label_set
from modeling_clef.calibration_clef import calibrated_probabilities
from processing import CLEFImageProcessor
from train_scripts.options import TrainingOptions
from train_scripts.predict import extract_features, image_embeds, image_logits, predict, predict_logits
from train_scripts.towers import make_model, make_processor

SIZE = 16
UNCALIBRATED = {"temperatures": None, "calibration_biases": None}


class Tower(torch.nn.Module):
    """Pools to (N, C, 1, 1) as convolutional towers do."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 6, 3)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, pixel_values):
        maps = self.dropout(self.convolution(pixel_values))
        return SimpleNamespace(pooler_output=maps.mean(dim=(2, 3), keepdim=True))


class DualEncoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.vision_model = Tower()
        self.visual_projection = torch.nn.Linear(6, 4, bias=False)

    def encode_images(self, pixel_values):
        return self.vision_model(pixel_values)


class Classifier(torch.nn.Module):
    """The parts of CLEFForImageClassification that are used: `.clef`, `.config.label_sets`, logits, probabilities."""

    def __init__(self):
        super().__init__()
        self.clef = DualEncoder()
        self.head = torch.nn.Linear(4, 5)
        self.config = SimpleNamespace(
            label_sets=[
                {"labels": ["AU1", "AU12"], "problem_type": "multi_label_classification"} | UNCALIBRATED,
                {"labels": ["a", "b", "c"], "problem_type": "single_label_classification"} | UNCALIBRATED,
            ]
        )

    def forward(self, pixel_values):
        pooled = self.clef.vision_model(pixel_values).pooler_output.flatten(1)
        return SimpleNamespace(logits=self.head(self.clef.visual_projection(pooled)))

    def probabilities(self, logits):
        return calibrated_probabilities(logits, self.config.label_sets)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Classifier()


@pytest.fixture(scope="module")
def processor():
    return CLEFImageProcessor(size={"height": SIZE, "width": SIZE})


def png(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    file = io.BytesIO()
    PILImage.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def faces(files):
    rows = [None if file is None else {"bytes": file, "path": None} for file in files]
    features = Features({"image": Image(), "subject_id": Value("string")})
    return Dataset.from_dict({"image": rows, "subject_id": ["S0"] * len(rows)}, features=features)


@pytest.fixture
def dataset():
    return faces([png(i) for i in range(7)])


@pytest.mark.parametrize(("batch_size", "num_workers"), [(1, 0), (3, 0), (256, 0), (3, 2)])
def test_features_equal_one_frame_at_a_time(model, dataset, processor, batch_size, num_workers):
    features = extract_features(
        model, dataset, processor, batch_size=batch_size, num_workers=num_workers, progress=False
    )
    assert model.training and model.clef.vision_model.dropout.training
    model.eval()
    for row in range(len(dataset)):
        pixel_values = processor(dataset[row]["image"], return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            backbone = model.clef.vision_model(pixel_values).pooler_output.flatten(1)
            projection = model.clef.visual_projection(backbone)
        np.testing.assert_allclose(features.backbone[row], backbone[0], atol=1e-5)
        np.testing.assert_allclose(features.projection[row], projection[0] / projection[0].norm(), atol=1e-5)
    assert features.backbone.dtype == features.projection.dtype == np.float32


def test_a_dual_encoder_without_head_gives_the_same_features(model, dataset, processor):
    headed = extract_features(model, dataset, processor, progress=False)
    plain = extract_features(model.clef, dataset, processor, progress=False)
    assert np.array_equal(headed.backbone, plain.backbone) and np.array_equal(headed.projection, plain.projection)


def test_probabilities_by_label_set(model, dataset, processor):
    model.eval()
    probabilities = predict(model, dataset, processor, batch_size=4, progress=False)
    assert not model.training
    assert probabilities.shape == (7, 5) and probabilities.dtype == np.float32
    with torch.no_grad():
        pixel_values = processor(dataset[:]["image"], return_tensors="pt")["pixel_values"]
        logits = model(pixel_values).logits.numpy()
    np.testing.assert_allclose(probabilities[:, :2], 1 / (1 + np.exp(-logits[:, :2])), atol=1e-5)
    exponential = np.exp(logits[:, 2:])
    np.testing.assert_allclose(probabilities[:, 2:], exponential / exponential.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(predict_logits(model, dataset, processor, progress=False), logits, atol=1e-5)


def test_probabilities_are_calibrated_and_logits_are_not(model, dataset, processor):
    before = predict_logits(model, dataset, processor, progress=False)
    model.config.label_sets[0] |= {"temperatures": [2.0, 4.0], "calibration_biases": [0.5, -1.0]}
    probabilities = predict(model, dataset, processor, progress=False)
    assert np.array_equal(predict_logits(model, dataset, processor, progress=False), before)
    expected = 1 / (1 + np.exp(-(before[:, :2] / [2, 4] + [0.5, -1])))
    np.testing.assert_allclose(probabilities[:, :2], expected, atol=1e-5)


@pytest.mark.parametrize("head", ["names", "linear"])
def test_with_its_mirror_image_a_face_scores_as_its_mirror_image_does(head):
    torch.manual_seed(0)
    options = TrainingOptions(text_tower="tiny", image_size=32, projection_dim=16)
    tokenizer = make_processor(options)
    label_set = build_label_set(
        "action_units", ["AU6", "AU12"], "multi_label_classification", ["cheek", "lip"], tokenizer.tokenizer
    )
    model = make_model(CLEFForImageClassification, options, tokenizer, label_sets=[label_set], head=head).eval()
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        logits, plain = image_logits(model, pixels, mirror=True), image_logits(model, pixels)
        mirrored = image_logits(model, pixels.flip(-1), mirror=True)
        embeds = [model(pixel_values=view).image_embeds for view in (pixels, pixels.flip(-1))]
        mean = (embeds[0] + embeds[1]) / 2
    torch.testing.assert_close(logits, mirrored)
    assert (logits - plain).abs().max() > 1e-4
    torch.testing.assert_close(image_embeds(model.clef, pixels, mirror=True), mean / mean.norm(dim=1, keepdim=True))
    symmetric = pixels + pixels.flip(-1)
    with torch.no_grad():
        torch.testing.assert_close(image_logits(model, symmetric, mirror=True), image_logits(model, symmetric))


def test_mirroring_reaches_every_frame_of_a_data_set(model, dataset, processor, monkeypatch):
    monkeypatch.setattr("train_scripts.predict.image_logits", lambda model, x, mirror: x.mean((2, 3)) + 100 * mirror)
    assert (predict_logits(model, dataset, processor, progress=False, mirror=True) > 50).all()
    assert (predict_logits(model, dataset, processor, progress=False) < 50).all()


def test_training_mode_returns_after_an_error(model, processor):
    with pytest.raises(ValueError):
        predict(model, faces([b"nothing"]), processor, progress=False)
    assert model.training


@pytest.mark.parametrize("num_workers", [0, 1])
def test_corrupt_images_are_refused_by_row(model, processor, num_workers):
    dataset = faces([png(0), png(1), b"no image at all", png(3), png(4)[:300], None])
    with pytest.raises(ValueError, match="3 of 6 images cannot be decoded, in rows 2, 4, 5"):
        extract_features(model, dataset, processor, batch_size=2, num_workers=num_workers, progress=False)


def test_a_missing_image_is_refused_by_row(model, processor):
    with pytest.raises(ValueError, match="1 of 3 images cannot be decoded, in rows 1 .the first: no image"):
        extract_features(model, faces([png(0), None, png(2)]), processor, progress=False)


def test_refuses_no_rows_and_no_images(model, dataset, processor):
    with pytest.raises(ValueError, match="without rows"):
        extract_features(model, dataset.select([]), processor, progress=False)
    with pytest.raises(ValueError, match="expected one named 'image'"):
        extract_features(model, dataset.remove_columns("image"), processor, progress=False)


def test_half_precision_models_give_float32_features(model, dataset, processor):
    full = extract_features(model, dataset, processor, progress=False)
    half = extract_features(model.to(torch.bfloat16), dataset, processor, progress=False)
    assert half.backbone.dtype == half.projection.dtype == np.float32
    np.testing.assert_allclose(half.backbone, full.backbone, atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(half.projection, axis=1), 1, atol=1e-5)
