"""Choose who is shown in which slot, for the whole clip.

Flows in: the tracks of a clip. Flows out: for each chosen track its slot. Slot 0 holds the most
important person. Published loaders sort the persons anew in every picture, so that their slots are
no identity; here a slot keeps one person as long as tracking can. A person who was lost (a cut, a
long gap) comes back into a slot that is free at that time, so that a cut does not empty the slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.pose.tracking import Track


def select_slots(
    tracks: Sequence[Track], *, max_persons: int, min_track_rows: int
) -> Mapping[int, int]:
    """Return {track number: slot}.

    Tracks are taken by descending sum of score x sqrt(box area), to three digits, ties from left to
    right. Each goes to the occupied slot that is free for all of its rows and whose person was
    nearest in place, else to a new slot, else nowhere. Tracks shorter than `min_track_rows` are
    noise.
    """
    ranked = sorted(
        (t for t in tracks if t.n_rows >= min_track_rows),
        key=lambda t: (-float(f"{t.weight:.3g}"), _centre_px(t.first_box)[0], t.number),
    )
    slots: list[list[Track]] = []
    for track in ranked:
        free = [slot for slot in slots if all(_apart(track, other) for other in slot)]
        if free:
            min(free, key=lambda slot: _distance_px(track, slot)).append(track)
        elif len(slots) < max_persons:
            slots.append([track])
    return {track.number: k for k, slot in enumerate(slots) for track in slot}


def _apart(a: Track, b: Track) -> bool:
    """Whether two tracks share no row."""
    return a.last < b.first or b.last < a.first


def _centre_px(box: np.ndarray) -> np.ndarray:
    """Centre of an xyxy box."""
    return (box[:2] + box[2:]) / 2


def _distance_px(track: Track, slot: Sequence[Track]) -> float:
    """Distance in place to the slot's person nearest in time."""
    before = [t for t in slot if t.last < track.first]
    after = [t for t in slot if t.first > track.last]
    gaps = []
    if before:
        previous = max(before, key=lambda t: t.last)
        gaps.append(_centre_px(previous.last_person.box) - _centre_px(track.first_box))
    if after:
        following = min(after, key=lambda t: t.first)
        gaps.append(_centre_px(track.last_person.box) - _centre_px(following.first_box))
    return min(float(np.linalg.norm(gap)) for gap in gaps)
