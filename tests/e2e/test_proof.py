"""No decision counts unless the API server refuses forged ones; the metric tells it, and an upgrade mends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests import installed, release
from tests.commands import kubectl
from tests.shop import ALICE, Shop, approval, put_back
from tests.space import ECHO, Space, step
from tests.waiting import until

ENFORCED = "agentruns_policy_enforced"
FORGED = {"decision": {"verdict": "Approve", "by": ALICE}}


@contextmanager
def policy_off(shop: Shop) -> Iterator[None]:
    """The binding of the policy on decisions is gone; afterwards a `helm upgrade` puts it back."""
    operator, forged = shop.accounts["operator"], approval(shop.run, **FORGED)
    try:
        kubectl("delete", "validatingadmissionpolicybinding", "decisions.agentrun.dev")
        until(lambda: not operator.create(shop.at("approvals"), forged).refused, "a forged decision is not refused")
        yield
    finally:
        put_back(shop, release.values())


def test_a_decision_counts_only_where_forged_ones_are_refused(shop: Shop, space: Space) -> None:
    space.tool("echo", ECHO)
    space.start("waits", step("first", "echo", approval="Always"))
    asked = space.question("waits")
    with policy_off(shop):
        assert space.decide(asked, "Approve").status == 200
        until(lambda: space.status("waits")["reason"] == "PolicyNotEnforced", "the decision is not believed", 30)
        until(lambda: installed.metric(ENFORCED) == 0, "the metric tells it", 30)
        assert space.status("waits")["phase"] not in ("Succeeded", "Failed")
        assert space.pods("waits") == []
    assert space.ended("waits")["phase"] == "Succeeded"
    until(lambda: installed.metric(ENFORCED) == 1, "the metric tells that it is mended", 90)
