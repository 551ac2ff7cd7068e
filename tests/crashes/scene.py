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
from tests.crashes.lives import Life
from tests.crashes.operators import FaultyOperator
from tests.space import FINAL, Space, new_space, step, steps_of

RUN = "r"
APPROVER = "approver@example.com"


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


@dataclass(frozen=True)
class Scene:
    """A life under way."""

    space: Space
    stage: Stage
    place: Path

    def operator(self, name: str) -> FaultyOperator:
        """An operator of this scene alone, not started."""
        return FaultyOperator(self.place / name, self.stage.kubeconfig, self.space.name)

    def begin(self, life: Life, effect: str) -> None:
        """Makes the Tool and the run."""
        self.make_tool(effect, asks=life.asks)
        self.start(life, effect)

    def make_tool(self, effect: str, *, asks: bool) -> None:
        """Makes the Tool of an effect, which asks before each call or never."""
        retry = {"attempts": 5, "initialBackoff": "1s", "maxBackoff": "1s"}
        spec = {"effect": effect, "approval": "Always" if asks else "Never", "retry": retry}
        self.space.tool(_tool(effect, asks=asks), self.stage.effects.program, egress=self.stage.effects.egress, **spec)

    def start(self, life: Life, effect: str, run: str = RUN) -> None:
        """Starts a run of the Tool."""
        label, tool = f"{self.space.name}/{run}", _tool(effect, asks=life.asks)
        steps = [step(f"s{number}", tool, args={"of": label} | does) for number, does in enumerate(life.steps, start=1)]
        told = {it["name"]: f"${{steps.{it['name']}.output.effect}}" for it in steps}
        self.space.start(run, *steps, output=told)

    def effects(self, run: str = RUN) -> list[Effect]:
        """The effects there were, whoever says what of them."""
        return self.stage.effects.of(f"{self.space.name}/{run}")

    def has_ended(self, run: str = RUN) -> bool:
        """Whether the run is over; whatever is asked meanwhile is answered."""
        if self.space.status(run).get("phase") in FINAL:
            return True
        self.answer_all()
        return False

    def answer_all(self) -> None:
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


def _tool(effect: str, *, asks: bool) -> str:
    return f"{effect.lower()}-{'asks' if asks else 'acts'}"


@contextmanager
def opened_scene(stage: Stage) -> Iterator[Scene]:
    """A scene in a new namespace; nothing of it is left."""
    approver, user = person(stage.admin.api, APPROVER), {"kind": "User", "name": APPROVER}
    with TemporaryDirectory() as place, new_space(stage.admin, approver, user) as space:
        yield Scene(space, stage, Path(place))
