"""One step as it stands, and one move of it: what the parts of the step machine pass to one another."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from agentruns.core.actions import Action, Preparation
from agentruns.core.attempts import GRACE, OVERTIME, START_WINDOW
from agentruns.core.inputs import Arguments, Attempt, Reader, arguments, carried, tool_input
from agentruns.core.observed import Observed, PodSeen
from agentruns.core.problems import MESSAGE_LENGTH, cut, printable
from agentruns.core.questions import Lost, StillStored, all_answered
from agentruns.core.records import EffectState, PinnedTool, StepState, StepStatus
from agentruns.core.resources import AgentRun, Effect, Step, ToolSpec

_MAY_BE_DONE: Final = "; the effect may have been done"


@dataclass(frozen=True)
class Look:
    """One step as it stands: what the run wants of it, what is recorded of it, and what can be seen."""

    reader: Reader
    step: Step
    record: StepStatus
    pinned: PinnedTool
    tool: ToolSpec
    room: int
    """Bytes that are left in the status."""

    @property
    def run(self) -> AgentRun:
        """The run of this step."""
        return self.reader.run

    @property
    def seen(self) -> Observed:
        """What can be seen of the run."""
        return self.reader.seen

    @property
    def timeout(self) -> timedelta:
        """How long the tool may run: what the step asks for, at most what the tool allows."""
        return min(self.step.timeout or self.tool.timeout, self.tool.timeout)

    @property
    def pod(self) -> PodSeen | None:
        """The recorded pod, if it can be seen."""
        return self.seen.pods.get(self.record.pod_uid)

    def hard_end(self, began: datetime) -> datetime:
        """When an attempt that began then has ended for certain, unless its node is lost: its kubelet ends it."""
        return began + self.timeout + OVERTIME + GRACE

    @property
    def over_at(self) -> datetime | None:
        """When the recorded attempt has ended for certain, unless its node is lost; None if it was seen to have ended.

        A pod that was given up or removed by force may still begin on a node that has not heard of it, up to its
        NOT_AFTER. Of one that cannot be seen only this is known: it was prepared before now, and may have begun.
        """
        pod, now = self.pod, self.seen.now
        if pod is not None:
            return None if pod.end and pod.end.known else self.hard_end(pod.started_at or pod.not_after)
        began = self.record.state is StepState.RUNNING or self.record.pod_uid in self.seen.results
        return self.hard_end(now if began else now + START_WINDOW)

    def effect(self, state: EffectState) -> EffectState:
        """This much of an effect, or none where the tool only reads."""
        return EffectState.NONE if self.tool.effect is Effect.READ_ONLY else state

    def args(self) -> Any:
        """The arguments as they go to the tool; raises Problem if they do not fit."""
        return self._arguments().whole

    def _arguments(self) -> Arguments:
        return arguments(self.step, self.reader, self.tool, self.seen)

    def attempt(self) -> Attempt:
        """The attempt that the record stands at; raises Problem if its input cannot be made."""
        args = self._arguments()
        content = tool_input(self.run, self.step.name, args.whole)
        sent = carried(content, args.parts)
        return Attempt(
            step=self.step.name,
            number=max(self.record.attempt, 1),
            epoch=self.record.epoch,
            asked_anew=self.record.asked_anew,
            tool=self.tool,
            revision=self.pinned.revision,
            timeout=self.timeout,
            args=args.whole,
            input_text=sent.text,
            input_digest=sent.digest,
            files=sent.files,
            idempotency_key=content["idempotencyKey"],
        )

    def lost_file(self, attempt: Attempt) -> str:
        """Which file of an attempt is not there any more, or has been changed, in a sentence; empty if none."""
        refs = {file.part.step: file.part.ref for file in attempt.files}
        found = all_answered(partial(self.seen.answer, StillStored(ref)) for ref in refs.values())
        lost = ((step, it) for step, it in zip(refs, found, strict=True) if isinstance(it, Lost))
        return next((f"the output of step {step} is lost: {it.message}" for step, it in lost), "")

    def recording(self, **update: Any) -> "Look":
        """The same look with something else recorded; a message is cut, and made safe to print."""
        if "message" in update:
            update["message"] = printable(update["message"])
        return replace(self, record=self.record.model_copy(update=update))

    def ended(self, state: StepState, reason: str, message: str = "") -> StepStatus:
        """The record of a step that has come to its end now."""
        end = {"finished_at": self.seen.now, "next_attempt_at": None}
        return self.recording(state=state, reason=reason, message=message, **end).record

    def failed(self, reason: str, message: str) -> StepStatus:
        """The record of a step that has failed now; whether it may have had its effect all the same is said."""
        if self.record.effect_state is EffectState.MAY_BE_DONE:
            message = cut(message, MESSAGE_LENGTH - len(_MAY_BE_DONE)) + _MAY_BE_DONE
        return self.ended(StepState.FAILED, reason, message)


@dataclass(frozen=True)
class Moved:
    """Where a step stands now, what must be there before that is recorded, what follows, and when to look again."""

    record: StepStatus
    preparations: tuple[Preparation, ...] = ()
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    call: StepStatus | None = None
    """The record of a new call that settles this step's doubt."""
