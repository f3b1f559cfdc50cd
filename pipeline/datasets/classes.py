"""The class lists of the published datasets, in their official order, and the order of any other.

MUSIC21 as in TriBERT's lists (class ids 1-21 there); LLP as in AVVP-ECCV20's dataloader.
"""

from __future__ import annotations

from collections.abc import Iterable

MUSIC21 = (
    "bagpipe",
    "clarinet",
    "flute",
    "drum",
    "acoustic_guitar",
    "ukulele",
    "accordion",
    "bassoon",
    "guzheng",
    "xylophone",
    "erhu",
    "tuba",
    "congas",
    "saxophone",
    "cello",
    "violin",
    "electric_bass",
    "piano",
    "banjo",
    "trumpet",
    "pipa",
)

LLP = (
    "Speech",
    "Car",
    "Cheering",
    "Dog",
    "Cat",
    "Frying_(food)",
    "Basketball_bounce",
    "Fire_alarm",
    "Chainsaw",
    "Cello",
    "Banjo",
    "Singing",
    "Chicken_rooster",
    "Violin_fiddle",
    "Vacuum_cleaner",
    "Baby_laughter",
    "Accordion",
    "Lawn_mower",
    "Motorcycle",
    "Helicopter",
    "Acoustic_guitar",
    "Telephone_bell_ringing",
    "Baby_cry_infant_cry",
    "Blender",
    "Clapping",
)

_RANK = {name: rank for rank, name in enumerate(MUSIC21 + LLP)}


def order_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct `labels` in the fixed order of a label vector.

    A set of LLP's names gives all 25 of them (published features and figures are 25 wide);
    otherwise MUSIC21's names come first, then LLP's, each in official order, then the rest by name.
    """
    present = set(labels)
    if present and present <= set(LLP):
        return LLP
    return tuple(sorted(present, key=lambda name: (_RANK.get(name, len(_RANK)), name)))
