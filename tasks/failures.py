"""How a failed run speaks: one clear line for what a user can mend, a traceback for the rest.

Flows in: the exception a task ended with. Flows out: text on stderr.
"""

from __future__ import annotations

import logging
import sys
import traceback

from pipeline.datasets.base import DatasetError
from pipeline.failures import EnvironmentBroken
from storage.errors import StoreError
from tasks.child import ChildFailed
from tasks.coverage import CoverageTooLow
from tasks.settings import SettingsError
from tasks.snapshots import LeakedTestVideos, TooFewItems

USER_ERRORS = (
    ChildFailed,
    CoverageTooLow,
    DatasetError,
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


class _KnownErrors(logging.Filter):
    """Takes the traceback off Luigi's own record of an error that was said in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, USER_ERRORS):
            record.exc_info = None
            record.exc_text = None
        return True


def quieten_luigi() -> None:
    """Let Luigi's log leave out the tracebacks of errors that are said in one line."""
    logger = logging.getLogger("luigi-interface")
    if not any(isinstance(f, _KnownErrors) for f in logger.filters):
        logger.addFilter(_KnownErrors())
