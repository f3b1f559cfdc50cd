"""Expected numbers of the parsing networks, and how to give ours the originals' weights."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

NETWORK = {
    "from_audio": "fc_a",
    "from_picture": "fc_v",
    "from_motion": "fc_st",
    "fusion": "fc_fusion",
    "pooling.probability": "fc_prob",
    "pooling.over_time": "fc_frame_att",
    "pooling.over_modalities": "fc_av_att",
}
"""What all networks have: our modules -> those of the original state dict."""


class AvvpGolden:
    """The arrays and values of `avvp_net`, its inputs, and the rule by which weights are filled."""

    def __init__(self, folder: Path) -> None:
        self.fill = fill_rule(folder)
        self.values: dict[str, Any] = json.loads((folder / "avvp_net" / "values.json").read_text())
        with np.load(folder / "avvp_net" / "avvp_net.npz") as arrays:
            self.arrays = dict(arrays)

    def inputs(self) -> tuple[torch.Tensor, ...]:
        """The golden batch, pictures averaged over each second."""
        picture = np.abs(self.fill.tensor("avvp:video", (2, 80, 2048))).reshape(2, 10, 8, 2048)
        arrays = (self.arrays["audio"], picture.astype(np.float64).mean(2), self.arrays["st"])
        return tuple(torch.from_numpy(a).double() for a in arrays)

    def filled(self, module: torch.nn.Module, names: Mapping[str, str]) -> torch.nn.Module:
        """The module with the originals' weights, in double precision."""
        with torch.no_grad():
            for name, tensor in module.state_dict().items():
                values = self.fill.param(original_name(name, names), tuple(tensor.shape))
                tensor.copy_(torch.from_numpy(values))
        return module.double()


def original_name(ours: str, names: Mapping[str, str]) -> str:
    """The original's name of a parameter."""
    module = max((m for m in names if ours.startswith(m + ".")), key=len)
    return names[module] + ours[len(module) :]


def fill_rule(folder: Path) -> ModuleType:
    """The rule by which inputs and weights of all goldens are filled."""
    path = folder / "golden_fill.py"
    spec = importlib.util.spec_from_file_location("golden_fill", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
