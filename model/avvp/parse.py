"""From clips to events: the network with its input scale, gating, and lists of events.

In: clips and a published model. Out: binary arrays (modality, class, second) and, for people,
events with onset and offset.

Legend: B clips, T seconds, M modalities (0 audio, 1 visual), C classes, E size of a feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model.avvp.base import Base
from model.avvp.config import Config
from model.avvp.data import MODALITIES, Batch, Clip, Scale, collate
from model.avvp.han import HAN, Parsing
from model.avvp.metrics import THRESHOLD, runs
from model.avvp.pretrained import Pretrained
from model.train.publish import read_weights
from storage.layout import Layout
from storage.models import ModelRecord, read_model
from storage.records import Event


class ScaledInputs(nn.Module):
    """A network that scales its inputs; without a scale they are used as they are."""

    def __init__(self, scale: Scale | None) -> None:
        super().__init__()
        self.has_scale = scale is not None
        for stage, mean_E in scale.mean.items() if scale else ():
            self.register_buffer(f"mean_{stage}", mean_E)
        for stage, deviation_E in scale.deviation.items() if scale else ():
            self.register_buffer(f"deviation_{stage}", deviation_E)

    def scaled(self, x_BTE: Tensor, stage: str) -> Tensor:
        """Return the features of one stage as the network reads them."""
        if not self.has_scale:
            return x_BTE
        mean_E, deviation_E = (
            self.get_buffer(f"mean_{stage}"),
            self.get_buffer(f"deviation_{stage}"),
        )
        return (x_BTE - mean_E) / deviation_E


class Parser(ScaledInputs):
    """A network of the configuration behind the scale of its inputs."""

    def __init__(self, config: Config, classes: int, scale: Scale | None) -> None:
        super().__init__(scale)
        self.network = network_of(config, classes)

    def forward(self, batch: Batch, *, alone: bool = False) -> Parsing:
        """Return the probabilities of every clip; `alone` as for `HAN.forward`, of HAN only."""
        return self.network(
            self.scaled(batch.audio_BTE, "vggish"),
            self.scaled(batch.picture_BTE, "resnet152"),
            self.scaled(batch.motion_BTE, "r2plus1d"),
            batch.absent_BT,
            **({"alone": True} if alone else {}),
        )


def network_of(config: Config, classes: int) -> HAN | Base | Pretrained:
    """Return the network that a configuration names, untrained."""
    if config.network == "pretrained":
        return Pretrained(
            encoder=config.encoder, width=config.width, classes=classes, frozen=config.frozen
        )
    if config.network == "han":
        return HAN(
            width=config.width,
            classes=classes,
            dropout=config.dropout,
            together=config.fused,
            visual_dropout=config.visual_dropout,
            cross_attention=config.cross_attention,
        )
    return Base(
        width=config.width,
        classes=classes,
        dropout=config.dropout,
        gcaa=config.gcaa,
        first_step_broadcast=config.first_step_broadcast,
        skip=config.skip,
        visual_dropout=config.visual_dropout,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A published model, ready to parse."""

    name: str
    parser: Parser
    config: Config
    classes: tuple[str, ...]
    record: ModelRecord
    learnt_from: frozenset[str]
    """Ids of the items it was trained or selected on."""


def load_model(layout: Layout, name: str) -> Model:
    """Return a published parsing model, in evaluation mode on the CPU. Raises ItemNotFound."""
    described = read_model(layout, name)
    record = ModelRecord.from_json(described["record"])
    config = Config.from_json(record.configuration)
    classes = tuple(described["classes"])
    scale = Scale.neutral() if config.standardise else None
    parser = Parser(config, len(classes), scale)
    weights = read_weights(layout, name)
    # models of before there was more than one network
    parser.load_state_dict({key.replace("han.", "network.", 1): w for key, w in weights.items()})
    return Model(
        name=name,
        parser=parser.eval(),
        config=config,
        classes=classes,
        record=record,
        learnt_from=frozenset(i for ids in described["ids_used"].values() for i in ids),
    )


def gated(parsing: Parsing, gate: str) -> Tensor:
    """Return which events are there, bool (B, M, C, T).

    A second counts where its probability and the pooled one of the class are at least 0.5: the
    video's for `gate` 'video', as published, or the modality's own for 'modality'. On any device
    what `model.avvp.metrics` has for arrays.
    """
    second_BMCT = parsing.second_BTMC.permute(0, 2, 3, 1) >= THRESHOLD
    if gate == "video":
        return second_BMCT & (parsing.video_BC >= THRESHOLD)[:, None, :, None]
    pooled_BMC = torch.stack([parsing.audio_BC, parsing.visual_BC], dim=1)
    return second_BMCT & (pooled_BMC >= THRESHOLD)[..., None]


def parse_batches(parser: Parser, batches: Sequence[Sequence[Clip]], gate: str) -> Iterator[Tensor]:
    """Yield `gated` events of each batch of clips; padded seconds hold whatever came out."""
    with torch.inference_mode():
        for clips in batches:
            yield gated(parser(collate(clips)), gate)


def parse_clips(
    model: Model, clips: Sequence[Clip], *, gate: str = "", batch_size: int = 64
) -> list[np.ndarray]:
    """Return each clip's events, uint8 (modality, class, second) with the clip's own seconds.

    `gate` as for `gated`; empty for the model's own.
    """
    batches = [clips[i : i + batch_size] for i in range(0, len(clips), batch_size)]
    found: list[np.ndarray] = []
    for batch, events in zip(
        batches, parse_batches(model.parser, batches, gate or model.config.gate), strict=True
    ):
        found += cut(events, [len(clip) for clip in batch])
    return found


def cut(events_BMCT: Tensor, seconds: Sequence[int]) -> list[np.ndarray]:
    """Return the events of each clip of a batch without its padding, uint8 (M, C, T)."""
    whole = events_BMCT.cpu().numpy().astype(np.uint8)
    return [events[:, :, :length] for events, length in zip(whole, seconds, strict=True)]


def stacked(events: Sequence[np.ndarray], seconds: int) -> np.ndarray:
    """Return clips of different lengths as one array (clip, M, C, seconds), zeros at the end."""
    first = events[0]
    whole = np.zeros((len(events), *first.shape[:2], seconds), np.uint8)
    for row, one in zip(whole, events, strict=True):
        row[:, :, : one.shape[2]] = one
    return whole


def event_list(events: np.ndarray, classes: Sequence[str]) -> list[Event]:
    """Return the events of one clip, uint8 (M, C, T), by modality, class and time."""
    rows, starts, stops = runs(events.reshape(-1, events.shape[-1]) != 0)
    return [
        Event(
            modality=MODALITIES[row // len(classes)],
            label=classes[row % len(classes)],
            onset_s=float(start),
            offset_s=float(stop),
        )
        for row, start, stop in zip(rows, starts, stops, strict=True)
    ]
