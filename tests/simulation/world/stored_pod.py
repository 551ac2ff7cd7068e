"""What the API server has of a pod, as its node reads and writes it."""

from typing import Any, Final

from agentruns.cluster import Body

from tests.simulation.world.container import Container
from tests.simulation.world.world import World

DISRUPTED: Final = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}


class StoredPod:
    """One pod; nothing is done to another that has its name later."""

    def __init__(self, world: World, pod: Body) -> None:
        self._world = world
        self.uid, self._name, self._namespace = (pod["metadata"][it] for it in ("uid", "name", "namespace"))
        self.container: Container | None = None
        """What its node has begun."""

    def current(self) -> Body | None:
        """The pod as it is now; None once it is gone."""
        pod = self._world.api.find("pods", self._namespace, self._name)
        return pod if pod is not None and pod["metadata"]["uid"] == self.uid else None

    @property
    def is_over(self) -> bool:
        """Whether it has been told to be in its last phase."""
        pod = self.current()
        return pod is not None and pod["status"].get("phase") in ("Succeeded", "Failed")

    def report(self, container: Body | None = None, **status: Any) -> None:
        """Tells what is new of it, and of its container; nothing if it is gone."""
        pod = self.current()
        if pod is None:
            return
        changed = {**pod["status"], **status}
        if container is not None:
            box = self.container
            common = {"name": "tool", "image": "tool", "imageID": box.image if box else ""}
            restarts = {"restartCount": box.restarts} if box and box.restarts else {}
            created = {"containerID": "containerd://1"} if box else {}
            changed["containerStatuses"] = [{**common, **created, **restarts, **container}]
        self._world.note(f"kubelet: {self._name} {changed.get('phase')} {changed.get('reason', '')}")
        self._world.api.write("pods", pod, {**pod, "status": changed})

    def delete(self) -> None:
        """Asks for its deletion, if it is there."""
        if self.current() is not None:
            self._world.api.delete("pods", self._namespace, self._name)

    def ended(self, container: Body | None = None, **status: Any) -> None:
        """Its node reports its end, and does not keep it any more if it is being deleted."""
        self.report(container, **status)
        if (pod := self.current()) is not None and "deletionTimestamp" in pod["metadata"]:
            self._gone()

    def collected(self) -> None:
        """It is ended and deleted without its node, which is not there any more."""
        self.report(phase="Failed", conditions=[DISRUPTED])
        if self.current() is not None:
            self._gone()

    def _gone(self) -> None:
        self._world.api.delete("pods", self._namespace, self._name, grace=0)
