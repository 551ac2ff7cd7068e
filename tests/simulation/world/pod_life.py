"""One pod on its node: bound, started, reported, stopped, and lost sight of."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from agentruns.cluster import Body
from agentruns.core.naming import LABEL_STEP, is_settle_call

from tests.simulation.world.container import Container
from tests.simulation.world.habits import Habits
from tests.simulation.world.programs import Program, finding, late, program, second
from tests.simulation.world.silence import GIVEN_UP, Silence
from tests.simulation.world.stored_pod import DISRUPTED, StoredPod

if TYPE_CHECKING:
    from tests.simulation.world.kubelet import Kubelet

KILL_AFTER: Final = 5.0
ASKED_WITHIN: Final = 1.0
"""Seconds between a request for a log and the record of what it said."""
STATUS_UNKNOWN: Final = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}
SUDDEN: Final = frozenset({"NodeLost", "Restarted"})
"""Ends that give a program no time."""


class PodLife:
    """One pod on its node, from the scheduler to its end."""

    def __init__(self, kubelet: "Kubelet", pod: Body) -> None:
        self._kubelet, self._world = kubelet, kubelet.world
        self._pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self._stored = StoredPod(kubelet.world, pod)
        self._stop = asyncio.Event()
        self._why = ""
        self._silence = Silence(kubelet.world, self._stored, kubelet.witness.waited_for)
        self._acknowledged: float | None = None
        self._deadline = float("inf")
        self._refused: Body | None = None
        """What its kubelet says of the container of a pod that it has refused, once that is deleted."""

    @property
    def container(self) -> Container | None:
        """What has been begun of it."""
        return self._stored.container

    @property
    def _habits(self) -> Habits:
        return self._world.habits

    @property
    def is_cut_off(self) -> bool:
        """Whether nothing is heard of its node for now."""
        return self._silence.lasts

    @property
    def can_be_asked(self) -> bool:
        """Whether its node has been heard long enough for whoever asks for a log."""
        return self._silence.is_over_for(ASKED_WITHIN)

    # ----------------------------------------------------------------------------------- what is ordered

    def seen(self, pod: Body | None) -> None:
        """The pod has changed: what that means for its container is known to the kubelet after a while."""
        if self._acknowledged is None:
            return
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            if self._refused:
                self._world.later(self._silence.hears(0.3), self._told_at_last)
            self._orders("Deleted", self._silence.hears(0.3))
            return
        deadline = self._acknowledged + pod["spec"].get("activeDeadlineSeconds", float("inf"))
        if deadline < self._deadline:
            self._deadline = deadline
            self._orders("DeadlineExceeded", max(deadline - self._world.loop.time(), self._silence.hears(0.3)))

    def _orders(self, why: str, seconds: float) -> None:
        self._world.later(seconds, self._ordered, why)

    def _ordered(self, why: str) -> None:
        # A kubelet that hangs lets run what it runs; a pod that is removed meanwhile is outside of what is promised.
        hangs = self._silence.lasts and self.container is not None and self._stored.current() is not None
        if hangs and why not in SUDDEN:
            self._orders(why, self._silence.hears(0.3))
        elif not self._stop.is_set():
            self._why = why
            self._stop.set()

    async def _goes_on(self, seconds: float) -> bool:
        """Whether nobody stopped the container for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return True
        return False

    # ---------------------------------------------------------------------------------------- its course

    async def course(self) -> None:
        """From the scheduler to the end."""
        await asyncio.sleep(self._world.delay(0.05))
        if self._habits.strikes("unschedulable"):
            why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
            self._stored.report(conditions=[why])
            await asyncio.sleep(self._world.delay(200))
        if not self._bound():
            return
        self._acknowledged = self._world.loop.time()
        self._deadline = self._acknowledged + self._pod["spec"]["activeDeadlineSeconds"]
        self._orders("DeadlineExceeded", self._deadline - self._acknowledged)
        if self._habits.strikes("kubelet cut off"):
            self._world.later(self._world.delay(1.0), self._silence.begins)
        if self._habits.strikes("node never heard of again"):
            self._world.later(self._world.delay(1.0), self._silence.begins_for_good)
        if self._habits.strikes("evicted before start"):
            await asyncio.sleep(self._silence.hears(0.2))
            self._stored.ended(phase="Failed", reason="Evicted", conditions=[DISRUPTED])
            return
        if self._habits.strikes("refused by its node"):
            await asyncio.sleep(self._silence.hears(0.2))
            self._refused = {"state": {"terminated": STATUS_UNKNOWN}}
            self._stored.ended(phase="Failed", reason="OutOfcpu")
            return
        if self._habits.strikes("node lost"):
            self._orders("NodeLost", self._world.delay(1.0))
        if await self._begins():
            await self._ran()
        elif self._why == "NodeLost":
            await self._lost()
        else:
            await asyncio.sleep(self._silence.hears(0.3))
            reason = {"reason": self._why} if self._why == "DeadlineExceeded" else {}
            self._stored.ended(phase="Failed", container={"state": {"terminated": STATUS_UNKNOWN}}, **reason)

    def _bound(self) -> bool:
        pod = self._stored.current()
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            return False
        status = {**pod["status"], "conditions": [{"type": "PodScheduled", "status": "True"}]}
        self._world.api.write("pods", pod, {**pod, "spec": {**pod["spec"], "nodeName": "node-1"}, "status": status})
        return True

    async def _begins(self) -> bool:
        """Whether the container is started, sooner or later. What pulls an image hears of nothing but a deletion."""
        pulls = 0.0
        if self._habits.strikes("slow image pull"):
            pulls = self._world.random.uniform(60, 300)
        elif self._habits.strikes("started after its time"):
            pulls = 300 + self._world.delay(60)
        if pulls:
            await asyncio.sleep(pulls)
            return self._why in ("", "DeadlineExceeded")
        return await self._goes_on(self._world.delay(60.0 if self._habits.strikes("late kubelet") else 0.2))

    async def _ran(self) -> None:
        """The container's life, and that of the one that is started in its place."""
        world, fate = self._world, ""
        box = self._stored.container = Container(self._pod["spec"]["containers"][0]["image"])
        if self._habits.strikes("container started twice"):
            fate = "Restarted"
        elif self._habits.strikes("evicted after start"):
            fate = "Evicted"
        if fate:
            self._orders(fate, world.delay(1.0))
        code = await self._executed(self._program())
        if self._why == "Restarted":
            self._stop.clear()
            box.restarts += 1
            box.log.clear()
            box.message = ""
            code = await self._executed(self._program() if not self._kubelet.marker else second())
        await self._concluded(code)

    def _program(self) -> Program:
        variables = {it["name"]: it.get("value", "") for it in self._pod["spec"]["containers"][0]["env"]}
        if self._world.loop.utc_now() >= datetime.fromisoformat(variables["AGENTRUN_NOT_AFTER"]):
            return late()
        world, reliable, token = self._world, self._kubelet.reliable, f"said-by-{self.uid}"
        if is_settle_call(self._pod["metadata"]["labels"][LABEL_STEP]):
            return finding(world.random, reliable, token, world.ledger.has(variables["AGENTRUN_IDEMPOTENCY_KEY"]))
        it = program(world.random, reliable, token)
        if world.habits.strikes("result without an end"):
            it = replace(it, hangs=True)
        return replace(it, before=world.random.uniform(5, 60)) if world.habits.strikes("slow program") else it

    async def _executed(self, it: Program) -> int:
        """The exit code of a program, which may act until the very end."""
        assert self.container is not None
        self.container.started_at = self._seconds()
        self._kubelet.witness.started(self._pod)
        self._world.later(self._silence.hears(0.1), self._running)
        alive = await self._goes_on(it.before)
        if it.effect and (alive or (self._why not in SUDDEN and self._world.random.random() < 0.3)):
            self._kubelet.witness.acted(self._pod)
        alive = alive and await self._goes_on(it.after)
        if alive and it.says:
            self._prints(it)
        if alive and it.hangs:
            await self._stop.wait()
        alive = alive and not it.hangs and await self._goes_on(it.lingers)
        if not alive and self._why not in SUDDEN:
            await asyncio.sleep(self._world.random.uniform(0, KILL_AFTER))
        self._kubelet.witness.ended(self._pod)
        return it.code if alive else 137

    def _prints(self, it: Program) -> None:
        assert self.container is not None
        line = f"agentrun-result/{self.uid} {it.says}"
        self.container.log += f"working\n{line}\n".encode()
        self.container.message = line if it.message else ""
        self.container.tells()
        self._kubelet.witness.printed(self._pod, it.good)

    async def _concluded(self, code: int) -> None:
        """The container's end is reported, however late."""
        container = self.container
        assert container is not None
        refused = self._why not in ("NodeLost", "Evicted") and self._habits.strikes("refused by a new kubelet")
        container.ended = True
        container.lost = self._why in ("NodeLost", "Evicted") or refused or self._habits.strikes("log lost")
        container.tells()
        if self._why == "NodeLost":
            await self._lost()
            return
        finished_at = self._seconds()
        await self._silence.broken(60.0 if self._habits.strikes("late status") else 1.0)
        ended = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": container.started_at,
            "finishedAt": finished_at,
            "containerID": "containerd://1",
            "message": container.message,
        }
        if refused:
            await self._forgotten({"state": {"terminated": ended}})
            return
        reason = {"reason": self._why} if self._why in ("Evicted", "DeadlineExceeded") else {}
        how = self._world.random.random() if self._why == "Evicted" else 1.0
        if how < 0.2:
            container.restarts += 1
            self._stored.report(phase="Failed", reason=self._why, container={"state": {}})
            await self._silence.broken(0.3)
            self._stored.ended(container={"state": {"terminated": STATUS_UNKNOWN}})
            return
        conditions = {"conditions": [DISRUPTED]} if how < 0.6 else {}  # none where it was over a limit of its own
        if not reason and self._habits.strikes("end before last phase"):
            self._stored.report(container={"state": {"terminated": ended}})
            await self._silence.broken(0.3)
        if self._why == "DeadlineExceeded" and self._habits.strikes("last phase before end"):
            self._stored.report(phase="Failed", reason=self._why)  # of its container it still says that it runs
            await self._silence.broken(0.3)
        phase = "Succeeded" if code == 0 and not reason else "Failed"
        self._stored.ended(phase=phase, container={"state": {"terminated": ended}}, **reason, **conditions)

    def _running(self) -> None:
        """Reports that the container runs, unless it has ended by then."""
        if self._silence.lasts:
            self._world.later(self._silence.hears(0.1), self._running)
        elif self.container is not None and not self.container.ended and not self._stored.is_over:
            running = {"state": {"running": {"startedAt": self.container.started_at}}}
            self._stored.report(phase="Running", container=running)

    # ------------------------------------------------------------------------------------- what is lost

    async def _forgotten(self, ended: Body) -> None:
        """The kubelet has started anew, refuses what has run, and takes back what it had reported of it, or not all."""
        known = False
        if self._world.random.random() < 0.5:
            self._stored.report(phase="Running", containerStatuses=[])
            await self._silence.broken(0.3)
            if known := self._world.random.random() < 0.5:
                self._stored.report(container=ended)
                await self._silence.broken(0.3)
        if not known and self._world.random.random() < 0.5:
            self._refused = ended
        status: Body = {} if known else {"containerStatuses": []}
        self._stored.ended(phase="Failed", reason="NodeAffinity", **status)

    def _told_at_last(self) -> None:
        """A pod that was refused is being deleted: what its container came to is said only now, if it is not known."""
        if (pod := self._stored.current()) is not None and not pod["status"].get("containerStatuses"):
            self._stored.report(container=self._refused)

    async def _lost(self) -> None:
        """The node is gone: its pods are deleted by others, and nobody ever says how they ended."""
        if self._world.random.random() < 0.3:
            await asyncio.sleep(self._world.delay(60))
            self._stored.collected()
            return
        if self._world.random.random() < 0.3:
            await asyncio.sleep(self._world.delay(60))
            self._came_back()
            return
        await asyncio.sleep(GIVEN_UP)
        self._silence.given_up()
        await asyncio.sleep(self._world.delay(200))
        if self._world.random.random() < 0.5:
            self._came_back()
        else:
            self._stored.collected()

    def _came_back(self) -> None:
        """The node is there again, and has lost sight of the container."""
        box = self.container
        known = {"startedAt": box.started_at, "containerID": "containerd://1"} if box else {}
        self._stored.ended(phase="Failed", container={"state": {"terminated": STATUS_UNKNOWN | known}})

    def _seconds(self) -> str:
        return self._world.loop.utc_now().isoformat(timespec="seconds").replace("+00:00", "Z")
