"""Arguments too big for a pod's environment: which of them are files, and that they come to the same in the end."""

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from agentruns.core import files
from agentruns.core.digests import compact, digest, digest_of
from agentruns.core.expressions import Data, value
from agentruns.core.files import MAX_FILES, MAX_INPUT, MAX_WHOLE, SMALL, Part, handed_over, pointer, spliced
from agentruns.core.observed import Refusal
from agentruns.core.problems import Problem
from agentruns.core.questions import Lost, StoredOutput, Unanswered
from agentruns.core.records import OutputRef, Phase
from agentruns.core.templates import strings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.builders import a_step, a_tool, an_end, seen
from tests.unit.play import Play, play
from tests.unit.sandbox import TOOL

BIG = {"text": "x" * 100_000, "list": [{"a/b": "y" * 70_000}, 7], "n": 7, "some": "z" * 5000}


def big(**args: Any) -> Play:
    """A run whose second step reads what the first has printed."""
    return play(a_step("a"), a_step("b", args=args)).succeeds("a", BIG)


def input_of(run: Play, step: str = "b") -> dict[str, Any]:
    """What the tool of a step finds in AGENTRUN_INPUT."""
    content: dict[str, Any] = json.loads(run.input_of(step).replace("$$", "$"))
    return content


def test_what_does_not_fit_goes_as_a_file_and_the_rest_as_ever() -> None:
    run = big(document="${steps.a.output.text}", n="${steps.a.output.n}", like={"at": "/document", "path": "x"})
    ref = run.step("a").output_ref
    assert ref is not None
    content = input_of(run)
    assert content["args"] == {"document": None, "n": 7, "like": {"at": "/document", "path": "x"}}
    assert content["files"] == [
        {
            "at": "/document",
            "path": "/agentrun-files/a.json",
            "pointer": "/text",
            "configMap": ref.name,
            "key": "output.json",
            "bytes": ref.bytes,
            "digest": ref.digest,
        }
    ]
    assert ref.digest == digest_of(run.manifests[ref.name]["data"]["output.json"].encode())
    assert run.step("b").input_digest == digest(content)


def test_a_pod_has_each_output_once_and_only_to_be_read() -> None:
    run = big(whole="${steps.a.output}", part="${steps.a.output.list[0]['a/b']}")
    ref, spec = run.step("a").output_ref, run.pod_manifest("b")["spec"]
    assert ref is not None
    source = {"configMap": {"name": ref.name, "items": [{"key": "output.json", "path": "a.json"}]}}
    assert spec["volumes"][2:] == [{"name": "files", "projected": {"sources": [source]}}]
    mount = {"name": "files", "mountPath": "/agentrun-files", "readOnly": True}
    assert spec["containers"][0]["volumeMounts"][2:] == [mount]
    assert [it["pointer"] for it in input_of(run)["files"]] == ["", "/list/0/a~1b"]
    assert len(run.pod_manifest("a")["spec"]["volumes"]) == 2


@pytest.mark.parametrize(
    ("args", "taken"),
    [
        ({"a": "${steps.a.output.some}", "b": "${steps.a.output.some}"}, []),
        ({"a": "${steps.a.output.text}", "b": "${steps.a.output.some}"}, ["/a"]),
        (
            {"a": "${steps.a.output.some}", "b": ["${steps.a.output.list[0]}", "${steps.a.output.text}"]},
            ["/b/1", "/b/0"],
        ),
        ({f"a{n:02}": "${steps.a.output.some}" for n in range(20)}, [f"/a{n:02}" for n in range(8)]),
    ],
)
def test_as_few_as_will_do_are_files_the_largest_first(args: dict[str, Any], taken: list[str]) -> None:
    content = input_of(big(**args))
    assert [it["at"] for it in content.get("files", [])] == taken


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"a": "see ${steps.a.output.text}"}, "args.a: has more than 65536 characters and values; pass less"),
        (
            {"a": "${steps.a.output.text + '.'}"},
            "args.a: with this, more than 65536 characters and values come together",
        ),
        (
            {"a": ["${steps.a.output}"] * 24},
            "args: 4201369 bytes of input, 175049 of them in args/a/0; at most 4194304",
        ),
        (
            {"a": ["${steps.a.output.some}"] * 46},
            "args: 35 of them would have to be files; at most 32 can be, pass less",
        ),
        ({"a": ["${steps.a.output.text}", "é" * 11_000]}, "bytes of input beside files; at most 65536 fit, pass less"),
        (
            {"a": "${steps.a.output.texts}"},
            "args.a: there is no 'texts' in steps.a.output, which has: list, n, some, text",
        ),
        ({"a": "${steps.a.output.list[2]}"}, "args.a: there is no 2 in steps.a.output.list, which is: list"),
        ({"a": "${steps.a.output.list[0][1]}"}, "args.a: there is no 1 in steps.a.output.list[0], which"),
    ],
)
def test_what_cannot_be_handed_over_says_so(args: dict[str, Any], said: str) -> None:
    run = big(**args)
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "InvalidSpec")
    assert said in run.status.message


def test_the_input_schema_sees_the_whole_of_the_arguments() -> None:
    tools = {"b": a_tool(inputSchema={"properties": {"x": {"maxLength": 99_999}}})}
    run = play(a_step("a"), a_step("b", args={"x": "${steps.a.output.text}"}), tools=tools)
    assert "b: x: the value is longer than 99999 characters" in run.succeeds("a", BIG).status.message


def asked(**tool: Any) -> Play:
    """A run that asks before an effect to which a big argument goes."""
    tools = {"b": a_tool(effect="NonIdempotent", **tool)}
    args = {"document": "${steps.a.output.text}", "to": "alice", "part": "${steps.a.output.list[0]}"}
    return play(a_step("a"), a_step("b", args=args), tools=tools).succeeds("a", BIG)


def test_an_approver_is_shown_where_a_big_argument_can_be_read() -> None:
    run = asked(approvalSummary="Send ${args.document} to ${args.to}, ${size(args.to)}")
    ref = run.step("a").output_ref
    assert ref is not None
    request = run.manifests[run.step("b").approval]["spec"]["request"]
    assert request["args"] == {"document": None, "to": "alice", "part": None}
    assert request["summary"] == f"Send <100002 bytes, in ConfigMap {ref.name}> to alice, 5"
    assert [(it["at"], it["pointer"], it["digest"]) for it in request["files"]] == [
        ("/document", "/text", ref.digest),
        ("/part", "/list/0", ref.digest),
    ]


def test_what_was_approved_is_what_is_started_after_any_number_of_attempts() -> None:
    run = asked(retry={"attempts": 3}).decides("b", "Approve")
    first = run.input_of("b")
    assert run.fails("b", 75).go(60).input_of("b") == first
    assert run.step("b").attempt == 2
    run.succeeds("b", "done")
    assert run.status.phase is Phase.SUCCEEDED


def test_what_is_lost_by_the_time_it_is_needed_begins_nothing() -> None:
    run = asked()
    ref = run.step("a").output_ref
    assert ref is not None
    del run.stored[ref.name]
    run.decides("b", "Approve")
    assert (run.status.phase, run.status.reason, run.step("b").pod) == (Phase.FAILED, "StateLost", "")
    assert f"step b: the output of step a is lost: ConfigMap {ref.name} is gone" in run.status.message


@pytest.mark.parametrize("remembered", [True, False])
def test_what_is_lost_while_a_pod_waits_for_it_is_said_at_its_end(remembered: bool) -> None:
    tools = {"b": a_tool(retry={"attempts": 1})}
    run = play(a_step("a"), a_step("b", args={"x": "${steps.a.output.text}"}), tools=tools).succeeds("a", BIG)
    ref = run.step("a").output_ref
    assert ref is not None
    del run.stored[ref.name]
    if not remembered:  # the operator has been started anew
        run.answers[StoredOutput(ref)] = Lost(f"ConfigMap {ref.name} is gone")
    run._sees("b", node="node-1").go(301)
    run._sees("b", phase="Failed", reason="DeadlineExceeded", end=an_end(137, known=False, created=False)).go()
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "RetriesExhausted")
    assert "attempt 1 of 1: " in run.status.message
    assert f"the output of step a is lost: ConfigMap {ref.name} is gone" in run.status.message


def test_a_pod_that_waits_for_something_else_keeps_its_reason() -> None:
    run = big(x="${steps.a.output.text}")
    run._sees("b", waiting_reason="ErrImagePull", waiting_message="not found").go(301)
    assert run.step("b").message == "ErrImagePull: not found"


def test_a_tool_that_settles_gets_the_same_arguments() -> None:
    tools = {
        "b": a_tool(effect="NonIdempotent", approval="Never", settle={"tool": "c", "happened": "result.found"}),
        "c": a_tool(),
    }
    run = play(a_step("a"), a_step("b", args={"x": "${steps.a.output.text}"}), tools=tools).succeeds("a", BIG)
    run.fails("b", 1).go(60)
    assert run.step("b").state == "InDoubt"
    effect, call = input_of(run), input_of(run, "b-settle")
    assert (call["args"], call["files"]) == (effect["args"], effect["files"])


# ---------------------------------------------------------------------------- both halves of it together

spec = importlib.util.spec_from_file_location("agentrun_tool", TOOL)
assert spec is not None and spec.loader is not None
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

keys = st.text("a/~é", max_size=3)
leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text('x\u202e~/\\"$é', max_size=5)
values = st.recursive(
    leaves | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
MARK = "<here>"
templates = st.dictionaries(
    keys,
    st.recursive(
        leaves | st.just(MARK), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(templates, st.lists(values, min_size=1, max_size=3), st.data())
def test_a_program_reads_the_arguments_as_if_they_had_all_fitted(
    template: dict[str, Any], outputs: list[Any], data: st.DataObject
) -> None:
    places = [place for place, text in strings(template) if text == MARK][:MAX_FILES]
    with tempfile.TemporaryDirectory() as directory:
        parts = {}
        for place in places:
            number = data.draw(st.integers(0, len(outputs) - 1))
            within = data.draw(st.sampled_from(list(places_in(outputs[number]))))
            parts[place] = part(outputs[number], within, f"s{number}")
        args = spliced(template, {place: it.value for place, it in parts.items()})
        content = {"args": args}
        entries = [files.File(place, it).entry() for place, it in parts.items()]
        bare = spliced(args, dict.fromkeys(parts))
        for entry in entries:
            path = Path(directory, Path(entry["path"]).name)
            path.write_bytes(compact(outputs[int(path.stem[1:])]))
            entry["path"] = str(path)
        assert json.loads(tool.completed(bare, entries)) == content["args"]


def places_in(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The place of everything in a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, item in items for found in places_in(item, (*place, key)))]


def part(output: Any, place: tuple[str | int, ...], step: str) -> Part:
    """What is at a place of an output that is stored."""
    value = output
    for name in place:
        value = value[name]
    text = compact(output)
    return Part(step, OutputRef(name=step, key="output.json", digest=digest_of(text), bytes=len(text)), place, value, 0)


@given(st.lists(st.integers(0, 3 * SMALL), max_size=40), st.integers(0, MAX_INPUT))
def test_an_input_fits_or_is_refused(sizes: list[int], rest: int) -> None:
    parts = dict[tuple[str | int, ...], Part]()
    for number, size in enumerate(sizes):
        place: tuple[str | int, ...] = ("big", number)
        text = "x" * (SMALL + size)
        it = part(text, (), f"s{number}")
        parts[place] = Part(it.step, it.ref, (), text, len(text) + 2)
    content = {"step": "b", "args": {"rest": "y" * rest, "big": [it.value for it in parts.values()]}}
    try:
        sent, taken = handed_over(content, parts)
    except Problem:
        assert rest + 300 * min(len(sizes), MAX_FILES) > MAX_INPUT or len(sizes) > MAX_FILES
        return
    assert len(files.written(sent)) <= MAX_INPUT
    assert spliced(sent["args"], {it.place: it.part.value for it in taken}) == content["args"]
    assert (taken == ()) == (len(files.written(content)) <= MAX_INPUT)
    left = [it.length for place, it in parts.items() if place not in {file.place for file in taken}]
    assert min((it.part.length for it in taken), default=MAX_WHOLE) >= max(left, default=0)


def test_a_rule_about_a_result_is_not_handed_the_arguments() -> None:
    environment = {"result": Data([1]), "args": Data({"x": "x" * 1_000_000})}
    assert value("size(result) == 1 && result[0] == 1", environment, seen()) is True
    with pytest.raises(Unanswered):
        value("size(result) == size(args)", environment, seen())


def test_pointers_are_those_of_the_standard() -> None:
    assert pointer(("a/b", 0, "m~n", "")) == "/a~1b/0/m~0n/"


def test_a_no_to_a_pod_with_files_is_waited_for_as_any_other() -> None:
    run = play(a_step("a"), a_step("b", args={"x": "${steps.a.output.text}"}))
    run.starts("a").says("a", BIG).ends("a")
    run.refused["Pod"] = Refusal("exceeded quota", for_now=True, reason="QuotaExceeded")
    assert run.go().step("b").reason == "QuotaExceeded"
    run.refused.clear()
    assert run.go(10).step("b").state == "Prepared"
