"""The state machine of a run: how it begins, goes on, and what follows from a look at it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Final

from agentruns.core.actions import Action, Create, Preparation, SetConditions, WriteClaim
from agentruns.core.aftermath import after_the_end, loose_ends
from agentruns.core.attempts import PATIENCE
from agentruns.core.checks import check_run, unfit_to_settle
from agentruns.core.claim_writes import claimed, kept
from agentruns.core.claims import Turned, turn_of
from agentruns.core.conditions import unreadable
from agentruns.core.journal import Folded, folded
from agentruns.core.limits import ending, time_left
from agentruns.core.model import earliest, in_seconds
from agentruns.core.observed import Observed, Refusal
from agentruns.core.phases import final, in_phase, phased
from agentruns.core.pinning import MissingToolError, Pin, pinned_tools
from agentruns.core.problems import Problem
from agentruns.core.questions import Lost, PinnedSpec, PodIsGone, all_answered
from agentruns.core.records import (
    FINAL_PHASES,
    FORMAT_VERSION,
    HOLDING_STATES,
    IN_FLIGHT_STATES,
    Phase,
    RecordedDecision,
    RunStatus,
    WaitingFor,
)
from agentruns.core.resources import AgentRun, OversizedRun
from agentruns.core.schedule import Tools, one_round
from agentruns.core.sizes import room_in
from agentruns.core.starting import RETRY_REFUSED
from agentruns.core.summary import LISTED, observed
from agentruns.core.tasks import Claim
from agentruns.core.underway import end_of

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
        return Decision(observed(run.status, run.metadata.generation), left.preparations, left.actions, left.wake_at)
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
    return Decision(run.status, actions=(SetConditions(run.status.conditions, said, run.metadata.resource_version),))


# ------------------------------------------------------------------------------------------ the beginning


def _begin(run: AgentRun, seen: Observed) -> Decision:
    """A run that has not begun: its tools are found and pinned, and what cannot work is said before any pod."""
    if limit := ending(run, run.status, seen.now):
        return Decision(final(run, run.status, limit.phase, limit.reason, limit.message, seen))
    if isinstance(run, OversizedRun):
        return _invalid(run, f"spec: {run.size}; so large a run is not taken, pass references instead", seen)
    if run.spec.desired_state == "Paused":
        said = "desiredState is Paused; it begins when it is Running"
        return Decision(in_phase(run, run.status, Phase.PAUSED, "PausedByUser", said, seen))
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
    if turn and (write := claimed(run, turn, seen.tools.values())):
        return _claiming(run, write, seen)
    return _started(run, pins, turn.decision if isinstance(turn, Claim) else None, seen)


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
    return Decision(final(run, run.status, Phase.FAILED, "InvalidSpec", problem, seen))


def _unpinned(run: AgentRun, refusal: Refusal, seen: Observed) -> Decision:
    said = f"the API server refused to pin a tool: {refusal.message}"
    if not refusal.for_now:
        return _invalid(run, said, seen)
    status = in_phase(run, run.status, Phase.PENDING, refusal.reason, said, seen)
    return Decision(status, wake_at=seen.now + RETRY_REFUSED)


def _turned(run: AgentRun, turn: Turned, seen: Observed) -> Decision:
    """A run that does not begin its task now, or never will."""
    if turn.phase in FINAL_PHASES:
        status = final(run, run.status.model_copy(update=turn.record), turn.phase, turn.reason, turn.message, seen)
        return Decision(status)
    named = run.status.model_copy(update={"waiting_for": (), **turn.record})
    status = in_phase(run, named, turn.phase, turn.reason, turn.message, seen)
    return Decision(status, turn.preparations, wake_at=turn.wake_at)


def _claiming(run: AgentRun, write: WriteClaim, seen: Observed) -> Decision:
    """A run that may begin once it holds the claim of its task: nothing else of it is made before."""
    if refusal := seen.refusals.get(write.name):
        said = f"the API server refused to store the claim of its task: {refusal.message}"
        status = in_phase(run, run.status, Phase.PENDING, refusal.reason, said, seen)
        return Decision(status, wake_at=seen.now + RETRY_REFUSED)
    return Decision(run.status, (write,))


def _kept(run: AgentRun, decision: Decision, seen: Observed) -> Decision:
    """The decision; one that ends a run with a task comes after the claim of that holds the outcome.

    So a final run can go at any time: a claim that says InFlight is one of a run that has not ended, or of one that has
    done nothing, just now.
    """
    status = decision.status
    if not run.spec.idempotency_key or status.phase not in FINAL_PHASES:
        return decision
    match kept(run, status, seen):
        case WriteClaim() as write:
            moved = run.status.model_copy(update={"steps": status.steps})
            said = "it has ended, and the claim of its task is about to say how"
            return Decision(in_phase(run, moved, Phase.RUNNING, "StepsInFlight", said, seen), (write,))
        case unkept:
            said = status.message + unkept
            return replace(decision, status=in_phase(run, status, status.phase, status.reason, said, seen))


def _without_tool(run: AgentRun, missing: MissingToolError, seen: Observed) -> Decision:
    waited = [it.since for it in run.status.waiting_for if it.kind == "Tool" and it.since]
    since = min(waited, default=seen.now)
    if seen.now >= since + TOOL_PATIENCE:
        said = f"{missing}; it was waited for {in_seconds(TOOL_PATIENCE)}. Apply it, and make a new run"
        return Decision(final(run, run.status, Phase.FAILED, "ToolNotFound", said, seen))
    awaited = tuple(WaitingFor(kind="Tool", name=name, since=since) for name in missing.tools)
    named = run.status.model_copy(update={"waiting_for": awaited[:LISTED]})
    status = in_phase(run, named, Phase.PENDING, "WaitingForTool", f"{missing}; apply it", seen)
    return Decision(status, wake_at=since + TOOL_PATIENCE)


def _without_state(run: AgentRun, lost: Lost, seen: Observed) -> Decision:
    """A run that lost what it was pinned to: nothing new begins, and it ends once its pods have."""
    held = [it for it in run.status.steps if it.state in IN_FLIGHT_STATES]
    running = [pod for it in held if (pod := seen.pods.get(it.pod_uid)) and pod.active]
    unseen = [it for it in held if it.pod_uid not in seen.pods]
    gone = all_answered(partial(seen.answer, PodIsGone(it.pod, it.pod_uid)) for it in unseen)
    if running or not all(gone):
        return Decision(
            run.status, actions=tuple(chain.from_iterable(map(end_of, running))), wake_at=seen.now + PATIENCE
        )
    begun = [it.name for it in run.status.steps if it.state in HOLDING_STATES]
    said = f"{lost.message}; what became of these steps is not known: {', '.join(begun) or 'none'}"
    return Decision(final(run, run.status, Phase.FAILED, "StateLost", said, seen))


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
    after = phased(run, status, ending(run, status, seen.now), seen, holding=bool(wanted))
    if refused:
        refusal = seen.refusals[refused[0].name]
        after = in_phase(run, after, after.phase, refusal.reason, refusal.message, seen)
    left = loose_ends(run, after, seen) if not preparations else None
    wakes = [move.wake_at for move in moved.moves] + [left.wake_at if left else None, _deadline_at(run, after, seen)]
    wakes += [seen.now + RETRY_REFUSED] if refused else []
    return Decision(
        after,
        preparations,
        actions=tuple(it for move in moved.moves for it in move.actions) + (left.actions if left else ()),
        wake_at=earliest(wakes),
    )


def _deadline_at(run: AgentRun, status: RunStatus, seen: Observed) -> datetime | None:
    left = time_left(run, status, seen.now)
    return None if left is None or left <= timedelta(0) or status.active_since is None else seen.now + left
