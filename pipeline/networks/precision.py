"""How far bfloat16 takes a network from float32: a stage flows in, the error of its output flows
out, measured on the fixed batch that belongs to its architecture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch.nn import functional

from pipeline.networks import loading
from pipeline.weights import random_seed

if TYPE_CHECKING:
    from pipeline.stages import ResolvedStage

EXAMPLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionError:
    """Outputs in bfloat16 against those in float32, over all examples.

    `relative` is the norm of the difference over the norm of the float32 output, `cosine` the
    smallest likeness of an example's two outputs, `largest` the largest absolute difference.
    """

    relative: float
    cosine: float
    largest: float


def bfloat16_error(stage: ResolvedStage, *, device: str = "cpu") -> PrecisionError:
    """Return the error that bfloat16 brings to a stage's network with its own weights.

    Raises
    ------
    EnvironmentBroken
        The weights file does not fit the network.
    """
    weights = stage.record.weights["weights"]
    if stage.weights_path is not None:
        network = loading.from_file(stage.name, Path(stage.weights_path))
    else:
        network = loading.from_seed(stage.name, random_seed(weights) or 0)
    batch = loading.ARCHITECTURES[stage.name].batch()[:EXAMPLES]
    exact_BD = loading.folded(network, precision="float32", device=device)(batch)
    rounded_BD = loading.folded(network, precision="bfloat16", device=device)(batch)
    difference_BD = rounded_BD - exact_BD
    return PrecisionError(
        relative=float(difference_BD.norm() / exact_BD.norm()),
        cosine=float(functional.cosine_similarity(exact_BD, rounded_BD).min()),
        largest=float(difference_BD.abs().max()),
    )
