import json
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, PreTrainedTokenizerFast, ResNetConfig

from analysis.journal import sidecar_path
from analysis.model import LabelGroup
from analysis.rows import table_columns, table_schema
from analysis.writers import table_format, write_table
from modeling_clef import CLEFConfig, CLEFForImageClassification, build_label_set
from processing import CLEFImageProcessor, CLEFProcessor
from processing.face_detection_clef import BOX_POINTS, Face

WORDS = "a photo of person with lip corner puller brow lowerer happiness neutral expression big smile ."


class BlockDetector:
    """Finds a red and a blue block, as if they were faces, and says nothing of the rest."""

    def detect(self, image):
        pixels = np.asarray(image).astype(int)
        faces = []
        for channel in (0, 2):
            mask = pixels[..., channel] - np.delete(pixels, channel, axis=2).max(axis=2) > 60
            rows, columns = np.flatnonzero(mask.sum(axis=1) > 4), np.flatnonzero(mask.sum(axis=0) > 4)
            if len(rows) and len(columns):
                box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)
                faces.append(Face(box, box[:2] + BOX_POINTS * (box[2:] - box[:2]), 0.9))
        return faces


def block_picture(red=None, blue=None, size=(160, 120), texture=0):
    """A grey picture with blocks 48 px wide and 60 px high whose top left corners are given; `texture`: stripes within
    them, so that crops of different frames differ."""
    picture = np.full((size[1], size[0], 3), 100, dtype=np.uint8)
    for place, colour in ((red, (230, 40, 40)), (blue, (40, 40, 230))):
        if place is not None:
            block = picture[place[1] : place[1] + 60, place[0] : place[0] + 48]
            block[:] = colour
            block[texture % 50 : texture % 50 + 8, :, :] = np.minimum(np.array(colour) + 25, 255)
    return picture


def write_video(
    path, pictures, fps=25, ticks=None, codec="libx264", pix_fmt="yuv420p", rotation=None, aspect=None, **options
):
    """Encodes RGB pictures with PyAV. ticks: of every frame, in 1/90,000 s. options: of `av.open`."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        if rotation is not None:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("needs a PyAV that can write rotations")
            stream.set_display_rotation(rotation)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 90_000)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[number], Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def moving_blocks(count, faces=2):
    """Pictures in which a red block goes right and a blue one left; the blue one is gone in every seventh picture, and
    none is there in every tenth."""
    pictures = []
    for number in range(count):
        red = None if number % 10 == 9 else (5 + number % 20, 10 + number % 7)
        blue = None if faces < 2 or number % 7 == 3 or red is None else (105 - number % 20, 40)
        pictures.append(block_picture(red, blue, texture=number))
    return pictures


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Folder of a tiny checkpoint with random weights: AU12 and AU4, happiness and neutral."""
    torch.manual_seed(0)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(WORDS.split())]
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=16, **names)
    units = build_label_set(
        "action_units",
        ["AU12", "AU4"],
        "multi_label_classification",
        ["a photo of a person with lip corner puller", "a photo of a person with brow lowerer"],
        tokenizer,
    )
    units["thresholds"] = [0.433, 0.343]
    expressions = build_label_set(
        "expression",
        ["neutral", "happiness"],
        "single_label_classification",
        ["a photo of a person with a neutral expression", "a photo of a person with happiness"],
        tokenizer,
    )
    vision = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    text = BertConfig(
        vocab_size=64,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    config = CLEFConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        projection_dim=16,
        text_pooling="mean",
        freeze_text=True,
        label_sets=[units, expressions],
    )
    model = CLEFForImageClassification(config).eval()
    with torch.no_grad():
        # So that each label holds for some of `moving_blocks`, and not for others.
        model.label_head.biases.copy_(torch.tensor([2.8, 2.8, 0.2, 0.0]))
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    model.save_pretrained(folder)
    image_processor = CLEFImageProcessor(size=32, crop_recipe="eyes-nose-1", per_image_normalization=True)
    CLEFProcessor(image_processor, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_video():
    return write_video


@pytest.fixture(scope="session")
def make_blocks():
    return moving_blocks


@pytest.fixture(scope="session")
def make_block_picture():
    return block_picture


@pytest.fixture
def detector():
    return BlockDetector()


GROUPS = (
    LabelGroup(
        "action_units",
        False,
        ("AU12", "AU1", "AU45", "a grin"),
        ("lip corner puller", "inner brow raiser", "blink", "a grin"),
        (0.4, 0.3, 0.5, 0.5),
    ),
    LabelGroup("expression", True, ("neutral", "happiness"), ("a neutral expression", "happiness"), (0.5, 0.5)),
)


NEUTRAL_LOGITS = {"AU12": -4.0, "AU1": -3.0, "AU45": -5.0}  # not of a user's own words


def write_rows(path, rows):
    """A table as `clef analyze` writes it, with the JSON beside it. rows: dicts with `source`, `frame`, `time_s` and,
    of a face, `track_id` and the probabilities by label, "happiness" for both expressions; none of them: no crop."""
    columns = table_columns(GROUPS)
    full = []
    for row in rows:
        row = dict(row)
        found = row.get("track_id") is not None
        values = {name: row.pop(name) for name in ("AU12", "AU1", "AU45", "a grin") if name in row}
        for label, threshold in zip(GROUPS[0].labels, GROUPS[0].thresholds, strict=True):
            if label in values:
                row |= {f"{label}_probability": values[label], label: int(values[label] >= threshold)}
        if "happiness" in row:
            happy = row.pop("happiness")
            row |= {"happiness_probability": happy, "neutral_probability": 1 - happy}
            row["expression"] = "happiness" if happy > 0.5 else "neutral"
        full.append({"face_found": found, "out_of_scope": False, "frame_width": 160, "frame_height": 120} | row)
    names = [column.name for column in columns]
    schema = table_schema(columns)
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in full], schema=schema)
    write_table(path, table_format(path), schema, iter([table]))
    about = {
        "columns": [column.described() for column in columns],
        "model": {"label_groups": [vars(group) for group in GROUPS], "neutral_logits": NEUTRAL_LOGITS},
    }
    sidecar_path(path).write_text(json.dumps(about))
    return path


@pytest.fixture(scope="session")
def make_table():
    return write_rows
