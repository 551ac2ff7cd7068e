"""What one step, and one round, reads of stored outputs: no more at once than the operator can hold."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from agentruns.core import reading
from agentruns.core.expressions import MAX_SIZE, Data, value
from agentruns.core.inputs import REMEMBERED, Reader
from agentruns.core.observed import POD_LIMIT_REACHED, Refusal
from agentruns.core.outputs import MAX_STORED
from agentruns.core.questions import GivenOutput, StoredOutput
from agentruns.core.reading import READ_LIMIT, READ_VALUES
from agentruns.core.records import Phase, StepState, StepStatus
from agentruns.core.resources import Decision
from agentruns.core.result_lines import MAX_VALUES
from agentruns.core.schedule import PUT_OFF

from tests.unit.builders import a_run, a_step, a_tool, seen
from tests.unit.play import Play

LENGTH = 6_000
TEXT = "x" * (LENGTH - 2)
"""An output of LENGTH bytes."""


@dataclass
class Watched(Play):
    """A run of which is known what each of its passes has read."""

    read: list[list[int]] = field(default_factory=list)
    most_given: int = 0

    def _pass(self) -> None:
        kept = StoredOutput | GivenOutput
        self.answers = {it: found for it, found in self.answers.items() if not isinstance(it, kept)}
        super()._pass()
        if lengths := [it.ref.bytes for it in self.answers if isinstance(it, StoredOutput)]:
            self.read.append(lengths)
        self.most_given = max(self.most_given, sum(isinstance(it, GivenOutput) for it in self.answers))

    @property
    def most(self) -> int:
        """The bytes that a pass has read, at most."""
        return max(map(sum, self.read), default=0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two outputs."""
    monkeypatch.setattr(reading, "READ_LIMIT", 2 * LENGTH)


def fanned_out(
    outputs: int, *readers: dict[str, Any], says: Any = TEXT, refused: Refusal | None = None, **fields: Any
) -> Watched:
    """A run whose first steps have ended with such outputs, and others read them, whose pods may be refused."""
    sources = [a_step(f"a{n}") for n in range(outputs)]
    needs = [it["name"] for it in sources]
    run = a_run(*sources, *({"needs": needs, **it} for it in readers), order="Graph", parallelism=100, **fields)
    played = Watched(run)
    played.go()
    played.refused |= {"Pod": refused} if refused else {}
    for it in sources:
        played.starts(it["name"]).says(it["name"], says).ends(it["name"])
    played.go()
    return played


def reads(name: str, *places: int, **fields: Any) -> dict[str, Any]:
    """A step whose arguments are these outputs."""
    return a_step(name, args={"x": [f"${{size(steps.a{place}.output)}}" for place in places]}, **fields)


def test_a_step_that_reads_more_than_fits_says_so_before_it_reads_anything() -> None:
    text = "x" * (MAX_STORED - 2)
    run = fanned_out(9, a_step("b", args={"x": [f"${{steps.a{n}.output}}" for n in range(9)]}), says=text)
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "InvalidSpec")
    said = f"step b: args.x[8]: reads {9 * MAX_STORED} bytes of stored outputs; at most {READ_LIMIT} are read at once"
    assert f"{said}; take what is needed in the steps that make them" in run.status.message
    assert run.read == []


def test_as_much_as_a_tool_can_be_handed_can_always_be_read() -> None:
    text = "," * (MAX_VALUES - 1)
    args = {"x": [f"${{steps.a{n}.output}}" for n in range(4)]}
    assert fanned_out(4, a_step("b", args=args), says=text).step("b").state is StepState.PREPARED
    assert 4 * MAX_STORED <= READ_LIMIT


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("step", "field"),
    [
        (reads("b", 0, 1, 2), "args.x[2]"),
        (a_step("b", args={"x": "${steps.a0.output}", "y": ["${steps.a1.output}", "${steps.a2.output}"]}), "args.y[1]"),
        (reads("b", 0, 1, when="steps.a2.output != ''"), "args.x[1]"),
        (reads("b", 0, 1, why="${steps.a2.output}", approval="Always"), "why"),
        (a_step("b", when="size(steps.a0.output + steps.a1.output + steps.a2.output) > 0"), "when"),
    ],
)
def test_all_that_a_step_reads_counts_each_output_once(step: dict[str, Any], field: str) -> None:
    run = fanned_out(3, step)
    assert f"step b: {field}: reads {3 * LENGTH} bytes of stored outputs" in run.status.message
    assert run.most <= 2 * LENGTH
    assert fanned_out(3, reads("b", 0, 1, 0, 1)).step("b").state is StepState.PREPARED


@pytest.mark.usefixtures("small")
def test_the_output_of_a_run_is_bound_in_the_same_way() -> None:
    run = fanned_out(3, output={f"n{n}": f"${{steps.a{n}.output}}" for n in range(3)})
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "OutputInvalid")
    assert f"output.n2: reads {3 * LENGTH} bytes of stored outputs" in run.status.message
    assert run.read == []


def test_values_are_counted_where_a_few_bytes_hold_many(monkeypatch: pytest.MonkeyPatch) -> None:
    dense: list[Any] = [[]] * 2_000
    monkeypatch.setattr(reading, "READ_VALUES", 9_000)
    assert fanned_out(2, reads("b", 0, 1), says=dense).step("b").state is StepState.PREPARED
    run = fanned_out(3, reads("b", 0, 1, 2), says=dense)
    assert "args.x[2]: reads stored outputs with 12000 values; at most 9000 are read at once" in run.status.message


@pytest.mark.usefixtures("small")
def test_a_round_reads_no_more_than_one_step_may_and_others_have_their_turn() -> None:
    run = fanned_out(6, *(reads(f"b{n}", n) for n in range(6)))
    assert run.most == 2 * LENGTH
    assert {run.step(f"b{n}").state for n in range(6)} == {StepState.PREPARED}


def test_values_that_are_only_known_once_they_are_read_end_a_round_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READ_VALUES", 9_000)
    run = fanned_out(6, *(reads(f"b{n}", n) for n in range(6)), says=[[]] * 2_000)
    assert max(map(len, run.read)) == 3, "one is read before it is known that it is too much"
    assert {run.step(f"b{n}").state for n in range(6)} == {StepState.PREPARED}


@pytest.mark.usefixtures("small")
def test_what_finds_no_room_leaves_it_to_what_needs_none() -> None:
    """b2 waits for another round, and b3 reads what is read anyway."""
    run = fanned_out(4, reads("b0", 0), reads("b1", 1), reads("b2", 2, 3), reads("b3", 0))
    first = next(it for it in run.recorded if any(record.name == "b0" for record in it.steps))
    assert {it.name for it in first.steps if it.name.startswith("b")} == {"b0", "b1", "b3"}
    assert run.step("b2").state is StepState.PREPARED


@pytest.mark.usefixtures("small")
def test_steps_for_which_there_is_no_room_are_looked_at_again_though_nothing_has_moved() -> None:
    full = Refusal("limits.activePods of the installation, 4, is reached", for_now=True, reason=POD_LIMIT_REACHED)
    run = fanned_out(4, *(reads(f"b{n}", n) for n in range(4)), refused=full)
    assert [run.step(f"b{n}").state for n in range(4)] == [StepState.WAITING] * 2 + [StepState.PENDING] * 2
    assert run.decision.wake_at == run.now + PUT_OFF
    run.refused.clear()
    assert {run.go().step(f"b{n}").state for n in range(4)} == {StepState.PREPARED}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("cancelled", [False, True])
def test_what_has_ended_is_judged_in_the_round_that_has_room_to_read_what_its_rules_need(cancelled: bool) -> None:
    verify = [{"expression": "args.x == [5998]"}]
    run = fanned_out(6, *(reads(f"b{n}", n, verify=verify) for n in range(6)))
    if cancelled:
        run.run = run.run.model_copy(update={"spec": run.run.spec.model_copy(update={"desired_state": "Cancelled"})})
    for n in range(6):
        run.starts(f"b{n}").says(f"b{n}", 1).ends(f"b{n}")
    run.read.clear()
    run.go()
    assert run.most == 2 * LENGTH
    assert {run.step(f"b{n}").state for n in range(6)} == {StepState.SUCCEEDED}
    assert run.status.phase is (Phase.CANCELLED if cancelled else Phase.SUCCEEDED)


def test_outputs_that_people_give_are_read_a_few_at_a_time() -> None:
    tool = a_tool(effect="NonIdempotent", approval="Never")
    steps = [{**a_step(f"b{n}"), "tool": "pay"} for n in range(9)]
    run = Watched(a_run(*steps, order="Graph"), {"pay": tool})
    run.go()
    for n in range(9):
        run.starts(f"b{n}").ends(f"b{n}", 3)
    run.go()
    for name, approval in run.approvals.items():
        run.given[name] = TEXT
        decision = Decision(verdict="Happened", by="alice@example.com")
        decided = approval.spec.model_copy(update={"decision": decision})
        run.approvals[name] = approval.model_copy(update={"spec": decided})
    run.go()
    assert run.most_given == READ_VALUES // MAX_VALUES
    assert run.status.phase is Phase.SUCCEEDED


def test_texts_and_copies_are_kept_of_what_was_used_last() -> None:
    """A step may have thousands of expressions, each over other outputs or another part of one."""
    records = {f"a{n}": StepStatus(name=f"a{n}", state=StepState.SUCCEEDED, output=n) for n in range(9)}
    reader = Reader(a_run(), records, seen())
    assert [reader(f"steps.a{n}.output") for n in range(9)] == list(range(9))
    assert len(reader._memo) == REMEMBERED
    data = Data([[n] * (MAX_SIZE // 2) for n in range(9)])
    first = value("it[0]", {"it": data}, seen())
    assert value("it[0]", {"it": data}, seen()) is first
    for n in range(1, 9):
        assert value(f"it[{n}]", {"it": data}, seen())[0] == n
    assert value("it[0]", {"it": data}, seen()) is not first
