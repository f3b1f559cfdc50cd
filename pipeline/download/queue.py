"""The downloads of a run: a list's items flow in; media, one event an item and a summary flow out.

Files that are here already are imported first. Then one video at a time is downloaded, once for all
its windows, which are cut here. An event is written when its file is complete under its name, so a
kill at any instant costs at most the work on one video, and a broken transfer is continued.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.datasets.base import SourceItem
from pipeline.download import ytdlp
from pipeline.download.advice import advice
from pipeline.download.config import FetchSettings
from pipeline.download.existing import ExistingVideos, Found
from pipeline.download.pace import host_name, sweep, turn
from pipeline.download.pending import KnownEvents, pending_fetches, videos
from pipeline.download.reasons import (
    DISK_FULL,
    NETWORK,
    OUTAGE,
    REFUSED,
    STOPPING,
    DownloadFailed,
)
from pipeline.fetch import ADOPT, import_file
from storage.layout import Layout
from storage.outcomes import FetchEvent, FetchLog, utc_now
from storage.records import OK, TRANSIENT_REASONS, ItemId

log = logging.getLogger(__name__)
OnEvent = Callable[[FetchEvent], None]
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSummary:
    """What a run fetched.

    `counts` are the events written, by reason; `stopped` is '' or the reason for which the run
    stopped, with `advice` for the person who started it; `pending` counts the items that this run
    should have tried and has no outcome for.
    """

    counts: Mapping[str, int]
    pending: int
    stopped: str = ""
    advice: str = ""


def fetch_items(
    layout: Layout,
    items: Sequence[SourceItem],
    settings: FetchSettings,
    *,
    import_mode: str = "copy",
    on_event: OnEvent | None = None,
    rng: random.Random | None = None,
) -> FetchSummary:
    """Import or download the items that are worth a try, and record what became of each.

    Videos come in random order, so that a few bad ones cannot block the others run after run.
    Reasons in `STOPPING` end the run and blame no item; so do `network_failures` failures of the
    network or the site in a row.

    Parameters
    ----------
    layout : Layout
        The store.
    items : sequence of SourceItem
        The list; items that need nothing are passed over.
    settings : FetchSettings
        Where videos are, and how to download them.
    import_mode : 'copy', 'hardlink' or 'symlink'
        How files that are here already enter the store.
    on_event : callable, optional
        Called with every event after it is on the disk.
    rng : random.Random, optional
        Draws the order and the pauses.

    Raises
    ------
    EnvironmentBroken
        Something that every item needs is missing: ffmpeg, a folder, the cookies file.
    """
    existing = ExistingVideos.scan(settings.videos_dir)
    todo = pending_fetches(layout, items, existing)
    here, missing = [], []
    for entry in todo:
        found = Found(entry.path) if entry.path is not None else existing.find(entry)
        if found is None and entry.url:
            missing.append(entry)
        else:
            here.append((entry, found))
    with ExitStack() as stack:
        run = _Run(layout, settings, import_mode, on_event, rng or random.Random(), stack)
        with run.full_disk_stops():
            for entry, found in here:
                if run.stopped:
                    break
                run.import_here(entry, found)
            run.download_all(missing)
    return run.summary(len(todo))


class _Run:
    """The state of one run; see `fetch_items`."""

    def __init__(
        self,
        layout: Layout,
        settings: FetchSettings,
        import_mode: str,
        on_event: OnEvent | None,
        rng: random.Random,
        stack: ExitStack,
    ) -> None:
        self.stopped = ""
        self._advice = ""
        self._layout, self._settings, self._rng = layout, settings, rng
        self._import_mode, self._on_event, self._stack = import_mode, on_event, stack
        self._logs: dict[str, FetchLog] = {}
        self._known = KnownEvents(layout)
        self._began_utc = utc_now()
        self._began_s = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._asked = 0
        self._streak: list[tuple[list[SourceItem], DownloadFailed]] = []
        self._answered = False

    def summary(self, wanted: int) -> FetchSummary:
        return FetchSummary(
            counts=dict(self._counts),
            pending=wanted - self._asked,
            stopped=self.stopped,
            advice=self._advice,
        )

    def import_here(self, entry: SourceItem, found: Found | None) -> None:
        event = import_file(
            self._layout,
            entry.item.item_id,
            None if found is None else found.path,
            entry.sidecars,
            mode=self._import_mode,
            ready_cut=found is not None and found.ready_cut,
        )
        self._record(event)

    def download_all(self, entries: Sequence[SourceItem]) -> None:
        """Download the videos of `entries`, until one of them stops the run."""
        groups = list(videos(entries).values())
        self._rng.shuffle(groups)
        for number, group in enumerate(groups, start=1):
            if self.stopped:
                return
            self._began_s = time.monotonic()
            try:
                self._fetch_video(group)
            except DownloadFailed as failure:
                self._failed(group, failure, is_last=number == len(groups))
        if self._streak and not self.stopped:
            if self._answered:
                self._settle()
            else:
                self._stop(*self._common())

    def _fetch_video(self, group: Sequence[SourceItem]) -> None:
        """Get one video and record its items; raises DownloadFailed when it cannot be had."""
        first = ItemId.parse(group[0].item.item_id)
        url = ytdlp.address_of(first, group[0].url)
        ytdlp.check_url(url, self._settings)
        folder = self._layout.download(host_name(), first)
        with turn(self._layout, self._settings, self._rng) as pause:
            sweep(self._layout)
            known = self._known.events(first.source, self._logs.get(first.source))
            group = [e for e in group if not self._is_done(known.get(e.item.item_id))]
            if not group:
                return
            kept = known.get(str(ItemId(first.source, first.video_id)))
            if kept is not None and kept.media and (self._layout.root / kept.media).is_file():
                facts = {"cut_from": kept.media}
                self._take(group, self._layout.root / kept.media, url, facts)
                return
            done = ytdlp.finished(folder)
            if done is None:
                pause()
                done = self._download(url, folder)
                self._answered = True
                self._settle()
            if self._take(group, done.path, url, done.facts):
                shutil.rmtree(folder, ignore_errors=True)

    def _download(self, url: str, folder: Path) -> ytdlp.Download:
        """Download, with as many further tries as the reason of a failure deserves."""
        tries = {
            "server_error": self._settings.retries,
            "forbidden": min(1, self._settings.retries),
        }
        done = 0
        while True:
            try:
                return ytdlp.download(url, folder, self._settings)
            except DownloadFailed as failure:
                if done >= tries.get(failure.reason, 0):
                    if failure.reason not in OUTAGE | STOPPING | {"timeout", "not_yet"}:
                        shutil.rmtree(folder, ignore_errors=True)
                    raise
                log.info("%s: %s; trying again", url, failure)
            self._back_off(done)
            done += 1

    def _take(
        self, group: Sequence[SourceItem], path: Path, url: str, facts: Mapping[str, Any]
    ) -> bool:
        """Record each item of a video that is here; the whole one last, it takes the file.

        Returns whether the download is of no more use.
        """
        passing = False
        for entry in sorted(group, key=lambda e: e.item.item_id.endswith("/whole")):
            if not self.stopped:
                event = self._adopt(entry.item.item_id, path, url, facts)
                passing |= event.reason in TRANSIENT_REASONS
                self._record(event)
        first = ItemId.parse(group[0].item.item_id)
        whole = str(ItemId(first.source, first.video_id))
        asked = any(entry.item.item_id == whole for entry in group)
        if self._settings.keep_full and not asked and "cut_from" not in facts and not self.stopped:
            event = self._adopt(whole, path, url, facts)
            if event.reason == OK:
                self._write(event)
        return not (passing or self.stopped)

    def _adopt(self, item_id: str, path: Path, url: str, facts: Mapping[str, Any]) -> FetchEvent:
        return import_file(self._layout, item_id, path, mode=ADOPT, origin=url, facts=facts)

    def _failed(self, group: list[SourceItem], failure: DownloadFailed, *, is_last: bool) -> None:
        if failure.reason in STOPPING:
            self._stop(failure.reason, failure.detail)
            return
        if failure.reason == REFUSED:  # by us: no site was asked
            self._blame(group, failure)
            return
        self._answered |= failure.answered
        self._streak.append((group, failure))
        if failure.reason not in OUTAGE:  # the site spoke of this very video: it can be reached
            self._settle()
        elif len(self._streak) >= self._settings.network_failures:
            told = all(f.answered and f.reason != NETWORK for _, f in self._streak)
            if not (is_last and told):
                self._stop(*self._common())
        elif not failure.answered:
            self._back_off(len(self._streak) - 1, spent_s=time.monotonic() - self._began_s)

    def _settle(self) -> None:
        """Record the failures so far: something was reached, so they are the items' own."""
        for group, failure in self._streak:
            self._blame(group, failure)
        self._streak.clear()

    def _blame(self, group: Sequence[SourceItem], failure: DownloadFailed) -> None:
        for entry in group:
            self._record(
                FetchEvent(
                    item_id=entry.item.item_id,
                    reason=failure.reason,
                    detail=failure.detail,
                    origin=entry.url,
                    utc=utc_now(),
                )
            )

    def _is_done(self, event: FetchEvent | None) -> bool:
        """Whether another process has got the item since this run began."""
        done = event is not None and event.reason == OK and event.utc > self._began_utc
        self._asked += done
        return done

    def _common(self) -> tuple[str, str]:
        """Return what the failures in a row have in common, and what the last one said."""
        reasons = {failure.reason for _, failure in self._streak}
        return (reasons.pop() if len(reasons) == 1 else NETWORK), self._streak[-1][1].detail

    def _back_off(self, step: int, spent_s: float = 0.0) -> None:
        pause_s = min(self._settings.backoff_s * 2.0**step, _LONGEST_PAUSE_S)
        time.sleep(max(pause_s - spent_s, 0.0))

    def _record(self, event: FetchEvent) -> None:
        """Write the event of an item that was asked for; a full disk stops the run instead."""
        if event.reason == DISK_FULL:
            self._stop(DISK_FULL, event.detail)
            return
        self._write(event)
        self._asked += 1

    def _write(self, event: FetchEvent) -> None:
        source = event.item_id.partition("/")[0]
        if source not in self._logs:
            self._logs[source] = self._stack.enter_context(FetchLog(self._layout, source))
        self._logs[source].append(event)
        self._counts[event.reason] += 1
        if event.reason != OK:
            log.info("%s: %s: %s", event.item_id, event.reason, event.detail)
        if self._on_event is not None:
            self._on_event(event)

    def _stop(self, reason: str, detail: str) -> None:
        self.stopped, self._advice = reason, advice(reason, detail)
        self._streak.clear()

    @contextlib.contextmanager
    def full_disk_stops(self) -> Iterator[None]:
        """Stop, without an error, when the store's own small files find no room."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL_DISK:
                raise
            self._stop(DISK_FULL, str(error))
