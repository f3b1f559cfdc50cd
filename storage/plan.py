"""The plan: which items a source's shards hold. It only grows; a shard's items never change.

In: items with an estimate of their size. Out: one immutable file a shard, published exclusively, so
that the number is the lock and every item is in exactly one shard however many planners run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.atomic import publish_json
from storage.errors import InvalidRecord, StoreDamaged
from storage.layout import PLAN_FILE, Layout
from storage.records import ItemId

PLAN_SCHEMA_VERSION = 1
_VISIBLE_AFTER_S = 5.0
"""How long a network file system may deny a file that it listed, or refused to create again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanShard:
    """The items of one shard, in order."""

    source: str
    number: int
    item_ids: tuple[str, ...]


def read_plan(layout: Layout, source: str) -> list[PlanShard]:
    """Return a source's shards by number; empty when nothing is planned.

    Raises StoreDamaged when a number is missing: planning on would put items into two shards.
    """
    return _read_numbers(layout, source, _highest(layout, source) + 1)


def extend_plan(
    layout: Layout,
    source: str,
    items: Sequence[tuple[str, float]],
    max_items: int = 512,
    max_bytes: float = 512e6,
) -> list[PlanShard]:
    """Plan the items that are in no shard yet; return the shards that this call added.

    Parameters
    ----------
    items
        (item id, estimated bytes of its largest stage), in the order wanted.
    max_items, max_bytes
        A shard is closed before it holds more than either; it holds at least one item.
    """
    for item_id, _ in items:
        if ItemId.parse(item_id).source != source:
            raise InvalidRecord(f"{item_id}: not an item of source {source!r}")
    added: list[PlanShard] = []
    known = read_plan(layout, source)
    while True:
        planned = {item_id for shard in known for item_id in shard.item_ids}
        waiting = [(i, size) for i, size in dict(items).items() if i not in planned]
        groups = list(_groups(waiting, max_items, max_bytes))
        for number, group in enumerate(groups, start=len(known)):
            shard = PlanShard(source=source, number=number, item_ids=tuple(group))
            if not _publish(layout, shard):
                break  # another planner took the number: read what it planned, begin again
            added.append(shard)
            known.append(shard)
        else:
            return added
        known += _read_numbers(layout, source, len(known) + 1, first=len(known))


def _groups(
    items: Iterable[tuple[str, float]], max_items: int, max_bytes: float
) -> Iterable[list[str]]:
    group: list[str] = []
    total = 0.0
    for item_id, size in items:
        if group and (len(group) >= max_items or total + size > max_bytes):
            yield group
            group, total = [], 0.0
        group.append(item_id)
        total += size
    if group:
        yield group


def _publish(layout: Layout, shard: PlanShard) -> bool:
    return publish_json(
        layout.plan_shard(shard.source, shard.number),
        {
            "schema_version": PLAN_SCHEMA_VERSION,
            "source": shard.source,
            "number": shard.number,
            "item_ids": list(shard.item_ids),
        },
    )


def _highest(layout: Layout, source: str) -> int:
    folder = layout.plan_dir(source)
    if not folder.is_dir():
        return -1
    matches = (PLAN_FILE.fullmatch(path.name) for path in folder.iterdir())
    return max((int(match["number"]) for match in matches if match), default=-1)


def _read_numbers(layout: Layout, source: str, count: int, first: int = 0) -> list[PlanShard]:
    """Read shards first..count-1, then any later ones: a listing may miss what was just added."""
    shards: list[PlanShard] = []
    number = first
    while True:
        shard = _read(layout, source, number, must_exist=number < count)
        if shard is None:
            return shards
        shards.append(shard)
        number += 1


def _read(layout: Layout, source: str, number: int, *, must_exist: bool) -> PlanShard | None:
    path = layout.plan_shard(source, number)
    deadline = time.monotonic() + _VISIBLE_AFTER_S
    while True:
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            return PlanShard(source=source, number=number, item_ids=tuple(value["item_ids"]))
        except FileNotFoundError as error:
            if not must_exist:
                return None
            if time.monotonic() > deadline:
                raise StoreDamaged(
                    f"{path}: missing, though shards with higher numbers are planned; restore it "
                    "from a backup or from any stage's shard of this number (its index/item_id)"
                ) from error
            time.sleep(0.05)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamaged(f"{path}: not a plan's shard ({error}); restore it") from error
