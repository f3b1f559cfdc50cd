"""An instrument and a generator in, notes out: the demo's melodies, played in the class's style.

Every style begins with `pipeline.demo.score`'s random walk (or a pattern, for percussion) and
divides, repeats or accompanies its notes. Of notes that begin together the melody's is the last one
and the highest: the player's hands follow it. Of keys, accordion and bagpipe, what accompanies lies
below `Instrument.lowest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from pipeline.demo.score import HAT, KICK, Note, Score, groove, melody
from pipeline.synthmusic.instruments import INSTRUMENTS, Instrument

MUTED, OPEN, LOW = 62, 63, 64
"""Keys of the congas' strokes, General MIDI's numbers."""

CRASH = 49

_LONGEST_ROLL_S, _ROLL_STEP_S = 0.16, 0.09


def play(name: str, duration_s: float, rng: np.random.Generator) -> Score:
    """Return the notes of one clip, by onset; none sounds past `duration_s`.

    Raises
    ------
    KeyError
        `name` is none of `INSTRUMENTS`.
    """
    instrument = INSTRUMENTS[name]
    beat_s = float(rng.uniform(*instrument.beat_s))
    if instrument.style == "kit":
        return _kit(rng, duration_s, beat_s)
    if instrument.style == "hands":
        return _hands(rng, duration_s, beat_s)
    walk = melody(
        rng,
        duration_s=duration_s,
        lowest=instrument.lowest,
        highest=instrument.highest,
        beat_s=beat_s,
    )
    styled = _STYLES.get(instrument.style)
    return _by_onset(styled(walk, instrument, rng)) if styled else walk


def is_melody(note: Note, instrument: Instrument) -> bool:
    """Whether a note is the melody's and not accompaniment."""
    return note.pitch >= instrument.lowest


def _by_onset(notes: Iterable[Note]) -> Score:
    return tuple(sorted(notes, key=lambda note: (note.onset_s, note.pitch)))


def _bowed(walk: Score, _: Instrument, __: np.random.Generator) -> list[Note]:
    """Return the melody with notes that touch each other."""
    return [replace(note, duration_s=note.duration_s / 0.92 * 0.99) for note in walk]


def _drone(walk: Score, instrument: Instrument, _: np.random.Generator) -> list[Note]:
    """Return a melody without gaps and, below it, the drone that sounds as long as it does."""
    last = walk[-1]
    following = [*(note.onset_s for note in walk[1:]), last.onset_s + last.duration_s]
    tied = [
        replace(note, duration_s=max(end_s - note.onset_s - 0.01, 0.05))
        for note, end_s in zip(walk, following, strict=True)
    ]
    drone = replace(
        walk[0],
        duration_s=following[-1] - walk[0].onset_s,
        pitch=instrument.lowest - 22 + walk[0].pitch % 3,
        strength=0.6,
    )
    return [drone, *tied]


def _strummed(walk: Score, _: Instrument, rng: np.random.Generator) -> list[Note]:
    """Return the melody with, under about half of its notes, a chord of two notes in quick turn."""
    notes = []
    for note in walk:
        notes.append(note)
        if rng.random() < 0.5:
            for number, step in enumerate((-5, -9)):
                notes.append(
                    replace(
                        note,
                        onset_s=max(note.onset_s - 0.012 * (number + 1), 0.0),
                        pitch=note.pitch + step,
                        strength=0.8 * note.strength,
                    )
                )
    return notes


def _rolled(walk: Score, instrument: Instrument, rng: np.random.Generator) -> list[Note]:
    """Return each note broken into a fast roll over itself and two others of its chord."""
    notes = []
    for note in walk:
        count = max(2, round(note.duration_s / _LONGEST_ROLL_S))
        others = (0, int(rng.choice([3, 4])), 7, 0)
        step_s = note.duration_s / count
        notes += [
            replace(
                note,
                onset_s=note.onset_s + number * step_s,
                duration_s=0.95 * step_s,
                pitch=note.pitch + others[number % 4],
                strength=note.strength * (1.0 if number == 0 else 0.8),
            )
            for number in range(count)
        ]
    return notes


def _tremolo(walk: Score, _: Instrument, rng: np.random.Generator) -> list[Note]:
    """Return the melody with its longer notes repeated fast, as the pipa's fingers roll."""
    notes = []
    for note in walk:
        if note.duration_s < 0.35 or rng.random() < 0.35:
            notes.append(note)
            continue
        count = round(note.duration_s / _ROLL_STEP_S)
        step_s = note.duration_s / count
        notes += [
            replace(
                note,
                onset_s=note.onset_s + number * step_s,
                duration_s=0.9 * step_s,
                strength=note.strength * (0.95 if number == 0 else 0.75),
            )
            for number in range(count)
        ]
    return notes


def _accompanied(
    walk: Score, instrument: Instrument, rng: np.random.Generator, *, held: float
) -> list[Note]:
    """Return the melody and, at every other of its notes, three deeper notes sounding together."""
    notes = list(walk)
    root = instrument.lowest - 19 + int(rng.integers(5))
    for first, second in zip(walk[::2], [*walk[1::2], walk[-1]], strict=False):
        shift = int(rng.choice([0, 5, 7])) - (7 if rng.random() < 0.5 else 0)
        end_s = max(first.onset_s + first.duration_s, second.onset_s + second.duration_s)
        length_s = min(end_s - first.onset_s, 2.0) * held
        notes += [
            replace(
                first,
                duration_s=length_s,
                pitch=min(root + shift + step, instrument.lowest - 1),
                strength=0.6 * first.strength,
                height=(shift + 7) / 14,
            )
            for step in (0, 4, 7)
        ]
    return notes


def _keys(walk: Score, instrument: Instrument, rng: np.random.Generator) -> list[Note]:
    return _accompanied(walk, instrument, rng, held=0.9)


def _squeezed(walk: Score, instrument: Instrument, rng: np.random.Generator) -> list[Note]:
    return _accompanied(_by_onset(_bowed(walk, instrument, rng)), instrument, rng, held=0.98)


_STYLES: dict[str, Callable[[Score, Instrument, np.random.Generator], list[Note]]] = {
    "bowed": _bowed,
    "drone": _drone,
    "strummed": _strummed,
    "rolled": _rolled,
    "tremolo": _tremolo,
    "keys": _keys,
    "squeezed": _squeezed,
}
"""Styles that change the walk; the others (blown, plucked, struck) play it as it is."""


def _kit(rng: np.random.Generator, duration_s: float, beat_s: float) -> Score:
    """Return the demo's groove, with a crash in place of the hat now and then on a kick."""
    notes = groove(rng, duration_s=duration_s, beat_s=beat_s)
    kicks = {note.onset_s for note in notes if note.pitch == KICK}
    return tuple(
        replace(note, pitch=CRASH)
        if note.pitch == HAT and note.onset_s in kicks and rng.random() < 0.12
        else note
        for note in notes
    )


def _hands(rng: np.random.Generator, duration_s: float, beat_s: float) -> Score:
    """Return a pattern of two bars for two hands, varied, with a rest now and then.

    Even steps are the right hand's, odd ones the left's; `height` is 0 for the low drum, 0.5 for
    the muted and 1 for the open stroke on the high one.
    """
    step_s = beat_s / 2
    keys = rng.choice([LOW, MUTED, OPEN], size=16, p=[0.35, 0.3, 0.35])
    played = rng.random(16) < np.tile([0.95, 0.55, 0.8, 0.6], 4)
    heights = {LOW: 0.0, MUTED: 0.5, OPEN: 1.0}
    notes: list[Note] = []
    now_s, left, step = float(rng.uniform(0.1, 0.5)), int(rng.integers(16, 28)), 0
    while now_s + step_s < duration_s - 0.1:
        key = int(keys[step % 16])
        if played[step % 16] != (rng.random() < 0.08):
            notes.append(
                Note(
                    onset_s=now_s,
                    duration_s=0.9 * step_s,
                    pitch=key,
                    strength=float(rng.uniform(0.65, 1.0)),
                    height=heights[key],
                )
            )
        now_s, step, left = now_s + step_s, step + 1, left - 1
        if left == 0:
            now_s, left = now_s + float(rng.uniform(0.5, 1.0)), int(rng.integers(16, 28))
            step += step % 2
    return tuple(notes)
