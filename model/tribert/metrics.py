"""How good a separation is: SDR, SIR and SAR of BSS-eval version 3, by mir_eval.

In: reference and estimated waveforms. Out: decibels per source, silent predictions counted.

Source: tribert.md section 7: estimates keep their order (no search over permutations), and a pair
whose prediction is empty is counted, not skipped as the published scripts do.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from mir_eval.separation import bss_eval_sources

SILENT_SUM = 1e-5
"""A waveform whose absolute values add up to no more than this is silent (published rule)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Decibels of each source of one mixture."""

    sdr: tuple[float, ...]
    sir: tuple[float, ...]
    sar: tuple[float, ...]

    def as_json(self) -> dict[str, list[float]]:
        """Return the three lists by name."""
        return {"sdr": list(self.sdr), "sir": list(self.sir), "sar": list(self.sar)}


def silent(waves_NS: np.ndarray) -> tuple[bool, ...]:
    """Return for each waveform whether it is silent."""
    return tuple(bool(each) for each in np.abs(waves_NS).sum(axis=-1) <= SILENT_SUM)


def bss_eval(references_NS: np.ndarray, estimates_NS: np.ndarray) -> Scores:
    """Return SDR, SIR and SAR of estimate n against reference n.

    Parameters
    ----------
    references_NS, estimates_NS
        Waveforms of one length, N >= 1 on axis 0. Scale does not matter.

    Raises
    ------
    ValueError
        The shapes differ, or a waveform is all zero (mir_eval's message says which).
    """
    with warnings.catch_warnings():
        # mir_eval 0.8 announces the module's removal; the dependency is pinned below 0.9
        warnings.filterwarnings(
            "ignore", message=r"mir_eval\.separation\.bss_eval_sources", category=FutureWarning
        )
        sdr, sir, sar, _ = bss_eval_sources(
            np.asarray(references_NS, dtype=np.float64),
            np.asarray(estimates_NS, dtype=np.float64),
            compute_permutation=False,
        )
    return Scores(
        sdr=tuple(map(float, sdr)), sir=tuple(map(float, sir)), sar=tuple(map(float, sar))
    )


def score(
    references_NS: np.ndarray, estimates_NS: np.ndarray, mixture_S: np.ndarray
) -> tuple[Scores, tuple[bool, ...]]:
    """Return the scores, and which estimates were silent.

    A silent estimate counts as the mixture itself: a model that gives nothing back has separated
    nothing. References must not be silent.
    """
    empty = silent(estimates_NS)
    counted_NS = np.where(np.array(empty)[:, None], mixture_S[None, :], estimates_NS)
    return bss_eval(references_NS, counted_NS), empty


def mean(values: list[Scores]) -> dict[str, float]:
    """Return the mean over mixtures of the mean over a mixture's sources, by metric."""
    return {
        name: float(np.mean([np.mean(getattr(each, name)) for each in values]))
        for name in ("sdr", "sir", "sar")
    }
