"""What of a dataset's media is still to come: its length, its bytes, and how long it downloads.

Items, a store's fetch log and the settings of downloads flow in; one `MediaEstimate` flows out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from pipeline.datasets.base import SourceItem, video_of
from pipeline.download.config import FetchSettings
from pipeline.download.existing import ExistingVideos, Found
from pipeline.download.pending import pending_fetches
from pipeline.failures import ItemFailure, ProcessFailed, ProcessTimeout
from pipeline.probing import read_headers
from storage.layout import Layout
from storage.outcomes import FetchEvent, read_fetch_log
from storage.records import ItemId

ASSUMED_VIDEO_S = 180.0
ASSUMED_PIXELS_PER_HEIGHT2 = 16 / 9
DOWNLOAD_BYTES_PER_S_MPX = 416_000.0
"""Of a downloaded video, for a million pixels of its pictures: the mean of 14 clips."""
CUT_BYTES_PER_S_MPX = 1_157_000.0
"""Of a window that was cut and encoded anew: the mean of the same clips."""
LINE_BYTES_PER_S = 2e6
REQUESTS_PER_VIDEO = 4
GUEST_VIDEOS_PER_HOUR = 300
"""About what YouTube lets one address without an account have, as yt-dlp's maintainers say."""

_SAMPLE = 16
_HEADER_TIMEOUT_S = 30.0
_ENOUGH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaEstimate:
    """The media of one source's items; lengths in seconds, sizes in bytes.

    `here` items have media, `lost` ones failed and are not tried again, `local` ones will be
    imported, `download` ones downloaded as `videos` videos. `mean_s` is the mean length of all but
    the lost, `lengths` that of each by item id. `new_bytes` is what the store grows by,
    `transfer_bytes` what comes over the line.
    """

    items: int
    here: int
    lost: int
    local: int
    download: int
    videos: int
    mean_s: float
    new_bytes: float
    transfer_bytes: float
    download_s: float
    lengths: Mapping[str, float] = field(repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Parts:
    """Items of one source by what becomes of them."""

    here: list[SourceItem]
    lost: list[SourceItem]
    local: list[tuple[SourceItem, Found]]
    download: list[SourceItem]


def estimate_media(
    layout: Layout, items: Sequence[SourceItem], settings: FetchSettings, *, import_mode: str
) -> MediaEstimate:
    """Return what the media of one source's items will take.

    Parameters
    ----------
    layout
        The store, whose log says what is here, what is worth a try and what is lost.
    items
        Items of one source.
    settings
        Of downloads: pacing, height, and the folder of videos that are already here.
    import_mode
        'copy', 'hardlink' or 'symlink'; links take no space.

    Raises
    ------
    EnvironmentBroken
        The folder of videos cannot be read.
    """
    root = layout.root
    source = items[0].item.item_id.partition("/")[0] if items else ""
    events = read_fetch_log(layout, source) if source else {}
    parts = _parts(layout, items, events, ExistingVideos.scan(settings.videos_dir))
    notes: list[str] = []
    lengths = _lengths(parts, events, notes)
    cut_rate = _rate(root, parts.here, events, CUT_BYTES_PER_S_MPX, settings, windows=True)
    full_rate = _rate(root, parts.here, events, DOWNLOAD_BYTES_PER_S_MPX, settings, windows=False)
    local_bytes = sum(
        _local_bytes(entry, found, lengths, import_mode, cut_rate) for entry, found in parts.local
    )
    videos = _videos(parts.download, lengths)
    transfer = sum(videos.values()) * full_rate
    kept = sum(
        lengths[e.item.item_id] * (cut_rate if _window(e) else full_rate) for e in parts.download
    )
    if settings.keep_full:
        windowed = {video_of(e.item.item_id) for e in parts.download if _window(e)}
        kept += sum(videos[video] for video in windowed) * full_rate
    if videos:
        notes.append(_download_note(settings))
    return MediaEstimate(
        items=len(items),
        here=len(parts.here),
        lost=len(parts.lost),
        local=len(parts.local),
        download=len(parts.download),
        videos=len(videos),
        mean_s=fmean(lengths.values()) if lengths else 0.0,
        new_bytes=local_bytes + kept,
        transfer_bytes=transfer,
        download_s=download_seconds(len(videos), transfer, settings),
        lengths=lengths,
        notes=tuple(notes),
    )


def download_seconds(videos: int, transfer_bytes: float, settings: FetchSettings) -> float:
    """Return how long one address downloads: pauses, requests and transfers, or the limit."""
    pause_s = (settings.sleep_s + settings.sleep_max_s) / 2
    paced_s = videos * (pause_s + REQUESTS_PER_VIDEO * settings.sleep_requests_s)
    return max(paced_s + transfer_bytes / LINE_BYTES_PER_S, videos * 3600 / GUEST_VIDEOS_PER_HOUR)


def _download_note(settings: FetchSettings) -> str:
    return (
        f"downloads: pauses of {settings.sleep_s:g} to {settings.sleep_max_s:g} s, "
        f"{REQUESTS_PER_VIDEO} requests a video {settings.sleep_requests_s:g} s apart, "
        f"{LINE_BYTES_PER_S / 1e6:g} MB/s, at most {GUEST_VIDEOS_PER_HOUR} videos an hour, "
        f"pictures of {settings.max_height} lines (assumed)"
    )


def _parts(
    layout: Layout,
    items: Sequence[SourceItem],
    events: Mapping[str, FetchEvent],
    existing: ExistingVideos,
) -> _Parts:
    parts = _Parts([], [], [], [])
    pending = {e.item.item_id for e in pending_fetches(layout, items, existing)}
    for entry in items:
        event = events.get(entry.item.item_id)
        found = Found(entry.path) if entry.path is not None else existing.find(entry)
        if entry.item.item_id not in pending:
            here = event is not None and event.media
            (parts.here if here else parts.lost).append(entry)
        elif found is not None:
            parts.local.append((entry, found))
        else:
            parts.download.append(entry)
    return parts


def _window(entry: SourceItem) -> tuple[float, float] | None:
    return ItemId.parse(entry.item.item_id).window_s


def _lengths(parts: _Parts, events: Mapping[str, FetchEvent], notes: list[str]) -> dict[str, float]:
    """Return the length of every item that is not lost, known or assumed."""
    known: dict[str, float] = {}
    unknown: list[str] = []
    for entry in [*parts.here, *(entry for entry, _ in parts.local), *parts.download]:
        item_id, window = entry.item.item_id, _window(entry)
        event = events.get(item_id)
        if window is not None:
            known[item_id] = window[1] - window[0]
        elif event is not None and event.duration_s > 0:
            known[item_id] = event.duration_s
        else:
            unknown.append(item_id)
    if not unknown:
        return known
    whole = [
        known[e.item.item_id] for e in parts.here if not _window(e) and e.item.item_id in known
    ]
    sample = _sampled([f.path for e, f in parts.local if not f.ready_cut and not _window(e)])
    if sample or len(whole) >= _ENOUGH:
        mean_s = fmean(sample or whole)
        notes.append(
            f"length of {len(unknown)} items: the mean of {len(sample or whole)}, {mean_s:.0f} s"
        )
    else:
        mean_s = ASSUMED_VIDEO_S
        notes.append(f"length of {len(unknown)} items: {mean_s:g} s (assumed, none is here yet)")
    return known | dict.fromkeys(unknown, mean_s)


def _sampled(paths: Sequence[Path]) -> list[float]:
    """Return the lengths of some of the files, evenly chosen; those that cannot be read are not."""
    step = max(1, len(paths) // _SAMPLE)
    found = []
    for path in paths[::step][:_SAMPLE]:
        try:
            headers = read_headers(str(path.absolute()), timeout_s=_HEADER_TIMEOUT_S)
        except (ItemFailure, ProcessFailed, ProcessTimeout):
            continue
        duration_s = float(headers["format"].get("duration", 0.0))
        if duration_s > 0:
            found.append(duration_s)
    return found


def _rate(
    root: Path,
    here: Sequence[SourceItem],
    events: Mapping[str, FetchEvent],
    bytes_per_s_mpx: float,
    settings: FetchSettings,
    *,
    windows: bool,
) -> float:
    """Return bytes a second: as of some media in the store, else as stated for the height."""
    sizes: list[int] = []
    lengths: list[float] = []
    for entry in here:
        event = events[entry.item.item_id]
        if bool(_window(entry)) == windows and event.duration_s > 0 and len(sizes) < _SAMPLE:
            path = root / event.media
            if path.is_file():
                sizes.append(path.stat().st_size)
                lengths.append(event.duration_s)
    if len(sizes) >= _ENOUGH:
        return sum(sizes) / sum(lengths)
    return bytes_per_s_mpx * ASSUMED_PIXELS_PER_HEIGHT2 * settings.max_height**2 / 1e6


def _local_bytes(
    entry: SourceItem,
    found: Found,
    lengths: Mapping[str, float],
    import_mode: str,
    cut_rate: float,
) -> float:
    if _window(entry) and not found.ready_cut:
        return lengths[entry.item.item_id] * cut_rate
    if import_mode != "copy":
        return 0.0
    return found.path.stat().st_size if found.path.is_file() else 0.0


def _videos(entries: Sequence[SourceItem], lengths: Mapping[str, float]) -> dict[str, float]:
    """Return the videos to download, each once, with the length of the whole video.

    Of a video that only windows are asked of, the length is at least where the last one ends.
    """
    found: dict[str, float] = {}
    for entry in entries:
        window, video = _window(entry), video_of(entry.item.item_id)
        length_s = lengths[entry.item.item_id] if not window else max(ASSUMED_VIDEO_S, window[1])
        found[video] = max(found.get(video, 0.0), length_s)
    return found
