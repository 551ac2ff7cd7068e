"""Asking a person: before an effect, and about an effect whose outcome cannot be known."""

from datetime import timedelta
from typing import Final

from agentruns.core import outputs, schemas
from agentruns.core.actions import Create, SettleApproval
from agentruns.core.approvals import (
    Demand,
    because,
    doubt_demand,
    doubt_request,
    effect_demand,
    effect_request,
    is_ours,
)
from agentruns.core.attempts import Ended, Outcome, examined
from agentruns.core.look import Look, Moved
from agentruns.core.observed import PolicyEnforced
from agentruns.core.resources import Approval, ApprovalState, RecordedDecision, StepState
from agentruns.core.starting import started

RETRY_POLICY: Final = timedelta(seconds=15)
HINDRANCES: Final = {
    "ForeignApproval": "it was not made for this run; delete it, and it is asked anew",
    "PolicyNotEnforced": "a forged decision would be accepted here; none counts until that is mended",
}
"""Why an answer cannot count yet, by the reason that is recorded of its step."""
_SETTLED_AS: Final = {"Approve": ApprovalState.APPROVED, "Reject": ApprovalState.REJECTED}


def asked(look: Look) -> Moved:
    """A step that waits for a person: the question is put, and its answer followed."""
    attempt = look.attempt()
    request = effect_request(look.run, look.step, attempt, because(look.step, attempt, look.seen), look.reader)
    demand = effect_demand(look.run, look.step, attempt, request)
    waiting = look.recording(
        state=StepState.AWAITING_APPROVAL, reason="AwaitingDecision", message="", approval=demand.name
    )
    answer = _answer(waiting, demand)
    if isinstance(answer, Moved):
        return answer
    decided = waiting.recording(decision=answer, message="")
    if answer.verdict == "Approve":
        return started(decided, attempt)
    return Moved(decided.failed("Rejected", f"{answer.by or 'a person'} rejected it{_because_of(answer)}"))


def doubted(look: Look) -> Moved:
    """A step whose outcome is unknown: a person says what became of it."""
    found = examined(look.record, look.seen)
    if isinstance(found, Ended) and found.outcome is Outcome.SUCCEEDED and found.result:
        return outputs.settled(look, found.result.output)  # it could be read after all: nobody need be asked
    attempt = look.attempt()
    request = doubt_request(look.run, look.step, attempt, look.record.message, look.seen)
    demand = doubt_demand(look.run, look.step, attempt, request)
    waiting = look.recording(approval=demand.name)
    answer = _answer(waiting, demand)
    if isinstance(answer, Moved):
        return answer
    decided = waiting.recording(decision=answer)
    match answer.verdict:
        case "Happened":
            return _happened(decided, demand)
        case "RunAgain" if not (isinstance(found, Ended) and found.closed):
            return Moved(look.record, wake_at=look.seen.now + RETRY_POLICY)
        case "RunAgain":
            again = decided.recording(state=StepState.WAITING, epoch=look.record.epoch + 1, attempt=0)
            return Moved(again.record)
        case _:
            said = f"{look.record.message}; {answer.by or 'a person'} let it fail{_because_of(answer)}"
            return Moved(decided.failed("InDoubt", said))


def _happened(look: Look, demand: Demand) -> Moved:
    """The output that a person vouches for, held to the tool's schema like any other."""
    decision = look.seen.approvals[demand.name].spec.decision
    output = decision.output if decision else None
    if look.tool.output_schema and (wrong := schemas.problems(look.tool.output_schema, output, look.seen)):
        return Moved(look.failed("InvalidResult", f"decision.output does not fit the outputSchema: {wrong}"))
    return outputs.kept(look, output)


def _answer(look: Look, demand: Demand) -> RecordedDecision | Moved:
    """The decision that counts, once its Approval says so; until then what is to be done about it."""
    approval = look.seen.approvals.get(demand.name)
    if approval is None:
        return Moved(look.record, preparations=(Create(demand.manifest),))
    if not is_ours(approval, demand, look.run):
        return Moved(look.recording(reason="ForeignApproval").record)
    if approval.spec.decision is None or approval.metadata.deletion_timestamp is not None:
        return Moved(look.record)
    if not look.seen.answer(PolicyEnforced(look.run.metadata.namespace)):
        return Moved(look.recording(reason="PolicyNotEnforced").record, wake_at=look.seen.now + RETRY_POLICY)
    return _counted(look, approval)


def _counted(look: Look, approval: Approval) -> RecordedDecision | Moved:
    """The decision, settled on the Approval itself before anything follows from it."""
    decision = approval.spec.decision
    assert decision is not None
    state = _SETTLED_AS.get(decision.verdict, ApprovalState.SETTLED)
    if approval.status.state is not state:
        settle = SettleApproval(
            approval.metadata.name, approval.metadata.uid, approval.metadata.resource_version, state
        )
        return Moved(look.record, preparations=(settle,))
    return RecordedDecision(
        verdict=decision.verdict,
        by=decision.by,
        at=approval.status.decided_at or look.seen.now,
        reason=decision.reason,
        digest=approval.spec.digest,
    )


def _because_of(decision: RecordedDecision) -> str:
    return f": {decision.reason}" if decision.reason else ""
