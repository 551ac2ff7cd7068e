"""Every way in which an attempt may end, for each effect: tried again, failed, or asked about. One run an effect.

Further rows of the table in `docs/outcomes.md` are in tests of their own, which it names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.accounts import Body
from tests.commands import kubectl
from tests.space import Space, step, steps_of
from tests.waiting import until

EFFECTS = ("ReadOnly", "Idempotent", "NonIdempotent")
AT_FIRST = "import os, sys, time\nif os.environ['AGENTRUN_ATTEMPT'] == '1':\n    "
NOWHERE = {"image": f"127.0.0.1:1/nowhere@sha256:{'0' * 64}"}
TOO_MUCH = {"resources": {"limits": {"cpu": "9000"}, "requests": {"cpu": "9000"}}}
AGAIN, FAILS, ASKED = "Succeeded", "Failed", "InDoubt"
Deed = Callable[[Space, str], None]


def delete(space: Space, pod: str) -> None:
    space.delete("pods", pod)


def tear_out(space: Space, pod: str) -> None:
    """Its finalizer is removed, and nobody waits for what it runs."""
    freed = space.admin.patch((space.name, "pods", pod), {"metadata": {"finalizers": None}}, store=True)
    assert freed.status == 200, freed.message
    kubectl("delete", "pod", pod, f"--namespace={space.name}", "--force", "--grace-period=0")


def evict(space: Space, pod: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": space.name}}
    _post(space, pod, "eviction", body)


def bind(space: Space, pod: str, node: str) -> None:
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    _post(space, pod, "binding", {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target})


def _post(space: Space, pod: str, what: str, body: Body) -> None:
    path = f"/api/v1/namespaces/{space.name}/pods/{pod}/{what}"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def bind_where_it_does_not_fit(space: Space, pod: str) -> None:
    bind(space, pod, kubectl("get", "nodes", "--output=jsonpath={.items[0].metadata.name}"))


def bind_to_a_node_that_is_gone(space: Space, pod: str) -> None:
    bind(space, pod, "gone")


@dataclass(frozen=True)
class Case:
    """A program, what is done to its first pod once that is in some state, and what follows for tools of each effect.

    `reason` is what the first attempt is said to have ended for, where that can be seen afterwards.
    """

    program: str
    repeatable: str = AGAIN
    other: str = ASKED
    reason: str = ""
    deed: Deed | None = None
    when: str = "Running"
    tool: Body = field(default_factory=dict)
    starts: bool = True
    """Whether the second attempt can ever begin."""

    def follows(self, effect: str) -> str:
        return self.other if effect == "NonIdempotent" else self.repeatable


SLEEP = AT_FIRST + "time.sleep(600)\nprint(1)"
CASES = {
    "transient": Case(AT_FIRST + "exit(75)\nprint(1)", other=AGAIN),
    "permanent": Case("exit(65)", FAILS, FAILS, "Permanent"),
    "no_result": Case("", FAILS, FAILS, "InvalidResult"),
    "crash": Case(AT_FIRST + "exit(3)\nprint(1)", reason="Unknown"),
    "signal": Case(AT_FIRST + "os.kill(os.getpid(), 9)\nprint(1)", reason="Unknown"),
    "timeout": Case(SLEEP, reason="TimedOut", tool={"timeout": "2s"}),
    "memory": Case(AT_FIRST + "x = bytearray(2**30)\nprint(1)", reason="Unknown"),
    "disk": Case(AT_FIRST + "open('/tmp/x', 'wb').write(bytes(2**27)); time.sleep(600)\nprint(1)"),
    "evicted": Case(SLEEP, deed=evict),
    "deleted": Case(SLEEP, deed=delete),
    "torn_out": Case(SLEEP, deed=tear_out),
    "evicted_unstarted": Case("", deed=evict, when="ImagePull", tool=NOWHERE, starts=False, reason="ContainerLost"),
    "deleted_unstarted": Case("", other=AGAIN, deed=delete, when="ImagePull", tool=NOWHERE, starts=False),
    "deleted_unscheduled": Case("", other=AGAIN, deed=delete, when="Unschedulable", tool=TOO_MUCH, starts=False),
    "refused": Case(
        "", deed=bind_where_it_does_not_fit, when="Unschedulable", tool=TOO_MUCH, starts=False, reason="ContainerLost"
    ),
    "node_lost": Case(
        "", deed=bind_to_a_node_that_is_gone, when="Unschedulable", tool=TOO_MUCH, starts=False, reason="ContainerLost"
    ),
}


@pytest.fixture(scope="module")
def begun(shared_space: Space) -> Space:
    """A space with a run of all cases for each effect; what is to be done to their pods is done."""
    space = shared_space
    for effect in EFFECTS:
        for name, case in CASES.items():
            about = {"effect": effect, "approval": "Never", "retry": {"attempts": 2, "initialBackoff": "1s"}}
            space.tool(_tool(effect, name), case.program, **about, **case.tool)
        steps = [step(name, _tool(effect, name), onFailure="Continue") for name in CASES]
        space.start(effect.lower(), *steps, order="Graph", parallelism=len(CASES))
    waiting = {(effect, name) for effect in EFFECTS for name, case in CASES.items() if case.deed}
    until(lambda: _do(space, waiting), lambda: f"pods are as they should be, but {waiting}", 180)
    return space


def _tool(effect: str, name: str) -> str:
    return f"{name}-{effect}".lower().replace("_", "-")


def _do(space: Space, waiting: set[tuple[str, str]]) -> bool:
    """Does what is to be done to the pods that are far enough; whether nothing is left to be done."""
    for effect in EFFECTS:
        records = steps_of(space.status(effect.lower()))
        for name in [name for of, name in waiting if of == effect]:
            deed, record = CASES[name].deed, records.get(name, {})
            if deed and CASES[name].when in f"{record.get('state')} {record.get('message')}":
                deed(space, record["pod"])
                waiting.discard((effect, name))
    return not waiting


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("name", CASES)
def test_what_follows_from_an_outcome_is_what_the_effect_says(begun: Space, name: str, effect: str) -> None:
    case, run = CASES[name], effect.lower()
    follows = case.follows(effect)

    def settled() -> bool:
        record = steps_of(begun.status(run)).get(name, {})
        return record.get("state") == follows or (not case.starts and follows == AGAIN and record.get("attempt") == 2)

    until(settled, lambda: f"{name} of {effect} is {follows}: {steps_of(begun.status(run)).get(name)}", 180)
    record = steps_of(begun.status(run))[name]
    assert record["attempt"] == (2 if follows == AGAIN else 1), record
    if case.reason and follows != AGAIN:
        assert record["reason"] == case.reason, record


@pytest.mark.parametrize(("name", "says"), [("disk", "Evicted"), ("refused", "OutOfcpu")])
def test_it_was_the_cluster_that_ended_the_attempt(begun: Space, name: str, says: str) -> None:
    """The pod of a step in doubt is kept."""
    begun.step_reached("nonidempotent", name, "InDoubt")
    [pod] = begun.pods("nonidempotent", name)
    assert pod["status"]["reason"] == says


def test_all_attempts_of_a_step_have_one_key_and_no_other_step_has_it(begun: Space) -> None:
    for effect in EFFECTS:
        pods = begun.pods(effect.lower())
        keys = {(it["metadata"]["labels"]["agentrun.dev/step"], _key(it)) for it in pods}
        assert len(keys) == len({step for step, _ in keys}) == len({key for _, key in keys})


def test_their_namespace_goes_whatever_is_in_doubt(begun: Space) -> None:
    """The last of these tests: pods go first, those too of which their kubelets have lost sight."""
    kubectl("delete", "namespace", begun.name, "--timeout=60s")


def _key(pod: Body) -> str:
    variables = {it["name"]: it.get("value", "") for it in pod["spec"]["containers"][0]["env"]}
    return str(variables["AGENTRUN_IDEMPOTENCY_KEY"])
