"""People: they decide what they are asked, change their minds about runs, and delete things they should not.

And what keeps their runs in Git: it makes those again that have a time to live, once they are gone.
"""

import asyncio
from typing import Final

from agentruns.cluster import RUNS, Body
from agentruns.core.naming import API_VERSION

from tests.simulation.world.api import Change, request
from tests.simulation.world.world import World

HASTE = 1.0
"""Seconds after which a pod is in somebody's way."""
EDITED: Final = f"registry.example/tool@sha256:{'b' * 64}"


class People:
    """Everybody who is not the operator."""

    def __init__(self, world: World) -> None:
        self._world = world

    def changed(self, change: Change) -> None:
        """A new question is answered, a new run is meddled with, a pod is in somebody's way, one in Git is missed."""
        if change.plural == "agentruns" and change.after is None:
            self._world.begins(self._misses(change.last))
        if change.before is not None or change.after is None:
            return
        match change.plural:
            case "approvals":
                self._world.begins(self._decides(change.after))
            case "agentruns":
                self._world.begins(self._meddles(change.after))
            case "pods":
                self._world.begins(self._deletes(change.after))
            case "tools":
                self._world.begins(self._edits(change.after))

    async def _decides(self, approval: Body) -> None:
        world = self._world
        if world.habits.strikes("approval deleted"):
            await asyncio.sleep(world.delay(1.0))
            if (found := self._current("approvals", approval)) and "decision" not in found["spec"]:
                world.note(f"a person deletes approval {approval['metadata']['name']}")
                world.api.delete("approvals", *_place(approval))
                return
        await asyncio.sleep(world.delay(2000.0 if world.habits.strikes("late decision") else 2.0))
        if approval["spec"]["purpose"] == "Effect":
            verdict = "Approve" if world.random.random() < 0.85 else "Reject"
        else:
            verdict = world.random.choice(("Happened", "RunAgain", "RunAgain", "Fail"))
        decision: Body = {"verdict": verdict, "by": "alice@example.com"}
        if verdict == "Happened":
            decision |= {"output": {"token": "by hand"}}
        found = self._current("approvals", approval)
        if found and "decision" not in found["spec"] and found.get("status", {}).get("state", "Pending") == "Pending":
            world.note(f"a person decides {verdict} on {approval['metadata']['name']}")
            world.api.write("approvals", found, {**found, "spec": {**found["spec"], "decision": decision}})

    async def _meddles(self, run: Body) -> None:
        world = self._world
        if world.habits.strikes("run paused"):
            await asyncio.sleep(world.delay(3.0))
            self._wants(run, "Paused")
            await asyncio.sleep(world.delay(30.0))
            self._wants(run, "Running")
        if world.habits.strikes("run cancelled"):
            await asyncio.sleep(world.delay(4.0))
            self._wants(run, "Cancelled")
        if world.habits.strikes("run deleted"):
            await asyncio.sleep(world.delay(100.0 if _is_in_git(run) else 4.0))
            if self._current("agentruns", run):
                world.note(f"a person deletes run {run['metadata']['name']}")
                self._world.deleted_runs.add(run["metadata"]["uid"])
                world.api.delete("agentruns", *_place(run))
                self._makes_again(run)

    async def _misses(self, run: Body) -> None:
        """What is in Git and went by itself is made again after a while."""
        if _is_in_git(run) and run["metadata"]["uid"] not in self._world.deleted_runs:
            await asyncio.sleep(min(self._world.delay(5.0), 30.0))
            self._makes_again(run)

    def _makes_again(self, run: Body) -> None:
        """What is in Git is applied; right after a deletion this is `kubectl replace --force`."""
        if _is_in_git(run) and self._world.habits.strikes("run made again"):
            name, namespace = run["metadata"]["name"], run["metadata"]["namespace"]
            self._world.note(f"run {name} is made again")
            spec = {key: value for key, value in run["spec"].items() if key != "desiredState"}
            metadata = {"name": name, "namespace": namespace}
            body = {"apiVersion": API_VERSION, "kind": "AgentRun", "metadata": metadata, "spec": spec}
            self._world.api.answer(request("POST", RUNS.path(namespace), {}, body))

    async def _edits(self, tool: Body) -> None:
        """What a Tool runs from now on is another image."""
        world = self._world
        if world.habits.strikes("tool edited"):
            await asyncio.sleep(world.delay(1.0))
            if found := self._current("tools", tool):
                world.note(f"a person edits tool {tool['metadata']['name']}")
                world.api.write("tools", found, {**found, "spec": {**found["spec"], "image": EDITED}})

    def _wants(self, run: Body, state: str) -> None:
        if found := self._current("agentruns", run):
            self._world.note(f"a person wants run {run['metadata']['name']} {state}")
            self._world.api.write("agentruns", found, {**found, "spec": {**found["spec"], "desiredState": state}})

    async def _deletes(self, pod: Body) -> None:
        world = self._world
        torn_out, drained = world.habits.strikes("pod torn out"), world.habits.strikes("pod drained")
        late = world.habits.strikes("pod deleted late")
        if not torn_out and not drained and not late and not world.habits.strikes("pod deleted"):
            return
        await asyncio.sleep(world.delay(60.0 if late else HASTE))
        if found := self._current("pods", pod):
            world.note(f"a person deletes pod {pod['metadata']['name']}{' for good' if torn_out else ''}")
            if drained:
                evicted = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
                status = {**found["status"], "conditions": [*found["status"].get("conditions", []), evicted]}
                found = world.api.write("pods", found, {**found, "status": status})
            if torn_out:
                world.torn_out.add(found["metadata"]["uid"])
                world.api.write("pods", found, {**found, "metadata": {**found["metadata"], "finalizers": []}})
            if self._current("pods", pod):
                world.api.delete("pods", *_place(pod), 0 if torn_out else None)

    def _current(self, plural: str, body: Body) -> Body | None:
        """The object, if it is still the same."""
        found = self._world.api.find(plural, *_place(body))
        return found if found is not None and found["metadata"]["uid"] == body["metadata"]["uid"] else None


def _is_in_git(run: Body) -> bool:
    return "ttlAfterFinished" in run["spec"]


def _place(body: Body) -> tuple[str, str]:
    return body["metadata"]["namespace"], body["metadata"]["name"]
