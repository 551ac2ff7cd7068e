"""Every example applies and does what it says: as it is, but in a test's namespace and with its image by digest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.places import CHECKOUT
from tests.commands import kubectl
from tests.images import SANDBOX
from tests.space import Space, steps_of

EXAMPLES = CHECKOUT / "examples"


def applied(space: Space, example: str, changed: Callable[[str], str] = str) -> None:
    """Applies the files of an example in the order that `kubectl apply -f FOLDER/` takes."""
    for file in sorted((EXAMPLES / example).glob("*.yaml")):
        text = file.read_text().replace(f"{example}-demo", space.name).replace(SANDBOX, space.image)
        kubectl("apply", "-f", "-", stdin=changed(text))


def test_every_example_is_tested_here() -> None:
    assert {it.name for it in EXAMPLES.iterdir()} == {"refund", "graph", "http"}


def test_a_dear_refund_asks_and_is_done(space: Space) -> None:
    applied(space, "refund")
    request = space.question("refund-4711")["spec"]["request"]
    assert request["summary"] == "Refund 129.90 EUR of order 4711"
    assert request["why"] == "the carrier says: lost in Leipzig"
    space.decided("refund-4711", "Approve")
    assert space.ended("refund-4711")["output"]["receipt"].startswith("R-")


@pytest.mark.parametrize(("order", "refund"), [("4712", "Succeeded"), ("4713", "Skipped")])
def test_a_cheap_refund_does_not_ask_and_a_delivered_order_gets_none(space: Space, order: str, refund: str) -> None:
    applied(space, "refund", lambda text: text.replace('order: "4711"', f'order: "{order}"'))
    status = space.ended("refund-4711")
    assert status["phase"] == "Succeeded", status["message"]
    assert steps_of(status)["refund"]["state"] == refund
    assert space.all("approvals") == []


def test_a_graph_adds_up(space: Space) -> None:
    applied(space, "graph")
    status = space.ended("diamond")
    assert status.get("output") == {"total": 440}, status["message"]


def test_a_tool_calls_a_web_service(space: Space) -> None:
    """By its address: the name that the example gives takes a cluster DNS, which not every test cluster has."""
    name, here = f"prices.{space.name}.svc.cluster.local", ("-n", space.name)

    def by_address(text: str) -> str:
        if name not in text:
            return text
        kubectl("rollout", "status", "deployment/prices", *here, "--timeout=60s")
        return text.replace(name, kubectl("get", "service", "prices", *here, "-o", "jsonpath={.spec.clusterIP}"))

    applied(space, "http", by_address)
    status = space.ended("price-of-tea")
    assert status.get("output") == {"price": "4.20"}, status["message"]
