"""How good a separation is: SDR, SIR and SAR of BSS-eval version 3.

In: reference and estimated waveforms. Out: decibels per source, silent predictions counted.

Source: tribert.md section 7: estimates keep their order (no search over permutations), and a pair
whose prediction is empty is counted, not skipped as the published scripts do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.separation.bss import Projector

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
        The shapes differ, or a waveform is all zero.
    """
    figures = Projector(references_NS).figures(np.asarray(estimates_NS)[None])
    sdr, sir, sar = (
        tuple(map(float, np.diagonal(values[0])))
        for values in (figures.sdr_RNN, figures.sir_RNN, figures.sar_RNN)
    )
    return Scores(sdr=sdr, sir=sir, sar=sar)


def mean(values: list[Scores]) -> dict[str, float]:
    """Return the mean over mixtures of the mean over a mixture's sources, by metric."""
    return {
        name: float(np.mean([np.mean(getattr(each, name)) for each in values]))
        for name in ("sdr", "sir", "sar")
    }
