"""Published models that separate, of whatever recipe, behind one interface.

In: the name of a published TriBERT or baseline. Out: a `System`: a network that gives masks of a
`Batch`, the data settings it was trained with, and how its estimates are named in a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from model.separation.config import BLIND, OBJECTS
from model.separation.config import RECIPE as BASELINE
from model.separation.config import Config as BaselineConfig
from model.separation.gesture import Ablated, MusicGesture
from model.separation.module import build_network
from model.separation.scoring import Permutation
from model.train.publish import read_weights
from model.tribert.config import DataConfig
from model.tribert.described import RECIPE as TRIBERT
from model.tribert.errors import SeparationError
from model.tribert.published import load_published
from storage.layout import Layout
from storage.models import read_model

TRIBERT_ROW = "TriBERT"
ROWS = {
    "sound_of_pixels": "Sound-of-Pixels",
    "unet_pit": "audio-only U-Net",
    "music_gesture": "Music Gesture (gated)",
    "music_gesture_plain": "Music Gesture (plain)",
    "co_separation": "Co-Separation (crop={crop})",
    "av_mix_separate": "AV-Mix-and-Separate (crop={crop})",
    "mask_coefficients": "mask coefficients (approximation)",
}
"""By a baseline's `system`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One model under test."""

    model: str
    row: str
    """Its row of the table."""
    network: nn.Module
    data: DataConfig
    permutation: Permutation
    sees_video: bool
    soft: bool
    """Its masks are never thresholded: they are trained on ratios, and published so."""
    published: Mapping[str, Any]
    """Its `model.json`."""
    ablations: Mapping[str, nn.Module] = field(default_factory=dict)
    """What is taken from it -> the network without that; each is a row of its own."""


def load_system(layout: Layout, name: str) -> System:
    """Return a published model with its weights, in evaluation mode, on the CPU.

    Raises
    ------
    SeparationError
        A model of a recipe that separates nothing.
    """
    published = read_model(layout, name)
    record = published["record"]
    recipe = record["recipe"]
    if recipe == TRIBERT:
        found = load_published(layout, name)
        row, data, blind, soft = TRIBERT_ROW, found.config.data, False, False
        network: nn.Module = found.network
    elif recipe == BASELINE:
        baseline = BaselineConfig.from_json(record["configuration"])
        row = ROWS[baseline.system].format(crop=baseline.crop)
        data, blind = baseline.data, baseline.system in BLIND
        soft = baseline.system in OBJECTS
        network = build_network(baseline, len(published["classes"]))
        network.load_state_dict(read_weights(layout, name))
    else:
        raise SeparationError(
            f"{name}: models of the recipe {recipe!r} separate nothing; name one of {TRIBERT!r} or "
            f"{BASELINE!r}"
        )
    return System(
        model=name,
        row=row,
        network=network.eval(),
        data=data,
        permutation="best" if blind else "named",
        sees_video=not blind,
        soft=soft,
        published=published,
        ablations=ablations_of(network),
    )


def ablations_of(network: nn.Module) -> dict[str, nn.Module]:
    """Return what a network can do without one of its inputs, which it then sees as zeros."""
    if isinstance(network, MusicGesture):
        return {"no pose": Ablated(network, "pose"), "no context": Ablated(network, "context")}
    return {}


def row_names(systems: Sequence[System]) -> list[str]:
    """Return a name for each system's row; models with one name between them are told apart."""
    rows = [system.row for system in systems]
    return [
        row if rows.count(row) == 1 or rows.index(row) == number else f"{row} ({system.model})"
        for number, (row, system) in enumerate(zip(rows, systems, strict=True))
    ]
