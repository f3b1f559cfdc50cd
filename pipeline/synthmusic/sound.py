"""Notes in, the sound of a sampled instrument out: a MIDI file (mido), FluidSynth, a soundfont.

Reverb and chorus are off, and the same notes give the same samples, every time. Nothing of the
soundfont is kept: it comes from Debian's package, or from a file that a setting names.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from scipy import signal
from scipy.io import wavfile

from pipeline.demo.score import Score
from pipeline.demo.timbre import RATE_HZ, level
from pipeline.failures import EnvironmentBroken
from pipeline.process import run
from pipeline.synthmusic.instruments import INSTRUMENTS, Instrument

RENDER_HZ = 44100
_GAIN = "0.6"
_TIMEOUT_S = 120.0
_PERCUSSION = 9
_TICKS_PER_S = 960
"""480 ticks a beat at MIDI's default tempo, two beats a second."""


def render(name: str, score: Score, duration_s: float, *, soundfont: Path) -> np.ndarray:
    """Return the sound of `score` on the instrument `name`.

    What rings longer than `duration_s` is cut, and the level is that of every clip
    (`pipeline.demo.timbre.LOUDNESS_RMS`): General MIDI's instruments differ by 14 dB.

    Returns
    -------
    (round(duration_s * RATE_HZ),) float32 mono in [-1, 1] at `pipeline.demo.timbre.RATE_HZ`.

    Raises
    ------
    EnvironmentBroken
        mido is not installed, or the soundfont gives no sound for this instrument.
    ProgramMissing, ProcessFailed, ProcessTimeout
        As `pipeline.process.run`, for fluidsynth.
    """
    with tempfile.TemporaryDirectory(prefix="synthmusic-") as folder:
        midi, wav = Path(folder) / "notes.mid", Path(folder) / "sound.wav"
        _write_midi(midi, INSTRUMENTS[name], score)
        run(_command(midi, wav, soundfont), timeout_s=_TIMEOUT_S)
        if not wav.is_file():
            raise _silent(name, soundfont)
        rate_hz, stereo = wavfile.read(wav)
    mono = stereo.astype(np.float64).mean(axis=1) / 32768
    sound = np.zeros(round(duration_s * RATE_HZ))
    heard = signal.resample_poly(mono, RATE_HZ, rate_hz)[: len(sound)]
    sound[: len(heard)] = heard
    if np.abs(sound).max() < 1e-4:
        raise _silent(name, soundfont)
    return level(sound)


def _silent(name: str, soundfont: Path) -> EnvironmentBroken:
    return EnvironmentBroken(
        f"{soundfont} gives no sound for {name} (General MIDI program "
        f"{INSTRUMENTS[name].program}): use a complete General MIDI soundfont, such as "
        "TimGM6mb.sf2 (Debian, Ubuntu: apt-get install timgm6mb-soundfont)"
    )


def _command(midi: Path, wav: Path, soundfont: Path) -> list[str]:
    quiet = ["-n", "-i", "-q", "-g", _GAIN, "-R", "0", "-C", "0", "-r", str(RENDER_HZ)]
    own = ["-o", "synth.default-soundfont="]  # or it falls back to another one without a word
    return ["fluidsynth", *own, *quiet, "-F", str(wav), str(soundfont), str(midi)]


def _write_midi(path: Path, instrument: Instrument, score: Score) -> None:
    import mido  # an extra of the package: only what makes clips needs it

    channel = _PERCUSSION if instrument.program is None else 0
    track = mido.MidiTrack()
    if instrument.program is not None:
        track.append(mido.Message("program_change", channel=channel, program=instrument.program))
        depth = instrument.modulation
        track.append(mido.Message("control_change", channel=channel, control=1, value=depth))
    now = 0
    for tick, kind, pitch, velocity in _events(score):
        track.append(
            mido.Message(kind, channel=channel, note=pitch, velocity=velocity, time=tick - now)
        )
        now = tick
    file = mido.MidiFile(ticks_per_beat=_TICKS_PER_S // 2)
    file.tracks.append(track)
    file.save(path)


def _events(score: Score) -> list[tuple[int, str, int, int]]:
    """Return (tick, kind, pitch, velocity) in time's order; a key is let go before it is struck.

    A key that is struck again while it is down is let go first.
    """
    struck: dict[int, list[tuple[int, int, int]]] = {}
    for note in score:
        start = round(note.onset_s * _TICKS_PER_S)
        end = max(round((note.onset_s + note.duration_s) * _TICKS_PER_S), start + 1)
        struck.setdefault(note.pitch, []).append((start, end, round(127 * note.strength)))
    events: list[tuple[int, str, int, int]] = []
    for pitch, strokes in struck.items():
        strokes.sort()
        following = [*(start for start, _, _ in strokes[1:]), strokes[-1][1]]
        for (start, end, velocity), until in zip(strokes, following, strict=True):
            if until > start:
                events.append((start, "note_on", pitch, velocity))
                events.append((min(end, until), "note_off", pitch, 0))
    return sorted(events, key=lambda event: (event[0], event[1] == "note_on", event[2]))
