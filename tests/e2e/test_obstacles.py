"""What the cluster itself puts in a step's way: waited for if it may pass, and said where people look first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.commands import kubectl
from tests.space import ECHO, Space, step, steps_of
from tests.waiting import until

NOWHERE = f"127.0.0.1:1/nowhere@sha256:{'0' * 64}"


def waiting_column(space: Space, run: str) -> str:
    """What `kubectl get` says that a run waits for."""
    header, row = kubectl("get", "arun", run, "-n", space.name).splitlines()
    begin, end = header.index("WAITING"), header.index("AGE")
    return row[begin:end].strip()


def test_a_full_quota_is_waited_for(space: Space) -> None:
    kubectl("create", "quota", "tight", "--hard=pods=0", "-n", space.name)
    space.tool("echo", ECHO)
    space.start("waits", step("first", "echo"))
    record = space.step_reached("waits", "first", "Waiting")
    assert (record["reason"], "exceeded quota: tight" in record["message"]) == ("QuotaExceeded", True)
    assert waiting_column(space, "waits") == "ResourceQuota/tight"
    kubectl("patch", "quota", "tight", "-n", space.name, "--type=merge", '--patch={"spec":{"hard":{"pods":"5"}}}')
    status = space.ended("waits")
    assert (status["phase"], steps_of(status)["first"]["attempt"]) == ("Succeeded", 1)


def test_a_runtime_that_is_not_there_is_never_replaced_by_a_weaker_one(space: Space) -> None:
    space.tool("isolated", ECHO, runtimeClassName="gvisor")
    space.start("isolated", step("first", "isolated"))
    status = space.ended("isolated")
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec")
    assert 'RuntimeClass "gvisor" not found' in status["message"]
    assert space.all("pods") == []


def test_an_image_that_cannot_be_pulled_is_named(space: Space) -> None:
    space.tool("nowhere", ECHO, image=NOWHERE)
    space.start("pulls", step("first", "nowhere"))
    until(lambda: waiting_column(space, "pulls"), "it says what it waits for", 60)
    record = steps_of(space.status("pulls"))["first"]
    assert waiting_column(space, "pulls") == f"Pod/{record['pod']}"
    assert "ImagePull" in record["message"]
    assert "127.0.0.1:1/nowhere" in record["message"]


@contextmanager
def without_the_right_to_make_pods() -> Iterator[None]:
    """The operator may not create pods for a while."""
    role = json.loads(kubectl("get", "clusterrole", "agentruns-operator", "--output=json"))
    fewer = [it | {"verbs": ["get", "list", "watch"]} if it["resources"] == ["pods"] else it for it in role["rules"]]
    patch = ("patch", "clusterrole", "agentruns-operator", "--type=merge")
    try:
        kubectl(*patch, "--patch", json.dumps({"rules": fewer}))
        yield
    finally:
        kubectl(*patch, "--patch", json.dumps({"rules": role["rules"]}))


def test_an_attempt_that_cannot_be_made_counts_once_and_is_tried_slowly(space: Space) -> None:
    """The quota holds the step back until the operator has no right to make its pod."""
    kubectl("create", "quota", "tight", "--hard=pods=0", "-n", space.name)
    space.tool("echo", ECHO)
    space.start("waits", step("first", "echo"))
    space.step_reached("waits", "first", "Waiting")
    with without_the_right_to_make_pods():
        kubectl("delete", "quota", "tight", "-n", space.name)
        until(lambda: "PassesFail" in kubectl("events", "-n", space.name), "it is told that it was tried in vain", 60)
        assert steps_of(space.status("waits"))["first"].get("attempt", 0) <= 1
    assert steps_of(space.ended("waits"))["first"]["attempt"] == 1
