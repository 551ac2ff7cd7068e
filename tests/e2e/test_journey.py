"""Journey 1: a run is applied, advances, waits for a person, and ends as the person decides."""

from __future__ import annotations

import json

import pytest

from tests.accounts import Body
from tests.commands import kubectl
from tests.space import ECHO, Space, says, step, steps_of
from tests.waiting import until

LOOKUP = says({"lost": True, "total": "12.50", "note": "lost in \u202egizpieL"})
REFUND = "import json, sys; print(json.dumps({'receipt': 'R-' + json.load(sys.stdin)['order']}))"
ASKS: Body = {
    "effect": "NonIdempotent",
    "approval": "Unless",
    "approvalUnless": "double(args.amount) <= 5.0",
    "approvalSummary": "Refund ${args.amount} EUR of order ${args.order}",
}


def refund(space: Space, name: str = "refund-4711") -> Body:
    """A run that looks an order up and, if a person agrees, refunds it."""
    order = "${run.input.order}"
    return space.run_manifest(
        name,
        step("lookup", "order-lookup", args={"order": order}),
        step(
            "refund",
            "payments-refund",
            when="steps.lookup.output.lost",
            args={"order": order, "amount": "${steps.lookup.output.total}"},
            why="carrier says: ${steps.lookup.output.note}",
        ),
        input={"order": "4711"},
        goal="Refund order 4711 if the parcel was lost.",
        output={"receipt": "${steps.refund.output.receipt}"},
    )


def apply(*manifests: Body) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))


@pytest.fixture
def waiting(space: Space) -> Space:
    """A space in which refund-4711 was applied and waits for its Approval."""
    tools = space.tool_manifest("order-lookup", LOOKUP), space.tool_manifest("payments-refund", REFUND, **ASKS)
    apply(refund(space), *tools)
    space.reached("refund-4711", "AwaitingApproval")
    return space


def columns(space: Space, *what: str) -> dict[str, str]:
    """What `kubectl get` prints of one object, by column."""
    header, row = kubectl("get", "-n", space.name, *what).splitlines()
    return dict(zip(header.split(), row.split(), strict=True))


def uid_of(space: Space, approval: str) -> str:
    """The UID of an Approval; empty if it is not there."""
    found = space.find("approvals", approval)
    return str(found["metadata"]["uid"]) if found else ""


def test_an_approved_run_goes_on_and_gives_its_output(waiting: Space) -> None:
    asked = waiting.question("refund-4711")
    shown = columns(waiting, "arun", "refund-4711")
    name = asked["metadata"]["name"]
    assert shown.pop("AGE")
    assert shown == {
        "NAME": "refund-4711",
        "PHASE": "AwaitingApproval",
        "REASON": "StepAwaitsApproval",
        "PROGRESS": "1/2",
        "WAITING": f"Approval/{name}",
    }
    assert waiting.pods("refund-4711", "refund") == []

    waiting.decided("refund-4711", "Approve", reason="checked with the carrier")
    status = waiting.ended("refund-4711")

    assert (status["phase"], status["output"]) == ("Succeeded", {"receipt": "R-4711"})
    [pod], decision = waiting.pods("refund-4711", "refund"), steps_of(status)["refund"]["decision"]
    assert pod["metadata"]["uid"] == steps_of(status)["refund"]["podUID"]
    assert (decision["verdict"], decision["reason"]) == ("Approve", "checked with the carrier")
    assert decision["by"].endswith(":approver")
    assert waiting.get("approvals", name)["status"]["state"] == "Approved"
    kubectl("wait", "-n", waiting.name, "--for=condition=Succeeded", "arun/refund-4711", "--timeout=1s")


def test_a_person_sees_what_is_to_be_decided(waiting: Space) -> None:
    asked = waiting.question("refund-4711")
    request = asked["spec"]["request"]
    assert request["summary"] == "Refund 12.50 EUR of order 4711"
    assert request["args"] == {"order": "4711", "amount": "12.50"}
    assert request["why"] == "carrier says: lost in \\u202egizpieL"
    assert "double(args.amount) <= 5.0" in request["because"]
    assert request["requestedBy"] == waiting.get("agentruns", "refund-4711")["spec"]["requestedBy"]
    assert "Refund 12.50 EUR of order 4711" in kubectl("get", "appr", "-n", waiting.name)
    assert "refund-4711" in kubectl("describe", "appr", "-n", waiting.name, asked["metadata"]["name"])


def test_a_rejected_run_fails_with_the_reason(waiting: Space) -> None:
    waiting.decided("refund-4711", "Reject", reason="the parcel arrived after all")
    status = waiting.ended("refund-4711")
    assert (status["phase"], status["reason"]) == ("Failed", "Rejected")
    assert "the parcel arrived after all" in status["message"]
    assert waiting.pods("refund-4711", "refund") == []


def test_a_deleted_approval_is_made_again_and_never_approves(waiting: Space) -> None:
    asked = waiting.question("refund-4711")
    name = asked["metadata"]["name"]
    waiting.delete("approvals", name)
    until(lambda: uid_of(waiting, name) not in ("", asked["metadata"]["uid"]), "the Approval is made again")
    assert waiting.get("approvals", name)["spec"] == asked["spec"]
    assert waiting.status("refund-4711")["phase"] == "AwaitingApproval"
    assert waiting.pods("refund-4711", "refund") == []
    waiting.decided("refund-4711", "Approve")
    assert waiting.ended("refund-4711")["phase"] == "Succeeded"


def test_a_step_can_ask_where_its_tool_does_not(space: Space) -> None:
    space.tool("echo", ECHO)
    space.start("asks", step("a", "echo", approval="Always"))
    assert space.question("asks")["spec"]["request"]["because"] == "the step asks always"
    assert space.pods("asks") == []
