"""A TriBERT of either kind that a test can train, and batches for it."""

from __future__ import annotations

from dataclasses import replace

import torch

from model.tribert.batch import Batch
from model.tribert.config import Config, DataConfig, EncoderConfig, PoseConfig, presets
from model.tribert.losses import loss_terms
from model.tribert.module import TriBERTModule

CLASSES = 4
ENCODER = EncoderConfig(
    layers=2,
    vision_width=32,
    pose_width=32,
    audio_width=16,
    vision_ffn=32,
    pose_ffn=32,
    audio_ffn=32,
    heads=4,
    co_width=16,
    co_heads=4,
)


def small_config(kind: str = "paper", *, dropout: float = 0.0) -> Config:
    """`paper` or `released`, with a backbone and widths for a test."""
    base = presets[kind]
    released = kind == "released"
    return replace(
        base,
        data=DataConfig(picture_px=32, spec_rows=32, spec_frames=32),
        vision=replace(
            base.vision,
            backbone="small",
            small_widths=(8, 16),
            feature_width=32,
            dropout=dropout,
        ),
        pose=PoseConfig(channels=4, dropout=dropout),
        audio=replace(base.audio, widths=(8, 16), dropout=dropout),
        encoder=replace(ENCODER, keys=base.encoder.keys, dropout=dropout, token_mask=0.0),
        separation=replace(base.separation, widths=(8, 16, 48) if released else (8, 16, 16)),
    )


def random_batch(
    mixes: int = 2, videos: int = 2, *, seed: int = 0, classes: int = CLASSES
) -> Batch:
    """Noise of the small sizes; of each video's two persons the first is there."""
    draw = torch.Generator().manual_seed(seed)
    lead = (mixes, videos, 3, 2)
    mix = 5 * torch.rand(mixes, 1, 32, 32, generator=draw)
    labels = torch.randint(0, classes, (mixes, videos), generator=draw)
    return Batch(
        frames_BNTHWC=torch.randint(0, 256, (mixes, videos, 3, 32, 32, 3), generator=draw).byte(),
        pose_BNTPKV=torch.randn(*lead, 4, 68, generator=draw),
        present_BNTP=torch.tensor([True, False]).expand(lead).clone(),
        box_BNTP5=torch.rand(*lead, 5, generator=draw),
        mix_B1QF=mix,
        masks_BNQF=torch.rand(mixes, videos, 32, 32, generator=draw).round(),
        weight_B1QF=mix.log1p().clamp(1e-3, 10.0),
        labels_BNC=torch.eye(classes)[labels],
    )


def made(config: Config) -> TriBERTModule:
    torch.manual_seed(0)
    return TriBERTModule(config, tuple("abcd")).train()


def step(module: TriBERTModule, batch: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one step, dropout drawn from the same seed."""
    torch.manual_seed(1)
    loss = loss_terms(module.network(batch), batch, module.config.loss).total
    loss.backward()
    return loss.item(), {name: p.grad for name, p in module.network.named_parameters()}
