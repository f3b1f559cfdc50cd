"""Attention U-Nets: the mixture's log spectrogram to maps of the same size.

In: log spectrogram (to `encode`), and the bottleneck as a fusion returns it (to `decode`). Out:
K maps of the input's size. `encode` runs once a mix, as nothing before the bottleneck depends on
the video; `decode` once a video, or once a mix where the bottleneck depends on none (TriBERT
section 3.2.1; tribert.md section 5).

Legend: B batch, Q F rows and columns, E bottleneck width, K maps, W a level's width, H heads,
A channels of a head.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from model.tribert.config import SeparationConfig
from model.tribert.sections import TIME_HEADS


class Encoded(NamedTuple):
    """What the way down leaves: skips from fine to coarse, and the bottleneck (B, E, Q, F).

    The bottleneck may have copies of each mix, next to each other, where the skips have one.
    """

    skips: tuple[torch.Tensor, ...]
    bottleneck_BEQF: torch.Tensor

    def repeat(self, times: int) -> Encoded:
        """Return each mix `times` times, copies next to each other."""
        skips = tuple(skip.repeat_interleave(times, dim=0) for skip in self.skips)
        return self.repeat_bottleneck(times)._replace(skips=skips)

    def repeat_bottleneck(self, times: int) -> Encoded:
        """Return the bottleneck of each mix `times` times; the copies share its skips."""
        return self._replace(bottleneck_BEQF=self.bottleneck_BEQF.repeat_interleave(times, dim=0))


class Shared(torch.autograd.Function):
    """A view that repeats each of a batch. Going back, repetitions are added one to the other.

    A sum over so short an axis takes torch several times as long on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x_BWQF: torch.Tensor, times: int) -> torch.Tensor:
        """Return (B, times, W, Q, F)."""
        del ctx
        return x_BWQF[:, None].expand(-1, times, -1, -1, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient (B, W, Q, F)."""
        del ctx
        first, *rest = gradients[0].unbind(1)
        return sum(rest, first), None


class AttentionGate(nn.Module):
    """Additive soft attention: scales a skip by a map in 0..1 that the decoder's feature decides.

    The gate is the already up-sampled decoder feature, at the skip's resolution.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(width // 2, 1)
        self.from_gate = nn.Sequential(nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner))
        self.from_skip = nn.Sequential(nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner))
        self.to_map = nn.Sequential(nn.Conv2d(inner, 1, 1), nn.BatchNorm2d(1))

    def forward(self, gate_BWQF: torch.Tensor, skip_BWQF: torch.Tensor) -> torch.Tensor:
        """Return the scaled skip (B, W, Q, F); one skip may serve several gates in a row."""
        from_gate, from_skip = self.from_gate(gate_BWQF), self.from_skip(skip_BWQF)
        if len(gate_BWQF) == len(skip_BWQF):
            return skip_BWQF * self.to_map(functional.relu(from_gate + from_skip)).sigmoid()
        groups = (len(skip_BWQF), len(gate_BWQF) // len(skip_BWQF))
        joined = from_gate.unflatten(0, groups) + Shared.apply(from_skip, groups[1])
        map_B1QF = self.to_map(functional.relu(joined).flatten(0, 1)).sigmoid()
        scaled = Shared.apply(skip_BWQF, groups[1]) * map_B1QF.unflatten(0, groups)
        return scaled.flatten(0, 1)


class StridedUNet(nn.Module):
    """n 4x4 stride-2 convolutions and n 4x4 stride-2 de-convolutions, gates on all skips (paper).

    Norms and activations stand where Sound-of-Pixels has them: none after the first convolution,
    no norm at the bottleneck, leaky ReLU 0.2 on the way down and ReLU on the way up.
    """

    def __init__(self, widths: tuple[int, ...], maps: int) -> None:
        super().__init__()
        last = len(widths) - 1
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 4, stride=2, padding=1, bias=level in (0, last)),
                nn.Identity() if level in (0, last) else nn.BatchNorm2d(after),
            )
            for level, (before, after) in enumerate(pairwise((1, *widths)))
        )
        finer = widths[-2::-1]
        coarser = (widths[-1], *(2 * width for width in finer))
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
            )
            for before, after in zip(coarser, finer, strict=False)
        )
        self.gates = nn.ModuleList(AttentionGate(width) for width in finer)
        self.out = nn.ConvTranspose2d(coarser[-1], maps, 4, stride=2, padding=1)

    def for_videos(self, encoded: Encoded, videos: int) -> Encoded:
        """Return what `decode` takes for so many videos of each mix."""
        return encoded.repeat(videos)

    def encode(self, log_B1QF: torch.Tensor) -> Encoded:
        """Return the skips and the bottleneck, 2^n times smaller than the input."""
        features = [self.down[0](log_B1QF)]
        for down in list(self.down)[1:]:
            features.append(down(functional.leaky_relu(features[-1], 0.2)))
        return Encoded(tuple(features[:-1]), features[-1])

    def decode(self, encoded: Encoded) -> torch.Tensor:
        """Return (B, K, Q, F)."""
        x = encoded.bottleneck_BEQF
        for up, gate, skip in zip(self.up, self.gates, reversed(encoded.skips), strict=True):
            raised = up(functional.relu(x))
            x = torch.cat((gate(raised, skip), raised), dim=1)
        return self.out(functional.relu(x))


def double_conv(before: int, after: int) -> nn.Sequential:
    """Return two 3x3 convolutions without bias, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for source in (before, after):
        layers += [nn.Conv2d(source, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Doubling(nn.ConvTranspose2d):
    """A 2x2 de-convolution of stride 2, as one product of matrices: its windows do not overlap.

    On a CPU in bfloat16 it takes half the time, back and forth, and its output lies channels last.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 2, stride=2)

    def forward(self, x_BWQF: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """Return (B, after, 2 Q, 2 F)."""
        if output_size is not None:
            raise ValueError("Doubling: the output is twice the input's size, no other")
        after, (rows, columns) = self.out_channels, x_BWQF.shape[2:]
        cells = x_BWQF.permute(0, 2, 3, 1).flatten(0, 2)
        kernel = self.weight.permute(0, 2, 3, 1).flatten(1)
        bias = None if self.bias is None else self.bias.repeat(4)
        raised = functional.linear(cells, kernel.mT, bias)
        raised = raised.view(-1, rows, columns, 2, 2, after).transpose(2, 3)
        return raised.reshape(-1, 2 * rows, 2 * columns, after).permute(0, 3, 1, 2)


class DoubleUNet(nn.Module):
    """Pairs of 3x3 convolutions, max pooling, 2x2 de-convolutions, gates on all skips (released).

    The last width is the bottleneck's.
    """

    def __init__(self, widths: tuple[int, ...], maps: int) -> None:
        super().__init__()
        finer = widths[-2::-1]
        self.down = nn.ModuleList(
            double_conv(before, after) for before, after in pairwise((1, *widths))
        )
        self.up = nn.ModuleList(Doubling(before, after) for before, after in pairwise(widths[::-1]))
        self.gates = nn.ModuleList(AttentionGate(width) for width in finer)
        self.merge = nn.ModuleList(double_conv(2 * width, width) for width in finer)
        self.out = nn.Conv2d(widths[0], maps, 1)

    def for_videos(self, encoded: Encoded, videos: int) -> Encoded:
        """Return what `decode` takes for so many videos of each mix: they share its skips."""
        return encoded.repeat_bottleneck(videos)

    def encode(self, log_B1QF: torch.Tensor) -> Encoded:
        """Return the skips and the bottleneck, 2^(n-1) times smaller than the input."""
        features = [self.down[0](log_B1QF)]
        for down in list(self.down)[1:]:
            features.append(down(functional.max_pool2d(features[-1], 2)))
        return Encoded(tuple(features[:-1]), features[-1])

    def decode(self, encoded: Encoded) -> torch.Tensor:
        """Return (B, K, Q, F)."""
        x = encoded.bottleneck_BEQF
        for up, gate, merge, skip in zip(
            self.up, self.gates, self.merge, reversed(encoded.skips), strict=True
        ):
            raised = up(x)
            x = merge(torch.cat((raised, gate(raised, skip)), dim=1))
        return self.out(x)


class TimeAttention(nn.Module):
    """Whole frames attend to each other, added to the input (as in DAVIS' U-Net).

    Query, key and value of a frame are all of its rows: a note is found again wherever in the
    stretch it comes, whatever its height. The output layer starts at zero, so that a network
    starts as one without. Source: separation_baselines.md section 6.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.query_key_value = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x_BWQF: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        rows = x_BWQF.shape[2]
        query, key, value = (
            each.unflatten(1, (TIME_HEADS, -1)).permute(0, 1, 4, 2, 3).flatten(3)
            for each in self.query_key_value(self.norm(x_BWQF)).chunk(3, dim=1)
        )
        seen_BHFA = functional.scaled_dot_product_attention(query, key, value)
        seen_BWQF = seen_BHFA.unflatten(3, (-1, rows)).permute(0, 1, 3, 4, 2).flatten(1, 2)
        return x_BWQF + self.out(seen_BWQF)


def build_unet(config: SeparationConfig) -> StridedUNet | DoubleUNet:
    """Return the U-Net that the configuration names."""
    strided = config.unet == "strided"
    unet = (StridedUNet if strided else DoubleUNet)(config.widths, config.mask_channels)
    if config.time_attention:
        level = config.time_attention - strided
        unet.down[level] = nn.Sequential(unet.down[level], TimeAttention(config.widths[level]))
    return unet
