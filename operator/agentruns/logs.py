"""Logs as one JSON object a line, with the run, step and attempt that a line is about."""

import logging
import sys
from typing import Final

from pythonjsonlogger.json import JsonFormatter

_QUIET: Final = ("kopf.objects", "kopf.activities", "aiohttp.access")
"""Loggers that say something for every event."""


def configure(level: str) -> None:
    """Sends everything from this level on to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
