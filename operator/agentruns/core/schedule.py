"""Which steps of a run may move, and one round of moves: each step once, in the order of the spec."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from agentruns.core.actions import Create
from agentruns.core.digests import size
from agentruns.core.inputs import Reader
from agentruns.core.journal import Folded, Journal
from agentruns.core.limits import Ending
from agentruns.core.look import Look, Moved
from agentruns.core.naming import settle_call
from agentruns.core.observed import POD_LIMIT_REACHED, Observed
from agentruns.core.reading import PutOff
from agentruns.core.records import FINAL_STATES, IN_FLIGHT_STATES, StepState, StepStatus
from agentruns.core.resources import AgentRun, RunSpec, Step, ToolSpec
from agentruns.core.settling import call_of
from agentruns.core.sizes import held, reserved
from agentruns.core.steps import advance, wind_down

AT_ONCE: Final = 100
"""Steps that a round considers for the first time; the others have their turn in the next pass, as others' runs do."""
PREPARED_SIZE: Final = 65_536
"""Characters and values of manifests after which a round begins no more steps: a pass holds them all at once."""
PUT_OFF: Final = timedelta(seconds=10)
"""After which a step is looked at again for which a round had no room, if that round has moved nothing."""

Tools = Mapping[str, ToolSpec]


@dataclass(frozen=True)
class Round:
    """The records of the steps after a round, in the order of the spec, and the moves that led there."""

    records: tuple[StepStatus, ...]
    moves: tuple[Moved, ...]


def one_round(run: AgentRun, kept: Folded, tools: Tools, limit: Ending | None, seen: Observed) -> Round:
    """Every step that may move, moved once; a step sees what those above it came to in this very round."""
    pins = {pin.name: pin for pin in kept.status.tools}
    needs = direct_needs(run.spec)
    records = {record.name: record for record in kept.status.steps}
    journal = Journal(run, kept.status.journal)
    reader = Reader(run, records, seen, kept.status.journal)
    in_flight = sum(record.state in IN_FLIGHT_STATES for record in records.values())
    left = _Left(run.spec.parallelism - in_flight, kept.room)
    moves = []
    for whole, step in _in_turn(run.spec, records, tools, journal):
        state = records[step.name].state if step.name in records else StepState.PENDING
        ready = all(need in journal or _is_over(records.get(need)) for need in needs.get(step.name, ()))
        may = _may_move(run, state, ready=ready, room=left.places, ending=limit is not None)
        if not may or (state is StepState.PENDING and not left.may_begin(reserved(run, step, tools))):
            continue
        record = records.get(step.name) or StepStatus(name=step.name)
        look = Look(reader, step, record, pins[step.tool], tools[step.tool], left.bytes)
        moved = _moved(look, limit)
        moves.append(moved)
        left.bytes += held(run, whole, tools, records)
        records |= {it.name: it for it in (moved.record, moved.call) if it and it.state is not StepState.PENDING}
        left.bytes -= held(run, whole, tools, records)
        left.take(look, moved, tools)
    return Round(_in_order(run.spec, records), tuple(moves))


def _moved(look: Look, limit: Ending | None) -> Moved:
    """One move of a step; none yet if what it reads finds no room beside what others read in this round."""
    look.reader.reading.begin()
    try:
        return wind_down(look, stop=limit.stop) if limit else advance(look)
    except PutOff:  # what the others have come to is recorded and looked at again, unless all of them wait
        return Moved(look.record, wake_at=look.seen.now + PUT_OFF)


def _in_order(spec: RunSpec, records: Mapping[str, StepStatus]) -> tuple[StepStatus, ...]:
    """The records in the order of the spec, each step followed by the call that settles its doubt."""
    names = (name for step in spec.steps for name in (step.name, settle_call(step.name)))
    return tuple(records[name] for name in names if name in records)


def _in_turn(
    spec: RunSpec, records: Mapping[str, StepStatus], tools: Tools, journal: Journal
) -> Iterator[tuple[Step, Step]]:
    """The steps in the order of the spec, each after the call that settles its doubt, so that it sees what came of it.

    Such a call has its share of `parallelism` like any other: that bounds pods, whatever they are for. With each comes
    the step that it is about.
    """
    for step in spec.steps:
        if settle_call(step.name) in records and (settle := tools[step.tool].settle):
            yield step, call_of(step, settle)
        if step.name not in journal:
            yield step, step


@dataclass
class _Left:
    """What is left for steps to take in a round."""

    places: int
    """How many more may be in flight; none once one has failed that ends the run."""
    bytes: int
    """How much more the status may come to hold."""
    first: int = AT_ONCE
    manifests: int = PREPARED_SIZE

    def may_begin(self, length: int) -> bool:
        """Whether a step whose record may take so many bytes may begin, or is to wait for another pass."""
        self.first -= 1
        return self.first >= 0 and self.manifests >= 0 and length <= self.bytes

    def take(self, look: Look, moved: Moved, tools: Tools) -> None:
        """Counts what a step has taken by moving, and what it is about to record."""
        if moved.record.state is StepState.PENDING and moved.preparations:
            self.bytes -= reserved(look.run, look.step, tools)
        self.manifests -= sum(size(it.manifest, PREPARED_SIZE) for it in moved.preparations if isinstance(it, Create))
        self.places -= _takes_room(look.record, moved)
        if moved.record.state is StepState.FAILED and look.step.on_failure == "Fail":
            self.places = 0


def direct_needs(spec: RunSpec) -> Mapping[str, tuple[str, ...]]:
    """For each step, by name, the steps that must have ended before it may begin."""
    if spec.order == "Graph":
        return {step.name: step.needs for step in spec.steps}
    names = [step.name for step in spec.steps]
    return dict(zip(names, [(), *((name,) for name in names)], strict=False))


def _is_over(record: StepStatus | None) -> bool:
    return record is not None and record.state in FINAL_STATES


def _takes_room(before: StepStatus, moved: Moved) -> bool:
    """Whether a move put a pod into flight, or is about to: its pod is being prepared, or stands in line for room."""
    in_line = moved.record.state is StepState.WAITING and moved.record.reason == POD_LIMIT_REACHED
    starts = moved.record.state in IN_FLIGHT_STATES or bool(moved.preparations) or in_line
    return starts and before.state not in IN_FLIGHT_STATES


def _may_move(run: AgentRun, state: StepState, *, ready: bool, room: int, ending: bool) -> bool:
    """Whether a step is looked at: it is in flight, or may begin, or is being ended."""
    if state in FINAL_STATES:
        return False
    if state in IN_FLIGHT_STATES:
        return True
    if ending:
        return state is not StepState.PENDING
    if run.spec.desired_state == "Paused":
        return False
    return ready and (room > 0 or state is StepState.IN_DOUBT)
