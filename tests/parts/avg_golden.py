"""Expected numbers of audio-visual grounding, and how our encoder gets the original weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avvp_golden import fill_rule, original_name

from model.avg.config import EncoderConfig
from model.avg.encoder import Encoder

SMALL = EncoderConfig(width=48, layers=2, heads=4, inner_width=64)
RELEASED = EncoderConfig()
SIZES = {"picture": 2048, "audio": 128, "motion": 512}
STREAMS = {
    "picture": ("rgb_embeddings", "img"),
    "audio": ("audio_embeddings", "audio"),
    "motion": ("r2p1d_embeddings", "img"),
}
LAYER = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
PARTS = ("query", "key", "value")


class AvgGolden:
    """The arrays and values of `avg`, its inputs, and the rule by which weights are filled."""

    def __init__(self, folder: Path) -> None:
        self.fill = fill_rule(folder)
        self.values: dict[str, Any] = json.loads((folder / "avg" / "values.json").read_text())
        with np.load(folder / "avg" / "avg.npz") as arrays:
            self.arrays = dict(arrays)

    @property
    def silence_E(self) -> np.ndarray:
        """The row that stands for silence."""
        return np.abs(self.fill.tensor("avg:silence", (2, 128)))[0]

    def features(self) -> dict[str, torch.Tensor]:
        """The golden batch, by stream."""
        arrays = {
            "picture": np.abs(self.fill.tensor("avg:uv", (2, 10, 2048))),
            "audio": np.maximum(self.fill.tensor("avg:ua", (2, 10, 128)), 0),
            "motion": np.abs(self.fill.tensor("avg:ur", (2, 10, 512))),
        }
        return {stream: torch.from_numpy(a) for stream, a in arrays.items()}

    def fill_encoder(self, encoder: Encoder) -> None:
        """Give the encoder the original's weights and positions."""
        names = {"types": "uniter.token_type_embeddings"}
        for stream in encoder.streams:
            theirs, kind = STREAMS[stream]
            names[f"streams.{stream}.from_feature"] = f"uniter.{theirs}.{kind}_linear"
            names[f"streams.{stream}.norm_feature"] = f"uniter.{theirs}.{kind}_layer_norm"
            names[f"streams.{stream}.norm"] = f"uniter.{theirs}.LayerNorm"
        for layer in range(len(encoder.layers)):
            for ours, theirs in LAYER.items():
                names[f"layers.{layer}.{ours}"] = f"uniter.encoder.layer.{layer}.{theirs}"
        with torch.no_grad():
            for name, tensor in encoder.state_dict().items():
                tensor.copy_(self._weights(name, tuple(tensor.shape), names))
            for stream in encoder.streams:
                self._finish(stream, encoder.get_submodule(f"streams.{stream}"))

    def _weights(self, ours: str, shape: tuple[int, ...], names: dict[str, str]) -> torch.Tensor:
        if ".in_proj_" not in ours:
            return torch.from_numpy(self.fill.param(original_name(ours, names), shape))
        layer, kind = ours.split(".")[1], ours.rpartition("_")[2]
        start = f"uniter.encoder.layer.{layer}.attention.self"
        part = (shape[0] // 3, *shape[1:])
        found = [self.fill.param(f"{start}.{name}.{kind}", part) for name in PARTS]
        return torch.from_numpy(np.concatenate(found))

    def _finish(self, stream: str, tokens: Any) -> None:
        """Add what the original has besides: its positions, and a vector on all inputs."""
        theirs, _ = STREAMS[stream]
        shape = (10, tokens.from_feature.out_features)
        positions = self.fill.param(f"uniter.{theirs}.position_embeddings.weight", shape)
        tokens.positions_TH = torch.from_numpy(positions)
        shape = (2, tokens.from_feature.in_features)
        added = torch.from_numpy(self.fill.param(f"uniter.{theirs}.mask_embedding.weight", shape))
        tokens.from_feature.bias += tokens.from_feature.weight @ added[1]
