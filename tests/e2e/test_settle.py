"""A call whose outcome is unknown: its settle tool tells what became of it, and a person where that cannot."""

from __future__ import annotations

import pytest

from tests.space import Space, says, step, steps_of
from tests.waiting import until

DOUBTFUL = "exit(3)"
DOUBTFUL_AT_FIRST = """
import json, os
exit(3) if os.environ["AGENTRUN_ATTEMPT"] == "1" else print(json.dumps({"receipt": "R-2"}))
"""
FOUND = """
import json, os, sys
key = os.environ["AGENTRUN_IDEMPOTENCY_KEY"]
print(json.dumps({"found": True, "receipt": "R-1", "key": key, "args": json.load(sys.stdin)}))
"""


@pytest.fixture
def paying(space: Space) -> Space:
    """A space with a settle tool for each answer that there is."""
    space.tool("finds", FOUND)
    space.tool("finds-nothing", says({"found": False}))
    space.tool("cannot-tell", "exit(65)")
    return space


def pay(space: Space, program: str, settles: str, **spec: object) -> None:
    """Starts a run that pays with such a program, whose doubts such a tool settles."""
    settle = {"tool": settles, "happened": "result.found", "after": "1s"}
    space.tool("pay", program, effect="NonIdempotent", approval="Never", settle=settle, **spec)
    space.start("pays", step("pay", "pay", args={"order": "4711"}), step("note", "finds-nothing"))


def ready(space: Space, name: str) -> tuple[str, str]:
    """Whether a Tool is ready, and why; empty as long as nobody has said so."""
    conditions = space.get("tools", name).get("status", {}).get("conditions", [])
    return next(((it["status"], it["reason"]) for it in conditions if it["type"] == "Ready"), ("", ""))


def test_what_has_happened_goes_on_with_what_was_found(paying: Space) -> None:
    pay(paying, DOUBTFUL, "finds")
    status = paying.ended("pays")
    paid, call = (steps_of(status)[name] for name in ("pay", "pay-settle"))
    assert (status["phase"], status["progress"]) == ("Succeeded", "2/2"), status["message"]
    assert (paid["state"], paid["effectState"], paid["attempt"]) == ("Succeeded", "Done", 1)
    assert paid["message"].endswith("settling: finds says that it happened")
    assert (paid["output"]["args"], paid["output"]["key"]) == ({"order": "4711"}, paid["idempotencyKey"])
    assert call["idempotencyKey"] == paid["idempotencyKey"]
    assert (len(paying.pods("pays", "pay")), len(paying.pods("pays", "pay-settle"))) == (1, 1)
    assert paying.all("approvals") == []


def test_what_has_not_happened_is_tried_again_though_it_must_not_be_repeated(paying: Space) -> None:
    pay(paying, DOUBTFUL_AT_FIRST, "finds-nothing")
    status = paying.ended("pays")
    paid = steps_of(status)["pay"]
    assert (status["phase"], paid["attempt"], paid["output"]) == ("Succeeded", 2, {"receipt": "R-2"})
    assert (len(paying.pods("pays", "pay")), len(paying.pods("pays", "pay-settle"))) == (2, 1)
    assert paying.all("approvals") == []


def test_every_doubt_is_settled_by_a_call_of_its_own_until_no_attempt_is_left(paying: Space) -> None:
    pay(paying, DOUBTFUL, "finds-nothing", retry={"attempts": 2})
    status = paying.ended("pays")
    assert (status["phase"], status["reason"]) == ("Failed", "RetriesExhausted")
    assert "may have been done" not in status["message"]
    assert (len(paying.pods("pays", "pay")), len(paying.pods("pays", "pay-settle"))) == (2, 2)


def test_a_person_is_asked_where_it_cannot_tell_and_sees_what_it_said(paying: Space) -> None:
    pay(paying, DOUBTFUL, "cannot-tell")
    asked = paying.question("pays")
    assert asked["spec"]["purpose"] == "InDoubt"
    assert "settling: cannot-tell could not tell: its call is Failed: Permanent" in asked["spec"]["request"]["outcome"]
    paying.decided("pays", "Happened", output={"receipt": "R-1"})
    status = paying.ended("pays")
    assert (status["phase"], steps_of(status)["pay"]["output"]) == ("Succeeded", {"receipt": "R-1"})


def test_a_tool_is_ready_once_its_settle_tool_is_there(space: Space) -> None:
    settle = {"tool": "finds", "happened": "result.found"}
    space.tool("pay", DOUBTFUL, effect="NonIdempotent", approval="Never", settle=settle)
    until(lambda: ready(space, "pay") == ("False", "WaitingForTool"), "it waits for its settle tool", 30)
    space.tool("finds", FOUND)
    until(lambda: ready(space, "pay") == ("True", "Compiles"), "it is ready", 30)
