"""A recorded transition, told as a Kubernetes Event, a metric and a log line. Arguments and outputs are never told."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from agentruns import metrics
from agentruns.clock import utc_now
from agentruns.cluster import EVENTS, ApiError, Cluster
from agentruns.core.model import Condition, whole_seconds
from agentruns.core.naming import API_VERSION, GROUP
from agentruns.core.records import (
    FINAL_PHASES,
    FINAL_STATES,
    Phase,
    RunStatus,
    StepState,
    StepStatus,
)
from agentruns.core.resources import AgentRun

BACKLOG: Final = 2000
_WHY: Final = "; the status says why"
_WARNINGS: Final = frozenset({Phase.FAILED, StepState.FAILED, StepState.IN_DOUBT})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """One transition in words."""

    reason: str
    message: str
    warning: bool
    step: str = ""
    attempt: int = 0


def transitions(before: RunStatus, after: RunStatus) -> list[Told]:
    """What changed between two recorded states of a run, step by step, then the run itself."""
    known = {step.name: step for step in before.steps}
    told = [it for step in after.steps if (it := _step_told(known.get(step.name, StepStatus(name=step.name)), step))]
    goes_on = after.phase is Phase.RUNNING and bool(told)  # which its step tells
    if not goes_on and (before.phase is not after.phase or (not before.reason and after.reason)):
        where = f", waits for {after.waiting}" if after.waiting else ""
        warning = after.phase in _WARNINGS
        words = f"{after.reason}, {after.progress} steps are done{where}{_WHY if warning else ''}"
        told.append(Told(f"Run{after.phase.value}", words, warning))
    return told


def _step_told(before: StepStatus, after: StepStatus) -> Told | None:
    if all(getattr(before, it) == getattr(after, it) for it in ("state", "attempt", "epoch", "asked_anew")):
        return None
    round_ = f" of round {after.epoch + 1}" if after.epoch else ""
    attempt = f" (attempt {after.attempt}{round_})" if after.attempt else ""
    warning = after.state in _WARNINGS
    reason = f": {after.reason}" if after.reason != after.state.value else ""
    where = f", in pod {after.pod}" if after.state is StepState.PREPARED else ""
    words = f"step {after.name}{attempt} is {after.state.value}{reason}{where}{_WHY if warning else ''}"
    return Told(f"Step{after.state.value}", words, warning, after.name, after.attempt)


class Announcer:
    """Tells transitions in the background: what is told never holds up what is done, and may be lost."""

    def __init__(self, cluster: Cluster, reporter: str, unique: str) -> None:
        """`reporter` is who tells: the operator's pod. `unique` is in the names of Events, for each process another."""
        self._cluster, self._reporter, self._unique = cluster, reporter, unique
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue(BACKLOG)
        self._count = 0

    def tell(self, run: AgentRun, before: RunStatus, after: RunStatus) -> None:
        """Tells everything that changed between two recorded states of a run."""
        for it in transitions(before, after):
            fields = {"namespace": run.metadata.namespace, "run": run.metadata.name, "uid": run.metadata.uid}
            log.info("%s", it.reason, extra=fields | {"step": it.step, "attempt": it.attempt})
            self._offer(run, it)
        _count(before, after)

    def warn(self, run: AgentRun, error: Exception) -> None:
        """Tells that passes over a run fail; what the error says may quote arguments and stays in the log."""
        kind = f"{error.status} {error.reason}" if isinstance(error, ApiError) else type(error).__name__
        words = f"the operator cannot go on with this run for now and keeps trying: {kind}; its log says more"
        self._offer(run, Told("PassesFail", words, warning=True))

    def state(self, run: AgentRun, conditions: tuple[Condition, ...]) -> None:
        """Tells why a run is left alone."""
        for it in conditions:
            if it.type == "Stalled":
                self._offer(run, Told(it.reason, it.message, warning=True))

    def _offer(self, run: AgentRun, told: Told) -> None:
        self._count += 1
        try:
            self._events.put_nowait(_event(run, told, f"{self._unique}-{self._count:x}", self._reporter))
        except asyncio.QueueFull:
            log.debug("an Event was dropped: too many wait to be written")

    async def run(self) -> None:
        """Writes Events until it is cancelled."""
        while True:
            event = await self._events.get()
            try:
                await self._cluster.create(event)
            except ApiError as error:
                log.debug("an Event was not written: %s", error)


def _count(before: RunStatus, after: RunStatus) -> None:
    over = {step.name for step in before.steps if step.state in FINAL_STATES}
    for step in after.steps:
        ended = step.state in FINAL_STATES and step.name not in over
        if ended and step.started_at and step.finished_at:
            seconds = (step.finished_at - step.started_at).total_seconds()
            metrics.STEP_SECONDS.labels(step.state.value).observe(seconds)
    if after.phase in FINAL_PHASES and before.phase not in FINAL_PHASES:
        metrics.RUNS_FINISHED.labels(after.phase.value).inc()


def _event(run: AgentRun, told: Told, unique: str, reporter: str) -> dict[str, Any]:
    now = whole_seconds(utc_now())
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{run.metadata.name[:200]}.{unique}", "namespace": run.metadata.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "AgentRun",
            "name": run.metadata.name,
            "namespace": run.metadata.namespace,
            "uid": run.metadata.uid,
        },
        "type": "Warning" if told.warning else "Normal",
        "reason": told.reason,
        "message": told.message[:1024],
        "action": told.reason,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": f"{GROUP}/operator"},
        "reportingComponent": f"{GROUP}/operator",
        "reportingInstance": reporter,
    }
