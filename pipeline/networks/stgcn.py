"""ST-GCN: sequences of skeletons flow in, features for every joint or class scores flow out.

Yan et al., "Spatial temporal graph convolutional networks for skeleton-based action recognition"
(AAAI 2018). Two differences from the published code, neither of which changes a number where every
person is there: the partition uses true distances (`graph`), and persons and rows that are absent
are masked, so that padding and a missing second player change nothing.

Shapes: N clips, C channels, T rows of the pose grid, V joints, M persons, P skeleton sequences
(those of the N x M that anybody is in), K subsets of the partition, L classes.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.networks.stgcn_config import NetworkConfig

IN_CHANNELS = 3


class SpatialConvolution(nn.Module):
    """Features gathered along each of K subsets of edges, joined by one 1 x 1 convolution.

    The published code convolves to K groups of channels first and gathers those; as both are
    linear, the result is the same, and gathering the fewer channels is two to five times faster.
    The parameters keep the published layout (K x C_out, C_in).
    """

    def __init__(self, channels_in: int, channels_out: int, n_subsets: int) -> None:
        super().__init__()
        self.n_subsets = n_subsets
        self.conv = nn.Conv2d(channels_in, channels_out * n_subsets, kernel_size=1)

    def forward(self, x_PCTV: torch.Tensor, adjacency_KVV: torch.Tensor) -> torch.Tensor:
        """Return (P, C_out, T, V)."""
        gathered_PDTV = torch.cat([x_PCTV @ subset_VV for subset_VV in adjacency_KVV], dim=1)
        weight_KOC = self.conv.weight[:, :, 0, 0].unflatten(0, (self.n_subsets, -1))
        weight_OD = weight_KOC.transpose(0, 1).flatten(1)
        # the bias reaches a joint along every edge, with the edge's weight
        bias_KO = cast(torch.Tensor, self.conv.bias).unflatten(0, (self.n_subsets, -1))
        bias_OV = torch.einsum("ko,kv->ov", bias_KO, adjacency_KVV.sum(dim=1))
        return F.conv2d(gathered_PDTV, weight_OD[:, :, None, None]) + bias_OV[:, None]


class Block(nn.Module):
    """Along the skeleton, then along time, with a residual.

    `residual` False leaves it out (the first block); otherwise it is the identity where shapes
    allow, else a 1 x 1 convolution with batch norm.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        stride: int = 1,
        n_subsets: int = 3,
        kernel_rows: int = 9,
        dropout: float = 0.0,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.spatial = SpatialConvolution(channels_in, channels_out, n_subsets)
        self.spatial_norm = nn.BatchNorm2d(channels_out)
        self.temporal = nn.Conv2d(
            channels_out,
            channels_out,
            (kernel_rows, 1),
            stride=(stride, 1),
            padding=(kernel_rows // 2, 0),
        )
        self.temporal_norm = nn.BatchNorm2d(channels_out)
        self.dropout = nn.Dropout(dropout)
        self.residual: nn.Module | None = None
        if residual and channels_in == channels_out and stride == 1:
            self.residual = nn.Identity()
        elif residual:
            self.residual = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, kernel_size=1, stride=(stride, 1)),
                nn.BatchNorm2d(channels_out),
            )

    def forward(
        self,
        x_PCTV: torch.Tensor,
        adjacency_KVV: torch.Tensor,
        present_P1T1: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return (P, C_out, ceil(T / stride), V).

        Rows where `present_P1T1` is 0 are zeroed before the convolution along time: they act as
        its padding does.
        """
        hidden_PCTV = F.relu(self.spatial_norm(self.spatial(x_PCTV, adjacency_KVV)))
        if present_P1T1 is not None:
            hidden_PCTV = hidden_PCTV * present_P1T1
        out_PCTV = self.dropout(self.temporal_norm(self.temporal(hidden_PCTV)))
        if self.residual is not None:
            out_PCTV = out_PCTV + self.residual(x_PCTV)
        return F.relu(out_PCTV)


class Stgcn(nn.Module):
    """The whole network.

    Parameters
    ----------
    partition_KVV
        Normalised adjacency split into subsets (`graph.spatial_partition`).
    n_classes
        L, width of the classifier.
    """

    adjacency_KVV: torch.Tensor

    def __init__(self, config: NetworkConfig, partition_KVV: np.ndarray, n_classes: int) -> None:
        super().__init__()
        self.config = config
        n_subsets, n_joints, _ = partition_KVV.shape
        self.register_buffer(
            "adjacency_KVV", torch.tensor(partition_KVV, dtype=torch.float32), persistent=False
        )
        self.input_norm = nn.BatchNorm1d(IN_CHANNELS * n_joints)
        widths_in = (IN_CHANNELS, *config.channels[:-1])
        self.blocks = nn.ModuleList(
            Block(
                width_in,
                width_out,
                stride=stride,
                n_subsets=n_subsets,
                kernel_rows=config.kernel_rows,
                dropout=config.dropout if k else 0.0,
                residual=k > 0,
            )
            for k, (width_in, width_out, stride) in enumerate(
                zip(widths_in, config.channels, config.strides, strict=True)
            )
        )
        self.importance = nn.ParameterList(
            torch.ones_like(self.adjacency_KVV) for _ in config.channels
        )
        self.classifier = nn.Linear(config.channels[-1], n_classes)

    def forward(
        self, x_NCTVM: torch.Tensor, present_NTM: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits (N, L): features averaged over present steps and joints, then persons."""
        feature_NCTVM, steps_NTM = self.extract_feature(x_NCTVM, present_NTM)
        seconds_NM = steps_NTM.sum(dim=1)
        person_NCM = feature_NCTVM.mean(dim=3).sum(dim=2) / seconds_NM.clamp(min=1.0)[:, None]
        there_NM = (seconds_NM > 0).to(person_NCM.dtype)
        clip_NC = person_NCM.sum(dim=2) / there_NM.sum(dim=1, keepdim=True).clamp(min=1.0)
        return self.classifier(clip_NC)

    def extract_feature(
        self, x_NCTVM: torch.Tensor, present_NTM: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (N, C, T', V, M) and presence (N, T', M), T' = ceil(T / stride).

        Parameters
        ----------
        x_NCTVM
            Normalised poses (`pipeline.pose.normalise`); C = x, y, confidence.
        present_NTM
            1 where a person is in a row, else 0; None means everywhere. Features of steps without
            the person are zero.
        """
        n_clips, _, n_rows, n_joints, n_persons = x_NCTVM.shape
        if present_NTM is None:
            present_NTM = x_NCTVM.new_ones((n_clips, n_rows, n_persons))
        present_S1T = present_NTM.to(x_NCTVM.dtype).transpose(1, 2).flatten(0, 1)[:, None]
        steps_S1T = present_S1T
        for stride in self.config.strides:
            steps_S1T = _steps_with_anyone(steps_S1T, stride)

        feature_SCTV = x_NCTVM.new_zeros(
            (len(steps_S1T), self.config.channels[-1], steps_S1T.shape[2], n_joints)
        )
        there = present_S1T.amax(dim=(1, 2)) > 0
        if bool(there.any()):
            x_SCTV = x_NCTVM.permute(0, 4, 1, 2, 3).flatten(0, 1)
            feature_PCTV = self._features_of(x_SCTV[there], present_S1T[there])
            feature_SCTV = feature_SCTV.to(feature_PCTV.dtype)
            feature_SCTV[there] = feature_PCTV * steps_S1T[there][..., None]
        feature_NMCTV = feature_SCTV.unflatten(0, (n_clips, n_persons))
        steps_NMT = steps_S1T[:, 0].unflatten(0, (n_clips, n_persons))
        return feature_NMCTV.permute(0, 2, 3, 4, 1), steps_NMT.transpose(1, 2)

    def _features_of(self, x_PCTV: torch.Tensor, present_P1T: torch.Tensor) -> torch.Tensor:
        """Input norm and blocks for the sequences that somebody is in."""
        x_PCTV = self._normalise(x_PCTV, present_P1T[:, 0] > 0)
        for block, importance, stride in zip(
            self.blocks, self.importance, self.config.strides, strict=True
        ):
            x_PCTV = block(x_PCTV, self.adjacency_KVV * importance, present_P1T[..., None])
            present_P1T = _steps_with_anyone(present_P1T, stride)
        return x_PCTV

    def _normalise(self, x_PCTV: torch.Tensor, is_present_PT: torch.Tensor) -> torch.Tensor:
        """Batch norm of each joint's channels over the rows that have the person; else zeros."""
        rows_PTD = x_PCTV.permute(0, 2, 3, 1).flatten(2)
        present_RD = rows_PTD[is_present_PT]
        if self.training and len(present_RD) > 1:
            normed_RD = self.input_norm(present_RD)
        else:
            normed_RD = self._input_norm_as_learnt(present_RD)
        out_PTD = torch.zeros_like(rows_PTD, dtype=normed_RD.dtype)
        out_PTD[is_present_PT] = normed_RD
        return out_PTD.unflatten(2, (-1, IN_CHANNELS)).permute(0, 3, 1, 2)

    def _input_norm_as_learnt(self, rows_RD: torch.Tensor) -> torch.Tensor:
        """With the running statistics, also for a single row, which has no variance of its own."""
        norm = self.input_norm
        return F.batch_norm(
            rows_RD, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )


def _steps_with_anyone(present_S1T: torch.Tensor, stride: int) -> torch.Tensor:
    """Presence after a block: whether the person is in any of the rows that a step advances."""
    if stride == 1:
        return present_S1T
    return F.max_pool1d(present_S1T, stride, ceil_mode=True)
