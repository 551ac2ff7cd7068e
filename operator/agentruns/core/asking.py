"""Asking a person: before an effect, and about an effect whose outcome cannot be known."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agentruns.core import outputs
from agentruns.core.actions import Create, Preparation, SettleApproval
from agentruns.core.approvals import Demand, demand, doubt_request, effect_request, is_ours
from agentruns.core.attempts import Ended, Outcome, examined
from agentruns.core.digests import compact
from agentruns.core.inputs import Attempt
from agentruns.core.look import Look, Moved
from agentruns.core.model import whole_seconds
from agentruns.core.observed import Observed
from agentruns.core.problems import Problem, cut
from agentruns.core.questions import GivenOutput, Lost, PolicyEnforced
from agentruns.core.records import RecordedDecision, RunStatus, StepState, StepStatus
from agentruns.core.resources import AgentRun, Approval, ApprovalState
from agentruns.core.result_lines import MAX_VALUES
from agentruns.core.sizes import BY_LENGTH, REASON_LENGTH
from agentruns.core.starting import started

RETRY_POLICY: Final = timedelta(seconds=15)
HINDRANCES: Final = {
    "ForeignApproval": "it was not made for this run; delete it, and it is asked anew",
    "PolicyNotEnforced": "a forged decision would be accepted here; none counts until that is mended",
}
"""Why an answer cannot count yet, by the reason that is recorded of its step."""
ASKED_ANEW: Final = "; asked anew, since the output given with Happened cannot be used"
CAUSE_LENGTH: Final = 512
"""Characters that are kept of why something is in doubt, before what was said of it since."""
_SETTLED_AS: Final = {"Approve": ApprovalState.APPROVED, "Reject": ApprovalState.REJECTED}


def is_open(look: Look) -> bool:
    """Whether the question is there, as it was put, and nobody has answered: to see that takes no evaluation."""
    approval = look.seen.approvals.get(look.record.approval)
    return (
        approval is not None
        and approval.spec.decision is None
        and approval.metadata.generation <= 1
        and approval.metadata.deletion_timestamp is None
        and look.record.reason not in HINDRANCES
    )


def asked(look: Look, attempt: Attempt) -> Moved:
    """A step that waits for a person: the question is put, and its answer followed."""
    question = demand(look.run, look.step, attempt, "Effect", effect_request(look.reader, look.step, attempt))
    waiting = _asks(look, question).recording(state=StepState.AWAITING_APPROVAL, reason="AwaitingDecision", message="")
    answer = _answer(waiting, question)
    if isinstance(answer, Moved):
        return answer
    decided = waiting.recording(decision=answer, message="")
    if answer.verdict == "Approve":
        return started(decided.recording(input_digest=attempt.input_digest), attempt)
    return Moved(decided.failed("Rejected", f"{answer.by or 'a person'} rejected it{because_of(answer)}"))


def doubted(look: Look) -> Moved:
    """A step whose outcome is unknown: a person says what became of it."""
    found = examined(look.record, look.seen)
    if isinstance(found, Ended) and found.outcome is Outcome.SUCCEEDED and found.result:
        return outputs.judged(look, found.result.output)  # it could be read after all: nobody need be asked
    if is_open(look):
        return Moved(look.record)
    try:
        attempt = look.attempt()
    except Problem as problem:  # what was sent cannot be shown any more; it is in doubt all the same
        return Moved(look.recording(reason=problem.reason, message=str(problem), approval="").record)
    request = doubt_request(look.reader, look.step, attempt, look.record)
    question = demand(look.run, look.step, attempt, "InDoubt", request)
    reason = "AwaitingDecision" if look.record.reason in HINDRANCES else look.record.reason
    asks = _asks(look, question).recording(reason=reason)
    answer = _answer(asks, question)
    if isinstance(answer, Moved):
        return answer
    closed = isinstance(found, Ended) and found.closed
    return _resolved(asks.recording(decision=answer), answer, closed=closed)


def _resolved(look: Look, answer: RecordedDecision, *, closed: bool) -> Moved:
    """What a person's word makes of a step in doubt; it runs again only once its attempt is closed."""
    match answer.verdict:
        case "Happened":
            return _happened(look)
        case "RunAgain" if not closed:
            return Moved(look.recording(decision=None).record, wake_at=look.seen.now + RETRY_POLICY)
        case "RunAgain":
            return _again(look, answer)
        case _:
            said = f"{look.record.message}; {answer.by or 'a person'} let it fail{because_of(answer)}"
            return Moved(look.failed("InDoubt", said))


def _again(look: Look, answer: RecordedDecision) -> Moved:
    """A step that a person has run again: at once, or when its attempt is over if nobody has seen that end."""
    due = look.record.next_attempt_at if look.over_at else None
    again = look.recording(state=StepState.WAITING, epoch=look.record.epoch + 1, attempt=0, next_attempt_at=due)
    if due is None or due <= look.seen.now:
        return Moved(again.record)
    said = f"{look.record.message}; {answer.by or 'a person'} had it run again, and it begins at {whole_seconds(due)}"
    return Moved(again.recording(message=f"{said}: what was lost may act until then").record, wake_at=due)


def _happened(look: Look) -> Moved:
    """A step that a person says has happened; what it cannot have returned is asked about anew."""
    approval = look.seen.approvals[look.record.approval]
    question = GivenOutput(approval.metadata.name, approval.metadata.uid)
    look.reader.reading.take(question, outputs.MAX_STORED, MAX_VALUES)
    given = look.seen.answer(question)
    wrong = given.message if isinstance(given, Lost) else outputs.misfit(look, given, compact(given), "decision.output")
    if not wrong:
        return outputs.judged(look, given)
    cause = look.record.message.partition(ASKED_ANEW)[0][:CAUSE_LENGTH]
    said = f"{cause}{ASKED_ANEW}: {wrong}"
    return Moved(look.recording(decision=None, asked_anew=look.record.asked_anew + 1, message=said).record)


def _asks(look: Look, question: Demand) -> Look:
    """The same look with the question recorded, and what its Approval shows; nothing if that is not what was asked."""
    shown = shown_by(question, look.run, look.seen, look.record)
    return look.recording(approval=question.name, shown_digest=shown)


def _answer(look: Look, question: Demand) -> RecordedDecision | Moved:
    """The decision that counts, once its Approval says so; until then what is to be done about it."""
    answer = answer_to(question, look.record.shown_digest, look.seen)
    if isinstance(answer, RecordedDecision):
        return answer
    asks = look.recording(approval="") if question.name in look.seen.refusals else look
    asks = asks.recording(reason=answer.hindrance) if answer.hindrance else asks
    return Moved(asks.record, preparations=answer.preparations, wake_at=answer.wake_at)


@dataclass(frozen=True)
class NoAnswer:
    """A question to which no answer counts yet: what keeps it from counting, and what is to be done first."""

    hindrance: str = ""
    preparations: tuple[Preparation, ...] = ()
    wake_at: datetime | None = None


def shown_by(question: Demand, run: AgentRun, seen: Observed, record: StepStatus | RunStatus) -> str:
    """The digest of what the question's Approval shows; empty if that is not what is asked, nor was."""
    approval = seen.approvals.get(question.name)
    return approval.spec.request if approval and is_ours(approval, question, run, record) else ""


def answer_to(question: Demand, shown: str, seen: Observed) -> RecordedDecision | NoAnswer:
    """The decision that counts, once its Approval says so, given what that shows of this question."""
    approval = seen.approvals.get(question.name)
    if approval is None:
        return NoAnswer(preparations=(Create(question.manifest),))
    if not shown:
        return NoAnswer("ForeignApproval")
    if approval.spec.decision is None or approval.metadata.deletion_timestamp is not None:
        return NoAnswer()
    if not seen.answer(PolicyEnforced(question.namespace)):
        return NoAnswer("PolicyNotEnforced", wake_at=seen.now + RETRY_POLICY)
    return _counted(approval, seen)


def _counted(approval: Approval, seen: Observed) -> RecordedDecision | NoAnswer:
    """The decision, settled on the Approval itself before anything follows from it."""
    decision = approval.spec.decision
    assert decision is not None
    state = _SETTLED_AS.get(decision.verdict, ApprovalState.SETTLED)
    if approval.status.state is not state:
        settle = SettleApproval(
            approval.metadata.name, approval.metadata.uid, approval.metadata.resource_version, state
        )
        # Settled otherwise, the run has ended without the answer, and this look at it is an old one.
        return NoAnswer(preparations=(settle,) if approval.status.state is ApprovalState.PENDING else ())
    return RecordedDecision(
        verdict=decision.verdict,
        by=cut(decision.by, BY_LENGTH),
        at=approval.status.decided_at or seen.now,
        reason=cut(decision.reason, REASON_LENGTH),
        digest=approval.spec.digest,
    )


def because_of(decision: RecordedDecision) -> str:
    """A person's reason, as the end of a sentence; empty if none was given."""
    return f": {decision.reason}" if decision.reason else ""
