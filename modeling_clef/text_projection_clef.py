"""Text features to the shared space, by their likeness to texts of known labels."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

# How fast likeness falls with the angle, and how little evidence still counts for something. Phrasings that were left
# out are ranked about as well with 3 to 10 of the one and .02 to .1 of the other (our choice).
SHARPNESS = 5.0
SOFTNESS = 0.1


class AnchoredProjection(nn.Module):
    """A text lands between the labels that it is like: at a mixture of their embeddings.

    Kernel regression from the anchors, texts whose label is known, says how much speaks for each label; squared, what
    is above nothing makes the shares. A linear map of a sentence encoder's features has to place all of language by
    the few hundred texts that labels have, and extrapolates; this one can meet them all and never leaves the labels
    (ours; the paper and CLIP project linearly).

    Args:
        in_features: C, width of the text features. out_features: D. anchors: M texts. labels: K.

    Attributes:
        anchors: buffer (M, C) of features of length 1; not trained. weight: parameter (K, M), how much each anchor
        speaks for each label. labels: parameter (K, D), their embeddings.
    """

    def __init__(self, in_features: int, out_features: int, anchors: int, labels: int):
        super().__init__()
        self.register_buffer("anchors", torch.empty(anchors, in_features))
        self.weight = nn.Parameter(torch.empty(labels, anchors))
        self.labels = nn.Parameter(torch.empty(labels, out_features))
        self.initialize(1.0)

    @torch.no_grad()
    def initialize(self, factor: float) -> None:
        """Random anchors, weights and labels, where none are loaded."""
        init.normal_(self.anchors, std=self.anchors.shape[1] ** -0.5)
        init.normal_(self.weight, std=factor * self.anchors.shape[0] ** -0.5)
        init.normal_(self.labels, std=factor * self.labels.shape[1] ** -0.5)

    def shares(self, features: torch.Tensor) -> torch.Tensor:
        """(T, K) of each label in each text, summing to 1, of features (T, C), whatever their lengths."""
        return mixture(F.linear(likeness(features, self.anchors), self.weight))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(T, D) of features (T, C)."""
        return self.shares(features) @ self.labels


def likeness(features: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """(T, M), 1 where directions agree: exp(SHARPNESS (cosine - 1)). `anchors` have length 1."""
    return torch.exp(SHARPNESS * (F.linear(F.normalize(features, dim=-1), anchors) - 1))


def mixture(evidence: torch.Tensor) -> torch.Tensor:
    """(T, K) shares from (T, K) evidence, about 1 for a label that the text means and 0 for others, or less."""
    # (e + sqrt(e^2 + SOFTNESS^2)) / 2, without cancellation where e is negative.
    half = (evidence.abs() + torch.sqrt(evidence**2 + SOFTNESS**2)) / 2
    positive = torch.where(evidence > 0, half, SOFTNESS**2 / 4 / half)
    return F.normalize(positive**2, p=1, dim=-1)


def make_text_projection(in_features: int, out_features: int, anchors: int, labels: int) -> nn.Module:
    """CLIP's linear map without anchors.

    Raises:
        ValueError: anchors without labels.
    """
    if not anchors:
        return nn.Linear(in_features, out_features, bias=False)
    if labels < 1:
        raise ValueError(f"{anchors} text_anchors speak for {labels} labels: set text_anchor_labels to their number.")
    return AnchoredProjection(in_features, out_features, anchors, labels)


__all__ = ["SHARPNESS", "SOFTNESS", "AnchoredProjection", "likeness", "make_text_projection", "mixture"]
