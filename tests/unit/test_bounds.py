"""What one tenant or one tool may take of everybody's operator, and what happens when the world has lost something."""

from typing import Any

import pytest
from agentruns.core.actions import StopPod
from agentruns.core.inputs import MAX_INPUT
from agentruns.core.lexing import ExpressionError
from agentruns.core.lifecycle import decide
from agentruns.core.observed import Lost, PinnedSpec, Refusal
from agentruns.core.outputs import INLINE, MAX_STORED
from agentruns.core.plan import MAX_EXPRESSIONS
from agentruns.core.resources import OversizedRun, Phase, StepState
from agentruns.core.schemas import SchemaError, check
from agentruns.core.templates import MAX_TEXT, expanded

from tests.unit.builders import NOW, a_run, a_step, an_end, seen
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
    with pytest.raises(ExpressionError, match=f"longer than {MAX_TEXT} characters"):
        expanded("${x}" * 3, "args", lambda _: "x" * (MAX_TEXT // 2))


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
    run = OversizedRun(metadata=plain.metadata, spec=plain.spec.model_copy(update={"steps": ()}), size=600_000)
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


def test_a_run_that_lost_its_tools_ends_once_its_pods_have() -> None:
    run = lost(play(a_step("a"), a_step("b")).starts("a"))
    found = decide(run.run, run.look())
    assert found.status == run.run.status
    assert [type(action) for action in found.actions] == [StopPod]
    ended = {uid: pod.__class__(**{**pod.__dict__, "end": an_end()}) for uid, pod in run.pods.items()}
    run.pods = ended
    status = decide(run.run, run.look()).status
    assert (status.phase, status.reason, status.finished_at) == (Phase.FAILED, "StateLost", NOW)
    assert "not known: a" in status.message


def test_a_run_that_lost_its_tools_between_two_steps_says_that_nothing_is_open() -> None:
    run = lost(play(a_step("a", approval="Always")))
    assert run.step("a").state is StepState.AWAITING_APPROVAL
    assert "not known: none" in decide(run.run, run.look()).status.message
