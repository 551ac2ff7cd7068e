"""What somebody deleted is made again where it can be, and what keeps failing is told where people look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.commands import kubectl
from tests.shop import Shop, approval
from tests.space import ECHO, Space, step
from tests.waiting import until

POLICY = "validatingadmissionpolicy"


def test_a_tool_whose_pin_was_deleted_is_pinned_again(space: Space) -> None:
    space.tool("echo", ECHO)
    space.start("before", step("first", "echo"))
    assert space.ended("before")["phase"] == "Succeeded"
    [pin] = [it["metadata"] for it in space.all("controllerrevisions")]
    space.delete("controllerrevisions", pin["name"])
    space.tool("later", ECHO)
    until(lambda: space.get("tools", "later").get("status"), "the operator has seen what came after the deletion", 30)
    space.start("after", step("first", "echo"))
    assert space.ended("after")["phase"] == "Succeeded"
    assert space.get("controllerrevisions", pin["name"])["metadata"]["uid"] != pin["uid"]


@contextmanager
def no_questions(shop: Shop, space: Space, reason: str) -> Iterator[None]:
    """Something in the cluster refuses every Approval of this space."""
    name = f"{space.name}.example.com"
    rule = {"apiGroups": ["agentrun.dev"], "apiVersions": ["*"], "resources": ["approvals"], "operations": ["CREATE"]}
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}}}
    spec = {
        "matchConstraints": {"resourceRules": [rule]} | here,
        "validations": [{"expression": "false", "message": "no questions here", "reason": reason}],
    }
    bound = {"policyName": name, "validationActions": ["Deny"]}
    api = "admissionregistration.k8s.io/v1"
    items = [
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": bound},
    ]
    try:
        kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        asks = approval({"metadata": {"name": "r", "uid": "1"} | _born(space), "spec": {"steps": []}})
        refused = (space.name, "approvals")
        until(lambda: "no questions" in shop.accounts["operator"].create(refused, asks).message, "it is in force", 60)
        yield
    finally:
        kubectl("delete", POLICY, f"{POLICY}binding", name, "--ignore-not-found")


def _born(space: Space) -> dict[str, str]:
    return {"namespace": space.name, "creationTimestamp": "2026-01-01T00:00:00Z"}


def test_what_keeps_failing_is_told_as_an_event_and_goes_on_once_it_can(shop: Shop, space: Space) -> None:
    space.tool("echo", ECHO)
    with no_questions(shop, space, "Forbidden"):
        space.start("asks", step("first", "echo", args={"word": "hunter2"}, approval="Always"))
        until(lambda: "PassesFail" in kubectl("events", "-n", space.name), "an Event tells it", 60)
        said = kubectl("describe", "arun", "asks", "-n", space.name).partition("Events:")[2]
        assert "keeps trying: 403 Forbidden" in said, said
        assert "hunter2" not in said
    assert space.question("asks")["spec"]["step"] == "first"


def test_a_question_that_is_refused_is_put_once_it_can_be_and_the_status_says_why(shop: Shop, space: Space) -> None:
    space.tool("echo", ECHO)
    with no_questions(shop, space, "Invalid"):
        space.start("asks", step("first", "echo", approval="Always"))
        status = space.reached("asks", "AwaitingApproval")
        assert (status["reason"], "no questions here" in status["message"]) == ("CreationRefused", True), status
    assert space.question("asks")["spec"]["step"] == "first"
