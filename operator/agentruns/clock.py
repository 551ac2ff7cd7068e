"""The one place where the clock is read."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Now, in UTC, in the milliseconds that the status carries."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
