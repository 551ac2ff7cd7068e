"""Which steps of a run may move, and one round of moves: each step once, in the order of the spec."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from agentruns.core.actions import Create
from agentruns.core.digests import size
from agentruns.core.inputs import Reader
from agentruns.core.limits import Ending
from agentruns.core.look import Look, Moved
from agentruns.core.naming import settle_call
from agentruns.core.observed import POD_LIMIT_REACHED, Observed
from agentruns.core.resources import (
    FINAL_STATES,
    IN_FLIGHT_STATES,
    AgentRun,
    RunSpec,
    RunStatus,
    Step,
    StepState,
    StepStatus,
    ToolSpec,
)
from agentruns.core.settling import call_of
from agentruns.core.steps import advance, wind_down

AT_ONCE: Final = 100
"""Steps that a round considers for the first time; the others have their turn in the next pass, as others' runs do."""
PREPARED_SIZE: Final = 65_536
"""Characters and values of manifests after which a round begins no more steps: a pass holds them all at once."""

Tools = Mapping[str, ToolSpec]


@dataclass(frozen=True)
class Round:
    """The records of the steps after a round, in the order of the spec, and the moves that led there."""

    records: tuple[StepStatus, ...]
    moves: tuple[Moved, ...]


def one_round(run: AgentRun, status: RunStatus, tools: Tools, limit: Ending | None, seen: Observed) -> Round:
    """Every step that may move, moved once; a step sees what those above it came to in this very round."""
    pins = {pin.name: pin for pin in status.tools}
    needs = direct_needs(run.spec)
    records = {record.name: record for record in status.steps}
    reader = Reader(run, records, seen)
    room = run.spec.parallelism - sum(record.state in IN_FLIGHT_STATES for record in records.values())
    moves, failed, begun, held = [], False, 0, 0
    for step in _in_turn(run.spec, records, tools):
        record = records.get(step.name) or StepStatus(name=step.name)
        ready = all(_is_over(records.get(need)) for need in needs.get(step.name, ()))
        if not _may_move(run, record, ready=ready, room=0 if failed else room, ending=limit is not None):
            continue
        begun += record.state is StepState.PENDING
        if record.state is StepState.PENDING and (begun > AT_ONCE or held > PREPARED_SIZE):
            continue
        look = Look(reader, step, record, pins[step.tool], tools[step.tool])
        moved = wind_down(look, stop=limit.stop) if limit else advance(look)
        moves.append(moved)
        held += sum(size(it.manifest, PREPARED_SIZE) for it in moved.preparations if isinstance(it, Create))
        room -= _takes_room(record, moved)
        failed |= moved.record.state is StepState.FAILED and step.on_failure == "Fail"
        if moved.record.state is not StepState.PENDING:
            records[step.name] = moved.record
        if moved.call:
            records[moved.call.name] = moved.call
    return Round(_in_order(run.spec, records), tuple(moves))


def _in_order(spec: RunSpec, records: Mapping[str, StepStatus]) -> tuple[StepStatus, ...]:
    """The records in the order of the spec, each step followed by the call that settles its doubt."""
    names = (name for step in spec.steps for name in (step.name, settle_call(step.name)))
    return tuple(records[name] for name in names if name in records)


def _in_turn(spec: RunSpec, records: Mapping[str, StepStatus], tools: Tools) -> Iterator[Step]:
    """The steps in the order of the spec, each after the call that settles its doubt, so that it sees what came of it.

    Such a call has its share of `parallelism` like any other: that bounds pods, whatever they are for.
    """
    for step in spec.steps:
        if settle_call(step.name) in records and (settle := tools[step.tool].settle):
            yield call_of(step, settle)
        yield step


def direct_needs(spec: RunSpec) -> Mapping[str, tuple[str, ...]]:
    """For each step, by name, the steps that must have ended before it may begin."""
    if spec.order == "Graph":
        return {step.name: step.needs for step in spec.steps}
    names = [step.name for step in spec.steps]
    return {name: tuple(names[max(place - 1, 0) : place]) for place, name in enumerate(names)}


def _is_over(record: StepStatus | None) -> bool:
    return record is not None and record.state in FINAL_STATES


def _takes_room(before: StepStatus, moved: Moved) -> bool:
    """Whether a move put a pod into flight, or is about to: its pod is being prepared, or stands in line for room."""
    in_line = moved.record.state is StepState.WAITING and moved.record.reason == POD_LIMIT_REACHED
    starts = moved.record.state in IN_FLIGHT_STATES or bool(moved.preparations) or in_line
    return starts and before.state not in IN_FLIGHT_STATES


def _may_move(run: AgentRun, record: StepStatus, *, ready: bool, room: int, ending: bool) -> bool:
    """Whether a step is looked at: it is in flight, or may begin, or is being ended."""
    if record.state in FINAL_STATES:
        return False
    if record.state in IN_FLIGHT_STATES:
        return True
    if ending:
        return record.state is not StepState.PENDING
    if run.spec.desired_state == "Paused":
        return False
    return ready and (room > 0 or record.state is StepState.IN_DOUBT)
