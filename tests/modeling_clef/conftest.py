import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    PreTrainedTokenizerFast,
    ResNetConfig,
)

from modeling_clef import CLEFConfig, build_label_set

WORDS = (
    "a photo of person with face where the are up down inner brow raiser lip corner puller pulled raised joke "
    "happiness sadness neutral smile listen to experience smell ice water . ,"
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer():
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(WORDS.split())]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16, **names)


@pytest.fixture(scope="session")
def clip_vision_config():
    return CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )


@pytest.fixture(scope="session")
def clip_text_config():
    return CLIPTextConfig(
        vocab_size=64,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )


@pytest.fixture(scope="session")
def bert_config():
    return BertConfig(
        vocab_size=64,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )


@pytest.fixture(scope="session")
def resnet_config():
    return ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")


@pytest.fixture
def clip_config(clip_vision_config, clip_text_config):
    """`clip_config(**fields)`: CLEF around two tiny CLIP towers."""

    def make(**fields):
        towers = {"vision_config": clip_vision_config.to_dict(), "text_config": clip_text_config.to_dict()}
        return CLEFConfig(**{"projection_dim": 16, **towers, **fields})

    return make


@pytest.fixture
def sentence_config(resnet_config, bert_config):
    """`sentence_config(**fields)`: CLEF around a tiny ResNet and a frozen, mean-pooled tiny BERT."""

    def make(**fields):
        towers = {"vision_config": resnet_config.to_dict(), "text_config": bert_config.to_dict()}
        defaults = {"projection_dim": 16, "text_pooling": "mean", "freeze_text": True}
        return CLEFConfig(**{**defaults, **towers, **fields})

    return make


@pytest.fixture
def clip_folder(clip_vision_config, clip_text_config, tmp_path):
    clip = CLIPModel(
        CLIPConfig(
            vision_config=clip_vision_config.to_dict(),
            text_config=clip_text_config.to_dict(),
            projection_dim=16,
            logit_scale_init_value=3.0,
        )
    )
    clip.save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


@pytest.fixture(scope="session")
def texts(tokenizer):
    """Three texts of different length, padded."""
    return dict(
        tokenizer(
            ["a photo of a person with happiness", "the joke", "experience a smell . ice water"],
            padding=True,
            return_tensors="pt",
            return_token_type_ids=False,
        )
    )


@pytest.fixture(scope="session")
def action_units(tokenizer):
    descriptions = [["the inner brow are raised", "face where the brow up"], ["lip corner pulled up", "smile"]]
    names = ["a photo of a person with inner brow raiser", "a photo of a person with lip corner puller"]
    kind = "multi_label_classification"
    return build_label_set("action_units", ["AU1", "AU12"], kind, names, tokenizer, descriptions)


@pytest.fixture(scope="session")
def expressions(tokenizer):
    labels = ["happiness", "sadness", "neutral"]
    names = [f"a photo of a person with {label}" for label in labels]
    return build_label_set("expression", labels, "single_label_classification", names, tokenizer)
