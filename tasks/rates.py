"""How fast a shard was computed, kept for `soundstage estimate`.

Flows in: the items of a shard and the time they took. Flows out: one small file in the store.
"""

from __future__ import annotations

from collections.abc import Collection

from storage.outcomes import read_fetch_log
from storage.rates import Rate, record_rate
from tasks.context import Context
from tasks.settings import worker_count


def keep_rate(
    context: Context, name_fp: str, source: str, item_ids: Collection[str], wall_s: float
) -> None:
    """Record that items of one source went through `<stage>-<fingerprint>` in `wall_s` seconds.

    Nothing is kept of no items, or where the length of one is not known.
    """
    log = read_fetch_log(context.layout, source)
    lengths_s = [log[i].duration_s for i in item_ids if i in log and log[i].duration_s > 0]
    if not item_ids or len(lengths_s) < len(item_ids) or wall_s <= 0:
        return
    rate = Rate(
        items=len(lengths_s),
        media_s=sum(lengths_s),
        wall_s=wall_s,
        slots=min(worker_count(context.settings.run), len(lengths_s)),
        device=context.settings.run.device,
    )
    record_rate(context.layout, name_fp, rate)
