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
