"""How fast stages ran: one small file a shard, written once by the run that computed it.

In: the time that a shard took. Out: seconds of work per second of media, for estimates. Shards
themselves carry no times: equal items give equal bytes.
"""

from __future__ import annotations

import json
import math
import socket
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from storage.atomic import publish_json
from storage.errors import InvalidRecord, StoreDamaged
from storage.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One shard's computing.

    `items` items, `media_s` seconds of media together, took `wall_s` seconds with `slots` of them
    at a time. `device` is where a network ran ('cpu', 'cuda', 'auto').
    """

    items: int
    media_s: float
    wall_s: float
    slots: int
    device: str = "cpu"
    host: str = field(default_factory=socket.gethostname)

    def __post_init__(self) -> None:
        for name, value in (("media_s", self.media_s), ("wall_s", self.wall_s)):
            if not (math.isfinite(value) and value > 0):
                raise InvalidRecord(f"rate: {name} is {value}, expected seconds above 0")
        if self.items < 1 or self.slots < 1:
            raise InvalidRecord(
                f"rate: {self.items} items, {self.slots} at a time; expected at least 1 of each"
            )


def record_rate(layout: Layout, name_fp: str, rate: Rate) -> None:
    """Keep the speed of a stage, `<stage>-<fingerprint>`."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    publish_json(layout.rates(name_fp) / f"{stamp}-{uuid.uuid4().hex}.json", asdict(rate))


def read_rates(layout: Layout, name_fp: str) -> list[Rate]:
    """Return the speeds of a stage, oldest first. Raises StoreDamaged."""
    found = []
    for path in sorted(layout.rates(name_fp).glob("*.json")):
        try:
            found.append(Rate(**json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError) as error:
            raise StoreDamaged(
                f"{path}: not a measured rate ({error}); delete the file, it is only an aid"
            ) from error
    return found


def slot_seconds(rates: Sequence[Rate]) -> float | None:
    """Return the seconds that one slot works for a second of media; None without rates."""
    if not rates:
        return None
    return sum(r.wall_s * r.slots for r in rates) / sum(r.media_s for r in rates)
