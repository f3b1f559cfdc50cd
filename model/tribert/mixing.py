"""How videos are mixed: sources divided by their number, then added.

In: waveforms or complex spectra. Out: scaled sources with their mixture. Which videos are mixed:
`pipeline.datasets.pairs`.

Source: tribert.md section 3 (mean convention).
"""

from __future__ import annotations

import torch


def mean_mixture(sources_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sources divided by their number, and their sum: the mixture.

    Each source is scaled before it is mixed and before its own STFT, so what a prediction is
    scored against is scaled too (SDR does not depend on scale, masks neither).

    Parameters
    ----------
    sources_N
        Waveforms or complex spectra, N on axis 0, any other axes.
    """
    if sources_N.is_complex():  # the same numbers, several times as fast
        scaled, mixed = mean_mixture(torch.view_as_real(sources_N))
        return torch.view_as_complex(scaled), torch.view_as_complex(mixed)
    scaled_N = sources_N / sources_N.shape[0]
    return scaled_N, scaled_N.sum(dim=0)
