"""`status.conditions` from the facts of a run, with the reasons that each type may have.

Finished        True: Succeeded, Failed, Cancelled.  False: InProgress.
Succeeded       True: Completed.  False: the run's own reason.  Unknown: InProgress.
AwaitingApproval True: StepAwaitsApproval.  False: NotWaiting.
Reconciling     True: the run's own reason, while it is not final.  False: the same, once it is.
Stalled         True: the reason of a run that cannot go on without a person's help.  False: NotStalled.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from agentruns.core.model import Condition
from agentruns.core.resources import FINAL_PHASES, Phase, RunStatus

Truth = Literal["True", "False", "Unknown"]
STALLING: Final = frozenset({"WaitingForTool", "CreationRefused", "PolicyNotEnforced", "ForeignApproval"})
"""Reasons of runs that are not final and will not move by themselves."""


@dataclass(frozen=True)
class Fact:
    """One aspect of an object's state, before it is a condition with times."""

    type: str
    status: Truth
    reason: str
    message: str = ""


def conditions(status: RunStatus, generation: int, now: datetime) -> tuple[Condition, ...]:
    """The five conditions of a run with this phase and reason."""
    final = status.phase in FINAL_PHASES
    succeeded: Truth = "Unknown" if not final else "True" if status.phase is Phase.SUCCEEDED else "False"
    asks = any(it.kind == "Approval" for it in status.waiting_for)
    stalled = status.phase is Phase.FAILED or status.reason in STALLING
    facts = (
        Fact("Finished", _truth(final), status.phase.value if final else "InProgress"),
        Fact("Succeeded", succeeded, status.reason if final else "InProgress", status.message),
        Fact("AwaitingApproval", _truth(asks), "StepAwaitsApproval" if asks else "NotWaiting"),
        Fact("Reconciling", _truth(not final), status.reason, status.message),
        Fact("Stalled", _truth(stalled), status.reason if stalled else "NotStalled"),
    )
    return stated(facts, status.conditions, generation, now)


def stated(facts: Iterable[Fact], before: Iterable[Condition], generation: int, now: datetime) -> tuple[Condition, ...]:
    """The facts as conditions; times move only where a status changes."""
    known = {condition.type: condition for condition in before}
    return tuple(
        Condition(
            type=fact.type,
            status=fact.status,
            reason=fact.reason,
            message=fact.message,
            last_transition_time=_since(known.get(fact.type), fact.status, now),
            observed_generation=generation,
        )
        for fact in facts
    )


def _truth(fact: bool) -> Truth:
    return "True" if fact else "False"


def _since(before: Condition | None, truth: Truth, now: datetime) -> datetime:
    return before.last_transition_time if before and before.status == truth else now
