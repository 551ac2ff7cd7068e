"""`make demo` without a terminal: it stops at the approval, prints what a person types, and shows the output."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml

from tests.cluster import toolchain
from tests.cluster.places import CHECKOUT
from tests.commands import kubectl
from tests.install import VALUES
from tests.shop import Shop, chart_changed, tool
from tests.waiting import until


@pytest.fixture(scope="module")
def printed(shop: Shop) -> Iterator[str]:
    """What the demo prints, on the chart as `make install` leaves it."""
    there = kubectl("get", "namespace", "refund-demo", "--ignore-not-found")
    with chart_changed(shop, **yaml.safe_load(VALUES.read_text())):
        by_tag = tool(image="refund:1")
        until(lambda: not shop.accounts["toolowner"].create(shop.at("tools"), by_tag).refused, "tags are accepted")
        yield done(sys.executable, "-m", "tests.demo").stdout
    if not there:
        kubectl("delete", "namespace", "refund-demo", "--wait=false")


def done(*command: str) -> subprocess.CompletedProcess[str]:
    """How a command ended that was called in the checkout, without a terminal."""
    environment = os.environ | {"DEMO_DECISION": "Approve"}
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, input="", capture_output=True, text=True, timeout=300, check=False
    )


def test_it_shows_how_the_run_waits_and_ends(printed: str) -> None:
    phases = re.findall(r"^refund-4711 +(\w+) ", printed, re.MULTILINE)
    assert phases.index("AwaitingApproval") < phases.index("Succeeded")
    assert re.search(r'^\{"receipt":"R-[0-9a-f]{8}"\}$', printed, re.MULTILINE)
    assert "Refund 129.90 EUR of order 4711" in printed
    assert "system:serviceaccount:refund-demo:alice" in printed
    assert "make down" in printed


def test_the_printed_command_is_what_a_person_types(printed: str) -> None:
    """Typed again, it is the same person's same decision, and so changes nothing."""
    [typed] = re.findall(r"^\$ (kubectl .* patch appr .*)$", printed, re.MULTILINE)
    assert '"verdict":"Approve"' in typed
    assert "patched (no change)" in done(str(toolchain.kubectl()), *shlex.split(typed)[1:]).stdout
