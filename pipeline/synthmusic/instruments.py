"""How each instrument class sounds and is played: frozen, the clips' bytes depend on it.

General MIDI (programs counted from 0) has no erhu, guzheng, pipa or ukulele: those four are played
by stand-ins, which `stand_in` names. Congas and drum are keys of the percussion channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.datasets.classes import MUSIC21

SYNTHMUSIC_VERSION = 1
"""Raised when the same seed gives other clips."""

Style = Literal[
    "bowed", "blown", "drone", "plucked", "strummed", "rolled", "tremolo", "keys", "squeezed",
    "struck", "kit", "hands",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One class: its General MIDI voice, its melodies' range and tempo, its playing style.

    Attributes
    ----------
    program : General MIDI program counted from 0; None for the percussion channel.
    lowest, highest : MIDI pitches of the melody; of percussion, the lowest and highest key.
    beat_s : shortest and longest beat of a melody, seconds.
    style : how the melody is played (`score.py`).
    modulation : depth of vibrato, MIDI controller 1, 0-127.
    stand_in : the General MIDI instrument that is heard instead, or ''.
    """

    program: int | None
    lowest: int
    highest: int
    beat_s: tuple[float, float]
    style: Style
    modulation: int = 0
    stand_in: str = ""


INSTRUMENTS: dict[str, Instrument] = {
    "bagpipe": Instrument(
        program=109, lowest=67, highest=81, beat_s=(0.30, 0.45), style="drone"
    ),
    "clarinet": Instrument(
        program=71, lowest=55, highest=79, beat_s=(0.35, 0.60), style="blown"
    ),
    "flute": Instrument(
        program=73, lowest=69, highest=91, beat_s=(0.30, 0.60), style="blown", modulation=20
    ),
    "drum": Instrument(
        program=None, lowest=36, highest=49, beat_s=(0.40, 0.60), style="kit"
    ),
    "acoustic_guitar": Instrument(
        program=25, lowest=50, highest=69, beat_s=(0.40, 0.65), style="strummed"
    ),
    "ukulele": Instrument(
        program=24, lowest=64, highest=79, beat_s=(0.30, 0.45), style="strummed",
        stand_in="nylon guitar",
    ),
    "accordion": Instrument(
        program=21, lowest=64, highest=81, beat_s=(0.35, 0.60), style="squeezed"
    ),
    "bassoon": Instrument(
        program=70, lowest=36, highest=58, beat_s=(0.40, 0.70), style="blown"
    ),
    "guzheng": Instrument(
        program=107, lowest=55, highest=79, beat_s=(0.40, 0.70), style="plucked",
        stand_in="koto",
    ),
    "xylophone": Instrument(
        program=13, lowest=74, highest=96, beat_s=(0.28, 0.45), style="struck"
    ),
    "erhu": Instrument(
        program=110, lowest=62, highest=81, beat_s=(0.45, 0.85), style="bowed", modulation=50,
        stand_in="fiddle",
    ),
    "tuba": Instrument(
        program=58, lowest=29, highest=48, beat_s=(0.45, 0.75), style="blown"
    ),
    "congas": Instrument(
        program=None, lowest=62, highest=64, beat_s=(0.35, 0.50), style="hands"
    ),
    "saxophone": Instrument(
        program=65, lowest=52, highest=74, beat_s=(0.35, 0.65), style="blown", modulation=30
    ),
    "cello": Instrument(
        program=42, lowest=38, highest=60, beat_s=(0.50, 0.90), style="bowed", modulation=30
    ),
    "violin": Instrument(
        program=40, lowest=60, highest=84, beat_s=(0.40, 0.75), style="bowed", modulation=30
    ),
    "electric_bass": Instrument(
        program=33, lowest=28, highest=47, beat_s=(0.30, 0.50), style="plucked"
    ),
    "piano": Instrument(
        program=0, lowest=60, highest=81, beat_s=(0.35, 0.60), style="keys"
    ),
    "banjo": Instrument(
        program=105, lowest=55, highest=74, beat_s=(0.40, 0.55), style="rolled"
    ),
    "trumpet": Instrument(
        program=56, lowest=57, highest=79, beat_s=(0.30, 0.60), style="blown"
    ),
    "pipa": Instrument(
        program=106, lowest=57, highest=79, beat_s=(0.40, 0.70), style="tremolo",
        stand_in="shamisen",
    ),
}  # fmt: skip
"""By the class's name, in MUSIC21's order."""

MUSIC11 = tuple(
    name
    for name in MUSIC21
    if name
    in {
        "accordion",
        "acoustic_guitar",
        "cello",
        "clarinet",
        "erhu",
        "flute",
        "saxophone",
        "trumpet",
        "tuba",
        "violin",
        "xylophone",
    }
)
"""The eleven classes of the MUSIC dataset, in MUSIC21's order."""
