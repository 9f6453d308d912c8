from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from processing import CLEFImageProcessor, CLEFProcessor
from processing.prompts_clef import ACTIVITIES, EXPRESSIONS, activity_text


def small_tokenizer(**kwargs):
    """A word tokenizer that knows the project's own sentences, with a start token and token type ids as BERT has."""
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2}
    split = pre_tokenizers.BertPreTokenizer()
    texts = [activity_text(key) for key in ACTIVITIES] + [text.description for text in EXPRESSIONS.values()]
    for text in [*texts, "a photo of a person with lip corner puller brow lowerer happiness face where"]:
        for word, _ in split.pre_tokenize_str(text):
            words.setdefault(word, len(words))
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = split
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    options = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "model_max_length": 40, **kwargs}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **options
    )


@pytest.fixture
def tokenizer():
    return small_tokenizer()


@pytest.fixture
def processor(tokenizer):
    return CLEFProcessor(CLEFImageProcessor(size=16), tokenizer)


def face(seed=0, height=20, width=24):
    """A smooth coloured picture, so that resizing has something to interpolate."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def faces():
    return [face(seed) for seed in range(3)]


@pytest.fixture(scope="session")
def rendered(face_model_root):
    """48 rendered faces of 12 people in squares of 256 pixels: `images`, `landmarks` (48, 5, 2), and in degrees `yaw`,
    to the subject's left, and `roll`, clockwise in the picture."""
    pytest.importorskip("numba")
    from processing.corpora.ict_faces import FaceRenderer
    from processing.corpora.ict_identity import sample_identity
    from processing.corpora.ict_model import load_face_model
    from processing.corpora.ict_nuisance import Variation, sample_clip_nuisances, sample_session
    from processing.corpora.random_streams import IDENTITY, random_generator

    renderer, rng = FaceRenderer(load_face_model(face_model_root)), np.random.default_rng(5)
    switches = ("background", "placement", "occluders", "exposure", "greyscale", "blur", "noise", "jpeg")
    variation = Variation.of(dict.fromkeys(switches, False))
    parts = []
    for number in range(12):
        person = renderer.person(sample_identity(random_generator(5, IDENTITY, number)), variation)
        poses = sample_clip_nuisances(rng, sample_session(rng), 4, variation)
        yaw, roll = np.array([-50, -20, 10, 35]) + rng.uniform(-10, 10, 4), rng.uniform(-20, 20, 4)
        shown = [
            replace(pose, yaw=np.radians(y), turn=-np.radians(r), zoom=0.5 * pose.zoom, shift=(0.0, 0.01))
            for pose, y, r in zip(poses, yaw, roll, strict=True)
        ]
        faces = renderer.render(person, shown, np.zeros((4, 21, 2)), 256)
        parts.append((faces.images, faces.landmarks.astype(float), yaw, roll))
    names = ("images", "landmarks", "yaw", "roll")
    return SimpleNamespace(**dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True)))
