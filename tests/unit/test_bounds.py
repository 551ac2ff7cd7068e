"""What one tenant or one tool may take of everybody's operator, and what happens when the world has lost something."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from agentruns.core.actions import Create, StopPod
from agentruns.core.checks import MAX_EXPRESSIONS
from agentruns.core.expressions import MAX_SIZE, Data, value
from agentruns.core.files import MAX_INPUT
from agentruns.core.inputs import Reader
from agentruns.core.lexing import ExpressionError
from agentruns.core.lifecycle import decide
from agentruns.core.observed import Observed, Refusal
from agentruns.core.outputs import INLINE, MAX_STORED
from agentruns.core.problems import Problem
from agentruns.core.questions import (
    ASKED_AT_ONCE,
    Lost,
    PinnedSpec,
    PodIsGone,
    StoredOutput,
    Unanswered,
    key_of,
    length_of,
)
from agentruns.core.records import Phase, StepState, StepStatus
from agentruns.core.resources import OversizedRun
from agentruns.core.result_lines import MAX_VALUES, parsed
from agentruns.core.schedule import AT_ONCE
from agentruns.core.schemas import SchemaError, check
from agentruns.core.templates import expanded

from tests.unit.builders import NOW, a_run, a_step, a_tool, an_end, later, seen
from tests.unit.play import Play, play


def test_references_beside_unevaluated_fields_are_refused_since_they_multiply() -> None:
    with pytest.raises(SchemaError, match="multiply one another"):
        check({"$defs": {"a": {}}, "$ref": "#/$defs/a", "unevaluatedProperties": False})


def test_a_schema_nested_beyond_the_library_is_refused() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(400):
        schema = {"not": schema}
    with pytest.raises(SchemaError):
        check(schema)


def test_a_template_ends_where_its_text_becomes_too_long() -> None:
    with pytest.raises(Problem, match=f"^args: with this, more than {MAX_SIZE} characters and values come together"):
        expanded("${x}" * 3, "args", lambda _: "x" * (MAX_SIZE // 2))


@pytest.mark.parametrize("big", [["x"] * 16_000, {"x": "x" * 60_000}, "é" * 32_700])
def test_few_bytes_that_name_much_and_often_are_refused_before_it_is_put_together(big: Any) -> None:
    run = a_run(*(a_step(f"s{n}", args={"n": n, "x": ["${run.input.b}"] * 30}) for n in range(40)), input={"b": big})
    tracemalloc.start()
    try:
        said = refusal(run)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    place = "args.x[1]" if isinstance(big, dict) else "args.x[2]"
    assert f"steps[0] (s0): {place}: with this, more than {MAX_SIZE} characters and values come together" in said
    assert peak < 20_000_000


def test_costly_questions_are_asked_some_at_a_time_and_kept_by_their_digests() -> None:
    steps = [a_step(f"s{n}", args={"n": n, "x": "${run.input.b}"}) for n in range(200)]
    heavy = a_tool(inputSchema={"properties": {"x": {"uniqueItems": True}}})
    run = a_run(*({**step, "tool": "heavy"} for step in steps), input={"b": "x" * 60_000})
    rounds, answers = 0, dict[Any, Any]()
    while True:
        try:
            decide(run, Observed(now=NOW, tools={"heavy": heavy}, answers=answers))
            break
        except Unanswered as asked:
            rounds += 1
            lengths = [length_of(it) for it in asked.questions]
            assert sum(lengths) < 2 * ASKED_AT_ONCE
            answers |= {key_of(it): "" for it in asked.questions}
    assert (rounds, len(answers)) == (3, 200)
    assert sum(len(str(key)) for key in answers) < 100_000


def test_a_thousand_steps_that_read_the_same_megabyte_walk_it_once() -> None:
    reader = Reader(
        a_run(), {"a": StepStatus(name="a", state=StepState.SUCCEEDED, output={"n": list(range(1000))})}, seen()
    )
    first, again = reader("steps.a.output.n"), reader("steps.a.output.n")
    assert first is again
    with pytest.raises(ExpressionError, match="there is no 'm'"):
        reader("steps.a.output.m")
    with pytest.raises(ExpressionError, match="there is no 'm'"):
        reader("steps.a.output.m")


def test_what_is_larger_than_any_field_may_be_is_refused_before_it_is_put_in_order() -> None:
    with pytest.raises(ExpressionError, match=f"has more than {MAX_SIZE} characters and values; pass less"):
        value("a.b", {"a": Data({"b": [1] * MAX_SIZE})}, seen())


def test_a_round_considers_some_steps_and_the_next_one_the_others() -> None:
    steps = (a_step(f"s{n}", when="false") for n in range(AT_ONCE + 9))
    run = Play(a_run(*({**step, "tool": "tool"} for step in steps), order="Graph")).go()
    assert [it.progress for it in run.recorded] == ["", "100/109", "109/109", "109/109"]


def test_a_round_holds_no_more_manifests_than_others_can_spare() -> None:
    steps = [a_step(f"s{n}", args={"x": "${run.input.x}"}, approval="Always") for n in range(10)]
    run = a_run(*steps, order="Graph", input={"x": ["y"] * 10_000})
    tools = {step.tool: a_tool() for step in run.spec.steps}
    asked = [it for it in decide(run, seen(tools=tools)).preparations if isinstance(it, Create)]
    assert sum(it.manifest["kind"] == "Approval" for it in asked) == 4
    assert len(Play(run).go().approvals) == 10


def test_a_question_that_is_open_takes_no_evaluation() -> None:
    run = play(a_step("a", args={"x": "${run.input.n}"}, approval="Always"), input={"n": 1})
    run.run = run.run.model_copy(update={"spec": run.run.spec.model_copy(update={"input": {}})})
    assert run.go().status.reason == "StepAwaitsApproval", "it would fail if its arguments were put together again"
    assert run.decides("a", "Approve").status.reason == "InvalidSpec"


def test_a_wrong_name_in_a_large_output_costs_next_to_nothing() -> None:
    output = {f"k{n}": n for n in range(90_000)}
    looked_at = CountedKeys(output)
    with pytest.raises(ExpressionError, match="there is no 'nope' in out, which has: k0, k1, "):
        value("out.nope", {"out": Data(looked_at)}, seen())
    assert looked_at.given < 200


class CountedKeys(dict[str, int]):
    """A dict that counts the keys it gives."""

    given = 0

    def __iter__(self) -> Iterator[str]:
        for key in super().__iter__():
            self.given += 1
            yield key


def refusal(run: Any) -> str:
    """Why a run ends before it has begun."""
    status = Play(run).go().status
    assert (status.phase, status.reason) == (Phase.FAILED, "InvalidSpec")
    return status.message


def test_a_large_input_is_refused_with_its_size() -> None:
    assert f"at most {MAX_INPUT} are taken" in refusal(a_run(a_step("a"), input={"x": "x" * MAX_INPUT}))


def test_more_expressions_than_others_would_not_feel_are_refused() -> None:
    many = {"list": ["${1}"] * (MAX_EXPRESSIONS + 1)}
    assert f"at most {MAX_EXPRESSIONS} expressions" in refusal(a_run(a_step("a", args=many)))


def test_of_an_oversized_run_only_the_size_is_known_and_said() -> None:
    plain = a_run()
    run = OversizedRun(metadata=plain.metadata, spec=plain.spec.model_copy(update={"steps": ()}), size="600000 bytes")
    status = decide(run, seen()).status
    assert (status.phase, status.reason) == (Phase.FAILED, "InvalidSpec")
    assert "spec: 600000 bytes" in status.message


def test_an_output_that_no_config_map_holds_is_refused() -> None:
    run = play(a_step("a")).succeeds("a", ["x" * 1000] * (MAX_STORED // 1000))
    assert run.step("a").reason == "InvalidResult"
    assert f"at most {MAX_STORED} are taken" in run.step("a").message


def test_an_output_that_may_not_be_stored_is_refused_with_the_reason() -> None:
    run = play(a_step("a"))
    run.refused["ConfigMap"] = Refusal("no ConfigMaps here", for_now=False)
    run.succeeds("a", "x" * (INLINE + 1))
    assert run.step("a").reason == "InvalidResult"
    assert "no ConfigMaps here" in run.step("a").message


def lost(run: Play) -> Play:
    """The same run, with what its tools were pinned to gone."""
    for pin in run.run.status.tools:
        run.answers[PinnedSpec(pin)] = Lost(f"{pin.revision} is gone")
    return run


@pytest.mark.parametrize("so", [{"end": an_end()}, {"phase": "Failed", "reason": "NodeAffinity"}])
def test_a_run_that_lost_its_tools_ends_once_its_pods_have(so: dict[str, Any]) -> None:
    run = lost(play(a_step("a"), a_step("b")).starts("a"))
    found = decide(run.run, run.look())
    assert found.status == run.run.status
    assert [type(action) for action in found.actions] == [StopPod]
    run.pods = {uid: replace(pod, **so) for uid, pod in run.pods.items()}
    status = decide(run.run, run.look()).status
    assert (status.phase, status.reason, status.finished_at) == (Phase.FAILED, "StateLost", NOW)
    assert "not known: a" in status.message


def test_a_run_that_lost_its_tools_does_not_end_before_a_pod_that_only_it_does_not_see() -> None:
    run = lost(play(a_step("a")).starts("a"))
    run.pods.clear()
    gone = PodIsGone(run.step("a").pod, run.step("a").pod_uid)
    run.answers[gone] = False
    found = decide(run.run, run.look())
    assert (found.status, found.wake_at) == (run.run.status, later(30))
    run.answers[gone] = True
    assert decide(run.run, run.look()).status.reason == "StateLost"


def test_a_run_that_lost_its_tools_between_two_steps_says_that_nothing_is_open() -> None:
    run = lost(play(a_step("a", approval="Always")))
    assert run.step("a").state is StepState.AWAITING_APPROVAL
    assert "not known: none" in decide(run.run, run.look()).status.message


def with_lost_output(**b: Any) -> Play:
    """A run whose step `a` has ended, and whose big output has gone since; step `b` reads it."""
    steps = a_step("a"), a_step("b", args={"x": "${steps.a.output}"}, **b)
    run = play(*steps, tools={"b": a_tool(effect="NonIdempotent", approval="Never")}, output={"x": "${steps.a.output}"})
    run.succeeds("a", "x" * (INLINE + 1))
    reference = run.step("a").output_ref
    assert reference is not None
    run.answers[StoredOutput(reference)] = Lost(f"ConfigMap {reference.name} is gone")
    return run


def test_a_step_whose_arguments_are_lost_says_so() -> None:
    run = with_lost_output(approval="Always").decides("b", "Approve")
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "StateLost")
    assert "step b: args.x: the output of step a is lost: ConfigMap" in run.status.message


def test_a_run_whose_output_is_lost_says_so() -> None:
    run = with_lost_output().succeeds("b", 1)
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "StateLost")
    assert "output.x: the output of step a is lost" in run.status.message


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_result_whose_rules_cannot_be_checked_any_more_may_have_been_done(cancelled: bool) -> None:
    run = with_lost_output(verify=[{"expression": "args.x != ''"}]).starts("b")
    if cancelled:
        run.wants(desiredState="Cancelled")
    run.says("b", 1).ends("b").go()
    assert (run.step("b").state, run.step("b").reason, run.step("b").effect_state) == (
        "Failed",
        "StateLost",
        "MayBeDone",
    )
    assert run.status.phase is (Phase.CANCELLED if cancelled else Phase.FAILED)


def test_what_is_in_doubt_stays_so_though_nobody_can_be_shown_what_was_sent() -> None:
    run = with_lost_output().fails("b", exit_code=3)
    assert (run.step("b").state, run.step("b").reason) == (StepState.IN_DOUBT, "StateLost")
    assert run.approvals == {}


def test_an_attempt_runs_with_the_arguments_of_those_before_or_not_at_all() -> None:
    run = play(a_step("a", args={"to": "${run.input.to}"}), input={"to": "alice"}).fails("a", exit_code=75)
    changed = run.run.spec.model_copy(update={"input": {"to": "mallory"}})
    run.run = run.run.model_copy(update={"spec": changed})
    pods = len(run.pods)
    run.go(1)
    assert (run.status.phase, run.status.reason, len(run.pods)) == (Phase.FAILED, "StateLost", pods)
    assert "its arguments are not those of the attempts before" in run.status.message


def test_what_was_approved_is_what_runs_after_a_wait_too() -> None:
    run = play(a_step("a", args={"to": "${run.input.to}"}, approval="Always"), input={"to": "alice"})
    run.refused["Pod"] = Refusal("exceeded quota", for_now=True, reason="QuotaExceeded")
    run.decides("a", "Approve")
    assert run.step("a").state is StepState.WAITING
    changed = run.run.spec.model_copy(update={"input": {"to": "mallory"}})
    run.run = run.run.model_copy(update={"spec": changed})
    run.refused.clear()
    run.go(10)
    assert (run.status.reason, run.pods) == ("StateLost", {})


def test_the_values_of_an_output_are_counted_before_they_are_read() -> None:
    many = b'{"output":[' + b"{}," * MAX_VALUES + b"{}]}"
    assert f"more than {MAX_VALUES} values" in parsed(many, NOW).invalid
