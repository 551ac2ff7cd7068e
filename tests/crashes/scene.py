"""One run in a namespace of its own: started, decided on, ended, and held against the effects it had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kubernetes.config import new_client_from_config

from tests.accounts import Account, Body, person
from tests.cluster.places import KUBECONFIG
from tests.crashes.effects import Effect, Effects
from tests.crashes.lives import ASKS, SETTLES, Life
from tests.crashes.operators import FaultyOperator
from tests.installed import SYSTEM
from tests.space import FINAL, Space, new_space, step, steps_of

RUN = "r"
AGAIN = "-again"
"""How the name of a run ends that is to do the same task once more."""
APPROVER = "approver@example.com"
TIMEOUT = 60
"""Seconds that a tool may run."""
COUNTER = "counter"
"""The Tool that settles doubts."""


@dataclass(frozen=True)
class Stage:
    """What all scenes share: who looks and decides, the operator's rights, and the counter."""

    admin: Account
    kubeconfig: str
    effects: Effects

    @classmethod
    def of(cls, kubeconfig: str, effects: Effects) -> Stage:
        """The stage on the cluster under test."""
        api = new_client_from_config(str(KUBECONFIG))  # type: ignore[no-untyped-call]
        return cls(Account(api, {}), kubeconfig, effects)

    def has_installed_operator(self) -> bool:
        """Whether there is an operator that is none of the scenes'."""
        found = self.admin.get(SYSTEM, "pods").body["items"]
        return any(it["metadata"]["labels"].get("app.kubernetes.io/component") == "operator" for it in found)


@dataclass(frozen=True)
class Scene:
    """A life under way."""

    space: Space
    stage: Stage
    place: Path

    def operator(self, name: str) -> FaultyOperator:
        """An operator of this scene alone, not started."""
        return self._operator(name, is_replica=False)

    def replica(self, name: str) -> FaultyOperator:
        """One of several operators of this scene, of which one works; not started."""
        return self._operator(name, is_replica=True)

    def _operator(self, name: str, *, is_replica: bool) -> FaultyOperator:
        return FaultyOperator(self.place / name, self.stage.kubeconfig, self.space.name, is_replica=is_replica)

    def begin(self, life: Life, effect: str) -> None:
        """Makes the Tool and the run."""
        self.make_tool(life.tool, effect)
        self.start(life, effect)

    def make_tool(self, does: str, effect: str) -> None:
        """Makes the Tool of an effect, and that which settles a doubt about it, if it has one."""
        counter = self.stage.effects
        retry = {"attempts": 5, "initialBackoff": "1s", "maxBackoff": "1s"}
        asks = "Always" if does == ASKS else "Never"
        spec: Body = {"effect": effect, "approval": asks, "retry": retry, "timeout": f"{TIMEOUT}s"}
        if does == SETTLES:
            self.space.tool(COUNTER, counter.settling_program, egress=counter.egress)
            spec["settle"] = {"tool": COUNTER, "happened": "result.found", "after": "1s"}
        self.space.tool(_tool(does, effect), counter.program, egress=counter.egress, **spec)

    def start(self, life: Life, effect: str, run: str = RUN) -> None:
        """Starts a run of the Tool."""
        label, tool = f"{self.space.name}/{run}", _tool(life.tool, effect)
        task = {"idempotencyKey": run} if life.task else {}
        steps = [step(f"s{number}", tool, args={"of": label} | does) for number, does in enumerate(life.steps, start=1)]
        told = {it["name"]: f"${{steps.{it['name']}.output.effect}}" for it in steps}
        self.space.start(run, *steps, output=told, **task)

    def effects(self, run: str = RUN) -> list[Effect]:
        """The effects there were, whoever says what of them."""
        return self.stage.effects.of(f"{self.space.name}/{run}")

    def living(self) -> list[str]:
        """The runs that are not over. What is asked is answered, and a task that has begun is begun once more."""
        runs = {it["metadata"]["name"]: it for it in self.space.all("agentruns")}
        self._answer_all()
        first = [it for name, it in runs.items() if name + AGAIN not in runs and _is_first_of_a_task(it)]
        again = [self._begin_again(it) for it in first]
        return [*again, *(name for name, it in runs.items() if it.get("status", {}).get("phase") not in FINAL)]

    def _begin_again(self, run: Body) -> str:
        name, spec = f"{run['metadata']['name']}{AGAIN}", dict(run["spec"])
        self.space.start(name, *spec.pop("steps"), **spec)
        return name

    def _answer_all(self) -> None:
        """Answers what is asked in this namespace, as people would who see the effects."""
        for asked in self.space.all("approvals"):
            if not asked["spec"].get("decision") and asked.get("status", {}).get("state") != "Superseded":
                self._answer(asked, asked["spec"]["runRef"]["name"])

    def _answer(self, asked: Body, run: str) -> None:
        """Approves; says of what is in doubt that it happened, if it did, and otherwise lets it run again."""
        if asked["spec"]["purpose"] == "Effect":
            self.space.decide(asked, "Approve")
            return
        recorded = steps_of(self.space.status(run))[asked["spec"]["step"]]
        done = [it for it in self.effects(run) if it.key == recorded.get("idempotencyKey")]
        if done:
            output = {"effect": f"{done[-1].key}#{len(done)}", "filler": ""}
            self.space.decide(asked, "Happened", output=output)
        else:
            self.space.decide(asked, "RunAgain")

    def doubts(self, run: str = RUN) -> int:
        """How often somebody was asked what had become of an effect."""
        asked = [it["spec"] for it in self.space.all("approvals") if it["spec"]["runRef"]["name"] == run]
        return sum(it["purpose"] == "InDoubt" for it in asked)


def _is_first_of_a_task(run: Body) -> bool:
    """Whether a run has a task, and has begun it."""
    return run["spec"].get("idempotencyKey") == run["metadata"]["name"] and bool(run.get("status", {}).get("steps"))


def _tool(does: str, effect: str) -> str:
    return f"{effect.lower()}-{does}"


@contextmanager
def opened_scene(stage: Stage) -> Iterator[Scene]:
    """A scene in a new namespace; nothing of it is left."""
    approver, user = person(stage.admin.api, APPROVER), {"kind": "User", "name": APPROVER}
    with TemporaryDirectory() as place, new_space(stage.admin, approver, user) as space:
        yield Scene(space, stage, Path(place))
