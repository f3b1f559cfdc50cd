"""Weakly supervised classification of each stream.

In: refined tokens of the three streams. Out: the probability of every class for vision, pose and
audio (TriBERT section 3.2.1, Eq 3 and 4; tribert.md section 4, heads and WSDDN).

Legend: B videos, S steps (SOS first), P slots of a step, R regions, D width, C classes.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from model.tribert.attention import LAYER_NORM_EPS, Streams, Widths
from model.tribert.config import HeadConfig


def wsddn(
    recognition_BRC: torch.Tensor, detection_BRC: torch.Tensor, valid_BR: torch.Tensor | None
) -> torch.Tensor:
    """Return (B, C): sum over regions of softmax over classes times softmax over regions.

    A region whose `valid_BR` is False gets no share of the detection; each row needs one True.
    """
    if valid_BR is not None:
        detection_BRC = detection_BRC.masked_fill(~valid_BR[..., None], float("-inf"))
    products = recognition_BRC.softmax(dim=2) * detection_BRC.softmax(dim=1)
    return products.sum(1).clamp(0.0, 1.0)


class Transform(nn.Module):
    """Linear, GELU and layer norm, as BERT puts before a decoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        return self.norm(functional.gelu(self.dense(x)))


class TokenRegions(nn.Module):
    """WSDDN on the features of every token of a real step: R = T x P (the paper's Eq 3 and 4)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.transform = Transform(width)
        self.recognise = nn.Linear(width, classes)
        self.detect = nn.Linear(width, classes)

    def forward(self, x_BSPD: torch.Tensor, valid_BSP: torch.Tensor) -> torch.Tensor:
        """Return probabilities (B, C); with no valid token all real tokens count."""
        x_BRD = self.transform(x_BSPD[:, 1:].flatten(1, 2))
        valid_BR = valid_BSP[:, 1:].flatten(1)
        valid_BR = valid_BR | ~valid_BR.any(1, keepdim=True)
        return wsddn(self.recognise(x_BRD), self.detect(x_BRD), valid_BR)


class SlotRegions(nn.Module):
    """Logits of every token, averaged over the steps, then WSDDN on logits: R = P (released)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.transform = Transform(width)
        self.decoder = nn.Linear(width, classes)
        self.recognise = nn.Linear(classes, classes)
        self.detect = nn.Linear(classes, classes)

    def forward(self, x_BSPD: torch.Tensor, valid_BSP: torch.Tensor) -> torch.Tensor:
        """Return probabilities (B, C); absent persons count, as in the released code."""
        del valid_BSP
        return self.from_logits(self.decoder(self.transform(x_BSPD)))

    def from_logits(self, logits_BSPC: torch.Tensor) -> torch.Tensor:
        """Return probabilities (B, C) from the logits of every token."""
        slots_BPC = logits_BSPC.mean(1)
        return wsddn(self.recognise(slots_BPC), self.detect(slots_BPC), None)


class AudioHead(nn.Module):
    """Mean over all audio tokens of their logits, then sigmoid or (released) softmax."""

    def __init__(self, width: int, classes: int, *, activation: str) -> None:
        super().__init__()
        self.activation = activation
        self.transform = Transform(width)
        self.decoder = nn.Linear(width, classes)

    def forward(self, x_BSPD: torch.Tensor) -> torch.Tensor:
        """Return probabilities (B, C)."""
        return self.from_logits(self.decoder(self.transform(x_BSPD)))

    def from_logits(self, logits_BSPC: torch.Tensor) -> torch.Tensor:
        """Return probabilities (B, C) from the logits of every token."""
        mean_BC = logits_BSPC.mean((1, 2))
        return mean_BC.sigmoid() if self.activation == "sigmoid" else mean_BC.softmax(dim=1)


class Heads(nn.Module):
    """The three classifiers."""

    def __init__(self, config: HeadConfig, widths: Widths, classes: int) -> None:
        super().__init__()
        regions = TokenRegions if config.regions == "tokens" else SlotRegions
        self.vision = regions(widths.vision, classes)
        self.pose = regions(widths.pose, classes)
        self.audio = AudioHead(widths.audio, classes, activation=config.audio)

    def forward(self, steps: Streams, valid_BSP: Streams) -> Streams:
        """Return probabilities (B, C) of each stream, float32."""
        return Streams(
            self.vision(steps.vision, valid_BSP.vision).float(),
            self.pose(steps.pose, valid_BSP.pose).float(),
            self.audio(steps.audio).float(),
        )
