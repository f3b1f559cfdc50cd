"""How a failed run speaks: one clear line for what a user can mend, a traceback for the rest.

Flows in: the exception a task ended with. Flows out: text on stderr.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import TypeVar

from pipeline.datasets.base import DatasetError
from pipeline.failures import EnvironmentBroken
from storage.errors import StoreError
from tasks.child import ChildFailed
from tasks.coverage import CoverageTooLow
from tasks.ingest import DownloadsStopped
from tasks.settings import SettingsError
from tasks.snapshots import LeakedTestVideos, TooFewItems

T = TypeVar("T")
USAGE_EXIT = 2
USER_ERRORS = (
    ChildFailed,
    CoverageTooLow,
    DatasetError,
    DownloadsStopped,
    EnvironmentBroken,
    LeakedTestVideos,
    SettingsError,
    StoreError,
    TooFewItems,
)


def say(error: BaseException) -> str:
    """Print what went wrong, and return it."""
    if isinstance(error, USER_ERRORS):
        text = f"soundstage: {error}"
    else:
        text = "".join(traceback.format_exception(error))
    print(text, file=sys.stderr, flush=True)
    return text


def or_exit(work: Callable[[], T]) -> T:
    """Return what `work` returns; a user's mistake ends the program with one clear line."""
    try:
        return work()
    except USER_ERRORS as error:
        say(error)
        raise SystemExit(USAGE_EXIT) from None


class _KnownErrors(logging.Filter):
    """Says a user's error in one line, and once, where Luigi's log would show its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, USER_ERRORS):
            record.exc_info = None
            record.exc_text = None
        message = record.getMessage()
        text = _users_error(message) if "Traceback (most recent" in message else None
        if text is not None:
            self._say_once(text)
        return text is None

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            print(f"soundstage: {text}", file=sys.stderr, flush=True)


def _users_error(trace: str) -> str | None:
    """Return the message that a formatted traceback ends with, if the error is a user's."""
    names = "|".join(re.escape(f"{c.__module__}.{c.__qualname__}") for c in _kinds(USER_ERRORS))
    found = re.split(rf"^(?:{names}): ", trace, flags=re.MULTILINE)
    return found[-1].strip() if len(found) > 1 else None


def _kinds(classes: Iterable[type]) -> list[type]:
    """Return the classes and all that derive from them."""
    return [kind for c in classes for kind in (c, *_kinds(c.__subclasses__()))]


def quieten_luigi() -> None:
    """Let Luigi's log leave out the tracebacks of errors that are said in one line."""
    logger = logging.getLogger("luigi-interface")
    if not any(isinstance(f, _KnownErrors) for f in logger.filters):
        logger.addFilter(_KnownErrors())
