"""What a step returns: believed only if it fits, verified, and kept where its size belongs."""

from typing import Any

import pytest
from agentruns.core.digests import digest_of
from agentruns.core.outputs import INLINE
from agentruns.core.records import OutputRef, Phase

from tests.unit.builders import a_step, a_tool
from tests.unit.play import Play, play

RECEIPT = {"type": "object", "required": ["receipt"], "properties": {"receipt": {"type": "string"}}}


def one_step(output_schema: dict[str, Any] | None = None, **step: Any) -> Play:
    """A run of one step whose result is held to this schema."""
    return play(a_step("a", **step), tools={"a": a_tool(outputSchema=output_schema or {})})


def test_a_result_that_breaks_the_schema_fails_without_being_repeated() -> None:
    run = one_step(RECEIPT).succeeds("a", {"receipt": 4711})
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "InvalidResult")
    assert 'tool a: receipt: the value is not of type "string", but number; done before: nothing' in run.status.message
    assert "4711" not in run.status.message
    assert run.step("a").attempt == 1


def test_a_result_that_fits_is_believed() -> None:
    assert one_step(RECEIPT).succeeds("a", {"receipt": "R-1"}).step("a").output == {"receipt": "R-1"}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"expression": "result.receipt.startsWith('R-')"}, ""),
        ({"expression": "result.receipt.startsWith(args.prefix)"}, ""),
        ({"expression": "result.receipt == ''", "message": "no receipt"}, "verify[0]: no receipt"),
        ({"expression": "result.receipt == ''"}, "verify[0]: result.receipt == '' is not true"),
        ({"expression": "result.receipt"}, "verify[0]: result.receipt is not true"),
        ({"expression": "result.m"}, "verify[0]: result.m (there is no 'm' in result, which has: receipt)"),
        (
            {"expression": "result.m", "message": "no m"},
            "verify[0]: no m (there is no 'm' in result, which has: receipt)",
        ),
    ],
)
def test_only_a_clean_true_verifies_a_result(rule: dict[str, Any], said: str) -> None:
    run = one_step(args={"prefix": "R-"}, verify=[rule]).succeeds("a", {"receipt": "R-1"})
    if said:
        assert (run.status.phase, run.status.reason) == (Phase.FAILED, "VerificationFailed")
        assert f"step a: {said}" in run.status.message
    else:
        assert run.status.phase is Phase.SUCCEEDED


def test_every_rule_must_hold() -> None:
    rules = [{"expression": "true"}, {"expression": "result > 1", "message": "too small"}]
    assert "verify[1]: too small" in one_step(verify=rules).succeeds("a", 1).status.message


@pytest.mark.parametrize("output", [None, 0, "", [], {}, False, "x" * (INLINE - 2), list(range(500))])
def test_a_small_output_is_kept_as_it_is(output: Any) -> None:
    run = play(a_step("a"), a_step("b", args={"x": "${steps.a.output}"})).succeeds("a", output)
    record = run.step("a")
    assert (record.state, record.output, record.output_ref) == ("Succeeded", output, None)
    assert run.step("b").state == "Prepared"


def test_a_big_output_is_kept_by_digest_and_read_where_it_is_needed() -> None:
    big = {"text": "x" * INLINE}
    run = play(
        a_step("a"), a_step("b", args={"n": "${size(steps.a.output.text)}"}), output={"t": "${steps.a.output.text}"}
    ).succeeds("a", big)
    reference = run.step("a").output_ref
    text = '{"text":"' + "x" * INLINE + '"}'
    assert isinstance(reference, OutputRef)
    assert (reference.key, reference.digest) == ("output.json", digest_of(text.encode()))
    assert reference.bytes == len(text.encode())
    manifest = run.manifests[reference.name]
    assert (manifest["kind"], manifest["immutable"], manifest["data"]) == ("ConfigMap", True, {"output.json": text})
    assert manifest["metadata"]["ownerReferences"][0]["uid"] == run.run.metadata.uid
    assert run.step("a").output is None
    assert f'"n":{INLINE}' in run.input_of("b")
    run.succeeds("b")
    assert run.status.output == {"t": "x" * INLINE}


# -------------------------------------------------------------------------------------- of the whole run


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ({}, None),
        ({"a": "${steps.a.output}", "list": ["${steps.a.output.n}", "x"]}, {"a": {"n": 7}, "list": [7, "x"]}),
        ({"note": "n is ${steps.a.output.n} in ${run.name}"}, {"note": "n is 7 in refund-4711"}),
        ({"none": "${steps.a.state == 'Skipped' ? 1 : null}"}, {"none": None}),
    ],
)
def test_a_run_returns_what_its_spec_describes(output: dict[str, Any], found: Any) -> None:
    run = play(a_step("a"), output=output).succeeds("a", {"n": 7})
    assert (run.status.phase, run.status.output) == (Phase.SUCCEEDED, found)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"x": "${steps.a.output.m}"}, "output.x: there is no 'm' in steps.a.output, which has: text"),
        ({"x": ["${steps.a.output.text}"] * 40}, "output.x[32]: with this, more than 65536 characters"),
        ({"x": ["${steps.a.output.text}"] * 20}, "bytes; at most 65536 fit, take less from the steps; done before: a"),
        ({"x": [1.0] * 20_000}, "output: 80007 bytes; at most 65536 fit, take less from the steps; done before: a"),
    ],
)
def test_an_output_that_cannot_be_made_fails_the_run(output: dict[str, Any], said: str) -> None:
    run = play(a_step("a"), output=output).succeeds("a", {"text": "é" * 2000})
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "OutputInvalid")
    assert said in run.status.message
    assert run.status.output is None


@pytest.mark.parametrize(
    ("value", "said"),
    [("é" * 65_000, "bytes of input; at most 65536 fit, pass less"), (2**60, "quote it")],
)
def test_an_input_that_cannot_be_carried_fails_its_step(value: Any, said: str) -> None:
    run = play(a_step("a", args={"x": value}))
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "InvalidSpec")
    assert said in run.status.message


def test_arguments_that_do_not_fit_fail_their_step_before_its_pod() -> None:
    tools = {"b": a_tool(inputSchema={"properties": {"n": {"type": "string"}}})}
    run = play(a_step("a"), a_step("b", args={"n": "${steps.a.output}"}), tools=tools).succeeds("a", 7)
    assert (run.status.reason, run.step("b").pod) == ("InvalidSpec", "")
    assert "step b: args do not fit the inputSchema of tool b: n: the value is not of type" in run.status.message
