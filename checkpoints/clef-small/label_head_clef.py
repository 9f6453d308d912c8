"""The part of the classifier that depends on the labels: texts, scales, biases, losses."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from .frozen_text_clef import fingerprint, has_adapters, weights_of
from .label_sets_clef import token_string, token_tensors, validate_label_set
from .losses_clef import masked_binary_loss, masked_cross_entropy
from .sentence_encoder_clef import NO_TEXT_TOWER
from .towers_clef import tower_width

MULTI_LABEL = "multi_label_classification"


class LabelHead(nn.Module):
    """Logits and losses over the concatenated label sets of a configuration.

    Parameters: `biases` (K,), one a label; with a text head `scales` (S,), log multipliers, one a label set; with a
    linear head `classifier`. Buffer of a text-free configuration: `label_embeds` (K, D) float32.
    """

    def __init__(self, config):
        super().__init__()
        self._adopt(config)
        count = len(self.problem_types)
        self.biases = nn.Parameter(self._initial_biases(config))
        if config.head == "linear":
            self.classifier = nn.Linear(tower_width(config.vision_config), len(self.biases), bias=False)
        else:
            self.scales = nn.Parameter(torch.full((count,), math.log(config.label_scale_init)))

    def initialize(self, config) -> None:
        init.copy_(self.biases, self._initial_biases(config))
        if config.head != "linear":
            init.constant_(self.scales, math.log(config.label_scale_init))
        if self.label_embeds is not None:
            init.constant_(self.label_embeds, math.nan)  # nothing that could pass for a prediction

    def set_labels(self, config, labels, input_ids, attention_mask, problem_type: str, name: str) -> None:
        labels = list(labels)
        if len(labels) != len(input_ids):
            raise ValueError(f"got {len(labels)} labels and {len(input_ids)} rows of input_ids, expected one a label.")
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        label_set = {
            "name": name,
            "problem_type": problem_type,
            "labels": labels,
            "names": labels,
            "name_tokens": [token_string(row[kept.bool()].tolist()) for row, kept in zip(input_ids, mask, strict=True)],
            "description_tokens": None,
            "phrasing_tokens": None,
            "thresholds": [0.5] * len(labels),
            "positive_weights": None,
            "temperatures": None,
            "calibration_biases": None,
            "neutral_logits": None,
        }
        validate_label_set(label_set)
        alike = [i for i, kind in enumerate(self.problem_types) if kind == problem_type]
        slices = list(self.slices.values())
        with torch.no_grad():
            if alike:
                scale = self.scales[alike].mean()
                bias = torch.cat([self.biases[slices[i]] for i in alike]).mean()
        config.head = "names"
        config.set_label_sets([label_set])
        self._adopt(config)
        old = self.biases
        biases, scales = self._initial_biases(config), torch.full((1,), math.log(config.label_scale_init))
        if alike:
            biases, scales = torch.full_like(biases, bias.item()), torch.full_like(scales, scale.item())
        self.biases = nn.Parameter(biases.to(old), requires_grad=old.requires_grad)
        self.scales = nn.Parameter(scales.to(old), requires_grad=self.scales.requires_grad)

    def embed_names(self, clef, description_ids: torch.Tensor | None = None) -> torch.Tensor:
        """(K, D) label embeddings: of the names. With head "descriptions" they are of one description a label instead:
        of the first, or in training of one drawn by torch's generator; `description_ids` (K,) chooses.

        Computed anew in training, wherever a gradient may be wanted, and where the text side has adapters; otherwise
        kept until its weights, the precision or the labels change. A text-free model has them as they were.

        Raises:
            ValueError: a text-free model in training.
        """
        if clef.text_model is None:
            if self.training:
                raise ValueError(NO_TEXT_TOWER)
            return self.label_embeds.float()
        if self.shows_descriptions and (self.training or description_ids is not None):
            every = [[first, *others] for first, others in zip(self.names, self.others, strict=True)]
            return self._embed_one_each(clef, every, description_ids)
        ids, mask = self.name_tokens(clef.device)
        if self.training or torch.is_grad_enabled() or ids.is_meta:
            return clef.text_embeds(ids, mask)
        device_type = ids.device.type
        text_side = clef.text_model, clef.text_projection
        state = (
            fingerprint(weights_of(*text_side)),
            torch.is_autocast_enabled(device_type) and torch.get_autocast_dtype(device_type),
        )
        if self._kept is not None and self._kept[0] == state:
            return self._kept[1]
        # Not as inference tensors, which autograd would refuse later.
        with torch.inference_mode(False), torch.no_grad():
            embeds = clef.text_embeds(ids, mask)
        self._kept = None if has_adapters(*text_side) else (state, embeds)
        return embeds

    def embed_phrasings(self, clef) -> torch.Tensor:
        """(K, D) embeddings of a phrasing drawn for each label by torch's generator; of its name where it has none."""
        texts = [others or [name] for name, others in zip(self.names, self.others, strict=True)]
        return self._embed_one_each(clef, texts)

    def keep_embeds(self, label_embeds: torch.Tensor | None) -> None:
        """Makes (K, D) label embeddings part of what is saved; None leaves them out."""
        self.register_buffer("label_embeds", label_embeds)

    def embed_descriptions(self, clef, description_ids: torch.Tensor | None) -> list[tuple[slice, torch.Tensor]]:
        """For each label set with descriptions, its columns and the (labels, D) embeddings of one description each."""
        embeds = []
        for columns, texts in zip(self.slices.values(), self.descriptions, strict=True):
            if texts is None:
                continue
            if description_ids is not None:
                chosen = description_ids[columns].tolist()
            elif self.training:
                chosen = torch.randint(len(texts[0]), (len(texts),)).tolist()
            else:
                chosen = [0] * len(texts)
            embeds.append((columns, self._embed_one_each(clef, texts, chosen)))
        return embeds

    def linear_logits(self, features: torch.Tensor) -> torch.Tensor:
        return self.classifier(features).float() + self.biases.float()

    def similarity_logits(self, image_embeds: torch.Tensor, label_embeds: torch.Tensor) -> torch.Tensor:
        device_type = image_embeds.device.type
        # Asked first, as entering the context takes longer than the product; of "meta" torch cannot be asked it.
        if device_type != "meta" and torch.is_autocast_enabled(device_type):
            with torch.autocast(device_type, enabled=False):
                return self.similarity_logits(image_embeds, label_embeds)
        return torch.addcmul(self.biases.float(), image_embeds @ label_embeds.T, self._label_scales())

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, alone: bool = False) -> torch.Tensor:
        """Sum over the label sets of their masked losses (our choice). `alone`: over those with phrasings only, and
        each label is present or not, whatever the others of its set, as of a text that will be asked for by itself."""
        as_classes = labels.ndim == 1 and self.problem_types == ["single_label_classification"]
        if not as_classes and labels.shape != logits.shape:
            raise ValueError(
                f"got labels {tuple(labels.shape)}, expected {tuple(logits.shape)}: one column a label of "
                f"{list(self.slices)}, NaN or negative where unknown."
            )
        total = logits[:0].sum()
        for columns, kind, weights, phrased in zip(
            self.slices.values(), self.problem_types, self.weights, self.phrased, strict=True
        ):
            if alone and not phrased:
                continue
            targets = labels if as_classes else labels[:, columns]
            if alone and as_classes:
                one_hot = functional.one_hot(labels.clamp(min=0), logits.shape[1]).to(logits)
                targets = one_hot.masked_fill(labels[:, None] < 0, math.nan)
            function = masked_binary_loss if alone or kind == MULTI_LABEL else masked_cross_entropy
            weights = None if weights is None else torch.tensor(weights, dtype=logits.dtype, device=logits.device)
            total = total + function(logits[:, columns], targets, weights)
        return total

    def train(self, mode: bool = True):
        self._kept = self._kept_scales = None
        return super().train(mode)

    def _apply(self, *args, **kwargs):
        self._kept = self._kept_scales = None
        return super()._apply(*args, **kwargs)

    def _adopt(self, config) -> None:
        """Reads labels and their texts from the configuration."""
        self.slices: dict[str, slice] = {}
        start = 0
        for label_set in config.label_sets:
            self.slices[label_set["name"]] = slice(start, start + len(label_set["labels"]))
            start += len(label_set["labels"])
        self.problem_types = [label_set["problem_type"] for label_set in config.label_sets]
        self.weights = [label_set["positive_weights"] for label_set in config.label_sets]
        self.shows_descriptions = config.head == "descriptions"
        self.descriptions = [label_set["description_tokens"] for label_set in config.label_sets]
        if self.shows_descriptions:
            texts = [texts for label_set in config.label_sets for texts in label_set["description_tokens"]]
            self.names, self.others = [first for first, *_ in texts], [others for _, *others in texts]
        else:
            self.names = [tokens for label_set in config.label_sets for tokens in label_set["name_tokens"]]
            self.others = [
                tokens
                for label_set in config.label_sets
                for tokens in label_set["phrasing_tokens"] or [[]] * len(label_set["labels"])
            ]
        shows = config.head.startswith("names")
        self.phrased = [shows and any(label_set["phrasing_tokens"] or ()) for label_set in config.label_sets]
        keeps = config.text_free and config.head != "linear"
        self.keep_embeds(torch.full((len(self.names), config.projection_dim), math.nan) if keeps else None)
        self.pad_id = getattr(config.text_config, "pad_token_id", None) or 0
        self._name_tensors: tuple[torch.Tensor, torch.Tensor] | None = None
        self._kept: tuple | None = None
        self._kept_scales: tuple | None = None

    def _label_scales(self) -> torch.Tensor:
        """(K,) float32, the multiplier of each label; kept where no gradient may be wanted, as for a small tower every
        operation on top of it counts."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._spread(self.scales)
        state = fingerprint([self.scales])
        if self._kept_scales is None or self._kept_scales[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._kept_scales = (state, self._spread(self.scales))
        return self._kept_scales[1]

    def _spread(self, scales: torch.Tensor) -> torch.Tensor:
        sets = zip(scales.float().exp().unbind(), self.slices.values(), strict=True)
        return torch.cat([scale.expand(columns.stop - columns.start) for scale, columns in sets])

    def _embed_one_each(self, clef, texts: list[list[str]], chosen: Sequence[int] | torch.Tensor | None = None):
        """(len(texts), D) embeddings of one of each label's texts, given as tokens; drawn where nothing is chosen."""
        if chosen is None:
            chosen = [int(torch.randint(len(options), ())) for options in texts]
        ids, mask = token_tensors([options[i] for options, i in zip(texts, chosen, strict=True)], self.pad_id)
        return clef.text_embeds(ids.to(clef.device), mask.to(clef.device))

    def name_tokens(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, L) ids and mask of what `embed_names` embeds when it draws nothing."""
        if self._name_tensors is None or self._name_tensors[0].device != device:
            with torch.inference_mode(False):
                ids, mask = token_tensors(self.names, self.pad_id)
                self._name_tensors = ids.to(device), mask.to(device)
        return self._name_tensors

    def _initial_biases(self, config) -> torch.Tensor:
        values = [
            config.label_bias_init if label_set["problem_type"] == MULTI_LABEL else 0.0
            for label_set in config.label_sets
            for _ in label_set["labels"]
        ]
        return torch.tensor(values, dtype=torch.float32)


__all__ = ["LabelHead"]
