"""An operator of one namespace whose API calls are recorded, and which ends or stops at one of them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.faults.calls import is_write
from tests.faults.fault import RECORD_VARIABLE, Fault
from tests.integration.operator_process import OperatorProcess


@dataclass(frozen=True)
class Call:
    """An API call that was answered, by the machine's clock; status 0 is no answer."""

    at: float
    call: str
    number: int
    status: int


class FaultyOperator(OperatorProcess):
    """The operator's test build."""

    module = "tests.faults"

    def __init__(self, place: Path, access: str, namespace: str, *, is_replica: bool) -> None:
        """Is concerned with one namespace, where the Lease of its replicas is, so that many can run beside each other.

        One that is no replica waits for no Lease. A replica is a pod with the name of its place. Nobody asks for its
        health, so that it takes whatever ports are free.
        """
        place.mkdir()
        settings = {"watchNamespaces": [namespace], "leaderElection": is_replica, "metricsPort": 0, "healthPort": 0}
        super().__init__(place, pod=place.name, access=access, **settings)
        self._place, self._namespace, self._starts = place, namespace, 0
        self.launched_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def begin(self, fault: Fault | None = None) -> None:
        """Starts it, with a fault or as it is, and does not wait for it."""
        self._starts += 1
        self._record.touch()
        self.launched_at = time.time()
        own = {RECORD_VARIABLE: str(self._record), "POD_NAMESPACE": self._namespace}
        self.launch(**own, **(fault.environment() if fault else {}))

    @property
    def _record(self) -> Path:
        return self._place / f"calls-{self._starts}"

    def calls(self) -> list[Call]:
        """The calls since it began last, in the order of their answers."""
        return [Call(**json.loads(line)) for line in self._record.read_text().splitlines()]

    def progress(self) -> float | None:
        """Seconds from its start to the first thing that it changed; None as long as there is none."""
        at = self.first_write()
        return None if at is None else at - self.launched_at

    def first_write(self) -> float | None:
        """When it changed something of a run for the first time since it began; None as long as there is nothing."""
        return self._first(is_write)

    def knows_the_lease(self) -> bool:
        """Whether it has looked at the Lease, which it does once it has listed everything."""
        return any(it.call == "get Lease" for it in self.calls())

    def leads_since(self) -> float | None:
        """When it took the Lease; None as long as it has not."""
        return self._first(lambda call: call in ("create Lease", "put Lease"))

    def _first(self, of: Callable[[str], bool]) -> float | None:
        return next((it.at for it in self.calls() if of(it.call) and 200 <= it.status < 300), None)

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        assert self._process is not None
        return self._process.poll() is not None

    def has_stopped(self) -> bool:
        """Whether the process is stopped by a signal."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def wake(self) -> None:
        """Has a stopped process go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)
