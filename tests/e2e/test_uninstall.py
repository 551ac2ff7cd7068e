"""Uninstalling keeps what people made and what protects it, lets go of sandboxes, and is undone by installing again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests import release
from tests.commands import helm, kubectl
from tests.install import install
from tests.installed import IN_SYSTEM
from tests.release import RELEASE
from tests.shop import ALICE, Shop, approval, put_back
from tests.space import ECHO, Space, step
from tests.waiting import until

SLEEP = "import time; time.sleep(600)"
RUNS = ("waits", "works")
POLICIES = "validatingadmissionpolicies,mutatingadmissionpolicies"
BINDINGS = "validatingadmissionpolicybindings,mutatingadmissionpolicybindings"
OURS = "--selector=app.kubernetes.io/name=agentruns"


@pytest.fixture
def occupied(shop: Shop, space: Space) -> Iterator[Space]:
    """A space with a run that waits for a person and one whose sandbox works; afterwards the chart is as it was."""
    space.tool("echo", ECHO)
    space.tool("sleep", SLEEP)
    space.start("waits", step("first", "echo", approval="Always"))
    space.start("works", step("first", "sleep"))
    space.question("waits")
    space.step_reached("works", "first", "Running")
    before = release.values()
    try:
        yield space
    finally:
        put_back(shop, before)


def kept() -> list[str]:
    """The definitions and policies, by kind, name and UID."""
    each = '{range .items[*]}{.kind}/{.metadata.name}/{.metadata.uid}{"\\n"}{end}'
    return kubectl("get", f"customresourcedefinitions,{POLICIES},{BINDINGS}", OURS, f"--output=jsonpath={each}").split()


def held(space: Space) -> bool:
    """Whether the pod of the run that works has the operator's finalizer."""
    [pod] = space.pods("works")
    return "agentrun.dev/result" in pod["metadata"].get("finalizers", [])


def of_the_release() -> str:
    """The names of what belongs to the release alone."""
    here = "deployments,pods,jobs,serviceaccounts,configmaps,services,roles,rolebindings"
    everywhere = "clusterroles,clusterrolebindings"
    return kubectl("get", here, OURS, IN_SYSTEM, "--output=name") + kubectl("get", everywhere, OURS, "--output=name")


def test_an_uninstall_keeps_runs_and_an_install_goes_on_with_them(shop: Shop, occupied: Space) -> None:
    definitions_and_policies = kept()
    runs = {name: occupied.get("agentruns", name) for name in RUNS}
    assert (len(definitions_and_policies) > 20, held(occupied)) == (True, True)

    helm("uninstall", *RELEASE, "--timeout=3m")
    assert kept() == definitions_and_policies
    assert {name: occupied.get("agentruns", name) for name in RUNS} == runs
    assert shop.accounts["admin"].create(shop.at("approvals"), approval(shop.run)).refused
    assert not held(occupied)
    occupied.delete("agentruns", "works")
    until(lambda: not occupied.all("pods"), "its pod goes, though no operator lets go of it", 60)
    until(lambda: not of_the_release(), lambda: f"nothing is left but {of_the_release()}", 60)

    install()
    assert occupied.status("waits") == runs["waits"]["status"]
    who = ("--clusterrole=agentruns-approver", f"--user={ALICE}")
    kubectl("create", "rolebinding", "alice", f"--namespace={occupied.name}", *who)
    replace(occupied, approver=shop.as_person(ALICE)).decided("waits", "Approve")
    assert occupied.ended("waits")["phase"] == "Succeeded"
