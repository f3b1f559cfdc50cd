"""What a network should predict for a mixture, and how a prediction is applied.

In: warped magnitudes of the sources (already divided by their number) and of the mixture.
Out: target masks, the weight of each cell in the loss, and the mask that multiplies a mixture.

Sources: tribert.md section 5; separation_baselines.md section 0 measures the targets' ceilings.

Legend: N sources, Q frequency rows, F frames; a leading ... stands for any batch axes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

_TINY = 1e-10
"""Added to a denominator; far below the magnitude of any audible cell."""


def half_masks(sources_NQF: torch.Tensor, mixture_QF: torch.Tensor) -> torch.Tensor:
    """Return 1 where a source is louder than half the mixture (Sound-of-Pixels, TriBERT).

    The masks of a cell need not add up to one: phases may cancel, so both may be 1, or none.
    """
    return (sources_NQF > 0.5 * mixture_QF.unsqueeze(-3)).to(sources_NQF.dtype)


def dominant_masks(sources_NQF: torch.Tensor, mixture_QF: torch.Tensor) -> torch.Tensor:
    """Return 1 where a source is the loudest of all; ties count for each of them.

    About 1.2 dB above `half_masks` as an oracle (separation_baselines.md section 0).
    """
    loudest_QF = sources_NQF.amax(dim=-3, keepdim=True)
    return (sources_NQF >= loudest_QF).to(sources_NQF.dtype)


def ratio_masks(sources_NQF: torch.Tensor, mixture_QF: torch.Tensor) -> torch.Tensor:
    """Return each source's share of the summed magnitudes: in 0..1, adding up to one.

    A share of the sum can be reached by a sigmoid, the published |S_n| / |S_mix| (up to 5) cannot.
    """
    total_QF = sources_NQF.sum(dim=-3, keepdim=True)
    return sources_NQF / (total_QF + _TINY)


MASKS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "half": half_masks,
    "dominant": dominant_masks,
    "ratio": ratio_masks,
}
"""Target masks by the name that a configuration gives them."""


def loss_weight(mixture_QF: torch.Tensor) -> torch.Tensor:
    """Return the weight of each cell in the mask loss: log(1 + mixture) clamped to 1e-3..10."""
    return torch.log1p(mixture_QF).clamp(1e-3, 10.0)


def applied_mask(mask_LF: torch.Tensor, application: str) -> torch.Tensor:
    """Return the mask that multiplies the mixture's linear magnitude.

    Parameters
    ----------
    mask_LF
        Probabilities on the linear bins (after the inverse warp), any leading axes.
    application
        "threshold": 1 where the mask is above 0.5, as the papers do. "soft": the mask itself.

    Raises
    ------
    ValueError
        Another `application`.
    """
    if application == "threshold":
        return (mask_LF > 0.5).to(mask_LF.dtype)
    if application == "soft":
        return mask_LF
    raise ValueError(f"mask_application {application!r}: expected 'threshold' or 'soft'")
