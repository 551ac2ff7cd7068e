"""Nodes and their kubelets as one: each pod without a gate has a life on them, and a log while it can be read."""

from typing import Protocol

from agentruns.cluster import Body

from tests.simulation.world.api import Change, Refused
from tests.simulation.world.container import Container
from tests.simulation.world.pod_life import PodLife
from tests.simulation.world.world import World


class Witness(Protocol):
    """Who looks on while programs run."""

    def started(self, pod: Body) -> None:
        """A program has been started."""

    def acted(self, pod: Body) -> None:
        """A program has its effect, now."""

    def printed(self, pod: Body, token: str) -> None:
        """A program prints its result; a good one has a token."""

    def ended(self, pod: Body) -> None:
        """A program has ended."""

    def waited_for(self, pod: Body) -> None:
        """Nothing was heard of a pod's node for so long that somebody is about to delete its Node object."""


class Kubelet:
    """Every node's, as one."""

    marker = True
    """Whether entry points refuse to run twice; a world without shows what rests on it."""

    def __init__(self, world: World, witness: Witness, reliable: float) -> None:
        self.world, self.witness, self.reliable = world, witness, reliable
        self._lives: dict[str, PodLife] = {}

    def changed(self, change: Change) -> None:
        """A pod has changed; one that nothing keeps from running begins."""
        if change.plural != "pods":
            return
        uid = change.last["metadata"]["uid"]
        if life := self._lives.get(uid):
            life.seen(change.after)
        elif change.after is not None and not change.after["spec"].get("schedulingGates"):
            life = self._lives[uid] = PodLife(self, change.after)
            self.world.begins(life.course())

    def container(self, namespace: str, name: str) -> Container:
        """The container whose log is asked for; Refused where there is none to be read."""
        pod = self.world.api.find("pods", namespace, name)
        if pod is None:
            raise Refused(404, "NotFound", f'pods "{name}" not found')
        life = self._lives.get(pod["metadata"]["uid"])
        if life is None or life.container is None:
            raise Refused(400, "BadRequest", 'container "tool" is waiting to start')
        if life.container.lost or life.is_cut_off:
            raise Refused(500, "InternalError", "the log cannot be read from its node")
        return life.container

    def can_be_read(self, uid: str, token: str) -> bool:
        """Whether the log of a pod, asked now or a moment ago, holds this token."""
        life = self._lives.get(uid)
        box = life.container if life else None
        return bool(life and box and not box.lost and life.can_be_asked and token.encode() in box.log)
