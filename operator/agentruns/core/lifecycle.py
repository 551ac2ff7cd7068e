"""The state machine of a run. A line that changes a phase anywhere else is in the wrong file."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from agentruns.core.actions import Action, Create, Preparation, StateConditions, WriteClaim
from agentruns.core.aftermath import after_the_end, loose_ends
from agentruns.core.asking import HINDRANCES
from agentruns.core.attempts import PATIENCE
from agentruns.core.checks import check_run, unfit_to_settle
from agentruns.core.claims import Free, Turned, claimed, kept, turn_of
from agentruns.core.conditions import unreadable
from agentruns.core.digests import canonical, stored_length
from agentruns.core.inputs import Reader
from agentruns.core.journal import Folded, Journal, folded
from agentruns.core.limits import Ending, ending, time_left
from agentruns.core.model import earliest, in_seconds
from agentruns.core.observed import Lost, Observed, PinnedSpec, Refusal, all_answered
from agentruns.core.pinning import MissingToolError, Pin, pinned_tools
from agentruns.core.problems import Problem, within
from agentruns.core.resources import (
    FINAL_PHASES,
    FINAL_STATES,
    FORMAT_VERSION,
    HOLDING_STATES,
    IN_FLIGHT_STATES,
    AgentRun,
    OversizedRun,
    Phase,
    RecordedDecision,
    RunStatus,
    StepState,
    WaitingFor,
)
from agentruns.core.schedule import Tools, one_round
from agentruns.core.sizes import OUTPUT_LIMIT, room_in
from agentruns.core.starting import RETRY_REFUSED
from agentruns.core.summary import LISTED, done_before, let_pass, observed, summarised
from agentruns.core.templates import expanded
from agentruns.core.watching import end_of

TOOL_PATIENCE: Final = timedelta(minutes=2)
"""How long a run waits for a Tool that is not there yet: `kubectl apply -f dir/` comes in any order."""


@dataclass(frozen=True)
class Decision:
    """What to record, what must be there before, what follows after, and when to look again if nothing happens."""

    status: RunStatus
    preparations: tuple[Preparation, ...] = ()
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None


def decide(run: AgentRun, seen: Observed) -> Decision:
    """All that is to be done about a run: the same answer for the same look, whoever asks and how often."""
    if run.status.format_version > FORMAT_VERSION:
        return _left_alone(run, seen)
    if run.is_final:
        left = after_the_end(run, seen)
        return Decision(observed(run.status, run.metadata.generation), actions=left.actions, wake_at=left.wake_at)
    if run.metadata.deletion_timestamp is not None:
        left = loose_ends(run, run.status, seen)
        return Decision(run.status, actions=left.actions, wake_at=left.wake_at)
    return _kept(run, _begin(run, seen) if run.status.started_at is None else _continue(run, seen), seen)


def _continue(run: AgentRun, seen: Observed) -> Decision:
    """A run that has begun: it goes on with the tools that it was pinned to."""
    specs = all_answered(partial(seen.answer, PinnedSpec(pin)) for pin in run.status.tools)
    tools = {pin.name: spec for pin, spec in zip(run.status.tools, specs, strict=True)}
    if lost := next((it for it in tools.values() if isinstance(it, Lost)), None):
        return _without_state(run, lost, seen)
    return _go_on(run, run.status, _with_settle_tools(tools), seen)


def _with_settle_tools(tools: Tools) -> Tools:
    """The pinned Tools, without `settle` where that tool is not pinned: earlier releases never called it."""
    fit = {name for name, tool in tools.items() if not unfit_to_settle(tool)}
    asking = {name: tool for name, tool in tools.items() if tool.settle and tool.settle.tool not in fit}
    return {**tools, **{name: tool.model_copy(update={"settle": None}) for name, tool in asking.items()}}


def _left_alone(run: AgentRun, seen: Observed) -> Decision:
    """A run whose status a later release has written: it says so, unless it is over, and nothing else is done."""
    said = unreadable(run.status, run.metadata.generation, seen.now)
    if run.is_final or set(said) <= set(run.status.conditions):
        return Decision(run.status)
    return Decision(run.status, actions=(StateConditions(run.status.conditions, said, run.metadata.resource_version),))


# ------------------------------------------------------------------------------------------ the beginning


def _begin(run: AgentRun, seen: Observed) -> Decision:
    """A run that has not begun: its tools are found and pinned, and what cannot work is said before any pod."""
    if limit := ending(run, run.status, seen.now):
        return Decision(_final(run, run.status, limit.phase, limit.reason, limit.message, seen))
    if isinstance(run, OversizedRun):
        return _invalid(run, f"spec: {run.size}; so large a run is not taken, pass references instead", seen)
    if run.spec.desired_state == "Paused":
        said = "desiredState is Paused; it begins when it is Running"
        return Decision(_in(run, run.status, Phase.PAUSED, "PausedByUser", said, seen))
    try:
        turn = turn_of(run, seen)
        if isinstance(turn, Turned):
            return _turned(run, turn, seen)
        pins = pinned_tools(run, seen.tools)
        check_run(run, seen.tools, seen)
    except MissingToolError as missing:
        return _without_tool(run, missing, seen)
    except Problem as problem:
        return _invalid(run, str(problem), seen)
    if isinstance(turn, Free):
        return _claiming(run, claimed(run, turn, seen.tools.values()), seen)
    return _started(run, pins, turn.decision if turn else None, seen)


def _started(run: AgentRun, pins: list[Pin], decided: RecordedDecision | None, seen: Observed) -> Decision:
    """A run that begins now, by a person's decision on its task if there was one: its tools are pinned first."""
    unsaved = [Create(pin.manifest) for pin in pins if pin.tool.revision not in seen.stored]
    for create in unsaved:
        if refusal := seen.refusals.get(create.name):
            return _unpinned(run, refusal, seen)
    update = {"started_at": seen.now, "tools": tuple(pin.tool for pin in pins), "decision": decided}
    started = run.status.model_copy(update=update)
    decision = _go_on(run, started, seen.tools, seen)
    return replace(decision, preparations=(*unsaved, *decision.preparations))


def _invalid(run: AgentRun, problem: str, seen: Observed) -> Decision:
    return Decision(_final(run, run.status, Phase.FAILED, "InvalidSpec", problem, seen))


def _unpinned(run: AgentRun, refusal: Refusal, seen: Observed) -> Decision:
    said = f"the API server refused to pin a tool: {refusal.message}"
    if not refusal.for_now:
        return _invalid(run, said, seen)
    status = _in(run, run.status, Phase.PENDING, refusal.reason, said, seen)
    return Decision(status, wake_at=seen.now + RETRY_REFUSED)


def _turned(run: AgentRun, turn: Turned, seen: Observed) -> Decision:
    """A run that does not begin its task now, or never will."""
    if turn.phase in FINAL_PHASES:
        status = _final(run, run.status.model_copy(update=turn.record), turn.phase, turn.reason, turn.message, seen)
        return Decision(status)
    named = run.status.model_copy(update={"waiting_for": (), **turn.record})
    status = _in(run, named, turn.phase, turn.reason, turn.message, seen)
    return Decision(status, turn.preparations, wake_at=turn.wake_at)


def _claiming(run: AgentRun, write: WriteClaim, seen: Observed) -> Decision:
    """A run that may begin once it holds the claim of its task: nothing else of it is made before."""
    if refusal := seen.refusals.get(write.name):
        said = f"the API server refused to store the claim of its task: {refusal.message}"
        status = _in(run, run.status, Phase.PENDING, refusal.reason, said, seen)
        return Decision(status, wake_at=seen.now + RETRY_REFUSED)
    return Decision(run.status, (write,))


def _kept(run: AgentRun, decision: Decision, seen: Observed) -> Decision:
    """The decision; one that ends a run with a task comes after the claim of that holds the outcome.

    So a final run can go at any time, and a claim that says InFlight is one of a run that has not ended.
    """
    status = decision.status
    if not run.spec.idempotency_key or status.phase not in FINAL_PHASES:
        return decision
    match kept(run, status, seen):
        case WriteClaim() as write:
            moved = run.status.model_copy(update={"steps": status.steps})
            said = "it has ended, and the claim of its task is about to say how"
            return Decision(_in(run, moved, Phase.RUNNING, "StepsInFlight", said, seen), (write,))
        case unkept:
            said = status.message + unkept
            return replace(decision, status=_in(run, status, status.phase, status.reason, said, seen))


def _without_tool(run: AgentRun, missing: MissingToolError, seen: Observed) -> Decision:
    waited = [it.since for it in run.status.waiting_for if it.kind == "Tool" and it.since]
    since = min(waited, default=seen.now)
    if seen.now >= since + TOOL_PATIENCE:
        said = f"{missing}; it was waited for {in_seconds(TOOL_PATIENCE)}. Apply it, and make a new run"
        return Decision(_final(run, run.status, Phase.FAILED, "ToolNotFound", said, seen))
    awaited = tuple(WaitingFor(kind="Tool", name=name, since=since) for name in missing.tools)
    named = run.status.model_copy(update={"waiting_for": awaited[:LISTED]})
    status = _in(run, named, Phase.PENDING, "WaitingForTool", f"{missing}; apply it", seen)
    return Decision(status, wake_at=since + TOOL_PATIENCE)


def _without_state(run: AgentRun, lost: Lost, seen: Observed) -> Decision:
    """A run that lost what it was pinned to: nothing new begins, and it ends once its pods have."""
    held = [it.pod_uid for it in run.status.steps if it.state in IN_FLIGHT_STATES]
    running = [seen.pods[uid] for uid in held if uid in seen.pods and seen.pods[uid].active]
    if running:
        return Decision(run.status, actions=tuple(end_of(pod) for pod in running), wake_at=seen.now + PATIENCE)
    begun = [it.name for it in run.status.steps if it.state in HOLDING_STATES]
    said = f"{lost.message}; what became of these steps is not known: {', '.join(begun) or 'none'}"
    return Decision(_final(run, run.status, Phase.FAILED, "StateLost", said, seen))


# ---------------------------------------------------------------------------------------- while it goes on


def _go_on(run: AgentRun, before: RunStatus, tools: Tools, seen: Observed) -> Decision:
    """Every step that can move moves once; the run's phase follows from where they stand."""
    limit = ending(run, before, seen.now)
    kept = Folded(before, room_in(run, before, tools)) if limit else folded(run, before, tools, seen)
    moved = one_round(run, kept, tools, limit, seen)
    status = kept.status.model_copy(update={"steps": moved.records})
    wanted = (*kept.preparations, *(it for move in moved.moves for it in move.preparations))
    refused = [it for it in wanted if isinstance(it, Create) and it.name in seen.refusals]
    preparations = tuple(it for it in wanted if it not in refused)
    phased = _phased(run, status, ending(run, status, seen.now), seen, holding=bool(wanted))
    if refused:
        refusal = seen.refusals[refused[0].name]
        phased = _in(run, phased, phased.phase, refusal.reason, refusal.message, seen)
    left = loose_ends(run, phased, seen) if not preparations else None
    wakes = [move.wake_at for move in moved.moves] + [left.wake_at if left else None, _deadline_at(run, phased, seen)]
    wakes += [seen.now + RETRY_REFUSED] if refused else []
    return Decision(
        phased,
        preparations,
        actions=tuple(it for move in moved.moves for it in move.actions) + (left.actions if left else ()),
        wake_at=earliest(wakes),
    )


def _deadline_at(run: AgentRun, status: RunStatus, seen: Observed) -> datetime | None:
    left = time_left(run, status, seen.now)
    return None if left is None or left <= timedelta(0) or status.active_since is None else seen.now + left


# ---------------------------------------------------------------------------------------------- its phase


def _phased(run: AgentRun, status: RunStatus, limit: Ending | None, seen: Observed, *, holding: bool) -> RunStatus:
    """The status with the phase that follows from its steps; nothing ends while something is being prepared."""
    in_flight = [record for record in status.steps if record.state in IN_FLIGHT_STATES]
    if limit is not None:
        open_ = in_flight or any(it.state not in FINAL_STATES | {StepState.IN_DOUBT} for it in status.steps) or holding
        if open_:
            waits = f"; in flight: {', '.join(it.name for it in in_flight[:5])}" if in_flight else ""
            return _in(run, status, Phase.RUNNING, limit.reason, f"ending: {limit.message}{waits}", seen)
        return _ended_early(run, status, limit, seen)
    if all(it.state in FINAL_STATES for it in status.steps) and _all_begun(run, status):
        return _completed(run, status, seen)
    if run.spec.desired_state == "Paused":
        said = f"desiredState is Paused; it goes on when it is Running. Steps in flight, let finish: {len(in_flight)}"
        return _in(run, status, Phase.PAUSED, "PausedByUser", said, seen)
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
        return _in(run, status, Phase.RUNNING, "StepsInFlight", said or "the next step is about to begin", seen)
    first = asked[0]
    doubt = f"is in doubt ({first.message}) and " if first.state is StepState.IN_DOUBT else ""
    asks = f"waits for Approval {first.approval}" if first.approval else "cannot be asked about now; cancel the run"
    said = f"step {first.name} {doubt}{asks}"
    if hindrance := HINDRANCES.get(first.reason):
        return _in(run, status, Phase.AWAITING_APPROVAL, first.reason, f"{said}: {hindrance}", seen)
    reason = "StepInDoubt" if doubt else "StepAwaitsApproval"
    return _in(run, status, Phase.AWAITING_APPROVAL, reason, said, seen)


def _ended_early(run: AgentRun, status: RunStatus, limit: Ending, seen: Observed) -> RunStatus:
    """A run that a limit has ended, saying what had been done by then and what is not known."""
    records = Journal(run, status.journal).all_records(status.steps, seen)
    lost = f"{records.message}; of the latest steps: " if isinstance(records, Lost) else ""
    done = done_before(status.steps if isinstance(records, Lost) else records, but=limit.step)
    return _final(run, status, limit.phase, limit.reason, f"{limit.message}; {lost}{done}", seen)


def _completed(run: AgentRun, status: RunStatus, seen: Observed) -> RunStatus:
    """A run whose steps have all ended well; its output is made, or the run says why it cannot be."""
    records = Journal(run, status.journal).all_records(status.steps, seen)
    if isinstance(records, Lost):
        said = f"{records.message}; of the latest steps: {done_before(status.steps)}"
        return _final(run, status, Phase.FAILED, "StateLost", said, seen)
    reader = Reader(run, {record.name: record for record in records}, seen)
    try:
        output = _output(run, reader)
    except Problem as problem:
        reason = "StateLost" if problem.reason == "StateLost" else "OutputInvalid"
        return _final(run, status, Phase.FAILED, reason, f"{problem}; {done_before(records)}", seen)
    said = f"all steps have ended{let_pass(records)}"
    return _final(run, status.model_copy(update={"output": output}), Phase.SUCCEEDED, "Completed", said, seen)


def _output(run: AgentRun, reader: Reader) -> Any:
    """What the run returns; Problem if that cannot be made, or is too large."""
    output = expanded(run.spec.output, "output", reader) or None
    with within("output"):
        size = max(len(canonical(output)), stored_length(output))
        if size > OUTPUT_LIMIT:
            raise Problem(f"{size} bytes; at most {OUTPUT_LIMIT} fit, take less from the steps")
    return output


def _final(run: AgentRun, status: RunStatus, phase: Phase, reason: str, message: str, seen: Observed) -> RunStatus:
    return _in(run, status.model_copy(update={"finished_at": seen.now}), phase, reason, message, seen)


def _in(run: AgentRun, status: RunStatus, phase: Phase, reason: str, message: str, seen: Observed) -> RunStatus:
    """The status of a run that is in this phase now. The one place where a phase is set."""
    update = {"phase": phase, "reason": reason, "message": message}
    return summarised(run, status.model_copy(update=update), seen.now)
