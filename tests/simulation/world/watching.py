"""What an operator's watches tell it: late, in order within a kind, and after a gap not what went during it."""

from agentruns.cluster import WATCHED, Body, Resource
from agentruns.store import Store

from tests.simulation.world.api import Change
from tests.simulation.world.network import Process
from tests.simulation.world.world import World


class Watch:
    """One kind, as one operator watches it."""

    def __init__(self, world: World, process: Process, resource: Resource, store: Store) -> None:
        self._world, self._process, self._resource, self._store = world, process, resource, store
        self._broken = True
        self._due = 0.0

    def begins(self) -> None:
        """Everything that is there is told; what has gone meanwhile is not."""
        if self._process.dead:
            return
        self._broken = False
        for body in self._world.api.all(self._resource.plural):
            if self._concerns(body):
                self._tells(body, gone=False)

    def changed(self, change: Change) -> None:
        """A change is on its way, unless nobody hears it."""
        if change.plural != self._resource.plural or self._broken or not self._concerns(change.last):
            return
        if self._world.habits.strikes("watch gap"):
            self._broken = True
            seconds = self._world.random.choice((1.0, 30.0, 360.0))
            self._world.note(f"watch of {change.plural} breaks for {seconds} s")
            self._world.later(seconds, self._process.reaches, self.begins)
            return
        self._tells(change.last, gone=change.after is None)

    def _tells(self, body: Body, *, gone: bool) -> None:
        late = 10.0 if self._world.habits.strikes("slow watch") else 0.01
        self._due = max(self._due, self._world.loop.time() + self._world.delay(late))
        self._world.loop.call_at(self._due, self._process.reaches, self._told, body, gone)

    def _told(self, body: Body, gone: bool) -> None:
        if not self._process.dead:
            self._store.take(self._resource.kind, body, gone=gone)

    def _concerns(self, body: Body) -> bool:
        label, _, wanted = self._resource.selector.partition("=")
        found = (body["metadata"].get("labels") or {}).get(label)
        return not label or (found is not None and wanted in ("", found))


def watches(world: World, process: Process, store: Store) -> list[Watch]:
    """One for each kind that an operator watches."""
    return [Watch(world, process, resource, store) for resource in WATCHED]
