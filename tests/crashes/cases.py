"""One case: a run, the operator's death at a point of it, a new operator, and what came of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from agentruns.core.naming import is_settle_call

from tests.accounts import Body
from tests.cluster.console import ClusterError
from tests.crashes.lives import Life
from tests.crashes.operators import FaultyOperator
from tests.crashes.scene import AGAIN, RUN, Scene, Stage, opened_scene
from tests.faults.fault import Deed, Fault
from tests.space import steps_of
from tests.waiting import until

SECONDS = 90.0
"""In which a run mostly ends, or is stuck."""
STUCK, NOT_TAKEN = "stuck", "not taken"
"""The outcome of a case whose run does not end though an operator works, and of one that did not come about."""
EVERY = 0.25
"""Seconds between two looks: what looks takes the machine's time from what is looked at."""


class StuckError(Exception):
    """A run does not end though an operator works; how it stands, and the end of that operator's log."""


@dataclass(frozen=True)
class Case:
    """What happens, to a run of a tool of which effect, and what must come of it."""

    group: str
    point: str
    moment: str
    effect: str
    times: int = 1
    """How often each step has its effect."""
    doubts: int = 0
    """How often somebody is asked what has become of one."""
    seconds: float = SECONDS
    """In which a run ends, or is stuck."""


@dataclass(frozen=True)
class Found:
    """What came of a case; without `wrong` it is as it must be."""

    case: Case
    times: tuple[int, ...]
    phase: str
    doubts: int
    progress: float | None
    """Seconds from the start of the new process, or the death of the one before, to the first thing that it changed."""
    wrong: tuple[str, ...]
    lease: float | None = None
    """Seconds from the death of the one that led until another one held the Lease."""

    @property
    def from_lease(self) -> float | None:
        """Seconds from holding the Lease to progress."""
        return None if self.progress is None or self.lease is None else self.progress - self.lease


def case_of(life: Life, effect: str, fault: Fault) -> Case:
    """The case of a fault at a point of a life."""
    moment = fault.deed if fault.deed is Deed.TIME_OUT else fault.moment
    return Case(life.name, f"{fault.call} {fault.number}", moment.value, effect, life.times, life.doubts)


def crashed(stage: Stage, life: Life, effect: str, fault: Fault) -> Found:
    """What comes of a fault at a point of a life."""
    case = case_of(life, effect, fault)
    with opened_scene(stage) as scene, scene.operator("first") as first, scene.operator("second") as second:
        first.begin(fault)
        scene.begin(life, effect)
        if fault.deed is Deed.TIME_OUT:
            end(scene, first)
            met = any((it.call, it.number) == (fault.call, fault.number) for it in first.calls())
            assert met, "the run is over, and the point was not met"
            return found(scene, case, None)
        die(scene, first)
        return resumed(scene, case, second)


def resumed(scene: Scene, case: Case, operator: FaultyOperator) -> Found:
    """What an operator makes of what it finds."""
    operator.begin()
    left = not is_over(scene)  # what was sent last is carried out by now, and the new process not yet at work
    end(scene, operator, case.seconds)
    return found(scene, case, until(operator.progress, "its progress is recorded", 10) if left else None)


def die(scene: Scene, operator: FaultyOperator) -> None:
    """Returns once the operator has met its end; what is asked until then is answered."""
    _come(lambda: operator.has_ended() or is_over(scene), scene, operator)
    # the last write may be carried out a moment before its sender is gone
    until(operator.has_ended, "the run is over, and its operator still there: the point was not met", 10)
    assert operator.exit_code() == -signal.SIGKILL, f"it ended by itself: {operator.log()[-3000:]}"


def end(scene: Scene, operator: FaultyOperator, seconds: float = SECONDS) -> None:
    """Returns once all is over; StuckError if it is not in time, though the operator works."""
    _come(lambda: operator.has_ended() or is_over(scene), scene, operator, seconds)
    assert is_over(scene), f"the operator has ended by itself: {operator.log()[-3000:]}"


def _come(true: Callable[[], bool], scene: Scene, operator: FaultyOperator, seconds: float = SECONDS) -> None:
    try:
        until(true, "", seconds, every=EVERY)
    except ClusterError:
        raise StuckError(standing(scene, operator)) from None


def is_over(scene: Scene) -> bool:
    """Whether all runs have ended and nothing holds their pods any more."""
    return not scene.living() and not any(it["metadata"].get("finalizers") for it in scene.space.all("pods"))


def standing(scene: Scene, operator: FaultyOperator) -> str:
    """How a run stands that does not end, and the end of its operator's log."""
    return "\n".join([*map(_standing, scene.space.all("agentruns")), operator.log()[-3000:]])


def _standing(run: Body) -> str:
    status = run.get("status", {})
    steps = [(it["state"], it.get("reason"), it.get("message")) for it in status.get("steps", [])]
    return f"{run['metadata']['name']} is {status.get('phase')}: {status.get('message')}; {steps}"


def found(scene: Scene, case: Case, progress: float | None, lease: float | None = None) -> Found:
    """The end of a run held against its effects and what must come of it; no case if it may be somebody else's work."""
    assert not scene.stage.has_installed_operator(), "the installed operator is there: whose work was it?"
    status, doubts, wrong = scene.space.status(RUN), scene.doubts(), tuple[str, ...]()
    times, strange = effects_of(scene, RUN)
    if set(times) != {case.times}:
        wrong += (f"effects: {times}, not {case.times} each",)
    if doubts != case.doubts:
        wrong += (f"{doubts} questions what has become of it, not {case.doubts}",)
    return Found(case, times, str(status.get("phase")), doubts, progress, (*wrong, *strange), lease)


def effects_of(scene: Scene, run: str) -> tuple[tuple[int, ...], list[str]]:
    """How often each step of a run has had its effect, and what is lost or cannot be."""
    status, seen, wrong = scene.space.status(run), scene.effects(run), list[str]()
    if status.get("phase") != "Succeeded":
        wrong.append(f"it is {status.get('phase')}: {status.get('message')}")
    steps = {name: it for name, it in steps_of(status).items() if not is_settle_call(name)}
    keys = {name: it.get("idempotencyKey", "") for name, it in steps.items()}
    times = {name: sum(it.key == key for it in seen) for name, key in keys.items()}
    if strange := {it.key for it in seen} - set(keys.values()):
        wrong.append(f"effects under keys that are not recorded: {strange}")
    for name, key in keys.items():
        told = (status.get("output") or {}).get(name)
        if told not in [f"{key}#{number}" for number in range(1, times[name] + 1)]:
            wrong.append(f"lost: the result of {name} is {told}")
    return tuple(times.values()), wrong + _wrong_of_the_second(scene, run, status)


def _wrong_of_the_second(scene: Scene, run: str, status: Body) -> list[str]:
    """What is wrong with the other run of a task, if there is one: it has the same result, and runs nothing."""
    if not (second := scene.space.find("agentruns", run + AGAIN)):
        return []
    its, pods, wrong = second.get("status", {}), scene.space.pods(run + AGAIN), list[str]()
    if its.get("reason") != "AlreadyDone":
        wrong.append(f"the second run is {its.get('phase')}, {its.get('reason')}: {its.get('message')}")
    if its.get("output") != status.get("output"):
        wrong.append(f"lost: the result of the second run is {its.get('output')}")
    return wrong + [f"the second run has the pod {it['metadata']['name']}" for it in pods]


def tried(case: Case, made: Callable[[], Found]) -> Found:
    """What comes of a case, which is tried a second time if it could not be taken; that it could not is a finding."""
    first = _tried(case, made)
    return _tried(case, made) if first.phase == NOT_TAKEN else first


def _tried(case: Case, made: Callable[[], Found]) -> Found:
    try:
        return made()
    except StuckError as error:
        return Found(case, (), STUCK, 0, None, (str(error),))
    except Exception as error:  # whatever it is, the other cases go on
        return Found(case, (), NOT_TAKEN, 0, None, (f"{type(error).__name__}: {error}",))
