"""Which phase a run is in, by where its steps stand. A line that changes a phase anywhere else is in the wrong file."""

from typing import Any

from agentruns.core.asking import HINDRANCES
from agentruns.core.digests import canonical, stored_length
from agentruns.core.inputs import Reader
from agentruns.core.journal import Journal
from agentruns.core.limits import Ending
from agentruns.core.observed import Observed
from agentruns.core.problems import Problem, within
from agentruns.core.questions import Lost
from agentruns.core.records import FINAL_STATES, IN_FLIGHT_STATES, Phase, RunStatus, StepState
from agentruns.core.resources import AgentRun
from agentruns.core.sizes import OUTPUT_LIMIT
from agentruns.core.summary import done_before, let_pass, summarised
from agentruns.core.templates import expanded


def phased(run: AgentRun, status: RunStatus, limit: Ending | None, seen: Observed, *, holding: bool) -> RunStatus:
    """The status with the phase that follows from its steps; nothing ends while something is being prepared."""
    in_flight = [record for record in status.steps if record.state in IN_FLIGHT_STATES]
    if limit is not None:
        open_ = in_flight or any(it.state not in FINAL_STATES | {StepState.IN_DOUBT} for it in status.steps) or holding
        if open_:
            waits = f"; in flight: {', '.join(it.name for it in in_flight[:5])}" if in_flight else ""
            return in_phase(run, status, Phase.RUNNING, limit.reason, f"ending: {limit.message}{waits}", seen)
        return _ended_early(run, status, limit, seen)
    if all(it.state in FINAL_STATES for it in status.steps) and _all_begun(run, status):
        return _completed(run, status, seen)
    if run.spec.desired_state == "Paused":
        said = f"desiredState is Paused; it goes on when it is Running. Steps in flight, let finish: {len(in_flight)}"
        return in_phase(run, status, Phase.PAUSED, "PausedByUser", said, seen)
    return _underway(run, status, seen)


def _all_begun(run: AgentRun, status: RunStatus) -> bool:
    recorded = sum(not it.is_settle_call for it in status.steps)
    return recorded + Journal(run, status.journal).length == len(run.spec.steps)


def _underway(run: AgentRun, status: RunStatus, seen: Observed) -> RunStatus:
    moves = IN_FLIGHT_STATES | {StepState.WAITING}
    moving = [it for it in status.steps if it.state in moves or it.is_settling]
    asked = [it for it in status.steps if it.state in (StepState.AWAITING_APPROVAL, StepState.IN_DOUBT)]
    if moving or not asked:
        names = ", ".join(f"{it.name} is {it.state.value}" for it in moving[:5])
        said = f"{names}: {moving[0].message}" if moving and moving[0].message else names
        return in_phase(run, status, Phase.RUNNING, "StepsInFlight", said or "the next step is about to begin", seen)
    first = asked[0]
    doubt = f"is in doubt ({first.message}) and " if first.state is StepState.IN_DOUBT else ""
    asks = f"waits for Approval {first.approval}" if first.approval else "cannot be asked about now; cancel the run"
    said = f"step {first.name} {doubt}{asks}"
    if hindrance := HINDRANCES.get(first.reason):
        return in_phase(run, status, Phase.AWAITING_APPROVAL, first.reason, f"{said}: {hindrance}", seen)
    reason = "StepInDoubt" if doubt else "StepAwaitsApproval"
    return in_phase(run, status, Phase.AWAITING_APPROVAL, reason, said, seen)


def _ended_early(run: AgentRun, status: RunStatus, limit: Ending, seen: Observed) -> RunStatus:
    """A run that a limit has ended, saying what had been done by then and what is not known."""
    records = Journal(run, status.journal).all_records(status.steps, seen)
    lost = f"{records.message}; of the latest steps: " if isinstance(records, Lost) else ""
    done = done_before(status.steps if isinstance(records, Lost) else records, but=limit.step)
    return final(run, status, limit.phase, limit.reason, f"{limit.message}; {lost}{done}", seen)


def _completed(run: AgentRun, status: RunStatus, seen: Observed) -> RunStatus:
    """A run whose steps have all ended well; its output is made, or the run says why it cannot be."""
    records = Journal(run, status.journal).all_records(status.steps, seen)
    if isinstance(records, Lost):
        said = f"{records.message}; of the latest steps: {done_before(status.steps)}"
        return final(run, status, Phase.FAILED, "StateLost", said, seen)
    reader = Reader(run, {record.name: record for record in records}, seen)
    try:
        output = _output(run, reader)
    except Problem as problem:
        reason = "StateLost" if problem.reason == "StateLost" else "OutputInvalid"
        return final(run, status, Phase.FAILED, reason, f"{problem}; {done_before(records)}", seen)
    said = f"all steps have ended{let_pass(records)}"
    return final(run, status.model_copy(update={"output": output}), Phase.SUCCEEDED, "Completed", said, seen)


def _output(run: AgentRun, reader: Reader) -> Any:
    """What the run returns; Problem if that cannot be made, or is too large."""
    output = expanded(run.spec.output, "output", reader) or None
    with within("output"):
        size = max(len(canonical(output)), stored_length(output))
        if size > OUTPUT_LIMIT:
            raise Problem(f"{size} bytes; at most {OUTPUT_LIMIT} fit, take less from the steps")
    return output


def final(run: AgentRun, status: RunStatus, phase: Phase, reason: str, message: str, seen: Observed) -> RunStatus:
    """The status of a run that has come to its end, now."""
    return in_phase(run, status.model_copy(update={"finished_at": seen.now}), phase, reason, message, seen)


def in_phase(run: AgentRun, status: RunStatus, phase: Phase, reason: str, message: str, seen: Observed) -> RunStatus:
    """The status of a run that is in this phase now. The one place where a phase is set."""
    update = {"phase": phase, "reason": reason, "message": message}
    return summarised(run, status.model_copy(update=update), seen.now)
