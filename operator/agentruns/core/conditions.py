"""`status.conditions` from the facts of a run. The reasons that each type may have are published in the CRDs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from agentruns.core.model import Condition
from agentruns.core.records import FINAL_PHASES, FORMAT_VERSION, Phase, RunStatus

Truth = Literal["True", "False", "Unknown"]
STALLING: Final = frozenset({"CreationRefused", "PolicyNotEnforced", "ForeignApproval"})
"""Reasons of runs that are not final and will not move by themselves."""

NEWER_FORMAT: Final = "NewerFormat"
"""The reason of a run whose status a later release has written."""
_DOUBTS: Final = frozenset({"StepInDoubt", "TaskInDoubt"})


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
    stalled = status.phase is Phase.FAILED or status.reason in STALLING
    asks = any(it.kind == "Approval" for it in status.waiting_for)
    question = status.reason if status.reason in _DOUBTS else "StepAwaitsApproval"
    said = status.message
    facts = (
        Fact("Finished", _truth(final), status.phase.value if final else "InProgress", said if final else ""),
        Fact("Succeeded", succeeded, status.reason if final else "InProgress", said),
        Fact("AwaitingApproval", _truth(asks), question if asks else "NotWaiting", said if asks else ""),
        Fact("Reconciling", _truth(not final and not stalled), status.reason, said),
        Fact("Stalled", _truth(stalled), status.reason if stalled else "NotStalled", said if stalled else ""),
    )
    return stated(facts, status.conditions, generation, now)


def unreadable(status: RunStatus, generation: int, now: datetime) -> tuple[Condition, ...]:
    """The conditions by which a run says that its status is of a later release than this one."""
    said = f"its status has format {status.format_version}, and this operator reads {FORMAT_VERSION}; upgrade it"
    facts = (Fact("Reconciling", "False", NEWER_FORMAT, said), Fact("Stalled", "True", NEWER_FORMAT, said))
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
