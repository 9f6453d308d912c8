"""Text features to the shared space, by their likeness to texts whose place is known."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

# How fast likeness falls with the angle. Phrasings that were left out are ranked as well with 4 as with 7 (our choice).
SHARPNESS = 5.0


class AnchoredProjection(nn.Module):
    """Kernel regression: a text lands near where the anchors, texts of known labels, that it is like to lie.

    A linear map of a sentence encoder's features has to place all of language by the few hundred texts that labels
    have, and extrapolates; this one can meet them all and does not (ours; the paper and CLIP project linearly).

    Args:
        in_features: C, width of the text features. out_features: D. anchors: M texts.

    Attributes:
        anchors: buffer (M, C) of features of length 1; not trained. weight: parameter (D, M).
    """

    def __init__(self, in_features: int, out_features: int, anchors: int):
        super().__init__()
        self.register_buffer("anchors", torch.empty(anchors, in_features))
        self.weight = nn.Parameter(torch.empty(out_features, anchors))
        self.initialize(1.0)

    @torch.no_grad()
    def initialize(self, factor: float) -> None:
        """Random anchors and weights, where none are loaded."""
        init.normal_(self.anchors, std=self.anchors.shape[1] ** -0.5)
        init.normal_(self.weight, std=factor * self.anchors.shape[0] ** -0.5)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(T, D) of features (T, C), whatever their lengths."""
        return F.linear(likeness(features, self.anchors), self.weight)


def likeness(features: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """(T, M), 1 where directions agree: exp(SHARPNESS (cosine - 1)). `anchors` have length 1."""
    return torch.exp(SHARPNESS * (F.linear(F.normalize(features, dim=-1), anchors) - 1))


def make_text_projection(in_features: int, out_features: int, anchors: int) -> nn.Module:
    """CLIP's linear map without anchors."""
    if anchors:
        return AnchoredProjection(in_features, out_features, anchors)
    return nn.Linear(in_features, out_features, bias=False)


__all__ = ["SHARPNESS", "AnchoredProjection", "likeness", "make_text_projection"]
