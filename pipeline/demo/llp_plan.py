"""A seed in, the event clips to make out: which class is heard and seen when, in whole seconds.

Most events are both heard and seen, over nearly the same seconds; some are only heard or only
seen. One class is in almost half of the clips, so that 'always the commonest' is a fair baseline.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from storage.records import Event

COMMONEST = "Dog"
OTHERS = ("Car", "Fire_alarm", "Basketball_bounce", "Vacuum_cleaner", "Violin_fiddle")
_COMMONEST_SHARE = 0.45
_HEARD_ONLY, _NEVER_TOGETHER = 5, 9
"""Of each twelve clips, the one whose only event is heard and not seen, and the one with an event
that is only heard and another that is only seen: the only two without an audio-visual event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlpPlan:
    """One clip; `dense` says whether its events are published or only its labels."""

    name: str
    events: tuple[Event, ...]
    split: str
    dense: bool
    duration_s: int
    seed: int

    @property
    def labels(self) -> tuple[str, ...]:
        """What happens in the clip, heard or seen: the weak labels."""
        return tuple(dict.fromkeys(event.label for event in self.events))


class _Deck:
    """Deals the less common classes in turn, so that they come equally often."""

    def __init__(self, rng: np.random.Generator, classes: tuple[str, ...]) -> None:
        self._rng, self._classes, self._cards = rng, classes, list[str]()

    def deal(self, without: list[str]) -> str:
        if not set(self._cards) - set(without):
            self._cards += [self._classes[i] for i in self._rng.permutation(len(self._classes))]
        card = next(card for card in self._cards if card not in without)
        self._cards.remove(card)
        return card


def plan_llp(seed: int, *, few: bool = False) -> tuple[LlpPlan, ...]:
    """Return the clips: 36 to train, 5 to choose, 12 to test; with `few` 4, 2 and 2 short ones."""
    counts = {"train": 4, "val": 2, "test": 2} if few else {"train": 36, "val": 5, "test": 12}
    duration_s, most = (5, 2) if few else (10, 3)
    rng = np.random.default_rng([seed, zlib.crc32(b"llp")])
    clips: list[LlpPlan] = []
    for split, count in counts.items():
        deck = _Deck(rng, OTHERS[:2] if few else OTHERS)
        common = rng.permutation(count) < round(_COMMONEST_SHARE * count)
        for number in range(count):
            name = f"{split}_{number:02d}"
            clips.append(
                LlpPlan(
                    name=name,
                    events=tuple(
                        event
                        for label, kind in _kinds(
                            rng, deck, number % 12, bool(common[number]), most
                        )
                        for event in _spans(rng, label, kind, duration_s)
                    ),
                    split=split,
                    dense=split != "train",
                    duration_s=duration_s,
                    seed=zlib.crc32(f"{seed}/llp/{name}".encode()),
                )
            )
    return tuple(clips)


def _kinds(
    rng: np.random.Generator, deck: _Deck, place: int, common: bool, most: int
) -> list[tuple[str, str]]:
    """Return the classes of one clip, up to `most`, and whether each is 'audio', 'visual' or
    'both'; `place` is the clip's number within each twelve."""
    count = min(most, int(rng.choice([1, 2, 3], p=[0.3, 0.45, 0.25])))
    count = {_HEARD_ONLY: 1, _NEVER_TOGETHER: 2}.get(place, count)
    labels = [COMMONEST] if common else []
    while len(labels) < count:
        labels.append(deck.deal(labels))
    kinds = [str(kind) for kind in rng.choice(["both", "audio", "visual"], 3, p=[0.4, 0.3, 0.3])]
    kinds[0] = "both"
    if "audio" not in kinds:
        kinds[2] = "audio"  # the picture has room for two objects
    if place in (_HEARD_ONLY, _NEVER_TOGETHER):
        kinds = ["audio", "visual"]
    return [(labels[turn], kind) for turn, kind in zip(rng.permutation(count), kinds, strict=False)]


def _spans(rng: np.random.Generator, label: str, kind: str, duration_s: int) -> list[Event]:
    """Return one class's event in each modality of its kind, in whole seconds."""
    shortest = 4 if kind == "both" else 2
    length = int(rng.integers(shortest, duration_s + 1))
    onset = int(rng.integers(0, duration_s - length + 1))
    spans = {"audio": (onset, onset + length), "visual": (onset, onset + length)}
    if kind == "both":
        modality = ("audio", "visual")[int(rng.integers(2))]
        early, late = rng.integers(-1, 2, 2)
        spans[modality] = (max(0, onset + int(early)), min(duration_s, onset + length + int(late)))
    return [
        Event(modality=m, label=label, onset_s=float(on), offset_s=float(off))
        for m, (on, off) in spans.items()
        if kind in (m, "both")
    ]
