"""Real messages and real exceptions of yt-dlp, each with the reason that it stands for."""

from __future__ import annotations

import errno
import io
import socket
import ssl

import pytest
import yt_dlp
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import (
    CertificateVerifyError,
    HTTPError,
    IncompleteRead,
    ProxyError,
    TransportError,
)

from pipeline.download import advice
from pipeline.download.reasons import OUTAGE, STOPPING, reason_of, reason_of_message
from storage.records import PERMANENT_REASONS, TRANSIENT_REASONS

HINT = (
    "Use --cookies-from-browser or --cookies for the authentication. See  "
    "https://github.com/yt-dlp/yt-dlp/wiki/FAQ#how-do-i-pass-cookies-to-yt-dlp  for how to manually"
    " pass cookies. Also see  https://github.com/yt-dlp/yt-dlp/wiki/Extractors#exporting-youtube-"
    "cookies  for tips on effectively exporting YouTube cookies"
)
ID = "ERROR: [youtube] -a_B3dash10: "
MESSAGES = {
    "reported by users of yt-dlp and youtube-dl in their trackers": [
        (
            "private",
            ID + "Private video. Sign in if you've been granted access to this video. " + HINT,
        ),
        ("private", ID + "Video unavailable. This video is private"),
        ("private", "ERROR: Private video\nSign in if you've been granted access to this video"),
        ("removed", ID + "Video unavailable. This video has been removed by the uploader"),
        ("removed", ID + "This video has been removed for violating YouTube's Terms of Service"),
        ("removed", "ERROR: -a_B3dash10: YouTube said: This video has been removed by the user."),
        (
            "terminated",
            ID
            + (
                "Video unavailable. This video is no longer available because the YouTube "
                "account associated with this video has been terminated."
            ),
        ),
        (
            "terminated",
            ID
            + (
                "This video is no longer available because the YouTube account associated "
                "with this video has been closed."
            ),
        ),
        (
            "members_only",
            ID
            + (
                "Join this channel to get access to members-only content like this video, "
                "and other exclusive perks."
            ),
        ),
        (
            "members_only",
            ID
            + (
                "This video is available to this channel's members on level: Assistant (or "
                "any higher level). Join this channel to get access to members-only "
                "content and other exclusive perks."
            ),
        ),
        ("members_only", ID + "This video is only available to Music Premium members"),
        (
            "age_restricted",
            ID
            + ("Sign in to confirm your age. This video may be inappropriate for some users. ")
            + HINT,
        ),
        (
            "age_restricted",
            ID
            + (
                "Sign in to confirm your age. The video you have requested has been rated "
                "TV-14 and may contain content intended for mature audiences."
            ),
        ),
        (
            "geo_blocked",
            ID
            + ("Video unavailable. The uploader has not made this video available in your country"),
        ),
        (
            "geo_blocked",
            ID
            + (
                "Video unavailable. This video contains content from SME, who has blocked "
                "it in your country on copyright grounds"
            ),
        ),
        (
            "copyright",
            ID
            + (
                "Video unavailable. This video contains content from Marvelous Inc., who "
                "has blocked it on copyright grounds"
            ),
        ),
        (
            "copyright",
            "ERROR: This video contains content from Mosfilm, who has blocked it from "
            "display on this website or application. Watch on YouTube",
        ),
        (
            "rate_limited",
            ID
            + (
                "Video unavailable. This content isn't available, try again later. The "
                "current session has been rate-limited by YouTube for up to an hour. It is "
                "recommended to use `-t sleep` to add a delay between video requests to "
                "avoid exceeding the rate limit."
            ),
        ),
        (
            "rate_limited",
            ID
            + (
                "This content isn't available, try again later. Your account has been "
                "rate-limited by YouTube for up to an hour."
            ),
        ),
        ("rate_limited", "ERROR: [youtube] x: HTTP Error 402: Payment Required"),
        ("bot_check", ID + "Sign in to confirm you’re not a bot. " + HINT),
        ("bot_check", ID + "Sign in to confirm you're not a bot. " + HINT),
        ("drm", ID + "This video is DRM protected"),
        ("not_yet", ID + "Premieres in 16 hours"),
        ("not_yet", ID + "This live event has ended."),
        ("unavailable", ID + "Video unavailable"),
        ("unavailable", ID + "Video unavailable. This video is not available"),
        ("unavailable", ID + "This video is unavailable"),
        ("forbidden", "ERROR: unable to download video data: HTTP Error 403: Forbidden"),
        (
            "network",
            ID
            + (
                "Unable to download API page: <urllib3.connection.HTTPSConnection object "
                "at 0x7>: Failed to resolve 'www.youtube.com' ([Errno -3] Temporary "
                "failure in name resolution)"
            ),
        ),
        (
            "network",
            ID
            + (
                "Unable to download API page: (<HTTPSConnection(host='www.youtube.com', "
                "port=443) at 0x1f029f5d150>, 'Connection to www.youtube.com timed out."
            ),
        ),
        ("unknown", ID + "The page needs to be reloaded."),
        (
            "unknown",
            ID
            + (
                "The following content is not available on this app.. Watch on the latest "
                "version of YouTube."
            ),
        ),
    ],
    "written in yt-dlp's own source, or in the comments on its test videos": [
        (
            "removed",
            ID
            + (
                "This video has been removed for violating YouTube's policy on hate "
                "speech. Learn more about combating hate speech in your country."
            ),
        ),
        ("removed", ID + "This video does not exist."),
        (
            "geo_blocked",
            "ERROR: [x] This video is not available from your location due to geo "
            "restriction\nYou might want to use a VPN or a proxy server (with --proxy) "
            "to workaround.",
        ),
        (
            "bot_check",
            ID + ("Video unavailable. YouTube is requiring a captcha challenge before playback"),
        ),
        (
            "bot_check",
            ID + ("All player responses are invalid. Your IP is likely being blocked by Youtube"),
        ),
        (
            "unsupported",
            "ERROR: [youtube:truncated_id] abc: Incomplete YouTube ID abc. URL "
            "https://www.youtube.com/watch?v=abc looks truncated.",
        ),
        (
            "no_formats",
            ID
            + (
                "Requested format is not available. Use --list-formats for a list of "
                "available formats"
            ),
        ),
        ("no_formats", ID + "No video formats found!"),
        ("network", "ERROR: The downloaded file is empty"),
        ("disk_full", "ERROR: unable to write data: [Errno 28] No space left on device"),
        ("unknown", ID + "Failed to extract any player response; please report this issue"),
    ],
    "quoted by other public programs that read what yt-dlp prints": [
        (
            "terminated",
            ID
            + (
                "This video is no longer available because the uploader has closed their "
                "YouTube account."
            ),
        ),
        ("members_only", ID + "This video requires payment to watch."),
        ("copyright", ID + "This video is no longer available due to a copyright claim by SME"),
        ("not_yet", ID + "This live event will begin in a few moments."),
        ("unavailable", ID + "This live stream recording is not available."),
    ],
    "printed by the installed yt-dlp against a local server, or of that form": [
        ("rate_limited", "ERROR: unable to download video data: HTTP Error 429: Too Many Requests"),
        ("unsupported", "ERROR: [generic] Unsupported URL: http://127.0.0.1:1/x.mp4"),
        ("server_error", "ERROR: [youtube] x: HTTP Error 503: Service Unavailable"),
        (
            "network",
            "ERROR: \r[download] Got error: HTTPConnectionPool(host='127.0.0.1', "
            "port=18099): Read timed out.. Giving up after 1 retries",
        ),
        (
            "network",
            "ERROR: [download] Got error: 200000 bytes read, 1322956 more expected. "
            "Giving up after 1 retries",
        ),
        ("network", "ERROR: Did not get any data blocks"),
        ("unknown", "ERROR: something that nobody has seen before"),
    ],
}


@pytest.mark.parametrize("reason, message", [case for cases in MESSAGES.values() for case in cases])
def test_messages_as_yt_dlp_prints_them(reason: str, message: str) -> None:
    assert reason_of_message(message) == reason
    assert reason_of(yt_dlp.utils.DownloadError(message)) == reason
    assert reason in PERMANENT_REASONS | TRANSIENT_REASONS
    coloured = message.replace("ERROR:", "\x1b[0;31mERROR:\x1b[0m")
    assert reason_of_message(coloured) == reason


def http_error(status: int) -> HTTPError:
    return HTTPError(Response(io.BytesIO(), "http://127.0.0.1/", {}, status=status))


@pytest.mark.parametrize(
    "status, reason",
    [
        *((401, "forbidden"), (403, "forbidden"), (404, "removed"), (410, "removed")),
        *((402, "rate_limited"), (429, "rate_limited"), (451, "geo_blocked")),
        *((500, "server_error"), (502, "server_error"), (599, "server_error"), (418, "unknown")),
    ],
)
def test_http_statuses(status: int, reason: str) -> None:
    error = http_error(status)
    assert reason_of(error) == reason
    wrapped = yt_dlp.utils.ExtractorError("Unable to download webpage", cause=error)
    assert reason_of(yt_dlp.utils.DownloadError("x", (None, wrapped, None))) == reason


@pytest.mark.parametrize(
    "error, reason",
    [
        (yt_dlp.utils.GeoRestrictedError("Not here", countries=["DE"]), "geo_blocked"),
        (yt_dlp.utils.UnsupportedError("http://127.0.0.1/"), "unsupported"),
        (yt_dlp.utils.UserNotLive(), "not_yet"),
        (yt_dlp.utils.ContentTooShortError(10, 20), "network"),
        (TransportError(cause=socket.gaierror(-3, "Temporary failure")), "network"),
        (IncompleteRead(partial=5, expected=10), "network"),
        (ProxyError("Tunnel connection failed: 403 Forbidden"), "network"),
        (CertificateVerifyError(cause=ssl.SSLError("self-signed")), "network"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "network"),
        (TimeoutError(), "network"),
        (
            yt_dlp.utils.UnavailableVideoError(OSError(errno.ENOSPC, "No space left on device")),
            "disk_full",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (AttributeError("'NoneType' object has no attribute 'get'"), "unknown"),
    ],
)
def test_the_type_of_the_cause_comes_first(error: BaseException, reason: str) -> None:
    assert reason_of(error) == reason
    assert reason_of(yt_dlp.utils.DownloadError("whatever", (None, error, None))) == reason


def test_a_chain_of_causes_that_bites_its_tail_ends() -> None:
    error = TransportError("loop")
    error.cause = error
    assert reason_of(error) == "network"


def test_an_age_gate_is_known_whatever_failed_before_it() -> None:
    """An error that was dealt with on the way is no cause."""
    error = yt_dlp.utils.ExtractorError("Sign in to confirm your age", expected=True)
    error.__context__ = http_error(403)
    assert reason_of(error) == "age_restricted"


@pytest.mark.parametrize("reason", sorted(STOPPING | OUTAGE))
def test_what_stops_a_run_passes_and_comes_with_advice(reason: str) -> None:
    assert reason in TRANSIENT_REASONS
    text = advice.advice(reason, "the last words")
    assert reason in text
    assert "start again" in text
    assert "the last words" in text
    assert "No item was marked" in text
