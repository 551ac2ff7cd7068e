"""One fault: at which call, at which moment of it, and what happens then. Chosen by the environment."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from agentruns.cluster import ApiError

VARIABLE = "AGENTRUN_TEST_FAULT"
RECORD_VARIABLE = "AGENTRUN_TEST_CALLS"


class Moment(StrEnum):
    """Where in a call."""

    BEFORE = "before"
    """Directly before its bytes are sent."""
    SENT = "sent"
    """Its bytes are the kernel's to deliver; nobody reads the answer, and whether it is carried out is a race."""
    AFTER = "after"
    """Its answer has been read, and nothing is done with it."""


class Deed(StrEnum):
    """What happens."""

    KILL = "kill"
    STOP = "stop"
    TIME_OUT = "time out"
    """Only after a call: it was carried out, and what comes back is that no answer came in time."""


@dataclass(frozen=True)
class Fault:
    """What happens at the n-th call of a name."""

    call: str
    number: int = 1
    moment: Moment = Moment.BEFORE
    deed: Deed = Deed.KILL

    def environment(self) -> dict[str, str]:
        """What has the test build commit this fault."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Fault | None:
        """The fault that an environment asks for."""
        if VARIABLE not in environment:
            return None
        said: dict[str, Any] = json.loads(environment[VARIABLE])
        return cls(said["call"], said["number"], Moment(said["moment"]), Deed(said["deed"]))

    def commit(self) -> None:
        """Ends or stops this process, or has the call time out."""
        match self.deed:
            case Deed.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Deed.STOP:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Deed.TIME_OUT:
                raise ApiError(0, "Unreachable", "the API server did not answer: planted")


class Calls:
    """Counts calls by their names, and says which one a fault is about."""

    def __init__(self, fault: Fault | None) -> None:
        self._fault, self._seen = fault, Counter[str]()

    def begun(self, name: str) -> tuple[int, Fault | None]:
        """The number of this call among those of its name, and the fault if it is the one."""
        self._seen[name] += 1
        number, fault = self._seen[name], self._fault
        return number, fault if fault and (fault.call, fault.number) == (name, number) else None
