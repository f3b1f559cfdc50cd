"""What a person can do when the downloads of a run stop."""

from __future__ import annotations

from pipeline.download.reasons import NETWORK

_OUTDATED = (
    "Perhaps this yt-dlp is too old for the site, or lacks a JavaScript runtime such as deno: run "
    "pip install --upgrade 'yt-dlp[default]' and start again."
)
_ADVICE = {
    "rate_limited": (
        "The site limits how many videos this machine may ask for. Wait an hour or more, raise "
        "sleep_s and sleep_max_s in [fetch] and start again."
    ),
    "bot_check": (
        "The site wants a proof that a person is asking. Wait some hours, or export the cookies "
        "of a browser in which you are signed in, name the file in cookies_file in [fetch] and "
        "start again; a site may block an account that downloads much."
    ),
    "disk_full": "The disk is full. Free some space or move the store, and start again.",
    NETWORK: (
        "No server could be reached, or every transfer broke off. Check this machine's network "
        "and proxy, and start again; or put the videos that you have into a folder and name it "
        "in videos_dir in [fetch]."
    ),
    "server_error": "The server reports errors of its own. Wait a while and start again.",
    "forbidden": f"The server refuses every video. {_OUTDATED}",
    "no_formats": f"No video has a format that can be downloaded. {_OUTDATED}",
    "unknown": f"Every download fails. {_OUTDATED}",
}

_LONGEST = 300
"""Characters of a message that a person is shown."""


def advice(reason: str, detail: str) -> str:
    """Return what stopped the downloads and what to do, as a few sentences."""
    known = _ADVICE.get(reason, _ADVICE[NETWORK])
    first = detail.partition("; ")[0]  # yt-dlp says the same of each of its attempts
    last = f" The last message: {first[:_LONGEST]}" if detail else ""
    return f"The downloads stopped: {reason}. {known} No item was marked as failed for it.{last}"
