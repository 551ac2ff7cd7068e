"""The journal of a run: what happened in steps that ended long ago, in immutable ConfigMaps that form a chain."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Final

from agentruns.core.actions import Create, kept
from agentruns.core.digests import compact, digest_of
from agentruns.core.naming import (
    JOURNAL_KEY,
    doubted_step,
    journal_name,
    settle_call,
)
from agentruns.core.observed import Observed
from agentruns.core.problems import Problem
from agentruns.core.questions import JournalSegment, Lost, all_answered
from agentruns.core.records import (
    FINAL_STATES,
    FORMAT_VERSION,
    RunStatus,
    Segment,
    StepState,
    StepStatus,
)
from agentruns.core.resources import AgentRun, ToolSpec
from agentruns.core.sizes import SPARE, room_in

SEGMENT: Final = 50
"""Records that go into the journal at once; as many stay, so that the latest are at hand."""
LEAST: Final = 20
"""Records that go when the status is short of room, so that there are few segments whatever happens."""


@dataclass(frozen=True)
class Journal:
    """Which steps of a run are in its journal, and what is written there of them."""

    run: AgentRun
    segments: tuple[Segment, ...]

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def record(self, name: str, seen: Observed) -> StepStatus | None:
        """The record of a step that is in the journal; Problem if the journal is not what was written."""
        if name not in self:
            return None
        found = seen.answer(self._questions[self._places[name]])
        if isinstance(found, Lost):
            raise Problem(f"the record of step {name} is lost: {found.message}", "StateLost")
        records: tuple[StepStatus, ...] = found
        return next(record for record in records if record.name == name)

    def all_records(self, latest: tuple[StepStatus, ...], seen: Observed) -> tuple[StepStatus, ...] | Lost:
        """The records of all steps, the latest as they are given, in the order of the spec."""
        parts = all_answered(partial(seen.answer, question) for question in self._questions)
        if lost := next((part for part in parts if isinstance(part, Lost)), None):
            return lost
        records = {record.name: record for part in (*parts, latest) for record in part}
        return tuple(records[step.name] for step in self.run.spec.steps if step.name in records)

    @property
    def length(self) -> int:
        """How many records are in the journal."""
        return len(self._places)

    @cached_property
    def _questions(self) -> list[JournalSegment]:
        """What to ask for each segment: its content, and the digest of the one before, which it names."""
        before = ("", *(segment.digest for segment in self.segments))
        return [JournalSegment(*it) for it in zip(self.segments, before, strict=False)]

    @cached_property
    def _places(self) -> Mapping[str, int]:
        """In which segment the record of a step is, by its name."""
        names = [step.name for step in self.run.spec.steps] if self.segments else []
        found = dict[str, int]()
        for place, segment in enumerate(self.segments):
            for span in _spans(segment.steps):
                found |= dict.fromkeys(names[span], place)
        return found


def records_in(text: str, question: JournalSegment) -> tuple[StepStatus, ...]:
    """The records of a segment; LookupError if the text is not what was written, or not in its place."""
    content = json.loads(text) if digest_of(text.encode()) == question.segment.digest else {}
    if content.get("previous") != question.previous:
        raise LookupError(f"ConfigMap {question.segment.name} is not what was stored: its digest differs")
    return tuple(StepStatus.model_validate(record) for record in content["steps"])


# ------------------------------------------------------------------------------------------------ writing


@dataclass(frozen=True)
class Folded:
    """A status whose oldest records are in the journal as far as that is stored, and what is to be stored next."""

    status: RunStatus
    room: int
    preparations: tuple[Create, ...] = ()


def folded(run: AgentRun, status: RunStatus, tools: Mapping[str, ToolSpec], seen: Observed) -> Folded:
    """The status with so many records in the journal that what is ahead finds room, once they are stored there."""
    room = room_in(run, status, tools)
    while records := _oldest(status, room, seen):
        segment, text = _segment(run, status, records)
        if segment.name not in seen.stored:
            return Folded(status, room, (kept(run, segment.name, JOURNAL_KEY, text),))
        gone = {name for record in records for name in (record.name, settle_call(record.name))}
        left = tuple(record for record in status.steps if record.name not in gone)
        update = {"steps": left, "journal": (*status.journal, segment), "format_version": FORMAT_VERSION}
        status = status.model_copy(update=update)
        room = room_in(run, status, tools)
    return Folded(status, room)


def _oldest(status: RunStatus, room: int, seen: Observed) -> tuple[StepStatus, ...]:
    """The records that are to go into the journal now, in the order in which their steps ended; none if none is."""
    open_ = {doubted_step(it.name) for it in status.steps if it.state not in FINAL_STATES or _is_held(it, seen)}
    ended = [record for record in status.steps if doubted_step(record.name) not in open_]
    over = [record for record in ended if not record.is_settle_call]
    if len(over) > 2 * SEGMENT:
        count = SEGMENT
    elif len(ended) >= LEAST and room < 2 * SPARE:
        count = LEAST
    else:
        return ()
    return tuple(sorted(over, key=lambda record: str(record.finished_at))[:count])


def _is_held(record: StepStatus, seen: Observed) -> bool:
    """Whether the pod of a step that has ended still runs, or is to be released: that is read from the record."""
    pod = seen.pods.get(record.pod_uid)
    return pod is not None and (pod.held or pod.runs)


def _segment(run: AgentRun, status: RunStatus, records: tuple[StepStatus, ...]) -> tuple[Segment, str]:
    """The next segment of the journal, and the text that it stands for."""
    previous = status.journal[-1].digest if status.journal else ""
    names = {name for record in records for name in (record.name, settle_call(record.name))}
    written = tuple(record for record in status.steps if record.name in names)
    bodies = RunStatus(steps=written).body()["steps"]
    text = compact({"runUID": run.metadata.uid, "previous": previous, "steps": bodies})
    places = {step.name: place for place, step in enumerate(run.spec.steps, 1)}
    segment = Segment(
        name=journal_name(run.metadata.name, digest_of(text)),
        digest=digest_of(text),
        steps=_ranges(sorted(places[record.name] for record in records)),
        done=done(run, records),
    )
    return segment, text.decode()


def done(run: AgentRun, records: Iterable[StepStatus]) -> int:
    """How many of these steps count as done: they succeeded, were skipped, or failed where that is let pass."""
    failed = {record.name for record in records if record.state is StepState.FAILED}
    let_pass = sum(step.name in failed and step.on_failure == "Continue" for step in run.spec.steps) if failed else 0
    ended_well = (StepState.SUCCEEDED, StepState.SKIPPED)
    return let_pass + sum(record.state in ended_well and not record.is_settle_call for record in records)


def _ranges(places: list[int]) -> str:
    """Places in ascending order, in few words: `1-50,52`."""
    starts = [b for a, b in pairwise([-1, *places]) if b != a + 1]
    ends = [a for a, b in pairwise([*places, places[-1] + 2]) if b != a + 1]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def _spans(ranges: str) -> Iterator[slice]:
    """Where the places stand in a list, span by span."""
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        yield slice(int(first) - 1, int(last or first))
