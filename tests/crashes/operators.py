"""An operator of one namespace whose API calls are recorded, and which ends or stops at one of them."""

from __future__ import annotations

import json
import os
import signal
import time
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

    def __init__(self, place: Path, access: str, namespace: str) -> None:
        """Is concerned with one namespace and waits for no Lease, so that many can run beside each other."""
        place.mkdir()
        super().__init__(place, access=access, watchNamespaces=[namespace], leaderElection=False)
        self._place, self._starts = place, 0
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
        self.launch(**{RECORD_VARIABLE: str(self._record)}, **(fault.environment() if fault else {}))

    @property
    def _record(self) -> Path:
        return self._place / f"calls-{self._starts}"

    def calls(self) -> list[Call]:
        """The calls since it began last, in the order of their answers."""
        return [Call(**json.loads(line)) for line in self._record.read_text().splitlines()]

    def progress(self) -> float | None:
        """Seconds from its start to the first thing that it changed; None as long as there is none."""
        done = (it.at for it in self.calls() if is_write(it.call) and 200 <= it.status < 300)
        return next((at - self.launched_at for at in done), None)

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
