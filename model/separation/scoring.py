"""Scores of mixes, row by row, spread over processes.

In: references and the estimates of every row of a mix. Out: decibels by row, with what was empty
and which estimate was taken for which source. Light: worker processes load no torch.

An empty prediction is counted as the mixture itself: a model that gives nothing back has separated
nothing. What was empty is kept, so that the published way (such pairs are skipped) can be told too
(tribert.md section 7).

Legend: N sources, S samples.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np

from model.separation.bss import Figures, Projector
from model.train.parent import die_with_parent
from model.tribert.metrics import Scores, silent

Permutation = Literal["named", "best"]
"""named: estimate n is video n; best: the order that suits the truth (blind systems)."""

MOST_WAITING = 16
"""Mixes that wait for a process at most: each holds its waveforms."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one row gives back of a mix."""

    waves_NS: np.ndarray
    permutation: Permutation = "named"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScores:
    """Scores of one row of one mix; sources in the order of the references."""

    scores: Scores
    silent: tuple[bool, ...]
    """Which estimates were empty and are counted as the mixture."""
    order: tuple[int, ...]
    """For each source the estimate that was taken for it."""
    permutation: Permutation


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Every row of one mix."""

    pair: tuple[str, ...]
    rows: Mapping[str, RowScores]


def judge(
    pair: tuple[str, ...],
    references_NS: np.ndarray,
    mixture_S: np.ndarray,
    estimates: Mapping[str, Estimate],
) -> Judged:
    """Return the scores of every row of one mix.

    Raises
    ------
    ValueError
        A reference is all zero, or an estimate has another shape than the references.
    """
    empty = {name: silent(each.waves_NS) for name, each in estimates.items()}
    counted_RNS = np.stack(
        [
            np.where(np.array(empty[name])[:, None], mixture_S[None], each.waves_NS)
            for name, each in estimates.items()
        ]
    )
    figures = Projector(references_NS).figures(counted_RNS)
    rows = {}
    for row, (name, each) in enumerate(estimates.items()):
        named = tuple(range(len(references_NS)))
        order = named if each.permutation == "named" else figures.best_order(row)
        rows[name] = RowScores(
            scores=_scores(figures, row, order),
            silent=tuple(empty[name][n] for n in order),
            order=order,
            permutation=each.permutation,
        )
    return Judged(pair=pair, rows=rows)


def _scores(figures: Figures, row: int, order: tuple[int, ...]) -> Scores:
    sources = range(len(order))
    sdr, sir, sar = (
        tuple(float(values[row, order[n], n]) for n in sources)
        for values in (figures.sdr_RNN, figures.sir_RNN, figures.sar_RNN)
    )
    return Scores(sdr=sdr, sir=sir, sar=sar)


class Judges:
    """Processes that score mixes while the next ones are separated; results keep their order."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self._judged: list[Future[Judged]] = []

    def submit(
        self,
        pair: tuple[str, ...],
        references_NS: np.ndarray,
        mixture_S: np.ndarray,
        estimates: Mapping[str, Estimate],
    ) -> None:
        """Hand over one mix; waits while too many wait already."""
        self._judged.append(
            self._pool.submit(judge, pair, references_NS, mixture_S, dict(estimates))
        )
        if len(self._judged) > MOST_WAITING:
            self._judged[-MOST_WAITING].result()

    def results(self) -> list[Judged]:
        """Return the scores of all mixes in the order in which they were handed over.

        Raises what `judge` raised.
        """
        return [future.result() for future in self._judged]


@contextmanager
def judges(processes: int = 0) -> Iterator[Judges]:
    """Give `Judges` with so many processes; 0: one for each core that this process may use."""
    count = processes or len(os.sched_getaffinity(0))
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=die_with_parent,
            initargs=(os.getpid(),),
        ) as pool:
            yield Judges(pool)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
