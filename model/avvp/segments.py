"""Targets of single seconds, and clips that exchange their tracks.

In: logits of held-out teachers, labels that were kept; or a batch with targets. Out: targets of
every second, their loss, mixtures of seconds, recombined batches.

The form of the labels, their weights and the mixing are UWAV's (Lai et al., CVPR 2025), whose
teachers are foreign models; recombination is that of MUG (ICCV 2025) and CVCMS (NeurIPS 2021).

Legend: N clips or seconds, B clips of a batch, T seconds, M modalities (0 audio, 1 visual),
C classes, D width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.avvp.data import Batch
from model.avvp.losses import bce
from model.avvp.removal import VISUAL
from model.avvp.targets import Targets

ON_SHARES = (0.7, 0.8)
"""Of the seconds of clips that keep a label: how many are on, in sound and in pictures."""
MIXED = 1.7
"""Both parameters of the beta distribution of a mixture's weights."""


def segment_labels(logit_NMCT: np.ndarray, kept_NMC: np.ndarray, *, soft: bool) -> np.ndarray:
    """Return a target for every second of the kept labels, float32 (N, M, C, T) in [0, 1].

    A logit z becomes 1 / (1 + exp(-(z - theta) / tau)), or 1 from theta on; theta is the quantile
    that leaves a share of `ON_SHARES` of the class's seconds on, tau their deviation. A clip whose
    best second does not reach theta is shifted until it does: what is kept is somewhere. A second
    without a logit (NaN, after the clip's end) and a label that was not kept have 0.
    """
    labels = np.zeros(logit_NMCT.shape, np.float32)
    for m, share in enumerate(ON_SHARES):
        for c in range(kept_NMC.shape[2]):
            kept_N = kept_NMC[:, m, c]
            z_NT = logit_NMCT[kept_N, m, c].astype(np.float64)
            there_NT = ~np.isnan(z_NT)
            if not there_NT.any():
                continue
            theta = np.quantile(z_NT[there_NT], 1 - share)
            best_N = np.where(there_NT, z_NT, -np.inf).max(1)
            above_NT = z_NT + np.maximum(theta - best_N, 0)[:, None] - theta
            if soft:
                tau = max(float(z_NT[there_NT].std()), 1e-6)
                found = 1 / (1 + np.exp(-above_NT / tau))
            else:
                # the shifted best second may miss theta by a rounding
                found = (above_NT >= -1e-9).astype(np.float64)
            labels[kept_N, m, c] = np.where(there_NT, found, 0)
    return labels


def second_loss(
    second_BTMC: Tensor, targets: Targets, absent_BT: Tensor | None, *, positive_weight: float
) -> Tensor:
    """Return the loss of the seconds: audio's mean plus vision's.

    `positive_weight` W weighs, per modality, classes that the clip has by W mean(1 - l) and others
    by mean(l), l being the batch's labels of seconds, 0 or 1; 0 weighs all alike.

    Raises
    ------
    ValueError
        The targets have none of seconds.
    """
    q_BTMC = _of_seconds(targets)
    loss_BTMC = bce(second_BTMC, q_BTMC, reduction="none")
    there_BT = torch.ones_like(loss_BTMC[..., 0, 0]) if absent_BT is None else (~absent_BT).float()
    there_BTMC = there_BT[..., None, None].expand_as(loss_BTMC)
    if positive_weight:
        on_M = ((q_BTMC >= 0.5) * there_BTMC).sum((0, 1, 3)) / there_BTMC.sum((0, 1, 3))
        with_M1, without_M1 = positive_weight * (1 - on_M)[:, None], on_M[:, None]
        tagged_B11C = targets.video_BC[:, None, None] > 0.5
        loss_BTMC = loss_BTMC * torch.where(tagged_B11C, with_M1, without_M1)
    return ((loss_BTMC * there_BTMC).sum((0, 1, 3)) / there_BTMC.sum((0, 1, 3))).sum()


def mixed_seconds(
    joint_BTMD: Tensor, targets: Targets, absent_BT: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return features (N, M, D) and targets (N, M, C) of seconds mixed with others of the batch.

    Every second that is there is mixed with another of its modality, anywhere in the batch, at a
    weight drawn from Beta(1.7, 1.7), its targets likewise. Draws from torch's generator on the CPU.
    """
    there_BT: Any = slice(None) if absent_BT is None else ~absent_BT
    x_NMD = joint_BTMD[there_BT].reshape(-1, *joint_BTMD.shape[2:])
    q_NMC = _of_seconds(targets)[there_BT].reshape(len(x_NMD), *joint_BTMD.shape[2:3], -1)
    seconds, modalities = x_NMD.shape[:2]
    other_NM = torch.rand(seconds, modalities).argsort(0).to(x_NMD.device)
    weight_NM1 = torch.distributions.Beta(MIXED, MIXED).sample((seconds, modalities, 1))
    weight_NM1 = weight_NM1.to(x_NMD.device, x_NMD.dtype)
    m_M = torch.arange(modalities, device=x_NMD.device)
    return (
        weight_NM1 * x_NMD + (1 - weight_NM1) * x_NMD[other_NM, m_M],
        weight_NM1 * q_NMC + (1 - weight_NM1) * q_NMC[other_NM, m_M],
    )


def _of_seconds(targets: Targets) -> Tensor:
    if targets.second_BTMC is None:
        raise ValueError("expected targets of seconds, got none: set segments='soft' or 'hard'")
    return targets.second_BTMC


def recombined(batch: Batch, targets: Targets, share: float) -> tuple[Batch, Targets, Tensor]:
    """Return the batch with pictures exchanged in about a `share` of its clips, and which (B,).

    A clip takes the pictures of another one of its length, with their targets; its video has what
    is then heard or seen. Draws from torch's generator on the CPU.
    """
    device, clips = batch.tags_BC.device, len(batch.tags_BC)
    other_B, drawn_B = torch.randperm(clips).to(device), (torch.rand(clips) < share).to(device)
    if batch.absent_BT is not None:
        length_B = (~batch.absent_BT).sum(1)
        drawn_B &= length_B == length_B[other_B]
    place_B = torch.arange(clips, device=device)
    drawn_B &= other_B != place_B
    from_B = torch.where(drawn_B, other_B, place_B)
    visual_BC = targets.visual_BC[from_B]
    union_BC = ((targets.audio_BC > 0.5) | (visual_BC > 0.5)).to(targets.video_BC.dtype)
    second_BTMC = targets.second_BTMC
    if second_BTMC is not None:
        second_BTMC = second_BTMC.clone()
        second_BTMC[:, :, VISUAL] = second_BTMC[from_B, :, VISUAL]
    changed = replace(
        batch, picture_BTE=batch.picture_BTE[from_B], motion_BTE=batch.motion_BTE[from_B]
    )
    video_BC = torch.where(drawn_B[:, None], union_BC, targets.video_BC)
    return (
        changed,
        replace(targets, video_BC=video_BC, visual_BC=visual_BC, second_BTMC=second_BTMC),
        drawn_B,
    )
