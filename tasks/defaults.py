"""Luigi's own settings, as this project needs them where luigi.cfg says nothing.

Flows in: Luigi's configuration. Flows out: the same, with a local scheduler, no lock, and exit
codes that tell failure from success (Luigi exits 0 on failure without a [retcode] section).
"""

from __future__ import annotations

from luigi.configuration import get_config

DEFAULTS = {
    "core": {
        "local_scheduler": "true",
        "no_lock": "true",
        "autoload_range": "false",
        "log_level": "WARNING",
    },
    "retcode": {
        "already_running": "10",
        "missing_data": "20",
        "not_run": "25",
        "task_failed": "30",
        "scheduling_error": "35",
        "unhandled_exception": "40",
    },
}


def apply() -> None:
    """Fill in every default that no configuration file sets."""
    config = get_config()
    for section, values in DEFAULTS.items():
        for key, value in values.items():
            if not config.has_option(section, key):
                config.set(section, key, value)
