"""The whole TriBERT: pictures, poses and a mixture in; class probabilities and masks out.

In: a `Batch` (targets are not read). Out: `Outputs` (TriBERT figure 1; design section 7).

Legend: B mixes, N videos of a mix, Z = B x N, T pictures, S = T + 1 steps with SOS first, P slots,
L = S x P tokens, D width, C classes, K maps, O attention maps, Y X their places, Q F spectrogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from model.tribert.attention import Streams, Widths
from model.tribert.audio_tokens import AudioTokens, SpectrogramInput
from model.tribert.batch import Batch
from model.tribert.config import Config
from model.tribert.encoder import Encoder, SosPooler
from model.tribert.errors import SeparationError
from model.tribert.fusion import build_fusion
from model.tribert.heads import Heads
from model.tribert.pose_tokens import PoseTokens, with_sos
from model.tribert.unet import build_unet
from model.tribert.vggish_tokens import VggishTokens
from model.tribert.vision import VisionOutput, VisionTokens

TOKEN_ZERO_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What the network says of each of the N videos of B mixes.

    Attributes
    ----------
    mask_logits_BNQF
        One mask a video, before the sigmoid.
    vision_BNC, pose_BNC, audio_BNC
        Probability of each class, float32.
    scores_BNSC
        Class scores of the attention maps of every step (SOS first).
    chosen_BNSO, maps_BNSOYX
        Classes whose maps pooled the vision tokens, best first, and these maps. The maps' classes
        are others than the heads' where a fine-tuned network kept its maps.
    vision_ZSPD, pose_ZSPD, audio_ZSPD
        Outputs of the transformer (Z = B x N), for retrieval; audio has steps of its own (one a
        patch) and one slot where VGGish hears it.
    """

    mask_logits_BNQF: torch.Tensor
    vision_BNC: torch.Tensor
    pose_BNC: torch.Tensor
    audio_BNC: torch.Tensor
    scores_BNSC: torch.Tensor
    chosen_BNSO: torch.Tensor
    maps_BNSOYX: torch.Tensor
    vision_ZSPD: torch.Tensor
    pose_ZSPD: torch.Tensor
    audio_ZSPD: torch.Tensor

    @property
    def masks_BNQF(self) -> torch.Tensor:
        """Return the masks, 0..1, float32."""
        return self.mask_logits_BNQF.float().sigmoid()


class TriBERT(nn.Module):
    """Vision, pose and audio streams, their transformer, their heads and the attention U-Net.

    Parameters
    ----------
    classes
        Of the heads.
    map_classes
        Of the attention maps; as many as `classes` by default.
    """

    def __init__(self, config: Config, classes: int, *, map_classes: int | None = None) -> None:
        super().__init__()
        encoder, separation = config.encoder, config.separation
        widths = Widths(encoder.vision_width, encoder.pose_width, encoder.audio_width)
        self.token_mask = encoder.token_mask
        self.spectrogram = SpectrogramInput(config.audio)
        self.vision = VisionTokens(config.vision, map_classes or classes)
        self.pose = PoseTokens(config.pose, encoder.pose_width)
        self.audio: AudioTokens | VggishTokens = (
            AudioTokens(config.audio, encoder.audio_width)
            if config.audio.encoder == "vgg"
            else VggishTokens(config.audio, encoder.audio_width)
        )
        self.encoder = Encoder(encoder)
        self.fuses_tokens = separation.fusion == "tokens"
        pooled = not self.fuses_tokens or separation.mask_channels > 1
        self.pooler = SosPooler(encoder) if pooled else None
        self.heads = Heads(config.heads, widths, classes)
        self.fusion = build_fusion(config)
        self.unet = build_unet(separation)
        self.map_weights = (
            nn.Linear(3 * encoder.co_width, separation.mask_channels)
            if separation.mask_channels > 1
            else None
        )
        self.to(memory_format=torch.channels_last)

    def forward(self, batch: Batch) -> Outputs:
        """Return masks and probabilities of every video of every mix."""
        videos = batch.labels_BNC.shape[1]
        log_B1QF = self.spectrogram(batch.mix_B1QF)
        seen = self.vision(batch.frames_BNTHWC.flatten(0, 1))
        pose_ZSPD, valid_ZSP = self._pose_tokens(batch)
        vision_ZSPD = self._hide_tokens(seen.tokens_BSOD)
        audio_ZSPD = self.audio_tokens(batch, log_B1QF, valid_ZSP.shape[1:])
        valid = Streams(all_valid(vision_ZSPD), valid_ZSP, all_valid(audio_ZSPD))
        steps = self._encode(Streams(vision_ZSPD, self._hide_tokens(pose_ZSPD), audio_ZSPD), valid)
        classes = self.heads(steps, valid)
        logits_BNQF = self._separate(log_B1QF, videos, steps, valid)
        return _outputs(seen, steps, classes, logits_BNQF)

    def _pose_tokens(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pose tokens (Z, S, P, D) and which of them are valid (Z, S, P)."""
        pose, box, valid_ZSP = with_sos(
            batch.pose_BNTPKV.flatten(0, 1).float(),
            batch.box_BNTP5.flatten(0, 1).float(),
            batch.present_BNTP.flatten(0, 1),
        )
        return self.pose(pose, box), valid_ZSP

    def audio_tokens(
        self, batch: Batch, log_B1QF: torch.Tensor, steps: Sequence[int]
    ) -> torch.Tensor:
        """Return audio tokens of each video, the same for all of a mix: (Z, S, P, D).

        The VGG-like network's token stands at each of the `steps` (S, P); VGGish has steps of its
        own, a patch each after the SOS step, and one slot.
        """
        videos = batch.labels_BNC.shape[1]
        if isinstance(self.audio, AudioTokens):
            audio_ZD = self.audio(log_B1QF).repeat_interleave(videos, dim=0)
            return audio_ZD[:, None, None].expand(-1, *steps, -1)
        if batch.patches_BRTM is None:
            raise SeparationError(
                "audio.encoder 'vggish': the batch has no patches of the mixture; read its samples "
                "with data.sound_patches from stages that name vggish"
            )
        return self.audio(batch.patches_BRTM).repeat_interleave(videos, dim=0)

    def _hide_tokens(self, tokens_ZSPD: torch.Tensor) -> torch.Tensor:
        """Return tokens, some of the real steps' set to zero while training."""
        if not self.training or self.token_mask == 0:
            return tokens_ZSPD
        draw_ZSP1 = torch.rand(tokens_ZSPD.shape[:3], device=tokens_ZSPD.device)[..., None]
        keep_ZSP1 = draw_ZSP1 >= self.token_mask * TOKEN_ZERO_SHARE
        keep_ZSP1[:, 0] = True
        return tokens_ZSPD * keep_ZSP1

    def _encode(self, steps: Streams, valid: Streams) -> Streams:
        """Return refined tokens (Z, S, P, D): steps and slots are one sequence inside."""
        flat = self.encoder(
            Streams(*(x.flatten(1, 2) for x in steps)), Streams(*(v.flatten(1, 2) for v in valid))
        )
        return Streams(
            *(x.unflatten(1, before.shape[1:3]) for x, before in zip(flat, steps, strict=True))
        )

    def _separate(
        self, log_B1QF: torch.Tensor, videos: int, steps: Streams, valid: Streams
    ) -> torch.Tensor:
        """Return mask logits (B, N, Q, F).

        The way down runs once a mix, and the way up, too, where the bottleneck depends on no video.
        """
        pooled = self.pooler(steps) if self.pooler else None
        sos_valid = Streams(*(valid_ZSP[:, 0] for valid_ZSP in valid))
        encoded = self.unet.encode(log_B1QF)
        if self.fusion is not None:
            encoded = self.unet.for_videos(encoded, videos)
            if pooled is None or self.fuses_tokens:
                given = Streams(*(x_ZSPD.flatten(1, 2) for x_ZSPD in steps))
                keys = Streams(*(valid_ZSP.flatten(1, 2) for valid_ZSP in valid))
            else:
                given, keys = pooled, sos_valid
            fused = self.fusion(encoded.bottleneck_BEQF, given, keys)
            encoded = encoded._replace(bottleneck_BEQF=fused)
        maps = self.unet.decode(encoded)
        if self.map_weights is None or pooled is None:
            return maps[:, 0].unflatten(0, (-1, videos))
        weights_ZK = self.map_weights(mean_of_valid(pooled, sos_valid))
        if self.fusion is None:
            return weighed(maps, weights_ZK.unflatten(0, (-1, videos)))
        return (maps * weights_ZK[..., None, None]).sum(1).unflatten(0, (-1, videos))


def all_valid(tokens_ZSPD: torch.Tensor) -> torch.Tensor:
    """Return (Z, S, P), True everywhere."""
    return torch.ones(tokens_ZSPD.shape[:3], dtype=torch.bool, device=tokens_ZSPD.device)


def weighed(maps_BKQF: torch.Tensor, weights_BNK: torch.Tensor) -> torch.Tensor:
    """Return (B, N, Q, F): for each video the sum of the maps of its mix, by its weights."""
    cells_BLK = maps_BKQF.permute(0, 2, 3, 1).flatten(1, 2)
    return (cells_BLK @ weights_BNK.mT).mT.unflatten(2, maps_BKQF.shape[2:])


def mean_of_valid(pooled: Streams, valid: Streams) -> torch.Tensor:
    """Return the streams' means over valid slots, one after the other: (Z, 3 X)."""
    means = []
    for x_ZPX, valid_ZP in zip(pooled, valid, strict=True):
        weight_ZP1 = valid_ZP[..., None].to(x_ZPX.dtype)
        means.append((x_ZPX * weight_ZP1).sum(1) / weight_ZP1.sum(1))
    return torch.cat(means, dim=1)


def _outputs(
    seen: VisionOutput,
    steps: Streams,
    classes: Streams,
    logits_BNQF: torch.Tensor,
) -> Outputs:
    batch_shape = logits_BNQF.shape[:2]
    return Outputs(
        mask_logits_BNQF=logits_BNQF,
        vision_BNC=classes.vision.unflatten(0, batch_shape),
        pose_BNC=classes.pose.unflatten(0, batch_shape),
        audio_BNC=classes.audio.unflatten(0, batch_shape),
        scores_BNSC=seen.scores_BSC.unflatten(0, batch_shape),
        chosen_BNSO=seen.chosen_BSO.unflatten(0, batch_shape),
        maps_BNSOYX=seen.maps_BSOYX.unflatten(0, batch_shape),
        vision_ZSPD=steps.vision,
        pose_ZSPD=steps.pose,
        audio_ZSPD=steps.audio,
    )
