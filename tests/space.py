"""A namespace of a test's own, and what a test does there: it starts runs, waits, decides and looks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.accounts import Account, Answer, Body
from tests.commands import kubectl
from tests.images import sandbox_image
from tests.shop import Shop
from tests.waiting import until

API = "agentrun.dev/v1alpha1"
FINAL = ("Succeeded", "Failed", "Cancelled")
ECHO = "import sys; print(sys.stdin.read())"


def says(value: Any) -> str:
    """A program that prints this JSON value."""
    return f"print({json.dumps(value)!r})"


def step(name: str, tool: str, **more: Any) -> Body:
    """A step of a run."""
    return {"name": name, "tool": tool} | more


def steps_of(status: Body) -> dict[str, Body]:
    """The recorded steps by name."""
    return {it["name"]: it for it in status.get("steps", [])}


@dataclass(frozen=True)
class Space:
    """A namespace that enforces Pod Security `restricted`, and who is there."""

    name: str
    image: str
    admin: Account
    approver: Account
    """Holds a real token of an account with the approver's role and no other."""

    # ------------------------------------------------------------------------------------------ making

    def tool_manifest(self, name: str, program: str, **spec: Any) -> Body:
        """A Tool that runs a Python program; it reads and asks nobody unless told otherwise."""
        what = {"description": f"Does {name}.", "image": self.image, "command": ["python3", "-c", program]}
        return self._manifest("Tool", name, what | {"effect": "ReadOnly"} | spec)

    def run_manifest(self, name: str, *steps: Body, **spec: Any) -> Body:
        """An AgentRun of these steps."""
        return self._manifest("AgentRun", name, {"steps": list(steps)} | spec)

    def _manifest(self, kind: str, name: str, spec: Body) -> Body:
        return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": self.name}, "spec": spec}

    def tool(self, name: str, program: str, **spec: Any) -> None:
        """Makes a Tool that runs a Python program."""
        self._store("tools", self.tool_manifest(name, program, **spec))

    def start(self, name: str, *steps: Body, **spec: Any) -> Body:
        """The run of these steps, as it was stored."""
        return self._store("agentruns", self.run_manifest(name, *steps, **spec))

    def _store(self, plural: str, body: Body) -> Body:
        made = self.admin.create((self.name, plural), body, store=True)
        assert made.status == 201, made.message
        return made.body

    def want(self, run: str, **spec: Any) -> Answer:
        """The answer to a patch of what is wanted of a run."""
        return self.admin.patch((self.name, "agentruns", run), {"spec": spec}, store=True)

    def delete(self, plural: str, name: str) -> None:
        """Asks for the deletion of an object."""
        answer = self.admin.delete((self.name, plural, name), store=True)
        assert answer.status in (200, 202), answer.message

    # ------------------------------------------------------------------------------------------ looking

    def find(self, plural: str, name: str) -> Body | None:
        """The object, if it is there."""
        answer = self.admin.get(self.name, plural, name)
        assert answer.status in (200, 404), answer.message
        return answer.body if answer.status == 200 else None

    def get(self, plural: str, name: str) -> Body:
        """The object as it is now."""
        found = self.find(plural, name)
        assert found, f"there is no {name} among the {plural}"
        return found

    def all(self, plural: str) -> list[Body]:
        """All objects of a kind."""
        return list(self.admin.get(self.name, plural).body["items"])

    def status(self, run: str) -> Body:
        """A run's status; empty as long as nobody has written it."""
        return dict(self.get("agentruns", run).get("status", {}))

    def pods(self, run: str, step: str = "") -> list[Body]:
        """The pods of a run, or of one of its steps, oldest attempt first."""
        wanted = {"agentrun.dev/run-uid": self.get("agentruns", run)["metadata"]["uid"]}
        wanted |= {"agentrun.dev/step": step} if step else {}
        found = [it for it in self.all("pods") if wanted.items() <= it["metadata"].get("labels", {}).items()]
        return sorted(found, key=lambda it: int(it["metadata"]["labels"]["agentrun.dev/attempt"]))

    # ------------------------------------------------------------------------------------------ waiting

    def reached(self, run: str, *phases: str, seconds: float = 120) -> Body:
        """The run's status once it is in one of the phases."""
        until(lambda: self.status(run).get("phase") in phases, lambda: self._standing(run, phases), seconds)
        return self.status(run)

    def ended(self, run: str, seconds: float = 120) -> Body:
        """The run's status once it is final."""
        return self.reached(run, *FINAL, seconds=seconds)

    def step_reached(self, run: str, step: str, *states: str) -> Body:
        """The record of a step once it is in one of the states."""
        until(
            lambda: steps_of(self.status(run)).get(step, {}).get("state") in states,
            lambda: f"step {step} is {' or '.join(states)}; {self._standing(run, ())}",
        )
        return steps_of(self.status(run))[step]

    def _standing(self, run: str, phases: tuple[str, ...]) -> str:
        status = self.status(run)
        states = {name: f"{it['state']} {it.get('reason')}" for name, it in steps_of(status).items()}
        return f"{run} is {' or '.join(phases)}; it is {status.get('phase')}: {status.get('message')}; {states}"

    # ------------------------------------------------------------------------------------------ deciding

    def question(self, run: str) -> Body:
        """The Approval that a run waits for, once nothing else of it can go on."""
        self.reached(run, "AwaitingApproval")
        [waiting, *_] = until(lambda: self.status(run).get("waitingFor"), "it says which Approval it waits for")
        return until(lambda: self.find("approvals", waiting["name"]), "the Approval that is waited for is there")

    def decide(self, approval: Body, verdict: str, **decision: Any) -> Answer:
        """The answer to the approver's decision."""
        place = (self.name, "approvals", approval["metadata"]["name"])
        body = {"verdict": verdict, "digest": approval["spec"]["digest"]} | decision
        return self.approver.patch(place, {"spec": {"decision": body}}, store=True)

    def decided(self, run: str, verdict: str, **decision: Any) -> None:
        """Has the approver decide what a run waits for."""
        answer = self.decide(self.question(run), verdict, **decision)
        assert answer.status == 200, answer.message


@contextmanager
def opened_space(shop: Shop) -> Iterator[Space]:
    """A new namespace in which the shop's approver may decide; deleted afterwards, without waiting."""
    account = {"kind": "ServiceAccount", "namespace": shop.namespace, "name": "approver"}
    with new_space(shop.accounts["admin"], shop.accounts["approver"], account) as space:
        yield space


@contextmanager
def new_space(admin: Account, approver: Account, who: Body) -> Iterator[Space]:
    """A new namespace in which the approver, the subject of a RoleBinding, may decide; then deleted."""
    name = f"test-{uuid4().hex[:8]}"
    kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": _space(name, who)}))
    try:
        until(lambda: admin.get(name, "serviceaccounts", "default").status == 200, "the default account is there")
        yield Space(name, sandbox_image(), admin, approver)
    finally:
        kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def _space(name: str, who: Body) -> list[Body]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "approvers", "namespace": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "agentruns-approver"},
        "subjects": [who],
    }
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}, binding]
