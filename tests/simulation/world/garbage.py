"""The garbage collector: what belongs to something that is gone goes, too."""

from tests.simulation.world.api import Change
from tests.simulation.world.world import World


class GarbageCollector:
    """Deletes objects whose owner is gone, after a while."""

    def __init__(self, world: World) -> None:
        self._world = world

    def changed(self, change: Change) -> None:
        """An owner has gone, or something was made whose owner may have gone."""
        if change.plural == "agentruns" and change.after is None:
            self._world.later(self._world.delay(1.0), self._collects)
        elif change.before is None and change.last["metadata"].get("ownerReferences"):
            self._world.later(self._world.delay(5.0), self._collects)

    def _collects(self) -> None:
        api = self._world.api
        there = {run["metadata"]["uid"] for run in api.all("agentruns")}
        for (plural, namespace, name), body in list(api.objects.items()):
            owners = body["metadata"].get("ownerReferences") or []
            ends = "deletionTimestamp" in body["metadata"]
            if owners and not ends and not any(owner["uid"] in there for owner in owners):
                api.delete(plural, namespace, name)
