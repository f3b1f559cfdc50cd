"""TriBERT the plain way: the reference of tests and benchmarks for what `TriBERT` does faster.

In: a network and a batch. Out: outputs of the same equations with the same weights (TriBERT
figure 1; tribert.md sections 4 and 5). Tensors lie channel by channel, the mixture goes through
the audio network and the U-Net once for each video, attention is written out.

Legend: B videos or mixes, Z = mixes x videos, S steps, P slots, L tokens, M keys, D width, X
co-attention width, K maps, E bottleneck width, Q F spectrogram, C channels, H W rows and columns.
"""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
from torch import nn

from model.tribert.attention import CoBlock, SelfBlock, Streams
from model.tribert.audio_tokens import AudioTokens
from model.tribert.batch import Batch
from model.tribert.encoder import Layer
from model.tribert.fusion import ChannelSoftmaxFusion, KeyFusion
from model.tribert.network import Outputs, TriBERT, all_valid
from model.tribert.pose_tokens import with_sos
from model.tribert.unet import Doubling


class ChannelByChannel(nn.Module):
    """Puts the values of a channel next to each other."""

    def forward(self, x_ZCHW: torch.Tensor) -> torch.Tensor:
        """Return the same values (Z, C, H, W)."""
        return x_ZCHW.contiguous()


class PlainTriBERT(nn.Module):
    """A copy of `network` that computes plainly.

    Attention drops nothing out and no token is hidden: equal to `network` in eval mode, and in
    training where `encoder.dropout` and `encoder.token_mask` are 0.
    """

    def __init__(self, network: TriBERT) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
        vision = self.network.vision
        vision.trunk = nn.Sequential(ChannelByChannel(), vision.trunk)
        for module in self.network.unet.modules():
            if isinstance(module, Doubling):
                module.__class__ = nn.ConvTranspose2d  # type: ignore[assignment]

    def forward(self, batch: Batch) -> Outputs:
        """Return masks and probabilities of every video of every mix, as `TriBERT` does."""
        network = self.network
        mixes, videos = batch.labels_BNC.shape[:2]
        log_Z1QF = network.spectrogram(batch.mix_B1QF.repeat_interleave(videos, dim=0))
        seen = network.vision(batch.frames_BNTHWC.flatten(0, 1))
        pose, box, valid_ZSP = with_sos(
            batch.pose_BNTPKV.flatten(0, 1).float(),
            batch.box_BNTP5.flatten(0, 1).float(),
            batch.present_BNTP.flatten(0, 1),
        )
        if isinstance(network.audio, AudioTokens):
            audio_ZD = network.audio(log_Z1QF)
            audio_ZSPD = audio_ZD[:, None, None].expand(-1, *valid_ZSP.shape[1:], -1)
        else:
            audio_ZSPD = network.audio_tokens(batch, log_Z1QF, valid_ZSP.shape[1:])
        valid = Streams(all_valid(seen.tokens_BSOD), valid_ZSP, all_valid(audio_ZSPD))
        tokens = Streams(seen.tokens_BSOD, network.pose(pose, box), audio_ZSPD)
        steps = self._encode(tokens, valid)
        classes = network.heads(steps, valid)
        logits_Z1QF = self._separate(log_Z1QF, steps, valid)
        shape = (mixes, videos)
        return Outputs(
            mask_logits_BNQF=logits_Z1QF[:, 0].unflatten(0, shape),
            vision_BNC=classes.vision.unflatten(0, shape),
            pose_BNC=classes.pose.unflatten(0, shape),
            audio_BNC=classes.audio.unflatten(0, shape),
            scores_BNSC=seen.scores_BSC.unflatten(0, shape),
            chosen_BNSO=seen.chosen_BSO.unflatten(0, shape),
            maps_BNSOYX=seen.maps_BSOYX.unflatten(0, shape),
            vision_ZSPD=steps.vision,
            pose_ZSPD=steps.pose,
            audio_ZSPD=steps.audio,
        )

    def _encode(self, tokens: Streams, valid: Streams) -> Streams:
        flat = Streams(*(x.flatten(1, 2) for x in tokens))
        flat_valid = Streams(*(v.flatten(1, 2) for v in valid))
        for module in self.network.encoder.layers:
            layer = cast(Layer, module)
            flat = co_block(layer.co_block, flat, flat_valid)
            blocks = (cast(SelfBlock, block) for block in layer.self_blocks)
            flat = Streams(*map(self_block, blocks, flat, flat_valid))
        return Streams(
            *(x.unflatten(1, before.shape[1:3]) for x, before in zip(flat, tokens, strict=True))
        )

    def _separate(self, log_Z1QF: torch.Tensor, steps: Streams, valid: Streams) -> torch.Tensor:
        network = self.network
        pooled = network.pooler(steps) if network.pooler else None
        encoded = network.unet.encode(log_Z1QF)
        sos_valid = Streams(*(valid_ZSP[:, 0] for valid_ZSP in valid))
        if pooled is None or network.fuses_tokens:
            given = Streams(*(x.flatten(1, 2) for x in steps))
            keys = Streams(*(v.flatten(1, 2) for v in valid))
        else:
            given, keys = pooled, sos_valid
        fused = fuse(network.fusion, encoded.bottleneck_BEQF, given, keys)
        maps_ZKQF = network.unet.decode(encoded._replace(bottleneck_BEQF=fused))
        if network.map_weights is None or pooled is None:
            return maps_ZKQF
        means = []
        for x_ZPX, valid_ZP in zip(pooled, sos_valid, strict=True):
            weight_ZP1 = valid_ZP[..., None].float()
            means.append((x_ZPX * weight_ZP1).sum(1) / weight_ZP1.sum(1))
        weights_ZK = network.map_weights(torch.cat(means, dim=1))
        return (maps_ZKQF * weights_ZK[..., None, None]).sum(1, keepdim=True)


def attend(
    query_BLX: torch.Tensor,
    key_BMX: torch.Tensor,
    value_BMX: torch.Tensor,
    heads: int,
    valid_BM: torch.Tensor,
) -> torch.Tensor:
    """Return (B, L, X): softmax(q k / sqrt(A)) v in each of `heads` heads, over valid keys."""
    query, key, value = (
        x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query_BLX, key_BMX, value_BMX)
    )
    scores_BHLM = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
    scores_BHLM = scores_BHLM.masked_fill(~valid_BM[:, None, None], -math.inf)
    return (scores_BHLM.softmax(-1) @ value).transpose(1, 2).flatten(2)


def self_block(block: SelfBlock, x_BLD: torch.Tensor, valid_BL: torch.Tensor) -> torch.Tensor:
    """Return (B, L, D): one BERT layer."""
    context = attend(
        block.query(x_BLD), block.key(x_BLD), block.value(x_BLD), block.heads, valid_BL
    )
    return block.feed_forward(block.out(context, x_BLD))


def co_block(block: CoBlock, tokens: Streams, valid: Streams) -> Streams:
    """Return tokens (B, L, D): queries of each stream, keys and values of the two others."""
    attention, heads = block.attention, block.attention.heads
    refined = []
    for own, x_BLD in enumerate(tokens):
        first, second = (other for other in range(3) if other != own)
        keys = [attention.key[other](tokens[other]) for other in (first, second)]
        values = [attention.value[other](tokens[other]) for other in (first, second)]
        if attention.keys == "sequence":
            key, value = torch.cat(keys, dim=1), torch.cat(values, dim=1)
            seen = torch.cat((valid[first], valid[second]), dim=1)
        else:
            key, value = (
                torch.cat([half.unflatten(-1, (heads, -1)) for half in halves], dim=-1).flatten(2)
                for halves in (keys, values)
            )
            seen = valid[first] & valid[second]
        context = attend(attention.query[own](x_BLD), key, value, heads, seen)
        refined.append(block.feed_forward[own](block.out[own](context, x_BLD)))
    return Streams(*refined)


def fuse(
    fusion: KeyFusion | ChannelSoftmaxFusion | None,
    bottleneck_BEQF: torch.Tensor,
    seen: Streams,
    valid: Streams,
) -> torch.Tensor:
    """Return the bottleneck (B, E, Q, F) with what is seen fused in."""
    if fusion is None:
        return bottleneck_BEQF
    if isinstance(fusion, ChannelSoftmaxFusion):
        return fusion(bottleneck_BEQF, seen, valid)
    places_BLE = bottleneck_BEQF.flatten(2).transpose(1, 2)
    keys_BME = torch.cat([key(x) for key, x in zip(fusion.key, seen, strict=True)], dim=1)
    values_BME = torch.cat([value(x) for value, x in zip(fusion.value, seen, strict=True)], 1)
    query_BLE = fusion.query(fusion.norm(places_BLE))
    keys_valid = torch.cat(valid, dim=1)
    hidden = attend(query_BLE, keys_BME, values_BME, fusion.heads, keys_valid) + places_BLE
    fused_BLE = fusion.mlp(hidden) + hidden
    return fused_BLE.transpose(1, 2).unflatten(2, bottleneck_BEQF.shape[2:])
