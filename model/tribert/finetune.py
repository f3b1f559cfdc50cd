"""Fine-tuning: a training that starts from a published TriBERT, with heads for its own classes.

In: `Config.initial`, the classes and test ids of the new training. Out: a `Source` whose weights
go into the new network (TriBERT section 4.1, MUSIC; tribert.md section 9). The source's name is
part of the configuration, and so of the new model's fingerprint.

Where the classes differ, the layers that end in them start anew: those of the three heads, and with
`maps = swap` also those of the attention maps. A kept map stays that of the source's class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from model.train.publish import read_weights
from model.tribert.config import Config
from model.tribert.described import class_names_of, read_tribert, seen_of
from model.tribert.errors import SeparationError
from model.tribert.network import TriBERT
from pipeline.datasets.leaks import Leak
from storage.fingerprint import json_differences
from storage.layout import Layout

HEAD_LAYERS = re.compile(r"heads\.(vision|pose|audio)\.(decoder|recognise|detect)\.")
MAP_LAYERS = re.compile(r"vision\.segmentation\.(expand\.1|expand_more|discriminate)\.")

NETWORK_SECTIONS = ("vision", "pose", "audio", "encoder", "heads", "separation")
NETWORK_DATA = ("steps", "picture_px", "spec_frames", "spec_rows", "sound_patches")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A published model to start from.

    Attributes
    ----------
    map_classes
        What the new network's attention maps are of.
    swapped
        Names of the layers that start anew.
    overlap
        Test videos that the model has seen, where that is allowed.
    """

    name: str
    map_classes: tuple[str, ...]
    state: Mapping[str, torch.Tensor]
    swapped: tuple[re.Pattern[str], ...]
    overlap: Leak | None

    def load_into(self, network: TriBERT) -> list[str]:
        """Give `network` the source's weights; return the names of the tensors that start anew.

        Raises
        ------
        SeparationError
            The weights do not fit the network.
        """
        anew = [
            name
            for name in network.state_dict()
            if any(pattern.match(name) for pattern in self.swapped)
        ]
        kept = {name: value for name, value in self.state.items() if name not in anew}
        own = network.state_dict()
        wrong = [
            name
            for name in sorted(set(kept) | (set(own) - set(anew)))
            if name not in kept or name not in own or kept[name].shape != own[name].shape
        ]
        if wrong:
            raise SeparationError(
                f"{self.name}: {len(wrong)} of its tensors do not fit the network (the first: "
                f"{wrong[0]}); it was published by other software: train it again"
            )
        network.load_state_dict(kept, strict=False)
        return anew

    def summary(self) -> dict[str, Any]:
        """Return what the new model's record says of where it comes from."""
        ids = list(self.overlap.ids) if self.overlap else []
        return {"model": self.name, "test_videos_seen": len(ids), "seen": ids}


def read_source(
    layout: Layout,
    config: Config,
    *,
    classes: Sequence[str],
    test_ids: Sequence[str],
    pose_embed: str,
) -> Source | None:
    """Return what `config.initial` names, or None where the training starts from nothing.

    Parameters
    ----------
    classes
        Of the new training, in the order of its label vector.
    test_ids
        Items of the new snapshot that are tested on.
    pose_embed
        `pose_embed-<fingerprint>` that the new training reads.

    Raises
    ------
    storage.errors.ItemNotFound
        There is no such model.
    SeparationError
        It is a model of another recipe or preset, it read other pose embeddings, or it was trained
        on a test video and `initial.overlap` is 'refuse'.
    """
    initial = config.initial
    if not initial.model:
        return None
    described = read_tribert(layout, initial.model)
    source = Config.from_json(described["record"]["configuration"])
    refuse_other_network(initial.model, source, config)
    refuse_other_poses(initial.model, described["record"]["stages"], pose_embed)
    overlap = seen_of(layout, initial.model, test_ids)
    if overlap and initial.overlap == "refuse":
        raise SeparationError(
            f"{initial.model} was trained or validated on {len(overlap.ids)} of the test videos "
            f"(the first: {overlap.ids[0]}): train it again without them ([lists] exclude), or "
            "reproduce the paper's overlap with initial.overlap = 'allow', which counts them"
        )
    own, maps = class_names_of(described)
    same = own == tuple(classes)
    swap_maps = initial.maps == "swap" and maps != tuple(classes)
    swapped = (() if same else (HEAD_LAYERS,)) + ((MAP_LAYERS,) if swap_maps else ())
    return Source(
        name=initial.model,
        map_classes=tuple(classes) if swap_maps else maps,
        state=read_weights(layout, initial.model),
        swapped=swapped,
        overlap=overlap,
    )


def refuse_other_network(name: str, source: Config, config: Config) -> None:
    """Raise SeparationError where the source's preset makes another network than `config`."""
    differing = json_differences(_network(source), _network(config))
    if differing:
        raise SeparationError(
            f"{name} is another network than this training's: {'; '.join(differing[:4])}"
            f"{f' and {len(differing) - 4} more' if len(differing) > 4 else ''}; fine-tune with "
            "the preset that it was trained with"
        )


def refuse_other_poses(name: str, stages: Mapping[str, str], pose_embed: str) -> None:
    """Raise SeparationError where the source learned from another ST-GCN's embeddings."""
    if stages.get("pose_embed") != pose_embed:
        raise SeparationError(
            f"{name} was trained on {stages.get('pose_embed')}, this training reads {pose_embed}: "
            "its pose stream does not know embeddings of another ST-GCN; compute the poses' "
            "embeddings with the model that it used"
        )


def _network(config: Config) -> dict[str, Any]:
    """Return the settings that decide what the network is and what it is given."""
    values = config.as_json()
    data = {name: values["data"][name] for name in NETWORK_DATA}
    return {"data": data, **{section: values[section] for section in NETWORK_SECTIONS}}
