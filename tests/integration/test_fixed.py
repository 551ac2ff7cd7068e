"""What is fixed stays fixed: neither what a run is to do nor what is asked can be bent by replacing one key by another.

The API server's own rules on custom resources take two maps without a schema for equal if one key was replaced.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.accounts import Body
from tests.shop import Shop, agentrun, approval

ARGS: Body = {"order": "4711", "amount": "12.50"}
EGRESS = [{"to": [{"podSelector": {}}], "ports": [{"port": 443}]}]
STEPS = [{"name": "refund", "tool": "payments-refund", "args": ARGS}]
APPROVE: Body = {"verdict": "Approve"}


def swapped(path: str, old: str, new: str, value: Any) -> list[Body]:
    """A patch that replaces one key of a map by another."""
    return [{"op": "remove", "path": f"{path}/{old}"}, {"op": "add", "path": f"{path}/{new}", "value": value}]


@pytest.fixture(scope="module")
def asked(shop: Shop) -> tuple[str, ...]:
    """An Approval that shows arguments and what its tool may reach."""
    request = {"summary": "Refund", "args": ARGS, "tool": {"egress": EGRESS}}
    return shop.stored("approvals", approval(shop.run, request=request))


@pytest.fixture(scope="module")
def run(shop: Shop) -> tuple[str, ...]:
    """A run with input, arguments and an output."""
    return shop.stored("agentruns", agentrun(steps=STEPS, input=ARGS, output={"receipt": "x"}), by="author")


@pytest.mark.parametrize("account", ["approver", "operator", "admin"])
@pytest.mark.parametrize(
    "patch",
    [
        swapped("/spec/request/args", "amount", "note", "12.50"),
        swapped("/spec/request/tool/egress/0", "ports", "to_", []),
        [
            *swapped("/spec/request/args", "amount", "note", "1"),
            {"op": "add", "path": "/spec/decision", "value": APPROVE},
        ],
    ],
    ids=["arguments", "egress", "with a decision"],
)
def test_what_is_asked_cannot_be_bent(shop: Shop, asked: tuple[str, ...], account: str, patch: list[Body]) -> None:
    answer = shop.accounts[account].patch(asked, patch)
    assert answer.refused
    assert "the question cannot be changed" in answer.message or "cannot patch" in answer.message


def test_what_was_said_to_have_happened_cannot_be_bent(shop: Shop) -> None:
    happened = {"verdict": "Happened", "output": {"receipt": "R-1"}}
    doubt = shop.stored("approvals", approval(shop.run, purpose="InDoubt"))
    assert shop.accounts["approver"].patch(doubt, {"spec": {"decision": happened}}, store=True).status == 200
    answer = shop.accounts["approver"].patch(doubt, swapped("/spec/decision/output", "receipt", "other", "R-2"))
    assert (answer.refused, "already decided" in answer.message) == (True, True)


@pytest.mark.parametrize("account", ["author", "admin"])
@pytest.mark.parametrize(
    "patch",
    [
        swapped("/spec/steps/0/args", "order", "to", "mallory"),
        swapped("/spec/input", "order", "to", "mallory"),
        swapped("/spec/output", "receipt", "other", "y"),
        [{"op": "replace", "path": "/spec/input", "value": {"a": 1, "b": 2}}],
    ],
    ids=["arguments", "input", "output", "all of the input"],
)
def test_what_a_run_is_to_do_cannot_be_bent(shop: Shop, run: tuple[str, ...], account: str, patch: list[Body]) -> None:
    answer = shop.accounts[account].patch(run, patch)
    assert answer.refused
    assert "what a run is to do is fixed when it is created" in answer.message


def test_what_may_be_changed_still_can(shop: Shop, run: tuple[str, ...], asked: tuple[str, ...]) -> None:
    assert shop.accounts["author"].patch(run, {"spec": {"desiredState": "Cancelled"}}).status == 200
    assert shop.accounts["approver"].patch(asked, {"spec": {"decision": APPROVE}}).status == 200
