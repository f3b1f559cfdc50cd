"""Why a download failed: an error of yt-dlp flows in, a typed reason flows out.

The type of the cause decides where it says enough; the message decides the rest, by a table whose
order matters. What nothing here knows is 'unknown', which passes: it is tried again.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from pipeline.failures import ItemFailure

UNKNOWN = "unknown"
NETWORK = "network"
REFUSED = "url_refused"
DISK_FULL = "disk_full"
STOPPING = frozenset({"rate_limited", "bot_check", DISK_FULL})
"""Reasons that end the run and blame no item."""
OUTAGE = frozenset({NETWORK, "server_error", "forbidden", "no_formats", UNKNOWN})
"""Reasons that, many in a row, speak of the network, the site or yt-dlp, not of the items."""

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_TYPES = {
    "GeoRestrictedError": "geo_blocked",
    "UnsupportedError": "unsupported",
    "UserNotLive": "not_yet",
    "ContentTooShortError": NETWORK,
    "TransportError": NETWORK,
    "ConnectionError": NETWORK,
    "TimeoutError": NETWORK,
    "gaierror": NETWORK,
}
_STATUS = {
    401: "forbidden",
    402: "rate_limited",  # YouTube's old way to say: too many requests
    403: "forbidden",
    404: "removed",
    408: NETWORK,
    410: "removed",
    429: "rate_limited",
    451: "geo_blocked",
}

# Lower case, straight quotes, single spaces. The first that matches decides.
_MESSAGES = (
    ("disk_full", r"no space left on device|disk quota exceeded"),
    ("rate_limited", r"rate-limited by|content isn't available, try again later|too many requests"),
    ("bot_check", r"you're not a bot|captcha|unusual traffic|ip is likely being blocked"),
    ("age_restricted", r"confirm your age|age-restricted|inappropriate for some users"),
    ("private", r"private video|video is private|owner of this video has granted you access"),
    (
        "members_only",
        r"members-only|channel's members|join this channel|music premium|premium members"
        r"|requires payment",
    ),
    (
        "terminated",
        r"account [^.]*(terminated|closed|suspended)"
        r"|(terminated|closed) (his|her|their) [^.]*account",
    ),
    (
        "geo_blocked",
        r"(available|blocked|it|viewable) in your country|geo.?restrict|from your location",
    ),
    ("copyright", r"copyright|trademark|blocked it from display"),
    ("drm", r"drm protected|drm-protected"),
    (
        "not_yet",
        r"premieres? in|premiere will begin|live event will begin|live event has ended"
        r"|we're processing|not currently live",
    ),
    (
        "removed",
        r"has been removed|been removed by|violat(es|ing|ed) youtube's|video does not exist"
        r"|no longer (available|exists)",
    ),
    (
        "unsupported",
        r"unsupported url|no suitable extractor|not a valid url|incomplete youtube id"
        r"|looks truncated",
    ),
    ("no_formats", r"format is not available|no video formats|only images are available"),
    (
        NETWORK,
        r"timed out|more expected|connection (refused|reset|aborted|broken)|remote end closed"
        r"|failed to resolve|name resolution|getaddrinfo|name or service not known"
        r"|network is unreachable|no route to host|incompleteread|incomplete data received"
        r"|unexpected_eof|ssl: |certificate verify failed|connect to proxy|proxyerror"
        r"|tunnel connection|did not get any data blocks|downloaded file is empty|content too short"
        r"|downloaded \d+ bytes, expected|transporterror",
    ),
    (
        "unavailable",
        r"(video|content|recording|playback)( is| isn't| is not| has been)* "
        r"(unavailable|not available|available|disabled)"
        r"|playback on other websites",
    ),
)
_COMPILED = tuple((reason, re.compile(pattern)) for reason, pattern in _MESSAGES)
_NOT_ON_THIS_APP = re.compile(r"not available on this app|page needs to be reloaded")
_HTTP = re.compile(r"http error (\d{3})\b")
_QUOTES = str.maketrans("’‘ʼ", "'''")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_REPORT = re.compile(r"[;,.]? please report this issue on .*?(yt-dlp -U\b|$)")
_PREFIX = re.compile(r"^(error: ?)?(\[[\w:+.-]+\] (?P<id>\S+): )?")


class DownloadFailed(ItemFailure):
    """A download that failed for a typed reason; `answered` says that the site sent something."""

    def __init__(self, reason: str, detail: str = "", *, answered: bool = True) -> None:
        super().__init__(reason, detail)
        self.answered = answered


def reason_of(error: BaseException) -> str:
    """Return the reason of an error that yt-dlp raised, one of `storage.records`."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _FULL_DISK:
            return DISK_FULL
        names = [cls.__name__ for cls in type(cause).__mro__]
        if "HTTPError" in names:
            return reason_of_status(int(getattr(cause, "status", 0)))
        found = next((_TYPES[name] for name in names if name in _TYPES), None)
        if found is not None:
            return found
    told = (reason_of_message(str(cause)) for cause in _causes(error))
    return next((reason for reason in told if reason != UNKNOWN), UNKNOWN)


def reason_of_status(status: int) -> str:
    """Return the reason that an HTTP status stands for."""
    if status in _STATUS:
        return _STATUS[status]
    return "server_error" if status >= 500 else UNKNOWN


def reason_of_message(message: str) -> str:
    """Return the reason that a message tells; 'unknown' when it tells none that we know."""
    text = plain(message).translate(_QUOTES).lower()
    text = _PREFIX.sub("", text, count=1)
    status = _HTTP.search(text)
    if status:
        return reason_of_status(int(status[1]))
    if _NOT_ON_THIS_APP.search(text):
        return UNKNOWN
    return next((reason for reason, pattern in _COMPILED if pattern.search(text)), UNKNOWN)


def plain(message: str) -> str:
    """Return a message on one line, without colours and without the call for a bug report."""
    return _REPORT.sub("", " ".join(_ANSI.sub("", message).split()))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it names as its causes, outermost first, each once."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        cause = todo.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        info = getattr(cause, "exc_info", None)
        todo += [info[1] if info else None, getattr(cause, "cause", None), cause.__cause__]
