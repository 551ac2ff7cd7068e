"""An event loop whose time costs nothing: when nobody has anything to do, its clock goes on to the next timer."""

import asyncio
import selectors
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

BEGINNING: Final = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


class Deadlock(RuntimeError):  # noqa: N818 - it names what is the matter
    """Everybody waits, and no timer is set."""


class _Clock(selectors.SelectSelector):
    """Waits for nothing: the time that would be waited has passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("everybody waits, and no timer is set")
        self.now += max(timeout, 0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs in virtual time and in one thread; the same program takes the same course every time."""

    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds since the beginning."""
        return self._clock.now

    def utc_now(self) -> datetime:
        """The same as a moment."""
        return BEGINNING + timedelta(seconds=self._clock.now)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """What others would leave to a thread is done at once."""
        del executor
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


class VirtualDatetime(datetime):
    """`datetime` as the operator's clock reads it: now is what the running loop says."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        """Now, in virtual time."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop) and tz is UTC
        return loop.utc_now()
