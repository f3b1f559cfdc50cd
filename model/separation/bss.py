"""SDR, SIR and SAR of BSS-eval version 3 for many estimates of the same references at once.

In: references, and estimates of every row that is judged. Out: decibels of each estimate as each
source. The figures are mir_eval's to 1e-6; mir_eval builds and factorises the same 1024 x 1024
system anew for every estimate and announces the end of its module, here it is done once a mix.

Source: Vincent, Gribonval, Févotte 2006 (version 3: filters of 512 taps), tribert.md section 7.

Legend: R rows, N sources, S samples, X = S + 511 samples of a filtered source, K taps, W bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy import fft
from scipy.linalg import toeplitz

TAPS = 512
"""K: the longest distortion that still counts as the source itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Decibels, float64 (R, N, N): estimate (axis 1) judged as source (axis 2)."""

    sdr_RNN: np.ndarray
    sir_RNN: np.ndarray
    sar_RNN: np.ndarray

    def best_order(self, row: int) -> tuple[int, ...]:
        """Return for each source the estimate that is taken for it: the largest mean SIR wins."""
        sir_NN = self.sir_RNN[row]
        sources = np.arange(len(sir_NN))
        return max(permutations(range(len(sir_NN))), key=lambda each: sir_NN[each, sources].mean())


class Projector:
    """Tells what of an estimate is its source, another source, or neither.

    Parameters
    ----------
    references_NS
        Waveforms of the sources, none all zero.

    Raises
    ------
    ValueError
        A reference is all zero: nothing can be judged against it.
    """

    def __init__(self, references_NS: np.ndarray) -> None:
        references_NS = np.asarray(references_NS, dtype=np.float64)
        for number, wave_S in enumerate(references_NS):
            if not wave_S.any():
                raise ValueError(
                    f"reference {number} of {len(references_NS)}: reference sources should be "
                    "non-silent, this one is all zero; leave the mix out"
                )
        self.shape = references_NS.shape
        self.padded = self.shape[1] + TAPS - 1
        self.width = 1 << (self.padded - 1).bit_length()
        self.spectra_NW = fft.rfft(references_NS, self.width)
        self.gram = self._gram()

    def figures(self, estimates_RNS: np.ndarray) -> Figures:
        """Return how good each estimate is as each source; scale does not matter.

        Raises
        ------
        ValueError
            The estimates are not as many or not as long as the references, or one is all zero.
        """
        estimates_RNS = np.asarray(estimates_RNS, dtype=np.float64)
        self._check(estimates_RNS)
        flat_ZS = estimates_RNS.reshape(-1, self.shape[1])
        inner_NKZ = self._inner_products(flat_ZS)
        spanned_ZX = self._projected(inner_NKZ, slice(None))
        found = np.stack(
            [
                self._decibels(flat_ZS, spanned_ZX, self._projected(inner_NKZ, slice(n, n + 1)))
                for n in range(self.shape[0])
            ],
            axis=-1,
        )
        sdr, sir, sar = found.reshape(3, *estimates_RNS.shape[:2], self.shape[0])
        return Figures(sdr_RNN=sdr, sir_RNN=sir, sar_RNN=sar)

    def _check(self, estimates_RNS: np.ndarray) -> None:
        if estimates_RNS.ndim != 3 or estimates_RNS.shape[1:] != self.shape:
            raise ValueError(
                f"estimates: shape {estimates_RNS.shape}, expected (rows, *{self.shape}), the "
                "shape of the references"
            )
        if not estimates_RNS.any(axis=-1).all():
            raise ValueError(
                "an estimate is all zero and has no figures: count it as the mixture, or skip it"
            )

    def _gram(self) -> np.ndarray:
        """Return inner products of all delayed references, (N K, N K)."""
        count = self.shape[0]
        blocks = []
        for i in range(count):
            lags = fft.irfft(self.spectra_NW[i] * self.spectra_NW.conj(), self.width)
            row = [toeplitz(np.r_[each[0], each[:-TAPS:-1]], each[:TAPS]) for each in lags]
            blocks.append(np.hstack(row))
        return np.vstack(blocks)

    def _inner_products(self, flat_ZS: np.ndarray) -> np.ndarray:
        """Return the inner products of delayed references with the estimates: (N, K, Z)."""
        spectra_ZW = fft.rfft(flat_ZS, self.width)
        lags_NZW = fft.irfft(self.spectra_NW[:, None] * spectra_ZW.conj()[None], self.width)
        late_NZK = np.concatenate([lags_NZW[..., :1], lags_NZW[..., :-TAPS:-1]], axis=-1)
        return late_NZK.transpose(0, 2, 1)

    def _projected(self, inner_NKZ: np.ndarray, sources: slice) -> np.ndarray:
        """Return the least-squares projection on filtered versions of some sources: (Z, X)."""
        first, stop, _ = sources.indices(self.shape[0])
        part = slice(first * TAPS, stop * TAPS)
        gram, wanted = self.gram[part, part], inner_NKZ[sources].reshape(-1, inner_NKZ.shape[-1])
        try:
            filters = np.linalg.solve(gram, wanted)
        except np.linalg.LinAlgError:
            filters = np.linalg.lstsq(gram, wanted, rcond=None)[0]
        filters_NKZ = filters.reshape(-1, TAPS, inner_NKZ.shape[-1])
        responses_NZW = fft.rfft(filters_NKZ.transpose(0, 2, 1), self.width)
        summed_ZW = (responses_NZW * self.spectra_NW[sources, None]).sum(axis=0)
        return fft.irfft(summed_ZW, self.width)[:, : self.padded]

    def _decibels(
        self, flat_ZS: np.ndarray, spanned_ZX: np.ndarray, own_ZX: np.ndarray
    ) -> np.ndarray:
        """Return SDR, SIR and SAR of every estimate: (3, Z)."""
        estimate_ZX = np.pad(flat_ZS, ((0, 0), (0, TAPS - 1)))
        interference_ZX = spanned_ZX - own_ZX
        artefacts_ZX = estimate_ZX - spanned_ZX
        return np.stack(
            [
                _ratio_db(own_ZX, estimate_ZX - own_ZX),
                _ratio_db(own_ZX, interference_ZX),
                _ratio_db(spanned_ZX, artefacts_ZX),
            ]
        )


def _ratio_db(wanted_ZX: np.ndarray, rest_ZX: np.ndarray) -> np.ndarray:
    """Return the ratio of energies in decibels; infinite where there is no rest at all."""
    wanted_Z, rest_Z = (np.einsum("zx,zx->z", each, each) for each in (wanted_ZX, rest_ZX))
    clean_Z = rest_Z == 0
    ratio_Z = wanted_Z / np.where(clean_Z, 1.0, rest_Z)
    return np.where(clean_Z, np.inf, 10 * np.log10(np.maximum(ratio_Z, np.finfo(float).tiny)))
