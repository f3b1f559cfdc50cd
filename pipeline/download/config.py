"""Settings of downloads. Loads nothing heavy: tasks read it while they schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings:
    """How videos are found and downloaded.

    Parameters
    ----------
    videos_dir : str
        A folder of videos that are already here, named by id or clip name; '' for none.
    max_height : int
        Largest height of a downloaded picture, in pixels (the smaller side of upright videos).
    sleep_s, sleep_max_s : float
        Pause between two downloads from this machine, drawn between the two, in seconds.
    sleep_requests_s : float
        Pause between two requests for one video, in seconds.
    retries : int
        How often a broken transfer or a failing server is tried again within one attempt.
    backoff_s : float
        Pause before the first such retry, in seconds; it doubles each time, to a minute at most.
    socket_timeout_s : float
        How long a server may be silent, in seconds.
    time_limit_s : float
        How long one video may take, in seconds.
    cookies_file : str
        A browser's cookies in Netscape format; '' for none. It is read, never written.
    allowed_extractors : str
        yt-dlp's extractors that may be used, by name, separated by commas.
    allowed_hosts : str
        Hosts that the extractor 'generic' may download from, separated by commas.
    network_failures : int
        After so many failures of the network in a row the run stops.
    keep_full : bool
        Keep the whole video when only windows of it were asked for.

    Raises
    ------
    ValueError
        A number out of range; the message names the setting.
    """

    videos_dir: str = ""
    max_height: int = 480
    sleep_s: float = 10.0
    sleep_max_s: float = 20.0
    sleep_requests_s: float = 0.75
    retries: int = 3
    backoff_s: float = 2.0
    socket_timeout_s: float = 20.0
    time_limit_s: float = 3600.0
    cookies_file: str = ""
    allowed_extractors: str = "youtube"
    allowed_hosts: str = ""
    network_failures: int = 5
    keep_full: bool = False

    def __post_init__(self) -> None:
        least = {
            "max_height": 1,
            "sleep_s": 0,
            "sleep_max_s": self.sleep_s,
            "sleep_requests_s": 0,
            "retries": 0,
            "backoff_s": 0,
            "network_failures": 1,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= bound):
                raise ValueError(f"[fetch] {name} is {value}, expected at least {bound:g}")
        for name in ("socket_timeout_s", "time_limit_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"[fetch] {name} is {value}, expected more than 0 seconds")

    @property
    def extractors(self) -> tuple[str, ...]:
        """The allowed extractors."""
        return _names(self.allowed_extractors)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The allowed hosts of the extractor 'generic', in lower case."""
        return _names(self.allowed_hosts.lower())


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
