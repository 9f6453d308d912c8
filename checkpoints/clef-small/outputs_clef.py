"""What the models' forward returns."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput


@dataclass
class CLEFOutput(ModelOutput):
    """
    loss: scalar, CLIP's pairwise loss, with `return_loss=True`.
    logits_per_image (N, T), logits_per_text (T, N): scaled similarities.
    text_embeds (T, D), image_embeds (N, D): L2-normalised.
    text_model_output, vision_model_output: of `get_text_features` and `get_image_features`.
    """

    loss: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(v.to_tuple() if isinstance(v, ModelOutput) else v for v in self.values())


@dataclass
class CLEFPreTrainingOutput(ModelOutput):
    """
    loss: scalar, weighted sum of the two below (those that are switched on).
    image_image_loss, image_activity_loss: scalars, float32, unweighted.
    image_embeds (N, views, D), text_embeds (T, D): float32, L2-normalised.
    """

    loss: torch.Tensor | None = None
    image_image_loss: torch.Tensor | None = None
    image_activity_loss: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None


@dataclass
class CLEFClassifierOutput(ModelOutput):
    """
    loss: scalar, `image_name_loss + phrasing_weight * image_phrasing_loss + description_weight *
        description_name_loss`, when labels are given.
    image_name_loss: scalar, the sum over label sets (of the linear head too, whose labels have no names, and of head
        "descriptions", whose images are compared with descriptions instead).
    image_phrasing_loss: scalar, in training, over the label sets that have phrasings: the same with a phrasing drawn
        for each label in place of its name, plus that of the names. Each text is judged alone, in single-label sets
        too: so are words of one's own.
    description_name_loss: scalar, with head "names_and_descriptions"; left out of a text-free model's loss.
    logits (N, K): float32, over all label sets in their order, each set's scale and each label's bias applied.
    image_embeds (N, D), label_embeds (K, D): float32, L2-normalised; the linear head has no label embeddings.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    image_name_loss: torch.Tensor | None = None
    image_phrasing_loss: torch.Tensor | None = None
    description_name_loss: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    label_embeds: torch.Tensor | None = None


__all__ = ["CLEFClassifierOutput", "CLEFOutput", "CLEFPreTrainingOutput"]
