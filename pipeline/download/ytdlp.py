"""One video through yt-dlp: a URL and a folder flow in, a file with its facts flows out.

The only module that imports yt-dlp, and only when something is downloaded. The file's name is ours;
nothing that a site says becomes a path or an argument.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.datasets.youtube import SOURCE as YOUTUBE
from pipeline.datasets.youtube import is_video_id, video_id_of, watch_url
from pipeline.download.config import FetchSettings
from pipeline.download.reasons import NETWORK, DownloadFailed, plain, reason_of, reason_of_message
from pipeline.failures import (
    EnvironmentBroken,
    ProcessFailed,
    ProcessTimeout,
    ProgramMissing,
)
from pipeline.ffmpeg import read_headers
from storage.atomic import replace_json
from storage.fingerprint import sha256_file
from storage.records import ItemId

log = logging.getLogger(__name__)
STEM = "video"
FACTS = "facts.json"
FORMATS = "formats.json"
FORMAT = "bv*+ba/b/bv*"
_YOUTUBE_HOSTS = ("www.youtube.com", "youtube.com", "m.youtube.com", "youtu.be")
_LONGEST_PAUSE_S = 60.0
_NO_PAGE = "Unable to download webpage"
_HEADERS_S = 60.0
_DETAIL_LETTERS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A whole downloaded video: the file, and what is known of it as JSON values."""

    path: Path
    facts: Mapping[str, Any]


def check_url(url: str, settings: FetchSettings) -> None:
    """Refuse a URL that the settings do not allow; the extractor 'generic' would take any.

    Raises
    ------
    DownloadFailed
        'url_refused', with what to change.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError as error:
        raise DownloadFailed("url_refused", f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise DownloadFailed("url_refused", f"{url!r}: expected http(s)://host/...")
    if host in _YOUTUBE_HOSTS:
        allowed = YOUTUBE in settings.extractors
    else:
        allowed = host in settings.hosts and bool(set(settings.extractors) - {YOUTUBE})
    if not allowed:
        raise DownloadFailed(
            "url_refused",
            f"{url!r}: the host {host} is not allowed; to allow it, set allowed_extractors and "
            "allowed_hosts in [fetch], then `soundstage retry --reason url_refused`",
        )


def address_of(item: ItemId, url: str) -> str:
    """Return the address to download an item from; a YouTube item's is made from its id.

    Raises
    ------
    DownloadFailed
        'url_refused' for a YouTube item whose URL is another video's.
    """
    if item.source != YOUTUBE:
        return url
    if not is_video_id(item.video_id) or video_id_of(url) != item.video_id:
        raise DownloadFailed(
            "url_refused", f"{url!r} is not the address of the YouTube video {item.video_id!r}"
        )
    return watch_url(item.video_id)


def finished(folder: Path) -> Download | None:
    """Return the download that an earlier run finished in `folder`, or None."""
    facts = _read_facts(folder)
    if facts is None:
        return None
    path = folder / str(facts["file"])
    if not path.is_file() or path.stat().st_size != facts["bytes"]:
        return None
    return Download(path=path, facts=facts) if sha256_file(path) == facts["sha256"] else None


def download(url: str, folder: Path, settings: FetchSettings) -> Download:
    """Download the video at `url` into `folder`; what an earlier try left there is continued.

    Raises
    ------
    DownloadFailed
        The video cannot be had, for a typed reason.
    EnvironmentBroken
        No ffmpeg, or no cookies file where the settings say.
    """
    check_url(url, settings)
    done = finished(folder)
    if done is not None:
        return done
    if shutil.which("ffmpeg") is None:
        raise ProgramMissing("ffmpeg")
    folder.mkdir(parents=True, exist_ok=True)
    info, watcher = _extract(url, folder, settings)
    path = _path_of(info, folder, watcher)
    facts = _facts(info, path, url)
    if not facts["streams"]:
        raise DownloadFailed("corrupt", f"{facts['bytes']} bytes came, which are no video")
    replace_json(folder / FACTS, facts)
    return Download(path=path, facts=facts)


def version() -> str:
    """Return yt-dlp's version."""
    import yt_dlp

    return str(yt_dlp.version.__version__)


def _extract(url: str, folder: Path, settings: FetchSettings) -> tuple[Mapping[str, Any], _Watcher]:
    import yt_dlp

    watcher = _Watcher(settings, folder)
    try:
        with yt_dlp.YoutubeDL(_options(folder, settings, watcher)) as loader:
            return loader.extract_info(url, download=True) or {}, watcher
    except (
        yt_dlp.utils.YoutubeDLError,
        OSError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # the latter five: an extractor that a changed site took by surprise
        reason = reason_of(error)
        hints = watcher.warnings[-2:] if reason in ("unknown", "no_formats") else []
        detail = "; ".join([plain(str(error)), *hints])[:_DETAIL_LETTERS]
        answered = watcher.answered or reason != NETWORK
        raise DownloadFailed(reason, detail, answered=answered) from error


def _options(folder: Path, settings: FetchSettings, watcher: _Watcher) -> dict[str, Any]:
    def pause_s(n: int) -> float:
        return min(settings.backoff_s * 2.0**n, _LONGEST_PAUSE_S)

    options: dict[str, Any] = {
        "format": FORMAT,
        "format_sort": [f"res:{settings.max_height}", "vcodec:h264", "acodec:aac"],
        "merge_output_format": "mkv",
        "outtmpl": {"default": f"{STEM}.%(ext)s"},
        "paths": {"home": str(folder)},
        "allowed_extractors": list(settings.extractors),
        "noplaylist": True,
        "playlist_items": "1",
        "match_filter": watcher.refuse,
        "progress_hooks": [watcher.on_progress],
        "logger": watcher,
        "cachedir": False,
        "quiet": True,
        "noprogress": True,
        "color": {"stdout": "no_color", "stderr": "no_color"},
        "ignoreerrors": False,
        "continuedl": True,
        "nopart": False,
        "updatetime": False,
        "retries": settings.retries,
        "fragment_retries": settings.retries,
        "extractor_retries": 0,
        "file_access_retries": 0,
        "skip_unavailable_fragments": False,
        "retry_sleep_functions": {"http": pause_s, "fragment": pause_s, "extractor": pause_s},
        "socket_timeout": settings.socket_timeout_s,
        "sleep_interval_requests": settings.sleep_requests_s,
    }
    if settings.cookies_file:
        options["cookiefile"] = _cookies(Path(settings.cookies_file).expanduser())
    return options


def _cookies(path: Path) -> io.StringIO:
    """Return the cookies as a file in memory: yt-dlp writes back what it reads from."""
    try:
        return io.StringIO(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        raise EnvironmentBroken(
            f"[fetch] cookies_file {path} cannot be read ({error}); export the cookies again in "
            "Netscape format, or leave the setting empty"
        ) from error


class _Watcher:
    """What yt-dlp reports while it works, and the answers it gets; also its logger."""

    def __init__(self, settings: FetchSettings, folder: Path) -> None:
        self.answered = False
        self.warnings: list[str] = []
        self._settings, self._folder = settings, folder
        self._deadline_s = time.monotonic() + settings.time_limit_s

    def refuse(self, info: Mapping[str, Any], *, incomplete: object = False) -> str | None:
        """Stop at what must not be downloaded, before it is; called for every video."""
        self.answered = True
        if not incomplete:
            _drop_other_formats(self._folder, info)
        if info.get("is_live"):
            raise DownloadFailed("live", "a live stream has no end to download")
        if info.get("extractor_key") == "Generic":
            formats = info.get("requested_formats") or [info]
            for url in (f["url"] for f in formats if f.get("url")):
                check_url(url, self._settings)  # where redirects and embedded players lead
        return None

    def on_progress(self, status: Mapping[str, Any]) -> None:
        """Give up on a download that takes too long."""
        self.answered = True
        if time.monotonic() > self._deadline_s and status.get("status") == "downloading":
            limit_s = self._settings.time_limit_s
            raise DownloadFailed("timeout", f"not downloaded within {limit_s:g} s")

    def debug(self, message: str) -> None:
        """Take a line of the log."""
        log.debug("%s", message)

    def info(self, message: str) -> None:
        """Take a line of the log."""
        log.debug("%s", message)

    def warning(self, message: str) -> None:
        """Take a warning; the last ones go into the outcome.

        A page that the network does not bring is the end: what else an extractor would ask for
        comes from the same place, and every request waits for its own timeout.
        """
        text = plain(message)
        log.debug("%s", text)
        self.warnings.append(text)
        if _NO_PAGE in text and not self.answered and reason_of_message(text) == NETWORK:
            raise DownloadFailed(NETWORK, text[:_DETAIL_LETTERS], answered=False)

    def error(self, message: str) -> None:
        """Take an error, which is raised as well."""
        log.debug("%s", message)


def _drop_other_formats(folder: Path, info: Mapping[str, Any]) -> None:
    """Remove what an earlier try left of other formats: their bytes cannot be continued."""
    chosen = info.get("requested_formats") or [info]
    formats = [[str(f.get(key)) for key in ("format_id", "ext", "filesize")] for f in chosen]
    if _read_json(folder / FORMATS) == formats:
        return
    for path in folder.glob(f"{STEM}.*"):
        path.unlink()
    replace_json(folder / FORMATS, formats)


def _path_of(info: Mapping[str, Any], folder: Path, watcher: _Watcher) -> Path:
    """Return the file that was written; yt-dlp names it, and it must be ours."""
    written = info.get("requested_downloads") or [{}]
    path = Path(str(written[0].get("filepath", "")))
    if path.parent != folder or path.stem != STEM or not path.is_file():
        detail = "; ".join(["nothing was downloaded", *watcher.warnings[-2:]])
        raise DownloadFailed("unsupported", detail, answered=watcher.answered)
    if path.stat().st_size == 0:
        raise DownloadFailed("empty", "the downloaded file has 0 bytes")
    return path


def _facts(info: Mapping[str, Any], path: Path, url: str) -> dict[str, Any]:
    """Return what is known of a download: the site's words, and what the file itself says."""
    return {
        "url": url,
        "extractor": str(info.get("extractor", "")),
        "format_id": str(info.get("format_id", "")),
        "streams": _streams(path),
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
        "yt_dlp": version(),
    }


def _streams(path: Path) -> list[dict[str, Any]]:
    """Return kind, codec, size in pixels and rate of each stream; none for what is no media."""
    try:
        headers = read_headers(str(path), timeout_s=_HEADERS_S)
    except (ProcessFailed, ProcessTimeout):
        return []
    wanted = ("codec_type", "codec_name", "width", "height", "avg_frame_rate", "sample_rate")
    return [{key: s[key] for key in wanted if key in s} for s in headers["streams"]]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _read_facts(folder: Path) -> Mapping[str, Any] | None:
    value = _read_json(folder / FACTS)
    known = isinstance(value, dict) and {"file", "bytes", "sha256"} <= value.keys()
    return value if known else None
