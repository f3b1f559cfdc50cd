"""Music Gesture: how players move, and what they look like, attended to at the U-Net's bottleneck.

In: a `Batch` with raw joints (`data.joint_frames`). Out: one mask a video. Heads: `plain`, the way
of the paper, where the decoder's one map is the mask; `gated`, where what is seen also weighs K
maps, as skips lead around the bottleneck and a network may learn to ignore it.

Source: separation_baselines.md section 2 (Gan et al. 2020; there is no official code). Ours: an
ST-GCN of 68 joints, layer norms that keep one source of a token from drowning the other, no
changed keypoints in training.

Legend: B mixes, N videos, Z = B x N, R pose rows, S = R / 4 steps, P persons, V joints, K maps (of
joints: x, y, confidence), D width of a pose feature, X of the context, E of the bottleneck,
L places of the bottleneck, M = S x V tokens, Q F spectrogram.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from model.separation.config import Config
from model.separation.pixels import MaskOutputs, PictureNorm
from model.separation.unet import SoundUNet
from model.tribert.batch import Batch
from model.tribert.config import VisionConfig
from model.tribert.errors import SeparationError
from model.tribert.vision import build_backbone
from pipeline.networks.graph import spatial_partition
from pipeline.networks.stgcn import Stgcn
from pipeline.networks.stgcn_config import NetworkConfig as GraphConfig
from pipeline.pose.joints68 import CENTRE, EDGES, N_JOINTS

Zeroed = Literal["nothing", "pose", "context"]


class PoseFeatures(nn.Module):
    """Raw joints to features of every joint and step."""

    def __init__(self, config: GraphConfig) -> None:
        super().__init__()
        self.graph = Stgcn(config, spatial_partition(EDGES, N_JOINTS, CENTRE), 1)
        del self.graph.classifier
        self.norm = nn.LayerNorm(config.channels[-1])

    def forward(self, joints_ZRPVK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean over the persons who are there, (Z, S, V, D), and where any is, (Z, S).

        A person without a single joint of positive confidence is absent.
        """
        present_ZRP = (joints_ZRPVK[..., 2] > 0).any(3)
        x_ZKRVP = joints_ZRPVK.permute(0, 4, 1, 3, 2)
        feature_ZDSVP, present_ZSP = self.graph.extract_feature(x_ZKRVP, present_ZRP)
        persons_ZS = present_ZSP.sum(2)
        mean_ZDSV = feature_ZDSVP.sum(4) / persons_ZS.clamp(min=1.0)[:, None, :, None]
        return self.norm(mean_ZDSV.permute(0, 2, 3, 1)), persons_ZS > 0


class Context(nn.Module):
    """The first picture of a video to one vector."""

    def __init__(self, config: VisionConfig, width: int) -> None:
        super().__init__()
        self.normalised = PictureNorm()
        self.trunk, trunk_width = build_backbone(config)
        self.project = nn.Linear(trunk_width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, frames_ZTHWC: torch.Tensor) -> torch.Tensor:
        """Return (Z, X)."""
        first_ZCHW = self.normalised(frames_ZTHWC[:, :1])[:, 0]
        return self.norm(self.project(self.trunk(first_ZCHW).mean((2, 3))))


class TokenAttention(nn.Module):
    """h = softmax(a v^T) v + a; z = MLP(h) + h: what is heard asks what is seen."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def weights(
        self, audio_ZLE: torch.Tensor, tokens_ZME: torch.Tensor, valid_ZM: torch.Tensor
    ) -> torch.Tensor:
        """Return (Z, L, M); each row adds up to 1, tokens that are not valid have 0."""
        scores_ZLM = (audio_ZLE @ tokens_ZME.transpose(1, 2)).float()
        return scores_ZLM.masked_fill(~valid_ZM[:, None], -torch.inf).softmax(dim=2)

    def forward(
        self, audio_ZLE: torch.Tensor, tokens_ZME: torch.Tensor, valid_ZM: torch.Tensor
    ) -> torch.Tensor:
        """Return z, (Z, L, E)."""
        hidden_ZLE = self.weights(audio_ZLE, tokens_ZME, valid_ZM) @ tokens_ZME + audio_ZLE
        return self.mlp(hidden_ZLE) + hidden_ZLE


class MusicGesture(nn.Module):
    """The whole system; the U-Net's way down runs once a mix, its way up once a video."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        network, gesture = config.network, config.gesture
        self.maps = network.maps if config.system == "music_gesture" else 1
        width = network.widths[-1]
        self.sound = SoundUNet(network.widths, self.maps, network.init)
        self.poses = PoseFeatures(gesture.graph)
        self.pictures = Context(config.vision, gesture.context_width)
        self.tokens = nn.Linear(gesture.graph.channels[-1] + gesture.context_width, width)
        self.fusion = TokenAttention(width)
        gated = self.maps > 1
        self.synthesizer = nn.Linear(width, self.maps + 1) if gated else nn.Identity()

    def forward(self, batch: Batch, zeroed: Zeroed = "nothing") -> MaskOutputs:
        """Return a mask for each video.

        Raises
        ------
        SeparationError
            The batch has no joints.
        """
        if batch.joints_BNRPVK is None:
            raise SeparationError(
                "Music Gesture reads raw joints, the batch has none: set data.joint_frames"
            )
        shape = batch.joints_BNRPVK.shape[:2]
        tokens_ZME, valid_ZM = self.seen(
            batch.joints_BNRPVK.flatten(0, 1), batch.frames_BNTHWC.flatten(0, 1), zeroed
        )
        encoded = self.sound.encode(batch.mix_B1QF).repeat(shape[1])
        bottleneck = encoded.bottleneck_BEQF
        audio_ZLE = bottleneck.flatten(2).transpose(1, 2)
        fused_ZLE = self.fusion(audio_ZLE, tokens_ZME, valid_ZM)
        fused = fused_ZLE.transpose(1, 2).unflatten(2, bottleneck.shape[2:])
        maps_ZKQF = self.sound.decode(encoded._replace(bottleneck_BEQF=fused))
        logits_ZQF = self._weighed(maps_ZKQF, tokens_ZME, valid_ZM)
        return MaskOutputs(mask_logits_BNQF=logits_ZQF.unflatten(0, shape))

    def seen(
        self,
        joints_ZRPVK: torch.Tensor,
        frames_ZTHWC: torch.Tensor,
        zeroed: Zeroed = "nothing",
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens of each video, (Z, M, E), and which are valid, (Z, M).

        Steps without anybody are not valid; where nobody ever is, all tokens are, with nothing
        but the context in them.
        """
        pose_ZSVD, anyone_ZS = self.poses(joints_ZRPVK)
        context_ZX = self.pictures(frames_ZTHWC)
        if zeroed == "pose":
            pose_ZSVD = torch.zeros_like(pose_ZSVD)
        if zeroed == "context":
            context_ZX = torch.zeros_like(context_ZX)
        context_ZSVX = context_ZX[:, None, None].expand(*pose_ZSVD.shape[:3], -1)
        tokens_ZSVE = self.tokens(torch.cat((pose_ZSVD, context_ZSVX), dim=3))
        valid_ZS = anyone_ZS | ~anyone_ZS.any(1, keepdim=True)
        valid_ZSV = valid_ZS[:, :, None].expand(*tokens_ZSVE.shape[:3])
        return tokens_ZSVE.flatten(1, 2), valid_ZSV.flatten(1, 2)

    def _weighed(
        self, maps_ZKQF: torch.Tensor, tokens_ZME: torch.Tensor, valid_ZM: torch.Tensor
    ) -> torch.Tensor:
        """Return mask logits (Z, Q, F): the map itself, or maps weighed by the mean token."""
        if self.maps == 1:
            return maps_ZKQF[:, 0]
        valid_ZM1 = valid_ZM[..., None].to(tokens_ZME.dtype)
        mean_ZE = (tokens_ZME * valid_ZM1).sum(1) / valid_ZM1.sum(1)
        weights_ZK, bias_Z1 = self.synthesizer(mean_ZE).split((self.maps, 1), dim=1)
        return torch.einsum("zk,zkqf->zqf", weights_ZK, maps_ZKQF) + bias_Z1[..., None]


class Ablated(nn.Module):
    """A Music Gesture that is shown no movement (`pose`), or not what players look like."""

    def __init__(self, network: MusicGesture, zeroed: Zeroed) -> None:
        super().__init__()
        self.network = network
        self.zeroed = zeroed

    def forward(self, batch: Batch) -> MaskOutputs:
        """Return a mask for each video."""
        return self.network(batch, self.zeroed)
