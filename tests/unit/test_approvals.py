"""What a person is shown, what an answer binds to, and when nobody is asked."""

from typing import Any

import pytest
from agentruns.core.approvals import Demand, because, doubt_request, effect_request, escaped, escaped_deep, is_ours
from agentruns.core.approvals import demand as demand_for
from agentruns.core.inputs import Attempt, Reader
from agentruns.core.model import Shown, shown_digest
from agentruns.core.problems import Problem
from agentruns.core.records import StepStatus
from agentruns.core.resources import AgentRun, Approval, Step
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.unit.builders import NOW, a_run, a_step, a_tool, an_attempt, seen


def step(**fields: Any) -> Step:
    """A step as the run's spec holds it."""
    return Step.model_validate(a_step("lookup", **fields))


def request(attempt: Attempt | None = None, *, run: AgentRun | None = None, **fields: Any) -> dict[str, Any]:
    """What a person is shown of an effect."""
    run = run or a_run(goal="help", requestedBy="bob@example.com")
    return effect_request(Reader(run, {}, seen()), step(**fields), attempt or an_attempt())


def effect_demand(run: AgentRun, step: Step, attempt: Attempt, shown: dict[str, Any]) -> Demand:
    """The question whether an effect may happen."""
    return demand_for(run, step, attempt, "Effect", shown)


def doubt_demand(run: AgentRun, step: Step, attempt: Attempt, shown: dict[str, Any]) -> Demand:
    """The question what became of an effect."""
    return demand_for(run, step, attempt, "InDoubt", shown)


# -------------------------------------------------------------------------------------------- who asks


@pytest.mark.parametrize(
    ("tool", "inherits", "always"),
    [
        ({"effect": "ReadOnly"}, "", "the step asks always"),
        ({"effect": "Idempotent"}, "the tool asks always", "the step asks always"),
        ({"effect": "NonIdempotent"}, "the tool asks always", "the step asks always"),
        ({"effect": "NonIdempotent", "approval": "Never"}, "", "the step asks always"),
        ({"effect": "ReadOnly", "approval": "Always"}, "the tool asks always", "the step asks always"),
    ],
)
def test_a_step_can_only_be_stricter_than_its_tool(tool: dict[str, Any], inherits: str, always: str) -> None:
    attempt = an_attempt(tool=a_tool(**tool))
    assert because(step(), attempt, seen()) == inherits
    assert because(step(approval="Always"), attempt, seen()) == always


@pytest.mark.parametrize(
    ("unless", "args", "said"),
    [
        ("double(args.amount) <= 50.0", {"amount": "12.50"}, ""),
        ("double(args.amount) <= 50.0", {"amount": "50.01"}, "the tool asks unless double(args.amount) <= 50.0"),
        ("double(args.amount) <= 50.0", {"amount": "NaN"}, "the tool asks unless double(args.amount) <= 50.0"),
        ("double(args.amount) <= 50.0", {"amount": "a lot"}, "<= 50.0; that has no value for these arguments"),
        ("double(args.amount) <= 50.0", {}, "<= 50.0; that has no value for these arguments"),
        ("args.ok", {"ok": True}, ""),
        ("args.ok", {"ok": "true"}, "the tool asks unless args.ok"),
        ("args.ok", {"ok": 1}, "the tool asks unless args.ok"),
        ("args.ok", {"ok": [True]}, "the tool asks unless args.ok"),
        ("args.ok", {"ok": None}, "the tool asks unless args.ok"),
        ("", {}, "that has no value for these arguments"),
    ],
)
def test_only_a_clean_true_passes_without_a_person(unless: str, args: dict[str, Any], said: str) -> None:
    tool = a_tool(effect="NonIdempotent", approval="Unless", approvalUnless=unless)
    found = because(step(), an_attempt(tool=tool, args=args), seen())
    assert found == "" if said == "" else said in found


# ---------------------------------------------------------------------------------------- what it binds


def test_the_digest_changes_with_everything_that_is_bound() -> None:
    run, other = a_run(), a_run(metadata={"uid": "another-run"})
    demands = [
        effect_demand(run, step(), an_attempt(), {}),
        doubt_demand(run, step(), an_attempt(), {}),
        effect_demand(other, step(), an_attempt(), {}),
        effect_demand(run, step().model_copy(update={"name": "other"}), an_attempt(), {}),
        effect_demand(run, step(), an_attempt(revision="lookup-fedcba"), {}),
        effect_demand(run, step(), an_attempt(input_digest="sha256:other"), {}),
        effect_demand(run, step(), an_attempt(epoch=1), {}),
    ]
    assert len({it.digest for it in demands}) == len(demands)
    assert len({it.name for it in demands}) == len(demands)


def test_one_answer_covers_every_attempt_of_an_intent() -> None:
    first, third = (effect_demand(a_run(), step(), an_attempt(number=number), {}) for number in (1, 3))
    assert first == third


def test_the_manifest_asks_in_the_name_of_the_run() -> None:
    run = a_run()
    demand = effect_demand(run, step(), an_attempt(), {"summary": "s"})
    owner = {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "name": "refund-4711",
        "uid": run.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    assert demand.manifest == {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "Approval",
        "metadata": {
            "name": f"refund-4711-lookup-{demand.digest[7:15]}",
            "namespace": "shop",
            "labels": {"agentrun.dev/run-uid": run.metadata.uid},
            "ownerReferences": [owner],
        },
        "spec": {
            "runRef": {"name": "refund-4711", "uid": run.metadata.uid},
            "step": "lookup",
            "tool": "lookup",
            "purpose": "Effect",
            "digest": demand.digest,
            "request": {"summary": "s"},
        },
    }


# ------------------------------------------------------------------------------------------ whose it is


def stored(**changes: Any) -> Approval:
    """The Approval of an effect as the API server has stored it, with parts of its spec or metadata changed."""
    manifest = effect_demand(a_run(), step(), an_attempt(), request()).manifest
    metadata = manifest["metadata"] | {"uid": "a", "creationTimestamp": NOW.isoformat()} | changes.pop("metadata", {})
    return Approval.model_validate({**manifest, "metadata": metadata, "spec": manifest["spec"] | changes})


@pytest.mark.parametrize(
    ("approval", "ours"),
    [
        (stored(), True),
        (stored(decision={"verdict": "Approve"}), True),
        (stored(decision={"verdict": "Approve"}, metadata={"generation": 2}), True),
        (stored(metadata={"generation": 2}), False),
        (stored(decision={"verdict": "Approve"}, metadata={"generation": 3}), False),
        (stored(digest="sha256:other"), False),
        (stored(runRef={"name": "refund-4711", "uid": "an-earlier-run"}), False),
        (stored(metadata={"ownerReferences": []}), False),
        (stored(metadata={"ownerReferences": [{"kind": "AgentRun", "name": "refund-4711", "uid": "else"}]}), False),
        (stored(request=request() | {"summary": "another summary"}), False),
        (stored(request=request() | {"args": {"order": "1"}}), False),
        (stored(request=request() | {"why": "trust me"}), False),
        (stored(request=request() | {"goal": "another goal"}), False),
        (stored(request=request() | {"tool": {"description": "harmless"}}), False),
        (stored(request={}), False),
        (stored(request=request() | {"onReject": "told by an earlier release"}), True),
    ],
)
def test_only_what_this_run_asked_and_showed_counts(approval: Approval, ours: bool) -> None:
    demand = effect_demand(a_run(), step(), an_attempt(), request())
    assert is_ours(approval, demand, a_run(), StepStatus(name="lookup")) is ours


def test_what_was_shown_when_it_was_asked_counts_in_whatever_words_it_would_be_asked_now() -> None:
    asked = effect_demand(a_run(), step(), an_attempt(), request())
    now = effect_demand(a_run(), step(), an_attempt(), request() | {"summary": "the same in other words"})
    open_ = stored()
    assert asked.name == now.name
    record = StepStatus(name="lookup", approval=asked.name, shown_digest=asked.shown)
    assert is_ours(open_, now, a_run(), record)
    assert not is_ours(open_, now, a_run(), record.model_copy(update={"approval": "of-an-earlier-round"}))
    assert not is_ours(stored(request=request() | {"summary": "a lie"}), now, a_run(), record)


# ----------------------------------------------------------------------------------------- what is shown


def test_a_person_is_shown_everything_about_an_effect() -> None:
    secret = {"name": "T", "valueFrom": {"secretKeyRef": {"name": "payments", "key": "k"}}}
    tool = a_tool(
        effect="NonIdempotent",
        approvalSummary="Refund order ${args.order}",
        command=["refund", "--now"],
        egress=[{"to": [{"podSelector": {}}]}],
        env=[secret, {"name": "PLAIN", "value": "x"}, {**secret, "name": "U"}],
    )
    run = a_run(goal="help", requestedBy="bob@example.com", input={"order": "4711"})
    shown = request(an_attempt(tool=tool, epoch=2), run=run, why="order ${run.input.order}")
    assert shown == {
        "summary": "Refund order 4711",
        "args": {"order": "4711"},
        "why": "order 4711",
        "because": "the tool asks always",
        "tool": {
            "description": "Does it.",
            "image": tool.image,
            "command": ["refund", "--now"],
            "effect": "NonIdempotent",
            "egress": [{"to": [{"podSelector": {}}]}],
            "secretNames": ["payments"],
            "env": [
                "T from Secret payments, key k, as it is when the tool runs",
                "PLAIN=x",
                "U from Secret payments, key k, as it is when the tool runs",
            ],
            "runtimeClassName": "",
        },
        "requestedBy": "bob@example.com",
        "idempotencyKey": "",
        "goal": "help",
        "onApprove": "runs lookup once, with exactly these arguments",
        "onReject": "the run ends as Failed, Rejected",
        "askedBefore": 2,
    }


def test_where_an_argument_comes_from_a_file_the_file_is_part_of_what_is_shown() -> None:
    """Else a question that names another file could be there first, and an answer to it would count for this one."""
    shown = request(an_attempt())
    at = {"at": "/report", "configMap": "r-fetch-output-1a2b3c4d", "digest": "sha256:1"}
    digests = {shown_digest(shown | files) for files in ({}, {"files": [at]}, {"files": [at | {"digest": "sha256:2"}]})}
    assert len(digests) == 3
    assert shown_digest(shown | {"files": []}) == shown_digest(shown)


LOST = StepStatus(name="lookup", pod="run-lookup-1", message="exit code\n137")


def test_a_rejection_that_may_be_is_announced_as_such() -> None:
    goes_on = step(onFailure="Continue")
    assert request(onFailure="Continue")["onReject"] == "the step ends as Failed, Rejected; the run goes on"
    doubt = doubt_request(Reader(a_run(), {}, seen()), goes_on, an_attempt(), LOST)
    assert doubt["onFail"] == "the step ends as Failed, InDoubt; the run goes on"


def test_a_person_is_shown_what_is_known_of_a_doubt() -> None:
    shown = doubt_request(Reader(a_run(), {}, seen()), step(), an_attempt(), LOST)
    assert shown["outcome"] == "exit code\\u000a137"
    assert shown["because"] == (
        "the outcome of this step is unknown, and the tool is not safe to repeat; "
        f"if anything, pod run-lookup-1 did it under the key {an_attempt().idempotency_key}"
    )
    assert shown["summary"] == "Did this happen? Run lookup"
    assert (shown["onHappened"], shown["onRunAgain"], shown["onFail"]) == (
        "the run goes on from the output that you give",
        "lookup runs once more, with these arguments: if it did happen, it happens twice",
        "the run ends as Failed, InDoubt",
    )
    assert not shown.keys() & {"onApprove", "onReject"}
    held = doubt_request(Reader(a_run(), {}, seen()), step(), an_attempt(tool=a_tool(outputSchema={"a": {}})), LOST)
    assert held["onHappened"].endswith(', which must fit the outputSchema {"a":{}}')
    assert shown["args"] == {"order": "4711"}


@pytest.mark.parametrize(
    ("summary", "shown"),
    [
        ("", "Run lookup"),
        ("Look up ${args.order}", "Look up 4711"),
        ("Look up ${args.order} at ${args.at} EUR", 'Look up 4711 at "5.00 EUR, not at" EUR'),
        ("Look up ${args.long} at once", "Look up " + '"' + "x " * 31 + '…" at once'),
        ("Look up ${args.list} at once", "Look up [" + "1,1," * 15 + "1,1… at once"),
        ("Look up ${args.none}${args.empty}", 'Look up null""'),
        ("${{'order': args.order}} ", '{"order":"4711"} '),
        (
            "${args.m}",
            "Run lookup (its approvalSummary has no value for these arguments)",
        ),
    ],
)
def test_the_summary_is_the_tool_owners_sentence(summary: str, shown: str) -> None:
    args = {"order": "4711", "at": "5.00 EUR, not at", "long": "x " * 600, "list": [1] * 90, "none": None, "empty": ""}
    assert request(an_attempt(tool=a_tool(approvalSummary=summary), args=args))["summary"] == shown


def test_a_reason_is_a_text_and_must_have_a_value() -> None:
    run = a_run(input={"n": 7})
    assert request(run=run, why="${run.input.n}")["why"] == "7"
    with pytest.raises(Problem, match=r"^why: there is no 'm' in run\.input, which has: n"):
        request(run=run, why="${run.input.m}")


@pytest.mark.parametrize("made", [1e17, -1e17, 2.0**53, 1e20, 5.0, 0.5, 10**17, True])
def test_a_number_is_shown_as_the_api_server_gives_it_back(made: float) -> None:
    """It writes a whole number below 1e21 with all its digits."""
    read = int(made) if isinstance(made, float) and made.is_integer() else made
    assert shown_digest({"args": {"n": [made]}}) == shown_digest({"args": {"n": [read]}})
    assert shown_digest({"args": {"n": [made]}}) != shown_digest({"args": {"n": [7]}})


@pytest.mark.parametrize("args", [10**17, "\ud800", [[[]]] * 70])
def test_an_approval_that_anybody_made_can_be_read(args: Any) -> None:
    for _ in range(70):
        args = {"a": args}
    request = {"summary": "", "args": args, "tool": {}}
    assert TypeAdapter(Shown).validate_python(request) == "none"


def test_what_an_approver_sees_is_escaped_everywhere() -> None:
    evil = "a\u202eb\x1b[0m\u2028\U000e0041\ufeff"
    run = a_run(goal=evil, requestedBy=evil, input={"x": evil})
    tool = a_tool(
        description=evil,
        command=[evil],
        image=evil,
        approval="Unless",
        approvalUnless=evil,
        approvalSummary="${args.x}",
        runtimeClassName=evil,
        egress=[{"to": [{"podSelector": {"matchLabels": {evil: evil}}}]}],
        env=[{"name": "T", "valueFrom": {"secretKeyRef": {"name": evil, "key": evil}}}, {"name": "U", "value": evil}],
    )
    shown = request(an_attempt(tool=tool, args={"x": evil, evil: [evil]}), run=run, why="${run.input.x}")
    seen_by_a_person = str(shown)
    assert seen_by_a_person.isprintable()
    assert seen_by_a_person.count("\u202e") == 0
    assert shown["why"] == r"a\u202eb\u001b[0m\u2028\U000e0041\ufeff"


def test_a_program_is_shown_line_by_line() -> None:
    tool = a_tool(command=["python3", "-c", "a = 1\nprint(a)\n", r"an\u000aescape"])
    shown = request(an_attempt(tool=tool))["tool"]["command"]
    assert shown == ["python3", "-c", r"a = 1\u000a", r"print(a)\u000a", "", r"an\u005cu000aescape"]
    longer = a_tool(command=["sh", "-c", "\n" * 5000])
    assert len(request(an_attempt(tool=longer))["tool"]["command"]) == 4
    apart = a_tool(command=["sh", "echo #\n", "b", "\n" * 5000])
    assert request(an_attempt(tool=apart))["tool"]["command"][:4] == ["sh", r"echo #\u000a", "", "b"]
    assert request(an_attempt(tool=a_tool(command=["x\uff3cu000a"])))["tool"]["command"] == [r"x\uff3cu000a"]


def test_nothing_that_would_run_is_cut() -> None:
    long = "true" + " " * 8000 + "; evil"
    tool = a_tool(command=["sh", "-c", long], env=[{"name": "CODE", "value": long}])
    shown = request(an_attempt(tool=tool))["tool"]
    assert (shown["command"], shown["env"]) == (["sh", "-c", long], [f"CODE={long}"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Straße 5, 東京, 12.50 €", "Straße 5, 東京, 12.50 €"),
        ("tab\there", r"tab\u0009here"),
        ("no\u00a0break", r"no\u00a0break"),
        ("a\u2066b", r"a\u2066b"),
        (r"C:\temp\new", r"C:\temp\new"),
        (r"a\u202eb", r"a\u005cu202eb"),
        (r"\U0001F600", r"\u005cU0001F600"),
        ("\ud800", r"\ud800"),
        ("", ""),
    ],
)
def test_a_character_that_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert escaped("x" * 1024) == "x" * 1024
    assert escaped("x" * 1025) == "x" * 1024 + "…"
    assert escaped("\n" * 1_000_000) == "\\u000a" * 170 + "\\u00…"


nasty = st.text("a\\uU2e0\n\u202e\u00a0\U000e0041", max_size=12)


@given(nasty, nasty)
def test_two_texts_are_never_shown_alike(one: str, other: str) -> None:
    assert (escaped_deep(one) == escaped_deep(other)) == (one == other)
    assert escaped_deep(one).isprintable()


def test_no_argument_hides_behind_another() -> None:
    args = {"to\u202e": 1, r"to\u202e": 2, "list": [{"x\n": True}, None, 1.5]}
    assert escaped_deep(args) == {r"to\u202e": 1, r"to\u005cu202e": 2, "list": [{r"x\u000a": True}, None, 1.5]}
