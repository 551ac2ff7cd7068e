"""`status.conditions` from the facts of a run, with the reasons that each type may have.

Finished        True: Succeeded, Failed, Cancelled.  False: InProgress.
Succeeded       True: Completed.  False: the run's own reason.  Unknown: InProgress.
AwaitingApproval True: StepAwaitsApproval.  False: NotWaiting.
Reconciling     True: the run's own reason, while it is not final.  False: the same, once it is.
Stalled         True: the reason of a run that cannot go on without a person's help.  False: NotStalled.
"""

from datetime import datetime
from typing import Final, Literal

from agentruns.core.resources import FINAL_PHASES, Condition, Phase, RunStatus

_Truth = Literal["True", "False", "Unknown"]
STALLING: Final = frozenset({"WaitingForTool", "CreationRefused", "PolicyNotEnforced", "ForeignApproval"})
"""Reasons of runs that are not final and will not move by themselves."""


def conditions(status: RunStatus, generation: int, now: datetime) -> tuple[Condition, ...]:
    """The five conditions of a run with this phase and reason; times move only where a status changes."""
    final = status.phase in FINAL_PHASES
    succeeded: _Truth = "Unknown" if not final else "True" if status.phase is Phase.SUCCEEDED else "False"
    asks = any(it.kind == "Approval" for it in status.waiting_for)
    stalled = status.phase is Phase.FAILED or status.reason in STALLING
    facts: tuple[tuple[str, _Truth, str], ...] = (
        ("Finished", _truth(final), status.phase.value if final else "InProgress"),
        ("Succeeded", succeeded, status.reason if final else "InProgress"),
        ("AwaitingApproval", _truth(asks), "StepAwaitsApproval" if asks else "NotWaiting"),
        ("Reconciling", _truth(not final), status.reason),
        ("Stalled", _truth(stalled), status.reason if stalled else "NotStalled"),
    )
    before = {condition.type: condition for condition in status.conditions}
    return tuple(
        Condition(
            type=type_,
            status=truth,
            reason=reason,
            message=status.message if type_ in ("Succeeded", "Reconciling") else "",
            last_transition_time=_since(before.get(type_), truth, now),
            observed_generation=generation,
        )
        for type_, truth, reason in facts
    )


def _truth(fact: bool) -> _Truth:
    return "True" if fact else "False"


def _since(before: Condition | None, truth: _Truth, now: datetime) -> datetime:
    return before.last_transition_time if before and before.status == truth else now
