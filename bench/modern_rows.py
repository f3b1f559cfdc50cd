"""The rows of `bench.modern`: what `modern` is without each of its switches, and `paper` with one.

In: a size and what a store's embeddings are like. Out: a name and a configuration for each row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from model.tribert.config import Config, PoseConfig, presets, reduced, vggish_override

SIZES = ("small", "full")

Changes = Mapping[str, Mapping[str, Any]]
"""Section -> setting -> value."""

WITHOUT: Mapping[str, Changes] = {
    "raw logarithm, no input norm": {"audio": {"log": "ln", "input_norm": False}},
    "keys at the bottleneck": {"separation": {"fusion": "keys"}},
    "all tokens at the bottleneck": {"separation": {"fusion": "tokens"}},
    "keys at the bottleneck, no gated head": {"separation": {"fusion": "keys", "mask_channels": 1}},
    "no attention over time": {"separation": {"time_attention": 0}},
    "masks above half of the mixture": {"data": {"mask": "half"}},
    "ratio masks": {"data": {"mask": "ratio"}},
    "partners of any class": {"data": {"other_class": 0.0}},
    "narrow crops, true colours": {
        "data": {"scale_low": 1 / 1.1, "scale_high": 1 / 1.1, "colour": 0.0}
    },
    "no loss on the attention maps": {"loss": {"maps": 0.0}},
    "linear decay": {"optim": {"decay": "linear"}},
    "SOS from pictures": {"vision": {"sos": "pictures"}},
}
"""`modern` with one thing as it is elsewhere."""

WITH: Mapping[str, Changes] = {
    "gated head": {"separation": {"mask_channels": 32}},
    "gated head, bottleneck free": {"separation": {"mask_channels": 32, "fusion": "none"}},
    "dominant masks": {"data": {"mask": "dominant"}},
    "partners of another class": {"data": {"other_class": 0.5}},
    "loss on the attention maps": {"loss": {"maps": 0.5}},
    "attention over time": {"separation": {"time_attention": 4}},
}
"""`paper` with one thing of `modern`."""


def rows(size: str, pose: PoseConfig, *, precision: str, heard: bool) -> dict[str, Config]:
    """Return every row's configuration, `modern` first.

    Parameters
    ----------
    size
        'full', or 'small': made small by `reduced`.
    pose
        Sizes of the store's embeddings.
    precision
        Of all rows; '32-true' on a CPU.
    heard
        Whether the store has a vggish stage, whose network a row hears with.
    """
    modern, paper = presets["modern"], presets["paper"]
    found = {"modern": modern}
    found |= {f"modern: {name}": changed(modern, changes) for name, changes in WITHOUT.items()}
    found["modern: pairs of convolutions"] = with_pairs(modern)
    found["paper"] = paper
    found |= {f"paper + {name}": changed(paper, changes) for name, changes in WITH.items()}
    if size == "small":
        found = {name: reduced(config) for name, config in found.items()}
    if heard:
        ears = vggish_override(found["modern"].data.spec_frames)
        found["modern: VGGish hears the mixture"] = changed(found["modern"], ears)
    slower = {"optim": {"lr_backbone": found["modern"].optim.lr_backbone / 10}}
    found["modern: backbone ten times slower"] = changed(found["modern"], slower)
    sizes = {"channels": pose.channels, "joints": pose.joints, "persons": pose.persons}
    common: Changes = {"pose": sizes, "optim": {"precision": precision}}
    return {name: changed(config, common) for name, config in found.items()}


def with_pairs(config: Config) -> Config:
    """Return the configuration with the U-Net of `released`, five levels of the same widths."""
    separation = config.separation
    widths = (*separation.widths[:4], separation.widths[-1])
    return replace(config, separation=replace(separation, unet="double", widths=widths))


def changed(config: Config, changes: Changes) -> Config:
    """Return the configuration with other values in some sections."""
    sections = {name: replace(getattr(config, name), **values) for name, values in changes.items()}
    return replace(config, **sections)
