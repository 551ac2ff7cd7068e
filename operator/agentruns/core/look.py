"""One step as it stands, and one move of it: what the parts of the step machine pass to one another."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from agentruns.core import inputs
from agentruns.core.actions import Action, Preparation
from agentruns.core.inputs import Reader
from agentruns.core.observed import Observed, PodSeen
from agentruns.core.pods import Attempt
from agentruns.core.resources import AgentRun, PinnedTool, Step, StepState, StepStatus, ToolSpec

MESSAGE_LENGTH = 1024


@dataclass(frozen=True)
class Look:
    """One step as it stands: what the run wants of it, what is recorded of it, and what can be seen."""

    run: AgentRun
    records: Mapping[str, StepStatus]
    step: Step
    record: StepStatus
    pinned: PinnedTool
    tool: ToolSpec
    seen: Observed

    @property
    def reader(self) -> Reader:
        """Evaluates this run's expressions."""
        return Reader(self.run, self.records, self.seen)

    @property
    def timeout(self) -> timedelta:
        """How long the tool may run: what the step asks for, at most what the tool allows."""
        return min(self.step.timeout or self.tool.timeout, self.tool.timeout)

    @property
    def pod(self) -> PodSeen | None:
        """The recorded pod, if it can be seen."""
        return self.seen.pods.get(self.record.pod_uid)

    def args(self) -> Any:
        """The arguments as they go to the tool; raises Problem if they do not fit."""
        return inputs.arguments(self.step, self.reader, self.tool, self.seen)

    def attempt(self) -> Attempt:
        """The attempt that the record stands at; raises Problem if its input cannot be made."""
        return inputs.attempt(self.run, self.step, self.record, self.pinned, self.tool, self.args())

    def recording(self, **update: Any) -> "Look":
        """The same look with something else recorded."""
        return replace(self, record=self.record.model_copy(update=update))

    def ended(self, state: StepState, reason: str, message: str = "") -> StepStatus:
        """The record of a step that has come to its end now."""
        update = {
            "state": state,
            "reason": reason,
            "message": message[:MESSAGE_LENGTH],
            "finished_at": self.seen.now,
            "next_attempt_at": None,
        }
        return self.record.model_copy(update=update)

    def failed(self, reason: str, message: str) -> StepStatus:
        """The record of a step that has failed now."""
        return self.ended(StepState.FAILED, reason, message)


@dataclass(frozen=True)
class Moved:
    """Where a step stands now, what must be there before that is recorded, what follows, and when to look again."""

    record: StepStatus
    preparations: tuple[Preparation, ...] = ()
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
